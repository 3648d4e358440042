"""A custodian in this process, founded and peopled, with everything real but the network between client and service.

`CustodianWorld` owns a clock that tests move, a witness that answers over loopback HTTP (and can be told not to), and
`Member`s who hold their own keys. Everything goes through the HTTP routes, as agents and people do it.
"""

from __future__ import annotations

import base64
import http.server
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI
from httpx2 import Response
from tests.simulators.conforming import ConformingClient

from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import Envelope, Statement, read, sign
from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.keys import PublicKey, SigningKey, b64url
from assent.contracts.lists import person_leaf
from assent.contracts.statements import (
    DPV_CONSENT,
    AgreedPurpose,
    Ask,
    CertificateAnswer,
    CertificateRequest,
    Choice,
    CredentialCode,
    CredentialRevocation,
    Enrolled,
    Enrolment,
    Halt,
    HeldWithdrawal,
    Invitation,
    Mode,
    NewCredential,
    Notice,
    PurposeDraft,
    PurposeSignature,
    Receipt,
    Resume,
    Role,
    RoleCountersignature,
    RoleProposal,
    Standing,
    StreamCertificate,
    StreamWanted,
    Withdrawal,
    WitnessEntry,
)
from assent.contracts.times import moment
from assent.contracts.wire import AUTHORIZATION_SCHEME, CertificatesAnswer, EnrolmentAnswer, Offer, ReceiptAnswer
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.note import Cosigner
from assent.transparency.witnessing import Submission, build_cosignatures, build_size
from assent_custodian import ceremony
from assent_custodian.app import app_for
from assent_custodian.context import Custodian, open_custodian
from assent_custodian.settings import Settings

START = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
PURPOSE = "urn:purpose:train-computer-use"
RECIPIENT = "internal research"
ALL_MODALITIES = tuple(Modality)


class TestClock:
    """A clock that stands still until it is moved."""

    __test__ = False

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)


