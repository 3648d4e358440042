"""A lease request that is refused before anybody looks at what it asks for stands in the log, once, if an account
signed it; nothing that a stranger sends does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.integration.access.conftest import ON_BOTH
from tests.integration.access.test_access import leaves, own
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import payload_changed, problem

from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Ask, LeaseRequest, Recovery
from assent.contracts.times import moment
from assent_custodian.leases.models import RefusedRequest
from assent_custodian.log import service as log
from assent_custodian.people.models import Credential


def refused(access: AccessWorld) -> list[tuple[str, str | None]]:
    """(rule, request) of every refusal in the log."""
    return [(leaf["rule"], leaf.get("request")) for leaf in leaves(access) if leaf["type"] == "lease.refused"]


def send(access: AccessWorld, envelope: Envelope) -> str:
    return problem(access.custodian.post("/v1/leases", envelope.to_json()))


def signed(access: AccessWorld, key: SigningKey | None = None, **changes: Any) -> Envelope:
    return sign(access.job().wish(**changes), key or access.requester.opening)


def size(access: AccessWorld) -> int:
    with access.custodian.custodian.database.reading() as session:
        return log.size(session)


@ON_BOTH
def test_a_stale_and_a_replayed_request_stand_in_the_log_with_who_signed_them(access: AccessWorld) -> None:
    request = access.grant()
    used, late = signed(access, request=request), signed(access, request=request)
    assert access.custodian.post("/v1/leases", used.to_json()).status_code == 200
    assert refused(access) == [], "what was let in is no refusal"
    assert send(access, used) == "stale"
    assert refused(access) == [("replayed", request)]
    access.custodian.clock.forward(seconds=121)
    assert send(access, late) == "stale"
    assert refused(access) == [("replayed", request), ("stale", request)]
    with access.custodian.custodian.database.reading() as session:
        actor = log.actor_ref(session, access.requester.person)
    assert {leaf["actor"] for leaf in leaves(access) if leaf["type"] == "lease.refused"} == {actor}


@ON_BOTH
def test_copies_of_one_request_make_one_entry_for_each_reason_however_often_and_long(access: AccessWorld) -> None:
    """Whoever holds a copy is not who signed it: it must not make the log grow."""
    request = access.grant()
    copy = signed(access, request=request)
    assert access.custodian.post("/v1/leases", copy.to_json()).status_code == 200
    for _ in range(3):
        assert send(access, copy) == "stale"
    for _ in range(4):
        access.custodian.clock.forward(minutes=2)
        other_bytes = copy.model_copy(update={"signatures": (*copy.signatures, *signed(access).signatures)})
        for form in (copy, other_bytes):
            assert send(access, form) == "stale"
    assert refused(access) == [("replayed", request), ("stale", request)]
    assert send(access, signed(access, request=request, at=moment(access.custodian.clock() - timedelta(hours=1)))) == (
        "stale"
    ), "another one"
    assert refused(access)[2:] == [("stale", request)], "the positive control: it was signed anew"


@ON_BOTH
def test_many_requests_of_one_person_make_one_entry_a_minute(access: AccessWorld) -> None:
    request = access.grant()
    old = moment(access.custodian.clock() - timedelta(hours=1))
    for _ in range(4):
        assert send(access, signed(access, request=request, at=old)) == "stale"
    assert refused(access) == [("stale", request)]
    with access.custodian.custodian.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(RefusedRequest)) == 1, "nor does a table grow"
    access.custodian.clock.forward(minutes=1)
    assert send(access, signed(access, request=request, at=old)) == "stale"
    assert len(refused(access)) == 2


def test_a_revoked_key_at_the_door_is_written_down_and_hears_what_it_heard_before(access: AccessWorld) -> None:
    request = access.grant()
    lost = access.requester.add_key("opening")
    assert access.job().open(access.requester, request=request).status_code == 200
    assert access.requester.revoke(lost).status_code == 200
    attempt = signed(access, lost, request=request)
    stranger = signed(access, SigningKey.generate(), request=request)
    answers = [access.custodian.post("/v1/leases", one.to_json()) for one in (attempt, stranger)]
    assert [problem(one) for one in answers] == ["not-signed-in"] * 2
    assert answers[0].json() == answers[1].json(), "nobody learns that this key was one here"
    assert refused(access) == [("credential-revoked", request)]


def test_own_data_is_refused_to_nobody_in_particular(access: AccessWorld) -> None:
    """Else the log would say who takes part."""
    member = access.people[0]
    for _ in range(2):
        old = moment(access.custodian.clock() - timedelta(hours=1))
        assert send(access, signed(access, member.opening, own=own(access), at=old)) == "stale"
        access.custodian.clock.forward(minutes=2)
    actors = [leaf["actor"] for leaf in leaves(access) if leaf["type"] == "lease.refused"]
    assert len(set(actors)) == 2
    with access.custodian.custodian.database.reading() as session:
        assert log.actor_ref(session, member.person) not in actors


def test_a_request_that_cannot_be_read_is_written_down_if_an_account_signed_it(access: AccessWorld) -> None:
    class Naming(LeaseRequest):
        person: str

    naming = Naming(**access.job().wish(request="0" * 64).model_dump(), person=access.people[0].person)
    assert send(access, sign(naming, SigningKey.generate())) == "malformed"
    assert refused(access) == []
    assert send(access, sign(naming, access.requester.opening)) == "malformed"
    assert refused(access) == [("malformed", None)]


def test_nothing_that_nobody_signed_makes_the_log_grow(access: AccessWorld) -> None:
    request = access.grant()
    wish = signed(access, request=request, at=moment(access.custodian.clock() - timedelta(hours=1)))
    mine = access.requester.opening.public.id
    forged = sign(access.job().wish(request=request), SigningKey.generate())
    ask = Ask(method="POST", target="/v1/leases", nonce=new_id(), at=access.custodian.now)
    before = size(access)
    for body in (
        b"",
        b"\xff" * 100,
        b"{}",
        wish.to_json()[:-20],
        payload_changed(wish, b'"v":1', b'"v":2').to_json(),
        wish.model_copy(update={"payload": "AAAAA"}).to_json(),
        signed(access, SigningKey.generate(), request=request).to_json(),
        forged.model_copy(
            update={"signatures": tuple(one.model_copy(update={"keyid": mine}) for one in forged.signatures)}
        ).to_json(),
        sign(ask, access.requester.opening).to_json(),
    ):
        assert access.custodian.post("/v1/leases", body).status_code in (400, 401)
    assert size(access) == before
    assert send(access, wish) == "stale"
    assert size(access) == before + 1, "the positive control: the same, as it was signed"


def test_a_key_that_came_of_a_stopped_recovery_is_nobodys(access: AccessWorld) -> None:
    """It never was its person's: what it signs is no act of theirs."""
    from assent_custodian.people.models import RecoveryRow

    member, key = access.people[0], SigningKey.generate()
    now = access.custodian.now
    with access.custodian.custodian.database.transaction() as session:
        session.add(
            Credential(
                key_id=key.public.id, person=member.person, kind="opening", key=key.public.text, since=now[:10],
                revoked=now[:10],
            )
        )  # fmt: skip
        recovery = sign(Recovery(person=member.person, code="0" * 64, nonce=new_id(), at=now, until=now), key)
        session.add(
            RecoveryRow(
                hash=recovery.hash, person=member.person, code="0" * 64, until=now, statement="", by=member.person,
                credential=key.public.id, proposed=now, key_id=key.public.id, stopped=now,
            )
        )  # fmt: skip
    assert send(access, signed(access, key, own=own(access))) == "not-signed-in"
    assert refused(access) == []


@pytest.mark.parametrize("how", ["device", "waiting"])
def test_a_key_of_the_wrong_kind_is_written_down_once_too(access: AccessWorld, how: str) -> None:
    key = access.requester.device
    if how == "waiting":
        key = access.requester.add_key("opening")
        with access.custodian.custodian.database.transaction() as session:
            session.get_one(Credential, key.public.id).waits_until = "2027-01-01T00:00:00Z"
    request = access.grant()
    assert send(access, signed(access, key, request=request)) == "forbidden"
    assert refused(access) == [("credential" if how == "device" else "forbidden", request)]
