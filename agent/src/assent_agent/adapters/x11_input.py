"""Pointer and keyboard on X11, with the times of the X server.

Built on pynput's listeners, which observe through the RECORD extension. They are extended here for these reasons:

- The server hands recorded events over in bundles, up to a quarter of a second late, so the moment of the callback
  says little. The server's own time of each event is used, and a small round trip every `HURRY_S` makes the server
  hand over.
- A pynput listener ends at the next event. Here another connection ends the recording, which makes the server hand
  over what it still holds; what happened after the stop is then told by its time and discarded.
- When this process gets no time to read for so long that the connection's buffer (some hundred bundles) is full, the
  server may drop a bundle, and nothing in the protocol says so. Deliveries that late are counted as `stalls`.
- In mode `shape` the key is reduced to its class in the hook itself, so that a letter never goes further.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import Xlib.threaded  # noqa: F401 - before any connection is made: it gives python-xlib real locks
from Xlib import XK, X
from Xlib.display import Display as Connection
from Xlib.error import ConnectionClosedError, DisplayError, XError
from Xlib.ext import record

from assent.contracts.events import Display, KeyboardMode, PointerButton, PointerMoved, PointerScrolled
from assent_agent.adapters.x11_time import ServerClock, measure
from assent_agent.core.keys import KeySymbol, ModifierMasks, is_shortcut, key_event, keysym_char, symbol_index
from assent_agent.ports import KEYBOARD, POINTER, CaptureUnavailable, InputEvent, InputHealth, InputSink

HURRY_S = 0.05
READY_S = 10.0
STALL_NS = 100_000_000
WHEEL = {4: (0, 1), 5: (0, -1), 6: (-1, 0), 7: (1, 0)}
EVDEV_OFFSET = 8
CONNECTION_LOST = (ConnectionClosedError, DisplayError, XError, OSError)

# X Window System Protocol, "KeyPress" and its kin: type, detail, sequence, time, root, event, child, root x and y,
# event x and y, state, same screen. Recorded events come in the byte order of the machine.
_EVENT = struct.Struct("=BBHIIIIhhhhHBx")


class X11Input:
    """The input source of an X11 session (`ports.InputSource`).

    `displays` answers the displays known right now, at once, without asking the server.
    """

    def __init__(self, displays: Callable[[], tuple[Display, ...]]) -> None:
        self._displays = displays
        self._lock = threading.Lock()
        self._taps: dict[str, _Tap] = {}
        self._clock = ServerClock()
        self._hurry: _Hurry | None = None

    def start(self, sink: InputSink, modalities: Collection[str], mode: KeyboardMode) -> None:
        wanted = _checked(modalities, mode)
        with self._lock:
            if self._taps:
                raise RuntimeError("the input source is already started")
            try:
                listeners = _listener_types()
                connection = Connection()
                try:
                    self._clock = measure(connection)
                    keyboard = _Keyboard(connection)
                finally:
                    connection.close()
                taps: dict[str, _Tap] = {}
                if POINTER in wanted:
                    taps[POINTER] = _PointerTap(sink, self._clock, self._displays)
                if KEYBOARD in wanted:
                    taps[KEYBOARD] = _KeyboardTap(sink, self._clock, mode, keyboard)
                self._hurry = _Hurry(keyboard)
            except (*CONNECTION_LOST, ImportError) as error:
                raise CaptureUnavailable(f"the X server does not let input be observed: {error}") from error
            self._taps = taps
            for modality, tap in taps.items():
                tap.begin(listeners[modality])
            self._hurry.start()
            failed = [f"{m}: {t.failure or 'no answer'}" for m, t in taps.items() if not t.ready.wait(READY_S)]
        if failed or not self.health().running:
            failure = "; ".join(failed) or self.health().failure
            self.stop()
            raise CaptureUnavailable(f"the X server does not let input be observed: {failure}")

    def stop(self) -> None:
        stop_ns = time.monotonic_ns()
        for tap in self._taps.values():
            tap.until_ns = min(tap.until_ns, stop_ns)
        with self._lock:
            for tap in self._taps.values():
                tap.end()
            for tap in self._taps.values():
                tap.release_all()
            self._taps = {}
            if self._hurry is not None:
                self._hurry.end()
                self._hurry = None

    def health(self) -> InputHealth:
        taps = dict(self._taps)
        failure = next((t.failure for t in taps.values() if t.failure), "")
        return InputHealth(
            running=bool(taps) and all(t.running() for t in taps.values()),
            last_seen_ns={m: t.last_seen_ns for m, t in taps.items() if t.last_seen_ns},
            emitted={m: t.emitted for m, t in taps.items()},
            filtered=sum(t.filtered for t in taps.values()),
            stalls=sum(t.stalls for t in taps.values()),
            failure=failure,
            resolution_ns=self._clock.resolution_ns,
        )


def _checked(modalities: Collection[str], mode: KeyboardMode) -> frozenset[str]:
    wanted = frozenset(modalities)
    if not wanted or not wanted <= {POINTER, KEYBOARD}:
        raise ValueError(f"input has the modalities {POINTER} and {KEYBOARD}")
    if (KEYBOARD in wanted) == (mode is KeyboardMode.OFF):
        raise ValueError("the keyboard mode and the modalities contradict each other")
    return wanted


class _Tap:
    """One modality: turns recorded X events into observations, in the listener's thread."""

    def __init__(self, sink: InputSink, clock: ServerClock) -> None:
        self.ready = threading.Event()
        self.until_ns = 1 << 62
        self.last_seen_ns = 0
        self.emitted = 0
        self.filtered = 0
        self.stalls = 0
        self.failure = ""
        self._sink = sink
        self._clock = clock
        self._listener: Any = None
        self._from_ns = 0
        self._last_ns = 0
        self._late = False

    def begin(self, listener: type[Any]) -> None:
        self._from_ns = time.monotonic_ns()
        self._listener = listener(self)
        self._listener.start()

    def end(self) -> None:
        """Make the server hand over what it holds, and wait for the thread."""
        if self._listener is None:
            return
        self._listener.stop()
        threading.Thread.join(self._listener, READY_S)

    def disable(self, context: int) -> None:
        """End a recording, from a connection that the listener's thread does not use."""
        try:
            connection = Connection()
            connection.record_disable_context(context)
            connection.sync()
            connection.close()
        except CONNECTION_LOST:
            pass  # then the recording has ended too

    def running(self) -> bool:
        return self.ready.is_set() and self._listener is not None and self._listener.is_alive() and not self.failure

    def take(self, bundle: bytes) -> None:
        """Hand over what one recorded bundle holds of the time between start and stop."""
        now_ns = time.monotonic_ns()
        for kind, detail, _, stamp, _, _, _, x, y, _, _, state, _ in _EVENT.iter_unpack(bundle):
            t_ns = self._clock.monotonic_ns(stamp, now_ns)
            if t_ns < self._from_ns or t_ns + self._clock.resolution_ns > self.until_ns:
                self.filtered += 1
                continue
            self.last_seen_ns = now_ns
            late = now_ns - t_ns > STALL_NS
            self.stalls += late and not self._late
            self._late = late
            t_ns = self._last_ns = max(t_ns, self._last_ns)
            self.observe(kind & 0x7F, detail, t_ns, (x, y), state)

    def emit(self, event: InputEvent) -> None:
        self._sink(event)
        self.emitted += 1

    def release_time_ns(self) -> int:
        return max(self._last_ns, min(self.until_ns, time.monotonic_ns()))

    def observe(self, kind: int, detail: int, t_ns: int, place: tuple[int, int], state: int) -> None:
        raise NotImplementedError

    def release_all(self) -> None:
        raise NotImplementedError


