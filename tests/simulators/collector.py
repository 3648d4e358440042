"""A custodian's signatures without a custodian: certificates, tickets and orders from an issuer with keys of its own.

`Issuer` signs, `Recording` seals like an agent, `OrderBook` is the custodian as the collector asks it, in memory.
`serving` runs the real collector over real HTTP on a free port.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from assent.client.collector import CollectorClient
from assent.contracts.envelope import Envelope, read, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey, b64url, fingerprint
from assent.contracts.segment import FIRST_PREVIOUS, EndRecord, SkipRecord
from assent.contracts.statements import (
    CollectorReport,
    Directory,
    FetchRequest,
    Order,
    OrderDone,
    OrderItem,
    OrderReturned,
    Revocation,
    Stored,
    StreamCertificate,
    Ticket,
    Tombstone,
    WitnessEntry,
)
from assent.contracts.times import add_days, moment
from assent.contracts.wire import (
    BODY_SHA256_FIELD,
    HEADER_FIELD,
    SEALED_KEY_FIELD,
    SIGNATURE_FIELD,
    FetchBody,
    OrdersAnswer,
    RecordBody,
)
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import SealedSegment, SignedRecord, parse_header, parse_record, seal_segment, sign_record
from assent.transparency.note import Cosigner, Signer
from assent_collector.app import Collector, application, open_collector
from assent_collector.custodian import CustodianUnreachable, ReportElsewhere
from assent_collector.rules import read_preamble
from assent_collector.settings import CollectorSettings
from assent_collector.uploads import Uploads
from assent_service.migrating import migrate
from assent_service.web import MAX_CONNECTIONS, listening_socket, server_config

DAY = "2026-11-23"
NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


class Issuer:
    """Everything that the custodian signs for a collector, with fresh keys."""

    def __init__(self, collector_key: SigningKey | None = None) -> None:
        self.root = SigningKey.generate()
        self.statement_key = SigningKey.generate()
        self.collector_key = collector_key or SigningKey.generate()
        self.log = Signer("log.test", SigningKey.generate().ed25519)
        self.witness = Cosigner("witness.test", SigningKey.generate().ed25519)

    @property
    def root_fingerprint(self) -> str:
        return fingerprint(self.root.public.text)

    def directory(self, version: int = 1, **changes: Any) -> Envelope:
        log, witness = str(self.log.verifier), str(self.witness.verifier)
        fields: dict[str, Any] = {
            "version": version,
            "issued": moment(NOON),
            "organisation": "Test",
            "root_key": self.root.public.text,
            "custodian_url": "http://127.0.0.1:1",
            "collector_url": "http://127.0.0.1:1",
            "statement_key": self.statement_key.public.text,
            "collector_key": self.collector_key.public.text,
            "log_vkey": log,
            "witnesses": (WitnessEntry(url="http://127.0.0.1:1", vkey=witness),),
            "policy": f"log {log}\nwitness w {witness}\nquorum w\n",
            "custody_level": 0,
        }
        return sign(Directory(**fields | changes), self.root)

    def certificate(self, recording: Recording, **changes: Any) -> Envelope:
        fields: dict[str, Any] = {
            "stream": recording.stream,
            "stream_key": recording.public_key,
            "modality": Modality.POINTER,
            "day": DAY,
            "vault_key": recording.vault_key_text,
            "record_until": "2026-11-23T23",
            "upload_until": add_days(DAY, 14),
            "byte_budget": 64 * 1024 * 1024,
        }
        return sign(StreamCertificate(**fields | changes), self.statement_key)

    def ticket(self, job: SigningKey, *streams: str, **changes: Any) -> Envelope:
        fields: dict[str, Any] = {
            "ticket": new_id(),
            "day": DAY,
            "streams": streams,
            "job_signing_key": job.public.text,
            "until": moment(NOON + timedelta(hours=24)),
        }
        return sign(Ticket(**fields | changes), self.statement_key)

    def revocation(self, stream: str) -> Envelope:
        return sign(Revocation(stream=stream), self.statement_key)

    def tombstone(self, stream: str, *hours: str) -> Envelope:
        return sign(Tombstone(stream=stream, hours=hours), self.statement_key)

    def revoke(self, stream: str) -> OrderItem:
        return OrderItem(action="revoke", stream=stream, evidence=self.revocation(stream))

    def erase(self, stream: str, *hours: str) -> OrderItem:
        return OrderItem(action="erase", stream=stream, hours=hours, evidence=self.tombstone(stream, *hours))


@dataclass
class OrderBook:
    """The custodian as the collector asks it. `online` False: it does not answer."""

    issuer: Issuer
    orders_: list[Envelope] = field(default_factory=list)
    acknowledged: list[OrderDone] = field(default_factory=list)
    reports: list[CollectorReport] = field(default_factory=list)
    online: bool = True
    current: Envelope | None = None

    def order(self, *items: OrderItem, **changes: Any) -> Envelope:
        """Sign the next order and keep it."""
        previous = self.orders_[-1].hash if self.orders_ else FIRST_PREVIOUS
        fields: dict[str, Any] = {"number": len(self.orders_) + 1, "previous": previous, "day": DAY, "items": items}
        envelope = sign(Order(**fields | changes), self.issuer.statement_key)
        self.orders_.append(envelope)
        return envelope

    def directory(self) -> Envelope:
        self._answer()
        return self.current or self.issuer.directory()

    def orders(self, after: int) -> OrdersAnswer:
        self._answer()
        missing = len(self.orders_) if after > len(self.orders_) else None
        return OrdersAnswer(orders=tuple(self.orders_[after:]), missing_after=missing)

    def returned(self, envelope: Envelope) -> None:
        self._answer()
        order = read(envelope, OrderReturned, self.issuer.collector_key.public).order
        read(order, Order, self.issuer.statement_key.public)
        self.orders_.append(order)

    def done(self, envelope: Envelope) -> None:
        self._answer()
        self.acknowledged.append(read(envelope, OrderDone, self.issuer.collector_key.public))

    def reported(self, envelope: Envelope) -> None:
        self._answer()
        report = read(envelope, CollectorReport, self.issuer.collector_key.public)
        if self.reports and report == self.reports[-1]:
            return
        expected, since = len(self.reports) + 1, self.reports[-1].until if self.reports else None
        if report.number != expected or report.since != (since or report.since):
            raise ReportElsewhere(expected, since)
        self.reports.append(report)

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self) -> None:
        if not self.online:
            raise CustodianUnreachable("the simulator is offline")


class Recording:
    """One stream as an agent has it: its keys, and segments and records that follow each other."""

    def __init__(self, stream: str | None = None, hour: str = f"{DAY}T09") -> None:
        self.stream = stream or new_id()
        self.hour = hour
        self.key = Ed25519PrivateKey.generate()
        self.vault_key = HybridPrivateKey.generate()
        self.sequence = 0
        self.previous = FIRST_PREVIOUS

    @property
    def public_key(self) -> str:
        return "ed25519:" + b64url(self.key.public_key().public_bytes_raw())

    @property
    def vault_key_text(self) -> str:
        return self.vault_key.public_key.to_text()

    def segment(self, content: bytes = b"content", **changes: Any) -> SealedSegment:
        """Seal the next segment."""
        fields: dict[str, Any] = {
            "content": content,
            "stream": self.stream,
            "sequence": self.sequence,
            "previous": self.previous,
            "hour": self.hour,
            "vault_key": self.vault_key.public_key,
            "stream_key": self.key,
        }
        sealed, _ = seal_segment(**fields | changes)
        self.sequence += 1
        self.previous = sealed.id
        return sealed

    def skip(self, count: int = 1, last_skipped: str | None = None) -> SignedRecord:
        """Give up the next `count` numbers."""
        last = last_skipped or self.previous
        record = SkipRecord(
            stream=self.stream,
            from_sequence=self.sequence,
            to_sequence=self.sequence + count - 1,
            previous=self.previous,
            last_skipped=last,
            reason="forgotten",
        )
        self.sequence += count
        self.previous = last
        return sign_record(record, self.key)

    def end(self) -> SignedRecord:
        record = EndRecord(stream=self.stream, next_sequence=self.sequence, previous=self.previous, how="clean")
        return sign_record(record, self.key)


def ask(job: SigningKey, under: Envelope, at: datetime = NOON, **fields: Any) -> FetchBody:
    """A job's signed request under a ticket."""
    ticket_id = Ticket.model_validate_json(under.payload_bytes).ticket
    request = FetchRequest(**{"ticket": ticket_id, "at": moment(at)} | fields)
    return FetchBody(ticket=under, request=sign(request, job))


