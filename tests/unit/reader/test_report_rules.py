"""The collector's reports in the log: whose they are, that none is missing, that leases explain what was fetched."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.reader.test_auditing import LEASED, NOW, PROPER, leaf

from assent.contracts.envelope import sign
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import LeafType
from assent.contracts.statements import CollectorReport
from assent.contracts.times import hour_of, moment
from assent.reader.log_rules import LogRules

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
QUIET: dict[str, Any] = {
    "listings": 0, "bodies": 0, "refused_tickets": 0, "refused_certificates": 0, "refused_over_budget": 0, "orders": 0,
}  # fmt: skip


def hour(count: int) -> str:
    return hour_of(NOW + timedelta(hours=count))


def report(number: int, *, key: SigningKey = KEY, leaf_: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """Report `number` of the hour before `number` hours after noon, as the custodian writes it down."""
    content = {**QUIET, "number": number, "since": hour(number - 1), "until": hour(number), **fields}
    statement = CollectorReport.model_validate(content)
    envelope = sign(statement, key)
    written: dict[str, Any] = {
        "at": f"{statement.until}:00:30Z", "decision": None, "request": None, "subject": envelope.hash,
        "counts": statement.counts, "keys": (key.public.text,), "detail": {"report": envelope.to_json().decode()},
    }  # fmt: skip
    return leaf(LeafType.COLLECTOR_REPORT, **{**written, **(leaf_ or {})})


def closed(hours: float, released: int = 0) -> bytes:
    at = moment(NOW + timedelta(hours=hours))
    return leaf(LeafType.LEASE_CLOSED, at=at, subject=LEASED["subject"], counts={"released": released})


def own(since: float, until: float) -> bytes:
    times = {"at": moment(NOW + timedelta(hours=since)), "until": moment(NOW + timedelta(hours=until))}
    return leaf(LeafType.LEASE_OPENED, mode="own", request="0a" * 32, subject="0b" * 32, **times)


def other_key(directory: bool = False) -> list[bytes]:
    changed = leaf(LeafType.DIRECTORY_CHANGED, auth="root", subject="11" * 32, request=None, counts={"version": 1})
    return [report(1), *([changed] if directory else []), report(2, key=OTHER)]


ENVELOPE = sign(CollectorReport(**QUIET, number=1, since=hour(0), until=hour(1)), OTHER).to_json().decode()

CASES: dict[str, tuple[list[bytes], list[str]]] = {
    "quiet hours": ([report(1), report(2), report(3)], []),
    "fetched under a lease": ([*PROPER, report(1, listings=1, bodies=10)], []),
    "fetched under a lease of one's own": ([own(0.5, 0.6), report(1, listings=1)], []),
    "fetched before the lease was closed": ([*PROPER, closed(0.2), report(1, bodies=1)], []),
    "fetched until a lease ended that nobody closed": ([*PROPER, *(report(n, bodies=1) for n in range(1, 25))], []),
    "an order that was made": (
        [leaf(LeafType.ORDER_MADE, request=None, counts={"number": 1}), report(1, orders=1)],
        [],
    ),
    "another key with another directory": (other_key(directory=True), []),
    "reported late": ([report(1, leaf_={"at": moment(NOW + timedelta(days=3))})], []),
    "fetched, and nobody had a lease": ([report(1, bodies=1)], ["fetch-unexplained"]),
    "listed, and nobody had a lease": ([report(1, listings=1)], ["fetch-unexplained"]),
    "fetched after the lease was closed": (
        [*PROPER, closed(0.2), report(1), report(2, bodies=1)],
        ["fetch-unexplained"],
    ),
    "fetched after the lease had ended": (
        [*PROPER, *(report(n) for n in range(1, 26)), report(26, bodies=1)],
        ["fetch-unexplained"],
    ),
    "fetched before the lease was opened": ([report(1, bodies=1), own(1.5, 2)], ["fetch-unexplained"]),
    "fetched after one's own lease": ([own(0.1, 0.2), report(1), report(2, bodies=1)], ["fetch-unexplained"]),
    "the first one is missing": ([report(2)], ["report-missing"]),
    "one is missing": ([report(1), report(3)], ["report-missing"]),
    "an hour is missing": ([report(1), report(2), report(3, since=hour(3), until=hour(4))],
                           ["report-missing"]),
    "an hour twice": ([report(1), report(2, since=hour(0))], ["report-missing"]),
    "the same one again": ([report(1), report(1)], ["report-repeated"]),
    "an earlier one again": ([report(1), report(2), report(1)], ["report-repeated"]),
    "out of order": ([report(2), report(1)], ["report-missing", "report-repeated"]),
    "signed by nobody": ([report(1, leaf_={"detail": {}})], ["report"]),
    "no statement": ([report(1, leaf_={"detail": {"report": "{}"}})], ["report"]),
    "signed by another key than it names": ([report(1, leaf_={"detail": {"report": ENVELOPE}})], ["report"]),
    "another key all of a sudden": (other_key(), ["report"]),
    "other counts than were signed": ([report(1, leaf_={"counts": {**QUIET, "number": 1, "bodies": 10}})], ["report"]),
    "another statement than it names": ([report(1, leaf_={"subject": "00" * 32})], ["report"]),
    "hours that were not over": ([report(1, leaf_={"at": moment(NOW)})], ["report"]),
    "an order that nobody made": ([report(1, orders=1)], ["report"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_reports(case: str) -> None:
    leaves, expected = CASES[case]
    rules = LogRules()
    found = [finding.kind for data in leaves for finding in rules.read(data).wrong]
    assert [kind for kind in found if kind != "clock"] == expected


def test_the_directory_of_now_says_whose_reports_count() -> None:
    directory = leaf(LeafType.DIRECTORY_CHANGED, auth="root", subject="11" * 32, request=None, counts={"version": 1})
    for key, kinds in ((KEY, []), (OTHER, ["report"])):
        rules = LogRules()
        rules.collector = (1, key.public.text)
        assert [one.kind for data in (directory, report(1)) for one in rules.read(data).wrong] == kinds


def test_a_collector_that_falls_silent_is_an_alarm_until_it_reports() -> None:
    def silent(leaves: list[bytes], hours: float, **options: Any) -> list[str]:
        rules = LogRules(**options)
        for data in leaves:
            rules.read(data)
        return [one.kind for one in rules.standing(NOW + timedelta(hours=hours)) if one.kind == "collector-silent"]

    assert silent([report(1)], 4) == []
    assert silent([report(1)], 4.1) == ["collector-silent"]
    assert silent([report(1), report(2)], 4.1) == []
    assert silent([report(1)], 4.1, report_within=timedelta(hours=12)) == []
    boot = leaf(LeafType.BOOT, request=None)
    assert silent([boot], 47) == [], "it may be set up after the custodian"
    assert silent([boot], 49) == ["collector-silent"]
    assert silent([], 49) == []


def told(leaves: list[bytes]) -> list[str]:
    rules = LogRules()
    news = [finding.kind for data in leaves for finding in rules.read(data).news]
    return [kind for kind in news if kind in ("released-unfetched", "report-resumed")]


def test_keys_without_a_fetch_are_told() -> None:
    later = [report(n) for n in (2, 3)]
    early = PROPER  # the lease is opened at noon, when the first report begins
    assert told([*early, report(1, listings=1), closed(1.5, released=20), *later]) == []
    assert told([*early, closed(0.5, released=20), report(1, listings=1), *later]) == []
    assert told([*early, report(1), closed(1.5, released=20), *later]) == ["released-unfetched"]
    assert told([*early, report(1), closed(1.5), *later]) == [], "nothing was released"
    assert told([*early, closed(0.5, released=20), report(2), report(3)]) == [], "of before the first report"


def test_a_collector_that_was_restored_is_told_and_is_no_alarm() -> None:
    assert told([report(1), report(2, resumed=True)]) == ["report-resumed"]
