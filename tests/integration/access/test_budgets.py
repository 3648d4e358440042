"""What one requester may open in a day, and who hears of a first use."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.integration.access.conftest import ON_BOTH
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import Member, problem

from assent.contracts.ids import Modality
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import OwnData, Role
from assent_custodian.log import service as log
from assent_custodian.settings import Settings


def leases(access: AccessWorld) -> list[Leaf]:
    with access.custodian.custodian.database.reading() as session:
        found = log.newest_of_type(session, LeafType.LEASE_OPENED, 50)
    return [Leaf.model_validate_json(data) for _, data in reversed(found)]


def record_another_day(access: AccessWorld) -> None:
    access.custodian.clock.forward(days=1)
    access.recorded += [one for member in access.people for one in access.record(member)]


@ON_BOTH
def test_people_beyond_the_days_budget_are_refused_and_tomorrow_is_another_day(access: AccessWorld) -> None:
    access.people += access.custodian.add_participants(2)
    access.recorded += [one for member in access.people[-2:] for one in access.record(member)]
    ten, all_twelve = access.grant(people=10), access.grant()
    access.custodian.restart(people_per_day=10)
    assert access.job().open(access.requester, request=ten).status_code == 200
    refused = access.job().open(access.requester, request=all_twelve)
    assert (problem(refused), refused.json()["rule"]) == ("refused", "people-per-day")
    assert "10 people" in refused.json()["detail"]
    assert access.job().open(access.requester, request=ten).status_code == 200, "the same again costs nothing"
    access.custodian.clock.forward(days=1)
    refused = access.job().open(access.requester, request=all_twelve)
    assert refused.json()["rule"] == "people-per-day", "twelve are too many on any day"
    access.custodian.restart(people_per_day=12)
    assert access.job().open(access.requester, request=all_twelve).status_code == 200


@ON_BOTH
def test_recorded_days_beyond_the_budget_are_refused(access: AccessWorld) -> None:
    first = access.custodian.now[:10]
    record_another_day(access)
    one, both = access.grant(from_day=first, to_day=first), access.grant(from_day=first)
    access.custodian.restart(recorded_days_per_day=15)
    assert access.job().open(access.requester, request=one).status_code == 200
    refused = access.job().open(access.requester, request=both)
    assert (problem(refused), refused.json()["rule"]) == ("refused", "days-per-day")
    access.custodian.restart(recorded_days_per_day=20)
    assert access.job().open(access.requester, request=both).status_code == 200


def test_a_refused_budget_is_in_the_log(access: AccessWorld) -> None:
    request = access.grant()
    record_another_day(access)
    access.custodian.restart(recorded_days_per_day=10, people_per_day=10)
    wide = access.grant(from_day=access.recorded[0].certificate.day)
    assert access.job().open(access.requester, request=wide).status_code == 403
    with access.custodian.custodian.database.reading() as session:
        [(_, data)] = log.newest_of_type(session, LeafType.LEASE_REFUSED, 50)
    leaf = Leaf.model_validate_json(data)
    assert (leaf.rule, leaf.request) == ("days-per-day", wide)
    assert request != wide


def test_one_requesters_budget_is_not_anothers(access: AccessWorld) -> None:
    other = access.custodian.add_person("Rana", Role.REQUESTER)
    access.custodian.restart(people_per_day=10)
    first = access.grant()
    assert access.job().open(access.requester, request=first).status_code == 200
    access.requester, rafa = other, access.requester
    second = access.grant()
    assert access.job().open(other, request=second).status_code == 200
    assert access.job().open(rafa, request=first).status_code == 200


def test_ones_own_recordings_cost_nothing(access: AccessWorld) -> None:
    access.custodian.restart(people_per_day=10, recorded_days_per_day=10)
    member = access.people[0]
    record_another_day(access)
    day = access.recorded[0].certificate.day
    own = OwnData(from_day=day, to_day=access.custodian.now[:10], modalities=(Modality.POINTER, Modality.KEYBOARD))
    for _ in range(12):
        assert access.job().open(member, own=own).status_code == 200


@pytest.mark.parametrize("budget", ["people_per_day", "recorded_days_per_day"])
def test_a_budget_below_the_floor_cannot_be_set(tmp_path: Path, budget: str) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 10"):
        Settings.model_validate({"data_dir": tmp_path, budget: 9})


def test_those_who_approved_hear_of_first_uses_and_the_log_marks_them(access: AccessWorld) -> None:
    first, second = access.grant(), access.grant()

    def told(member: Member) -> list[str]:
        return [message["text"] for message in member.get("/v1/me").json()["messages"]]

    for request in (first, first, second):
        assert access.job().open(access.requester, request=request).status_code == 200
    assert [leaf.detail.get("first") for leaf in leases(access)] == ["requester", None, "grant"]
    for steward in access.stewards:
        texts = told(steward)
        assert len(texts) == 2
        assert any("for the first time" in text and first[:8] in text for text in texts)
        assert any("under this request" in text and second[:8] in text for text in texts)
    assert told(access.custodian.council) == []


def test_a_new_key_is_a_first_use(access: AccessWorld) -> None:
    request = access.grant()
    assert access.job().open(access.requester, request=request).status_code == 200
    access.requester.opening = access.requester.add_key("opening")
    assert access.job().open(access.requester, request=request).status_code == 200
    assert [leaf.detail.get("first") for leaf in leases(access)] == ["requester", "key"]


def test_ones_own_look_is_no_first_use(access: AccessWorld) -> None:
    day = access.custodian.now[:10]
    own = OwnData(from_day=day, to_day=day, modalities=(Modality.POINTER,))
    assert access.job().open(access.people[0], own=own).status_code == 200
    assert [leaf.detail for leaf in leases(access)] == [{}]


def test_a_lease_that_never_opened_is_no_use_and_the_first_that_does_is_told(access: AccessWorld) -> None:
    request = access.grant()
    access.custodian.witness.silent = True
    assert problem(access.job().open(access.requester, request=request)) == "no-quorum"
    access.custodian.witness.silent = False
    assert access.stewards[0].get("/v1/me").json()["messages"] == []
    assert access.job().open(access.requester, request=request).status_code == 200
    (message,) = access.stewards[0].get("/v1/me").json()["messages"]
    assert "for the first time" in message["text"]
