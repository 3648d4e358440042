"""Rows 1 to 3: every route of both services, against everybody who may not use it, and against the things of others.

The cases are made from the descriptions (OpenAPI) of both services, and held against the table of roles: a route that
is added is attacked from its first day, and fails here until somebody decides about it and says how it is called.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response
from tests.exposure.world import Populated, Recording
from tests.simulators.custodian import Member, with_leaf

from assent.client.transport import Refused
from assent.contracts.envelope import Envelope, Statement, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey, b64url
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import pack_batch
from assent.contracts.problems import Code
from assent.contracts.segment import FIRST_PREVIOUS, record_signed_bytes, segment_signed_bytes
from assent.contracts.statements import (
    Ask,
    CertificateAnswer,
    CollectorReport,
    ConsentEnding,
    CredentialCode,
    CredentialRevocation,
    Decision,
    DrillResult,
    Enrolment,
    Erasure,
    FetchRequest,
    Halt,
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
    Ticket,
    Unmasking,
    UnmaskingCountersignature,
    Withdrawal,
)
from assent.contracts.times import moment
from assent.contracts.wire import (
    AUTHORIZATION_SCHEME,
    BODY_SHA256_FIELD,
    HEADER_FIELD,
    SEALED_KEY_FIELD,
    SIGNATURE_FIELD,
    FetchBody,
    RecordBody,
    ReleaseBody,
)
from assent.reader.jobs import Job
from assent.sealing.hpke import HybridPrivateKey
from assent_collector.app import openapi as collector_openapi
from assent_custodian.app import guarded_routes
from assent_custodian.app import openapi as custodian_openapi
from assent_custodian.guards import Guard, guard_of
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.night import run_night
from assent_custodian.roles import BY_PERMISSION, RULES, WHEN_REVOKED, Party, Permission
from assent_server.drill.promises import COLLECTOR, Outcome, outcome, routes_of

RULE = {route.replace("{path:path}", "{path}"): rule for rule in RULES for route in rule.routes}
"""The table of roles, by route."""

ROUTES = tuple(routes_of(custodian_openapi()))
"""Every route of the custodian, as its description names them."""

COLLECTOR_ROUTES = [tuple(route.split(" ")) for route in routes_of(collector_openapi())]
"""The same of the collector: method and path."""

OPEN = {"GET /v1/directory", "GET /v1/log/checkpoint"}
"""All that a network client without a credential may have."""

MACHINES = ("collector", "witness", "custodian", "agent", "job")
"""Keys that belong to no person: of the collector, of a witness, the statement key, of a stream, of a job."""
NOBODY = ("stranger", "forger", *MACHINES)
ASKERS = (
    *NOBODY, "device", "person", "leaver", "revoked device", "revoked person",
    *(role.value for role in Role), *(f"{role.value}'s device" for role in Role),
)  # fmt: skip
"""Whoever may try. A forger names a key that may, and signs with another; a leaver was a steward, and is none now."""


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Asker:
    """Who tries: a key, and the person whom the statement speaks of."""

    name: str
    key: SigningKey
    person: str


def asker(populated: Populated, name: str) -> Asker:
    world, staff = populated.world, populated.staff
    if name in NOBODY:
        keys = {
            "collector": world.collector_key, "custodian": world.custodian.statement_key,
            "agent": populated.recordings[0].key, "job": populated.job.signing_key,
            "witness": SigningKey(world.witness.cosigner._key),
        }  # fmt: skip
        return Asker(name, keys.get(name) or SigningKey.generate(), new_id())
    members = {
        "requester": staff.requester, "steward": staff.steward, "auditor": staff.auditor,
        "admin": world.admin, "council": world.council, "dpo": world.dpo,
    }  # fmt: skip
    role, device, _ = name.partition("'s device")
    if name in ("leaver", "revoked device", "revoked person"):
        leaver, revoked_device, revoked_opening = gone(populated)
        keys = {"leaver": leaver.opening, "revoked device": revoked_device, "revoked person": revoked_opening}
        return Asker(name, keys[name], leaver.person)
    member = members.get(role, populated.people[0])
    return Asker(name, member.device if device or name == "device" else member.opening, member.person)


_GONE: dict[int, tuple[Member, SigningKey, SigningKey]] = {}


def gone(populated: Populated) -> tuple[Member, SigningKey, SigningKey]:
    """Somebody who was a steward and is none any more, and two revoked keys of theirs: a device's, an opening one."""
    found = _GONE.get(id(populated.world))
    if found is None:
        world = populated.world
        leaver = world.add_person("Lee Leaver", Role.STEWARD)
        device, opening = leaver.add_key("device"), leaver.add_key("opening")
        for key in (device, opening):
            assert leaver.revoke(key).status_code == 200
        world.end_role(leaver, Role.STEWARD)
        found = _GONE[id(world)] = (leaver, device, opening)
    return found


def kind_of(name: str) -> str:
    """Which kind of key it is that asks, if it is one of a person."""
    return "device" if name.endswith("device") else "opening"


def expected(name: str, route: str) -> Outcome:
    """What the table of roles says. Raises KeyError for a route that nobody decided about."""
    rule = RULE[route]
    if Party.ANYBODY in rule.who:
        return Outcome.OPEN
    if Party.CODE_HOLDER in rule.who:
        return Outcome.CODE
    machine = {"collector": Party.COLLECTOR, "job": Party.JOB}.get(name)
    if machine is not None and machine in rule.who:
        return Outcome.OPEN
    if name in NOBODY or not rule.credentials:
        return Outcome.NOBODY
    if name.startswith("revoked") and rule.permission not in WHEN_REVOKED:
        return Outcome.NOBODY
    role = name.partition("'")[0]
    if Party.PERSON not in rule.who and role not in {str(one) for one in rule.who}:
        return Outcome.ROLE
    return Outcome.OPEN if kind_of(name) in rule.credentials else Outcome.KEY


