"""Recovery: two signatures, seven days in which it can be stopped, and a key that never opens what was there before."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from tests.simulators.custodian import CustodianWorld, Member, payload_changed, problem

from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import (
    LeaseRequest,
    News,
    OwnData,
    Recovery,
    RecoveryCountersignature,
    RecoveryStopped,
    Role,
)
from assent.contracts.times import moment
from assent.sealing.hpke import HybridPrivateKey
from assent_custodian.consent.models import WithdrawalRow
from assent_custodian.keys.models import Stream
from assent_custodian.log.models import LogEntry
from assent_custodian.night import run_night


def proposal(member: Member, **changes: Any) -> tuple[InvitationCode, Recovery]:
    world = member.world
    code = InvitationCode.new("http://127.0.0.1:8401", world.report.root_fingerprint, "opening")
    content = {
        "person": member.person,
        "code": code.secret_hash,
        "nonce": new_id(),
        "at": world.now,
        "until": moment(world.clock() + timedelta(days=21)),
    }
    return code, Recovery.model_validate({**content, **changes})


def signed_by(member: Member, *signers: Member) -> tuple[str, str]:
    """Have the first sign and the second countersign; returns the recovery's hash and the code."""
    code, statement = proposal(member)
    answer = signers[0].post("/v1/recoveries", statement)
    assert answer.status_code == 200, answer.text
    hash_ = sign(statement, signers[0].opening).hash
    for signer in signers[1:]:
        answer = signer.post(
            "/v1/recoveries/countersignatures", RecoveryCountersignature(recovery=hash_, at=member.world.now)
        )
        assert answer.status_code == 200, answer.text
    return hash_, code.to_text()


def use(world: CustodianWorld, code: str, key: SigningKey, kind: str = "opening") -> Any:
    return world.post("/v1/enrolments", world.enrolment(code, [(kind, key)]).to_json())


def recovered(member: Member) -> tuple[str, SigningKey]:
    """A recovery that both signed, and the key that came of it."""
    world = member.world
    hash_, code = signed_by(member, world.dpo, world.council)
    key = SigningKey.generate()
    answer = use(world, code, key)
    assert answer.status_code == 200, answer.text
    return hash_, key


def stop(member: Member, hash_: str, key: SigningKey) -> Any:
    return member.post("/v1/me/recoveries/stops", RecoveryStopped(recovery=hash_, at=member.world.now), key=key)


def lease(member: Member, key: SigningKey, day: str | None = None) -> Any:
    """Ask for a lease of one's own recordings, of one day or of all."""
    world = member.world
    request = LeaseRequest(
        own=OwnData(from_day=day or "2026-01-01", to_day=day or "2027-01-01", modalities=tuple(Modality)),
        job_signing_key=SigningKey.generate().public.text,
        job_receiving_key=HybridPrivateKey.generate().public_key.to_text(),
        nonce=new_id(),
        at=world.now,
        until=moment(world.clock() + timedelta(hours=1)),
    )
    return member.post("/v1/leases", request, key=key)


def alarms(world: CustodianWorld) -> list[dict[str, Any]]:
    with world.custodian.database.reading() as session:
        rows = session.scalars(select(LogEntry.leaf).where(LogEntry.type.like("recovery.%")).order_by(LogEntry.index))
        return [json.loads(row) for row in rows]


# --- who signs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [Role.COUNCIL, Role.DPO])
def test_council_and_dpo_together_give_a_new_key_to_the_same_person(kim: Member, first: Role) -> None:
    world = kim.world
    second = Role.DPO if first is Role.COUNCIL else Role.COUNCIL
    hash_, code = signed_by(kim, world.founders[first], world.founders[second])
    key = SigningKey.generate()
    assert use(world, code, key).status_code == 200
    me = kim.get("/v1/me", key=key).json()
    assert (me["person"], me["roles"]) == (kim.person, [])
    assert [(leaf["type"], leaf["subject"]) for leaf in alarms(world)] == [
        (f"recovery.{what}", hash_) for what in ("signed", "countersigned", "used")
    ]
    (row,) = world.dpo.get("/v1/recoveries").json()["recoveries"]
    assert (row["state"], row["name"]) == ("running", "Kim")


def test_one_signature_gives_nothing(kim: Member) -> None:
    world = kim.world
    hash_, code = signed_by(kim, world.dpo)
    assert problem(use(world, code, SigningKey.generate())) == "code-invalid"
    again = RecoveryCountersignature(recovery=hash_, at=world.now)
    assert problem(world.dpo.post("/v1/recoveries/countersignatures", again)) == "refused"
    assert (
        problem(world.council.post("/v1/recoveries/countersignatures", again, key=world.council.device)) == "forbidden"
    )
    assert kim.get("/v1/me").json()["messages"] == []
    assert use(world, code, SigningKey.generate()).status_code == 403


