"""How each route is asked, about somebody else's things, in a form that does nothing even where it is let through.

A drill must not be the accident that it looks for: what it sends to routes that change something is well-formed, signed
and fresh, so that it passes every guard there is, and names things that do not exist, or ends before it begins.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2

from assent.client.custodian import Clock
from assent.client.transport import is_loopback
from assent.contracts.envelope import Envelope, Statement, sign
from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.keys import SigningKey, b64url
from assent.contracts.lists import pack_batch, person_leaf
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import (
    Ask,
    CertificateRequest,
    CollectorReport,
    ConsentEnding,
    CredentialCode,
    CredentialRevocation,
    DataRequest,
    Decision,
    DrillResult,
    Enrolment,
    Erasure,
    Halt,
    Invitation,
    LeaseClosed,
    LeaseRequest,
    Leaving,
    Mode,
    NewCredential,
    Order,
    OrderDone,
    OrderReturned,
    OwnData,
    PurposeDraft,
    PurposeSignature,
    RecallDone,
    Receipt,
    Recovery,
    RecoveryCountersignature,
    RecoveryStopped,
    ReleaseRequest,
    Resume,
    Role,
    RoleCountersignature,
    RoleProposal,
    Standing,
    StreamWanted,
    Unmasking,
    UnmaskingCountersignature,
    Withdrawal,
)
from assent.contracts.times import moment
from assent.contracts.wire import AUTHORIZATION_SCHEME, ReleaseBody, StatementWithLeaf
from assent.sealing.hpke import HybridPrivateKey

NOTHING = "ab" * 32
"""The hash of nothing."""

NOT_PRINTABLE = "drill\x07"
"""Whoever checks a text refuses this one."""


@dataclass(frozen=True)
class Things:
    """What one of those who record has at the moment: others are to ask about it."""

    person: str
    record: str
    notice: str
    receipt: Receipt
    stream: str
    stream_key: str
    modality: Modality
    sealed: tuple[bytes, bytes]
    """Header and sealed key of a segment."""


@dataclass(frozen=True)
class About:
    """What a round of probes is about. `lease`: one that is open."""

    things: Things
    request: str
    lease: str
    directory: str


@dataclass(frozen=True)
class Answer:
    """What came back. `problem`: the problem document of a refusal, if it was one."""

    status: int
    body: bytes
    problem: Mapping[str, Any] | None

    @property
    def done(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        name = str(self.problem.get("type", "")).rpartition(":")[2] if self.problem else ""
        return f"{self.status} {name}".strip()


class Wire:
    """Asks as anybody on the network can: what is sent is not looked at, what comes back is not believed."""

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self._client = httpx2.Client(
            base_url=url,
            transport=transport,
            trust_env=not is_loopback(url),
            timeout=30,
            headers={"Accept-Encoding": "identity"},
        )

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Raises httpx2.HTTPError when nobody answers."""
        sent = {**({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
        response = self._client.request(method, target, content=body, headers=sent)
        problem = None
        if response.headers.get("content-type", "").startswith("application/problem+json"):
            try:
                parsed = json.loads(response.content)
                problem = parsed if isinstance(parsed, dict) else None
            except ValueError:
                problem = None
        return Answer(response.status_code, response.content, problem)

    def close(self) -> None:
        self._client.close()


def authorization(key: SigningKey, method: str, target: str, at: datetime) -> dict[str, str]:
    """The field of a question that is no statement itself."""
    ask = Ask(method=method, target=target, nonce=new_id(), at=moment(at))  # type: ignore[arg-type]
    return {"Authorization": f"{AUTHORIZATION_SCHEME} {b64url(sign(ask, key).to_json())}"}


def target_of(route: str, about: About) -> str:
    """The address of a GET route, about these things."""
    things, path = about.things, route.partition(" ")[2]
    queries = {
        "/v1/log/proof": "?index=0",
        "/v1/orders": "?after=0",
        "/v1/me/receipts/{record}/proof": f"?leaf={NOTHING}",
    }
    named = path.replace("{hash}", about.request).replace("{record}", things.record)
    named = named.replace("{unmasking}", NOTHING)
    return named.replace("{sha256}", things.notice).replace("{path}", "0/000.p/1") + queries.get(path, "")


def probe(wire: Wire, route: str, about: About, key: SigningKey, clock: Clock) -> Answer:
    """Ask this route, signed by this key. Raises KeyError for a route that nobody said how to ask."""
    method, _, path = route.partition(" ")
    if method == "GET":
        target = target_of(route, about)
        return wire.ask("GET", target, headers=authorization(key, "GET", target, clock()))
    return wire.ask(method, path, body_of(path, about, key, clock()))


def body_of(path: str, about: About, key: SigningKey, now: datetime) -> bytes:
    """A body for this address, signed by `key`. Raises KeyError."""
    things, at, past = about.things, moment(now), moment(now - timedelta(days=1))
    if path == "/v1/receipts":
        receipt = things.receipt.model_copy(update={"record": new_id(), "previous": FIRST_PREVIOUS, "at": at})
        return _with_leaf(sign(receipt, key))
    if path == "/v1/withdrawals":
        return _with_leaf(sign(Withdrawal(person=things.person, record=things.record, at=at), key))
    if path == "/v1/erasures":
        return _with_leaf(sign(Erasure(person=things.person, hours=("2020-01-01T00",), at=at), key))
    if path == "/v1/leases/releases":
        batch = pack_batch([things.sealed])
        statement = ReleaseRequest(lease=about.lease, batch=sha256_hex(batch), count=1)
        return ReleaseBody(statement=sign(statement, key), batch=base64.b64encode(batch).decode()).to_json()
    statements: dict[str, Callable[[], Statement]] = {
        "/v1/enrolments": lambda: Enrolment(
            secret=new_id(), credentials=(NewCredential(kind="opening", key=key.public.text),),
            directory=about.directory, at=at,
        ),
        "/v1/me/credentials": lambda: CredentialCode(code=_random(), kind="opening", at=at, until=past),
        "/v1/me/credentials/revocations": lambda: CredentialRevocation(credential=new_id(), at=at),
        "/v1/recoveries": lambda: Recovery(person=new_id(), code=_random(), nonce=new_id(), at=at, until=past),
        "/v1/recoveries/countersignatures": lambda: RecoveryCountersignature(recovery=NOTHING, at=at),
        "/v1/me/recoveries/stops": lambda: RecoveryStopped(recovery=NOTHING, at=at),
        "/v1/consent/endings": lambda: ConsentEnding(
            state="terminated", record=things.record, notice=things.notice, reason="drill", nonce=new_id(), at=at
        ),
        "/v1/certificates": lambda: CertificateRequest(
            nonce=new_id(), at=at,
            streams=(
                StreamWanted(
                    stream=things.stream, stream_key=things.stream_key, modality=things.modality, day=at[:10]
                ),
            ),
        ),
        "/v1/me/standing": lambda: Standing(person=things.person, in_force=False, nonce=new_id(), at=at),
        "/v1/invitations": lambda: Invitation(code=_random(), name=NOT_PRINTABLE, at=at, until=past),
        "/v1/roles": lambda: RoleProposal(person=new_id(), role=Role.STEWARD, action="grant", nonce=new_id(), at=at),
        "/v1/roles/countersignatures": lambda: RoleCountersignature(proposal=NOTHING, at=at),
        "/v1/halt": lambda: Halt(reason=NOT_PRINTABLE, nonce=new_id(), at=at),
        "/v1/halt/resumptions": lambda: Resume(halt=NOTHING, at=at),
        "/v1/purposes": lambda: PurposeDraft(
            iri="urn:assent:drill-none", version=1, sentence=NOT_PRINTABLE, recipients=("x",), modes=(Mode.READER,),
            at=at,
        ),
        "/v1/purposes/signatures": lambda: PurposeSignature(draft=NOTHING, at=at),
        "/v1/requests": lambda: DataRequest(
            purpose="urn:assent:drill-none", purpose_version=1, modalities=(Modality.KEYBOARD,), from_day=at[:10],
            to_day=at[:10], mode=Mode.READER, recipient="drill", why="drill", nonce=new_id(), at=at, expires=past,
        ),
        "/v1/decisions": lambda: Decision(request=NOTHING, decision="approve", at=at),
        "/v1/leases": lambda: lease_request(now, own=OwnData(
            from_day=at[:10], to_day=at[:10], modalities=tuple(Modality)
        )),
        "/v1/leases/closures": lambda: LeaseClosed(lease=about.lease, opened=0),
        "/v1/recalls/done": lambda: RecallDone(recall=NOTHING, at=at),
        "/v1/orders/done": lambda: OrderDone(number=2**31 - 1, order=NOTHING),
        "/v1/orders/returned": lambda: OrderReturned(
            order=sign(Order(number=2**31 - 1, previous=NOTHING, day=at[:10], items=()), key)
        ),
        "/v1/unmaskings": lambda: Unmasking(index=0, actor=NOTHING, reason="drill", nonce=new_id(), at=at),
        "/v1/unmaskings/countersignatures": lambda: UnmaskingCountersignature(unmasking=NOTHING, at=at),
        "/v1/me/leaving": lambda: Leaving(person=NOTHING[:32], nonce=new_id(), at=at),
        "/v1/leavings": lambda: Leaving(person=NOTHING[:32], nonce=new_id(), at=at),
        "/v1/reports": lambda: CollectorReport(
            number=2**31 - 1, since="2020-01-01T00", until="2020-01-01T01", listings=0, bodies=0, refused_tickets=0,
            refused_certificates=0, refused_over_budget=0, orders=0,
        ),
        "/v1/drills": lambda: DrillResult(tried=1, wrong=0, nonce=new_id(), at=at),
    }  # fmt: skip
    return sign(statements[path](), key).to_json()


def lease_request(now: datetime, *, request: str | None = None, own: OwnData | None = None) -> LeaseRequest:
    """A lease for keys that nobody keeps: whoever got it could open nothing."""
    return LeaseRequest(
        request=request, own=own, job_signing_key=SigningKey.generate().public.text,
        job_receiving_key=HybridPrivateKey.generate().public_key.to_text(), nonce=new_id(), at=moment(now),
        until=moment(now + timedelta(minutes=5)),
    )  # fmt: skip


def _with_leaf(envelope: Envelope) -> bytes:
    return StatementWithLeaf(statement=envelope, leaf=person_leaf(os.urandom(16), envelope.hash)).to_json()


def _random() -> str:
    return os.urandom(32).hex()