def collector_settings(folder: Path, issuer: Issuer, **changes: Any) -> CollectorSettings:
    """Settings of a collector in `folder`, with its key written there. Nothing happens in the background."""
    fields: dict[str, Any] = {
        "root_fingerprint": issuer.root_fingerprint,
        "custodian_url": "http://127.0.0.1:1",
        "data_dir": folder,
        "background": False,
    }
    settings = CollectorSettings(**fields | changes)
    folder.mkdir(parents=True, exist_ok=True)
    settings.key.write_bytes(issuer.collector_key.to_pem())
    settings.key.chmod(0o600)
    return settings


@dataclass
class World:
    """A collector that can be stopped and started again, its issuer, custodian and clock."""

    issuer: Issuer
    book: OrderBook
    clock: Clock
    settings: CollectorSettings
    collector: Collector

    @classmethod
    def new(cls, folder: Path, **changes: Any) -> World:
        issuer = Issuer()
        settings = collector_settings(folder, issuer, **changes)
        migrate("collector", settings.database)
        book, clock = OrderBook(issuer), Clock()
        return cls(issuer, book, clock, settings, open_collector(settings, clock, book))

    def restart(self, **hooks: Any) -> None:
        self.collector.close()
        self.collector = open_collector(self.settings, self.clock, self.book, **hooks)

    def register(self, recording: Recording, **changes: Any) -> None:
        self.collector.uploads.register(recording.stream, self.issuer.certificate(recording, **changes))

    def files(self) -> list[Path]:
        """Every body on disk, also those on their way in."""
        return sorted(p for p in self.settings.blobs.rglob("*") if p.is_file() and p.name != "lock")

    def kept(self) -> list[Path]:
        """The bodies that were kept."""
        return sorted(p for p in (self.settings.blobs / "days").rglob("*") if p.is_file())


