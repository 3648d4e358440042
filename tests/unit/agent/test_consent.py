"""The permission to record: every state × every event, and what must hold in all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.unit.agent.parts import NOON

from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality
from assent_agent.core.consent import (
    CLOCK_DOUBT,
    CertificatesHeld,
    ClockCompared,
    ClockStepped,
    ConsentEvent,
    ConsentState,
    DestroySpool,
    DeviceRevoked,
    Ended,
    HaltLifted,
    HaltTold,
    HeldReceipt,
    HourTold,
    IndicatorLost,
    IndicatorShown,
    LiveReceiptsTold,
    Locked,
    Pause,
    Paused,
    QueueWithdrawal,
    ReceiptEnded,
    ReceiptGiven,
    Resumed,
    StartCapture,
    StopCapture,
    SwitchedOff,
    SwitchedOn,
    Ticked,
    Trouble,
    TroubleBegan,
    TroubleEnded,
    Unlocked,
    WantCertificates,
    Why,
    Withdrawn,
    step,
)

POINTER, KEYBOARD, SCREEN = Modality.POINTER, Modality.KEYBOARD, Modality.SCREEN
TRAIN, TEST = "https://example.org/train", "https://example.org/test"
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)

RECEIPT = HeldReceipt(
    record="a" * 32,
    choices=frozenset({(POINTER, TRAIN), (POINTER, TEST), (KEYBOARD, TRAIN)}),
    keyboard_mode=KeyboardMode.SHAPE,
    valid_from=NOON - HOUR,
    valid_until=NOON + 100 * HOUR,
)
NEWER = replace(RECEIPT, record="b" * 32, choices=frozenset({(POINTER, TRAIN), (SCREEN, TRAIN)}))
CERTIFICATES = ((POINTER, NOON + 10 * HOUR), (KEYBOARD, NOON + 10 * HOUR))

EVENTS: tuple[ConsentEvent, ...] = (
    ReceiptGiven(RECEIPT, NOON),
    ReceiptGiven(NEWER, NOON),
    ReceiptGiven(NEWER, NOON + 200 * HOUR),
    ReceiptGiven(replace(NEWER, valid_from=NOON + HOUR), NOON),
    Withdrawn(),
    Withdrawn(modalities=frozenset({POINTER})),
    Withdrawn(purposes=frozenset({TRAIN})),
    LiveReceiptsTold({}),
    ReceiptEnded(RECEIPT.record),
    ReceiptEnded(NEWER.record),
    LiveReceiptsTold({RECEIPT.record: RECEIPT.choices}),
    LiveReceiptsTold({RECEIPT.record: frozenset({(POINTER, TEST)})}),
    CertificatesHeld((), NOON),
    CertificatesHeld(CERTIFICATES, NOON),
    CertificatesHeld(((POINTER, NOON + HOUR), (SCREEN, NOON + HOUR)), NOON),
    CertificatesHeld(((POINTER, NOON - HOUR),), NOON),
    SwitchedOn(),
    SwitchedOff(),
    IndicatorShown(),
    IndicatorLost(),
    ClockCompared(299.0),
    ClockCompared(-301.0),
    ClockStepped(0.2),
    ClockStepped(-60.0),
    HaltTold("an incident"),
    HaltLifted(),
    Paused(None),
    Paused(NOON + HOUR),
    HourTold(allowed=False),
    HourTold(allowed=True),
    Resumed(),
    Locked(),
    Unlocked(),
    TroubleBegan(Trouble.DISK),
    TroubleEnded(Trouble.DISK),
    TroubleBegan(Trouble.SOURCE),
    TroubleEnded(Trouble.SOURCE),
    Ticked(NOON),
    Ticked(NOON + 2 * HOUR),
    Ticked(NOON + 11 * HOUR),
    Ticked(NOON + 101 * HOUR),
    DeviceRevoked(),
    Ended(),
)


def states() -> Iterator[ConsentState]:
    """Every combination of facts, each with what it permits being captured."""
    for receipt, on, shown, clock, halted, pause, locked, troubles, certificates, ended, revoked in product(
        (None, RECEIPT),
        (False, True),
        (False, True),
        (None, False, True),
        (None, "an incident"),
        (None, Pause(None), Pause(NOON + HOUR)),
        (False, True),
        (frozenset[Trouble](), frozenset({Trouble.DISK}), frozenset({Trouble.SOURCE})),
        ((), CERTIFICATES),
        (False, True),
        (False, True),
    ):
        if receipt is None and certificates:
            continue
        state = ConsentState(receipt, on, shown, clock, halted, pause, locked, troubles, certificates, ended, revoked)
        for late in (False, True) if pause is None else (False,):
            told = replace(state, out_of_hours=late)
            yield replace(told, capturing=told.permitted)


RECORDING = ConsentState(
    receipt=RECEIPT,
    switched_on=True,
    indicator=True,
    clock_sane=True,
    certificates=CERTIFICATES,
    capturing=frozenset({POINTER, KEYBOARD}),
)


def test_only_the_one_state_in_which_every_fact_holds_permits_recording() -> None:
    assert [state for state in states() if state.permitted] == [RECORDING]


def test_a_new_state_permits_nothing() -> None:
    assert ConsentState().permitted == frozenset()
    assert ConsentState().why is Why.NO_RECEIPT
    for fact in ("receipt", "switched_on", "indicator", "clock_sane", "certificates"):
        unknown = replace(RECORDING, **{fact: getattr(ConsentState(), fact)})
        assert unknown.permitted == frozenset(), f"a doubt about {fact}"


def check(before: ConsentState, event: ConsentEvent) -> ConsentState:
    after, effects = step(before, event)
    # What is captured is what is permitted, and nothing runs on unnoticed.
    assert after.capturing == after.permitted
    assert after.permitted <= (after.receipt.modalities if after.receipt else frozenset())
    stops = [i for i, e in enumerate(effects) if isinstance(e, StopCapture)]
    starts = [i for i, e in enumerate(effects) if isinstance(e, StartCapture)]
    assert stops in ([], [0]), "capture stops before anything else"
    assert starts in ([], [len(effects) - 1]), "capture starts after everything else"
    if before.capturing and (before.capturing != after.capturing):
        assert stops == [0]
    if after.capturing and not before.capturing:
        assert starts
    for effect in effects:
        if isinstance(effect, StartCapture):
            assert effect.modalities == after.permitted != frozenset()
    # Time and certificates never grant what no receipt gave; only giving gives.
    if not isinstance(event, ReceiptGiven) and before.receipt is None:
        assert after.receipt is None
    if isinstance(event, Withdrawn):
        assert any(isinstance(e, DestroySpool) for e in effects) or (
            after.receipt is not None
            and before.receipt is not None
            and after.receipt.modalities == before.receipt.modalities
        )
        if before.receipt is not None:
            queue = next(i for i, e in enumerate(effects) if isinstance(e, QueueWithdrawal))
            destroy = [i for i, e in enumerate(effects) if isinstance(e, DestroySpool)]
            assert all(queue < i for i in destroy)
            assert not before.capturing or stops == [0]
        if not event.modalities and not event.purposes:
            assert after.receipt is None and after.capturing == frozenset()
            assert DestroySpool() in effects
    else:
        assert not any(isinstance(e, QueueWithdrawal) for e in effects)
    if before.ended:
        assert not starts
    if isinstance(event, Ticked):
        assert (len(after.certificates), after.receipt is None) <= (len(before.certificates), True)
    return after


def test_every_event_in_every_state_keeps_the_promises() -> None:
    seen = 0
    for state in states():
        for event in EVENTS:
            check(state, event)
            seen += 1
    assert seen > 50_000


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=40))
def test_every_sequence_of_events_keeps_the_promises(events: list[ConsentEvent]) -> None:
    state = ConsentState()
    running: frozenset[Modality] = frozenset()
    for event in events:
        _, effects = step(state, event)
        state = check(state, event)
        for effect in effects:
            if isinstance(effect, StopCapture):
                running = frozenset()
            if isinstance(effect, StartCapture):
                assert not running
                running = effect.modalities
        assert running == state.permitted


STOPPED_BY: tuple[tuple[ConsentEvent, Why], ...] = (
    (LiveReceiptsTold({}), Why.NO_RECEIPT),
    (CertificatesHeld((), NOON), Why.NO_CERTIFICATE),
    (SwitchedOff(), Why.SWITCHED_OFF),
    (IndicatorLost(), Why.NO_INDICATOR),
    (ClockCompared(-301.0), Why.CLOCK),
    (ClockStepped(-60.0), Why.CLOCK),
    (HaltTold("an incident"), Why.HALTED),
    (Paused(None), Why.PAUSED),
    (HourTold(allowed=False), Why.HOURS),
    (Locked(), Why.LOCKED),
    (TroubleBegan(Trouble.DISK), Why.DISK),
    (TroubleBegan(Trouble.SOURCE), Why.SOURCE),
    (Ticked(NOON + 11 * HOUR), Why.NO_CERTIFICATE),
    (Ticked(NOON + 101 * HOUR), Why.NO_RECEIPT),
    (Ended(), Why.ENDED),
)


@pytest.mark.parametrize(("event", "why"), STOPPED_BY, ids=lambda value: type(value).__name__)
def test_recording_stops_and_says_why(event: ConsentEvent, why: Why) -> None:
    after, effects = step(RECORDING, event)
    assert after.why is why
    assert isinstance(effects[0], StopCapture)
    assert effects[0].why is why


STARTED_BY: tuple[tuple[dict[str, object], ConsentEvent], ...] = (
    ({"switched_on": False}, SwitchedOn()),
    ({"indicator": False}, IndicatorShown()),
    ({"clock_sane": None}, ClockCompared(300.0)),
    ({"clock_sane": False}, ClockCompared(-300.0)),
    ({"halted": "an incident"}, HaltLifted()),
    ({"pause": Pause(None)}, Resumed()),
    ({"locked": True}, Unlocked()),
    ({"out_of_hours": True}, HourTold(allowed=True)),
    ({"narrowing_unread": True}, HourTold(allowed=True)),
    ({"troubles": frozenset({Trouble.DISK})}, TroubleEnded(Trouble.DISK)),
    ({"troubles": frozenset({Trouble.SOURCE})}, TroubleEnded(Trouble.SOURCE)),
    ({"certificates": ()}, CertificatesHeld(CERTIFICATES, NOON)),
)


@pytest.mark.parametrize(("missing", "event"), STARTED_BY, ids=lambda value: type(value).__name__)
def test_the_last_fact_that_was_missing_starts_recording(missing: dict[str, object], event: ConsentEvent) -> None:
    before = replace(RECORDING, **missing, capturing=frozenset())  # type: ignore[arg-type]
    assert before.permitted == frozenset()
    after, effects = step(before, event)
    assert after == RECORDING
    assert effects[-1] == StartCapture(RECEIPT.modalities, RECEIPT.keyboard_mode)


@pytest.mark.parametrize("nothing_else", [DeviceRevoked(), Ended()], ids=lambda event: type(event).__name__)
def test_what_is_final_is_ended_by_nothing(nothing_else: ConsentEvent) -> None:
    ended, _ = step(RECORDING, nothing_else)
    for event in EVENTS:
        assert step(ended, event)[0].permitted == frozenset()


def test_a_receipt_counts_from_its_beginning_until_its_end_and_for_something() -> None:
    def given(now: datetime, **changes: Any) -> bool:
        return step(ConsentState(), ReceiptGiven(replace(RECEIPT, **changes), now))[0].receipt is not None

    assert given(NOON)
    assert given(RECEIPT.valid_from - CLOCK_DOUBT) and not given(RECEIPT.valid_from - CLOCK_DOUBT - SECOND)
    assert given(RECEIPT.valid_until - SECOND) and not given(RECEIPT.valid_until)
    assert not given(NOON, choices=frozenset())
    assert not given(NOON, choices=frozenset({(KEYBOARD, TRAIN)}), keyboard_mode=KeyboardMode.OFF)
    assert step(RECORDING, ReceiptGiven(replace(NEWER, valid_until=NOON), NOON)) == (RECORDING, ())


def test_receipts_and_certificates_end_at_their_very_moment() -> None:
    end = CERTIFICATES[0][1]
    assert step(RECORDING, Ticked(end - SECOND))[0].permitted and not step(RECORDING, Ticked(end))[0].permitted
    still = replace(RECORDING, certificates=tuple((m, RECEIPT.valid_until + HOUR) for m, _ in CERTIFICATES))
    assert step(still, Ticked(RECEIPT.valid_until - SECOND))[0].permitted
    assert step(still, Ticked(RECEIPT.valid_until))[0].why is Why.NO_RECEIPT
    held = CertificatesHeld(CERTIFICATES, end)
    assert step(replace(RECORDING, certificates=(), capturing=frozenset()), held)[0].certificates == ()


def test_certificates_are_asked_for_once() -> None:
    off = replace(RECORDING, switched_on=False, certificates=(), capturing=frozenset())
    on, effects = step(off, SwitchedOn())
    assert effects == (WantCertificates(RECEIPT.modalities),)
    assert step(on, SwitchedOn()) == (on, ())
    assert step(ConsentState(), SwitchedOn())[1] == (), "there is nothing to certify"


def test_another_keyboard_mode_under_the_same_receipt_starts_capture_anew() -> None:
    text = replace(RECEIPT, keyboard_mode=KeyboardMode.TEXT)
    after, effects = step(RECORDING, ReceiptGiven(text, NOON))
    assert [type(effect) for effect in effects] == [StopCapture, StartCapture]
    assert effects[-1] == StartCapture(text.modalities, KeyboardMode.TEXT)
    assert after.certificates == CERTIFICATES


def test_withdrawing_everything_stops_then_queues_then_destroys() -> None:
    after, effects = step(RECORDING, Withdrawn())
    assert effects == (StopCapture(Why.NO_RECEIPT, discard=None), QueueWithdrawal(RECEIPT.record), DestroySpool())
    assert after.receipt is None


def test_withdrawing_one_modality_goes_on_with_the_others() -> None:
    after, effects = step(RECORDING, Withdrawn(modalities=frozenset({KEYBOARD})))
    assert [type(e) for e in effects] == [StopCapture, QueueWithdrawal, DestroySpool, StartCapture]
    assert effects[0] == StopCapture(Why.NO_RECEIPT, discard=frozenset({KEYBOARD}))
    assert effects[2] == DestroySpool(frozenset({KEYBOARD}))
    assert after.capturing == {POINTER}


def test_withdrawing_a_purpose_destroys_only_what_served_no_other() -> None:
    after, effects = step(RECORDING, Withdrawn(purposes=frozenset({TRAIN})))
    assert DestroySpool(frozenset({KEYBOARD})) in effects
    assert after.capturing == {POINTER}
    _, effects = step(RECORDING, Withdrawn(purposes=frozenset({TEST})))
    assert not any(isinstance(e, DestroySpool) for e in effects)


def test_withdrawing_without_a_receipt_still_destroys_what_is_here() -> None:
    assert step(ConsentState(), Withdrawn())[1] == (DestroySpool(),)


def test_a_receipt_that_is_not_live_any_more_stops_recording_and_what_is_sealed_stays_until_its_end_is_signed() -> None:
    after, effects = step(RECORDING, LiveReceiptsTold({NEWER.record: NEWER.choices}))
    assert effects == (StopCapture(Why.NO_RECEIPT),)
    assert step(after, ReceiptEnded(RECEIPT.record))[1] == (DestroySpool(),)


def test_what_was_withdrawn_elsewhere_stops_and_goes_and_the_rest_goes_on() -> None:
    after, effects = step(RECORDING, LiveReceiptsTold({RECEIPT.record: frozenset({(POINTER, TEST)})}))
    assert effects == (
        StopCapture(Why.NO_CERTIFICATE, discard=frozenset({KEYBOARD})),
        DestroySpool(frozenset({KEYBOARD})),
        StartCapture(frozenset({POINTER}), KeyboardMode.SHAPE),
    )
    assert after.receipt is not None
    assert after.receipt.choices == {(POINTER, TEST)}
    wider = LiveReceiptsTold({RECEIPT.record: RECEIPT.choices | NEWER.choices})
    assert step(after, wider) == (after, ()), "news can only narrow"


def test_the_end_of_an_older_receipt_leaves_what_the_newer_one_covers() -> None:
    assert step(RECORDING, ReceiptEnded(NEWER.record)) == (RECORDING, ())
    assert step(RECORDING, ReceiptEnded(RECEIPT.record))[1] == (
        StopCapture(Why.NO_RECEIPT, discard=None),
        DestroySpool(),
    )


def test_a_pause_lasts_as_long_as_was_asked_whatever_the_clock_on_the_wall_does() -> None:
    timed, _ = step(RECORDING, Paused(NOON + HOUR))
    for hours in (-2, 2):
        moved, _ = step(timed, ClockStepped(hours * 3600.0))
        after, _ = step(moved, ClockCompared(0.0))
        early, _ = step(after, Ticked(NOON + hours * HOUR + 0.9 * HOUR))
        assert early.why is Why.PAUSED
        over, effects = step(early, Ticked(NOON + hours * HOUR + HOUR))
        assert over.pause is None and (effects or over.receipt is None)


@pytest.mark.parametrize("doubt", [None, False])
def test_a_clock_in_doubt_ends_no_pause(doubt: bool | None) -> None:
    paused, _ = step(replace(RECORDING, clock_sane=doubt), Paused(NOON + HOUR))
    late, _ = step(paused, Ticked(NOON + 2 * HOUR))
    assert late.pause is not None
    sure, _ = step(late, ClockCompared(0.0))
    over, _ = step(sure, Ticked(NOON + 2 * HOUR))
    assert over.pause is None


def test_withdrawing_what_was_not_agreed_to_covers_nothing() -> None:
    both, pointer = frozenset({Modality.POINTER, Modality.KEYBOARD}), frozenset({Modality.POINTER})
    choices = frozenset({(Modality.POINTER, "urn:a"), (Modality.KEYBOARD, "urn:b")})
    held = replace(RECEIPT, choices=choices)
    assert held.covers_any(frozenset(), frozenset()), "everything"
    assert held.covers_any(pointer, frozenset()) and held.covers_any(frozenset(), frozenset({"urn:a", "urn:typo"}))
    assert held.covers_any(both | {Modality.SCREEN}, frozenset())
    assert not held.covers_any(frozenset({Modality.SCREEN}), frozenset())
    assert not held.covers_any(frozenset(), frozenset({"urn:typo"}))
    assert not held.covers_any(pointer, frozenset({"urn:b"})), "each is agreed to, but not together"


def test_a_timed_pause_ends_and_an_unlimited_one_does_not() -> None:
    timed, _ = step(RECORDING, Paused(NOON + HOUR))
    assert step(timed, Ticked(NOON + HOUR))[0].capturing
    unlimited, _ = step(RECORDING, Paused(None))
    assert not step(unlimited, Ticked(NOON + 9 * HOUR))[0].capturing
    assert step(unlimited, Resumed())[0].capturing


def test_a_new_receipt_records_nothing_until_it_has_certificates_of_its_own() -> None:
    after, effects = step(RECORDING, ReceiptGiven(NEWER, NOON))
    assert after.capturing == frozenset()
    assert WantCertificates(NEWER.modalities) in effects


def test_a_keyboard_that_was_switched_off_is_no_modality() -> None:
    assert replace(RECEIPT, keyboard_mode=KeyboardMode.OFF).modalities == {POINTER}