def may(name: str, route: str) -> bool:
    """Whether the table of roles lets this one in."""
    return expected(name, route) is Outcome.OPEN


# --- how each route is called -----------------------------------------------------------------------------------------


def _statement(route: str, populated: Populated, by: Asker) -> bytes:
    """A well-formed body for a POST route, signed by the asker, about existing things."""
    world, inst = populated.world, populated.installation
    now, day = world.now, world.now[:10]
    soon = moment(world.clock() + timedelta(hours=1))
    member = Member(world, by.person, by.name, by.key, by.key)
    certificates, _ = member.certificate_request(modalities=(Modality.POINTER,))
    sealed = populated.recordings[0].sealed[0]
    batch = pack_batch([(sealed.header, sealed.sealed_key)])
    plain: dict[str, Callable[[], Statement]] = {
        "/v1/certificates": lambda: certificates,
        "/v1/invitations": lambda: world.invitation("Somebody")[1],
        "/v1/roles": lambda: RoleProposal(
            person=populated.people[1].person, role=Role.STEWARD, action="grant", nonce=new_id(), at=now
        ),
        "/v1/roles/countersignatures": lambda: RoleCountersignature(proposal="ab" * 32, at=now),
        "/v1/me/credentials": lambda: CredentialCode(code=_sha256(os.urandom(8)), kind="device", at=now, until=soon),
        "/v1/me/credentials/revocations": lambda: CredentialRevocation(credential=new_id(), at=now),
        "/v1/recoveries": lambda: Recovery(
            person=populated.people[0].person, code=_sha256(os.urandom(8)), nonce=new_id(), at=now, until=soon
        ),
        "/v1/recoveries/countersignatures": lambda: RecoveryCountersignature(recovery="ab" * 32, at=now),
        "/v1/me/recoveries/stops": lambda: RecoveryStopped(recovery="ab" * 32, at=now),
        "/v1/halt": lambda: Halt(reason="somebody tries", nonce=new_id(), at=now),
        "/v1/halt/resumptions": lambda: Resume(halt="ab" * 32, at=now),
        "/v1/purposes": lambda: PurposeDraft(
            iri=f"urn:purpose:{new_id()}", version=1, sentence="x", recipients=("x",), modes=(Mode.READER,), at=now
        ),
        "/v1/purposes/signatures": lambda: PurposeSignature(draft="ab" * 32, at=now),
        "/v1/consent/endings": lambda: ConsentEnding(
            state="terminated", record=new_id(), reason="x", nonce=new_id(), at=now
        ),
        "/v1/requests": inst.request,
        "/v1/decisions": lambda: Decision(request="ab" * 32, decision="approve", at=now),
        "/v1/leases": lambda: LeaseRequest(
            own=OwnData(from_day=day, to_day=day, modalities=tuple(Modality)),
            job_signing_key=SigningKey.generate().public.text,
            job_receiving_key=HybridPrivateKey.generate().public_key.to_text(),
            nonce=new_id(), at=now, until=soon,
        ),
        "/v1/leases/closures": lambda: LeaseClosed(lease=populated.job.lease.lease, opened=0),
        "/v1/recalls/done": lambda: RecallDone(recall="ab" * 32, at=now),
        "/v1/orders/returned": lambda: OrderReturned(
            order=sign(
                Order(number=10**6, previous="ab" * 32, day=day, items=()), world.custodian.statement_key
            )
        ),
        "/v1/me/standing": lambda: Standing(person=by.person, in_force=False, nonce=new_id(), at=now),
        "/v1/orders/done": lambda: OrderDone(number=1, order="ab" * 32),
        "/v1/me/leaving": lambda: Leaving(person=new_id(), nonce=new_id(), at=now),
        "/v1/leavings": lambda: Leaving(person=new_id(), nonce=new_id(), at=now),
        "/v1/unmaskings": lambda: Unmasking(index=0, actor="ab" * 32, reason="x", nonce=new_id(), at=now),
        "/v1/unmaskings/countersignatures": lambda: UnmaskingCountersignature(unmasking="ab" * 32, at=now),
        "/v1/reports": lambda: CollectorReport(
            number=10**6, since=f"{day}T00", until=f"{day}T01", listings=0, bodies=0, refused_tickets=0,
            refused_certificates=0, refused_over_budget=0, orders=0,
        ),
        "/v1/drills": lambda: DrillResult(tried=1, wrong=0, nonce=new_id(), at=now),
        "/v1/enrolments": lambda: Enrolment(
            secret=new_id(), credentials=(NewCredential(kind="device", key=by.key.public.text),),
            directory=world.custodian.directory.hash, at=now,
        ),
    }  # fmt: skip
    path = route.partition(" ")[2]
    if path == "/v1/receipts":
        return with_leaf(sign(populated.people[0].receipt(person=by.person, previous=FIRST_PREVIOUS), by.key))
    if path == "/v1/withdrawals":
        return with_leaf(sign(Withdrawal(person=by.person, record=new_id(), at=now), by.key))
    if path == "/v1/erasures":
        return with_leaf(sign(Erasure(person=by.person, hours=("2020-01-01T00",), at=now), by.key))
    if path == "/v1/leases/releases":
        statement = ReleaseRequest(lease=populated.job.lease.lease, batch=_sha256(batch), count=1)
        return ReleaseBody(statement=sign(statement, by.key), batch=_b64(batch)).to_json()
    return sign(plain[path](), by.key).to_json()


