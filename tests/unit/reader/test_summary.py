"""A summary counts what came, and only counts."""

from __future__ import annotations

import io
import json

from rich.console import Console
from tests.strategies.traces import office_trace

from assent.contracts.events import (
    ClockAnchor,
    Display,
    DisplaysChanged,
    Gap,
    GapReason,
    KeyEvent,
    Rect,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)
from assent.reader.summary import Summary, render

S = 1_000_000_000
RECT = Rect(0, 0, 10, 10)


def segment(stream: str, modality: str, *events, gaps=(), anchors=()) -> SegmentContent:
    return SegmentContent(stream=stream, sequence=0, modality=modality, events=events, gaps=gaps, anchors=anchors)


def example() -> Summary:
    summary = Summary()
    gaps = (
        Gap(2 * S, 4 * S, GapReason.PAUSED),
        Gap(3 * S, 5 * S, GapReason.EXCLUDED, count=7),
        Gap(3 * S, 4 * S, GapReason.EXCLUDED),
    )
    key = KeyEvent(t_ns=8 * S, seq=0, key="Grüße", pressed=True)
    summary.add("p-2", segment("k", "keyboard", key, gaps=gaps, anchors=(ClockAnchor(0, 99), ClockAnchor(10 * S, 99))))
    frames = [ScreenFrame(t_ns=t * S, seq=t, display=0, width=9, height=9) for t in range(3)]
    summary.add("p-1", segment("s", "screen", *frames))
    summary.add("p-1", segment("s", "screen", *frames))
    window = WindowActivated(t_ns=S, seq=0, rect=RECT, application="editor", title="secret plan")
    topology = DisplaysChanged(t_ns=2 * S, seq=1, displays=(Display(0, RECT),))
    summary.add("p-1", segment("c", "context", window, topology))
    return summary


def test_everything_is_counted_once():
    assert example().as_dict() == {
        "sessions": {"p-1": {"streams": 2, "segments": 3}, "p-2": {"streams": 1, "segments": 1}},
        "segments": 4,
        "events": {"displays": 1, "frame": 6, "key": 1, "window": 1},
        "events_total": 9,
        "frames": 6,
        "seconds_covered": {"context": 1.0, "keyboard": 7.0, "screen": 4.0},
        "gaps": {
            "excluded": {"count": 2, "seconds": 3.0, "missing": 7},
            "paused": {"count": 1, "seconds": 2.0, "missing": 0},
        },
    }


def test_gaps_that_overlap_shorten_the_covered_time_once():
    assert example().as_dict()["seconds_covered"]["keyboard"] == 10 - 3


def test_a_whole_trace_is_counted():
    summary = Summary()
    trace = office_trace(500)
    summary.add("p", segment("s", "pointer", *trace))
    assert summary.events == 500
    assert sum(summary.as_dict()["events"].values()) == 500


def test_nothing_came():
    assert Summary().as_dict()["segments"] == 0
    summary = Summary()
    summary.add("p", segment("s", "pointer"))
    assert summary.as_dict()["seconds_covered"] == {"pointer": 0.0}


def printed(summary: Summary) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(summary))
    return console.export_text()


def test_the_table_says_what_the_dictionary_says():
    text = printed(example())
    for words in ("p-1", "3 segments", "2 streams", "1 segment ", "frame", "keyboard", "7.0 s", "2 gaps, 7 missing"):
        assert words in text
    assert "no gaps" in printed(Summary())


def test_a_summary_tells_no_content():
    told = json.dumps(example().as_dict()) + printed(example())
    assert "p-1" in told
    for content in ("Grüße", "Gr\\u00fc", "secret", "editor"):
        assert content not in told
