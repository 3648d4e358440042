"""Data keys of segments that can still be looked at, in memory and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from assent.sealing.segments import DataKey


@dataclass(frozen=True)
class HeldSegment:
    """A held segment's place, when it was recorded (wall clock, nanoseconds), and its key."""

    segment: str
    stream: str
    sequence: int
    modality: str
    from_ns: int
    until_ns: int
    key: DataKey = field(repr=False)


class HeldKeys:
    """The keys by segment id. It forgets on request, and when the process ends."""

    def __init__(self) -> None:
        self._held: dict[str, HeldSegment] = {}

    def put(self, held: HeldSegment) -> None:
        self._held[held.segment] = held

    def get(self, segment: str) -> HeldSegment | None:
        """None when the segment is not held any more, or was sealed before this process began: it cannot be shown."""
        return self._held.get(segment)

    def drop(self, segments: Iterable[str]) -> None:
        for segment in segments:
            self._held.pop(segment, None)

    def all(self) -> tuple[HeldSegment, ...]:
        """What is held, in the order it was sealed."""
        return tuple(self._held.values())

    def __repr__(self) -> str:
        return f"HeldKeys({len(self._held)})"