def test_two_of_the_same_role_are_not_two_roles(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    other = lite.add_person("Second council", Role.COUNCIL)
    hash_, _ = signed_by(kim, lite.council)
    answer = other.post("/v1/recoveries/countersignatures", RecoveryCountersignature(recovery=hash_, at=lite.now))
    assert problem(answer) == "refused"
    assert "data-protection officer" in answer.json()["detail"]


def test_nobody_else_signs_and_nobody_for_themselves(lite: CustodianWorld) -> None:
    kim = lite.add_person("Kim")
    _, statement = proposal(kim)
    for member in (kim, lite.admin, lite.add_person("Sam", Role.STEWARD)):
        assert problem(member.post("/v1/recoveries", statement)) == "forbidden"
        assert problem(member.get("/v1/recoveries")) == "forbidden"
    _, own = proposal(lite.dpo)
    assert problem(lite.dpo.post("/v1/recoveries", own)) == "refused"
    hash_, _ = signed_by(lite.council, lite.dpo)
    countersigned = RecoveryCountersignature(recovery=hash_, at=lite.now)
    assert problem(lite.council.post("/v1/recoveries/countersignatures", countersigned)) == "refused"


def test_an_admin_who_invites_again_makes_a_stranger_and_not_kim(kim: Member) -> None:
    """Row 11: the same name is not the same person."""
    again = kim.world.add_person("Kim")
    assert again.person != kim.person
    kim.consent()
    kim.certify((Modality.POINTER,))
    assert problem(lease(again, again.opening)) == "not-available"
    assert lease(kim, kim.opening).status_code == 200, "positive control: there is something to open"


def test_statements_that_are_changed_replayed_or_swapped_count_for_nothing(lite: CustodianWorld) -> None:
    kim, lee = lite.add_person("Kim"), lite.add_person("Lee")
    _, statement = proposal(kim)
    envelope = sign(statement, lite.dpo.opening)
    for old, new in ((kim.person, lee.person), (statement.code, "ab" * 32)):
        changed = payload_changed(envelope, old.encode(), new.encode())
        assert problem(lite.post("/v1/recoveries", changed.to_json())) == "signature-invalid"
    assert lite.post("/v1/recoveries", envelope.to_json()).status_code == 200
    assert problem(lite.post("/v1/recoveries", envelope.to_json())) == "stale"
    countersigned = sign(RecoveryCountersignature(recovery=envelope.hash, at=lite.now), lite.council.opening)
    assert lite.post("/v1/recoveries/countersignatures", countersigned.to_json()).status_code == 200
    assert problem(lite.post("/v1/recoveries/countersignatures", countersigned.to_json())) == "conflict"
    unknown = RecoveryCountersignature(recovery="ab" * 32, at=lite.now)
    assert problem(lite.council.post("/v1/recoveries/countersignatures", unknown)) == "not-found"
    for until in ("2027-11-23T09:00:00Z", lite.now, "2026-13-33T09:00:00Z"):
        _, bad = proposal(kim, until=until)
        assert problem(lite.dpo.post("/v1/recoveries", bad)) == "malformed"
    _, nobody = proposal(kim, person=new_id())
    assert problem(lite.dpo.post("/v1/recoveries", nobody)) == "not-found"


def test_the_code_gives_one_opening_key_once(kim: Member) -> None:
    world = kim.world
    _, code = signed_by(kim, world.dpo, world.council)
    key = SigningKey.generate()
    assert problem(use(world, code, key, "device")) == "refused"
    assert use(world, code, key).status_code == 200
    assert problem(use(world, code, SigningKey.generate())) == "code-invalid"


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["device", "opening"])
def test_every_old_credential_is_told_and_any_of_them_stops_it(kim: Member, kind: str) -> None:
    world = kim.world
    key = kim.device if kind == "device" else kim.opening
    hash_, new = recovered(kim)
    told = world.read(Envelope.from_json(kim.get("/v1/me/news", key=kim.device).content), News)
    assert any(n.text.startswith("ALARM") for n in told.notifications)
    me = kim.get("/v1/me", key=key).json()
    assert any(message["text"].startswith("ALARM") for message in me["messages"])
    assert [entry["recovery"] for entry in me["recoveries"]] == [hash_]
    world.clock.forward(days=6)
    assert stop(kim, hash_, key).status_code == 200
    assert stop(kim, hash_, key).status_code == 200, "twice is once"
    assert problem(kim.get("/v1/me", key=new)) == "not-signed-in"
    world.clock.forward(days=10)
    assert problem(kim.get("/v1/me", key=new)) == "not-signed-in"
    assert [leaf["type"] for leaf in alarms(world)][-1] == "recovery.stopped"
    assert kim.get("/v1/me", key=key).json()["recoveries"] == []


