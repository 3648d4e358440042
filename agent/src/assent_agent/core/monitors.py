"""Which monitors may be recorded, when the person took some of them away.

A monitor is known by the output that it hangs on ("HDMI-1"), its size in pixels, and what it says of itself (EDID);
not by its place. So it is the same one after it was plugged in again, and another one on the same output is not taken
for it. Every doubt keeps all of them out: a monitor that the person has not spoken about, one without a name, a layout
that is just changing, or no layout at all. Then nothing is recorded until it is known.

What is recorded does not list the others, and those that it lists count from 0. What cannot be hidden: that a monitor
which does not begin at the upper left corner of the desktop has something beside it.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from assent.contracts.events import Display, Rect


class MonitorsInvalid(ValueError):
    """These monitors cannot be taken away; says why, and which there are."""


@dataclass(frozen=True, slots=True, order=True)
class Known:
    """What a monitor is recognised by. `edid`: SHA-256 (hex) of what it says of itself; empty when it says nothing."""

    name: str
    width: int
    height: int
    edid: str = ""

    def words(self) -> str:
        return f"{self.name} ({self.width} × {self.height})"


@dataclass(frozen=True, slots=True)
class Monitor:
    """One monitor of the desktop. `name`: that of its output, empty when it has none. `rect`: physical pixels of the
    virtual desktop. `edid`: as in `Known`. `id`: as its source counts it."""

    name: str
    rect: Rect
    scale: float = 1.0
    edid: str = ""
    id: int = 0

    @property
    def known(self) -> Known:
        return Known(self.name, self.rect.width, self.rect.height, self.edid)


@dataclass(frozen=True, slots=True)
class Chosen:
    """`recorded`: these may be. `never`: what hangs on these outputs is not; None: nor is any other monitor."""

    recorded: frozenset[Known]
    never: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What may be recorded of the desktop. `displays`: these. `kept_out`: where other monitors show
    something. `limited`: the person took monitors away, so that only what lies on `displays` may be recorded."""

    displays: tuple[Display, ...]
    kept_out: tuple[Rect, ...] = ()
    limited: bool = False

    def shows(self, rect: Rect) -> bool:
        """May something that covers `rect` be recorded? Not when any of it lies where it may not."""
        if not self.limited:
            return True
        return any(_meet(rect, d.rect) for d in self.displays) and not any(_meet(rect, r) for r in self.kept_out)

    def shows_point(self, x: int, y: int) -> bool:
        return self.shows(Rect(x, y, 1, 1))

    def display_at(self, x: int, y: int) -> int:
        """The id of the display that shows a point; the first one's when none does."""
        return next((d.id for d in self.displays if _meet(d.rect, Rect(x, y, 1, 1))), 0)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing may be recorded of any monitor. `asks_the_person`: it will not pass by itself."""

    sentence: str
    asks_the_person: bool = False


@lru_cache(maxsize=16)
def layout_of(monitors: tuple[Monitor, ...], *, settled: bool, chosen: Chosen | None) -> Layout | None:
    """What may be recorded of these monitors; None: it is not known, and nothing may be recorded.

    `settled`: they have been like this for a moment. `chosen` None: the person took none away.
    """
    if chosen is None:
        return Layout(tuple(Display(m.id, m.rect, m.scale) for m in monitors))
    if _doubt(monitors, chosen, settled=settled) is not None:
        return None
    recorded = [m for m in monitors if _is_recorded(m, chosen)]
    return Layout(
        displays=tuple(Display(i, m.rect, m.scale) for i, m in enumerate(recorded)),
        kept_out=tuple(m.rect for m in monitors if m not in recorded),
        limited=True,
    )


def refused(monitors: tuple[Monitor, ...], *, settled: bool, chosen: Chosen | None) -> Refused | None:
    """Why nothing may be recorded of any of these monitors; None when something may."""
    if chosen is None:
        return None
    if (doubt := _doubt(monitors, chosen, settled=settled)) is not None:
        return doubt
    if not any(_is_recorded(m, chosen) for m in monitors):
        return Refused("You took every monitor away that is connected. Nothing is recorded.")
    return None


def _doubt(monitors: tuple[Monitor, ...], chosen: Chosen, *, settled: bool) -> Refused | None:
    names = [monitor.name for monitor in monitors]
    if not settled or not names:
        return Refused("The monitors have just changed. Nothing is recorded until it is known which they are.")
    if "" in names or len(set(names)) < len(names):
        return Refused(
            "You took monitors away, and it cannot be told which of those connected they are. Nothing is recorded, "
            "unless you give back what you took away with 'assent-agent consent narrow --clear'.",
            asks_the_person=True,
        )
    never = chosen.never
    unknown = [m.known for m in monitors if never is not None and m.name not in never and not _is_recorded(m, chosen)]
    if unknown:
        return Refused(
            f"You took monitors away, and have not said what is to become of {', '.join(k.words() for k in unknown)}. "
            "Nothing is recorded until you do: 'assent-agent consent narrow --help' says how.",
            asks_the_person=True,
        )
    return None


def never(names: Sequence[str], connected: Sequence[Monitor], before: Chosen | None) -> Chosen:
    """Take away the monitors on these outputs. The others that are connected, or were recorded before, stay.

    Raises MonitorsInvalid for a name that no monitor has.
    """
    known = (before.never or frozenset()) | {k.name for k in before.recorded} if before else frozenset()
    taken = {_find(name, connected, known) for name in names}
    if before is not None and before.never is None:
        return Chosen(frozenset(k for k in before.recorded if k.name not in taken))
    gone = taken | (before.never or frozenset() if before else frozenset())
    stay = {m.known for m in connected} | (before.recorded if before else frozenset())
    return Chosen(frozenset(k for k in stay if k.name and k.name not in gone), frozenset(gone))


def only(names: Sequence[str], connected: Sequence[Monitor]) -> Chosen:
    """Take away all monitors but these. Raises MonitorsInvalid for a name that no connected monitor has."""
    wanted = {_find(name, connected, frozenset()) for name in names}
    return Chosen(frozenset(m.known for m in connected if m.name in wanted))


def words(chosen: Chosen) -> str:
    """What the person chose, in one line."""
    recorded = ", ".join(known.words() for known in sorted(chosen.recorded)) or "none"
    if chosen.never is None:
        return f"only on the monitors {recorded}"
    return f"on the monitors {recorded}; never on {', '.join(sorted(chosen.never))}"


def _is_recorded(monitor: Monitor, chosen: Chosen) -> bool:
    return monitor.known in chosen.recorded and monitor.name not in (chosen.never or frozenset())


def _find(name: str, connected: Sequence[Monitor], also: frozenset[str]) -> str:
    """The name as the system writes it."""
    for each in (*(m.name for m in connected), *sorted(also)):
        if each and each.casefold() == name.strip().casefold():
            return each
    there = ", ".join(m.known.words() for m in connected) or "none"
    raise MonitorsInvalid(f"No monitor is called {name!r} here. Connected: {there}. Nothing was changed.")


def _meet(a: Rect, b: Rect) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height
