"""Uploads, pictures and status: when to send, which pictures to keep, what to say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from tests.unit.agent.parts import NOON, statement_key
from tests.unit.agent.test_consent import RECORDING

from assent.client.collector import StreamRevoked
from assent.client.transport import AnswerInvalid, ClientError, OutOfOrder, Refused, Unreachable
from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Revocation
from assent_agent.core import uploads
from assent_agent.core.consent import ConsentState, Pause, Trouble
from assent_agent.core.framing import MS, Bound, Framing, Taken
from assent_agent.core.recorder import SECOND_NS
from assent_agent.core.status import tell
from assent_agent.core.uploads import Outcome
from assent_agent.runtime.network import outcome_of

HOUR = timedelta(hours=1)


# --- uploads ----------------------------------------------------------------------------------------


def test_batches_are_about_hourly_and_never_at_the_same_distance() -> None:
    random = Random(3)
    schedule = uploads.first(HOUR, NOON, random)
    assert NOON + HOUR / 4 <= schedule.due <= NOON + HOUR
    waits = set()
    for _ in range(50):
        before = schedule.due
        schedule = uploads.after_batch(schedule, before, random, succeeded=True)
        waits.add(schedule.due - before)
        assert HOUR * 0.75 <= schedule.due - before <= HOUR * 1.25
    assert len(waits) > 40


def test_failures_wait_longer_and_longer_up_to_an_hour_and_a_success_forgets_them() -> None:
    random = Random(3)
    schedule = uploads.first(HOUR, NOON, random)
    for failure in range(30):
        schedule = uploads.after_batch(schedule, NOON, random, succeeded=False)
        most = min(HOUR, timedelta(seconds=30) * 2**failure)
        assert most / 2 <= schedule.due - NOON <= most * 1.5
    assert uploads.after_batch(schedule, NOON, random, succeeded=True).failures == 0
    assert uploads.asked_for(schedule, NOON).due == NOON


def test_streams_are_shuffled() -> None:
    orders = {tuple(uploads.shuffled("abcd", Random(seed))) for seed in range(40)}
    assert len(orders) > 10
    assert all(sorted(order) == list("abcd") for order in orders)


def test_the_last_day_of_the_deadline_still_counts() -> None:
    assert not uploads.overdue("2026-11-23", "2026-11-23")
    assert uploads.overdue("2026-11-23", "2026-11-24")


def refused(code: Code) -> Refused:
    return Refused(Problem(code, ""))


REVOKED = StreamRevoked(refused(Code.REVOKED), sign(Revocation(stream=new_id()), statement_key()), ())


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (REVOKED, Outcome.REVOKED),
        (StreamRevoked(refused(Code.REVOKED), REVOKED.evidence, ("2026-11-23T12",)), Outcome.ERASED),
        (Unreachable("x"), Outcome.LATER),
        (AnswerInvalid("x"), Outcome.NOT_THE_COLLECTOR),
        (OutOfOrder(Problem(Code.OUT_OF_ORDER, ""), 3, "0" * 64), Outcome.STUCK),
        (refused(Code.CONFLICT), Outcome.STUCK),
        (refused(Code.REVOKED), Outcome.STUCK),
        (refused(Code.STORAGE_FULL), Outcome.LATER),
        (refused(Code.TOO_MANY), Outcome.LATER),
        (ClientError("x"), Outcome.NOT_THE_COLLECTOR),
    ],
)
def test_what_a_failed_call_means(error: ClientError, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


# --- pictures ---------------------------------------------------------------------------------------


def taken(at_ms: int, content: str, display: int = 0) -> Taken[str]:
    return Taken(display, at_ms * MS, (at_ms + 2) * MS, content.encode(), content)


def told(bound: list[Bound[str]]) -> list[tuple[str, str, tuple[str, int] | None, int]]:
    return [(b.binding, b.taken.picture, b.action, b.lag_ns // MS) for b in bound]


def test_the_picture_before_is_chosen_by_the_time_of_the_action_and_not_of_its_arrival() -> None:
    framing: Framing[str] = Framing()
    for at_ms, content in ((0, "a"), (100, "b"), (200, "c")):
        framing.taken(taken(at_ms, content))
    assert told(framing.action("press", ("pointer", 7), 150 * MS, 0)) == [("before", "b", ("pointer", 7), 48)]


def test_the_picture_after_is_the_first_settled_one() -> None:
    framing: Framing[str] = Framing()
    framing.taken(taken(0, "a"))
    framing.action("press", ("pointer", 1), 50 * MS, 0)
    assert framing.hurry
    assert framing.taken(taken(100, "opening")) == []
    assert framing.taken(taken(200, "open")) == []
    assert told(framing.taken(taken(300, "open"))) == [("after", "open", ("pointer", 1), 150)]
    assert not framing.hurry


def test_what_never_settles_is_taken_after_a_second() -> None:
    framing: Framing[str] = Framing()
    framing.action("press", ("pointer", 1), 0, 0)
    kept = [told(framing.taken(taken(100 * i, f"blink {i % 2}"))) for i in range(1, 12)]
    assert [k[0][:2] for k in kept if k] == [("periodic", "blink 1"), ("after", "blink 0")]
    assert kept[9][0][3] == 1000


def test_a_run_of_keys_is_one_action_and_settles_after_its_last_key() -> None:
    framing: Framing[str] = Framing()
    framing.taken(taken(0, "a"))
    assert len(framing.action("key", ("keyboard", 0), 10 * MS, 0)) == 1
    assert framing.taken(taken(50, "b")) == []
    assert framing.action("key", ("keyboard", 2), 200 * MS, 0) == []
    assert framing.taken(taken(150, "b")) == []
    assert framing.taken(taken(250, "c")) == []
    assert told(framing.taken(taken(350, "c"))) == [("after", "c", ("keyboard", 2), 50)]


def test_without_actions_a_picture_is_kept_now_and_then_per_display() -> None:
    framing: Framing[str] = Framing(periodic_ns=1000 * MS)
    kept = [told(framing.taken(taken(100 * i, str(i), display=i % 2))) for i in range(25)]
    assert [k[0][1] for k in kept if k] == ["0", "1", "10", "11", "20", "21"]


def test_after_a_stop_nothing_of_before_is_left() -> None:
    framing: Framing[str] = Framing()
    framing.taken(taken(0, "secret"))
    framing.action("press", ("pointer", 1), 5 * MS, 0)
    framing.clear()
    assert not framing.hurry
    assert framing.action("press", ("pointer", 2), 10 * MS, 0) == []


# --- status -----------------------------------------------------------------------------------------


def say(state: ConsentState, **facts: object) -> str:
    known: dict[str, object] = {"arrived_ns": {}, "failure": "", "asking": False, "started_ns": 0, "now_ns": 0, **facts}
    return tell(state, **known).state  # type: ignore[arg-type]


def test_green_only_while_things_arrive() -> None:
    screen = frozenset({Modality.SCREEN, Modality.POINTER})
    with_screen = replace(RECORDING, capturing=screen)
    assert say(RECORDING) == "recording"
    assert say(with_screen, now_ns=10 * SECOND_NS) == "recording"
    assert say(with_screen, now_ns=20 * SECOND_NS) == "trouble"
    assert say(with_screen, now_ns=20 * SECOND_NS, arrived_ns={Modality.SCREEN: 10 * SECOND_NS}) == "recording"
    assert say(RECORDING, failure="The X server is gone.") == "trouble"


UNANSWERED = (replace(RECORDING, clock_sane=None), replace(RECORDING, certificates=()))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (ConsentState(), "off"),
        (replace(RECORDING, pause=Pause(None)), "paused"),
        (replace(RECORDING, locked=True), "paused"),
        (replace(RECORDING, halted="x"), "off"),
        (replace(RECORDING, revoked=True), "trouble"),
        (replace(RECORDING, indicator=False), "trouble"),
        (replace(RECORDING, clock_sane=None), "trouble"),
        (replace(RECORDING, clock_sane=False), "trouble"),
        (replace(RECORDING, troubles=frozenset({Trouble.DISK})), "trouble"),
        (replace(RECORDING, certificates=()), "trouble"),
    ],
)
def test_every_reason_has_a_state_and_a_sentence(state: ConsentState, said: str) -> None:
    assert say(state) == said
    assert (say(state, asking=True) == said) == (state not in UNANSWERED), "only what an answer can change waits for it"
    assert (
        tell(state, arrived_ns={}, failure="", asking=False, started_ns=0, now_ns=0).sentence.endswith(".")
        or state.halted
    )
