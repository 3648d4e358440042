"""What was released and then fell is recalled from those who read it, and only from those."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select
from tests.integration.access.conftest import ON_BOTH
from tests.simulators.access import AccessWorld, Job
from tests.simulators.custodian import PURPOSE, Member, payload_changed, problem, with_leaf

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality
from assent.contracts.statements import Erasure, Recall, RecallDone, Role
from assent.contracts.wire import RecallsView
from assent_custodian.log.models import LogEntry
from assent_custodian.night import run_night


@pytest.fixture
def opened(access: AccessWorld) -> Job:
    """A job that read everything."""
    job = access.job()
    assert job.open(access.requester, request=access.grant()).status_code == 200
    job.release(access.recorded)
    return job


def recalls(access: AccessWorld, member: Member | None = None) -> list[tuple[Recall, str | None, str]]:
    answer = (member or access.requester).get("/v1/recalls")
    assert answer.status_code == 200, answer.text
    return [
        (access.custodian.read(row.recall, Recall), row.done, row.recall.hash)
        for row in RecallsView.parse(answer.content).recalls
    ]


def night(access: AccessWorld) -> int:
    count: int = run_night(access.custodian.custodian)["recalls"]
    return count


def streams_of(access: AccessWorld, member: Member) -> set[str]:
    return {one.certificate.stream for one in access.recorded if one.owner is member}


def erase(access: AccessWorld, member: Member, **fields: Any) -> None:
    wish = Erasure(person=member.person, at=access.custodian.now, **fields)
    answer = access.custodian.post("/v1/erasures", with_leaf(sign(wish, member.opening)))
    assert answer.status_code == 200, answer.text


def entries(access: AccessWorld, type_: str) -> list[dict[str, Any]]:
    with access.custodian.custodian.database.reading() as session:
        return [json.loads(leaf) for leaf in session.scalars(select(LogEntry.leaf).where(LogEntry.type == type_))]


def acknowledge(access: AccessWorld, member: Member, recall: str) -> Any:
    return member.post("/v1/recalls/done", RecallDone(recall=recall, at=access.custodian.now))


@ON_BOTH
def test_a_withdrawal_recalls_exactly_its_streams_from_the_grant_that_read_them(
    access: AccessWorld, opened: Job
) -> None:
    assert night(access) == 0, "the positive control: nothing fell"
    access.people[0].withdraw()
    assert recalls(access) == [], "they go out at night"
    assert night(access) == 1
    ((recall, day, _),) = recalls(access)
    assert recall.request == opened.lease.request
    assert {item.stream for item in recall.items} == streams_of(access, access.people[0])
    assert all(item.hours == () for item in recall.items)
    assert day is None
    assert night(access) == 0, "once"
    text = recall.to_bytes().decode()
    assert access.people[0].person not in text and "withdraw" not in text


@ON_BOTH
def test_hours_and_then_the_whole_are_recalled_each_once(access: AccessWorld, opened: Job) -> None:
    kim = access.people[0]
    hour = access.custodian.now[:13]
    erase(access, kim, hours=(hour,), modalities=(Modality.POINTER,))
    assert night(access) == 1
    ((recall, _, _),) = recalls(access)
    assert [item.hours for item in recall.items] == [(hour,)]
    erase(access, kim, everything=True)
    assert night(access) == 1
    fallen = [recall for recall, _, _ in recalls(access) if recall.items[0].hours == ()]
    assert {item.stream for item in fallen[0].items} == streams_of(access, kim)
    assert night(access) == 0


def test_what_was_not_released_is_not_recalled(access: AccessWorld) -> None:
    request = access.grant()
    job = access.job()
    assert job.open(access.requester, request=request).status_code == 200
    own = access.job()
    day = access.custodian.now[:10]
    answer = own.open(access.people[0], own={"from_day": day, "to_day": day, "modalities": tuple(Modality)})
    assert answer.status_code == 200
    own.release([one for one in access.recorded if one.owner is access.people[0]])
    access.people[0].withdraw()
    assert night(access) == 0, "no key left but to its own person"


def test_what_is_too_old_is_recalled_as_well(access: AccessWorld, opened: Job) -> None:
    access.custodian.clock.forward(days=181)
    assert night(access) == 1
    ((recall, _, _),) = recalls(access)
    assert len(recall.items) == 20


def test_more_than_one_statement_holds_are_several(
    access: AccessWorld, opened: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assent_custodian.recalls.service.MAX_ITEMS_PER_RECALL", 3)
    for member in access.people[:2]:
        member.withdraw()
    assert night(access) == 2
    assert sorted(len(recall.items) for recall, _, _ in recalls(access)) == [1, 3]


@ON_BOTH
def test_the_requester_signs_that_it_was_dropped_and_the_log_has_it(access: AccessWorld, opened: Job) -> None:
    access.people[0].withdraw()
    night(access)
    ((recall, _, hash_),) = recalls(access)
    other = access.custodian.add_person("Other", Role.REQUESTER)
    assert recalls(access, other) == []
    assert problem(acknowledge(access, other, hash_)) == "not-found"
    assert problem(acknowledge(access, access.requester, "ab" * 32)) == "not-found"
    assert problem(acknowledge(access, access.stewards[0], hash_)) == "forbidden"
    assert entries(access, "recall.done") == []
    assert acknowledge(access, access.requester, hash_).status_code == 200
    assert acknowledge(access, access.requester, hash_).status_code == 200
    (entry,) = entries(access, "recall.done")
    assert (entry["request"], entry["auth"], entry["decision"]) == (recall.request, "opening", "allowed")
    assert "counts" not in entry and "roots" not in entry
    ((_, day, _),) = recalls(access)
    assert day == access.custodian.now[:10]


def test_removed_swapped_changed_and_late_evidence_is_refused(access: AccessWorld, opened: Job) -> None:
    for member in access.people[:2]:
        member.withdraw()
        night(access)
    (_, _, first), (_, _, second) = recalls(access)
    requester, world = access.requester, access.custodian
    envelope = sign(RecallDone(recall=first, at=world.now), requester.opening)
    swapped = payload_changed(envelope, first.encode(), second.encode())
    assert problem(world.post("/v1/recalls/done", swapped.to_json())) == "signature-invalid"
    forged = sign(RecallDone(recall=first, at=world.now), access.people[0].opening)
    forged = forged.model_copy(
        update={"signatures": (forged.signatures[0].model_copy(update={"keyid": requester.opening.public.id}),)}
    )
    assert problem(world.post("/v1/recalls/done", forged.to_json())) == "signature-invalid"
    assert problem(
        requester.post("/v1/recalls/done", RecallDone(recall=first, at=world.now), key=requester.device)
    ) == ("forbidden")
    world.clock.forward(minutes=10)
    assert problem(world.post("/v1/recalls/done", envelope.to_json())) == "stale"
    assert all(day is None for _, day, _ in recalls(access))


def test_recipients_who_do_not_answer_are_an_alarm(access: AccessWorld, opened: Job) -> None:
    world = access.custodian
    access.people[0].withdraw(erase="now")
    night(access)
    world.clock.forward(days=7)
    assert "recalls" not in run_night(world.custodian)["overdue"]
    world.clock.forward(days=1)
    assert "recalls" in run_night(world.custodian)["overdue"]
    for _, _, hash_ in recalls(access):
        acknowledge(access, access.requester, hash_)
    world.clock.forward(days=1)
    assert "recalls" not in run_night(world.custodian)["overdue"]


@ON_BOTH
def test_a_purpose_that_is_withdrawn_alone_is_recalled_from_those_who_read_for_it_and_from_no_other(
    access: AccessWorld,
) -> None:
    """The streams live on for what else was agreed to; for the recipient of this purpose they have fallen."""
    other = "urn:purpose:another"
    access.custodian.add_purpose(other)
    kim = access.custodian.add_participants(1)[0]
    mine = access.record(kim)
    access.recorded += mine
    lees = access.custodian.add_participants(9)
    for lee in lees:
        access.recorded += access.record(lee)
    jobs = {purpose: access.job() for purpose in (PURPOSE, other)}
    for purpose, job in jobs.items():
        assert job.open(access.requester, request=access.grant(purpose=purpose)).status_code == 200
        opened, _ = job.release(access.recorded)
        assert {one.segment.id for one in mine} <= set(opened), "the positive control"
    assert kim.withdraw(purposes=(PURPOSE,), modalities=(Modality.POINTER,)).status_code == 200
    assert night(access) == 1
    ((recall, _, _),) = recalls(access)
    assert recall.request == jobs[PURPOSE].lease.request
    (pointer,) = {one.certificate.stream for one in mine if one.certificate.modality is Modality.POINTER}
    assert [(item.stream, item.hours) for item in recall.items] == [(pointer, ())]
    assert night(access) == 0, "once"
    kim.withdraw()
    assert night(access) == 2
    named = {(recall.request, item.stream) for recall, _, _ in recalls(access) for item in recall.items}
    assert named == {(job.lease.request, stream) for job in jobs.values() for stream in streams_of(access, kim)}


@ON_BOTH
def test_what_a_lost_device_recorded_is_recalled_when_it_falls_and_not_when_the_device_is_revoked(
    access: AccessWorld, opened: Job
) -> None:
    """Consent still covers it, so a later lease reads it again; the withdrawal after that must be told."""
    kim = access.people[0]
    assert kim.revoke(kim.device).status_code == 200
    assert night(access) == 0
    kim.device = kim.add_key("device")
    kim.previous = "0" * 64
    kim.consent()
    again = access.job()
    assert again.open(access.requester, request=opened.lease.request).status_code == 200
    keys, _ = again.release(access.recorded)
    assert {one.segment.id for one in access.recorded if one.owner is kim} <= set(keys), "the positive control"
    kim.withdraw()
    assert night(access) == 1
    ((recall, _, _),) = recalls(access)
    assert {item.stream for item in recall.items} == streams_of(access, kim)
