"""Grants: who is in a cohort, the floor whatever happens before the last approval, and who ends what, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.integration.access.conftest import ON_BOTH
from tests.simulators.access import AccessWorld, Job
from tests.simulators.custodian import Member, problem, with_leaf

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality
from assent.contracts.lists import list_root, person_leaf
from assent.contracts.statements import Erasure, Role, Withdrawal
from assent.contracts.wire import RequestView
from assent_custodian.auth import Asker, Stated
from assent_custodian.consent import service as consent
from assent_custodian.grants import domain
from assent_custodian.grants.models import CohortMember, RequestRow
from assent_custodian.leases import budgets


def cohort(access: AccessWorld, request: str) -> set[str]:
    with access.custodian.custodian.database.reading() as session:
        return {row.person for row in session.query(CohortMember).where(CohortMember.request == request)}


def joins(access: AccessWorld, name: str, modalities: tuple[Modality, ...] = tuple(Modality)) -> Member:
    """Somebody more who takes part and records these."""
    member = access.custodian.add_person(name)
    member.consent()
    member.certify(modalities)
    return member


def approved(access: AccessWorld, request: str) -> RequestView:
    """What the request is after both stewards signed."""
    for steward in access.stewards:
        response = access.decide(steward, request)
        assert response.status_code == 200, response.text
    return RequestView.parse(response.content)


def opened(access: AccessWorld, request: str) -> Job:
    job = access.job()
    response = job.open(access.requester, request=request)
    assert response.status_code == 200, response.text
    return job


def streams(job: Job) -> set[str]:
    assert job.answer is not None
    return {one.stream for one in job.answer.streams}


# --- the cohort -------------------------------------------------------------------------------------------------


def test_a_random_cohort_stays_the_same_in_every_lease_and_is_another_one_in_every_grant(access: AccessWorld) -> None:
    for number in range(5):
        joins(access, f"More {number}")
    grants = [access.grant(people=10) for _ in range(4)]
    assert len({frozenset(cohort(access, grant)) for grant in grants}) > 1, "one in 3003 each"
    first = opened(access, grants[0])
    joins(access, "Late")
    access.custodian.clock.forward(hours=1)
    assert streams(opened(access, grants[0])) == streams(first)


def test_the_log_has_a_salted_hash_of_the_cohort_and_no_number(access: AccessWorld) -> None:
    from assent.contracts.leaves import Leaf, LeafType
    from assent_custodian.log import service as log

    request = access.grant()
    with access.custodian.custodian.database.reading() as session:
        (_, last), (_, first) = log.newest_of_type(session, LeafType.GRANT_APPROVED, 2)
        row = session.get_one(RequestRow, request)
        assert row.salt is not None
        root = list_root(row.salt, cohort(access, request))
    assert Leaf.model_validate_json(first).roots == {}
    leaf = Leaf.model_validate_json(last)
    assert (leaf.roots, leaf.counts) == ({"cohort": root}, {})


def test_who_recorded_only_some_of_what_is_asked_for_does_not_count(access: AccessWorld) -> None:
    """Else one person's pictures would be read among the keys of nine others."""
    pictured = joins(access, "Pictured")
    asked = {"modalities": (Modality.KEYBOARD, Modality.SCREEN)}
    assert approved(access, access.request(**asked)).state == "not-available"
    request = access.request(modalities=(Modality.KEYBOARD,))
    assert approved(access, request).state == "granted"
    assert pictured.person in cohort(access, request)
    for member in access.people:
        member.certify((Modality.SCREEN,))
    request = access.request(**asked)
    assert approved(access, request).state == "granted", "the control"
    assert len(cohort(access, request)) == 11


def test_stewards_and_requester_who_take_part_are_left_out_and_it_looks_like_too_few(access: AccessWorld) -> None:
    assert access.people[0].withdraw().status_code == 200
    for insider in (access.requester, *access.stewards):
        insider.consent()
        insider.certify()
    few, none = access.request(), access.request(modalities=(Modality.CONTEXT,))
    views = [approved(access, request) for request in (few, none)]
    assert [view.state for view in views] == ["not-available"] * 2
    assert views[0].decisions == views[1].decisions, "twelve took part, nine counted; of the others three, and none"
    outsider = access.custodian.add_person("Stella", Role.STEWARD)
    outsider.consent()
    outsider.certify()
    request = access.request()
    assert approved(access, request).state == "granted", "a steward who has no part in this one counts"
    assert outsider.person in cohort(access, request)


