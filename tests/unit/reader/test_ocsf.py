"""Each entry is an event that the published OCSF schema accepts, of the class that fits; and no event names anybody."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from ocsf.v1_7_0 import events as models
from pydantic import ValidationError
from tests.unit.reader import leaves
from tests.unit.reader.leaves import LOG
from tests.unit.reader.ocsf_schema import class_of, faults
from tests.unit.reader.test_log_entries import entries_of

from assent.contracts.leaves import LeafType
from assent.reader.log_entries import Entry
from assent.reader.ocsf import KINDS, TITLES, event

ORIGIN = "log.example/assent"
ENTRIES = entries_of(LOG)


def shown(entry: Entry) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(event(entry, ORIGIN, 100)))
    return made


def of(kind: LeafType, number: int = 0) -> dict[str, Any]:
    return shown([entry for entry in ENTRIES if entry.leaf.type is kind][number])


@pytest.mark.parametrize("index", range(len(LOG)))
def test_the_published_schema_accepts_it(index: int) -> None:
    made = shown(ENTRIES[index])
    assert faults(made) == []
    name, _ = class_of(made["class_uid"])
    model = getattr(models, "".join(part.capitalize() for part in name.split("_")))
    if model is not models.BaseEvent:  # that of the package is incomplete, and says so
        model.model_validate(made)


def _drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda made: made.pop(name)


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(made: dict[str, Any]) -> None:
        for name in path[:-1]:
            made = made[name]
        made[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        _drop("actor"),
        _drop("databucket"),
        _drop("src_endpoint"),
        _drop("metadata"),
        _drop("severity_id"),
        _set("metadata", "product", value={}),
        _set("activity_id", value=77),
        _set("type_uid", value=600501),
        _set("class_uid", value=6003),
        _set("class_name", value="Something"),
        _set("activity_name", value="Encrypt"),
        _set("severity", value="Fatal"),
        _set("time", value="2026-11-23T12:00:00Z"),
        _set("surname", value="Rika"),
        _set("actor", value={}),
        _set("actor", "user", value={"uid": 7}),
        _set("actor", "user", value={"uid": "a", "shoe_size": 43}),
        _set("databucket", "type_id", value="Other"),
    ],
)
def test_the_schema_refuses_an_event_that_is_spoilt(spoil: Callable[[dict[str, Any]], None]) -> None:
    """Positive control: what accepts the events above does not accept everything."""
    made = copy.deepcopy(of(LeafType.LEASE_OPENED))
    spoil(made)
    assert faults(made) != []


def test_the_models_refuse_an_event_of_another_class() -> None:
    with pytest.raises(ValidationError):
        models.DatastoreActivity.model_validate(of(LeafType.REQUEST_SIGNED))


CLASSES: dict[LeafType, tuple[int, int]] = {
    LeafType.LEASE_OPENED: (6005, 10),
    LeafType.LEASE_REFUSED: (6005, 10),
    LeafType.LEASE_CLOSED: (6003, 2),
    LeafType.AUDIT_VIEWED: (6003, 2),
    LeafType.GENERATION_DESTROYED: (6005, 7),
    LeafType.ROLE_CHANGED: (3005, 1),
    LeafType.CREDENTIAL_REVOKED: (3001, 99),
    LeafType.DRILL_FAILED: (2004, 1),
    LeafType.DRILL_PASSED: (6007, 2),
    LeafType.PROGRAMME_HALTED: (6002, 7),
    LeafType.BOOT: (6002, 3),
    LeafType.PURPOSE_SIGNED: (3004, 10),
    LeafType.PERSON: (0, 99),
}


@pytest.mark.parametrize("kind", CLASSES, ids=str)
def test_each_kind_is_of_the_class_that_fits(kind: LeafType) -> None:
    made = of(kind)
    assert (made["class_uid"], made["activity_id"]) == CLASSES[kind]


def test_every_kind_of_entry_has_a_class_and_every_finding_a_title() -> None:
    assert set(KINDS) == set(LeafType)
    assert set(TITLES) == {kind for kind, said in KINDS.items() if said.class_ == 2004}


def test_what_was_refused_failed_and_what_was_opened_succeeded() -> None:
    assert of(LeafType.LEASE_REFUSED)["status"] == "Failure"
    assert of(LeafType.LEASE_REFUSED)["status_code"] == "budget"
    assert of(LeafType.LEASE_OPENED)["status"] == "Success"
    reports = [of(LeafType.COLLECTOR_REPORT, number) for number in (0, 1)]
    assert [(one["status"], one["severity"]) for one in reports] == [
        ("Failure", "Medium"),
        ("Success", "Informational"),
    ]


def test_a_role_that_is_taken_is_no_role_that_is_given() -> None:
    taken = [entry for entry in ENTRIES if entry.leaf.detail.get("action") == "revoke"]
    assert [shown(entry)["activity_name"] for entry in taken] == ["Revoke Privileges"]
    assert of(LeafType.ROLE_CHANGED)["privileges"] == ["council"]


def test_what_must_be_heard_of_is_louder() -> None:
    severity = {kind: of(kind)["severity_id"] for kind in LeafType}
    for kind in (LeafType.DRILL_FAILED, LeafType.LOG_OPENED, LeafType.PROGRAMME_HALTED, LeafType.ERASURE_OVERDUE):
        assert severity[kind] >= 4
    assert severity[LeafType.LEASE_REFUSED] == 3
    assert severity[LeafType.AUDIT_VIEWED] == severity[LeafType.DRILL_PASSED] == severity[LeafType.PERSON] == 1
    first, later = of(LeafType.LEASE_OPENED), of(LeafType.LEASE_OPENED, 1)
    assert (first["severity_id"], later["severity_id"]) == (2, 1), "a first use"
    assert of(LeafType.WITNESS_UNREACHABLE, 1)["severity_id"] == 5, "a longer log was signed"


@pytest.mark.parametrize("index", range(len(LOG)))
def test_a_row_can_be_proved_and_put_in_order(index: int) -> None:
    made = shown(ENTRIES[index])
    assert made["unmapped"]["tlog"] == {"origin": ORIGIN, "index": index, "checkpoint_size": 100}
    assert made["raw_data"].encode() == LOG[index], "to the byte"
    assert made["metadata"]["sequence"] == index
    assert made["time"] == ENTRIES[index].at.timestamp() * 1000


def test_nobodys_name_is_in_an_event() -> None:
    named = [Entry(entry.index, entry.data, entry.leaf, "Rika Requester") for entry in ENTRIES]
    assert not any("Rika" in json.dumps(shown(entry)) for entry in named)


def test_a_request_ties_its_events_together_and_a_lease_is_their_session() -> None:
    tied = [shown(entry) for entry in ENTRIES if entry.leaf.request]
    assert all(made["metadata"]["correlation_uid"] == made["unmapped"]["leaf"]["request"] for made in tied)
    sessions = [shown(entry)["actor"]["session"]["uid"] for entry in ENTRIES if entry.leaf.subject == leaves.LEASE]
    assert sessions == [leaves.LEASE] * 2