def _target(route: str, populated: Populated) -> str:
    path = route.partition(" ")[2]
    if "{unmasking}" in path:
        path = path.replace("{unmasking}", unmasked(populated))
    path = path.replace("{hash}", populated.request).replace("{path}", "0/000.p/1")
    mine = populated.people[0].receipts[0]
    query = {
        "/v1/log/proof": "?index=0",
        "/v1/orders": "?after=0",
        "/v1/me/receipts/{record}/proof": f"?leaf={'ab' * 32}",
    }.get(path, "")
    return path.replace("{record}", mine.record).replace("{sha256}", mine.notice.sha256) + query


def unmasked(populated: Populated) -> str:
    """The hash of something that auditor and dpo have signed; the same one as long as it is answered."""
    auditor, dpo = populated.staff.auditor, populated.world.dpo
    for one in auditor.get("/v1/unmaskings").json()["unmaskings"]:
        if one["state"] == "signed":
            return str(one["unmasking"])
    entry = next(
        (number, leaf) for number, leaf in enumerate(_leaves(populated)) if leaf.type is LeafType.REQUEST_SIGNED
    )
    wish = Unmasking(
        index=entry[0], actor=entry[1].actor or "", reason="a test", nonce=new_id(), at=populated.world.now
    )
    assert auditor.post("/v1/unmaskings", wish).status_code == 200
    signed = UnmaskingCountersignature(unmasking=sign(wish, auditor.opening).hash, at=populated.world.now)
    answer = dpo.post("/v1/unmaskings/countersignatures", signed)
    assert answer.status_code == 200, answer.text
    witnesses.submit_head(populated.world.custodian)
    return signed.unmasking


def _leaves(populated: Populated) -> list[Leaf]:
    with populated.world.custodian.database.reading() as session:
        return [Leaf.model_validate_json(leaf) for _, leaf in log.entries(session, 0, 10_000)]


def call(route: str, populated: Populated, by: Asker) -> Response:
    """Ask this route as somebody. Raises KeyError for a route of which nobody said how it is asked."""
    world, method, target = populated.world, route.partition(" ")[0], _target(route, populated)
    named = by.key.public.id
    if by.name == "forger":
        names = (name for name in ("device", *ASKERS) if name not in ("stranger", "forger") and may(name, route))
        named = asker(populated, next(names, "person")).key.public.id
    if method == "GET":
        ask = sign(Ask(method="GET", target=target, nonce=new_id(), at=world.now), by.key).to_json()
        signed = ask.replace(by.key.public.id.encode(), named.encode())
        return world.client.get(target, headers={"Authorization": f"{AUTHORIZATION_SCHEME} {b64url(signed)}"})
    try:
        body = _statement(route, populated, by)
        return world.post(target, body.replace(by.key.public.id.encode(), named.encode()))
    finally:
        if route == "POST /v1/halt":
            world.resume()


def assert_refused(response: Response) -> None:
    """401, 403 or 404, as a problem document of a known type, and nothing else in it."""
    assert response.status_code in (401, 403, 404), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] in {code.type for code in Code}


def deviation(route: str, name: str, populated: Populated) -> str | None:
    """What is otherwise than the table says when this one asks this route; None if nothing is."""
    response = call(route, populated, asker(populated, name))
    found = outcome(response.status_code, None if response.is_success else response.json())
    if found is expected(name, route):
        return None
    return f"{name} at {route} is {found.value}, expected: {expected(name, route).value}; {response.text[:200]}"


def test_row_02_the_table_decides_about_every_route_that_is_described() -> None:
    assert set(ROUTES) == set(RULE)
    assert {f"{method} {path}" for method, path in COLLECTOR_ROUTES} == set(COLLECTOR)


@pytest.mark.parametrize("name", ASKERS)
@pytest.mark.parametrize("route", ROUTES)
def test_row_02_every_route_refuses_every_role_that_the_table_does_not_name(
    route: str, name: str, populated: Populated
) -> None:
    """And lets in whom it names. Refusals are told apart: nobody's signature, the role, the kind of key."""
    assert deviation(route, name, populated) is None


