"""The collector's reports at the custodian: its key, its numbers, its hours; and in the log as they were signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from structlog.testing import capture_logs
from tests.simulators.custodian import CustodianWorld, custodian_world

from assent.contracts.envelope import Envelope, read, sign
from assent.contracts.keys import PublicKey, SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code
from assent.contracts.statements import CollectorReport
from assent_custodian.app import facts_of
from assent_custodian.background import Background
from assent_custodian.log import service as log
from assent_custodian.reports import service as reports

QUIET: dict[str, Any] = {
    "listings": 0, "bodies": 0, "refused_tickets": 0, "refused_certificates": 0, "refused_over_budget": 0, "orders": 0,
}  # fmt: skip
FIRST = {"number": 1, "since": "2026-11-23T07", "until": "2026-11-23T08"}
SECOND = {"number": 2, "since": "2026-11-23T08", "until": "2026-11-23T09"}


def send(world: CustodianWorld, *, key: SigningKey | None = None, **fields: Any) -> Response:
    report = CollectorReport.model_validate({**QUIET, **fields})
    return world.post("/v1/reports", sign(report, key or world.collector_key).to_json())


def leaves(world: CustodianWorld) -> list[Leaf]:
    with world.custodian.database.reading() as session:
        found = log.newest_of_type(session, LeafType.COLLECTOR_REPORT, 100)
    return [Leaf.model_validate_json(data) for _, data in reversed(found)]


def test_reports_are_in_the_log_with_the_collectors_own_signature(world: CustodianWorld) -> None:
    assert send(world, **FIRST, listings=10, bodies=100).status_code == 200
    assert send(world, **SECOND).status_code == 200
    first, second = leaves(world)
    assert first.counts == {**QUIET, "number": 1, "listings": 10, "bodies": 100}
    assert (first.auth, first.actor, second.counts["number"]) == ("collector", None, 2)
    (key,) = first.keys
    assert key == world.collector_key.public.text
    signed = read(Envelope.from_json(first.detail["report"]), CollectorReport, PublicKey(key))
    assert (signed.since, signed.until) == ("2026-11-23T07", "2026-11-23T08")


def test_the_same_report_twice_is_one_entry(lite: CustodianWorld) -> None:
    for _ in range(2):
        assert send(lite, **FIRST).status_code == 200
    assert len(leaves(lite)) == 1


WRONG: dict[str, dict[str, Any]] = {
    "a gap in the numbers": {**SECOND, "number": 3},
    "a number of before": {**SECOND, "number": 1},
    "a gap in the hours": {**SECOND, "since": "2026-11-23T08", "until": "2026-11-23T09", "number": 3},
    "hours told already": {**SECOND, "since": "2026-11-23T07"},
    "hours left out": {"number": 2, "since": "2026-11-23T09", "until": "2026-11-23T10"},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_follow_is_refused_and_the_answer_says_what_does(lite: CustodianWorld, case: str) -> None:
    lite.clock.forward(hours=2)
    assert send(lite, **FIRST).status_code == 200
    refused = send(lite, **WRONG[case])
    assert refused.json()["type"] == Code.OUT_OF_ORDER.type, refused.text
    assert (refused.json()["expected"], refused.json()["since"]) == (2, "2026-11-23T08")
    assert len(leaves(lite)) == 1
    assert send(lite, **SECOND).status_code == 200, "the control"


def test_the_first_report_is_number_one(lite: CustodianWorld) -> None:
    refused = send(lite, **{**FIRST, "number": 2})
    assert (refused.status_code, refused.json()["expected"]) == (409, 1)
    assert refused.json().get("since") is None


def test_nobody_else_reports_and_nobody_reports_of_the_future(lite: CustodianWorld) -> None:
    for key in (SigningKey.generate(), lite.admin.opening, lite.custodian.statement_key):
        assert send(lite, key=key, **FIRST).status_code == 401
    ahead = send(lite, **{**FIRST, "until": "2026-11-23T10"})
    assert ahead.json()["type"] == Code.REFUSED.type
    assert send(lite, **{**FIRST, "since": "2026-11-23T25", "until": "2026-11-23T26"}).status_code == 400
    assert leaves(lite) == []


@pytest.mark.parametrize("field", ["listings", "bodies", "refused_tickets", "refused_certificates"])
def test_a_report_that_says_too_much_is_no_report(lite: CustodianWorld, field: str) -> None:
    """Figures that would move with one person are not a matter of the collector's good will."""
    good = CollectorReport.model_validate({**QUIET, **FIRST})
    for count in (7, 11, 12, 20, 101, *([1] if field.startswith("refused") else [])):
        payload = json.loads(good.to_bytes()) | {field: count}
        forged = good.model_construct(**payload)
        refused = lite.post("/v1/reports", sign(forged, lite.collector_key).to_json())
        assert refused.json()["type"] == Code.MALFORMED.type, (count, refused.text)
    assert leaves(lite) == []
    assert send(lite, **FIRST, **{field: 10}).status_code == 200, "the control"


# --- a collector that falls silent ---


def silent(world: CustodianWorld) -> str | None:
    """Since when, as doctor and figures have it."""
    with world.custodian.database.reading() as session:
        since = reports.silent_since(session, world.custodian)
    assert facts_of(world.custodian)["collector_silent"] == (since is not None)
    return since


def test_a_collector_that_falls_silent_is_an_alarm_after_three_hours_until_it_reports(world: CustodianWorld) -> None:
    turn = Background(world.custodian).turn
    assert send(world, **FIRST).status_code == 200
    world.clock.forward(hours=2)  # 11:00
    with capture_logs() as said:
        turn()
    assert silent(world) is None
    assert [one for one in said if one["event"] == "collector-silent"] == []
    world.clock.forward(minutes=1)
    before = len(leaves(world))
    with capture_logs() as said:
        turn(), turn()
    (line,) = (one for one in said if one["event"] == "collector-silent")
    assert line == {"event": "collector-silent", "since": "2026-11-23T08:00:00Z", "log_level": "warning"}
    assert silent(world) == "2026-11-23T08:00:00Z"
    world.clock.forward(days=1)
    with capture_logs() as said:
        turn()
    assert [one["event"] for one in said].count("collector-silent") == 1, "every day anew"
    assert len(leaves(world)) == before, "the log shows it by what it lacks"
    assert send(world, **{**SECOND, "until": "2026-11-24T11"}).status_code == 200
    assert silent(world) is None
    world.clock.forward(days=1)
    with capture_logs() as said:
        turn()
    assert [one["since"] for one in said if one["event"] == "collector-silent"] == ["2026-11-24T11:00:00Z"]


def test_a_collector_that_never_reported_has_two_days_to_be_set_up(lite: CustodianWorld) -> None:
    with lite.custodian.database.reading() as session:
        first = log.entry(session, 0)
    assert first is not None
    begun = Leaf.model_validate_json(first).at
    lite.clock.forward(days=2)
    assert silent(lite) is None
    lite.clock.forward(seconds=1)
    assert silent(lite) == begun


def test_a_collector_that_reports_less_often_is_given_more_time(tmp_path: Path) -> None:
    with custodian_world(tmp_path, report_overdue_hours=26) as world:
        assert send(world, **FIRST).status_code == 200
        world.clock.forward(hours=25)  # from 9:00 on
        assert silent(world) is None
        world.clock.forward(minutes=1)
        assert silent(world) == "2026-11-23T08:00:00Z"