# --- the floor --------------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[AccessWorld, Member], httpx2.Response]] = {
    "withdrew everything": lambda access, who: who.withdraw(),
    "withdrew what was asked for": lambda access, who: who.withdraw(modalities=(Modality.KEYBOARD, Modality.POINTER)),
    "erased everything": lambda access, who: access.custodian.post(
        "/v1/erasures",
        with_leaf(sign(Erasure(person=who.person, at=access.custodian.now, everything=True), who.opening)),
    ),
}


@pytest.mark.parametrize("people", [None, 10])
@pytest.mark.parametrize("way", WAYS)
def test_who_goes_between_the_approvals_is_missing_from_the_floor(
    access: AccessWorld, way: str, people: int | None
) -> None:
    request = access.request(people=people)
    assert access.decide(access.stewards[0], request).status_code == 200
    assert WAYS[way](access, access.people[0]).status_code == 200
    response = access.decide(access.stewards[1], request)
    assert RequestView.parse(response.content).state == "not-available"
    assert cohort(access, request) == set()
    assert problem(access.job().open(access.requester, request=request)) == "refused"


def test_the_floor_counts_at_the_grant_and_later_leases_go_on_with_who_remains(access: AccessWorld) -> None:
    request = access.grant()
    for member in access.people[1:]:
        assert member.withdraw().status_code == 200
    mine = {one.certificate.stream for one in access.recorded if one.owner is access.people[0]}
    assert streams(opened(access, request)) == mine
    assert access.people[0].withdraw().status_code == 200
    assert problem(access.job().open(access.requester, request=request)) == "not-available"


@ON_BOTH
def test_a_withdrawal_waits_for_the_last_approval_under_way_and_the_lease_sees_it(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, request = access.people[0], access.request()
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(who.withdraw().status_code))
    choose = domain.choose

    def slowly(candidates: list[str], wanted: int | None) -> list[str]:
        thread.start()
        thread.join(timeout=0.5)
        assert answers == [], "the withdrawal waits for this transaction"
        return choose(candidates, wanted)

    monkeypatch.setattr(domain, "choose", slowly)
    assert approved(access, request).state == "granted"
    thread.join(timeout=60)
    assert answers == [200]
    assert len(cohort(access, request)) == 10
    job = opened(access, request)
    assert not {one.certificate.stream for one in access.recorded if one.owner is who} & streams(job)


@ON_BOTH
def test_the_last_approval_waits_for_a_withdrawal_under_way_and_sees_it(access: AccessWorld) -> None:
    who, request, world = access.people[0], access.request(), access.custodian
    assert access.decide(access.stewards[0], request).status_code == 200
    withdrawal = Withdrawal(person=who.person, at=world.now)
    envelope = sign(withdrawal, who.device)
    stated = Stated(
        withdrawal,
        envelope,
        Asker(who.person, who.device.public.id, "device", frozenset(), False),
        person_leaf(bytes(16), envelope.hash),
    )
    states: list[str] = []

    def approves() -> None:
        states.append(RequestView.parse(access.decide(access.stewards[1], request).content).state)

    thread = threading.Thread(target=approves)
    with world.custodian.database.transaction() as session:
        consent.withdraw(session, world.custodian, stated)
        session.flush()
        thread.start()
        thread.join(timeout=0.5)
        assert states == [], "the approval waits for the withdrawal"
    thread.join(timeout=60)
    assert states == ["not-available"]


# --- approvals --------------------------------------------------------------------------------------------------