@pytest.mark.parametrize(
    ("permission", "route", "name", "who"),
    [
        (Permission.SEE_PEOPLE, "GET /v1/people", "steward", {Role.ADMIN, Role.DPO, Role.STEWARD}),
        (Permission.SEE_PEOPLE, "GET /v1/people", "dpo", {Role.ADMIN}),
        (Permission.INVITE, "POST /v1/invitations", "person", {Party.PERSON}),
        (Permission.FETCH_ORDERS, "GET /v1/orders", "collector", set()),
        (Permission.DECIDE, "POST /v1/decisions", "requester", {Role.REQUESTER, *RULE["POST /v1/decisions"].who}),
        (Permission.WITHDRAW, "POST /v1/withdrawals", "device", None),
    ],
)
def test_row_02_a_permission_that_is_added_or_taken_away_is_noticed(
    permission: Permission, route: str, name: str, who: set[Any] | None, populated: Populated,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The positive control: the services decide by a table that somebody changed (None: a row is missing)."""
    assert deviation(route, name, populated) is None
    rule = BY_PERMISSION[permission]
    if who is None:
        monkeypatch.delitem(BY_PERMISSION, permission)
    else:
        monkeypatch.setitem(BY_PERMISSION, permission, replace(rule, who=frozenset(who)))
    monkeypatch.setattr(guard_on(route), "rule", replace(rule, who=frozenset(who or ())))
    assert deviation(route, name, populated) is not None


def test_row_02_a_route_without_a_decision_is_noticed(monkeypatch: pytest.MonkeyPatch, populated: Populated) -> None:
    monkeypatch.delitem(RULE, "GET /v1/people")
    with pytest.raises(KeyError):
        deviation("GET /v1/people", "person", populated)
    with pytest.raises(AssertionError):
        test_row_02_the_table_decides_about_every_route_that_is_described()


def guard_on(route: str) -> Guard:
    """The guard that stands before a route."""
    method, _, path = route.partition(" ")
    return next(
        guard
        for one in guarded_routes()
        if one.path_format == path and method in (one.methods or ()) and (guard := guard_of(one)) is not None
    )


def test_row_02_the_table_lets_somebody_in_everywhere(populated: Populated) -> None:
    """The positive control: for each GET route somebody gets an answer, so that refusals above mean something."""
    for route in ROUTES:
        if route.startswith("GET "):
            names = [name for name in ASKERS if may(name, route)]
            assert any(call(route, populated, asker(populated, name)).status_code == 200 for name in names), route


# --- one's own thing, somebody else's, and none ---------------------------------------------------------------------


def _record_proof(populated: Populated, whose: Member | None) -> Response:
    record = new_id() if whose is None else whose.receipts[0].record
    return populated.people[0].get(f"/v1/me/receipts/{record}/proof?leaf={'ab' * 32}")


def _notice(populated: Populated, whose: Member | None) -> Response:
    mine, asks = populated.people[0], populated.staff.auditor  # who agreed to nothing
    sha256 = "ab" * 32 if whose is None else mine.receipts[0].notice.sha256
    return (mine if whose is mine else asks).get(f"/v1/consent/notices/{sha256}")


def _request(populated: Populated, whose: Member | None) -> Response:
    mine, other = populated.staff.requester, _another_requester(populated)
    target = f"/v1/requests/{'ab' * 32 if whose is None else populated.request}"
    return (mine if whose is populated.people[0] else other).get(target)


def _lease(populated: Populated, whose: Member | None) -> Response:
    mine, other, soon = populated.staff.requester, _another_requester(populated), populated.world.clock()
    wish = LeaseRequest(
        request="ab" * 32 if whose is None else populated.request,
        job_signing_key=SigningKey.generate().public.text,
        job_receiving_key=HybridPrivateKey.generate().public_key.to_text(), nonce=new_id(), at=populated.world.now,
        until=moment(soon + timedelta(hours=1)),
    )  # fmt: skip
    return (mine if whose is populated.people[0] else other).post("/v1/leases", wish)


def _another_requester(populated: Populated) -> Member:
    return populated.world.add_person("Other Requester", Role.REQUESTER)


def _person(whose: Member | None) -> str:
    return new_id() if whose is None else whose.person


def _receipt(populated: Populated, whose: Member | None) -> Response:
    return populated.people[0].send_receipt(populated.people[0].receipt(person=_person(whose)))


def _withdrawal(populated: Populated, whose: Member | None) -> Response:
    statement = Withdrawal(person=_person(whose), at=populated.world.now)
    return populated.world.post_with_leaf("/v1/withdrawals", statement, populated.people[0].device)


def _erasure(populated: Populated, whose: Member | None) -> Response:
    statement = Erasure(person=_person(whose), hours=("2020-01-01T00",), at=populated.world.now)
    return populated.world.post_with_leaf("/v1/erasures", statement, populated.people[0].opening)


def _standing(populated: Populated, whose: Member | None) -> Response:
    mine = populated.people[0]
    statement = Standing(person=_person(whose), in_force=False, nonce=new_id(), at=populated.world.now)
    return mine.post("/v1/me/standing", statement, key=mine.device)


def _revocation(populated: Populated, whose: Member | None) -> Response:
    named = new_id() if whose is None else whose.device.public.id
    statement = CredentialRevocation(credential=named, at=populated.world.now)
    return populated.people[0].post("/v1/me/credentials/revocations", statement)


def _stop(populated: Populated, whose: Member | None) -> Response:
    world, now = populated.world, populated.world.now
    hash_ = "ab" * 32
    if whose is not None:
        until = moment(world.clock() + timedelta(hours=1))
        recovery = Recovery(person=whose.person, code=_sha256(os.urandom(8)), nonce=new_id(), at=now, until=until)
        hash_ = world.dpo.post("/v1/recoveries", recovery).json()["hash"]
        agreed = RecoveryCountersignature(recovery=hash_, at=now)
        assert world.council.post("/v1/recoveries/countersignatures", agreed).status_code == 200
    return populated.people[0].post("/v1/me/recoveries/stops", RecoveryStopped(recovery=hash_, at=now))


def _certificate(populated: Populated, whose: Member | None) -> Response:
    mine, day = populated.people[0], populated.world.now[:10]
    theirs = next(one for one in populated.recordings if one.member is (whose or mine))
    stream = new_id() if whose is None else theirs.stream
    wanted = StreamWanted(stream=stream, stream_key=theirs.key.public.text, modality=theirs.modality, day=day)
    return mine.post("/v1/certificates", mine.certificate_request(streams=[wanted])[0], key=mine.device)


def _lease_id(populated: Populated, whose: Member | None) -> str:
    if whose is None:
        return new_id()
    mine = whose is populated.people[0]
    return (populated.job if mine else populated.installation.own_job(whose)).lease.lease


def _release(populated: Populated, whose: Member | None) -> Response:
    sealed, key = populated.recordings[0].sealed[0], populated.job.signing_key
    batch = pack_batch([(sealed.header, sealed.sealed_key)])
    statement = ReleaseRequest(lease=_lease_id(populated, whose), batch=_sha256(batch), count=1)
    body = ReleaseBody(statement=sign(statement, key), batch=_b64(batch))
    return populated.world.post("/v1/leases/releases", body.to_json())


def _closure(populated: Populated, whose: Member | None) -> Response:
    statement = LeaseClosed(lease=_lease_id(populated, whose), opened=0)
    return populated.world.post("/v1/leases/closures", sign(statement, populated.job.signing_key).to_json())


def _recall(populated: Populated, whose: Member | None) -> Response:
    mine, other, recall = populated.staff.requester, _another_requester(populated), "ab" * 32
    if whose is not None:
        populated.installation.plaintext(populated.job)
        assert populated.people[2].withdraw().status_code == 200
        run_night(populated.world.custodian)
        (row,) = mine.get("/v1/recalls").json()["recalls"]
        recall = Envelope.model_validate(row["recall"], strict=False).hash
    by = mine if whose is populated.people[0] else other
    return by.post("/v1/recalls/done", RecallDone(recall=recall, at=populated.world.now))


def _leaving(populated: Populated, whose: Member | None) -> Response:
    statement = Leaving(person=_person(whose), nonce=new_id(), at=populated.world.now)
    return populated.people[0].post("/v1/me/leaving", statement)


def _unmasking(populated: Populated, whose: Member | None) -> Response:
    mine = whose is populated.people[0]
    asks = populated.staff.auditor if mine else populated.world.add_person("Other Auditor", Role.AUDITOR)
    return asks.get(f"/v1/unmaskings/{'ab' * 32 if whose is None else unmasked(populated)}/person")


THINGS: dict[str, Callable[[Populated, Member | None], Response]] = {
    "GET /v1/me/receipts/{record}/proof": _record_proof,
    "GET /v1/consent/notices/{sha256}": _notice,
    "GET /v1/requests/{hash}": _request,
    "POST /v1/leases": _lease,
    "POST /v1/receipts": _receipt,
    "POST /v1/withdrawals": _withdrawal,
    "POST /v1/erasures": _erasure,
    "POST /v1/me/standing": _standing,
    "POST /v1/me/credentials/revocations": _revocation,
    "POST /v1/me/recoveries/stops": _stop,
    "POST /v1/certificates": _certificate,
    "POST /v1/leases/releases": _release,
    "POST /v1/leases/closures": _closure,
    "POST /v1/recalls/done": _recall,
    "GET /v1/unmaskings/{unmasking}/person": _unmasking,
    "POST /v1/me/leaving": _leaving,
}
"""How to ask each route that can name a thing of somebody's about one's own, another's, and one that does not exist."""

NAMES_NO_THING_OF_ANOTHERS = {
    "GET /v1/directory", "GET /v1/log/checkpoint", "GET /v1/me", "GET /v1/consent/offer", "GET /v1/me/news",
    "GET /v1/me/receipts", "GET /v1/me/accesses", "GET /v1/me/erasures", "GET /v1/purposes", "GET /v1/requests",
    "GET /v1/recalls", "GET /v1/catalogue", "POST /v1/requests", "POST /v1/me/credentials", "POST /v1/enrolments",
}  # fmt: skip
"""Answered to anybody, or about oneself alone, whatever is asked."""

ABOUT_OTHERS = {
    "GET /v1/people", "GET /v1/roles", "GET /v1/recoveries", "GET /v1/halt", "POST /v1/invitations", "POST /v1/roles",
    "POST /v1/roles/countersignatures", "POST /v1/recoveries", "POST /v1/recoveries/countersignatures",
    "POST /v1/halt", "POST /v1/halt/resumptions", "POST /v1/purposes", "POST /v1/purposes/signatures",
    "POST /v1/consent/endings", "POST /v1/decisions", "GET /v1/log/entries", "GET /v1/log/tile/{path}",
    "GET /v1/log/proof", "GET /v1/orders", "POST /v1/orders/done", "POST /v1/orders/returned", "POST /v1/reports",
    "POST /v1/drills", "GET /v1/unmaskings", "POST /v1/unmaskings", "POST /v1/unmaskings/countersignatures",
    "POST /v1/leavings",
}  # fmt: skip
"""What a role is there for, or a machine: it is about others by its nature, and the table says whose it is."""


def test_row_02_of_every_route_it_is_decided_whose_things_it_may_name() -> None:
    assert sorted([*THINGS, *NAMES_NO_THING_OF_ANOTHERS, *ABOUT_OTHERS]) == sorted(ROUTES)


@pytest.mark.parametrize("route", THINGS)
def test_row_02_somebody_elses_thing_is_refused_like_one_that_does_not_exist(route: str, in_use: Populated) -> None:
    mine, other = in_use.people[:2]
    others, none, own = (THINGS[route](in_use, whose) for whose in (other, None, mine))
    assert own.status_code == 200, f"positive control: {own.text}"
    if route == "POST /v1/certificates":  # answered, each stream for itself
        found = [in_use.world.read(_answer(one), CertificateAnswer).refusal for one in (others, none)]
        assert [one.json()["certificates"] for one in (others, none)] == [[None], [None]]
        assert found[0] == found[1]
        return
    assert_refused(others)
    assert (others.status_code, others.json()) == (none.status_code, none.json())


def _answer(response: Response) -> Envelope:
    return Envelope.model_validate_json(_json(response.json()["answer"]))


def _put(route: str, populated: Populated, by: SigningKey, of: Recording, job: Job) -> Response:
    """Ask a route of the collector about this stream, or with this job's ticket; all signed by this key."""
    client, sealed, path = populated.installation.collector_client, of.sealed[0], route.partition(" ")[2]
    path = path.replace("{stream}", of.stream)
    if path.startswith("/v1/fetch/"):
        ticket = next(iter(job.tickets.values()))
        named = Ticket.model_validate_json(ticket.payload_bytes)
        segments = (sealed.id,) if "bodies" in path else ()
        request = FetchRequest(ticket=named.ticket, segments=segments, at=populated.world.now)
        return client.post(path, content=FetchBody(ticket=ticket, request=sign(request, by)).to_json())
    if "segments" in path:
        digests = hashlib.sha256(sealed.sealed_key).digest(), sealed.body_sha256
        fields = {
            HEADER_FIELD: b64url(sealed.header), SEALED_KEY_FIELD: b64url(sealed.sealed_key),
            BODY_SHA256_FIELD: sealed.body_sha256.hex(),
            SIGNATURE_FIELD: b64url(by.sign(segment_signed_bytes(sealed.header, *digests))),
        }  # fmt: skip
        return client.put(path.replace("{sequence}", "0"), content=sealed.body, headers=fields)
    if "records" in path:
        assert of.end is not None
        body = RecordBody(record=_b64(of.end.record), signature=_b64(by.sign(record_signed_bytes(of.end.record))))
        return client.put(path.replace("{sequence}", "1"), content=body.to_json())
    return client.put(path, content=sign(of.certificate, by).to_json())


SIGNS = {"certificate": "agent", "ticket": "job"}
"""Who may ask the collector, by what it must be shown first."""


@pytest.mark.parametrize("name", ASKERS)
@pytest.mark.parametrize("route", COLLECTOR)
def test_row_02_the_collector_listens_to_the_key_of_a_stream_and_of_a_job_about_their_own(
    route: str, name: str, populated: Populated
) -> None:
    """And, where a certificate is shown, to the custodian's signature, whoever brings it."""
    mine = populated.recordings[0]
    other = next(one for one in populated.recordings if one.member is not mine.member)
    key = asker(populated, name).key
    own = _put(route, populated, key, mine, populated.job)
    another = _put(route, populated, key, other, populated.installation.own_job(other.member))
    allowed = name == ("custodian" if route == "PUT /v1/streams/{stream}" else SIGNS[COLLECTOR[route]])
    if allowed:
        assert own.status_code == 200, own.text
    else:
        assert_refused(own)
    if name == "custodian" and allowed:
        assert another.status_code == 200, "it may say of any stream that it may record"
    else:
        assert_refused(another)


# --- the things of others ---------------------------------------------------------------------------------------------


def test_row_02_nobody_gives_or_withdraws_consent_for_another(populated: Populated) -> None:
    mine, other = populated.people[:2]
    assert_refused(mine.send_receipt(mine.receipt(person=other.person)))
    withdrawal = Withdrawal(person=other.person, at=populated.world.now)
    assert_refused(populated.world.post_with_leaf("/v1/withdrawals", withdrawal, mine.device))
    naming_their_record = Withdrawal(
        person=mine.person, record=other.receipts[0].record, at=populated.world.now
    )  # fmt: skip
    answer = populated.world.post_with_leaf("/v1/withdrawals", naming_their_record, mine.device)
    assert answer.status_code == 200, "a withdrawal of one's own is always accepted"
    states = [row["state"] for row in other.get("/v1/me/receipts").json()["receipts"]]
    assert states == ["given"], "and touches nothing of another person"


def test_row_02_nobody_extends_or_probes_the_stream_of_another(populated: Populated) -> None:
    mine, other = populated.people[:2]
    theirs = next(recording for recording in populated.recordings if recording.member is other)
    wanted = [
        StreamWanted(
            stream=stream, stream_key=theirs.key.public.text, modality=theirs.modality, day=theirs.certificate.day
        )
        for stream in (theirs.stream, new_id())
    ]
    answers = []
    for want in wanted:
        request, _ = mine.certificate_request(streams=[want])
        answer = mine.post("/v1/certificates", request, key=mine.device).json()
        assert answer["certificates"] == [None]
        summary = populated.world.read(Envelope.model_validate_json(_json(answer["answer"])), CertificateAnswer)
        answers.append(summary.refusal)
    assert answers[0] == answers[1], "a stream of another answers like one that does not exist"


def test_row_02_own_data_is_own_data(populated: Populated) -> None:
    mine = populated.people[0]
    job = populated.installation.own_job(mine)
    named = {leased.stream for leased in job.streams}
    assert named.issuperset(one.stream for one in populated.recordings if one.member is mine)
    assert named.isdisjoint(one.stream for one in populated.recordings if one.member is not mine)
    other = next(recording for recording in populated.recordings if recording.member is not mine)
    with populated.installation.custodian_as(None) as custodian:
        sealed = other.sealed[0]
        answer, _ = custodian.release(job.lease.lease, job.signing_key, [(sealed.header, sealed.sealed_key)])
    assert answer.sealed == ""
    assert [refusal.reason for refusal in answer.refused] == ["not-leased"]


def test_row_02_unknown_and_others_requests_look_the_same(populated: Populated) -> None:
    other = populated.world.add_person("Other Requester", Role.REQUESTER)
    theirs = other.get(f"/v1/requests/{populated.request}")
    unknown = other.get(f"/v1/requests/{'ab' * 32}")
    assert_refused(theirs)
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.json() == unknown.json()
    assert other.get("/v1/requests").json()["requests"] == []
    with pytest.raises(Refused) as refused:
        populated.installation.job(other, populated.request)
    assert refused.value.code is Code.NOT_FOUND


def test_row_02_an_ask_serves_one_question_once_and_soon(populated: Populated) -> None:
    world, mine = populated.world, populated.people[0]
    authorization = world.authorization(mine.opening, "GET", "/v1/me")
    ask = {"Authorization": authorization}
    assert world.client.get("/v1/me", headers=ask).status_code == 200
    assert_refused(world.client.get("/v1/me", headers=ask))
    other = {"Authorization": world.authorization(mine.opening, "GET", "/v1/me")}
    assert_refused(world.client.get("/v1/me/receipts", headers=other))
    late = moment(world.clock() - timedelta(seconds=121))
    old = {"Authorization": world.authorization(mine.opening, "GET", "/v1/me", at=late)}
    assert_refused(world.client.get("/v1/me", headers=old))


def test_row_02_the_statement_of_one_person_under_the_name_of_another_is_refused(populated: Populated) -> None:
    mine, other = populated.people[:2]
    envelope = sign(Withdrawal(person=other.person, at=populated.world.now), mine.device)
    forged = envelope.model_copy(
        update={"signatures": (envelope.signatures[0].model_copy(update={"keyid": other.device.public.id}),)}
    )
    assert_refused(populated.world.post("/v1/withdrawals", with_leaf(forged)))


# --- no credential at all ---------------------------------------------------------------------------------------------

BODIES = {
    "nothing": b"",
    "an empty object": b"{}",
    "null": b"null",
    "a deep nest": b"[" * 50_000,
    "noise": os.urandom(500),
    "an envelope without signatures": b'{"payloadType":"application/vnd.assent.ask+json","payload":"","signatures":[]}',
    "an envelope of garbage": (
        b'{"payloadType":"application/vnd.assent.ask+json","payload":"A","signatures":[{"keyid":"'
        + b"a" * 32
        + b'","sig":"!"}]}'
    ),
    "too much": b"x" * 5_000_000,
}


def test_row_01_without_a_credential_there_is_the_directory_and_the_checkpoint(populated: Populated) -> None:
    for route in ROUTES:
        method, target = route.partition(" ")[0], _target(route, populated)
        answer = populated.world.client.request(method, target)
        if route in OPEN:
            assert answer.status_code == 200, "the positive control"
        else:
            assert answer.status_code in (400, 401, 403, 404), (route, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", BODIES)
def test_row_01_no_route_of_the_custodian_opens_or_breaks_on_rubbish(body: str, populated: Populated) -> None:
    headers = [{}, {"Authorization": "Assent !!"}, {"Authorization": f"Assent {b64url(BODIES[body][:5000])}"}]
    for route in set(ROUTES) - OPEN:
        method, target = route.partition(" ")[0], _target(route, populated)
        for fields in headers:
            answer = populated.world.client.request(method, target, content=BODIES[body], headers=fields)
            assert 400 <= answer.status_code < 500, (route, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


NONSENSE = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": ("2026-99-99T99:99:99Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59Z"),
    r"\d{4}-\d\d-\d\d": ("2026-02-30", "0000-00-00", "9999-12-31"),
    r"[0-9a-f]{64}": ("0" * 64, "f" * 64),
    r"[0-9a-f]{32}": ("0" * 32, "f" * 32),
    r"ed25519:.*": ("ed25519:" + "A" * 43, "ed25519:" + "_" * 43, "p256:" + "A" * 44),
    r"a1-xw:.*": ("a1-xw:" + "A" * 1622, "a1-xw:" + "_" * 1622),
    r"(urn|https?):.*": ("urn:\u0000", "urn:" + "x" * 290),
}
"""Values that have the right form and make no sense: days that do not exist, keys that are none."""


def _nonsense(value: object) -> list[object]:
    """The same statement with one place changed, once for each place and each kind of nonsense."""
    if isinstance(value, dict):
        return [
            {**value, name: changed} for name, inner in value.items() if name != "v" for changed in _nonsense(inner)
        ]
    if isinstance(value, list):
        changed_lists: list[object] = [value + value, []]
        return changed_lists + [
            [*value[:n], changed, *value[n + 1 :]] for n, inner in enumerate(value) for changed in _nonsense(inner)
        ]
    if isinstance(value, str):
        return [bad for form, others in NONSENSE.items() if re.fullmatch(form, value) for bad in others]
    return [2**63, -1, 0] if isinstance(value, int) else []


def _resigned(envelope: Envelope, payload: object, key: SigningKey) -> Envelope:
    data = json.dumps(payload).encode()
    unsigned = envelope.model_copy(update={"payload": _b64(data), "signatures": ()})
    return unsigned.signed_also_by(key)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.startswith("POST ")])
