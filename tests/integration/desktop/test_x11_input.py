"""Real input on a real X server, sent by xdotool and by XTEST, observed by the X11 input source."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from tests.simulators.desktop import Desktop, wait_until
from Xlib import X
from Xlib.display import Display as Connection
from Xlib.ext import xtest

from assent.contracts.events import (
    Display,
    KeyboardMode,
    KeyClass,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    Rect,
)
from assent_agent.adapters.x11_input import STALL_NS, X11Input
from assent_agent.adapters.x11_time import measure, server_stamp, unwrap
from assent_agent.ports import KEYBOARD, POINTER, CaptureUnavailable, InputEvent

pytestmark = pytest.mark.x11

SCREEN = (Display(0, Rect(0, 0, 640, 800)), Display(1, Rect(640, 0, 640, 800)))
MARKER = "quixotic7"
T = TypeVar("T", PointerMoved, PointerButton, PointerScrolled, KeyEvent)


class Recorded:
    """A sink that keeps what it was given, and which moment it was."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.lags_ns: list[int] = []

    def __call__(self, event: InputEvent) -> None:
        self.lags_ns.append(time.monotonic_ns() - event.t_ns)
        self.events.append(event)

    def of(self, kind: type[T]) -> list[T]:
        return [e for e in self.events if isinstance(e, kind)]


@pytest.fixture
def source(desktop: Desktop) -> Iterator[X11Input]:
    desktop.xdotool("mousemove", 1, 1)
    source = X11Input(lambda: SCREEN)
    yield source
    source.stop()


@pytest.fixture
def fake(desktop: Desktop) -> Iterator[Callable[..., None]]:
    """Act through XTEST on one connection. `done`: also wait until the server has done it, which makes it talk to us;
    and until its millisecond is over.
    """
    connection = Connection(desktop.display)

    def act(kind: int, detail: int = 0, x: int = 0, y: int = 0, *, done: bool = False) -> None:
        xtest.fake_input(connection, kind, detail, x=x, y=y)
        if done:
            connection.sync()
            time.sleep(0.005)
        else:
            connection.flush()

    yield act
    connection.close()


def test_moves_clicks_and_scrolls_arrive_complete_and_in_order(desktop: Desktop, source: X11Input) -> None:
    got = Recorded()
    source.start(got, {POINTER}, KeyboardMode.OFF)
    moves = [("mousemove", str(100 + i), "200") for i in range(40)]
    desktop.xdotool(*(word for move in moves for word in move))
    desktop.xdotool("mousemove", 700, 300, "click", 1, "click", 3, "click", 4, "click", 5, "click", 6, "click", 7)
    wait_until(lambda: len(got.events) >= 49, "49 pointer events")
    source.stop()
    assert [(e.x, e.y) for e in got.of(PointerMoved)] == [(100 + i, 200) for i in range(40)] + [(700, 300)]
    assert [(e.button, e.pressed, e.display) for e in got.of(PointerButton)] == [
        (1, True, 1),
        (1, False, 1),
        (3, True, 1),
        (3, False, 1),
    ]
    assert [(e.dx, e.dy) for e in got.of(PointerScrolled)] == [(0, 1), (0, -1), (-1, 0), (1, 0)]
    assert all(e.display == 0 for e in got.of(PointerMoved)[:40])
    times = [e.t_ns for e in got.events]
    assert times == sorted(times)
    assert len(got.events) == 49


def test_the_stamp_is_the_servers_time_of_the_act_not_of_the_callback(desktop: Desktop, source: X11Input) -> None:
    got = Recorded()

    def slow(event: InputEvent) -> None:
        time.sleep(0.01)
        got(event)

    source.start(slow, {POINTER}, KeyboardMode.OFF)
    connection = Connection(desktop.display)
    acts = []
    for i in range(60):
        before = time.monotonic_ns()
        xtest.fake_input(connection, X.MotionNotify, x=300 + i, y=100)
        connection.sync()
        acts.append((before, time.monotonic_ns()))
    connection.close()
    wait_until(lambda: len(got.events) == len(acts), "60 moves")
    for event, (before, after) in zip(got.events, acts, strict=True):
        assert before - 1_000_000 < event.t_ns <= after, "within the act, rounded down to its millisecond"
    assert max(got.lags_ns) > 100_000_000, "although the callbacks came much later"
    assert source.health().resolution_ns == 1_000_000
    assert source.health().emitted == {POINTER: 60}