def at_once(*acts: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    """What each got, all of them begun at the same moment."""
    answers: list[httpx2.Response] = []
    ready = threading.Barrier(len(acts))

    def act(one: Callable[[], httpx2.Response]) -> None:
        ready.wait(30)
        answers.append(one())

    threads = [threading.Thread(target=act, args=(one,)) for one in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


@ON_BOTH
def test_two_approvals_at_once_grant_once_and_one_steward_twice_grants_nothing(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = domain.step

    def slowly(*arguments: Any, **more: Any) -> Any:
        time.sleep(0.3)  # both are under way by now, if they can be
        return step(*arguments, **more)

    both, alone = access.request(), access.request(why="again")
    with monkeypatch.context() as patched:
        patched.setattr(domain, "step", slowly)
        one, other = access.stewards
        granted = at_once(lambda: access.decide(one, both), lambda: access.decide(other, both))
        twice = at_once(lambda: access.decide(one, alone), lambda: access.decide(one, alone, reason="for sure"))
    assert [answer.status_code for answer in granted] == [200, 200]
    assert len(cohort(access, both)) == 10
    assert sorted(answer.status_code for answer in twice) == [200, 409]
    assert RequestView.parse(access.requester.get(f"/v1/requests/{alone}").content).approvals == 1


def test_more_approvals_may_be_needed_also_of_what_was_granted_before(access: AccessWorld) -> None:
    request = access.grant()
    job = opened(access, request)
    third = access.custodian.add_person("Stella", Role.STEWARD)
    access.custodian.restart(approvals_needed=3)
    assert job.ask_release([access.recorded[0].segment])[0].json()["rule"] == "approvals"
    assert access.job().open(access.requester, request=request).json()["rule"] == "approvals"
    anew = access.request()
    assert approved(access, anew).state == "open"
    assert RequestView.parse(access.decide(third, anew).content).state == "granted"
    opened(access, anew)


# --- what ends it -----------------------------------------------------------------------------------------------


def whoever(access: AccessWorld, name: str) -> Member:
    founders = {"admin": access.custodian.admin, "council": access.custodian.council, "dpo": access.custodian.dpo}
    others = {
        "approver": access.stewards[0],
        "requester": access.requester,
        "auditor": access.auditor,
        "person": access.people[0],
    }
    return {**founders, **others}[name]


@pytest.mark.parametrize("by", ["approver", "council", "dpo"])
def test_a_request_is_revoked_at_any_time_and_a_running_job_gets_nothing_more(access: AccessWorld, by: str) -> None:
    revoker = whoever(access, by)
    unapproved, half, granted = access.request(), access.request(why="half"), access.grant()
    access.decide(access.stewards[0], half)
    job = opened(access, granted)
    assert len(job.release(access.recorded[:2])[0]) == 2
    for request in (unapproved, half, granted):
        response = access.decide(revoker, request, "revoke", "we saw something odd")
        assert RequestView.parse(response.content).state == "revoked"
        view = RequestView.parse(access.requester.get(f"/v1/requests/{request}").content)
        assert ("revoke", "we saw something odd") in {(one.decision, one.reason) for one in view.decisions}
        assert problem(access.decide(access.stewards[1], request)) == "conflict", "what ended stays ended"
        access.custodian.clock.forward(seconds=1)
        assert problem(access.decide(access.custodian.dpo, request, "revoke")) == "conflict"
        assert access.job().open(access.requester, request=request).json()["rule"] == "not-granted"
    refused = job.ask_release([one.segment for one in access.recorded[2:]])[0]
    assert refused.json()["rule"] == "not-granted"
    assert job.close(2).status_code == 200, "it may still say how much it had read"


@pytest.mark.parametrize("by", ["requester", "auditor", "admin", "person"])
def test_nobody_else_revokes(access: AccessWorld, by: str) -> None:
    request = access.grant()
    assert problem(access.decide(whoever(access, by), request, "revoke", "no")) == "forbidden"
    opened(access, request)


# --- budgets ----------------------------------------------------------------------------------------------------


@ON_BOTH
def test_two_leases_at_once_do_not_both_spend_what_is_left_of_the_day(
    access: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = access.custodian.now[:10]
    access.custodian.clock.forward(days=1)
    for member in access.people:
        access.record(member)
    one, other = access.grant(from_day=first, to_day=first), access.grant()
    access.custodian.restart(recorded_days_per_day=10)
    first_use = budgets.first_use

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.5)  # between the check and the commit
        return first_use(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(budgets, "first_use", slowly)
        answers = at_once(
            lambda: access.job().open(access.requester, request=one),
            lambda: access.job().open(access.requester, request=other),
        )
    assert sorted(answer.status_code for answer in answers) == [200, 403]
    (refused,) = [answer.json() for answer in answers if answer.status_code == 403]
    assert refused["rule"] == "days-per-day"