def test_row_01_signed_nonsense_is_refused_and_breaks_nothing(route: str, populated: Populated) -> None:
    """Everything signed by somebody who may, fresh, of the right form, and senseless in one place."""
    name = next((name for name in ("device", *ASKERS) if may(name, route)), "person")
    by = asker(populated, name)
    path = route.partition(" ")[2]
    if path in ("/v1/leases/releases", "/v1/leases/closures"):
        by = Asker("job", populated.job.signing_key, "")
    body = json.loads(_statement(route, populated, by))
    inner = Envelope.from_json(json.dumps(body.get("statement", body)))
    payload = json.loads(inner.payload_bytes)
    tried = _nonsense(payload)
    assert tried
    for changed in tried:
        if isinstance(changed, dict) and changed.get("nonce") == payload.get("nonce", ""):
            changed = {**changed, "nonce": new_id()}
        envelope = json.loads(_resigned(inner, changed, by.key).to_json())
        outer = {**body, "statement": envelope} if "statement" in body else envelope
        if path == "/v1/leases/closures" and isinstance(changed, dict) and changed["lease"] == payload["lease"]:
            continue  # this would close the lease that others read under
        answer = populated.world.post(path, json.dumps(outer).encode())
        assert answer.status_code < 500, (route, changed, answer.text)
    populated.world.resume()