def test_a_recovery_that_was_stopped_before_its_code_was_used_gives_nothing(kim: Member) -> None:
    world = kim.world
    hash_, code = signed_by(kim, world.dpo, world.council)
    assert stop(kim, hash_, kim.device).status_code == 200
    assert problem(use(world, code, SigningKey.generate())) == "code-invalid"


def test_nobody_else_stops_it_and_the_new_key_neither_nor_is_it_stopped_late(kim: Member) -> None:
    world = kim.world
    hash_, new = recovered(kim)
    lee = world.add_person("Lee")
    assert problem(stop(lee, hash_, lee.opening)) == "not-found"
    assert problem(stop(kim, hash_, new)) == "forbidden"
    assert problem(stop(kim, "ab" * 32, kim.device)) == "not-found"
    world.clock.forward(days=7)
    assert problem(stop(kim, hash_, kim.device)) == "conflict"
    assert kim.revoke(new).status_code == 200, "then an opening key of before revokes it"


def test_a_stop_that_took_days_to_arrive_counts(kim: Member) -> None:
    world = kim.world
    hash_, new = recovered(kim)
    envelope = sign(RecoveryStopped(recovery=hash_, at=world.now), kim.device)
    world.clock.forward(days=3)
    assert world.post("/v1/me/recoveries/stops", envelope.to_json()).status_code == 200
    assert problem(kim.get("/v1/me", key=new)) == "not-signed-in"


def test_once_stopped_the_new_key_has_nothing_erased_however_late_it_asks(lee: Member) -> None:
    world = lee.world
    lee.consent()
    lee.certify((Modality.POINTER,))
    hash_, new = recovered(lee)
    assert stop(lee, hash_, lee.device).status_code == 200
    for _ in range(2):
        assert problem(lee.withdraw(key=new, erase="now")) == "not-signed-in"
        world.clock.forward(days=8)
        run_night(world.custodian)
    with world.custodian.database.reading() as session:
        assert {(stream.closed, stream.erased) for stream in session.scalars(select(Stream))} == {(None, None)}
    assert lee.withdraw(erase="now").status_code == 200, "the positive control: the person's own key does"
    with world.custodian.database.reading() as session:
        assert None not in {stream.erased for stream in session.scalars(select(Stream))}


def test_a_stop_calls_off_the_erasures_of_the_new_key_and_no_others(kim: Member) -> None:
    world = kim.world
    receipt = kim.consent()
    kim.certify((Modality.POINTER,))
    second = kim.on(kim.add_key())
    other = second.consent()
    second.certify((Modality.SCREEN,))
    hash_, new = recovered(kim)
    assert kim.withdraw(record=receipt.record, key=new).status_code == 200
    assert kim.withdraw(record=other.record, key=kim.opening).status_code == 200
    assert stop(kim, hash_, kim.device).status_code == 200
    world.clock.forward(days=20)
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        erased = {stream.record: stream.erased for stream in session.scalars(select(Stream))}
    assert erased[receipt.record] is None, "what an impostor withdrew is not erased"
    assert erased[other.record] is not None, "what the person withdrew is"


# --- every state × every event ----------------------------------------------------------------------------------------

STATES = {
    "open": ("open", None),
    "open, its code expired": ("open", None),
    "running": ("running", False),
    "running, its code used": ("running", True),
    "done": ("done", False),
    "done, its code used": ("done", True),
    "stopped": ("stopped", False),
    "stopped, its code used": ("stopped", True),
}
"""What is shown of it, and whether a key came of it (None: it cannot)."""

EVENTS = ("countersigned", "used", "stopped")
TABLE = {
    "open": ("running", "code-invalid", "stopped"),
    "open, its code expired": ("conflict", "code-invalid", "stopped"),
    "running": ("conflict", "running", "stopped"),
    "running, its code used": ("conflict", "code-invalid", "stopped"),
    "done": ("conflict", "done", "conflict"),
    "done, its code used": ("conflict", "code-invalid", "conflict"),
    "stopped": ("conflict", "code-invalid", "stopped"),
    "stopped, its code used": ("conflict", "code-invalid", "stopped"),
}
"""For each event, the state afterwards, or the name of the refusal: then nothing has changed."""


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state(lee: Member, state: str, event: str) -> None:
    kim, world, (shown, used) = lee, lee.world, STATES[state]
    signers = (world.dpo,) if used is None else (world.dpo, world.council)
    hash_, code = signed_by(kim, *signers)
    key = SigningKey.generate()
    if used:
        assert use(world, code, key).status_code == 200
    if shown == "stopped":
        assert stop(kim, hash_, kim.device).status_code == 200
    if state == "open, its code expired":
        world.clock.forward(days=22)
    if shown == "done":
        world.clock.forward(days=7)
    assert shown_to(world) == shown

    if event == "countersigned":
        signed = RecoveryCountersignature(recovery=hash_, at=world.now)
        answer = world.council.post("/v1/recoveries/countersignatures", signed)
    elif event == "used":
        answer = use(world, code, SigningKey.generate())
    else:
        answer = stop(kim, hash_, kim.opening)
    expected = TABLE[state][EVENTS.index(event)]
    if answer.status_code == 200:
        assert shown_to(world) == expected
    else:
        assert (problem(answer), shown_to(world)) == (expected, shown)
    if used:
        withdrawn = kim.withdraw(key=key, erase="now")
        if shown_to(world) == "stopped":
            assert problem(withdrawn) == "not-signed-in", "the person said that this key is not theirs"
        else:
            assert withdrawn.status_code == 200