def unused_port() -> int:
    """Where nothing listens: a restore refuses while a service may be running, also one of somebody else's tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LocalWitness:
    """Follows one log over loopback HTTP and countersigns with the test's clock. `silent`: answers 503 to everything.

    It checks that sizes never fall and that its memory is named; the consistency proofs are the business of the real
    witness and of its tests.
    """

    def __init__(self, clock: TestClock, name: str = "witness.example/one") -> None:
        self.key = SigningKey.generate()
        self.cosigner = Cosigner(name, self.key.ed25519)
        self.time = lambda: clock().timestamp()
        self.silent = False
        self.size = 0
        self.asked = 0
        witness = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = witness.answer(body, clock)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, body: bytes, clock: TestClock) -> tuple[int, bytes]:
        self.asked += 1
        if self.silent:
            return 503, b""
        submission = Submission.from_bytes(body)
        checkpoint = Checkpoint.from_text(submission.checkpoint.text)
        if submission.old_size != self.size or checkpoint.size < self.size:
            return 409, build_size(self.size)
        self.size = checkpoint.size
        return 200, build_cosignatures([self.cosigner.cosign(submission.checkpoint.text, int(clock().timestamp()))])

    @property
    def entry(self) -> WitnessEntry:
        host, port = self._server.server_address[:2]
        return WitnessEntry(url=f"http://{host!s}:{port}", vkey=str(self.cosigner.verifier))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Member:
    """Somebody with an account: their keys, and what they have signed so far."""

    world: CustodianWorld
    person: str
    name: str
    device: SigningKey = field(repr=False)
    opening: SigningKey = field(repr=False)
    previous: str = "0" * 64
    receipts: list[Receipt] = field(default_factory=list)
    countersigned: Envelope | None = None
    withdrawals: list[HeldWithdrawal] = field(default_factory=list)

    def get(self, target: str, *, key: SigningKey | None = None) -> Response:
        """Ask a question, signed by the opening credential unless told otherwise."""
        return self.world.ask(key or self.opening, "GET", target)

    def post(self, target: str, statement: Statement, *, key: SigningKey | None = None) -> Response:
        """Send a statement that is the whole body, signed by the opening credential unless told otherwise."""
        return self.world.post(target, sign(statement, key or self.opening).to_json())

    def code(
        self, kind: Literal["device", "opening"] = "device", **changes: Any
    ) -> tuple[InvitationCode, CredentialCode]:
        """A code that adds a key of this kind, and the statement for it."""
        code = InvitationCode.new("http://127.0.0.1:8401", self.world.report.root_fingerprint, kind)
        until = moment(self.world.clock() + timedelta(hours=24))
        content = {"code": code.secret_hash, "kind": kind, "at": self.world.now, "until": until}
        return code, CredentialCode.model_validate({**content, **changes})

    def add_key(self, kind: Literal["device", "opening"] = "device") -> SigningKey:
        """Add one more key of this kind to oneself; fails the test when it is refused."""
        code, statement = self.code(kind)
        response = self.post("/v1/me/credentials", statement)
        assert response.status_code == 200, response.text
        key = SigningKey.generate()
        enrolled = self.world.post("/v1/enrolments", self.world.enrolment(code.to_text(), [(kind, key)]).to_json())
        assert enrolled.status_code == 200, enrolled.text
        return key

    def revoke(self, key: SigningKey, *, by: SigningKey | None = None, **fields: Any) -> Response:
        """End one of one's own keys."""
        statement = CredentialRevocation(credential=key.public.id, at=self.world.now, **fields)
        return self.post("/v1/me/credentials/revocations", statement, key=by)

    def on(self, device: SigningKey) -> Member:
        """The same person at another device, which has signed no receipt yet."""
        return replace(self, device=device, previous="0" * 64, receipts=[])

    def offer(self) -> Offer:
        return Offer.parse(self.get("/v1/consent/offer", key=self.device).content)

    def receipt(self, **changes: Any) -> Receipt:
        """A receipt for all modalities and every signed purpose, with `changes`."""
        offer, now = self.offer(), self.world.clock()
        choices = changes.get("choices") or tuple(
            Choice(modality=modality, purpose=purpose.iri, purpose_version=purpose.version)
            for purpose in offer.purposes
            for modality in ALL_MODALITIES
        )
        modalities, wanted = {choice.modality for choice in choices}, {choice.purpose for choice in choices}
        asked_for = [purpose for purpose in offer.purposes if purpose.iri in wanted] or offer.purposes
        content: dict[str, Any] = {
            "record": new_id(),
            "person": self.person,
            "previous": self.previous,
            "at": moment(now),
            "notice": Notice(
                version=offer.notice_version, locale=offer.locale, sha256=sha256_hex(offer.notice.encode())
            ),
            "choices": choices,
            "purposes": _shown(offer, choices),
            "personal_data": tuple(item for item in offer.personal_data if item.modality in modalities),
            "terms": offer.terms,
            "recipients": tuple(dict.fromkeys(recipient for purpose in asked_for for recipient in purpose.recipients)),
            "modes": (Mode.READER,),
            "application_list": offer.application_list.version,
            "redaction_profile": offer.redaction_profile,
            "agreement": offer.agreement,
            "dpia": offer.dpia,
            "statements": offer.statements,
            "valid_from": moment(now),
            "valid_until": moment(now + timedelta(days=offer.valid_days)),
        }
        return Receipt(**{**content, **changes})

    def send_receipt(self, receipt: Receipt, *, key: SigningKey | None = None) -> Response:
        return self.world.post_with_leaf("/v1/receipts", receipt, key or self.device)

    def consent(self, **changes: Any) -> Receipt:
        """Give consent; fails the test when it is refused."""
        receipt = self.receipt(**changes)
        answer = self.send_receipt(receipt)
        assert answer.status_code == 200, answer.text
        self.previous = sign(receipt, self.device).hash
        self.receipts.append(receipt)
        self.countersigned = ReceiptAnswer.parse(answer.content).receipt
        return receipt

    def withdraw(self, *, key: SigningKey | None = None, **fields: Any) -> Response:
        """Withdraw everything, or what `fields` name."""
        withdrawal = Withdrawal(person=self.person, at=self.world.now, **fields)
        envelope = sign(withdrawal, key or self.device)
        leaf = person_leaf(secrets.token_bytes(16), envelope.hash)
        if key is None:
            self.withdrawals.append(HeldWithdrawal(statement=envelope, leaf=leaf))
        return self.world.post("/v1/withdrawals", with_leaf(envelope, leaf))

    def restate(self, **changes: Any) -> Response:
        """Say what this device holds, as an agent does after a restore."""
        content: dict[str, Any] = {
            "person": self.person,
            "receipt": self.countersigned,
            "in_force": not self.withdrawals,
            "withdrawals": tuple(self.withdrawals),
            "nonce": new_id(),
            "at": self.world.now,
        }
        return self.post("/v1/me/standing", Standing(**{**content, **changes}), key=self.device)

    def certificate_request(
        self, streams: Sequence[StreamWanted] | None = None, modalities: Sequence[Modality] = ALL_MODALITIES
    ) -> tuple[CertificateRequest, list[SigningKey]]:
        """A request for one new stream of today per modality, and the stream keys."""
        keys = [SigningKey.generate() for _ in modalities]
        wanted = streams or [
            StreamWanted(stream_key=key.public.text, modality=modality, day=self.world.now[:10])
            for key, modality in zip(keys, modalities, strict=True)
        ]
        return CertificateRequest(nonce=new_id(), at=self.world.now, streams=tuple(wanted)), keys

    def certify(
        self, modalities: Sequence[Modality] = ALL_MODALITIES
    ) -> list[tuple[StreamCertificate, SigningKey, Envelope]]:
        """Get certificates; fails the test when one is refused. Returns (certificate, stream key, envelope)."""
        request, keys = self.certificate_request(modalities=modalities)
        response = self.post("/v1/certificates", request, key=self.device)
        assert response.status_code == 200, response.text
        answer = CertificatesAnswer.parse(response.content)
        summary = self.world.read(answer.answer, CertificateAnswer)
        assert summary.refusal is None, summary.refusal
        assert all(envelope is not None for envelope in answer.certificates)
        return [
            (self.world.read(envelope, StreamCertificate), key, envelope)
            for envelope, key in zip(answer.certificates, keys, strict=True)
            if envelope is not None
        ]


