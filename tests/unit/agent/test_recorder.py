"""The recorder: the rhythm, numbers without holes, times that never go back, and every gap accounted for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from assent.codec.content import decode_content, encode_content, pictures
from assent.contracts.events import Event, Gap, GapReason, KeyEvent, PointerMoved, ScreenFrame
from assent.contracts.ids import Modality
from assent_agent.core.recorder import SECOND_NS, Draft, Instant, Recorder

BASE = datetime(2026, 11, 23, 9, 57, 30, tzinfo=UTC)
WALL = int(BASE.timestamp()) * SECOND_NS
ALL = (Modality.POINTER, Modality.KEYBOARD, Modality.SCREEN, Modality.CONTEXT)


def at(seconds: float) -> Instant:
    """So many seconds after BASE; the monotonic clock began at 1,000 s."""
    return Instant(1000 * SECOND_NS + int(seconds * SECOND_NS), WALL + int(seconds * SECOND_NS))


def moved(seconds: float, x: int = 1) -> PointerMoved:
    return PointerMoved(t_ns=at(seconds).t_ns, seq=0, x=x, y=2)


def key(seconds: float, name: str, pressed: bool, code: int = 30) -> KeyEvent:
    return KeyEvent(t_ns=at(seconds).t_ns, seq=0, key=name, pressed=pressed, code=code)


def started(*modalities: Modality) -> Recorder:
    recorder = Recorder(modalities or ALL)
    recorder.start(at(0))
    return recorder


def test_all_modalities_close_together_at_every_fifth_minute_also_the_silent_ones() -> None:
    recorder = started()
    recorder.observe(moved(10))
    assert recorder.tick(at(150)) == []
    drafts = recorder.tick(at(151))
    assert [draft.modality for draft in drafts] == list(ALL)
    assert {(draft.hour, draft.from_ns, draft.until_ns) for draft in drafts} == {
        ("2026-11-23T09", WALL, WALL + 150 * SECOND_NS)
    }
    assert [len(draft.events) for draft in drafts] == [1, 0, 0, 0]
    (second, *_) = recorder.tick(at(451))
    assert (second.hour, second.until_ns - second.from_ns) == ("2026-11-23T10", 300 * SECOND_NS)


def test_an_event_from_before_a_boundary_that_arrives_after_it_belongs_before_it() -> None:
    recorder = started(Modality.POINTER)
    recorder.observe(moved(149.9))
    assert recorder.tick(at(150.2)) == []
    recorder.observe(moved(149.95))
    recorder.observe(moved(150.1))
    (draft,) = recorder.tick(at(150.6))
    assert len(draft.events) == 2
    assert [len(d.events) for d in recorder.stop(at(160), GapReason.PAUSED)] == [1]


def test_nothing_from_before_capture_began_or_after_it_stopped_is_recorded() -> None:
    recorder = started(Modality.POINTER)
    assert recorder.observe(moved(-0.1)) is None
    assert recorder.observe(key(1, "a", True)) is None
    recorder.stop(at(5), GapReason.PAUSED)
    assert recorder.observe(moved(4)) is None
    recorder.start(at(20))
    assert recorder.observe(moved(19)) is None
    assert recorder.observe(moved(21)) is not None


def test_a_pause_is_told_in_the_next_segment() -> None:
    recorder = started(Modality.POINTER)
    recorder.stop(at(5), GapReason.PAUSED)
    recorder.start(at(65))
    (draft,) = recorder.stop(at(70), GapReason.LOCKED)
    assert draft.gaps == (Gap(at(5).t_ns, at(65).t_ns, GapReason.PAUSED, 0),)


def test_numbers_run_on_without_holes_and_what_is_missing_is_counted_once() -> None:
    recorder = started(Modality.POINTER)
    recorder.observe(moved(1))
    for second in (2.0, 2.2, 2.4):
        recorder.missed(Modality.POINTER, GapReason.EXCLUDED, at(second).t_ns, at(second).t_ns, 1)
    recorder.missed(Modality.POINTER, GapReason.DROPPED, at(2.5).t_ns, at(2.5).t_ns, 7)
    recorder.observe(moved(3))
    (first,) = recorder.stop(at(4), GapReason.PAUSED)
    assert [event.seq for event in first.events] == [0, 1]
    assert [(gap.reason, gap.count) for gap in first.gaps] == [(GapReason.EXCLUDED, 3), (GapReason.DROPPED, 7)]
    recorder.start(at(6))
    recorder.observe(moved(7))
    (second_draft,) = recorder.stop(at(8), GapReason.PAUSED)
    assert [event.seq for event in second_draft.events] == [2]


def test_keys_that_are_down_at_the_end_are_released() -> None:
    recorder = started(Modality.KEYBOARD)
    recorder.observe(key(1, "a", True))
    (draft,) = recorder.stop(at(2), GapReason.PAUSED)
    assert [(e.key, e.pressed, e.t_ns) for e in draft.events if isinstance(e, KeyEvent)] == [
        ("a", True, at(1).t_ns),
        ("a", False, at(2).t_ns),
    ]


def test_over_a_boundary_a_letter_is_typed_once_and_a_modifier_stays_down() -> None:
    recorder = started(Modality.KEYBOARD)
    recorder.observe(key(148, "Control_L", True, 29))
    recorder.observe(key(149, "c", True, 46))
    recorder.observe(key(151, "c", False, 46))
    recorder.observe(key(152, "Control_L", False, 29))
    drafts = recorder.tick(at(153)) + recorder.stop(at(154), GapReason.PAUSED)
    told = [[(e.key, e.pressed) for e in draft.events if isinstance(e, KeyEvent)] for draft in drafts]
    assert told == [
        [("Control_L", True), ("c", True), ("Control_L", False), ("c", False)],
        [("Control_L", True), ("Control_L", False)],
    ]
    assert [e.seq for draft in drafts for e in draft.events] == list(range(6))


def test_each_segment_begins_with_an_anchor_and_has_one_each_minute() -> None:
    recorder = started(Modality.POINTER)
    drafts: list[Draft] = []
    for second in range(1, 500):
        drafts += recorder.tick(at(second))
    assert [len(draft.anchors) for draft in drafts] == [3, 6]
    for draft in drafts:
        assert draft.anchors[0].wall_ns == draft.from_ns
        assert all(a.wall_ns - a.t_ns == WALL - at(0).t_ns for a in draft.anchors)


def test_after_a_clock_step_the_anchor_says_so() -> None:
    recorder = started(Modality.POINTER)
    recorder.stop(at(5), GapReason.CLOCK)
    recorder.start(Instant(at(6).t_ns, at(9000).wall_ns), stepped=True)
    (draft,) = recorder.stop(Instant(at(7).t_ns, at(9001).wall_ns), GapReason.PAUSED)
    assert draft.anchors[0].stepped
    assert draft.hour == "2026-11-23T12"


def test_when_one_modality_has_grown_too_large_all_close() -> None:
    recorder = Recorder((Modality.POINTER, Modality.SCREEN))
    recorder.start(at(0))
    noise = np.random.default_rng(1)
    for i in range(6):
        pixels = noise.integers(0, 256, (800, 1000, 4), dtype=np.uint8)
        frame = ScreenFrame(t_ns=at(i).t_ns, seq=0, display=0, width=1000, height=800)
        assert recorder.picture(frame, pixels)
    drafts = recorder.tick(at(7))
    assert [draft.modality for draft in drafts] == [Modality.POINTER, Modality.SCREEN]
    content = decode_content(encode_content(drafts[1].content("0" * 32, 0)))
    assert len(list(pictures(content))) == 6
    assert recorder.stop(at(8), GapReason.PAUSED)[1].from_ns == at(7).wall_ns


def test_a_picture_that_did_not_change_takes_no_number() -> None:
    recorder = started(Modality.SCREEN)
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    kept = [
        recorder.picture(
            ScreenFrame(t_ns=at(i).t_ns, seq=0, display=0, width=64, height=64), pixels, keep_unchanged=False
        )
        for i in range(3)
    ]
    assert kept == [True, False, False]
    (draft,) = recorder.stop(at(5), GapReason.PAUSED)
    assert [event.seq for event in draft.events] == [0]


def test_a_long_sleep_is_signed_as_silence() -> None:
    recorder = started(Modality.POINTER)
    recorder.observe(moved(1))
    recorder.observe(moved(1000))
    drafts = recorder.tick(at(1000)) + recorder.stop(at(1001), GapReason.PAUSED)
    assert [len(draft.events) for draft in drafts] == [1, 0, 0, 1]


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("move", "key", "tick", "pause", "gap")), st.integers(-400, 40_000)), max_size=60
    )
)
def test_whatever_comes_numbers_are_gapless_times_never_go_back_and_no_segment_crosses_an_hour(
    script: list[tuple[str, int]],
) -> None:
    recorder = Recorder((Modality.POINTER, Modality.KEYBOARD))
    recorder.start(at(0))
    now, drafts, kept = 0.0, list[Draft](), 0
    for what, step_ms in script:
        now += max(0, step_ms) / 1000
        late = min(0, step_ms) / 1000
        event: Event | None = None
        if what == "move":
            event = recorder.observe(moved(now + late))
        elif what == "key":
            event = recorder.observe(key(now + late, "a", step_ms % 2 == 0))
        elif what == "tick":
            drafts += recorder.tick(at(now))
        elif what == "pause":
            drafts += recorder.stop(at(now), GapReason.PAUSED)
            recorder.start(at(now))
        else:
            recorder.missed(None, GapReason.EXCLUDED, at(now).t_ns, at(now).t_ns, 1)
        kept += event is not None
    drafts += recorder.stop(at(now), GapReason.PAUSED)
    for modality in (Modality.POINTER, Modality.KEYBOARD):
        mine = [draft for draft in drafts if draft.modality is modality]
        events = [event for draft in mine for event in draft.events]
        assert [event.seq for event in events] == list(range(len(events)))
        for draft in mine:
            times = [event.t_ns for event in draft.events]
            assert times == sorted(times)
            first = datetime.fromtimestamp(draft.from_ns // SECOND_NS, UTC)
            last = datetime.fromtimestamp(max(draft.from_ns, draft.until_ns - 1) // SECOND_NS, UTC)
            assert first.strftime("%Y-%m-%dT%H") == last.strftime("%Y-%m-%dT%H") == draft.hour
            assert last - first <= timedelta(seconds=300)
            down: dict[str, int] = {}
            for event in draft.events:
                if isinstance(event, KeyEvent):
                    down[event.key] = max(0, 1 if event.pressed else down.get(event.key, 0) - 1)
            assert not any(down.values())


def test_a_draft_shows_nothing_when_printed() -> None:
    recorder = started(Modality.KEYBOARD)
    recorder.observe(key(1, "secret", True))
    (draft,) = recorder.stop(at(2), GapReason.PAUSED)
    assert "secret" not in repr(draft)
    with pytest.raises(RuntimeError):
        recorder._wall(0)
