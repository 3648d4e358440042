"""What people are told of their own recordings that is not there: each time once, in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.reader.world import DAY, World

from assent.cli import me
from assent.cli.output import Output
from assent.cli.shell import Shell
from assent.client.credentials import CredentialStore
from assent.contracts.events import GapReason
from assent.contracts.ids import Modality
from assent.contracts.times import parse_hour
from assent.reader.sessions import RecordedGap
from assent.reader.summary import Hole, holes

SECOND = 10**9


def gap(modality: Modality, begin: int, end: int, reason: GapReason = GapReason.PAUSED, count: int = 0) -> RecordedGap:
    return RecordedGap(modality, begin * SECOND, end * SECOND, reason, count)


def test_what_touches_or_overlaps_is_one_hole_and_another_reason_is_another() -> None:
    found = holes(
        [
            gap(Modality.SCREEN, 300, 310),
            gap(Modality.POINTER, 10, 300, count=2),
            gap(Modality.KEYBOARD, 10, 290, count=1),
            gap(Modality.KEYBOARD, 20, 30, GapReason.EXCLUDED),
            gap(Modality.POINTER, 400, 500),
        ]
    )
    what = (Modality.KEYBOARD, Modality.POINTER, Modality.SCREEN)
    assert found == [
        Hole(10 * SECOND, 310 * SECOND, GapReason.PAUSED, what, 3),
        Hole(20 * SECOND, 30 * SECOND, GapReason.EXCLUDED, (Modality.KEYBOARD,), 0),
        Hole(400 * SECOND, 500 * SECOND, GapReason.PAUSED, (Modality.POINTER,), 0),
    ]
    assert holes([]) == []


def day_of(world: World) -> dict[str, Any]:
    counts: dict[str, Any] = {"sessions": 0, "events": {}, "frames": 0, **me._NO_HOLES}
    with world.data() as data:
        for session in data.sessions():
            me._count(session, counts)
    return counts


def test_a_pause_inside_a_session_what_was_forgotten_and_what_is_missing_are_shown() -> None:
    world = World()
    made = world.session(segments=3)
    whole = day_of(world)
    (hole,) = whole["holes"]
    begins = parse_hour(f"{DAY}T09").strftime("%H:")
    assert (hole["from"][11:], hole["until"][11:]) == (f"{begins}05:01Z", f"{begins}05:02Z")
    assert (hole["reason"], hole["modalities"], hole["seconds"]) == ("paused", ["pointer"], 1.0)
    assert me._not_recorded(whole) == "paused: 0:00:01"

    lacking = World()
    recording = lacking.begin(Modality.KEYBOARD)
    lacking.segment(recording, (), gaps=())
    lacking.forget(recording, 2)
    lacking.segment(recording, ())
    lacking.end(recording)
    assert me._not_recorded(day_of(lacking)) == "2 pieces forgotten or lost"

    del made[Modality.POINTER].items[1]
    assert "1 piece missing, and nobody knows why" in me._not_recorded(day_of(world))


def test_each_time_is_shown_with_its_reason(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    world = World()
    world.session(segments=3)
    shell = Shell(CredentialStore(tmp_path), output=Output())
    me._show_holes(shell, {"days": [{"day": DAY, **day_of(world)}]})
    shown = capsys.readouterr().out
    assert "09:05:01" in shown and "09:05:02" in shown and "paused" in shown and "pointer" in shown
    me._show_holes(shell, {"days": [{"day": DAY, "holes": ()}]})
    assert capsys.readouterr().out == ""


def test_of_a_day_without_a_hole_nothing_is_said() -> None:
    world = World()
    recording = world.begin(Modality.KEYBOARD)
    world.segment(recording, ())
    world.end(recording)
    assert me._not_recorded(day_of(world)) == ""


def test_every_reason_has_its_words() -> None:
    assert set(me.WHY_NOT) == {reason.value for reason in GapReason}
    assert me._instant(-(2**63)) == "1970-01-01T00:00:00Z"
    assert me._instant(2**63) == "2262-04-11T23:47:16Z"
    assert me._instant(2**90).startswith("9999-12-31")
