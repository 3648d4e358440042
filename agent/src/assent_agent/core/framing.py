"""Which pictures to keep: the last one before an action, the first settled one after it, and one now and then.

Pictures are grabbed into a ring that holds the last few of each display. An action (a press, a run of keys, a run of
scrolling) is bound to the last picture from before it, chosen by the action's own time, since events arrive late; and
to the first picture after it that equals the one before (settled), or to the last one within a second (a blinking
caret never settles). `lag_ns` is the measured distance between action and picture.

Typing is bound only when `keyboard` was agreed to, otherwise the times of pictures would betray the times of keys;
the caller offers only actions that were recorded.

Pure: times come with the calls; what a picture looks like is known here only as a fingerprint.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

MS: Final = 1_000_000
SETTLE_NS: Final = 1_000 * MS
RUN_NS: Final = 700 * MS
"""Keys (or scroll steps) that follow each other within this time are one run, and one action."""

P = TypeVar("P")


@dataclass(frozen=True)
class Taken(Generic[P]):
    """A picture in the ring: when its grab began and was complete, and a fingerprint that changes with its content."""

    display: int
    begun_ns: int
    done_ns: int
    fingerprint: bytes
    picture: P = field(repr=False)


@dataclass(frozen=True)
class Bound(Generic[P]):
    """A picture to keep, why, and how far it is from its action."""

    taken: Taken[P]
    binding: Literal["before", "after", "periodic"]
    action: tuple[str, int] | None = None
    lag_ns: int = 0


@dataclass
class _Waiting(Generic[P]):
    action: tuple[str, int]
    at_ns: int
    display: int
    last: Taken[P] | None = None


class Framing(Generic[P]):
    """Keeps the ring and the actions that wait for their settled picture."""

    def __init__(self, *, ring: int = 8, periodic_ns: int = 2_000 * MS) -> None:
        self._ring: dict[int, deque[Taken[P]]] = {}
        self._size = ring
        self._periodic_ns = periodic_ns
        self._last_kept_ns: dict[int, int] = {}
        self._waiting: list[_Waiting[P]] = []
        self._last_action: dict[str, int] = {}

    @property
    def hurry(self) -> bool:
        """An action waits for its picture: grab faster."""
        return bool(self._waiting)

    def action(
        self, kind: Literal["press", "key", "scroll"], action: tuple[str, int], at_ns: int, display: int
    ) -> list[Bound[P]]:
        """Something was done at `at_ns` on `display`; returns the picture from before it, if there is one.

        Keys and scroll steps of a run that is under way are part of the action that began it: its settled picture is
        waited for anew.
        """
        last = self._last_action.get(kind)
        self._last_action[kind] = at_ns
        if kind != "press" and last is not None and at_ns - last <= RUN_NS:
            for waiting in self._waiting:
                if waiting.action[0] == action[0]:
                    waiting.at_ns = max(waiting.at_ns, at_ns)
                    waiting.action = action
                    waiting.last = None
                    return []
            self._waiting.append(_Waiting(action, at_ns, display))
            return []
        self._waiting.append(_Waiting(action, at_ns, display))
        before = [taken for taken in self._ring.get(display, ()) if taken.done_ns <= at_ns]
        if not before:
            return []
        self._last_kept_ns[display] = before[-1].done_ns
        return [Bound(before[-1], "before", action, at_ns - before[-1].done_ns)]

    def taken(self, taken: Taken[P]) -> list[Bound[P]]:
        """A picture was taken and may be kept; returns it as often as it is to be kept (bound, or periodic)."""
        ring = self._ring.setdefault(taken.display, deque(maxlen=self._size))
        ring.append(taken)
        kept: list[Bound[P]] = []
        still: list[_Waiting[P]] = []
        for waiting in self._waiting:
            if waiting.display != taken.display or taken.begun_ns < waiting.at_ns:
                still.append(waiting)
                continue
            settled = waiting.last is not None and waiting.last.fingerprint == taken.fingerprint
            if settled or taken.begun_ns - waiting.at_ns >= SETTLE_NS:
                chosen = waiting.last if settled and waiting.last is not None else taken
                kept.append(Bound(chosen, "after", waiting.action, max(0, chosen.begun_ns - waiting.at_ns)))
            else:
                waiting.last = taken
                still.append(waiting)
        self._waiting = still
        if not kept and taken.done_ns - self._last_kept_ns.get(taken.display, -(2**62)) >= self._periodic_ns:
            kept.append(Bound(taken, "periodic"))
        if kept:
            self._last_kept_ns[taken.display] = taken.done_ns
        return kept

    def clear(self) -> None:
        """Capture stopped: let go of every picture and every action."""
        self._ring.clear()
        self._waiting.clear()
        self._last_action.clear()
        self._last_kept_ns.clear()
