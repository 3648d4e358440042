"""A whole installation in this process: real custodian, real collector, a witness, real clients, real sealed segments.

Only the network between them is replaced: `wire` forwards every request to the service that it is for, and lets a test
play the enemy on the way (`enemy` sees each request and may answer itself, or change what the service answered).
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from tests.exposure.canary import TILE_SIDE, Marker
from tests.simulators.custodian import PURPOSE, RECIPIENT, CustodianWorld, Member, unused_port
from tests.simulators.postgres import PostgresServer

from assent.client.collector import CollectorClient
from assent.client.custodian import CustodianClient
from assent.client.directory import TrustedDirectory
from assent.codec.content import encode_content
from assent.codec.frames import FrameEncoder
from assent.contracts.envelope import Envelope
from assent.contracts.events import (
    ClockAnchor,
    KeyEvent,
    PointerMoved,
    Rect,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.segment import FIRST_PREVIOUS, EndRecord
from assent.contracts.statements import DataRequest, Decision, Mode, OwnData, Role, StreamCertificate
from assent.contracts.times import hour_of, moment
from assent.reader.jobs import Job, open_lease
from assent.reader.sessions import Data
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import SealedSegment, SignedRecord, seal_segment, sign_record
from assent_collector.app import Collector, application, open_collector
from assent_collector.custodian import HttpCustodian
from assent_collector.settings import CollectorSettings
from assent_custodian.app import app_for
from assent_custodian.context import open_custodian
from assent_service.migrating import migrate

CUSTODIAN, COLLECTOR = "http://127.0.0.1:8401", "http://127.0.0.1:8402"

Ask = httpx2.Request
Answer = httpx2.Response
Enemy = Callable[[Ask, Callable[[], Answer]], Answer]
"""Gets a request, and a function that asks the real service; returns what the client shall see."""


@dataclass
class Recording:
    """One stream as an agent has it, and everything that was sealed for it."""

    member: Member
    certificate: StreamCertificate
    envelope: Envelope
    key: SigningKey = field(repr=False)
    sealed: list[SealedSegment] = field(default_factory=list)
    end: SignedRecord | None = None

    @property
    def stream(self) -> str:
        return self.certificate.stream

    @property
    def modality(self) -> Modality:
        return self.certificate.modality

    @property
    def previous(self) -> str:
        return self.sealed[-1].id if self.sealed else FIRST_PREVIOUS

    def seal(self, content: bytes, hour: str, **changes: Any) -> SealedSegment:
        """Seal the next segment."""
        fields: dict[str, Any] = {
            "content": content,
            "stream": self.stream,
            "sequence": len(self.sealed),
            "previous": self.previous,
            "hour": hour,
            "vault_key": HybridPublicKey.from_text(self.certificate.vault_key),
            "stream_key": self.key.ed25519,
        }
        segment, _ = seal_segment(**{**fields, **changes})
        self.sealed.append(segment)
        return segment

    def finish(self) -> SignedRecord:
        """The end record."""
        record = EndRecord(
            stream=self.stream, next_sequence=len(self.sealed), previous=self.previous, how="clean"
        )  # fmt: skip
        self.end = sign_record(record, self.key.ed25519)
        return self.end


class Installation:
    """Custodian, collector and witness; `enemy` None means that everybody is honest."""

    def __init__(self, folder: Path, world: CustodianWorld, *, database_url: str = "") -> None:
        """Open the installation in `folder`, which `found` or `copy` made."""
        self.folder = folder
        self.world = world
        self.enemy: Enemy | None = None
        self.heard: list[Ask] = []
        self.collector_settings = CollectorSettings(
            root_fingerprint=world.report.root_fingerprint,
            custodian_url=CUSTODIAN,
            data_dir=folder / "collector",
            database_url=database_url,
            port=unused_port(),
            background=False,
        )
        self.open_collector()

    def open_collector(self) -> None:
        """Open the collector on its files; close the one before first."""
        asked = HttpCustodian(CUSTODIAN, self.world.collector_key, self.world.clock, self.wire)
        self.collector: Collector = open_collector(self.collector_settings, self.world.clock, asked)
        self.collector_client = self.world.client_for(application(self.collector))

    @classmethod
    def found(cls, folder: Path, database_urls: tuple[str, str] = ("", ""), **settings: Any) -> Installation:
        """A new one, with admin, council and data-protection officer."""
        world = CustodianWorld(folder, database_urls[0], **settings)
        collector = folder / "collector"
        collector.mkdir(mode=0o700)
        (collector / "collector.pem").write_bytes(world.collector_key.to_pem())
        (collector / "collector.pem").chmod(0o600)
        migrate("collector", database_urls[1] or f"sqlite:///{collector / 'collector.db'}")
        return cls(folder, world, database_url=database_urls[1])

    def copy(self, folder: Path, database_urls: tuple[str, str] = ("", "")) -> Installation:
        """The same with the same keys, on copies of all files. Clock and witness are shared.

        `database_urls`: copies of the databases of custodian and collector, where they are not in files.
        """
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        world = copy.copy(self.world)
        world.settings = self.world.settings.model_copy(
            update={"data_dir": folder / "custodian", "database_url": database_urls[0]}
        )
        world.custodian = open_custodian(world.settings, world.clock)
        world.client = world.client_for(app_for(world.custodian))
        world.founders = {role: of(member, world) for role, member in self.world.founders.items()}
        return Installation(folder, world, database_url=database_urls[1])

    def close(self, *, copied: bool = False) -> None:
        """A copy leaves the witness running: it is the original's."""
        self.collector.close()
        if copied:
            self.world.custodian.close()
        else:
            self.world.close()

    def disconnect(self) -> None:
        """Close every connection to the databases. They are opened again when they are needed."""
        self.world.custodian.database.close()
        self.collector.database.close()

    # --- the network ---

    @property
    def wire(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._carry)

    def _carry(self, request: Ask) -> Answer:
        request.read()
        self.heard.append(request)
        return self.enemy(request, lambda: self._deliver(request)) if self.enemy else self._deliver(request)

    def _deliver(self, request: Ask) -> Answer:
        client = self.world.client if request.url.port == 8401 else self.collector_client
        headers = [(k, v) for k, v in request.headers.items() if k not in ("host", "accept-encoding", "connection")]
        answer = client.request(
            request.method, request.url.raw_path.decode(), headers=dict(headers), content=request.content
        )
        return Answer(answer.status_code, headers=dict(answer.headers), content=answer.content)

    def custodian_as(self, key: SigningKey | None) -> CustodianClient:
        directory = self.world.custodian.directory.directory
        return CustodianClient.of(directory, key, clock=self.world.clock, transport=self.wire)

    def uploader(self) -> CollectorClient:
        directory = self.world.custodian.directory.directory
        return CollectorClient.of(directory, clock=self.world.clock, transport=self.wire)

    def directory(self) -> TrustedDirectory:
        trusted = TrustedDirectory(self.world.report.root_fingerprint)
        trusted.accept(self.world.custodian.directory.envelope)
        return trusted

    # --- recording ---

    def record(
        self, member: Member, marker: Marker, modalities: Sequence[Modality] = tuple(Modality), *, upload: bool = True
    ) -> list[Recording]:
        """One segment per modality in which the marker was typed, shown in a title and drawn; sealed, ended, sent."""
        recordings = []
        for certificate, key, envelope in member.certify(modalities):
            recording = Recording(member, certificate, envelope, key)
            recording.seal(self.content(certificate, marker), hour_of(self.world.clock()))
            recording.finish()
            recordings.append(recording)
        if upload:
            self.upload(recordings)
        return recordings

    def content(self, certificate: StreamCertificate, marker: Marker, sequence: int = 0) -> bytes:
        """The plaintext of a segment with the marker in it."""
        wall_ns = int(self.world.clock().timestamp()) * 10**9
        events, frames = _observed(certificate.modality, marker)
        return encode_content(
            SegmentContent(
                stream=certificate.stream, sequence=sequence, modality=certificate.modality.value,
                events=events, frames=frames, anchors=(ClockAnchor(t_ns=0, wall_ns=wall_ns),),
            )
        )  # fmt: skip

    def upload(self, recordings: Sequence[Recording]) -> None:
        with self.uploader() as collector:
            for recording in recordings:
                collector.announce(recording.envelope)
                for segment in recording.sealed:
                    collector.send_segment(
                        header=segment.header, sealed_key=segment.sealed_key, body=segment.body,
                        body_sha256=segment.body_sha256, signature=segment.signature,
                    )  # fmt: skip
                if recording.end is not None:
                    collector.send_record(record=recording.end.record, signature=recording.end.signature)

    # --- asking and reading ---

    def staff(self) -> Staff:
        """A requester, two stewards and an auditor."""
        add = self.world.add_person
        return Staff(
            add("Rika Requester", Role.REQUESTER),
            add("Sam Steward", Role.STEWARD),
            add("Stef Steward", Role.STEWARD),
            add("Aki Auditor", Role.AUDITOR),
        )

    def request(self, **changes: Any) -> DataRequest:
        day, now = self.world.now[:10], self.world.clock()
        content: dict[str, Any] = {
            "purpose": PURPOSE, "purpose_version": 1, "modalities": tuple(Modality), "from_day": day, "to_day": day,
            "mode": Mode.READER, "recipient": RECIPIENT, "why": "to train", "nonce": new_id(), "at": moment(now),
            "expires": moment(now + timedelta(days=20)),
        }  # fmt: skip
        return DataRequest(**{**content, **changes})

    def grant(self, staff: Staff, **changes: Any) -> str:
        """Sign a request and have both stewards approve it; returns its hash."""
        with self.custodian_as(staff.requester.opening) as custodian:
            hash_ = custodian.ask_for_data(self.request(**changes)).hash
        for steward in staff.stewards:
            self.decide(steward, hash_, "approve")
        return hash_

    def decide(self, member: Member, request: str, decision: str, reason: str = "") -> str:
        statement = Decision(request=request, decision=decision, reason=reason, at=self.world.now)  # type: ignore[arg-type]
        with self.custodian_as(member.opening) as custodian:
            return custodian.decide(statement).state

    def job(self, member: Member, request: str) -> Job:
        with self.custodian_as(member.opening) as custodian:
            return open_lease(custodian, self.directory(), request=request, clock=self.world.clock)

    def own_job(self, member: Member, key: SigningKey | None = None) -> Job:
        day = self.world.now[:10]
        own = OwnData(from_day=day, to_day=day, modalities=tuple(Modality))
        with self.custodian_as(key or member.opening) as custodian:
            return open_lease(custodian, self.directory(), own=own, clock=self.world.clock)

    @contextmanager
    def reading(self, job: Job) -> Iterator[Data]:
        with (
            self.custodian_as(None) as custodian,
            self.uploader() as collector,
            Data(job, custodian, collector, self.directory().statement_key, wait=lambda _seconds: None) as data,
        ):
            yield data

    def plaintext(self, job: Job) -> bytes:
        """Everything that the job can read, as bytes to be searched."""
        with self.reading(job) as data:
            found = bytearray()
            for session in data.sessions():
                for recorded in session.events():
                    event = recorded.event
                    if isinstance(event, KeyEvent) and event.pressed:
                        found += event.key.encode()
                    elif isinstance(event, WindowActivated):
                        found += event.title.encode()
                for picture in session.frames():
                    found += picture.pixels.tobytes()
            return bytes(found)


