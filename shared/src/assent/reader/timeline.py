"""When things happened: monotonic times of one segment on the wall clock, and what may not be there at all. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from assent.contracts.events import (
    ClockAnchor,
    DisplaysChanged,
    Event,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    ScreenFrame,
    SegmentContent,
    WindowActivated,
)
from assent.contracts.ids import Modality
from assent.contracts.times import parse_hour

KINDS: Final[Mapping[Modality, tuple[type[Event], ...]]] = {
    Modality.POINTER: (PointerMoved, PointerButton, PointerScrolled),
    Modality.KEYBOARD: (KeyEvent,),
    Modality.SCREEN: (ScreenFrame, DisplaysChanged),
    Modality.CONTEXT: (WindowActivated, DisplaysChanged),
}
"""What may stand in a stream of a modality. Consent is given per modality, so anything else is dropped."""


class WallClock:
    """Unix time of monotonic times, from the anchors of one segment: by the last anchor before, else by the first."""

    def __init__(self, anchors: tuple[ClockAnchor, ...]) -> None:
        """Raises ValueError without anchors: then nothing says when anything happened."""
        if not anchors:
            raise ValueError("a segment without a clock anchor")
        self._anchors = sorted(anchors, key=lambda anchor: anchor.t_ns)
        self._times = [anchor.t_ns for anchor in self._anchors]

    def at(self, t_ns: int) -> int:
        """Unix time in ns."""
        anchor = self._anchors[max(0, bisect_right(self._times, t_ns) - 1)]
        return t_ns - anchor.t_ns + anchor.wall_ns

    @property
    def offset_ns(self) -> int:
        """Wall minus monotonic at the first anchor: what tells one boot of a computer from another."""
        return self._anchors[0].wall_ns - self._anchors[0].t_ns

    @property
    def first_ns(self) -> int:
        return self._anchors[0].wall_ns


@dataclass(frozen=True)
class Sifted:
    """The events of a segment that may be there, in time order, with Unix times; and how many were dropped, why."""

    events: tuple[tuple[int, Event], ...]
    outside_window: int
    wrong_modality: int


def sift(content: SegmentContent, modality: Modality, hour: str) -> Sifted:
    """Drop what lies outside the header's hour, and what is of another modality than the certificate's."""
    start = parse_hour(hour)
    from_ns = int(start.timestamp()) * 1_000_000_000
    until_ns = int((start + timedelta(hours=1)).timestamp()) * 1_000_000_000
    if not content.anchors:
        return Sifted((), len(content.events), 0)
    clock = WallClock(content.anchors)
    kept: list[tuple[int, Event]] = []
    outside = wrong = 0
    for event in content.events:
        at_ns = clock.at(event.t_ns)
        if not isinstance(event, KINDS[modality]):
            wrong += 1
        elif not from_ns <= at_ns < until_ns:
            outside += 1
        else:
            kept.append((at_ns, event))
    kept.sort(key=lambda entry: entry[1].t_ns)
    return Sifted(tuple(kept), outside, wrong)
