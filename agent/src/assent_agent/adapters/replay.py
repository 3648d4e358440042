"""A desktop played from a file, behind the same ports as a real one.

The format is JSON Lines, documented in docs/formats/replay.md. What is in the file goes the same way as real input:
whether it may be kept is decided elsewhere, by the same rules. Times are those of the file; `Replay` is also the clock
that shows them, so everything that is timed goes with the replay, at the speed it was recorded or as fast as the
receiver takes it.

Playing begins `lead_in_s` after the first source is started, so that all are ready; after that time goes on whether or
not anybody listens, as on a real desktop.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assent.contracts.events import (
    Display,
    KeyboardMode,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    Rect,
    WindowActivated,
)
from assent_agent.core.exclusion import Window
from assent_agent.core.keys import SHORTCUT_MODIFIERS, shaped
from assent_agent.core.monitors import Monitor
from assent_agent.core.screens import WindowView
from assent_agent.ports import (
    KEYBOARD,
    POINTER,
    Capture,
    CaptureUnavailable,
    Frame,
    InputEvent,
    InputHealth,
    InputSink,
    ScreenUnavailable,
    ViewSink,
)

END_NS = 1_000_000_000
Pixels = NDArray[np.uint8]


class ReplayInvalid(CaptureUnavailable):
    """The file is no replay; the message names the line and what is wrong with it, never what it holds."""


class _Picture(msgspec.Struct, frozen=True, tag="frame", kw_only=True):
    t_ns: int
    seq: int
    image: str
    display: int = 0
    cursor_x: int = 0
    cursor_y: int = 0


class _Shown(msgspec.Struct, frozen=True):
    rect: Rect
    application: str = ""
    title: str = ""
    popup: bool = False
    active: bool = False


class _Windows(msgspec.Struct, frozen=True, tag="windows", kw_only=True):
    t_ns: int
    seq: int
    windows: tuple[_Shown, ...]
    locked: bool = False


class _Display(msgspec.Struct, frozen=True):
    id: int
    rect: Rect
    scale: float = 1.0
    name: str = ""


class _Displays(msgspec.Struct, frozen=True, tag="displays", kw_only=True):
    t_ns: int
    seq: int
    displays: tuple[_Display, ...]


_Line = PointerMoved | PointerButton | PointerScrolled | KeyEvent | WindowActivated | _Displays | _Picture | _Windows


def replay_capture(path: Path, *, speed: float | None = 1.0, lead_in_s: float = 0.5) -> Capture:
    """All sources of a desktop, from one file. `speed` None: as fast as the receivers take it.

    Raises ReplayInvalid, and FileNotFoundError for the file itself.
    """
    replay = Replay(path, speed=speed, lead_in_s=lead_in_s)
    return Capture(input=ReplayInput(replay), screen=replay, windows=replay, clock=replay)


class Replay:
    """The file, the clock, and the screen and window sources. Input is `ReplayInput`."""

    def __init__(self, path: Path, *, speed: float | None = 1.0, lead_in_s: float = 0.5) -> None:
        if speed is not None and speed <= 0:
            raise ValueError("the speed must be above 0")
        self._folder = path.parent
        self._lines = _read(path)
        self._speed = speed
        self._lead_in_s = lead_in_s
        self._first_ns = self._lines[0].t_ns
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._finished = threading.Event()
        self._thread: threading.Thread | None = None
        self._at_ns = self._first_ns
        self._view = self._opening_view()
        self._displays = next((e.displays for e in self._lines if isinstance(e, _Displays)), ())
        self._pictures: dict[int, _Picture] = {}
        self._input: ReplayInput | None = None
        self._on_view: ViewSink | None = None
        self._closed = False

    # -- the clock --

    def monotonic_ns(self) -> int:
        with self._lock:
            return self._at_ns

    def wait_finished(self, timeout_s: float) -> bool:
        """Wait until the last line was played; False when that takes longer."""
        return self._finished.wait(timeout_s)

    # -- windows --

    def start(self, on_view: ViewSink) -> None:
        with self._lock:
            if self._on_view is not None:
                raise RuntimeError("the window source is already started")
            self._on_view = on_view
            self.view()
        self.begin()

    def view(self) -> WindowView:
        with self._lock:
            now = WindowView(
                self._at_ns,
                self._view.windows,
                self._view.active,
                self._view.generation,
                self._view.certain and self._on_view is not None,
                self._view.locked,
                monitors=tuple(Monitor(d.name, d.rect, d.scale, id=d.id) for d in self._displays),
                answered_ns=self._at_ns,
            )
            if self._on_view is not None:
                self._on_view(now)
            return now

    def stop(self) -> None:
        with self._lock:
            self._on_view = None

    # -- screen --

    def grab(self, display: Display) -> Frame:
        with self._lock:
            id_ = next((d.id for d in self._displays if d.rect == display.rect), display.id)
            picture, at_ns = self._pictures.get(id_), self._at_ns
            if self._closed:
                raise ScreenUnavailable("the screen source is closed")
        if picture is None:
            raise ScreenUnavailable("the replay has no picture of this display yet")
        pixels = read_image(self._folder / picture.image)
        if pixels.shape[:2] != (display.rect.height, display.rect.width):
            raise ScreenUnavailable("the replay's picture has another size than its display")
        return Frame(display, at_ns, at_ns, pixels, cursor_x=picture.cursor_x, cursor_y=picture.cursor_y)

    def close(self) -> None:
        """End playing. Repeating does nothing."""
        with self._lock:
            self._closed = True
            self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)

    # -- playing --

    def attach(self, source: ReplayInput) -> None:
        with self._lock:
            self._input = source

    def begin(self) -> None:
        """Start playing, after the lead-in. Only the first call counts."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._play, name="assent-replay", daemon=True)
                self._thread.start()

    def _play(self) -> None:
        if self._ended.wait(self._lead_in_s):
            return
        began = time.monotonic_ns()
        for line in self._lines:
            if self._speed is not None and not self._pass_time(began, line.t_ns):
                return
            if self._ended.is_set():
                return
            with self._lock:
                self._at_ns = line.t_ns
                self._play_line(line)
        with self._lock:
            self._at_ns += END_NS
            self.view()
        self._finished.set()

    def _pass_time(self, began: int, until_ns: int) -> bool:
        """Let the clock go on to `until_ns` in small steps, so that who asks sees it move. False when ended."""
        speed = self._speed or 1.0
        while True:
            at_ns = self._first_ns + int((time.monotonic_ns() - began) * speed)
            left_s = (until_ns - at_ns) / speed / 1e9
            if left_s <= 0:
                return True
            with self._lock:
                self._at_ns = max(self._at_ns, at_ns)
            if self._ended.wait(min(left_s, 0.005)):
                return False

    def _play_line(self, line: _Line) -> None:
        match line:
            case _Picture():
                self._pictures[line.display] = line
            case WindowActivated() | _Windows():
                self.view()  # what was there held until now: a file knows
                self._view = _view_of(line, self._view.generation + 1)
                self.view()
            case _Displays():
                self.view()
                self._displays = line.displays
                self._view = replace(self._view, generation=self._view.generation + 1)
                self.view()
            case _:
                if self._input is not None:
                    self._input.take(line)

    def _opening_view(self) -> WindowView:
        """The first windows named in the file are taken to have been there from the beginning."""
        first = next((e for e in self._lines if isinstance(e, WindowActivated | _Windows)), None)
        return WindowView(self._first_ns, certain=False) if first is None else _view_of(first, 0)


