"""Reading what an honest custodian and collector give: everything that was recorded, and an account of what was not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.unit.reader.world import DAY, HOUR, World, minutes

from assent.client.transport import Refused
from assent.contracts.events import ClockAnchor, Event, GapReason, KeyEvent, PointerMoved
from assent.contracts.ids import Modality
from assent.contracts.problems import Code, Problem
from assent.contracts.times import parse_hour
from assent.reader.sessions import Progress

HOUR_NS = 1_795_165_200_000_000_000  # 2026-11-20T09:00:00Z


def move(t_ns: int, seq: int) -> PointerMoved:
    return PointerMoved(t_ns=t_ns, seq=seq, x=seq, y=seq)


def test_a_session_gives_back_every_event_in_time_order_across_modalities() -> None:
    world = World()
    world.session(segments=3)
    with world.data() as data:
        (session,) = data.sessions()
        recorded = list(session.events())
    assert len(recorded) == 3 * (5 + 2 + 1 + 1)
    assert [r.event.t_ns for r in recorded] == sorted(r.event.t_ns for r in recorded)
    assert {r.modality for r in recorded} == set(Modality)
    assert recorded[0].at_ns == HOUR_NS


def test_frames_are_the_pictures_that_were_recorded() -> None:
    world = World()
    world.session(segments=3)
    with world.data() as data:
        (session,) = data.sessions()
        pictures = list(session.frames())
    assert [int(p.pixels[0, 0, 0]) for p in pictures] == [0, 10, 20]
    assert pictures[0].pixels.shape == (20, 30, 3)


def test_people_have_sessions_of_their_own_and_nothing_names_them() -> None:
    world = World()
    for pseudonym in ("p-2", "p-1"):
        world.session(pseudonym, segments=1)
    with world.data() as data:
        assert [s.pseudonym for s in data.sessions()] == ["p-1", "p-2"]


def test_two_runs_of_one_day_are_two_sessions() -> None:
    world = World()
    world.session(segments=1)
    for modality, event in (
        (Modality.POINTER, move(0, 0)),
        (Modality.KEYBOARD, KeyEvent(t_ns=5, seq=0, key="b", pressed=True)),
    ):
        later = world.begin(modality)
        world.segment(later, (event,), hour=f"{DAY}T11")
        world.end(later)
    with world.data() as data:
        sessions = list(data.sessions())
        assert [len(s.modalities) for s in sessions] == [4, 2]
        assert [len(list(s.events())) for s in sessions] == [9, 2]
        assert sessions[0].begins_ns < sessions[1].begins_ns


def test_a_run_whose_front_was_lost_in_one_modality_stays_together() -> None:
    world = World()
    pointer, keyboard = world.begin(Modality.POINTER), world.begin(Modality.KEYBOARD)
    world.segment(pointer, (move(0, 0),))
    world.forget(keyboard)
    world.segment(
        keyboard,
        (KeyEvent(t_ns=300 * 10**9, seq=1, key="b", pressed=True),),
        content_changes={"anchors": (ClockAnchor(t_ns=300 * 10**9, wall_ns=HOUR_NS + 300 * 10**9),)},
    )
    with world.data() as data:
        (session,) = data.sessions()
        assert session.modalities == (Modality.POINTER, Modality.KEYBOARD)


def test_coverage_tells_gaps_forgotten_segments_and_streams_that_are_not_closed() -> None:
    world = World()
    made = world.session(segments=2)
    open_stream = world.begin(Modality.POINTER, day="2026-11-21")
    world.segment(open_stream, (move(0, 0),), hour="2026-11-21T09")
    world.forget(open_stream, 3)
    with world.data() as data:
        first, second = list(data.sessions())
        whole, cut = first.coverage(), second.coverage()
    assert whole.complete
    assert [(g.reason, g.from_ns - HOUR_NS) for g in whole.gaps] == [(GapReason.PAUSED, 301 * 10**9)]
    assert len(whole.streams) == len(made)
    assert not cut.complete
    assert cut.streams[0].closed == "not closed"
    assert cut.streams[0].skips[0].reason == "forgotten"


def test_coverage_alone_opens_what_was_not_read() -> None:
    world = World()
    world.session(segments=6)
    with world.data() as data:
        (session,) = data.sessions()
        assert all(stream.opened == 6 for stream in session.coverage().streams)


def test_a_stream_of_which_everything_was_forgotten_is_listed_as_empty() -> None:
    world = World()
    stream = world.begin(Modality.POINTER)
    world.forget(stream, 4)
    world.end(stream)
    with world.data() as data:
        assert list(data.sessions()) == []
        assert [empty.stream for empty in data.empty] == [stream.id]


def test_events_outside_the_hour_of_their_segment_are_dropped_and_counted() -> None:
    world = World()
    stream = world.begin(Modality.POINTER)
    inside, after, before = move(5, 0), move(3600 * 10**9, 1), move(-1, 2)
    world.segment(stream, (before, inside, after))
    with world.data() as data:
        (session,) = data.sessions()
        assert [r.event.seq for r in session.events()] == [0]
        assert session.coverage().streams[0].outside_window == 2


def test_what_is_of_another_modality_than_agreed_to_is_dropped_and_counted() -> None:
    world = World()
    stream = world.begin(Modality.POINTER)
    smuggled: tuple[Event, ...] = (move(0, 0), KeyEvent(t_ns=1, seq=0, key="secret", pressed=True))
    world.segment(stream, smuggled)
    with world.data() as data:
        (session,) = data.sessions()
        assert [type(r.event) for r in session.events()] == [PointerMoved]
        assert session.coverage().streams[0].wrong_modality == 1


def test_without_a_clock_anchor_nothing_is_yielded() -> None:
    world = World()
    stream = world.begin(Modality.POINTER)
    world.segment(stream, (move(0, 0),), content_changes={"anchors": ()})
    with world.data() as data:
        assert list(data.sessions()) == []
        assert data.empty[0].outside_window == 1


def test_the_lease_is_closed_with_the_number_of_segments_also_after_an_error() -> None:
    world = World()
    world.session(segments=2)

    def read_a_little() -> None:
        with world.data() as data:
            for _ in data.sessions():
                raise RuntimeError("the job failed")

    with pytest.raises(RuntimeError):
        read_a_little()
    assert world.closed == [8]


def test_progress_reaches_the_total() -> None:
    world = World()
    world.session(segments=2)
    seen: list[Progress] = []
    with world.data(progress=seen.append) as data:
        for session in data.sessions():
            for _ in session.segments():
                pass
    assert (seen[-1].streams, seen[-1].streams_total, seen[-1].segments) == (4, 4, 8)


def test_a_withdrawal_in_the_middle_drops_those_streams_and_the_rest_continues() -> None:
    world = World()
    world.session("p-1", segments=1)
    gone = world.session("p-2", segments=1)
    world.session("p-3", segments=1)
    with world.data() as data:
        seen = []
        for session in data.sessions():
            seen.append(session.pseudonym)
            assert len(list(session.events())) == 9
            world.refuse = {recording.id: "withdrawn" for recording in gone.values()}
        assert seen == ["p-1", "p-3"]
        assert {d.stream.stream for d in data.dropped} == {recording.id for recording in gone.values()}
        assert {d.reason for d in data.dropped} == {"withdrawn"}


def test_a_lease_revoked_in_the_middle_lists_what_was_not_read() -> None:
    world = World()
    for pseudonym in ("p-1", "p-2", "p-3"):
        world.session(pseudonym, segments=1)
    with world.data() as data:
        seen = []
        for session in data.sessions():
            seen.append(session.pseudonym)
            world.ended = Problem(Code.REFUSED, "the grant was revoked")
        assert seen == ["p-1"]
        assert len(data.dropped) == 8
        assert all("the grant was revoked" in d.reason for d in data.dropped)
    asked_after = [r for r in world.requests if r.url.path == "/v1/leases/releases"]
    assert len(asked_after) == 2, "after the first refusal nothing more is asked for"


def test_erased_hours_leave_the_rest_of_the_stream() -> None:
    world = World()
    made = world.session(segments=3)
    erased = made[Modality.POINTER].ids()[1]
    world.refuse = {erased: "erased"}
    with world.data() as data:
        (session,) = data.sessions()
        assert len(list(session.events(Modality.POINTER))) == 10
        stream = next(s for s in session.coverage().streams if s.modality is Modality.POINTER)
    assert stream.not_opened == {"erased": 1}
    assert not stream.complete
    assert data.dropped == []


def test_a_busy_service_is_asked_again_and_then_given_up() -> None:
    world = World()
    world.session(segments=1)
    waits: list[float] = []
    with world.data(wait=waits.append) as data:
        sessions = data.sessions()
        world.ended = Problem(Code.CLOSED, "halted")
        assert list(sessions) == []
    assert waits == [1.0, 2.0, 4.0]
    assert len(data.dropped) == 4


def test_nothing_is_written_to_disk_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    world = World()
    world.session(segments=2)
    with world.data() as data:
        for session in data.sessions():
            list(session.events())
            list(session.frames())
    assert list(tmp_path.iterdir()) == []


def test_no_repr_shows_content_or_keys() -> None:
    world = World()
    world.session(segments=1)
    with world.data() as data:
        (session,) = data.sessions()
        picture = next(session.frames())
        shown = " ".join(repr(thing) for thing in (data, data.job, session, picture, session._streams[0]))
    assert "array" not in shown
    assert "DataKey" not in shown
    assert "SigningKey" not in shown


def test_only_a_window_of_segments_is_held_however_long_the_stream_is() -> None:
    world = World()
    stream = world.begin(Modality.POINTER)
    for number in range(40):
        world.segment(stream, (move(number, number),))
    with world.data() as data:
        (session,) = data.sessions()
        before = [r for r in world.requests if r.url.path == "/v1/fetch/bodies"]
        list(itertools.islice(session.events(), 4))
        fetched = [r for r in world.requests if r.url.path == "/v1/fetch/bodies"][len(before) :]
    assert len(fetched) <= 3, "the group being read, one ahead, and at most one begun"


def test_a_refused_lease_opens_nothing() -> None:
    world = World()
    world.session(segments=1)

    def refuse(path: str, body: bytes) -> bytes:
        if path == "/v1/leases":
            raise Problem(Code.NO_QUORUM, "one of two witnesses")
        return body

    world.tamper = refuse
    with pytest.raises(Refused) as refused:
        world.data()
    assert refused.value.code is Code.NO_QUORUM


def test_reading_a_day_later_in_the_evening_uses_hours_not_minutes() -> None:
    world = World()
    stream = world.begin(Modality.POINTER)
    world.segment(stream, (move(0, 0),), wall=parse_hour(HOUR) + minutes(59.9))
    with world.data() as data:
        (session,) = data.sessions()
        assert len(list(session.events())) == 1
