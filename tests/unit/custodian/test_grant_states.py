"""Every state of a request × every event, and a machine that tries orders nobody thought of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from assent_custodian.grants.domain import (
    Approved,
    DecisionRefused,
    Ended,
    Event,
    Granted,
    Open,
    Refused,
    Revoked,
    State,
    TimePassed,
    choose,
    step,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
"""The very moment of the end counts as over."""
BEFORE = LATER - timedelta(seconds=1)
FRESH = Open("requester", LATER)
HALF = Open("requester", LATER, frozenset({"first"}))
GRANTED = Granted("requester", LATER)
ENDS = ("refused", "revoked", "expired", "not-available")

TABLE: list[tuple[State, Event, State | str]] = [
    (FRESH, Approved("first", 12, NOW), HALF),
    (FRESH, Approved("requester", 12, NOW), "own-request"),
    (FRESH, Approved("first", 12, LATER), "expired"),
    (FRESH, Refused("first", NOW), Ended("refused")),
    (FRESH, Refused("requester", NOW), "own-request"),
    (FRESH, Refused("first", LATER), "expired"),
    (FRESH, Revoked(NOW), Ended("revoked")),
    (FRESH, Approved("first", 12, BEFORE), HALF),
    (FRESH, TimePassed(BEFORE), FRESH),
    (FRESH, TimePassed(LATER), Ended("expired")),
    (HALF, Approved("first", 12, NOW), "approved-twice"),
    (HALF, Approved("second", 10, NOW), GRANTED),
    (HALF, Approved("second", 9, NOW), Ended("not-available")),
    (HALF, Approved("requester", 12, NOW), "own-request"),
    (HALF, Refused("second", NOW), Ended("refused")),
    (HALF, Revoked(NOW), Ended("revoked")),
    (HALF, TimePassed(LATER), Ended("expired")),
    (GRANTED, Approved("third", 12, NOW), "already-decided"),
    (GRANTED, Refused("third", NOW), "already-decided"),
    (GRANTED, Revoked(NOW), Ended("revoked")),
    (GRANTED, TimePassed(BEFORE), GRANTED),
    (GRANTED, TimePassed(LATER), Ended("expired")),
]
for end in ENDS:
    ended = Ended(end)  # type: ignore[arg-type]
    TABLE += [
        (ended, Approved("third", 12, NOW), "ended"),
        (ended, Refused("third", NOW), "ended"),
        (ended, Revoked(NOW), "ended"),
        (ended, TimePassed(LATER), ended),
    ]


@pytest.mark.parametrize(("state", "event", "expected"), TABLE)
def test_every_state_meets_every_event(state: State, event: Event, expected: State | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(DecisionRefused) as refusal:
            step(state, event)
        assert refusal.value.rule == expected
    else:
        assert step(state, event) == expected


@pytest.mark.parametrize("wanted", [1, 9, 13])
def test_a_random_choice_below_ten_or_above_what_there_is_is_not_available(wanted: int) -> None:
    assert step(HALF, Approved("second", 12, NOW), wanted=wanted) == Ended("not-available")


def test_a_random_choice_of_ten_among_twelve_is_granted() -> None:
    assert step(HALF, Approved("second", 12, NOW), wanted=10) == GRANTED


def test_the_number_of_approvals_can_only_be_raised() -> None:
    with pytest.raises(ValueError, match="raised"):
        step(FRESH, Approved("first", 12, NOW), needed=1)
    assert isinstance(step(HALF, Approved("second", 12, NOW), needed=3), Open)


def test_a_random_cohort_has_the_size_asked_for_and_its_order_says_nothing() -> None:
    people = [f"{n:02}" for n in range(40)]
    cohort = choose(people, 15)
    assert len(set(cohort)) == 15
    assert cohort == sorted(cohort)
    assert choose(people[::-1], None) == people


class GrantMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: two distinct others approved before anything is granted, ends are final."""

    @initialize()
    def begin(self) -> None:
        self.state: State = FRESH
        self.approved: set[str] = set()
        self.ended: State | None = None

    def _apply(self, event: Event) -> None:
        before = self.state
        try:
            self.state = step(before, event)
        except DecisionRefused:
            return
        if isinstance(event, Approved):
            self.approved.add(event.by)
            if isinstance(self.state, Granted):
                assert event.cohort_size >= 10

    @rule(by=st.sampled_from(["requester", "a", "b", "c"]), size=st.integers(0, 30), late=st.booleans())
    def approve(self, by: str, size: int, late: bool) -> None:
        self._apply(Approved(by, size, LATER if late else NOW))

    @rule(by=st.sampled_from(["requester", "a", "b"]))
    def refuse(self, by: str) -> None:
        self._apply(Refused(by, NOW))

    @rule(at=st.sampled_from([NOW, LATER]))
    def time(self, at: datetime) -> None:
        self._apply(TimePassed(at))

    @rule()
    def revoke(self) -> None:
        self._apply(Revoked(NOW))

    @invariant()
    def nothing_is_granted_without_two_others(self) -> None:
        if isinstance(self.state, Granted):
            assert len(self.approved - {"requester"}) >= 2
        assert "requester" not in self.approved

    @invariant()
    def ends_are_final(self) -> None:
        if self.ended is not None:
            assert self.state == self.ended
        if isinstance(self.state, Ended):
            self.ended = self.state


TestGrantMachine = GrantMachine.TestCase
TestGrantMachine.settings = settings(max_examples=60, deadline=None)
