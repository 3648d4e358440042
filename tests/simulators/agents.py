"""An agent's whole surroundings in one process: a custodian that signs what an agent asks for, the real collector
over real HTTP, a replay as desktop, and clocks that tests move.

`Desk` is the custodian as far as agents see it, with real signatures and in memory; the real one is met in the
end-to-end tests.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import httpx2
from tests.simulators.collector import Issuer, World, client_of, serving_collector
from tests.unit.agent.parts import MemorySecrets

from assent.client.directory import TrustedDirectory
from assent.client.receipts import receipt_of
from assent.codec.content import decode_content
from assent.contracts.envelope import Envelope, read, sign
from assent.contracts.events import KeyboardMode, SegmentContent
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import PublicKey, SigningKey, b64url_bytes
from assent.contracts.segment import FIRST_PREVIOUS, header_hash
from assent.contracts.statements import (
    DPV_CONSENT,
    Ask,
    CertificateAnswer,
    CertificateRequest,
    DataItem,
    Enrolled,
    Enrolment,
    ErasureReceipt,
    LawfulBasis,
    LiveReceipt,
    Mode,
    News,
    Notification,
    PartyNamed,
    PartyRole,
    Receipt,
    Standing,
    StreamCertificate,
    Terms,
    Withdrawal,
    WithdrawalConfirmed,
)
from assent.contracts.times import add_days, day_of, hour_of, moment, parse_moment
from assent.contracts.wire import (
    Accepted,
    Access,
    AccessesView,
    ApplicationList,
    CertificatesAnswer,
    EnrolmentAnswer,
    ErasureAnswer,
    ErasuresView,
    Offer,
    PurposeView,
    ReceiptAnswer,
    ReceiptProof,
    ReceiptsView,
    ReceiptView,
    StatementWithLeaf,
    WithdrawalAnswer,
)
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import body_size, open_body, open_sealed_key, parse_header
from assent_agent.adapters.replay import replay_capture
from assent_agent.ports import Capture
from assent_agent.runtime.agent import Agent
from assent_agent.runtime.home import DEVICE_KEY, AgentHome, Identity, StoredReceipt, Switch
from assent_agent.runtime.network import Links
from assent_agent.settings import AgentSettings

PURPOSE = "urn:purpose:train"
DPV = "https://w3id.org/dpv"
PERSONAL_DATA = tuple(DataItem(modality=m, term=f"{DPV}#PersonalData", words=f"The {m.value}.") for m in Modality)
TERMS = Terms(
    lawful_basis=(
        LawfulBasis(term=DPV_CONSENT, words="A gate."),
        LawfulBasis(term=f"{DPV}#LegitimateInterestOfController", words="As assessed."),
    ),
    parties=(PartyNamed(role=PartyRole.CONTROLLER, name="Example Ltd", address="1 Way", contact="dpo@example"),),
    collection_method="Recorded on this computer.",
    storage_locations=("Example Ltd",),
    retention_days=180,
    withdrawal_method="One click.",
    rights=("To erase.",),
    jurisdiction=("Exampleland",),
)
START = datetime(2026, 11, 23, 12, 1, tzinfo=UTC)


class MovableClock:
    """The machine's clocks, moved by `skip` (all of them) and `step` (the wall clock alone)."""

    def __init__(self, start: datetime | None = None) -> None:
        self.skipped_ns = 0
        self.stepped_ns = 0 if start is None else int(start.timestamp() * 1e9) - time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.skipped_ns

    def elapsed_ns(self) -> int:
        return self.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns() + self.skipped_ns + self.stepped_ns

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall_ns() / 1e9, UTC)

    def skip(self, **by: float) -> None:
        self.skipped_ns += int(timedelta(**by).total_seconds() * 1e9)

    def step(self, **by: float) -> None:
        self.stepped_ns += int(timedelta(**by).total_seconds() * 1e9)