class CustodianWorld:
    """A founded custodian on `database_url` (SQLite in `folder`, if empty), with admin, council and dpo enrolled."""

    def __init__(
        self,
        folder: Path,
        database_url: str = "",
        *,
        found: bool = True,
        clock: TestClock | None = None,
        client_for: Callable[[FastAPI], Any] = ConformingClient,
        **settings: Any,
    ) -> None:
        self.clock = clock or TestClock()
        self.witness = LocalWitness(self.clock)
        self.collector_key = SigningKey.generate()
        self.settings = Settings(
            data_dir=folder / "custodian",
            database_url=database_url,
            background=False,
            **{"role_delay_hours": 0, "port": unused_port(), "reserve_mib": 1, **settings},
        )
        self.report = ceremony.init(
            self.settings,
            organisation="Example Ltd",
            custodian_url="http://127.0.0.1:8401",
            collector_url="http://127.0.0.1:8402",
            collector_key=self.collector_key.public.text,
            witnesses=[self.witness.entry],
            agreement="Works agreement 7",
            dpia="DPIA 3",
            clock=self.clock,
        )
        self.custodian: Custodian = open_custodian(self.settings, self.clock)
        self.client_for = client_for
        self.client = client_for(app_for(self.custodian))
        self.founders: dict[Role, Member] = {}
        if found:
            for role in self.report.codes:
                self.founders[role] = self.join(self.report.codes[role], role.value)

    @property
    def now(self) -> str:
        return moment(self.clock())

    @property
    def admin(self) -> Member:
        return self.founders[Role.ADMIN]

    @property
    def council(self) -> Member:
        return self.founders[Role.COUNCIL]

    @property
    def dpo(self) -> Member:
        return self.founders[Role.DPO]

    def close(self) -> None:
        self.witness.close()
        self.custodian.close()

    def restart(self, **settings: Any) -> None:
        """Close the custodian and open it again from its files, with settings changed as operators do."""
        self.custodian.close()
        self.settings = Settings.model_validate({**self.settings.model_dump(), **settings})
        self.custodian = open_custodian(self.settings, self.clock)
        self.client = self.client_for(app_for(self.custodian))

    # --- speaking HTTP ---

    def read(self, envelope: Envelope, kind: type[Any]) -> Any:
        """Read what the custodian answered, after checking the statement key's signature."""
        return read(envelope, kind, PublicKey(self.custodian.directory.directory.statement_key))

    def authorization(self, key: SigningKey, method: str, target: str, **changes: Any) -> str:
        content = {"method": method, "target": target, "nonce": new_id(), "at": self.now, **changes}
        return f"{AUTHORIZATION_SCHEME} {b64url(sign(Ask(**content), key).to_json())}"

    def ask(self, key: SigningKey, method: str, target: str) -> Response:
        return self.client.request(method, target, headers={"Authorization": self.authorization(key, method, target)})

    def post(self, target: str, body: bytes) -> Response:
        return self.client.post(target, content=body, headers={"Content-Type": "application/json"})

    def post_with_leaf(self, target: str, statement: Statement, key: SigningKey) -> Response:
        return self.post(target, with_leaf(sign(statement, key)))

    # --- people ---

    def enrolment(self, code: str, keys: Sequence[tuple[str, SigningKey]], **changes: Any) -> Envelope:
        """A signed enrolment with this code; `keys` are (kind, key)."""
        content = {
            "secret": InvitationCode.from_text(code).secret_hex,
            "credentials": tuple(NewCredential(kind=kind, key=key.public.text) for kind, key in keys),  # type: ignore[arg-type]
            "directory": self.custodian.directory.hash,
            "at": self.now,
            **changes,
        }
        return sign(Enrolment(**content), *(key for _, key in keys))

    def join(self, code: str, name: str) -> Member:
        """Enrol a device key and an opening credential with a code."""
        device, opening = SigningKey.generate(), SigningKey.generate()
        response = self.post(
            "/v1/enrolments", self.enrolment(code, [("device", device), ("opening", opening)]).to_json()
        )
        assert response.status_code == 200, response.text
        enrolled = self.read(EnrolmentAnswer.parse(response.content).enrolled, Enrolled)
        return Member(self, enrolled.person, name, device, opening)

    def invitation(self, name: str, role: Role | None = None, **changes: Any) -> tuple[InvitationCode, Invitation]:
        code = InvitationCode.new("http://127.0.0.1:8401", self.report.root_fingerprint)
        content = {
            "code": code.secret_hash,
            "name": name,
            "role": role,
            "at": self.now,
            "until": moment(self.clock() + timedelta(days=7)),
            **changes,
        }
        return code, Invitation(**content)

    def add_person(self, name: str = "Kim", role: Role | None = None) -> Member:
        """Invite somebody; a role is countersigned by the council and counts at once (role delay 0)."""
        code, invitation = self.invitation(name, role)
        response = self.admin.post("/v1/invitations", invitation)
        assert response.status_code == 200, response.text
        member = self.join(code.to_text(), name)
        if role is not None:
            response = self.countersign(sign(invitation, self.admin.opening).hash)
            assert response.status_code == 200, response.text
        return member

    def countersign(self, proposal: str, by: Member | None = None) -> Response:
        """The council, or whoever it is, signs a role proposal for the keys that it is shown."""
        shown = self.council.get("/v1/roles").json()["proposals"]
        keys = next((tuple(one.get("keys", ())) for one in shown if one["proposal"] == proposal), ())
        statement = RoleCountersignature(proposal=proposal, keys=keys, at=self.now)
        return (by or self.council).post("/v1/roles/countersignatures", statement)

    def end_role(self, member: Member, role: Role) -> None:
        """An admin proposes it, the council agrees; the role ends at once."""
        proposal = RoleProposal(person=member.person, role=role, action="revoke", nonce=new_id(), at=self.now)
        response = self.admin.post("/v1/roles", proposal)
        assert response.status_code == 200, response.text
        response = self.countersign(response.json()["hash"])
        assert response.status_code == 200, response.text

    def add_purpose(self, iri: str = PURPOSE, version: int = 1, *, signed: bool = True, **changes: Any) -> str:
        """Draft a purpose as admin and sign it as council. Returns the draft's hash."""
        content = {
            "iri": iri,
            "version": version,
            "sentence": "Train models to use a computer.",
            "recipients": (RECIPIENT,),
            "modes": (Mode.READER, Mode.EXPORT),
            "at": self.now,
            **changes,
        }
        draft = PurposeDraft(**content)
        response = self.admin.post("/v1/purposes", draft)
        assert response.status_code == 200, response.text
        hash_ = sign(draft, self.admin.opening).hash
        if signed:
            response = self.council.post("/v1/purposes/signatures", PurposeSignature(draft=hash_, at=self.now))
            assert response.status_code == 200, response.text
        return hash_

    def halt(self, reason: str, by: Member | None = None) -> str:
        """Halt the programme as the dpo, or as `by`; returns the halt's hash."""
        by = by or self.dpo
        statement = Halt(reason=reason, nonce=new_id(), at=self.now)
        response = by.post("/v1/halt", statement)
        assert response.status_code == 200, response.text
        return sign(statement, by.opening).hash

    def resume(self) -> None:
        """Have council and dpo sign that every halt in force may end."""
        for member in (self.council, self.dpo):
            for standing in member.get("/v1/halt").json()["halts"]:
                response = member.post("/v1/halt/resumptions", Resume(halt=standing["hash"], at=self.now))
                assert response.status_code == 200, response.text

    def add_participants(self, count: int) -> list[Member]:
        """`count` persons who gave consent to everything offered."""
        members = [self.add_person(f"Person {number}") for number in range(1, count + 1)]
        for member in members:
            member.consent()
        return members


