"""The custodian's side of the drill: its identities, what it says, the alarm, and what the night clears away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select
from tests.simulators.custodian import CustodianWorld, problem
from tests.simulators.drill import DrillPeople

from assent.contracts.ids import Modality
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import OwnData, Role
from assent.reader.log_rules import LogRules
from assent_custodian import roles
from assent_custodian.app import facts_of
from assent_custodian.auth import roles_now
from assent_custodian.background import Background
from assent_custodian.base import Base
from assent_custodian.drills import service as drills
from assent_custodian.keys.models import Stream, TombstoneRow
from assent_custodian.leases.models import LeaseRow, LeaseStream
from assent_custodian.log import service as log
from assent_custodian.night import run_night
from assent_custodian.people.service import founded
from assent_custodian.roles import DRILL_MAY


def leaves(world: CustodianWorld, *types: LeafType) -> list[Leaf]:
    with world.custodian.database.reading() as session:
        every = [Leaf.model_validate_json(leaf) for _, leaf in log.entries(session, 0, 10_000)]
    return [leaf for leaf in every if not types or leaf.type in types]


# --- identities ---


def test_one_code_for_each_role_and_each_works_once(world: CustodianWorld) -> None:
    people = DrillPeople(world)
    with world.custodian.database.reading() as session:
        held = {
            name: {role.value for role in roles_now(session, member.person, world.clock())}
            for name, member in people.members.items()
        }
    assert held["canary"] == held["neighbour"] == held["leaver"] == set()
    assert {role for found in held.values() for role in found} == {role.value for role in Role}
    assert held["steward"] == held["other-steward"] == {"steward"}
    assert held["requester"] == held["other-requester"] == {"requester"}


def test_the_drills_admin_council_and_dpo_found_nothing(tmp_path: Any) -> None:
    world = CustodianWorld(tmp_path, found=False)
    try:
        with world.custodian.database.transaction() as session:
            codes = drills.invite(session, world.custodian)
        for name, code in codes.items():
            world.join(code, name)
        with world.custodian.database.reading() as session:
            assert not founded(session, world.clock())
        for role, code in world.report.codes.items():
            world.join(code, role.value)
        with world.custodian.database.reading() as session:
            assert founded(session, world.clock()), "the founders do"
    finally:
        world.close()


def test_setting_up_again_ends_the_identities_of_before(world: CustodianWorld) -> None:
    before = DrillPeople(world)
    request = before.grant()
    job = before.job()
    assert job.open(before["requester"], request=request).status_code == 200
    assert len(job.release(before.recorded[:1])[0]) == 1, "positive control"
    after = DrillPeople(world)
    assert problem(before["auditor"].get("/v1/me")) == "not-signed-in"
    assert problem(job.ask_release(before.sealed[:1])[0]) == "refused"
    assert before.streams.isdisjoint(after.streams)
    assert after["auditor"].get("/v1/me").json()["roles"] == ["auditor"]


def test_the_log_says_that_identities_were_made_and_names_their_roles(lite: CustodianWorld) -> None:
    DrillPeople(lite)
    made = [leaf for leaf in leaves(lite, LeafType.CONFIG_CHANGED) if leaf.rule == "drill.identities"]
    assert [leaf.counts for leaf in made] == [{"identities": len(drills.IDENTITIES)}]
    given = [leaf.detail["role"] for leaf in leaves(lite, LeafType.ROLE_CHANGED) if leaf.rule == "role.drill"]
    assert sorted(given) == sorted(role.value if role else "none" for role in drills.IDENTITIES.values())


def test_what_the_drill_may_is_never_more_than_its_role_may() -> None:
    for permission, who in DRILL_MAY.items():
        rule = roles.BY_PERMISSION[permission]
        assert who <= rule.who or roles.Party.PERSON in rule.who, permission


# --- what it says ---


def test_a_result_is_written_into_the_log_and_shown_as_figures(world: CustodianWorld) -> None:
    people = DrillPeople(world)
    assert facts_of(world.custodian)["drill_wrong"] == 0
    assert "drill_passed_timestamp_seconds" not in facts_of(world.custodian)
    assert people.say().status_code == 200
    passed = facts_of(world.custodian)["drill_passed_timestamp_seconds"]
    assert passed == world.clock().timestamp()
    world.clock.forward(hours=1)
    assert people.say("role.auditor", "database.mode").status_code == 200
    facts = facts_of(world.custodian)
    assert (facts["drill_wrong"], facts["drill_passed_timestamp_seconds"]) == (2, passed)
    first, second = leaves(world, LeafType.DRILL_PASSED, LeafType.DRILL_FAILED)
    assert (first.type, first.decision, first.counts) == (LeafType.DRILL_PASSED, "allowed", {"tried": 9, "wrong": 0})
    assert (second.type, second.decision) == (LeafType.DRILL_FAILED, "refused")
    assert second.detail == {"failed": "role.auditor database.mode"}


def test_auditors_find_nothing_wrong_with_a_drill(lite: CustodianWorld) -> None:
    people = DrillPeople(lite)
    job = people.job()
    assert job.open(people["requester"], request=people.grant()).status_code == 200
    people.say()
    people.say("role.auditor")
    rules = LogRules()
    found = [rules.read(leaf.to_bytes()) for leaf in leaves(lite)]
    assert [finding.text for one in found for finding in one.wrong] == []
    assert [finding.kind for finding in rules.standing(lite.clock())] == ["drill-failed"], "and they are told"


def test_nobody_but_the_drill_says_how_a_drill_ended(lite: CustodianWorld) -> None:
    people = DrillPeople(lite)
    for member in (lite.admin, lite.council, lite.dpo, lite.add_person("Aude", Role.AUDITOR), lite.add_person()):
        answer = member.post("/v1/drills", people.result())
        assert (answer.status_code, answer.json()["rule"]) == (403, "role")
    assert people.canary.post("/v1/drills", people.result(), key=people.canary.device).json()["rule"] == "credential"
    assert leaves(lite, LeafType.DRILL_PASSED) == []


def test_a_result_counts_once(lite: CustodianWorld) -> None:
    people = DrillPeople(lite)
    result = people.result()
    assert people.canary.post("/v1/drills", result).status_code == 200
    assert problem(people.canary.post("/v1/drills", result)) == "stale"


@pytest.mark.parametrize(
    "changes", [{"wrong": 1}, {"failed": ("a",)}, {"wrong": 1, "failed": ("a", "b")}, {"wrong": 1, "failed": ("A b",)}]
)
def test_a_result_that_contradicts_itself_is_none(lite: CustodianWorld, changes: dict[str, Any]) -> None:
    people = DrillPeople(lite)
    with pytest.raises(ValidationError):
        people.result(**changes)


# --- the alarm ---


def test_a_drill_that_does_not_come_is_an_alarm_once_a_day(world: CustodianWorld) -> None:
    people = DrillPeople(world)
    people.say()
    turn = Background(world.custodian).turn
    world.clock.forward(hours=1, minutes=59)
    turn()
    assert leaves(world, LeafType.DRILL_FAILED) == []
    assert facts_of(world.custodian)["drill_overdue"] == 0
    world.clock.forward(minutes=2)
    turn()
    turn()
    (alarm,) = leaves(world, LeafType.DRILL_FAILED)
    assert (alarm.rule, alarm.detail) == ("drill.overdue", {"since": "2026-11-23T09:00:00Z"})
    assert facts_of(world.custodian)["drill_overdue"] == 1
    world.clock.forward(hours=25)
    turn()
    assert len(leaves(world, LeafType.DRILL_FAILED)) == 2
    people.say()
    turn()
    assert len(leaves(world, LeafType.DRILL_FAILED)) == 2
    assert facts_of(world.custodian)["drill_overdue"] == 0


def test_drills_that_only_fail_are_overdue_too(lite: CustodianWorld) -> None:
    people = DrillPeople(lite)
    for _ in range(3):
        lite.clock.forward(hours=1)
        people.say("role.auditor")
    assert drills.sound(lite.custodian)


def test_without_a_drill_or_with_interval_0_there_is_no_alarm(tmp_path: Any) -> None:
    world = CustodianWorld(tmp_path, drill_interval_hours=0)
    try:
        assert not drills.sound(world.custodian)
        assert "drill_wrong" not in facts_of(world.custodian)
        DrillPeople(world)
        world.clock.forward(days=9)
        assert not drills.sound(world.custodian)
    finally:
        world.close()


# --- the night ---


def counts(world: CustodianWorld) -> dict[str, int]:
    """Rows of every table."""
    with world.custodian.database.reading() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


def test_what_drills_leave_behind_does_not_pile_up(world: CustodianWorld) -> None:
    people = DrillPeople(world)
    someone = world.add_person()
    world.add_purpose()
    someone.consent()
    mine = someone.certify()

    def one_day() -> None:
        request = people.grant()
        job = people.job()
        assert job.open(people["requester"], request=request).status_code == 200
        assert people.canary.withdraw(erase="now").status_code == 200
        world.clock.forward(days=1)
        run_night(world.custodian)
        people.canary.consent()
        people.certified = people.canary.certify()

    for _ in range(5):
        one_day()
    before = counts(world)
    for _ in range(3):
        one_day()
    after = counts(world)
    growing = {name for name, count in after.items() if count > before[name]}
    kept = {"tombstones", "orders", "kek_generations", "nonces"}
    assert {name for name in growing if not name.startswith(("log_", "cosignatures", "signed_heads"))} <= kept
    assert after["streams"] < 8 * 4, "positive control: more streams than that were made"
    with world.custodian.database.reading() as session:
        left = set(session.scalars(select(Stream.id).where(Stream.drill.is_(False), Stream.erased.is_(None))))
    assert left == {certificate.stream for certificate, _, _ in mine}, "and what is a person's is as it was"


def test_what_an_interrupted_drill_left_is_erased_by_the_night(world: CustodianWorld) -> None:
    people = DrillPeople(world)
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        assert session.scalars(select(Stream.erased).where(Stream.drill.is_(True))).all() == [None, None], "not today's"
    world.clock.forward(days=1)
    report = run_night(world.custodian)
    assert report["drill_streams_erased"] == 2
    with world.custodian.database.reading() as session:
        buried = set(session.scalars(select(TombstoneRow.stream).where(TombstoneRow.reason == "retention")))
    assert buried == people.streams
    assert json.dumps(report["orders"]) != "[]", "the collector is ordered to"


def test_a_lease_of_a_person_is_never_cleared_away(lite: CustodianWorld) -> None:
    lite.add_purpose()
    people = DrillPeople(lite)
    someone = lite.add_person()
    someone.consent()
    someone.certify()
    own = OwnData(from_day=lite.now[:10], to_day=lite.now[:10], modalities=(Modality.POINTER,))
    job = people.job()
    assert job.open(someone, own=own).status_code == 200
    lite.clock.forward(days=10)
    run_night(lite.custodian)
    with lite.custodian.database.reading() as session:
        assert session.scalars(select(LeaseRow.person)).all() == [someone.person]
        assert len(session.scalars(select(LeaseStream.stream)).all()) == 1
