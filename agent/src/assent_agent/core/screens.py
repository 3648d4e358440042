"""What of the desktop may be seen and heard at a given moment.

A picture is kept only when the windows were the same before the grab and after it. What is visible of an excluded
window, or was a moment ago, is painted over, and the rectangles are recorded. The bare background behind all windows
belongs to no application and stays.

A pointer or keyboard event is kept only when, over the whole time in which it may have happened, the active window and
the window under the pointer were allowed. When that cannot be known yet, the answer is `PENDING`; who cannot wait
treats it as excluded. A release is kept only when its press was.

Of a monitor that the person took away nothing is kept, nor of a window any part of which lies on it. While it is not
known which monitors there are, nothing is kept at all.

Nothing here asks a clock or a device: views bring their own times (nanoseconds of the same monotonic clock that stamps
events).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from assent.contracts.events import KeyEvent, PointerButton, PointerMoved, PointerScrolled, Rect, WindowActivated
from assent_agent.core.exclusion import Policy, Verdict, Window, decide
from assent_agent.core.monitors import Layout, Monitor, layout_of

Pixels = NDArray[np.uint8]
InputEvent = PointerMoved | PointerButton | PointerScrolled | KeyEvent

MASK_BGRA = (72, 64, 60, 255)
LINGER_NS = 300_000_000
MARGIN_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class WindowView:
    """All visible windows, bottom to top, as they were asked for at `t_ns` and answered by `answered_ns`.

    `active`: the window that has the keyboard, or None when none has. `generation` rises with every change that was
    noticed, also with one that was undone at once. `certain` is False when a fact could not be established, `locked`
    is True while a screen lock or screen saver is shown: then nothing may be recorded. `monitors`: in the order of the
    system; empty when they are not known. `settled` is False while they have just changed.
    """

    t_ns: int
    windows: tuple[Window, ...] = ()
    active: int | None = None
    generation: int = 0
    certain: bool = True
    locked: bool = False
    monitors: tuple[Monitor, ...] = ()
    settled: bool = True
    answered_ns: int = field(default=0, compare=False)

    def active_window(self) -> Window | None:
        return next((w for w in self.windows if w.id == self.active), None)

    def at(self, x: int, y: int) -> Window | None:
        """The topmost window at a point; None for the bare background."""
        return next((w for w in reversed(self.windows) if _contains(w.rect, x, y)), None)


def layout(view: WindowView, rules: Policy) -> Layout | None:
    """What may be recorded of the monitors; None: it is not known, and nothing may be."""
    return layout_of(view.monitors, settled=view.settled, chosen=rules.monitors)


def _allowed(window: Window, rules: Policy, monitors: Layout) -> bool:
    """May be recorded what it shows, and what is done in it?"""
    return decide(window, rules) is Verdict.ALLOWED and monitors.shows(window.rect)


class Access(StrEnum):
    """Whether an event may be kept."""

    ALLOWED = "allowed"
    EXCLUDED = "excluded"
    LOCKED = "locked"
    PENDING = "pending"


# -- input ------------------------------------------------------------------------------------------------------------


def keyboard_access(view: WindowView, rules: Policy) -> Access:
    """May a key pressed under this view be kept? Not without an active window, nor while something may grab keys."""
    if view.locked:
        return Access.LOCKED
    active, monitors = view.active_window(), layout(view, rules)
    if not view.certain or active is None or monitors is None or not _allowed(active, rules, monitors):
        return Access.EXCLUDED
    grabbing = any(w.popup and not w.passive and not _allowed(w, rules, monitors) for w in view.windows)
    return Access.EXCLUDED if grabbing else Access.ALLOWED


def pointer_access(view: WindowView, rules: Policy, x: int, y: int) -> Access:
    """May a pointer event at a point be kept? Not over, nor while working in, an excluded window."""
    if view.locked:
        return Access.LOCKED
    monitors = layout(view, rules)
    if not view.certain or monitors is None or not monitors.shows_point(x, y):
        return Access.EXCLUDED
    active, under = view.active_window(), view.at(x, y)
    if view.active is not None and active is None:
        return Access.EXCLUDED
    shown = [w for w in (active, under) if w is not None]
    return Access.ALLOWED if all(_allowed(w, rules, monitors) for w in shown) else Access.EXCLUDED


class Views:
    """The recent views, so that an event which arrives late is judged by the windows of its own time.

    A view holds from the moment the one before it was last confirmed (it may have begun unnoticed then) until the
    moment the next one was answered.
    """

    def __init__(self, keep_ns: int = 10_000_000_000) -> None:
        self._views: deque[WindowView] = deque()
        self._confirmed: deque[int] = deque()
        self._keep_ns = keep_ns

    def add(self, view: WindowView) -> bool:
        """Take a view that was just asked for. Returns True when it differs from the one before.

        Raises ValueError when it is older than the last one.
        """
        if self._views and view.t_ns < self._confirmed[-1]:
            raise ValueError("a view is older than the one before it")
        if self._views and replace(view, t_ns=self._views[-1].t_ns) == self._views[-1]:
            self._confirmed[-1] = view.t_ns
            return False
        self._views.append(view)
        self._confirmed.append(view.t_ns)
        while len(self._views) > 2 and self._confirmed[0] < view.t_ns - self._keep_ns:
            self._views.popleft()
            self._confirmed.popleft()
        return True

    def forget(self) -> None:
        """Drop all views, as when recording stops: what happens meanwhile is not known."""
        self._views.clear()
        self._confirmed.clear()

    @property
    def latest(self) -> WindowView | None:
        return self._views[-1] if self._views else None

    def between(self, from_ns: int, until_ns: int) -> tuple[WindowView, ...] | None:
        """Every view that may have held within the span; None when the span is not wholly known (yet)."""
        if not self._views or self._views[0].t_ns > from_ns or self._confirmed[-1] < until_ns:
            return None
        found = []
        for i, view in enumerate(self._views):
            begins = self._confirmed[i - 1] if i else view.t_ns
            last = i + 1 == len(self._views)
            ends = self._confirmed[i] if last else max(self._views[i + 1].t_ns, self._views[i + 1].answered_ns)
            if begins <= until_ns and ends >= from_ns:
                found.append(view)
        return tuple(found)

    def access(self, event: InputEvent, rules: Policy, margin_ns: int = MARGIN_NS) -> Access:
        """May this event be kept? `PENDING`: not before a view confirms `margin_ns` after it."""
        views = self.between(event.t_ns - margin_ns, event.t_ns + margin_ns)
        if views is None:
            too_early = bool(self._views) and self._views[0].t_ns <= event.t_ns - margin_ns
            return Access.PENDING if too_early else Access.EXCLUDED
        for view in views:
            if isinstance(event, KeyEvent):
                answer = keyboard_access(view, rules)
            else:
                answer = pointer_access(view, rules, event.x, event.y)
            if answer is not Access.ALLOWED:
                return answer
        return Access.ALLOWED


class InputGate:
    """Lets events of one modality through, so that presses and releases stay paired.

    A release passes only when its press did. At the first event that may not pass, everything that is still down is
    released, at the time and place of the last event that passed: the excluded side leaves no trace, not even a time.
    """

    def __init__(self) -> None:
        self._down: dict[tuple[str, int, str], list[KeyEvent | PointerButton]] = {}
        self._last_ns = 0
        self._place = (0, 0, 0)

    def step(self, event: InputEvent, access: Access) -> tuple[InputEvent, ...]:
        """What may be recorded in answer to this event. Raises ValueError when access is still pending."""
        if access is Access.PENDING:
            raise ValueError("the event is not decided yet")
        if access is not Access.ALLOWED:
            return self.release_all()
        match event:
            case KeyEvent() | PointerButton():
                id_ = _identity(event)
                if event.pressed:
                    told_apart = bool(id_[1])  # by code; by class alone, several keys may be down
                    self._down[id_] = [event, *([] if told_apart else self._down.get(id_, []))]
                elif not self._down.get(id_):
                    return ()
                else:
                    self._down[id_].pop()
            case _:
                pass
        self._last_ns = event.t_ns
        if not isinstance(event, KeyEvent):
            self._place = (event.x, event.y, event.display)
        return (event,)

    def release_all(self, t_ns: int | None = None) -> tuple[InputEvent, ...]:
        """Release what is down, at `t_ns` if given (the end of a segment), else at the last event that passed."""
        at = max(self._last_ns, t_ns or 0)
        x, y, display = self._place
        released: list[InputEvent] = []
        for down in (event for events in self._down.values() for event in events):
            if isinstance(down, KeyEvent):
                released.append(KeyEvent(t_ns=at, seq=0, key=down.key, pressed=False, code=down.code, vk=down.vk))
            else:
                released.append(
                    PointerButton(t_ns=at, seq=0, x=x, y=y, button=down.button, pressed=False, display=display)
                )
        self._down.clear()
        return tuple(released)


def _identity(event: KeyEvent | PointerButton) -> tuple[str, int, str]:
    if isinstance(event, KeyEvent):
        return ("key", event.code, event.key if not event.code else "")
    return ("button", event.button, "")


# -- pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Picture:
    """A grabbed picture that may be kept. `pixels`: uint8, (height, width, 4), BGRA; `masked`: desktop pixels."""

    pixels: Pixels = field(repr=False)
    masked: tuple[Rect, ...]


class Dropped(StrEnum):
    """Why a grabbed picture may not be kept."""

    CHANGED = "windows changed during the grab"
    UNKNOWN = "windows or monitors not known"
    LOCKED = "screen locked"
    EXCLUDED = "nothing but excluded windows to be seen"


def unchanged(before: WindowView, after: WindowView, rules: Policy) -> bool:
    """Were windows, order, places, monitors and what may be recorded of them the same, without a change between?"""

    def facts(view: WindowView) -> tuple[object, ...]:
        windows = tuple((w.id, w.rect, w.opaque, decide(w, rules) is Verdict.ALLOWED) for w in view.windows)
        return windows, view.monitors

    return before.generation == after.generation and facts(before) == facts(after)


def masks(views: Sequence[WindowView], rules: Policy, area: Rect) -> tuple[Rect, ...]:
    """The parts of `area` where something excluded is to be seen in any of these views. They do not overlap."""
    found: list[Rect] = []
    for view in views:
        monitors = layout(view, rules)
        for rect in (area,) if monitors is None else monitors.kept_out:
            parts = _clip(rect, area)
            for known in found:
                parts = _without(parts, known)
            found.extend(parts)
        if monitors is None:
            continue
        for i, window in enumerate(view.windows):
            if _allowed(window, rules, monitors):
                continue
            parts = _clip(window.rect, area)
            for above in view.windows[i + 1 :]:
                if above.opaque:
                    parts = _without(parts, above.rect)
            for known in found:
                parts = _without(parts, known)
            found.extend(parts)
    return tuple(found)


def examine(
    pixels: Pixels, area: Rect, rules: Policy, *, before: WindowView, after: WindowView, recent: Sequence[WindowView]
) -> Picture | Dropped:
    """Decide about a picture of `area`, grabbed after `before` was asked for and before `after` was.

    `recent`: every view of the last `LINGER_NS`, since windows fade out and programs repaint late
    (`Views.between`; a span that is not wholly known is no ground for keeping a picture). The given pixels are painted
    over in place.
    """
    if before.locked or after.locked:
        return Dropped.LOCKED
    if not before.certain or not after.certain or any(layout(v, rules) is None for v in (before, after, *recent)):
        return Dropped.UNKNOWN
    if not unchanged(before, after, rules):
        return Dropped.CHANGED
    hidden = masks((after, *recent), rules, area)
    if hidden and sum(r.width * r.height for r in hidden) >= area.width * area.height:
        return Dropped.EXCLUDED
    paint(pixels, hidden, area)
    return Picture(pixels, hidden)


def paint(pixels: Pixels, rects: Iterable[Rect], area: Rect) -> None:
    """Paint desktop rectangles over, in a picture (height, width, 4) BGRA whose first pixel is that of `area`."""
    for r in rects:
        x, y = r.x - area.x, r.y - area.y
        pixels[max(0, y) : max(0, y + r.height), max(0, x) : max(0, x + r.width)] = MASK_BGRA


def activated(view: WindowView, rules: Policy, seq: int = 0) -> WindowActivated:
    """What `context` may say about the active window: of an excluded one, only where it is; of none, and of one that
    lies on a monitor that was taken away, not even that."""
    active, monitors = view.active_window(), layout(view, rules)
    if active is None or monitors is None or not monitors.shows(active.rect):
        return WindowActivated(t_ns=view.t_ns, seq=seq, rect=Rect(0, 0, 0, 0), excluded=True)
    if view.locked or not view.certain or decide(active, rules) is not Verdict.ALLOWED:
        return WindowActivated(t_ns=view.t_ns, seq=seq, rect=active.rect, excluded=True)
    return WindowActivated(
        t_ns=view.t_ns, seq=seq, rect=active.rect, application=active.application, title=active.title
    )


def _contains(rect: Rect, x: int, y: int) -> bool:
    return rect.x <= x < rect.x + rect.width and rect.y <= y < rect.y + rect.height


def _clip(rect: Rect, area: Rect) -> list[Rect]:
    left, top = max(rect.x, area.x), max(rect.y, area.y)
    right = min(rect.x + rect.width, area.x + area.width)
    bottom = min(rect.y + rect.height, area.y + area.height)
    return [Rect(left, top, right - left, bottom - top)] if right > left and bottom > top else []


def _without(parts: Iterable[Rect], cover: Rect) -> list[Rect]:
    """The parts that `cover` leaves to be seen."""
    left: list[Rect] = []
    for part in parts:
        hit = _clip(part, cover)
        if not hit:
            left.append(part)
            continue
        h = hit[0]
        if h.y > part.y:
            left.append(Rect(part.x, part.y, part.width, h.y - part.y))
        if (bottom := part.y + part.height) > h.y + h.height:
            left.append(Rect(part.x, h.y + h.height, part.width, bottom - h.y - h.height))
        if h.x > part.x:
            left.append(Rect(part.x, h.y, h.x - part.x, h.height))
        if (right := part.x + part.width) > h.x + h.width:
            left.append(Rect(h.x + h.width, h.y, right - h.x - h.width, h.height))
    return left