@contextmanager
def serving(app: FastAPI, most_connections: int = MAX_CONNECTIONS) -> Iterator[str]:
    """Serve an application as the services do, on a free port of the loopback, in a thread; yields its address."""
    bound = listening_socket("127.0.0.1", 0)
    config = server_config(app, most_connections)
    config.timeout_graceful_shutdown = 2
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    ready = threading.Event()
    begin = server.startup

    async def startup(sockets: Any = None) -> None:
        await begin(sockets)
        ready.set()

    server.startup = startup  # type: ignore[method-assign]
    thread.start()
    if not ready.wait(60):
        raise RuntimeError("the server did not start")
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()


def serving_collector(world: World) -> Any:
    """`serving` for the world's collector."""
    return serving(application(world.collector))


def client_of(world: World, url: str, **options: Any) -> CollectorClient:
    """The client that agents and readers use, believing this world's issuer."""
    keys = world.issuer.collector_key.public, world.issuer.statement_key.public
    return CollectorClient(url, *keys, clock=world.clock, **options)


def upload(client: CollectorClient, segment: SealedSegment) -> Stored:
    """Send one segment over HTTP."""
    return client.send_segment(
        header=segment.header,
        sealed_key=segment.sealed_key,
        body=segment.body,
        body_sha256=segment.body_sha256,
        signature=segment.signature,
    )


def upload_record(client: CollectorClient, signed: SignedRecord) -> Stored:
    """Send one record over HTTP."""
    return client.send_record(record=signed.record, signature=signed.signature)


def preamble_of(segment: SealedSegment) -> dict[str, str]:
    """The HTTP fields before a body."""
    return {
        HEADER_FIELD: b64url(segment.header),
        SEALED_KEY_FIELD: b64url(segment.sealed_key),
        BODY_SHA256_FIELD: segment.body_sha256.hex(),
        SIGNATURE_FIELD: b64url(segment.signature),
    }


def put(uploads: Uploads, segment: SealedSegment) -> Envelope:
    """Upload without HTTP: the same calls in the same order."""
    claim = parse_header(segment.header)
    preamble = read_preamble(preamble_of(segment), claim.stream, claim.sequence)
    admitted = uploads.admit(preamble, str(len(segment.body)))
    if isinstance(admitted, Envelope):
        return admitted
    return uploads.finish(admitted, uploads.begin(), [segment.body])


def put_record(uploads: Uploads, signed: SignedRecord) -> Envelope:
    """Send a record without HTTP."""
    claim = parse_record(signed.record)
    number = claim.from_sequence if isinstance(claim, SkipRecord) else claim.next_sequence
    body = RecordBody(
        record=base64.b64encode(signed.record).decode(), signature=base64.b64encode(signed.signature).decode()
    )
    return uploads.record(claim.stream, number, body)