def shown_to(world: CustodianWorld) -> str:
    """The state of the one recovery, as the council sees it."""
    (row,) = world.council.get("/v1/recoveries").json()["recoveries"]
    return str(row["state"])


# --- what the new key may do ------------------------------------------------------------------------------------------


def test_within_seven_days_the_new_key_withdraws_and_does_nothing_else(kim: Member) -> None:
    world = kim.world
    kim.consent()
    kim.certify((Modality.POINTER,))
    _, new = recovered(kim)
    for target in ("/v1/me/receipts", "/v1/me/accesses", "/v1/consent/offer", "/v1/purposes"):
        assert problem(kim.get(target, key=new)) == "forbidden", target
    assert problem(lease(kim, new)) == "forbidden"
    assert problem(kim.post("/v1/me/credentials", kim.code("opening")[1], key=new)) == "forbidden"
    assert problem(kim.revoke(kim.device, by=new)) == "forbidden"
    assert lease(kim, kim.opening).status_code == 200, "positive control"
    withdrawn = kim.withdraw(key=new, erase="now")
    assert withdrawn.status_code == 200
    with world.custodian.database.reading() as session:
        assert {stream.closed for stream in session.scalars(select(Stream))} == {"withdrawn"}, "closed at once"
        (row,) = session.scalars(select(WithdrawalRow)).all()
    assert (row.erased, row.erase_on) == (None, "2026-12-01"), "erased after the seven days"
    world.clock.forward(days=7)
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        assert {stream.erased for stream in session.scalars(select(Stream))} == {None}
    world.clock.forward(days=1)
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        assert {stream.erased for stream in session.scalars(select(Stream))} == {"2026-12-01"}


def test_the_new_key_never_opens_what_was_recorded_before_and_opens_what_comes_after(kim: Member) -> None:
    world = kim.world
    kim.consent()
    before = {one.stream for one, _, _ in kim.certify()}
    _, new = recovered(kim)
    world.clock.forward(days=3)
    meanwhile = {one.stream for one, _, _ in kim.certify()}
    world.clock.forward(days=4)
    assert kim.get("/v1/me/receipts", key=new).status_code == 200, "the days are over"
    assert problem(lease(kim, new)) == "not-available"
    world.clock.forward(days=1)
    after = {one.stream for one, _, _ in kim.certify()}
    answer = lease(kim, new)
    assert answer.status_code == 200, answer.text
    assert {stream["stream"] for stream in answer.json()["streams"]} == after
    with_old_key = {stream["stream"] for stream in lease(kim, kim.opening).json()["streams"]}
    assert with_old_key == before | meanwhile | after, "positive control: they are all still there"


def test_a_key_added_by_the_new_one_opens_no_more_than_it(kim: Member) -> None:
    world = kim.world
    kim.consent()
    kim.certify()
    _, new = recovered(kim)
    world.clock.forward(days=7, minutes=1)
    code, statement = kim.code("opening")
    assert kim.post("/v1/me/credentials", statement, key=new).status_code == 200
    added = SigningKey.generate()
    assert use(world, code.to_text(), added).status_code == 200
    assert problem(lease(kim, added)) == "not-available"
    assert lease(kim, kim.opening).status_code == 200, "positive control"


def test_a_recovered_key_uses_no_role_that_was_given_before(lite: CustodianWorld) -> None:
    sam = lite.add_person("Sam", Role.STEWARD)
    _, new = recovered(sam)
    lite.clock.forward(days=30)
    assert sam.get("/v1/me", key=new).json()["roles"] == []
    assert problem(sam.get("/v1/requests", key=new)) == "forbidden"
    assert sam.get("/v1/requests").status_code == 200, "positive control"


def test_a_code_that_is_used_after_the_days_gives_the_same_key(kim: Member) -> None:
    world = kim.world
    kim.consent()
    kim.certify()
    _, code = signed_by(kim, world.dpo, world.council)
    world.clock.forward(days=8)
    key = SigningKey.generate()
    assert use(world, code, key).status_code == 200
    assert kim.get("/v1/me/receipts", key=key).status_code == 200
    assert problem(lease(kim, key, "2026-11-23")) == "not-available"