class _PointerTap(_Tap):
    def __init__(self, sink: InputSink, clock: ServerClock, displays: Callable[[], tuple[Display, ...]]) -> None:
        super().__init__(sink, clock)
        self._displays = displays
        self._down: set[int] = set()
        self._place = (0, 0)

    def observe(self, kind: int, detail: int, t_ns: int, place: tuple[int, int], state: int) -> None:
        x, y = self._place = place
        display = display_at(self._displays(), x, y)
        if kind == X.MotionNotify:
            self.emit(PointerMoved(t_ns=t_ns, seq=0, x=x, y=y, display=display))
        elif kind in (X.ButtonPress, X.ButtonRelease) and detail in WHEEL:
            if kind == X.ButtonPress:
                dx, dy = WHEEL[detail]
                self.emit(PointerScrolled(t_ns=t_ns, seq=0, x=x, y=y, dx=dx, dy=dy, display=display))
        elif kind == X.ButtonPress:
            self._down.add(detail)
            self.emit(PointerButton(t_ns=t_ns, seq=0, x=x, y=y, button=detail, pressed=True, display=display))
        elif kind == X.ButtonRelease and detail in self._down:
            self._down.discard(detail)
            self.emit(PointerButton(t_ns=t_ns, seq=0, x=x, y=y, button=detail, pressed=False, display=display))
        else:
            self.filtered += 1

    def release_all(self) -> None:
        t_ns, (x, y) = self.release_time_ns(), self._place
        display = display_at(self._displays(), x, y)
        for button in sorted(self._down):
            self.emit(PointerButton(t_ns=t_ns, seq=0, x=x, y=y, button=button, pressed=False, display=display))
        self._down.clear()


