"""A small honest world for clients: a root, a custodian and a collector that keep the contract, all in this process.

Every part can be replaced by a test: the answers pass through `tamper`, the collector's shelf is a dictionary. It keeps
the contract of the routes that reading needs, and no rule of consent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assent.client.collector import CollectorClient
from assent.client.custodian import CustodianClient
from assent.client.directory import TrustedDirectory
from assent.codec.content import encode_content
from assent.codec.frames import FrameEncoder
from assent.contracts.envelope import Envelope, read, read_unverified, sign
from assent.contracts.events import (
    ClockAnchor,
    Event,
    Gap,
    GapReason,
    KeyEvent,
    PointerMoved,
    Rect,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import PublicKey, SigningKey, b64url_bytes, fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import list_root, unpack_batch
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import FIRST_PREVIOUS, EndRecord, SkipRecord, header_hash
from assent.contracts.statements import (
    Ask,
    Directory,
    FetchRequest,
    FormerLog,
    Lease,
    LeaseClosed,
    LeaseRequest,
    ReleaseRequest,
    StreamCertificate,
    Ticket,
    WitnessEntry,
)
from assent.contracts.times import add_days, moment, parse_hour
from assent.contracts.wire import (
    GONE,
    Accepted,
    FetchAnswer,
    FetchBody,
    FetchedRecord,
    FetchedSegment,
    FetchedStream,
    LeaseAnswer,
    LeasedStream,
    ReleaseAnswer,
    ReleaseBody,
    ReleaseRefusal,
)
from assent.reader.jobs import Job, open_lease
from assent.reader.sessions import Data
from assent.sealing.hpke import HybridPrivateKey, HybridPublicKey
from assent.sealing.segments import open_sealed_key, seal_release, seal_segment, sign_record
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint, sign_checkpoint
from assent.transparency.note import Cosigner, Note, Signer
from assent.transparency.proof import LogProof

CUSTODIAN = "http://custodian.test"
COLLECTOR = "http://collector.test"
DAY = "2026-11-20"
HOUR = f"{DAY}T09"
REQUEST = "ab" * 32


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Recording:
    """One stream: what the collector has on its shelf, and what the custodian knows."""

    leased: LeasedStream
    stream_key: Ed25519PrivateKey
    vault_key: HybridPrivateKey
    certificate: Envelope
    items: list[FetchedSegment | FetchedRecord] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    previous: str = FIRST_PREVIOUS
    sequence: int = 0

    @property
    def id(self) -> str:
        return self.leased.stream

    def fetched(self) -> FetchedStream:
        return FetchedStream(stream=self.id, certificates=(self.certificate,), items=tuple(self.items))

    def ids(self) -> list[str]:
        return [
            header_hash(base64.b64decode(item.header)).hex() for item in self.items if isinstance(item, FetchedSegment)
        ]


class World:
    """Everything honest. `now` stands still unless a test moves it."""

    def __init__(self, *, quorum_met: bool = True) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
        self.root = SigningKey.generate()
        self.statement = SigningKey.generate()
        self.collector_key = SigningKey.generate()
        self.requester = SigningKey.generate()
        self.log = Signer("assent.test/log", Ed25519PrivateKey.generate())
        self.witness = Cosigner("witness.test", Ed25519PrivateKey.generate())
        self.quorum_met = quorum_met
        self.directory_statement = self._directory(1)
        self.directory_envelope = sign(self.directory_statement, self.root)
        self.recordings: dict[str, Recording] = {}
        self.leaves: list[bytes] = [b"first"]
        self.refuse: dict[str, str] = {}
        """Segment id or stream id → reason for which the door refuses it."""
        self.ended: Problem | None = None
        self.closed: list[int] = []
        self.requests: list[httpx2.Request] = []
        self.leases: dict[str, tuple[Lease, Envelope]] = {}
        self.tamper: Callable[[str, bytes], bytes] = lambda _path, body: body
        self.routes: dict[str, Callable[[httpx2.Request], bytes | str]] = {}
        """Further routes by path; text is answered as text/plain, bytes as JSON."""
        self.transport = httpx2.MockTransport(self._handle)

    def _directory(self, version: int, **changes: Any) -> Directory:
        witness = f"{self.witness.verifier}"
        fields: dict[str, Any] = {
            "version": version,
            "issued": moment(self.now),
            "organisation": "Example",
            "root_key": self.root.public.text,
            "custodian_url": CUSTODIAN,
            "collector_url": COLLECTOR,
            "statement_key": self.statement.public.text,
            "collector_key": self.collector_key.public.text,
            "log_vkey": str(self.log.verifier),
            "witnesses": (WitnessEntry(url="http://witness.test", vkey=witness),),
            "policy": f"log {self.log.verifier}\nwitness w1 {witness}\ngroup q any w1\nquorum q\n",
            "custody_level": 0,
        }
        return Directory(**{**fields, **changes})

    def directory(self, version: int, **changes: Any) -> Envelope:
        return sign(self._directory(version, **changes), self.root)

    def end_log(self, version: int, kept: int, heads: Sequence[Note] = ()) -> Envelope:
        """A directory that ends the log at its newest head (or what else is quoted), of which `kept` leaves were saved.

        From now on the log is the next one; `leaves` holds what was kept.
        """
        former = FormerLog(
            log_vkey=self.directory_statement.log_vkey,
            policy=self.directory_statement.policy,
            ended=moment(self.now),
            heads=tuple(head.to_bytes().decode() for head in heads or [self.checkpoint()]),
            kept=kept,
            root=merkle.root_of_leaves(self.leaves[:kept]).hex(),
        )
        self.leaves = self.leaves[:kept]
        next_log = Signer(f"{self.log.verifier.name}/2", Ed25519PrivateKey.generate())
        policy = former.policy.replace(former.log_vkey, str(next_log.verifier))
        self.log = next_log
        self.directory_statement = self._directory(version, policy=policy, former_logs=(former,))
        self.directory_envelope = sign(self.directory_statement, self.root)
        return self.directory_envelope

    def clock(self) -> datetime:
        return self.now

    def trusted(self) -> TrustedDirectory:
        trusted = TrustedDirectory(fingerprint(self.root.public.text))
        trusted.accept(self.directory_envelope)
        return trusted

    def custodian(self, signer: SigningKey | None = None) -> CustodianClient:
        return CustodianClient.of(
            self.directory_statement, signer or self.requester, clock=self.clock, transport=self.transport
        )

    def collector(self) -> CollectorClient:
        return CollectorClient.of(self.directory_statement, clock=self.clock, transport=self.transport)

    def job(self) -> Job:
        return open_lease(self.custodian(), self.trusted(), request=REQUEST, clock=self.clock)

    def data(self, **options: Any) -> Data:
        options.setdefault("wait", lambda _seconds: None)
        return Data(self.job(), self.custodian(), self.collector(), self.statement.public, **options)

    # --- recording ----------------------------------------------------------------------------------------------------

    def begin(self, modality: Modality, pseudonym: str = "p-1", day: str = DAY) -> Recording:
        stream, stream_key, vault_key = new_id(), SigningKey.generate(), HybridPrivateKey.generate()
        certificate = StreamCertificate(
            stream=stream,
            stream_key=stream_key.public.text,
            modality=modality,
            day=day,
            vault_key=vault_key.public_key.to_text(),
            record_until=f"{add_days(day, 1)}T00",
            upload_until=add_days(day, 14),
            byte_budget=10**9,
        )
        recording = Recording(
            LeasedStream(stream=stream, pseudonym=pseudonym, modality=modality, day=day),
            stream_key.ed25519,
            vault_key,
            sign(certificate, self.statement),
        )
        self.recordings[stream] = recording
        return recording

    def segment(
        self,
        recording: Recording,
        events: tuple[Event, ...],
        *,
        hour: str = HOUR,
        wall: datetime | None = None,
        frames: bytes = b"",
        content_changes: dict[str, Any] | None = None,
        gaps: tuple[Gap, ...] = (),
        boot_ns: int = 0,
    ) -> str:
        """Seal and shelve one segment; monotonic 0 is `boot_ns` before `wall` (default: the hour's beginning)."""
        wall = wall or parse_hour(hour)
        fields: dict[str, Any] = {
            "stream": recording.id,
            "sequence": recording.sequence,
            "modality": recording.leased.modality,
            "events": events,
            "anchors": (ClockAnchor(t_ns=boot_ns, wall_ns=int(wall.timestamp()) * 10**9),),
            "gaps": gaps,
            "frames": frames,
        }
        content = encode_content(SegmentContent(**{**fields, **(content_changes or {})}))
        sealed, _ = seal_segment(
            content=content,
            stream=recording.id,
            sequence=recording.sequence,
            previous=recording.previous,
            hour=hour,
            vault_key=recording.vault_key.public_key,
            stream_key=recording.stream_key,
        )
        recording.items.append(
            FetchedSegment(
                header=b64(sealed.header),
                sealed_key=b64(sealed.sealed_key),
                body_sha256=sealed.body_sha256.hex(),
                body_length=len(sealed.body),
                signature=b64(sealed.signature),
            )
        )
        recording.bodies[sealed.id] = sealed.body
        recording.previous = sealed.id
        recording.sequence += 1
        return sealed.id

    def forget(self, recording: Recording, count: int = 1) -> None:
        last = hashlib.sha256(b"forgotten").hexdigest()
        signed = sign_record(
            SkipRecord(
                stream=recording.id,
                from_sequence=recording.sequence,
                to_sequence=recording.sequence + count - 1,
                previous=recording.previous,
                last_skipped=last,
                reason="forgotten",
            ),
            recording.stream_key,
        )
        recording.items.append(FetchedRecord(record=b64(signed.record), signature=b64(signed.signature)))
        recording.sequence += count
        recording.previous = last

    def end(self, recording: Recording) -> None:
        record = EndRecord(
            stream=recording.id, next_sequence=recording.sequence, previous=recording.previous, how="clean"
        )
        signed = sign_record(record, recording.stream_key)
        recording.items.append(FetchedRecord(record=b64(signed.record), signature=b64(signed.signature)))

    def session(self, pseudonym: str = "p-1", segments: int = 3, day: str = DAY) -> dict[Modality, Recording]:
        """All four modalities, five minutes per segment, a few events each."""
        made = {modality: self.begin(modality, pseudonym, day) for modality in Modality}
        for number in range(segments):
            base = number * 300 * 10**9
            for modality, recording in made.items():
                events, frames = _events(modality, base, number)
                gap = (Gap(from_ns=base + 10**9, until_ns=base + 2 * 10**9, reason=GapReason.PAUSED),)
                gaps = gap if modality is Modality.POINTER and number == 1 else ()
                self.segment(recording, events, hour=f"{day}T09", frames=frames, gaps=gaps)
        for recording in made.values():
            self.end(recording)
        return made

    # --- services -----------------------------------------------------------------------------------------------------

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        request.read()
        path = request.url.path
        try:
            kind, body = self._answer(request, path)
            body = self.tamper(path, body)
        except Problem as problem:
            return httpx2.Response(
                problem.code.status,
                headers={"content-type": "application/problem+json"},
                content=json.dumps(problem.as_dict()).encode(),
            )
        return httpx2.Response(200, headers={"content-type": kind}, content=body)

    def _answer(self, request: httpx2.Request, path: str) -> tuple[str, bytes]:
        if path in self.routes:
            answer = self.routes[path](request)
            return ("text/plain", answer.encode()) if isinstance(answer, str) else ("application/json", answer)
        if path == "/v1/directory":
            return "application/json", self.directory_envelope.to_json()
        routes = {
            "/v1/leases": self._lease,
            "/v1/leases/releases": self._release,
            "/v1/leases/closures": self._close,
            "/v1/fetch/streams": self._fetch_streams,
        }
        if path in routes:
            return "application/json", routes[path](request.content)
        if path == "/v1/fetch/bodies":
            return "application/octet-stream", self._fetch_bodies(request.content)
        raise Problem(Code.NOT_FOUND, "no such address")

    def asked_by(self, request: httpx2.Request, key: PublicKey) -> Ask:
        """The Ask in the Authorization field, if `key` signed it for this very target."""
        scheme, _, text = request.headers["authorization"].partition(" ")
        assert scheme == "Assent"
        ask = read(Envelope.from_json(b64url_bytes(text)), Ask, key)
        target = re.sub(r"^https?://[^/]+", "", str(request.url))
        if (ask.method, ask.target) != (request.method, target):
            raise Problem(Code.SIGNATURE_INVALID, "another target")
        return ask

    def _lease(self, body: bytes) -> bytes:
        envelope = Envelope.from_json(body)
        asked = read(envelope, LeaseRequest, self.requester.public)
        streams = tuple(recording.leased for recording in self.recordings.values())
        salt = b"salt" * 8
        root = list_root(salt, [stream.stream for stream in streams])
        lease = Lease(
            lease=new_id(),
            request=asked.request or envelope.hash,
            mode="own" if asked.own else "reader",
            purpose=None if asked.own else "https://example.test/purpose",
            job_signing_key=asked.job_signing_key,
            job_receiving_key=asked.job_receiving_key,
            streams=root,
            opened=moment(self.now),
            until=asked.until,
        )
        signed = sign(lease, self.statement)
        self.leases[lease.lease] = (lease, signed)
        leaf = Leaf(
            type=LeafType.LEASE_OPENED,
            at=moment(self.now),
            decision="allowed",
            subject=signed.hash,
            request=lease.request,
            purpose=lease.purpose,
            mode=lease.mode,
            until=lease.until,
            keys=(fingerprint(lease.job_signing_key), fingerprint(lease.job_receiving_key)),
            roots={"streams": root},
        ).to_bytes()
        self.leaves.append(leaf)
        tickets = tuple(
            sign(
                Ticket(
                    ticket=new_id(),
                    day=day,
                    streams=tuple(stream.stream for stream in streams if stream.day == day),
                    job_signing_key=lease.job_signing_key,
                    until=lease.until,
                ),
                self.statement,
            )
            for day in sorted({stream.day for stream in streams})
        )
        return LeaseAnswer(
            lease=signed,
            streams=streams,
            salt=b64(salt),
            tickets=tickets,
            leaf=b64(leaf),
            proof=self.proof(len(self.leaves) - 1).decode(),
        ).to_json()

    def checkpoint(self) -> Note:
        root = merkle.root_of_leaves(self.leaves)
        note = sign_checkpoint(Checkpoint(self.log.verifier.name, len(self.leaves), root), self.log)
        if self.quorum_met:
            note = note.signed_also_by(self.witness.cosign(note.text, int(self.now.timestamp())))
        return note

    def proof(self, index: int) -> bytes:
        nodes: dict[tuple[int, int], bytes] = {}
        for number, leaf in enumerate(self.leaves):
            hashed = merkle.append(number, [merkle.leaf_hash(leaf)], lambda level, at: nodes[level, at])
            nodes.update({(node.level, node.index): node.hash for node in hashed})
        hashes = merkle.inclusion_proof(index, len(self.leaves), lambda level, at: nodes[level, at])
        return LogProof(index, tuple(hashes), self.checkpoint()).to_bytes()

    def _release(self, data: bytes) -> bytes:
        body = ReleaseBody.parse(data)
        claimed = read_unverified(body.statement, ReleaseRequest)
        lease, envelope = self.leases[claimed.lease]
        asked = read(body.statement, ReleaseRequest, PublicKey(lease.job_signing_key))
        batch = base64.b64decode(body.batch)
        assert hashlib.sha256(batch).hexdigest() == asked.batch
        if self.ended is not None:
            raise self.ended
        opened, refused = [], []
        for header, sealed in unpack_batch(batch):
            stream = json.loads(header)["stream"]
            segment = header_hash(header)
            reason = self.refuse.get(segment.hex()) or self.refuse.get(stream)
            if reason:
                refused.append(ReleaseRefusal.model_validate({"segment": segment.hex(), "reason": reason}))
            else:
                opened.append((segment, open_sealed_key(sealed, header, self.recordings[stream].vault_key)))
        receiving = HybridPublicKey.from_text(lease.job_receiving_key)
        hashes = bytes.fromhex(envelope.hash), bytes.fromhex(asked.batch)
        sealed_keys = seal_release(opened, receiving, *hashes) if opened else b""
        return ReleaseAnswer(sealed=b64(sealed_keys), refused=tuple(refused)).to_json()

    def _close(self, data: bytes) -> bytes:
        envelope = Envelope.from_json(data)
        lease, _ = self.leases[read_unverified(envelope, LeaseClosed).lease]
        self.closed.append(read(envelope, LeaseClosed, PublicKey(lease.job_signing_key)).opened)
        return Accepted(hash=envelope.hash).to_json()

    def _ticketed(self, data: bytes) -> tuple[Ticket, FetchRequest]:
        body = FetchBody.parse(data)
        ticket = read(body.ticket, Ticket, self.statement.public)
        return ticket, read(body.request, FetchRequest, PublicKey(ticket.job_signing_key))

    def _fetch_streams(self, data: bytes) -> bytes:
        ticket, asked = self._ticketed(data)
        names = asked.streams or ticket.streams
        assert set(names) <= set(ticket.streams)
        return FetchAnswer(
            streams=tuple(self.recordings[name].fetched() for name in names if name in self.recordings)
        ).to_json()

    def _fetch_bodies(self, data: bytes) -> bytes:
        ticket, asked = self._ticketed(data)
        bodies = {key: body for name in ticket.streams for key, body in self.recordings[name].bodies.items()}
        out = bytearray()
        for segment in asked.segments:
            body = bodies.get(segment)
            out += bytes.fromhex(segment) + struct.pack(">Q", GONE if body is None else len(body)) + (body or b"")
        return bytes(out)


def _events(modality: Modality, base: int, number: int) -> tuple[tuple[Event, ...], bytes]:
    match modality:
        case Modality.POINTER:
            moves = range(5)
            return tuple(PointerMoved(t_ns=base + n * 10**7, seq=number * 5 + n, x=n, y=n) for n in moves), b""
        case Modality.KEYBOARD:
            return (
                KeyEvent(t_ns=base + 15_000_000, seq=number * 2, key="a", pressed=True),
                KeyEvent(t_ns=base + 25_000_000, seq=number * 2 + 1, key="a", pressed=False),
            ), b""
        case Modality.SCREEN:
            encoder = FrameEncoder()
            pixels = np.full((20, 30, 3), 10 * number, dtype=np.uint8)
            encoder.add(pixels, seq=number)
            return (ScreenFrame(t_ns=base + 12_000_000, seq=number, display=0, width=30, height=20),), encoder.finish()
        case Modality.CONTEXT:
            window = WindowActivated(
                t_ns=base, seq=number, rect=Rect(0, 0, 10, 10), application="editor", title="notes"
            )
            return (window,), b""


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)