@dataclass
class Desk:
    """The custodian as an agent sees it. `now` is its own clock. `online` False: it does not answer. `also_for`:
    further purposes and their sentences.
    """

    issuer: Issuer
    collector_url: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    url: str = "http://127.0.0.1:1"
    online: bool = True
    halted: str | None = None
    revoked: bool = False
    live: set[str] = field(default_factory=set)
    restored: bool = False
    standings: list[Standing] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    asks_anew: tuple[str, ...] = ()
    narrowed: frozenset[Modality] = frozenset()
    receipts: list[Envelope] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    erasures: tuple[Envelope, ...] = ()
    erasures_again: list[str] = field(default_factory=list)
    erasures_view: ErasuresView = field(default_factory=lambda: ErasuresView(erasures=(), fallen=()))
    certificates: dict[str, HybridPrivateKey] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list, repr=False)
    person: str = field(default_factory=new_id)
    devices: dict[str, PublicKey] = field(default_factory=dict)
    budget: int = 10**9
    application: str = "editor"
    notifications: tuple[Notification, ...] = ()
    accesses: tuple[Access, ...] = ()
    also_for: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Envelope:
        return self.issuer.directory(custodian_url=self.url, collector_url=self.collector_url)

    def offer(self) -> Offer:
        return Offer(
            notice_version="1",
            locale="en",
            notice="This is what is recorded.",
            purposes=tuple(
                PurposeView(
                    iri=iri,
                    version=1,
                    sentence=sentence,
                    recipients=("research",),
                    modes=(Mode.READER, Mode.EXPORT),
                    terms=(f"{DPV}#ResearchAndDevelopment",),
                    draft="0" * 64,
                    signed=True,
                )
                for iri, sentence in {PURPOSE: "Train models to use a computer.", **self.also_for}.items()
            ),
            application_list=ApplicationList(version="1", allow=(self.application,), deny=()),
            redaction_profile="none",
            agreement="Agreement 1",
            dpia="DPIA 1",
            statements=("No detriment.",),
            personal_data=PERSONAL_DATA,
            terms=TERMS,
            valid_days=180,
        )

    def answer(self, method: str, target: str, body: bytes, authorization: str) -> tuple[int, bytes]:
        path = target.partition("?")[0]
        self.asked.append(path)
        self.heard.append(read_aloud(target, authorization, body))
        now = moment(self.now())
        key = self.issuer.statement_key
        match method, path:
            case "GET", "/v1/directory":
                return 200, self.directory.to_json()
            case "POST", "/v1/enrolments":
                enrolment = json.loads(Envelope.from_json(body).payload_bytes)
                parsed = Enrolment.model_validate_json(json.dumps(enrolment))
                keys = [PublicKey(c.key) for c in parsed.credentials]
                read(Envelope.from_json(body), Enrolment, *keys)
                self.devices |= {k.id: k for k in keys}
                done = Enrolled(person=self.person, name="Kim", credentials=tuple(k.id for k in keys), roles=())
                return 200, EnrolmentAnswer(enrolled=sign(done, key), directory=self.directory).to_json()
            case "GET", "/v1/consent/offer":
                self._asker(authorization)
                return 200, self.offer().to_json()
            case "GET", "/v1/me/receipts":
                self._asker(authorization)
                records = [(Receipt.model_validate_json(r.payload_bytes).record, r) for r in self.receipts]
                views = tuple(
                    ReceiptView(record=record, state="withdrawn" if record in self.ended else "given", receipt=receipt)
                    for record, receipt in records
                )
                return 200, ReceiptsView(receipts=views).to_json()
            case "GET", path if path.endswith("/proof"):
                self._asker(authorization)
                return 200, ReceiptProof().to_json()
            case "GET", "/v1/me/news":
                ask = self._asker(authorization)
                assert ask.target == target
                news = News(
                    nonce=ask.nonce,
                    now=now,
                    halted=self.halted,
                    live=() if self.restored or self.revoked else tuple(self._live(record) for record in self.live),
                    restate=True if self.restored else None,
                    erasures=() if self.restored else self.erasures,
                    ended=() if self.revoked else tuple(sorted(self.ended)),
                    asks_anew=self.asks_anew,
                    notifications=() if self.revoked else self.notifications,
                    revoked=self.revoked,
                )
                return 200, sign(news, key).to_json()
            case "POST", "/v1/receipts":
                envelope = StatementWithLeaf.parse(body).statement
                receipt = read(envelope, Receipt, *self.devices_of(envelope))
                signed = envelope.signed_also_by(key)
                self.receipts.append(signed)
                self.live.add(receipt.record)
                return 200, ReceiptAnswer(receipt=signed).to_json()
            case "POST", "/v1/withdrawals":
                envelope = StatementWithLeaf.parse(body).statement
                withdrawal = read(envelope, Withdrawal, *self.devices_of(envelope))
                self.withdrawals.append(withdrawal)
                if not withdrawal.modalities and not withdrawal.purposes and withdrawal.record:
                    self.live.discard(withdrawal.record)
                    self.ended.add(withdrawal.record)
                confirmed = WithdrawalConfirmed(withdrawal=envelope.hash, streams=0, erased_from=day_of(self.now()))
                return 200, WithdrawalAnswer(confirmation=sign(confirmed, key)).to_json()
            case "POST", "/v1/erasures":
                envelope = StatementWithLeaf.parse(body).statement
                self.erasures_again.append(envelope.hash)
                receipt = ErasureReceipt(
                    person=self.person, of=envelope.hash, kind="erasure", state="requested", day=day_of(self.now()),
                    streams=0, days=0, hours=0, erased_from=day_of(self.now()), backup_days=0,
                )  # fmt: skip
                return 200, ErasureAnswer(receipt=sign(receipt, key)).to_json()
            case "GET", "/v1/me/accesses":
                self._asker(authorization)
                accesses = self.accesses or tuple(
                    Access(notification=n) for n in self.notifications if n.kind != "account"
                )
                since = target.rpartition("since=")[2] if "since=" in target else ""
                told = tuple(access for access in accesses if access.notification.day >= since)
                return 200, AccessesView(accesses=told).to_json()
            case "GET", "/v1/me/erasures":
                self._asker(authorization)
                return 200, self.erasures_view.to_json()
            case "POST", "/v1/me/standing":
                envelope = Envelope.from_json(body)
                self.standings.append(read(envelope, Standing, *self.devices_of(envelope)))
                self.restored = False
                return 200, Accepted(hash=envelope.hash).to_json()
            case "POST", "/v1/certificates":
                envelope = Envelope.from_json(body)
                return 200, self._certify(read(envelope, CertificateRequest, *self.devices_of(envelope)))
        return 404, b"{}"

    def _live(self, record: str) -> LiveReceipt:
        """`narrowed`: these modalities were withdrawn elsewhere."""
        receipts = [Receipt.model_validate_json(envelope.payload_bytes) for envelope in self.receipts]
        receipt = next(receipt for receipt in receipts if receipt.record == record)
        left = tuple(choice for choice in receipt.choices if choice.modality not in self.narrowed)
        return LiveReceipt(record=record, left=left)

    def _certify(self, request: CertificateRequest) -> bytes:
        now = self.now()
        made: list[Envelope | None] = []
        for want in request.streams:
            if not self.live or self.halted:
                made.append(None)
                continue
            stream = want.stream or new_id()
            vault = self.certificates.setdefault(stream, HybridPrivateKey.generate())
            certificate = StreamCertificate(
                stream=stream,
                stream_key=want.stream_key,
                modality=want.modality,
                day=want.day,
                vault_key=vault.public_key.to_text(),
                record_until=hour_of(now + timedelta(hours=24)),
                upload_until=add_days(want.day, 14),
                byte_budget=self.budget,
            )
            made.append(sign(certificate, self.issuer.statement_key))
        answer = CertificateAnswer(
            nonce=request.nonce,
            now=moment(now),
            certificates=tuple(None if e is None else e.hash for e in made),
            refusal=None if all(made) else "There is no receipt.",
        )
        return CertificatesAnswer(answer=sign(answer, self.issuer.statement_key), certificates=tuple(made)).to_json()

    def devices_of(self, envelope: Envelope) -> list[PublicKey]:
        known = [self.devices[s.keyid] for s in envelope.signatures if s.keyid in self.devices]
        assert known, "signed by nobody who is enrolled"
        return known

    def _asker(self, authorization: str) -> Ask:
        envelope = Envelope.from_json(b64url_bytes(authorization.partition(" ")[2]))
        ask = read(envelope, Ask, *self.devices_of(envelope))
        assert abs((parse_moment(ask.at) - self.now()).total_seconds()) < 1000
        return ask

    def transport(self) -> httpx2.BaseTransport:
        """The desk without a network."""

        def handle(request: httpx2.Request) -> httpx2.Response:
            if not self.online:
                raise httpx2.ConnectError("offline")
            status, body = self.answer(
                request.method,
                request.url.raw_path.decode(),
                request.read(),
                request.headers.get("authorization", ""),
            )
            return httpx2.Response(status, content=body, headers={"content-type": "application/json"})

        return httpx2.MockTransport(handle)


