"""The indicator on a real desktop, seen in screenshots and clicked with xdotool."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulators.desktop import Desktop, wait_until

from assent.contracts.events import Display, Rect
from assent_agent.adapters.screen import MssScreen
from assent_agent.core.screens import Pixels

pytestmark = pytest.mark.x11

ROOT = Path(__file__).parents[3]
STATES = ("recording", "paused", "off", "trouble")


class Program:
    """The indicator in a process of its own."""

    def __init__(self, desktop: Desktop, stale_s: float = 600.0) -> None:
        self.said: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulators.tray_program", str(stale_s)],
            cwd=ROOT,
            env=desktop.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def show(self, state: str, **facts: Any) -> None:
        told = {"state": state, "consented": state != "off", **facts}
        if state == "recording":
            told.setdefault("modalities", ["pointer", "keyboard", "screen", "context"])
        self._send(told)

    def remove(self) -> int:
        self._send("remove")
        return self._process.wait(60)

    def wants(self) -> list[dict[str, Any]]:
        return [line for line in self.said if "wants" in line]

    def shown(self) -> bool | None:
        told = [line["shown"] for line in self.said if "shown" in line]
        return told[-1] if told else None

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(60)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _send(self, told: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self.said.append(json.loads(line))
        except ValueError:
            pass  # the pipe was closed


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    with Desktop(tray=True) as desktop:
        monkeypatch.setenv("DISPLAY", desktop.display)
        yield desktop


@pytest.fixture
def hostless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desktop]:
    with Desktop() as desktop:
        monkeypatch.setenv("DISPLAY", desktop.display)
        yield desktop


def look(area: Rect) -> Pixels:
    screen = MssScreen()
    try:
        return screen.grab(Display(0, area)).pixels
    finally:
        screen.close()


TRAY = Rect(1120, 0, 160, 28)
BADGE = Rect(1130, 740, 150, 60)


def changed(area: Rect, before: Pixels) -> Pixels | None:
    now = look(area)
    return now if int(np.count_nonzero((now != before).any(axis=-1))) > 20 else None


CALM_LOOKS = 5
LOST_S = 5.0
"""When a key of which nothing was seen counts as lost."""


def settled(area: Rect, *others: Pixels) -> Pixels | None:
    """A picture that stays as it is, and is not one of the others: a desktop may redraw late, and in steps."""
    now = look(area)
    if any(int((now != other).any(axis=-1).sum()) <= 60 for other in others):
        return None
    return now if all(np.array_equal(now, look(area)) for _ in range(CALM_LOOKS)) else None


def see_states(program: Program, area: Rect, empty: Pixels) -> dict[str, Pixels]:
    """The picture of each state, once it is drawn; every one differs from all before it."""
    at_first: list[Pixels] = []

    def begun() -> bool:
        at_first[:] = [now for now in [settled(area, empty)] if now is not None]
        return bool(at_first)

    wait_until(begun, "the first picture")
    seen: dict[str, Pixels] = {}
    for state in STATES:
        program.show(state, because="The certificate has ended" if state == "trouble" else "")

        def drawn(state: str = state) -> bool:
            others = [empty, *seen.values()] if state == "off" else [empty, *at_first, *seen.values()]
            now = settled(area, *others)
            if now is None or (state == "recording") is not (red(now) > 100):
                return False
            seen[state] = now
            return True

        wait_until(drawn, f"a picture of {state} of its own")
    return seen


def red(pixels: Pixels) -> int:
    strong = pixels[..., 2].astype(int) - pixels[..., 1]
    return int(np.count_nonzero(strong > 90))


def test_each_state_has_a_picture_of_its_own_in_the_tray(hosted: Desktop) -> None:
    empty = look(TRAY)
    program = Program(hosted)
    try:
        wait_until(program.shown, "the indicator to say it is shown")
        seen = see_states(program, TRAY, empty)
        for one in STATES:
            for other in STATES:
                if one < other:
                    assert (seen[one] != seen[other]).any(axis=-1).sum() > 60, (one, other)
        assert red(seen["recording"]) > 100
        assert red(seen["off"]) == 0
        assert program.remove() == 0
        wait_until(lambda: {"ended": True, "shown_at_the_end": False} in program.said, "the end")
    finally:
        program.close()


def open_menu(desktop: Desktop) -> int:
    """The menu's window, 0 while there is none."""
    try:
        found = desktop.xdotool("search", "--onlyvisible", "--class", "assent|python|tray_program").splitlines()
    except subprocess.CalledProcessError:
        return 0
    return next((int(w) for w in found if geometry(desktop, int(w))["HEIGHT"] > 150), 0)


