"""What came, in numbers: for whoever received recordings and wants to know whether they are what was asked for.

A summary counts; it holds no event, title, text or picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from rich.table import Table

from assent.contracts.events import (
    DisplaysChanged,
    Gap,
    GapReason,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)
from assent.contracts.ids import Modality
from assent.reader.sessions import RecordedGap

_KINDS: Final[dict[type, str]] = {
    PointerMoved: "move",
    PointerButton: "button",
    PointerScrolled: "scroll",
    KeyEvent: "key",
    ScreenFrame: "frame",
    WindowActivated: "window",
    DisplaysChanged: "displays",
}


class Summary:
    """Adds up decoded segments, one at a time."""

    def __init__(self) -> None:
        self._segments: Counter[str] = Counter()
        self._streams: dict[str, set[str]] = {}
        self._events: Counter[str] = Counter()
        self._covered_ns: Counter[str] = Counter()
        self._gaps: Counter[str] = Counter()
        self._gap_ns: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()

    def add(self, pseudonym: str, content: SegmentContent) -> None:
        """Count one segment of the person who is called `pseudonym` under this grant. Each segment once."""
        self._segments[pseudonym] += 1
        self._streams.setdefault(pseudonym, set()).add(content.stream)
        self._events.update(_KINDS[type(event)] for event in content.events)
        self._covered_ns[content.modality] += _covered_ns(content)
        for gap in content.gaps:
            self._gaps[gap.reason.value] += 1
            self._gap_ns[gap.reason.value] += max(0, gap.until_ns - gap.from_ns)
            self._missing[gap.reason.value] += gap.count

    @property
    def events(self) -> int:
        """All events, pictures included."""
        return self._events.total()

    @property
    def frames(self) -> int:
        return self._events["frame"]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON; names in alphabetical order.

        `sessions`: per pseudonym, its streams and segments. `seconds_covered`: per modality, the time of its segments
        without their gaps. `gaps`: per reason, how many, how long, and how many observations are known to be missing.
        """
        return {
            "sessions": {
                pseudonym: {"streams": len(self._streams[pseudonym]), "segments": self._segments[pseudonym]}
                for pseudonym in sorted(self._segments)
            },
            "segments": self._segments.total(),
            "events": dict(sorted(self._events.items())),
            "events_total": self.events,
            "frames": self.frames,
            "seconds_covered": {name: _seconds(ns) for name, ns in sorted(self._covered_ns.items())},
            "gaps": {
                reason: {"count": count, "seconds": _seconds(self._gap_ns[reason]), "missing": self._missing[reason]}
                for reason, count in sorted(self._gaps.items())
            },
        }


@dataclass(frozen=True)
class Hole:
    """A time in which something was not recorded. Unix times in ns; `count` observations are known to be missing."""

    from_ns: int
    until_ns: int
    reason: GapReason
    modalities: tuple[Modality, ...]
    count: int


def holes(gaps: Iterable[RecordedGap]) -> list[Hole]:
    """In order of time. What touches or overlaps for the same reason is one hole, in whatever modalities."""
    found: list[Hole] = []
    for reason, group in groupby(sorted(gaps, key=lambda gap: (gap.reason, gap.from_ns)), key=lambda gap: gap.reason):
        open_: Hole | None = None
        for gap in group:
            hole = Hole(gap.from_ns, gap.until_ns, reason, (gap.modality,), gap.count)
            if open_ is not None and gap.from_ns <= open_.until_ns:
                hole = Hole(
                    open_.from_ns, max(open_.until_ns, gap.until_ns), reason,
                    tuple(sorted({*open_.modalities, gap.modality})), open_.count + gap.count,
                )  # fmt: skip
                found.pop()
            found.append(hole)
            open_ = hole
    return sorted(found, key=lambda hole: (hole.from_ns, hole.reason))


def render(summary: Summary) -> Table:
    """The summary as a table for a terminal."""
    facts = summary.as_dict()
    table = Table(title="What came", title_justify="left", show_header=False, show_edge=False, pad_edge=False)
    table.add_column("what", style="bold")
    table.add_column("which")
    table.add_column("number", justify="right")
    table.add_column("more", style="dim")
    for pseudonym, session in facts["sessions"].items():
        table.add_row(
            "session", pseudonym, _plural(session["segments"], "segment"), _plural(session["streams"], "stream")
        )
    table.add_section()
    for kind, count in facts["events"].items():
        table.add_row("events", kind, f"{count:,}")
    table.add_row("events", "all", f"{facts['events_total']:,}")
    table.add_row("frames", "", f"{facts['frames']:,}")
    table.add_section()
    for modality, seconds in facts["seconds_covered"].items():
        table.add_row("covered", modality, f"{seconds:,.1f} s")
    for reason, gap in facts["gaps"].items():
        missing = f", {gap['missing']:,} missing" if gap["missing"] else ""
        table.add_row("not recorded", reason, f"{gap['seconds']:,.1f} s", _plural(gap["count"], "gap") + missing)
    if not facts["gaps"]:
        table.add_row("not recorded", "", "no gaps")
    return table


def _covered_ns(content: SegmentContent) -> int:
    """From the first to the last thing the segment knows of, minus the union of its gaps."""
    times = [event.t_ns for event in content.events]
    times += [anchor.t_ns for anchor in content.anchors]
    times += [t for gap in content.gaps for t in (gap.from_ns, gap.until_ns)]
    if not times:
        return 0
    return max(times) - min(times) - _union_ns(content.gaps)


def _union_ns(gaps: Iterable[Gap]) -> int:
    """Length of all gaps together; where they overlap, time counts once."""
    total, reached = 0, None
    for gap in sorted(gaps, key=lambda gap: gap.from_ns):
        start = gap.from_ns if reached is None else max(gap.from_ns, reached)
        if gap.until_ns > start:
            total += gap.until_ns - start
            reached = gap.until_ns
    return total


def _seconds(ns: int) -> float:
    return round(ns / 1e9, 3)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