def _shown(offer: Offer, choices: Sequence[Choice]) -> tuple[AgreedPurpose, ...]:
    """The purposes of these choices as they are offered; one that is not offered, made up."""
    offered = {purpose.iri: purpose for purpose in offer.purposes}
    shown = []
    for iri, version in dict.fromkeys((choice.purpose, choice.purpose_version) for choice in choices):
        view = offered.get(iri)
        sentence, terms = ("Made up.", (DPV_CONSENT,)) if view is None else (view.sentence, view.terms)
        shown.append(AgreedPurpose(iri=iri, version=version, sentence=sentence, terms=terms))
    return tuple(shown)


def with_leaf(envelope: Envelope, leaf: str | None = None) -> bytes:
    """A statement and the salted hash of it, as a device sends them."""
    leaf = leaf or person_leaf(secrets.token_bytes(16), envelope.hash)
    return b'{"statement":' + envelope.to_json() + b',"leaf":"' + leaf.encode() + b'"}'


def problem(response: Response) -> str:
    """The name of the problem in an answer: the last part of its type."""
    return str(response.json()["type"]).rpartition(":")[2]


def payload_changed(envelope: Envelope, old: bytes, new: bytes) -> Envelope:
    """The same signatures over other bytes."""
    changed = envelope.payload_bytes.replace(old, new)
    assert changed != envelope.payload_bytes
    return envelope.model_copy(update={"payload": base64.b64encode(changed).decode()})


@contextmanager
def custodian_world(folder: Path, database_url: str = "", **settings: Any) -> Iterator[CustodianWorld]:
    world = CustodianWorld(folder, database_url, **settings)
    try:
        yield world
    finally:
        world.close()