@pytest.mark.parametrize("batch", ["A", "AA", "AAAA", "A===", "=", _b64(b"\xff\xff"), _b64(b"\0\0\0\0")])
def test_row_01_a_batch_that_is_none_is_refused_and_breaks_nothing(batch: str, populated: Populated) -> None:
    try:
        data = base64.b64decode(batch)
    except ValueError:
        data = b""
    statement = ReleaseRequest(lease=populated.job.lease.lease, batch=_sha256(data), count=1)
    body = {"statement": json.loads(sign(statement, populated.job.signing_key).to_json()), "batch": batch}
    answer = populated.world.post("/v1/leases/releases", json.dumps(body).encode())
    assert 200 <= answer.status_code < 500 and (answer.status_code >= 400 or answer.json()["sealed"] == ""), answer.text


def test_row_01_a_job_whose_key_nothing_can_be_sealed_to_gets_no_lease(populated: Populated) -> None:
    world, member = populated.world, populated.people[0]
    day = world.now[:10]
    request = LeaseRequest(
        own=OwnData(from_day=day, to_day=day, modalities=tuple(Modality)),
        job_signing_key=SigningKey.generate().public.text, job_receiving_key="a1-xw:" + "A" * 1622, nonce=new_id(),
        at=world.now, until=moment(world.clock() + timedelta(hours=1)),
    )  # fmt: skip
    assert member.post("/v1/leases", request).status_code == 400


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("method", "path"), COLLECTOR_ROUTES)
def test_row_01_no_route_of_the_collector_opens_or_breaks_on_rubbish(
    method: str, path: str, body: str, populated: Populated
) -> None:
    known = populated.recordings[0]
    for stream in (known.stream, new_id(), "../../etc/passwd", "0" * 31):
        target = re.sub(r"\{stream\}", stream, path).replace("{sequence}", "0")
        answer = populated.installation.collector_client.request(method, target, content=BODIES[body])
        assert 400 <= answer.status_code < 500, (target, answer.status_code, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_row_01_the_collector_takes_and_gives_nothing_without_the_custodians_signature(populated: Populated) -> None:
    """Everything well-formed and signed, by keys that nobody certified."""
    inst, stranger = populated.installation, SigningKey.generate()
    client, mine = inst.collector_client, populated.recordings[0]
    sealed = mine.sealed[0]
    forged = sign(mine.certificate.model_copy(update={"stream": new_id()}), stranger)
    stream = mine.certificate.model_copy(update={"stream": new_id()}).stream
    assert_refused(client.put(f"/v1/streams/{stream}", content=forged.to_json()))
    fields = {
        HEADER_FIELD: b64url(sealed.header), SEALED_KEY_FIELD: b64url(sealed.sealed_key),
        BODY_SHA256_FIELD: sealed.body_sha256.hex(), SIGNATURE_FIELD: b64url(stranger.sign(b"x")),
    }  # fmt: skip
    assert_refused(client.put(f"/v1/streams/{mine.stream}/segments/0", content=sealed.body, headers=fields))
    assert mine.end is not None
    record = RecordBody(record=_b64(mine.end.record), signature=_b64(stranger.sign(b"x"))).to_json()
    assert_refused(client.put(f"/v1/streams/{mine.stream}/records/1", content=record))
    ticket = Ticket(
        ticket=new_id(), day=mine.certificate.day, streams=(mine.stream,), job_signing_key=stranger.public.text,
        until=moment(populated.world.clock() + timedelta(hours=1)),
    )  # fmt: skip
    request = FetchRequest(ticket=ticket.ticket, segments=(sealed.id,), at=populated.world.now)
    for path in ("/v1/fetch/streams", "/v1/fetch/bodies"):
        body = FetchBody(ticket=sign(ticket, stranger), request=sign(request, stranger)).to_json()
        assert_refused(client.post(path, content=body))


def test_row_01_a_ticket_serves_its_job_alone(populated: Populated) -> None:
    """A stolen ticket without the job's key, and a ticket's job asking for what the ticket does not name."""
    inst, job = populated.installation, populated.job
    ticket = next(iter(job.tickets.values()))
    named = Ticket.model_validate_json(ticket.payload_bytes)
    assert (
        inst.collector_client.post("/v1/fetch/streams", content=_fetch(populated, job.signing_key)).status_code == 200
    )
    assert_refused(inst.collector_client.post("/v1/fetch/streams", content=_fetch(populated, SigningKey.generate())))
    outside = inst.record(populated.people[0], populated.marker, (Modality.POINTER,))[0]
    assert outside.stream not in named.streams
    for fields in ({"streams": (outside.stream,)}, {"segments": (outside.sealed[0].id,)}):
        path = "/v1/fetch/bodies" if "segments" in fields else "/v1/fetch/streams"
        assert_refused(inst.collector_client.post(path, content=_fetch(populated, job.signing_key, **fields)))


def _fetch(populated: Populated, key: SigningKey, **fields: object) -> bytes:
    ticket = next(iter(populated.job.tickets.values()))
    name = Ticket.model_validate_json(ticket.payload_bytes).ticket
    request = FetchRequest.model_validate({"ticket": name, "at": populated.world.now, **fields})
    return FetchBody(ticket=ticket, request=sign(request, key)).to_json()


# --- managers ---------------------------------------------------------------------------------------------------------


def test_row_03_no_answer_of_any_service_has_a_place_for_activity_per_person() -> None:
    """A manager is a person like others: no field anywhere joins a person with a count, a day or a stream of theirs."""
    suspicious = re.compile(r"activit|score|coverage|minutes|hours_recorded|last_seen|participa|productiv|recorded_at")
    permitted = {"PeopleView", "PersonView"}
    schemas = custodian_openapi()["components"]["schemas"] | collector_openapi()["components"]["schemas"]
    for name, schema in schemas.items():
        for field in schema.get("properties", {}):
            assert not suspicious.search(field), f"{name}.{field}"
    for name in permitted & schemas.keys():
        assert set(schemas[name]["properties"]) <= {"people", "person", "name", "roles"}
    assert not [rule for rule in RULES if suspicious.search(rule.permission.value)]


def test_row_03_who_has_an_account_looks_the_same_whether_they_take_part_or_not(populated: Populated) -> None:
    idle = populated.world.add_person("Idle Person")
    people = populated.world.admin.get("/v1/people").json()["people"]
    rows = {row["person"]: row for row in people}
    shown = {key: value for key, value in rows[idle.person].items() if key not in ("person", "name")}
    busy = {key: value for key, value in rows[populated.people[0].person].items() if key not in ("person", "name")}
    assert shown == busy


def _json(value: object) -> str:
    return json.dumps(value)