@dataclass(frozen=True)
class Staff:
    requester: Member
    steward: Member
    other_steward: Member
    auditor: Member

    @property
    def stewards(self) -> tuple[Member, Member]:
        return self.steward, self.other_steward


def _observed(modality: Modality, marker: Marker) -> tuple[tuple[Any, ...], bytes]:
    match modality:
        case Modality.KEYBOARD:
            keys = [(char, pressed) for char in marker.text for pressed in (True, False)]
            return tuple(
                KeyEvent(t_ns=n * 10**6, seq=n, key=key, pressed=down) for n, (key, down) in enumerate(keys)
            ), b""
        case Modality.CONTEXT:
            rect = Rect(0, 0, 800, 600)
            return (WindowActivated(t_ns=0, seq=0, rect=rect, application="editor", title=marker.text),), b""
        case Modality.POINTER:
            return tuple(PointerMoved(t_ns=n * 10**6, seq=n, x=n, y=n) for n in range(50)), b""
        case Modality.SCREEN:
            picture = np.zeros((150, 200, 3), dtype=np.uint8)
            tile = np.frombuffer(marker.tile, dtype=np.uint8).reshape(TILE_SIDE, TILE_SIDE, 3)
            picture[37 : 37 + TILE_SIDE, 21 : 21 + TILE_SIDE] = tile
            encoder = FrameEncoder()
            encoder.add(picture)
            return (ScreenFrame(t_ns=0, seq=0, display=0, width=200, height=150),), encoder.finish()