@contextmanager
def serving_desk(desk: Desk) -> Iterator[str]:
    """The desk over real HTTP, for agents in processes of their own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not desk.online:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            status, answer = desk.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = _serve

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    desk.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield desk.url
    finally:
        server.shutdown()
        server.server_close()


def read_aloud(target: str, authorization: str, body: bytes) -> bytes:
    """Everything in a request that somebody can read, also what was signed: envelopes hold it in base64."""
    signed = b64url_bytes(authorization.partition(" ")[2]) if authorization else b""
    text = b"\n".join((target.encode(), authorization.encode(), signed, body))
    payloads = re.findall(rb'"payload": ?"([A-Za-z0-9+/=]+)"', text)
    return b"\n".join((text, *(base64.b64decode(payload) for payload in payloads)))


def world_bodies(world: World, stream: str) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Segments of a stream as the collector hands them out to a job with a ticket."""
    job = SigningKey.generate()
    now = world.clock()
    ticket = world.issuer.ticket(job, stream, day=day_of(now), until=moment(now + timedelta(hours=24)))
    with serving_collector(world) as url, client_of(world, url) as client:
        for found in client.fetch_streams(ticket, job).streams:
            for item in found.items:
                if item.kind != "segment":
                    continue
                header = base64.b64decode(item.header)
                parsed = parse_header(header)
                segment = header_hash(header).hex()
                ((_, body),) = client.fetch_bodies(ticket, job, [(segment, body_size(parsed.length))])
                assert body is not None
                sealed_key = base64.b64decode(item.sealed_key)
                yield parsed.sequence, {"header": header, "sealed_key": sealed_key, "body": body}