class ReplayInput:
    """The input source of a replay (`ports.InputSource`)."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._lock = threading.RLock()
        self._sink: InputSink | None = None
        self._wanted: frozenset[str] = frozenset()
        self._mode = KeyboardMode.OFF
        self._health = InputHealth()
        self._emitted: dict[str, int] = {}
        self._last_seen: dict[str, int] = {}
        self._filtered = 0
        self._down: dict[tuple[str, str], InputEvent] = {}
        self._shortcut_keys: set[str] = set()
        replay.attach(self)

    def start(self, sink: InputSink, modalities: Collection[str], mode: KeyboardMode) -> None:
        wanted = frozenset(modalities)
        if not wanted or not wanted <= {POINTER, KEYBOARD}:
            raise ValueError(f"input has the modalities {POINTER} and {KEYBOARD}")
        if (KEYBOARD in wanted) == (mode is KeyboardMode.OFF):
            raise ValueError("the keyboard mode and the modalities contradict each other")
        with self._lock:
            if self._sink is not None:
                raise RuntimeError("the input source is already started")
            self._sink, self._wanted, self._mode = sink, wanted, mode
        self._replay.begin()

    def stop(self) -> None:
        at_ns = self._replay.monotonic_ns()
        with self._lock:
            for event in list(self._down.values()):
                self._emit(msgspec.structs.replace(event, t_ns=max(at_ns, event.t_ns), pressed=False))
            self._down.clear()
            self._shortcut_keys.clear()
            self._sink = None

    def health(self) -> InputHealth:
        with self._lock:
            return InputHealth(
                running=self._sink is not None,
                last_seen_ns=dict(self._last_seen),
                emitted=dict(self._emitted),
                filtered=self._filtered,
            )

    def take(self, event: InputEvent) -> None:
        """One line of the file, at its time."""
        with self._lock:
            if self._sink is None or _modality(event) not in self._wanted:
                self._filtered += self._sink is not None
                return
            if not isinstance(event, KeyEvent | PointerButton):
                self._emit(event)
                return
            name = (_modality(event), event.key if isinstance(event, KeyEvent) else str(event.button))
            if event.pressed:
                told = self._told(event)
                if name in self._down and self._mode is KeyboardMode.SHAPE and isinstance(event, KeyEvent):
                    self._emit(msgspec.structs.replace(self._down[name], t_ns=event.t_ns, pressed=False))
                self._down[name] = told
                self._emit(told)
            elif (down := self._down.pop(name, None)) is None:
                self._filtered += 1
            elif isinstance(event, KeyEvent):
                self._shortcut_keys.discard(event.key)
                self._emit(msgspec.structs.replace(down, t_ns=event.t_ns, pressed=False))
            else:
                self._emit(event)

    def _told(self, event: KeyEvent | PointerButton) -> KeyEvent | PointerButton:
        if not isinstance(event, KeyEvent):
            return event
        shortcut = bool(self._shortcut_keys)
        if event.key in SHORTCUT_MODIFIERS:
            self._shortcut_keys.add(event.key)
        return event if shortcut or self._mode is KeyboardMode.TEXT else shaped(event)

    def _emit(self, event: InputEvent) -> None:
        modality = _modality(event)
        if self._sink is not None:
            self._sink(event)
            self._emitted[modality] = self._emitted.get(modality, 0) + 1
            self._last_seen[modality] = event.t_ns


def _modality(event: InputEvent) -> str:
    return KEYBOARD if isinstance(event, KeyEvent) else POINTER


def _view_of(line: WindowActivated | _Windows, generation: int) -> WindowView:
    if isinstance(line, WindowActivated):
        application = "" if line.excluded else line.application
        return WindowView(line.t_ns, (Window(1, line.rect, application, line.title),), 1, generation)
    windows = tuple(Window(i + 1, w.rect, w.application, w.title, popup=w.popup) for i, w in enumerate(line.windows))
    active = next((i + 1 for i, w in enumerate(line.windows) if w.active), None)
    return WindowView(line.t_ns, windows, active, generation, locked=line.locked)


def _read(path: Path) -> tuple[_Line, ...]:
    lines: list[_Line] = []
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                fields: dict[str, Any] = json.loads(text)
                line: _Line = msgspec.convert({"seq": 0, **fields}, type=_Line, strict=True)
            except (ValueError, TypeError) as error:
                reason = str(error) if isinstance(error, msgspec.ValidationError) else "no JSON object"
                raise ReplayInvalid(f"line {number}: {reason}") from error
            if lines and line.t_ns < lines[-1].t_ns:
                raise ReplayInvalid(f"line {number}: its time lies before that of the line above")
            if isinstance(line, _Picture):
                _check_name(number, line.image, path.parent)
            lines.append(line)
    if not lines:
        raise ReplayInvalid("the file holds nothing")
    return tuple(lines)


def _check_name(number: int, name: str, folder: Path) -> None:
    if not name or Path(name).name != name or name.startswith("."):
        raise ReplayInvalid(f"line {number}: an image is named by a plain file name beside the replay")
    if Path(name).suffix not in (".npy", ".ppm", ".png"):
        raise ReplayInvalid(f"line {number}: images are .npy, .ppm or .png")
    if not (folder / name).is_file():
        raise ReplayInvalid(f"line {number}: its image is not there")


def read_image(path: Path) -> Pixels:
    """A picture as uint8, (height, width, 4), BGRA, writable, from .npy (BGR or BGRA), .ppm (P6) or .png.

    Raises ScreenUnavailable when it cannot be read.
    """
    try:
        match path.suffix:
            case ".npy":
                bgr = np.load(path, allow_pickle=False)
            case ".ppm":
                bgr = _read_ppm(path.read_bytes())
            case _:
                bgr = _read_png(path)
    except (OSError, ValueError) as error:
        raise ScreenUnavailable(f"the picture {path.name} cannot be read: {error}") from error
    if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] not in (3, 4):
        raise ScreenUnavailable(f"the picture {path.name} is not of bytes, (height, width, 3 or 4)")
    pixels = np.full((*bgr.shape[:2], 4), 255, dtype=np.uint8)
    pixels[..., : bgr.shape[2]] = bgr
    return pixels


def _read_ppm(data: bytes) -> Pixels:
    """Netpbm P6 with 8-bit samples and no comments, RGB."""
    fields = data.split(None, 4)
    if len(fields) < 5 or fields[0] != b"P6" or fields[3] != b"255":
        raise ValueError("no 8-bit P6")
    width, height = int(fields[1]), int(fields[2])
    body = data[len(data) - width * height * 3 :]
    return np.frombuffer(body, dtype=np.uint8).reshape(height, width, 3)[..., ::-1]


def _read_png(path: Path) -> Pixels:
    from PySide6.QtGui import QImage  # noqa: PLC0415 - only replays with PNG pictures need Qt

    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGB32)
    if image.isNull():
        raise ValueError("no PNG")
    rows = np.frombuffer(image.constBits(), dtype=np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 4].reshape(image.height(), image.width(), 4).copy()