def test_events_arrive_soon_although_nobody_else_talks_to_the_server(
    source: X11Input, fake: Callable[..., None]
) -> None:
    got = Recorded()
    source.start(got, {POINTER}, KeyboardMode.OFF)
    fake(X.MotionNotify, x=321, y=99)
    wait_until(lambda: got.events, "one move, without any other traffic", timeout_s=5)


def test_a_burst_loses_nothing(source: X11Input, desktop: Desktop) -> None:
    got = Recorded()
    source.start(got, {POINTER}, KeyboardMode.OFF)
    connection = Connection(desktop.display)
    for i in range(5_000):
        xtest.fake_input(connection, X.MotionNotify, x=i % 1200, y=(i // 1200) + 10)
        if i % 50 == 0:
            connection.sync()
    connection.sync()
    wait_until(lambda: len(got.events) >= 5_000, "5,000 moves")
    connection.close()
    assert [e.x for e in got.events] == [i % 1200 for i in range(5_000)]
    assert source.health().emitted == {POINTER: 5_000}


def test_events_that_come_too_late_are_counted_as_a_stall(source: X11Input, fake: Callable[..., None]) -> None:
    got, held, sent = Recorded(), threading.Event(), itertools.count(30)
    held.set()

    def slow(event: InputEvent) -> None:
        got(event)
        held.wait(60)

    def move() -> None:
        fake(X.MotionNotify, x=next(sent), y=60, done=True)

    def in_time() -> bool:
        """A move that came so soon that it is no stall, and was none. A busy machine may need some tries."""
        count, stalls = len(got.events), source.health().stalls
        move()
        wait_until(lambda: len(got.events) > count, "a move")
        if got.lags_ns[count] > STALL_NS // 2:
            return False
        assert source.health().stalls == stalls
        return True

    source.start(slow, {POINTER}, KeyboardMode.OFF)
    wait_until(in_time, "a move that comes in time")
    stalls, count = source.health().stalls, len(got.events)
    held.clear()
    move()
    wait_until(lambda: len(got.events) > count, "the move that holds the next one up")
    move()
    time.sleep(2 * STALL_NS / 1e9)
    held.set()
    wait_until(lambda: len(got.events) == count + 2, "the move that waited")
    assert source.health().stalls == stalls + 1, "counted once"


def test_text_mode_says_every_key_with_its_codes(desktop: Desktop, source: X11Input) -> None:
    desktop.xterm("typing")
    got = Recorded()
    source.start(got, {KEYBOARD}, KeyboardMode.TEXT)
    desktop.xdotool("type", "--delay", 5, "aB 3;")
    desktop.xdotool("key", "Return", "F5", "Left", "ctrl+c")
    wait_until(lambda: [e for e in got.of(KeyEvent) if e.key == "Control_L" and not e.pressed], "the end of ctrl+c")
    source.stop()
    pressed = [e for e in got.of(KeyEvent) if e.pressed]
    told = [(e.key, e.code, e.vk) for e in pressed if not e.key.startswith("Shift")]
    assert told == [
        ("a", 30, 0x41),
        ("B", 48, 0x42),
        ("space", 57, 0x20),
        ("3", 4, 0x33),
        (";", 39, 0xBA),
        ("Return", 28, 0x0D),
        ("F5", 63, 0x74),
        ("Left", 105, 0x25),
        ("Control_L", 29, 0xA2),
        ("c", 46, 0x43),
    ]
    ups = [e for e in got.events if not e.pressed]
    assert sorted(e.code for e in ups) == sorted(e.code for e in pressed), "every key that went down came up"


def test_shape_mode_never_tells_a_letter_but_shortcuts_in_full(desktop: Desktop, source: X11Input) -> None:
    desktop.xterm("shape")
    shape, text = Recorded(), Recorded()
    source.start(shape, {KEYBOARD}, KeyboardMode.SHAPE)
    control = X11Input(lambda: SCREEN)
    control.start(text, {KEYBOARD}, KeyboardMode.TEXT)
    desktop.xdotool("type", "--delay", 5, MARKER)
    desktop.xdotool("key", "BackSpace", "Return", "ctrl+shift+t")
    wait_until(lambda: [e for e in text.of(KeyEvent) if e.key == "Control_L" and not e.pressed], "the shortcut")
    wait_until(lambda: len(shape.events) == len(text.events), "as many keys in both")
    source.stop()
    control.stop()
    typed = "".join(e.key for e in text.events if e.pressed)
    assert MARKER in typed, "the search finds the marker where it may be"
    plain = [e for e in shape.events if e.key not in ("Control_L", "Shift_L", "T", "t")]
    assert {e.key for e in plain} <= {c.value for c in KeyClass}
    assert all(e.code == 0 and e.vk == 0 for e in plain)
    downs = [e.key for e in plain if e.pressed]
    assert downs[: len(MARKER)] == ["letter"] * 8 + ["digit"]
    assert downs[len(MARKER) : len(MARKER) + 2] == ["delete", "enter"]
    assert [(e.key.lower(), e.code, e.vk) for e in shape.events if e.pressed][-1] == ("t", 20, 0x54)
    assert len(shape.events) == len(text.events)


def test_what_happens_before_the_start_or_after_the_stop_is_not_handed_over(
    source: X11Input, fake: Callable[..., None]
) -> None:
    got = Recorded()
    for x in range(50):
        fake(X.MotionNotify, x=x + 10, y=5, done=x == 49)
    source.start(got, {POINTER}, KeyboardMode.OFF)
    fake(X.MotionNotify, x=900, y=600)
    wait_until(lambda: got.events, "the move between")
    stopping = threading.Event()

    def keep_moving() -> None:
        x = 0
        while not stopping.is_set():
            x = (x + 1) % 500
            fake(X.MotionNotify, x=x, y=700)

    mover = threading.Thread(target=keep_moving)
    mover.start()
    wait_until(lambda: len(got.events) > 100, "moves")
    asked_ns = time.monotonic_ns()
    source.stop()
    seen = len(got.events)
    stopping.wait(0.1)
    stopping.set()
    mover.join()
    assert got.events[0].x == 900
    assert len(got.events) == seen
    assert max(e.t_ns for e in got.events) <= asked_ns + 1_000_000


def test_stopping_hands_over_what_the_server_still_holds(source: X11Input, fake: Callable[..., None]) -> None:
    got = Recorded()
    source.start(got, {POINTER}, KeyboardMode.OFF)
    for x in range(20):
        fake(X.MotionNotify, x=x + 40, y=5, done=x == 19)
    source.stop()
    assert [e.x for e in got.events] == [x + 40 for x in range(20)]


def test_keys_and_buttons_still_down_at_the_stop_are_released(source: X11Input, fake: Callable[..., None]) -> None:
    got = Recorded()
    source.start(got, {POINTER, KEYBOARD}, KeyboardMode.TEXT)
    try:
        fake(X.MotionNotify, x=600, y=700)
        fake(X.KeyPress, 50)
        fake(X.ButtonPress, 2)
        wait_until(lambda: len(got.events) >= 3, "a key and a button going down")
        source.stop()
    finally:
        fake(X.KeyRelease, 50)
        fake(X.ButtonRelease, 2, done=True)
    assert [(e.key, e.pressed) for e in got.of(KeyEvent)] == [("Shift_L", True), ("Shift_L", False)]
    assert [(e.button, e.pressed) for e in got.of(PointerButton)] == [(2, True), (2, False)]
    got.events.clear()
    source.start(got, {KEYBOARD}, KeyboardMode.TEXT)
    fake(X.KeyRelease, 50)
    fake(X.KeyPress, 38)
    fake(X.KeyRelease, 38)
    wait_until(lambda: len(got.events) == 2, "one key")
    assert [e.key for e in got.of(KeyEvent)] == ["a", "a"], "a release without its press is not told"


def test_only_the_modalities_that_were_asked_for_are_observed(source: X11Input, fake: Callable[..., None]) -> None:
    got = Recorded()
    source.start(got, {POINTER}, KeyboardMode.OFF)
    fake(X.KeyPress, 38)
    fake(X.KeyRelease, 38)
    fake(X.MotionNotify, x=77, y=700)
    wait_until(lambda: got.of(PointerMoved), "the move")
    source.stop()
    assert got.of(KeyEvent) == []
    with pytest.raises(ValueError, match="contradict"):
        source.start(got, {KEYBOARD}, KeyboardMode.OFF)
    with pytest.raises(ValueError, match="modalities"):
        source.start(got, {"screen"}, KeyboardMode.OFF)


def test_a_layout_change_is_followed(desktop: Desktop, source: X11Input, fake: Callable[..., None]) -> None:
    got = Recorded()
    source.start(got, {KEYBOARD}, KeyboardMode.TEXT)
    try:
        desktop.run("setxkbmap", "de")

        def typed() -> bool:
            fake(X.KeyPress, 47)
            fake(X.KeyRelease, 47)
            return any(e.key == "ö" for e in got.of(KeyEvent))

        wait_until(typed, "the German letter on that key")
        fake(X.KeyPress, 108)
        fake(X.KeyPress, 24)
        fake(X.KeyRelease, 24)
        fake(X.KeyRelease, 108)
        level3 = "ISO_Level3_Shift"
        wait_until(lambda: [e for e in got.of(KeyEvent) if e.key == level3 and not e.pressed], "AltGr and q")
        assert [e.key for e in got.of(KeyEvent)][-4:] == [level3, "@", "@", level3]
    finally:
        desktop.run("setxkbmap", "us")


def test_altgr_types_a_sign_and_is_no_shortcut_in_shape_mode(
    desktop: Desktop, source: X11Input, fake: Callable[..., None]
) -> None:
    desktop.run("setxkbmap", "de")
    try:
        got = Recorded()
        source.start(got, {KEYBOARD}, KeyboardMode.SHAPE)
        for kind, key in ((X.KeyPress, 108), (X.KeyPress, 24), (X.KeyRelease, 24), (X.KeyRelease, 108)):
            fake(kind, key)
        wait_until(lambda: len(got.events) >= 4, "AltGr and q")
        assert [e.key for e in got.of(KeyEvent)] == ["modifier", "punctuation", "punctuation", "modifier"]
    finally:
        desktop.run("setxkbmap", "us")


def test_a_server_that_goes_away_is_seen_in_the_health(monkeypatch: pytest.MonkeyPatch) -> None:
    with Desktop(manager=False) as alone:
        monkeypatch.setenv("DISPLAY", alone.display)
        source = X11Input(lambda: SCREEN)
        source.start(Recorded(), {POINTER}, KeyboardMode.OFF)
        assert source.health().running
        alone.close()
        wait_until(lambda: not source.health().running, "the loss to be noticed")
        assert source.health().failure
        source.stop()
        with pytest.raises(CaptureUnavailable, match="X server"):
            source.start(Recorded(), {POINTER}, KeyboardMode.OFF)


def test_a_sink_that_fails_stops_the_source_visibly(source: X11Input, fake: Callable[..., None]) -> None:
    def refuse(event: InputEvent) -> None:
        raise MemoryError

    source.start(refuse, {POINTER}, KeyboardMode.OFF)
    fake(X.MotionNotify, x=50, y=60)
    wait_until(lambda: not source.health().running, "the source to end")
    assert "MemoryError" in source.health().failure


def test_the_servers_clock_is_this_machines_monotonic_clock(desktop: Desktop) -> None:
    connection = Connection(desktop.display)
    clock = measure(connection)
    stamp = server_stamp(connection)
    connection.close()
    assert clock.offset_ms == 0
    assert abs(clock.monotonic_ns(stamp, time.monotonic_ns()) - time.monotonic_ns()) < 1_000_000_000


@pytest.mark.parametrize("wraps", [0, 1, 7])
@pytest.mark.parametrize("late_ms", [0, 1, 250, 86_400_000])
def test_times_go_on_when_the_servers_32_bits_wrap(wraps: int, late_ms: int) -> None:
    for true_ms in (wraps * 2**32 + 100_000_000, wraps * 2**32 + 2**32 - 1, (wraps + 1) * 2**32, 2**33 + 5):
        assert unwrap(true_ms % 2**32, true_ms + late_ms) == true_ms


def test_subprocesses_of_a_desktop_end_with_it() -> None:
    with Desktop() as short:
        process = short.spawn("xterm", "-e", "cat")
        short.window(".*")
    assert process.poll() is not None
    assert subprocess.run(["xdpyinfo", "-display", short.display], capture_output=True, check=False).returncode != 0