def opened(desk: Desk, world: World) -> Iterator[SegmentContent]:
    """The content of everything that the collector has, opened with the vault keys."""
    for stream, vault in desk.certificates.items():
        for _, segment in world_bodies(world, stream):
            key = open_sealed_key(segment["sealed_key"], segment["header"], vault)
            yield decode_content(open_body(segment["header"], segment["body"], key))


def captive_portal() -> httpx2.BaseTransport:
    """A network that answers everything with 200 and a page to sign in."""
    return httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=b"<html>Sign in</html>", headers={"content-type": "text/html"})
    )


def json_portal() -> httpx2.BaseTransport:
    """One that even says JSON."""
    return httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=b'{"ok":true}', headers={"content-type": "application/json"})
    )


def write_replay(
    path: Path, seconds: float, *, application: str = "editor", rate_hz: int = 50, display: str = ""
) -> Path:
    """A pointer that moves, clicks and some keys, in one allowed window. `display`: the name of what shows it."""
    rect = {"x": 0, "y": 0, "width": 800, "height": 600}
    lines: list[dict[str, Any]] = [
        {"t_ns": 0, "type": "window", "rect": rect, "application": application, "title": "Letter"},
        {"t_ns": 0, "type": "displays", "displays": [{"id": 0, "rect": rect, "scale": 1.0, "name": display}]},
    ]
    for i in range(int(seconds * rate_hz)):
        t_ns = int(i * 1e9 / rate_hz) + 1
        lines.append({"t_ns": t_ns, "type": "move", "x": 10 + i % 700, "y": 10 + i % 500})
        if i % 10 == 5:
            for pressed in (True, False):
                lines.append({"t_ns": t_ns, "type": "button", "x": 10, "y": 10, "button": 1, "pressed": pressed})
        if i % 10 == 7:
            for pressed in (True, False):
                lines.append({"t_ns": t_ns, "type": "key", "key": "a", "pressed": pressed, "code": 30, "vk": 65})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def receipt_for(desk: Desk, modalities: tuple[Modality, ...], now: datetime, record: str | None = None) -> Receipt:
    offer = desk.offer()
    receipt = receipt_of(
        offer,
        person=desk.person,
        previous=FIRST_PREVIOUS,
        at=now,
        pairs=[(modality, purpose.iri) for modality in modalities for purpose in offer.purposes],
        keyboard_mode=KeyboardMode.TEXT,
        modes=(Mode.READER,),
    )
    changes = {"valid_from": moment(now - timedelta(minutes=1)), **({} if record is None else {"record": record})}
    return receipt.model_copy(update=changes)


