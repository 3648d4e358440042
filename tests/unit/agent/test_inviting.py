"""Being asked for consent: every state with every event, and what must hold in all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.parts import NOON

from assent_agent.core.inviting import (
    INVITE_EVERY,
    Answer,
    Declined,
    Gave,
    Invited,
    Inviting,
    InvitingEvent,
    PutOff,
    TookBack,
    may_invite,
    step,
)

LATER = NOON + INVITE_EVERY
BEFORE = {
    "new": Inviting(),
    "requested": Inviting(Answer.REQUESTED, NOON),
    "deferred": Inviting(Answer.DEFERRED, NOON),
    "refused": Inviting(Answer.REFUSED, NOON),
    "never": Inviting(Answer.REFUSED, NOON, never=True),
    "given": Inviting(Answer.GIVEN, NOON),
}
EVENTS: dict[str, InvitingEvent] = {
    "too early": Invited(LATER - timedelta(seconds=1)),
    "invited": Invited(LATER),
    "not now": PutOff(LATER),
    "no": Declined(LATER),
    "never": Declined(LATER, never=True),
    "yes": Gave(LATER),
    "withdrew": TookBack(LATER),
}
SAME = "same"
TABLE = {
    "new": ("requested", "requested", "deferred", "refused", "never", "given", "refused"),
    "requested": (SAME, "requested", "deferred", "refused", "never", "given", "refused"),
    "deferred": (SAME, "requested", "deferred", "refused", "never", "given", "refused"),
    "refused": (SAME, "requested", "deferred", "refused", "never", "given", "refused"),
    "never": (SAME, SAME, "never deferred", "never", "never", "given", "never"),
    "given": (SAME, SAME, SAME, "given", "given and never", "given", "refused"),
}
AFTER = {
    **BEFORE,
    "never deferred": Inviting(Answer.DEFERRED, NOON, never=True),
    "given and never": Inviting(Answer.GIVEN, NOON, never=True),
}


@pytest.mark.parametrize(("before", "event"), list(product(BEFORE, EVENTS)))
def test_every_event_in_every_state(before: str, event: str) -> None:
    name = TABLE[before][list(EVENTS).index(event)]
    found = step(BEFORE[before], EVENTS[event])
    if name == SAME:
        assert found == BEFORE[before]
    else:
        assert found == replace(AFTER[name], asked=EVENTS[event].now)


def test_the_first_question_needs_no_waiting_and_a_clock_that_went_back_asks_nobody() -> None:
    assert may_invite(Inviting(), NOON)
    assert not may_invite(BEFORE["deferred"], NOON - timedelta(days=400))
    assert may_invite(BEFORE["deferred"], LATER)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("invited", "not now", "no", "never", "yes", "withdrew")),
            st.timedeltas(timedelta(days=-200), timedelta(days=200)),
        ),
        max_size=30,
    )
)
def test_nobody_is_ever_asked_twice_in_ninety_days_nor_after_never(events: list[tuple[str, timedelta]]) -> None:
    state, now = Inviting(), NOON
    last_asked = None
    never = False
    for name, passed in events:
        now += passed
        event = replace(EVENTS[name], now=now)
        if name == "invited" and may_invite(state, now):
            assert not never
            assert last_asked is None or now - last_asked >= INVITE_EVERY
            last_asked = now
        never = (never or name == "never") and name != "yes"
        state = step(state, event)