def menu_window(desktop: Desktop) -> int:
    return wait_until(lambda: open_menu(desktop), "the menu")


def geometry(desktop: Desktop, window: int) -> dict[str, int]:
    try:
        told = desktop.xdotool("getwindowgeometry", "--shell", window)
    except subprocess.CalledProcessError:
        return {"HEIGHT": 0, "WIDTH": 0, "X": 0, "Y": 0}
    return {k: int(v) for k, v in (line.split("=") for line in told.split())}


def walk_up(desktop: Desktop, menu: Rect) -> None:
    """One item up, which is seen. A menu that has just come may not have the keyboard yet: then again."""
    before = wait_until(lambda: [now for now in [settled(menu)] if now is not None], "a menu that is drawn")[0]

    def moved() -> bool:
        desktop.xdotool("key", "Up")
        lost = time.monotonic() + LOST_S
        while not (seen := changed(menu, before) is not None) and time.monotonic() < lost:
            time.sleep(0.01)
        return seen

    wait_until(moved, "another item to be the chosen one")


def choose(desktop: Desktop, program: Program, from_the_end: int) -> dict[str, Any]:
    """Open the tray menu, walk up from its end by keyboard, and take that item."""
    before = len(program.wants())
    wait_until(lambda: not open_menu(desktop), "the last menu to be gone")
    desktop.xdotool("mousemove", 1262 if before % 2 else 1274, 14, "click", 3)  # two clicks in one place are a double
    at = geometry(desktop, menu_window(desktop))
    area = Rect(at["X"], at["Y"], at["WIDTH"], at["HEIGHT"])
    for _ in range(from_the_end):
        walk_up(desktop, area)
    desktop.xdotool("key", "Return")
    wait_until(lambda: len(program.wants()) > before, "the wish to be told")
    return program.wants()[-1]


def test_the_menu_can_be_opened_and_clicked_and_tells_what_the_person_wants(hosted: Desktop) -> None:
    program = Program(hosted)
    try:
        program.show("recording", arrived_s={"pointer": 0.2}, held_minutes=12)
        wait_until(program.shown, "the indicator")
        wait_until(lambda: red(look(TRAY)) > 100, "the recording icon")
        hosted.xdotool("mousemove", 1268, 14, "click", 3)
        at = geometry(hosted, menu_window(hosted))
        hosted.xdotool("mousemove", at["X"] + 60, at["Y"] + at["HEIGHT"] - 18, "click", 1)
        wait_until(program.wants, "quit to be told")
        assert program.wants() == [{"wants": "QuitAsked"}]
        assert choose(hosted, program, 2) == {"wants": "PageAsked", "page": "who accessed"}
        assert choose(hosted, program, 3) == {"wants": "PageAsked", "page": "my recordings"}
        assert choose(hosted, program, 4) == {"wants": "PageAsked", "page": "my consent"}
        assert choose(hosted, program, 5) == {"wants": "ForgetAsked", "minutes": 10}
        assert choose(hosted, program, 6) == {"wants": "PauseAsked", "seconds": None}
        assert choose(hosted, program, 7) == {"wants": "PauseAsked", "seconds": 3600}
        assert choose(hosted, program, 8) == {"wants": "PauseAsked", "seconds": 300}
        assert choose(hosted, program, 9) == {"wants": "ConsentSwitched", "on": False}
        program.show("paused")
        wait_until(lambda: red(look(TRAY)) < 100, "the paused icon")
        assert choose(hosted, program, 6) == {"wants": "ResumeAsked"}
        program.show("off")
        wait_until(lambda: choose(hosted, program, 5) == {"wants": "ConsentSwitched", "on": True}, "the switch")
    finally:
        program.close()