@dataclass
class Surroundings:
    """A person's device: enrolled, with a home folder, and agents that can be started on it."""

    folder: Path
    desk: Desk
    clock: MovableClock = field(default_factory=lambda: MovableClock(START))
    secrets: MemorySecrets = field(default_factory=MemorySecrets)
    device: SigningKey = field(default_factory=SigningKey.generate)
    settings: AgentSettings = field(default_factory=lambda: AgentSettings(hold_s=0, reserve_bytes=0))
    collector_transport: httpx2.BaseTransport | None = None
    custodian_transport: httpx2.BaseTransport | None = None

    def __post_init__(self) -> None:
        self.desk.now = self.clock.now
        self.home = AgentHome(self.folder)
        self.home.save_identity(
            Identity(
                person=self.desk.person,
                name="Kim",
                custodian_url="http://127.0.0.1:1",
                root_fingerprint=self.desk.issuer.root_fingerprint,
                device_key_id=self.device.public.id,
            )
        )
        self.secrets.put(DEVICE_KEY, self.device.to_pem())
        self.desk.devices[self.device.public.id] = self.device.public

    def give(self, *modalities: Modality, on: bool = True) -> Receipt:
        """Give consent, as `assent-agent consent give` does."""
        return self.keep(self.deliver(*modalities), on=on)

    def deliver(self, *modalities: Modality) -> Envelope:
        """The first half: the custodian has the receipt, which replaces the one before; this device does not yet."""
        receipt = receipt_for(self.desk, modalities or tuple(Modality), self.clock.now())
        envelope = sign(receipt, self.device, self.desk.issuer.statement_key)
        self.desk.receipts.append(envelope)
        self.desk.live = {receipt.record}
        return envelope

    def keep(self, envelope: Envelope, *, on: bool = True) -> Receipt:
        """The second half: the receipt is saved here, and the device switched on."""
        receipt = read(envelope, Receipt, self.device.public)
        self.home.save_receipt(
            StoredReceipt(
                receipt=envelope,
                salt="00" * 16,
                device_key=self.device.public.text,
                application_list=self.desk.offer().application_list,
                notice=self.desk.offer().notice,
            )
        )
        self.home.save_switch(Switch(on=on))
        return receipt

    def agent(self, replay: Path, **changes: Any) -> Agent:
        directory = TrustedDirectory(self.desk.issuer.root_fingerprint)
        links = Links(
            directory,
            "http://127.0.0.1:1",
            self.device,
            self.clock.now,
            custodian_transport=self.custodian_transport or self.desk.transport(),
            collector_transport=self.collector_transport,
        )

        def capture() -> Capture:
            return replay_capture(replay, lead_in_s=0.05)

        fields: dict[str, Any] = {
            "home": self.home,
            "settings": self.settings,
            "device": self.device,
            "secrets": self.secrets,
            "make_capture": capture,
            "indicator": None,
            "clock": self.clock,
            "links": links,
            "random": Random(1),
        }
        return Agent(**{**fields, **changes})


@contextmanager
def running(agent: Agent) -> Iterator[Agent]:
    """The agent's owner thread, until the end of the block."""
    failed: list[BaseException] = []

    def own() -> None:
        try:
            agent.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=own, daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        agent.stop()
        thread.join(30)
        assert not thread.is_alive()
        if failed:
            raise failed[0]


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Poll; fails the test after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")
