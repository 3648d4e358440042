"""What an erasure reaches, and every way in which it is not final yet."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from assent.contracts.ids import Modality, new_id
from assent.contracts.statements import Erasure
from assent_custodian.erasures import domain
from assent_custodian.erasures.domain import Event, Final, Progress, Reach, ReachInvalid, State, final, reach_of, step

AT = "2026-11-23T09:00:00Z"
EVERY = frozenset(Modality)


def wish(**fields: Any) -> Erasure:
    return Erasure(**{"person": new_id(), "at": AT, **fields})


@pytest.mark.parametrize(
    ("fields", "reach"),
    [
        ({"everything": True}, Reach(EVERY, domain.FIRST_DAY, "2026-11-23", None)),
        (
            {"everything": True, "modalities": (Modality.SCREEN,)},
            Reach(frozenset({Modality.SCREEN}), domain.FIRST_DAY, "2026-11-23", None),
        ),
        ({"from_day": "2026-11-20", "to_day": "2026-11-21"}, Reach(EVERY, "2026-11-20", "2026-11-21", None)),
        ({"from_day": "2026-11-20", "to_day": "2026-12-31"}, Reach(EVERY, "2026-11-20", "2026-11-23", None)),
        (
            {"hours": ("2026-11-21T14", "2026-11-20T03", "2026-11-21T13", "2026-11-21T14")},
            Reach(
                EVERY, "2026-11-20", "2026-11-21",
                {"2026-11-20": ("2026-11-20T03",), "2026-11-21": ("2026-11-21T13", "2026-11-21T14")},
            ),
        ),
        ({"hours": ("2026-11-24T00",)}, Reach(EVERY, "2026-11-24", "2026-11-23", {})),
    ],
)  # fmt: skip
def test_an_erasure_reaches_what_it_names_and_nothing_after_the_day_it_was_signed(
    fields: dict[str, Any], reach: Reach
) -> None:
    assert reach_of(wish(**fields)) == reach


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"everything": True, "hours": ("2026-11-20T03",)},
        {"everything": True, "from_day": "2026-11-20", "to_day": "2026-11-20"},
        {"hours": ("2026-11-20T03",), "from_day": "2026-11-20", "to_day": "2026-11-20"},
        {"from_day": "2026-11-20"},
        {"to_day": "2026-11-20"},
        {"from_day": "2026-11-21", "to_day": "2026-11-20"},
        {"from_day": "2026-02-30", "to_day": "2026-11-20"},
        {"hours": ("2026-11-20T25",)},
        {"everything": True, "at": "2026-13-01T00:00:00Z"},
    ],
)
def test_an_erasure_that_does_not_say_one_thing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ReachInvalid):
        reach_of(wish(**fields))


DONE = Progress(destroyed="2026-11-01", keys=True, generation="2026-11-02", orders=("2026-11-04", "2026-11-03"))


def test_it_is_final_when_the_last_backup_of_the_last_trace_has_expired() -> None:
    assert final(DONE, 35, "2026-12-09") == Final("2026-11-02", "2026-11-04", "2026-12-09")
    assert final(DONE, 35, "2026-12-08") is None
    assert final(DONE, 0, "2026-11-04") == Final("2026-11-02", "2026-11-04", "2026-11-04")


def test_backups_count_from_the_generation_when_it_was_the_last_to_go() -> None:
    late = replace(DONE, generation="2026-11-10")
    assert final(late, 1, "2026-11-10") is None
    assert final(late, 1, "2026-11-11") == Final("2026-11-10", "2026-11-04", "2026-11-11")


def test_a_backup_that_nobody_removed_holds_up_the_end_whatever_was_configured() -> None:
    assert final(DONE, 1, "2026-11-05", "2026-11-04") is None
    assert final(DONE, 1, "2026-11-05", "2026-11-05") == Final("2026-11-02", "2026-11-04", "2026-11-05")


@pytest.mark.parametrize(
    "outstanding",
    [
        replace(DONE, destroyed=None),
        replace(DONE, generation=None),
        replace(DONE, orders=("2026-11-04", None)),
        replace(DONE, orders=(None,)),
    ],
)
def test_while_anything_is_outstanding_nothing_is_final_however_late(outstanding: Progress) -> None:
    assert final(outstanding, 0, "2027-11-04") is None


def test_hours_destroy_no_key_and_nothing_waits_for_a_generation() -> None:
    hours = Progress("2026-11-01", keys=False, generation=None, orders=("2026-11-02",))
    assert final(hours, 0, "2026-11-02") == Final(None, "2026-11-02", "2026-11-02")


def test_what_reached_nothing_is_final_with_its_backups() -> None:
    assert final(Progress("2026-11-01", keys=False, generation=None, orders=()), 0, "2026-11-01") == Final(
        None, "2026-11-01", "2026-11-01"
    )


# --- what becomes of an erasure ---


STEPS = {
    State.REQUESTED: {Event.DESTROY: State.DESTROYED, Event.FINISH: State.REQUESTED, Event.CALL_OFF: State.CALLED_OFF},
    State.DESTROYED: {Event.DESTROY: State.DESTROYED, Event.FINISH: State.FINAL, Event.CALL_OFF: State.DESTROYED},
    State.FINAL: {Event.DESTROY: State.FINAL, Event.FINISH: State.FINAL, Event.CALL_OFF: State.FINAL},
    State.CALLED_OFF: {
        Event.DESTROY: State.CALLED_OFF, Event.FINISH: State.CALLED_OFF, Event.CALL_OFF: State.CALLED_OFF,
    },
}  # fmt: skip


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_event_in_every_state(state: State, event: Event) -> None:
    assert step(state, event) is STEPS[state][event]


def test_what_is_final_was_destroyed_and_what_was_called_off_was_not() -> None:
    """Over every way of up to five events."""
    for events in product(Event, repeat=5):
        state, destroyed = State.REQUESTED, False
        for event in events:
            before, state = state, step(state, event)
            destroyed |= state is State.DESTROYED
            assert before not in (State.FINAL, State.CALLED_OFF) or state is before, "ends are final"
        assert (state is State.FINAL) <= destroyed
        assert (state is State.CALLED_OFF) <= (not destroyed)
