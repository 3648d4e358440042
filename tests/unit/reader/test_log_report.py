"""A report says what was read by whom under which approvals, what failed and changed, and what is more than usual."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from tests.unit.reader import leaves
from tests.unit.reader.leaves import LOG
from tests.unit.reader.test_auditing import NOW, PURPOSE, REQUEST
from tests.unit.reader.test_log_entries import entries_of

from assent.contracts.leaves import LeafType
from assent.reader.log_entries import Entry
from assent.reader.log_report import Reporting, Section, Use, markdown

START, END = NOW - timedelta(hours=1), NOW + timedelta(days=1)


def read(entries: Iterable[Entry], start: datetime = START, end: datetime = END) -> Reporting:
    seen = Reporting(start, end, lambda at: at.date())
    for entry in entries:
        seen.read(entry)
    return seen


def report(data: Iterable[bytes] = LOG, *, now: datetime = END, **times: datetime) -> dict[str, Section]:
    sections = read(entries_of(data), **times).sections(lambda at: at, now)
    return {section.name: section for section in sections}


def rows(name: str, **given: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in report(**given)[name].rows]


def test_what_was_read_by_whom_under_which_approvals() -> None:
    first, second = rows("reads")
    assert first == {
        "index": 16, "at": leaves.at(minutes=20), "who": leaves.RIKA[:8], "recipient": "team-one",
        "purpose": f"{PURPOSE} 1", "what": "pointer screen", "days": "2026-11-20 2026-11-22", "mode": "reader",
        "approved_by": f"{leaves.SAM[:8]} {leaves.at(minutes=11)}, {leaves.STEF[:8]} {leaves.at(minutes=12)}",
        "request": REQUEST[:8], "lease": leaves.LEASE[:8], "keys": 40, "ended": leaves.at(minutes=30),
    }  # fmt: skip
    assert (second["keys"], second["ended"]) == (None, "not closed: counts as read in full")
    early = rows("reads", now=NOW + timedelta(hours=1))
    assert early[1]["ended"] == f"open until {leaves.at(hours=20)}"


def test_a_lease_that_never_opened_says_so_where_others_say_when_they_ended() -> None:
    data = [leaves.request(leaves.at()), leaves.opened(leaves.at(minutes=1)),
            leaves.closed(leaves.at(minutes=1), released=0, auth=None, rule="no-quorum")]  # fmt: skip
    assert [row["ended"] for row in rows("reads", data=data)] == ["never opened (no-quorum): nothing was read"]


def test_only_what_happened_in_the_time_but_with_the_approvals_of_before() -> None:
    (only,) = rows("reads", start=NOW + timedelta(minutes=35))
    assert only["lease"] == leaves.SECOND_LEASE[:8]
    assert only["approved_by"].count(",") == 1
    assert rows("reads", start=END, end=END + timedelta(days=1)) == []
    assert rows("reads", end=NOW + timedelta(minutes=20)) == [], "the end is excluded"


def test_an_approval_that_came_after_a_lease_is_not_its() -> None:
    data = [leaves.request(leaves.at()), leaves.opened(leaves.at(minutes=1)),
            leaves.decision(LeafType.GRANT_APPROVED, leaves.at(minutes=2), leaves.SAM)]  # fmt: skip
    assert [row["approved_by"] for row in rows("reads", data=data)] == [""]
    assert "a lease with 0 of 2 approvals" in str(rows("alarms", data=data)), "and that is an alarm"


def test_what_was_refused_failed_changed_and_used_first() -> None:
    assert [(row["who"], row["rule"]) for row in rows("refused")] == [
        (leaves.RIKA[:8], "budget"), ("e1e1e1e1", "nothing"), (leaves.SAM[:8], None), ("the collector", None)
    ]  # fmt: skip
    assert [row["type"] for row in rows("trouble")] == [
        "drill.failed", "drill.failed", "witness.unreachable", "witness.unreachable", "erasure.overdue"
    ]  # fmt: skip
    assert [row["index"] for row in rows("first_uses")] == [16]
    accounts = [row["type"] for row in rows("accounts")]
    assert accounts.count("role.changed") == 3, "the drill's own is counted apart"
    assert {"credential.revoked", "recovery.used", "consent.ended"} <= set(accounts)
    assert {"config.changed", "boot", "directory.changed", "programme.halted", "log.opened"} <= {
        row["type"] for row in rows("changes")
    }
    assert rows("decisions")[0]["type"] == "request.signed"
    assert rows("looks") == [
        {
            "who": leaves.AXEL[:8], "looks": 2, "entries": 57,
            "first": leaves.at(minutes=25), "last": leaves.at(hours=14),
        }
    ]  # fmt: skip


def test_the_drill_is_counted_apart_and_its_failures_are_not() -> None:
    assert {row["type"]: row["number"] for row in rows("drill")} == {
        "role.changed": 1, "request.signed": 1, "drill.passed": 1
    }  # fmt: skip
    assert "urn:assent:drill" not in str([row for name in ("reads", "decisions", "refused") for row in rows(name)])


def test_nobody_is_reported_for_what_they_did_for_themselves() -> None:
    told = str(report())
    for entry in entries_of(LOG):
        if entry.leaf.mode == "own" and entry.leaf.actor is not None:
            assert entry.leaf.actor[:8] not in told
    assert not any(row["type"] == "person" for name in ("decisions", "accounts", "changes") for row in rows(name))
    counted = [row["what"] for row in rows("volume")]
    assert counted.count("leases opened") == 1


def test_what_must_not_be_in_a_log_comes_first() -> None:
    wrong = [leaves.opened(leaves.at(minutes=5))]
    sections = read(entries_of(wrong)).sections(lambda at: at, END)
    assert sections[0].name == "alarms"
    assert any("a lease with 0 of 2 approvals" in str(row["text"]) for row in sections[0].rows)
    assert any(row["state"] == "stands" for row in rows("alarms")), "the programme is halted, the lease not closed"
    assert rows("alarms", data=[leaves.DIRECTORY]) == []


# --- how much ---------------------------------------------------------------------------------------------------------


def leases_on(counts: dict[int, int], actor: str = leaves.RIKA) -> list[bytes]:
    """`counts`: leases by the number of days before NOW; entries in order."""
    made = []
    for days, number in sorted(counts.items(), reverse=True):
        for one in range(number):
            name = f"{days:04d}{one:04d}{actor[:2]}" + "0" * 54
            made.append(leaves.opened(leaves.at(days=-days, minutes=one), name, actor=actor))
    return made


def uses(counts: dict[int, int], first_days_ago: int, **given: Any) -> list[Use]:
    data = [leaves.made(LeafType.BOOT, leaves.at(days=-first_days_ago)), *leases_on(counts, **given)]
    return read(entries_of(data), NOW - timedelta(days=1), NOW + timedelta(days=1)).uses()


@pytest.mark.parametrize(
    ("counts", "first", "baseline", "unusual"),
    [
        ({0: 4, 7: 2, 14: 1, 21: 2, 28: 2}, 100, (2, 1, 2, 2), ""),
        ({0: 5, 7: 2, 14: 1, 21: 2, 28: 2}, 100, (2, 1, 2, 2), "high"),
        ({0: 5, 1: 1, 2: 50, 6: 50, 8: 50, 7: 2}, 100, (2, 0, 0, 0), "high"),
        ({0: 5, 35: 50}, 100, (0, 0, 0, 0), "new"),
        ({0: 1}, 100, (0, 0, 0, 0), "new"),
        ({0: 3, 7: 1}, 10, (1,), "high"),
        ({0: 500}, 6, (), ""),
        ({0: 500}, 7, (0,), "new"),
    ],
)
def test_a_day_is_compared_with_the_same_weekday_of_four_weeks_as_far_as_the_log_goes_back(
    counts: dict[int, int], first: int, baseline: tuple[int, ...], unusual: str
) -> None:
    today = [use for use in uses(counts, first) if use.day == NOW.date()]
    assert [(use.number, use.baseline, use.unusual) for use in today] == [(counts[0], baseline, unusual)]


def test_each_person_has_a_baseline_of_their_own_and_only_the_days_in_question_are_told() -> None:
    data = [
        leaves.made(LeafType.BOOT, leaves.at(days=-50)),
        *sorted(
            [*leases_on({0: 9, 7: 9}), *leases_on({0: 9, 7: 1}, leaves.SAM)], key=lambda one: one.split(b'"at":')[1]
        ),
    ]
    found = read(entries_of(data), NOW - timedelta(hours=1), NOW + timedelta(hours=1)).uses()
    assert {(use.actor, use.unusual) for use in found} == {(leaves.RIKA, ""), (leaves.SAM, "high")}
    assert {use.day for use in found} == {NOW.date()}


def test_keys_refusals_and_looks_are_counted_too_and_keys_on_the_day_of_their_lease() -> None:
    data = [
        leaves.made(LeafType.BOOT, leaves.at(days=-50)),
        leaves.opened(leaves.at(hours=-13)),
        leaves.closed(leaves.at(), released=70),
        leaves.refused(leaves.at()),
        leaves.refused(leaves.at(), "e1" * 32, "nothing", None),
        leaves.viewed(leaves.at(), 0, 4),
        leaves.viewed(leaves.at(), 4, 1),
    ]
    found = read(entries_of(data), NOW - timedelta(days=1), END).uses()
    yesterday = date(2026, 11, 22)
    assert {(use.day, use.actor, use.what, use.number) for use in found} == {
        (yesterday, leaves.RIKA, "leases", 1), (yesterday, leaves.RIKA, "keys", 70),
        (NOW.date(), leaves.RIKA, "refusals", 1), (NOW.date(), leaves.AXEL, "entries", 5),
    }  # fmt: skip


def test_a_day_begins_where_whoever_reads_is() -> None:
    late = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    data = [leaves.opened(leaves.moment(late))]
    seen = Reporting(START, END, lambda at: (at + timedelta(hours=1)).date())
    for entry in entries_of(data):
        seen.read(entry)
    assert [use.day for use in seen.uses()] == [date(2026, 11, 24)]


# --- on paper ---------------------------------------------------------------------------------------------------------


def test_markdown_has_every_section_and_every_row() -> None:
    sections = tuple(report().values())
    text = markdown("Report", ["From there to here"], sections)
    lines = text.splitlines()
    assert lines[:3] == ["# Report", "", "- From there to here"]
    for section in sections:
        begin = lines.index(f"## {section.title}")
        table = [line for line in lines[begin + 2 :][: len(section.rows) + 2] if line.startswith("|")]
        assert len(table) == (len(section.rows) + 2 if section.rows else 0)
        if section.rows:
            assert lines[begin + 3] == "|" + " --- |" * len(section.columns)


def test_nothing_that_somebody_wrote_breaks_out_of_its_cell() -> None:
    evil = Section("x", "X", (("a", "a"),), ({"a": "| <b>*x*</b>\n# [link](http://x) `code` \\ \x1b[31m"},), "")
    (row,) = [line for line in markdown("T", [], [evil]).splitlines() if "link" in line]
    assert row.startswith("| \\| \\<b\\>\\*x\\*")
    assert "\x1b" not in row
    assert row.endswith(" |")