def test_a_badge_is_shown_where_no_tray_host_is(hostless: Desktop) -> None:
    empty = look(BADGE)
    program = Program(hostless)
    try:
        wait_until(program.shown, "the indicator")
        seen = see_states(program, BADGE, empty)
        assert red(seen["recording"]) > 100
        work = hostless.xterm("covers all", at=(0, 0), size="200x60")
        program.show("recording")
        wait_until(lambda: red(look(BADGE)) > 100, "the badge above the window that covers all")
        assert hostless.xdotool("getwindowfocus") == str(work), "the badge does not take the keyboard"
        hostless.xdotool("mousemove", 1200, 770, "click", 1)
        at = geometry(hostless, menu_window(hostless))
        hostless.xdotool("mousemove", at["X"] + 60, at["Y"] + at["HEIGHT"] - 18, "click", 1)
        wait_until(program.wants, "quit to be told")
        assert program.wants() == [{"wants": "QuitAsked"}]
    finally:
        program.close()


def test_the_badge_comes_when_the_tray_host_goes(hosted: Desktop) -> None:
    empty = look(BADGE)
    program = Program(hosted)
    try:
        wait_until(program.shown, "the indicator")
        wait_until(lambda: np.array_equal(look(BADGE), empty), "no badge while the tray shows the icon")
        trayer = next(p for p in hosted.running() if p.args[0] == "trayer")  # type: ignore[index]
        hosted.end(trayer)
        wait_until(lambda: changed(BADGE, empty) is not None, "the badge")
        wait_until(program.shown, "the indicator to say it is shown")
    finally:
        program.close()


def test_a_badge_that_cannot_be_seen_is_not_shown(hostless: Desktop) -> None:
    program = Program(hostless)
    try:
        wait_until(program.shown, "the badge")
        badge = hostless.window("^Assent$")
        hostless.xdotool("windowunmap", badge)
        wait_until(lambda: any(line.get("shown") is False for line in program.said[1:]), "the loss to be told")
        wait_until(program.shown, "the badge to come back by itself")
    finally:
        program.close()


def test_an_indicator_that_nobody_keeps_true_says_so(hosted: Desktop) -> None:
    program = Program(hosted, stale_s=4.0)
    try:

        def recording() -> bool:
            program.show("recording")
            return red(look(TRAY)) > 100

        wait_until(recording, "the recording icon")
        wait_until(lambda: red(look(TRAY)) == 0, "the icon to stop claiming that it records")
    finally:
        program.close()


FALSE_HOST = """
import time
from Xlib import X, display
d = display.Display()
w = d.screen().root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
w.set_selection_owner(d.intern_atom("_NET_SYSTEM_TRAY_S0"), X.CurrentTime)
d.sync()
time.sleep(60)
"""


def test_a_tray_host_that_takes_no_icon_in_is_not_believed(hostless: Desktop, tmp_path: Path) -> None:
    host = tmp_path / "host.py"
    host.write_text(FALSE_HOST)
    hostless.spawn(sys.executable, str(host))
    wait_until(hostless.tray_ready, "the false host")
    empty = look(BADGE)
    program = Program(hostless)
    try:
        wait_until(program.shown, "the indicator")
        wait_until(lambda: changed(BADGE, empty) is not None, "the badge, since it is that which is shown")
    finally:
        program.close()