@dataclass
class Populated:
    """An installation in daily use: ten people with recordings, staff, a grant, and a job with an open lease."""

    installation: Installation
    people: list[Member]
    recordings: list[Recording]
    staff: Staff
    marker: Marker
    request: str
    job: Job

    @property
    def world(self) -> CustodianWorld:
        return self.installation.world


def populate(installation: Installation, people: int = 10) -> Populated:
    """Ten people take part, record the marker and send it; a request is granted and a lease opened."""
    marker = Marker.new()
    installation.world.add_purpose()
    staff = installation.staff()
    members = installation.world.add_participants(people)
    recordings = [recording for member in members for recording in installation.record(member, marker)]
    request = installation.grant(staff)
    return Populated(
        installation, members, recordings, staff, marker, request, installation.job(staff.requester, request)
    )


def of(member: Member, world: CustodianWorld) -> Member:
    """The same person with the same keys in a copied world."""
    return replace(member, world=world, receipts=list(member.receipts), withdrawals=[])


@contextmanager
def installed(folder: Path, **options: Any) -> Iterator[Installation]:
    installation = Installation.found(folder, **options)
    try:
        yield installation
    finally:
        installation.close()


MEMORY = Path("/dev/shm")
"""A file system in memory, on every Linux."""


class Template:
    """An installation from which many copies are made, each beginning at the same moment. Copies are cheap."""

    def __init__(self, original: Installation) -> None:
        self._original = original
        self._at, self._size = original.world.clock.at, original.world.witness.size

    @contextmanager
    def copied(self, folder: Path, server: PostgresServer | None = None) -> Iterator[Installation]:
        """A copy; of an installation on PostgreSQL with databases of its own on the same `server`."""
        world = self._original.world
        world.clock.at, world.witness.size, world.witness.silent = self._at, self._size, False
        urls = ("", "")
        if server is not None:
            self._original.disconnect()
            urls = (server.copy(world.settings.database), server.copy(self._original.collector_settings.database))
        copied = self._original.copy(folder, urls)
        try:
            yield copied
        finally:
            copied.close(copied=True)
            if server is not None:
                for url in urls:
                    server.drop(url)

    @contextmanager
    def copied_into_memory(self) -> Iterator[tuple[Installation, Path]]:
        """A copy, and the folder where it is, on a file system in memory where there is one; gone afterwards."""
        with (
            tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
            self.copied(Path(folder)) as copied,
        ):
            yield copied, Path(folder)


def populated_copy(original: Populated, installation: Installation) -> Populated:
    """The people, staff and recordings of `original`, in a copy of its installation."""
    world = installation.world
    people = {member.person: of(member, world) for member in original.people}
    staff = Staff(*(of(getattr(original.staff, each.name), world) for each in fields(Staff)))
    recordings = [
        replace(recording, member=people[recording.member.person], sealed=list(recording.sealed))
        for recording in original.recordings
    ]
    return replace(
        original, installation=installation, people=list(people.values()), recordings=recordings, staff=staff
    )
