"""Logs of years: what was asked about is found, and no more of them is held in memory than some weeks need."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice

import pytest
from tests.simulators.log_in_use import BEGIN, LEASES, log_in_use, request_of

from assent.contracts.leaves import Leaf
from assent.reader.log_entries import Entry, entry_of
from assent.reader.log_pivots import Reference, story
from assent.reader.log_report import Reporting
from assent.reader.log_rules import REMEMBERED_DAYS, LogRules

A_DAY = 333
"""So many entries, about."""


def days(count: int) -> list[bytes]:
    return list(islice(log_in_use(), count * A_DAY))


def read(log: Iterable[tuple[int, bytes]]) -> Iterator[Entry]:
    return (entry_of(index, data) for index, data in log)


def newest_first(log: list[bytes]) -> Iterator[Entry]:
    return read((index, log[index]) for index in reversed(range(len(log))))


def held() -> int:
    """How many entries are in memory."""
    gc.collect()
    return sum(isinstance(one, Leaf) for one in gc.get_objects())


def test_nothing_is_wrong_in_the_log_in_use() -> None:
    rules = LogRules()
    assert not [wrong for data in days(5) for wrong in rules.read(data).wrong]


@pytest.mark.parametrize("by", ["request", "lease", ""])
def test_all_about_an_old_request_is_found_among_all_later_ones(by: str) -> None:
    log = days(90)
    about = [entry for entry in read(enumerate(log)) if entry.leaf.request == request_of(20)]
    digits = about[-1].leaf.subject if by == "lease" else request_of(20)
    found = story(newest_first(log), Reference.parse(f"{by}:{digits}" if by else f"{digits}"))
    assert found.request == request_of(20)
    assert [entry.index for entry in found.entries] == [entry.index for entry in about]
    assert (len(found.approvals), len(found.leases)) == (2, LEASES)


def test_what_is_held_while_somebody_looks_for_a_lease_does_not_grow_with_the_log() -> None:
    most = {}
    for count in (100, 200):
        log = days(count)
        wanted = next(
            e.leaf.subject for e in read(enumerate(log)) if e.leaf.request == request_of(5) and e.leaf.subject
        )
        counted = []

        def looked_at(log: list[bytes] = log, counted: list[int] = counted) -> Iterator[Entry]:
            yield from newest_first(log)
            counted.append(held())

        assert story(looked_at(), Reference.parse(f"lease:{wanted}")).leases
        (most[count],) = counted
    assert most[200] < 1.1 * most[100]


def test_what_is_held_for_a_report_does_not_grow_with_the_log() -> None:
    most = {}
    for count in (REMEMBERED_DAYS + 20, 2 * REMEMBERED_DAYS + 40):
        end = BEGIN + timedelta(days=count)
        seen = Reporting(end - timedelta(days=7), end, lambda at: at.date())
        for entry in read(enumerate(days(count))):
            seen.read(entry)
        most[count] = held()
        reads = next(section for section in seen.sections(str, end) if section.name == "reads")
        assert len(reads.rows) >= 6 * LEASES and all(row["approved_by"] for row in reads.rows)
    few, many = most.values()
    assert many < 1.1 * few
