"""The rules of the door, every one with a case that only it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assent.contracts.segment import FIRST_PREVIOUS, SegmentHeader
from assent_custodian.leases.domain import StreamFacts, why_not

HEADER = SegmentHeader(stream="ab" * 16, sequence=0, previous=FIRST_PREVIOUS, hour="2026-11-23T09", length=512)
OPEN = StreamFacts(
    day="2026-11-23", suite="A1-XW", record_until="2026-11-24T00", erased=False, erased_hours=(), not_covered=None
)


def test_what_nothing_speaks_against_is_opened() -> None:
    assert why_not(HEADER, OPEN) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (None, "not-leased"),
        (replace(OPEN, erased=True), "erased"),
        (replace(OPEN, erased_hours={"2026-11-23T09"}), "erased"),
        (replace(OPEN, not_covered="withdrawn"), "withdrawn"),
        (replace(OPEN, not_covered="expired"), "expired"),
        (replace(OPEN, suite="A1-P256"), "suite"),
        (replace(OPEN, day="2026-11-22"), "damaged"),
        (replace(OPEN, record_until="2026-11-23T09"), "damaged"),
    ],
)
def test_each_rule_alone_keeps_the_door_shut(facts: StreamFacts | None, reason: str) -> None:
    assert why_not(HEADER, facts) == reason


def test_another_hour_under_a_tombstone_does_not_matter() -> None:
    assert why_not(HEADER, replace(OPEN, erased_hours={"2026-11-23T10"})) is None


@given(
    erased=st.booleans(),
    hours=st.sets(st.sampled_from(["2026-11-23T09", "2026-11-23T10"])),
    not_covered=st.sampled_from([None, "withdrawn", "expired"]),
    suite=st.sampled_from(["A1-XW", "A1-P256"]),
    day=st.sampled_from(["2026-11-22", "2026-11-23"]),
    until=st.sampled_from(["2026-11-23T09", "2026-11-23T10"]),
)
def test_the_door_opens_only_when_every_fact_allows_it(
    erased: bool, hours: set[str], not_covered: str | None, suite: str, day: str, until: str
) -> None:
    facts = StreamFacts(day, suite, until, erased, hours, not_covered)  # type: ignore[arg-type]
    allowed = (
        not erased
        and "2026-11-23T09" not in hours
        and not_covered is None
        and suite == "A1-XW"
        and day == "2026-11-23"
        and until == "2026-11-23T10"
    )
    assert (why_not(HEADER, facts) is None) == allowed
