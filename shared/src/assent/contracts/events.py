"""What an agent may observe. Everything that is ever recorded is one of the types below; there are no others.

Times are `t_ns`: nanoseconds of the monotonic clock of the source that saw the event first (on X11 the server's
event time). They never go backwards within a segment and claim no more than `SegmentContent.resolution_ns`.
`seq` counts the observations of one modality in one run, from 0, without holes: a hole is a loss, and is counted.
Coordinates are physical pixels of the virtual desktop; they may be negative.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What all observations share."""

    t_ns: int
    seq: int


class PointerMoved(Observation, frozen=True, tag="move"):
    x: int
    y: int
    display: int = 0


class PointerButton(Observation, frozen=True, tag="button"):
    """`button`: 1 left, 2 middle, 3 right, 8 back, 9 forward (X11 numbering)."""

    x: int
    y: int
    button: int
    pressed: bool
    display: int = 0


class PointerScrolled(Observation, frozen=True, tag="scroll"):
    """`dx`, `dy` in wheel steps; positive is right and up."""

    x: int
    y: int
    dx: int
    dy: int
    display: int = 0


class KeyEvent(Observation, frozen=True, tag="key"):
    """One key going down or up.

    In mode `text`, `key` is the X keysym name or the character, `code` the layout-independent code (Linux evdev) and
    `vk` the Windows virtual-key code. In mode `shape`, `key` is a `KeyClass` value and both codes are 0, except for
    shortcuts (a key pressed while Control, Alt or Super is down), which are recorded in full.
    """

    key: str
    pressed: bool
    code: int = 0
    vk: int = 0


class KeyClass(StrEnum):
    """All that mode `shape` tells of a key."""

    LETTER = "letter"
    DIGIT = "digit"
    SPACE = "space"
    PUNCTUATION = "punctuation"
    ENTER = "enter"
    TAB = "tab"
    DELETE = "delete"
    NAVIGATION = "navigation"
    FUNCTION = "function"
    MODIFIER = "modifier"
    OTHER = "other"


class KeyboardMode(StrEnum):
    OFF = "off"
    SHAPE = "shape"
    TEXT = "text"


class Rect(msgspec.Struct, frozen=True):
    """Pixels of the virtual desktop."""

    x: int
    y: int
    width: int
    height: int


class ScreenFrame(Observation, frozen=True, tag="frame"):
    """One picture of one display. The pixels travel beside it (`codec.frames`), under the same `seq`.

    `binding` says why it was taken: `before` or `after` an action, or `periodic`. `action` names the modality and
    sequence number of that action and is None for periodic frames; `lag_ns` is the measured distance to it (never
    negative). `cursor_x`, `cursor_y`: where the pointer was; it is not painted into the picture. Both are 0 where that
    is not known, or may not be told: over what is excluded.
    `masked`: rectangles painted over because something excluded was, or may have been, there.
    """

    display: int
    width: int
    height: int
    binding: Literal["before", "after", "periodic"] = "periodic"
    action: tuple[str, int] | None = None
    lag_ns: int = 0
    cursor_x: int = 0
    cursor_y: int = 0
    masked: tuple[Rect, ...] = ()


class WindowActivated(Observation, frozen=True, tag="window"):
    """The active window, or a change of it. An excluded window has a rectangle and neither application nor title; an
    empty rectangle when not even its place may be told."""

    rect: Rect
    application: str = ""
    title: str = ""
    excluded: bool = False


class Display(msgspec.Struct, frozen=True):
    id: int
    rect: Rect
    scale: float = 1.0


class DisplaysChanged(Observation, frozen=True, tag="displays"):
    """The displays of which something may be recorded, from now on."""

    displays: tuple[Display, ...]


Event = PointerMoved | PointerButton | PointerScrolled | KeyEvent | ScreenFrame | WindowActivated | DisplaysChanged


class GapReason(StrEnum):
    """Why something was not recorded. Coverage is part of the record, in every segment."""

    PAUSED = "paused"
    LOCKED = "locked"
    IDLE = "idle"
    PERMISSION = "permission"
    EXCLUDED = "excluded"
    SECURE_FIELD = "secure-field"
    DROPPED = "dropped"
    BUDGET = "budget"
    CLOCK = "clock"


class Gap(msgspec.Struct, frozen=True):
    """From `from_ns` to `until_ns` nothing was recorded, for `reason`; `count` observations are known to be missing."""

    from_ns: int
    until_ns: int
    reason: GapReason
    count: int = 0


class ClockAnchor(msgspec.Struct, frozen=True):
    """At monotonic `t_ns` the wall clock said `wall_ns` (Unix time). `stepped`: the wall clock had just jumped."""

    t_ns: int
    wall_ns: int
    stepped: bool = False


class SegmentContent(msgspec.Struct, frozen=True, kw_only=True):
    """The plaintext of one segment: events, frames, clock anchors and coverage of one modality.

    `stream` and `sequence` repeat the header, so that a body can be tied to its place without it.
    `frames`: the encoded pictures of `ScreenFrame` events (`codec.frames`), empty for other modalities.
    """

    stream: str
    sequence: int
    modality: str
    events: tuple[Event, ...]
    anchors: tuple[ClockAnchor, ...]
    gaps: tuple[Gap, ...] = ()
    frames: bytes = b""
    resolution_ns: int = 1_000_000