class _KeyboardTap(_Tap):
    """A release says what its press said, whatever modifiers were let go between.

    In mode `shape` a key that repeats is told as released and pressed again: without codes, a repeat could not be told
    from another key.
    """

    def __init__(self, sink: InputSink, clock: ServerClock, mode: KeyboardMode, keyboard: _Keyboard) -> None:
        super().__init__(sink, clock)
        self._mode = mode
        self._keyboard = keyboard
        self._down: dict[int, tuple[KeySymbol, int, bool]] = {}

    def observe(self, kind: int, detail: int, t_ns: int, place: tuple[int, int], state: int) -> None:
        if kind == X.KeyPress:
            symbol, base = self._keyboard.symbol(detail, state)
            known = self._down.get(detail)
            if known is not None and self._mode is KeyboardMode.SHAPE:
                self._tell(detail, known, t_ns, pressed=False)
            self._down[detail] = (symbol, base, is_shortcut(state, self._keyboard.masks))
            self._tell(detail, self._down[detail], t_ns, pressed=True)
        elif kind == X.KeyRelease and detail in self._down:
            self._tell(detail, self._down.pop(detail), t_ns, pressed=False)
        else:
            self.filtered += 1

    def release_all(self) -> None:
        t_ns = self.release_time_ns()
        for keycode, known in self._down.items():
            self._tell(keycode, known, t_ns, pressed=False)
        self._down.clear()

    def _tell(self, keycode: int, known: tuple[KeySymbol, int, bool], t_ns: int, *, pressed: bool) -> None:
        symbol, base, shortcut = known
        code = keycode - EVDEV_OFFSET
        self.emit(key_event(self._mode, symbol, base, pressed=pressed, shortcut=shortcut, code=code, t_ns=t_ns))


def display_at(displays: tuple[Display, ...], x: int, y: int) -> int:
    """The id of the display that shows a point; the first one's when none does."""
    for display in displays:
        r = display.rect
        if r.x <= x < r.x + r.width and r.y <= y < r.y + r.height:
            return display.id
    return displays[0].id if displays else 0


class _Keyboard:
    """Which symbols the keys carry now, and which state bits are which modifiers."""

    def __init__(self, connection: Connection) -> None:
        self._symbols = _symbol_table()
        self.masks = ModifierMasks()
        self._keysyms: Mapping[int, tuple[int, ...]] = {}
        self.load(connection)

    def load(self, connection: Connection) -> None:
        """Ask the server. Readers in other threads see the old or the new mapping, whole."""
        first, last = connection.display.info.min_keycode, connection.display.info.max_keycode
        rows = connection.get_keyboard_mapping(first, last - first + 1)
        keysyms = {first + i: tuple(row) for i, row in enumerate(rows)}
        bits = dict.fromkeys(_MODIFIER_KEYS, 0)
        for index, keycodes in enumerate(connection.get_modifier_mapping()):
            for keycode in keycodes:
                for name, wanted in _MODIFIER_KEYS.items():
                    if wanted & set(keysyms.get(keycode, ())):
                        bits[name] |= 1 << index
        self.masks = ModifierMasks(
            alt=bits["alt"], super=bits["super"], num_lock=bits["num_lock"], level3=bits["level3"]
        )
        self._keysyms = keysyms

    def symbol(self, keycode: int, state: int) -> tuple[KeySymbol, int]:
        """What a key means in a state, and the key's first symbol."""
        keysyms = self._keysyms.get(keycode, ())
        index = symbol_index(keysyms, state, self.masks)
        keysym = keysyms[index] if index < len(keysyms) else 0
        base = keysyms[0] if keysyms else 0
        known = self._symbols.get(keysym)
        if known is None:
            known = KeySymbol(keysym, f"0x{keysym:x}", keysym_char(keysym))
        if state & X.LockMask and len(known.char) == 1 and index % 2 and len(keysyms) > 1 and keysyms[1] == keysyms[0]:
            known = KeySymbol(keysym, known.name, known.char.upper())
        return known, base


_MODIFIER_KEYS = {
    "alt": {XK.XK_Alt_L, XK.XK_Alt_R, XK.XK_Meta_L, XK.XK_Meta_R},
    "super": {XK.XK_Super_L, XK.XK_Super_R, XK.XK_Hyper_L, XK.XK_Hyper_R},
    "num_lock": {XK.XK_Num_Lock},
    "level3": {0xFE03, XK.XK_Mode_switch},  # ISO_Level3_Shift
}


def _symbol_table() -> dict[int, KeySymbol]:
    """Names and characters of keysyms, from the tables of python-xlib and pynput."""
    from pynput._util.xorg_keysyms import SYMBOLS  # noqa: PLC0415 - pynput needs a display when it is imported

    table = {
        value: KeySymbol(value, name.removeprefix("XK_"), keysym_char(value))
        for name, value in vars(XK).items()
        if name.startswith("XK_") and isinstance(value, int)
    }
    for name, (keysym, char) in SYMBOLS.items():
        table.setdefault(keysym, KeySymbol(keysym, name, char if char and len(char) == 1 else ""))
    return table


def _listener_types() -> dict[str, type[Any]]:
    """pynput's listeners, extended as the module says. Made on first use: importing pynput needs a display."""
    from pynput import keyboard, mouse  # noqa: PLC0415

    class Recording:
        """What both have in common; goes before pynput's class."""

        _tap: _Tap

        def _run(self) -> None:
            try:
                super()._run()  # type: ignore[misc]
            except Exception as error:
                self._tap.failure = self._tap.failure or f"{type(error).__name__}"
            if self._running:  # type: ignore[attr-defined]
                self._tap.failure = self._tap.failure or "the X server ended the recording"

        def _handler(self, reply: Any) -> None:
            if reply.category == record.StartOfData:
                self._tap.ready.set()
            elif reply.category == record.FromServer:
                try:
                    self._tap.take(bytes(reply.data))
                except Exception as error:
                    self._tap.failure = f"an event could not be handed over: {type(error).__name__}"
                    raise

        def _stop_platform(self) -> None:
            self.wait()  # type: ignore[attr-defined]
            self._tap.disable(self._context)  # type: ignore[attr-defined]

    class PointerListener(Recording, mouse.Listener):  # type: ignore[misc]
        _EVENTS = (X.ButtonPress, X.MotionNotify)

        def __init__(self, tap: _Tap) -> None:
            super().__init__()
            self._tap = tap

    class KeyboardListener(Recording, keyboard.Listener):  # type: ignore[misc]
        _EVENTS = (X.KeyPress, X.KeyRelease)

        def __init__(self, tap: _Tap) -> None:
            super().__init__()
            self._tap = tap

        def _initialize(self, display: Any) -> None:
            """The mapping is kept by `_Keyboard`, which follows its changes."""

    return {POINTER: PointerListener, KEYBOARD: KeyboardListener}


class _Hurry(threading.Thread):
    """Makes the server hand over recorded events soon, and follows changes of the keyboard mapping."""

    def __init__(self, keyboard: _Keyboard) -> None:
        super().__init__(name="assent-input-hurry", daemon=True)
        self._keyboard = keyboard
        self._connection = Connection()
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            while not self._ended.wait(HURRY_S):
                self._connection.get_input_focus()
                changed = False
                while self._connection.pending_events():
                    changed |= self._connection.next_event().type == X.MappingNotify
                if changed:
                    self._keyboard.load(self._connection)
            self._connection.close()
        except CONNECTION_LOST:
            pass  # the listeners notice the same loss, and say so

    def end(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join(READY_S)
