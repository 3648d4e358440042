"""A monitor that the person took away, on a real X server with several: nothing of it is recorded, and nobody learns
which one it was, or that there was one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulators.agent_device import AGENT, Device, a_device
from tests.simulators.agents import PURPOSE, opened, wait_until
from tests.simulators.desktop import Desktop

from assent.codec.content import pictures
from assent.contracts.events import (
    DisplaysChanged,
    GapReason,
    KeyEvent,
    PointerButton,
    PointerMoved,
    PointerScrolled,
    Rect,
    ScreenFrame,
    WindowActivated,
)

pytestmark = pytest.mark.x11

LEFT, RIGHT = (0, 0, 500, 600), (500, 0, 400, 600)
EDID = b"EDID of the monitor at home"


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    with Desktop((900, 600), tray=True) as made:
        made.monitors(eDP_1=LEFT, HDMI_1=RIGHT)
        yield made


@pytest.fixture
def device(tmp_path: Path, desktop: Desktop) -> Iterator[Device]:
    with a_device(tmp_path, desktop.env, application="xterm") as device:
        device.enrol()
        every = [word for m in ("pointer", "keyboard", "screen", "context") for word in ("--modality", m)]
        device.command("consent", "give", *every, "--keyboard-mode", "text", "--purpose", PURPOSE, "--yes")
        yield device


@dataclass
class Recorded:
    """Everything that reached the collector, opened."""

    frames: list[tuple[ScreenFrame, Any]] = field(default_factory=list)
    pointer: list[PointerMoved | PointerButton | PointerScrolled] = field(default_factory=list)
    keys: str = ""
    windows: list[WindowActivated] = field(default_factory=list)
    displays: list[DisplaysChanged] = field(default_factory=list)
    gaps: list[tuple[str, GapReason, int]] = field(default_factory=list)
    text: str = ""

    def colours(self, rgb: tuple[int, int, int]) -> int:
        return sum(int(np.count_nonzero((pixels == rgb).all(axis=-1))) for _, pixels in self.frames)

    @property
    def titles(self) -> set[str]:
        return {window.title for window in self.windows}


def recorded(device: Device) -> Recorded:
    device.asks({"do": "pause"})
    device.asks({"do": "send"})
    wait_until(lambda: device.asks({"do": "status"})["segments_waiting"] == 0, "sent")
    found = Recorded(text=repr(device.desk.heard))
    for content in opened(device.desk, device.world):
        found.text += repr(content)
        found.gaps += [(content.modality, gap.reason, gap.count) for gap in content.gaps]
        found.frames += pictures(content)
        for event in content.events:
            match event:
                case KeyEvent(pressed=True):
                    found.keys += event.key if len(event.key) == 1 else " "
                case PointerMoved() | PointerButton() | PointerScrolled():
                    found.pointer.append(event)
                case WindowActivated():
                    found.windows.append(event)
                case DisplaysChanged():
                    found.displays.append(event)
                case _:
                    pass
    return found


def start(device: Device) -> subprocess.Popen[bytes]:
    log = (device.folder / "agent.log").open("wb")
    with log:
        process = subprocess.Popen([*AGENT, "run"], env=device.environment, stdout=log, stderr=log)
    device.processes.append(process)
    wait_until(lambda: status(device)["state"] == "recording", "recording")
    return process


def status(device: Device) -> dict[str, Any]:
    return device.asks({"do": "status"})


def open_window(desktop: Desktop, title: str, at: tuple[int, int], colour: str) -> int:
    geometry = f"18x6+{at[0]}+{at[1]}"
    desktop.spawn("xterm", "-T", title, "-bg", colour, "-geometry", geometry, "-e", "sh", "-c", "stty -echo; cat")
    return desktop.window(f"^{title}$")


def work_in(
    device: Device, desktop: Desktop, window: int, at: tuple[int, int], text: str, *, kept: bool = True
) -> None:
    """Go there, click, and type. Where it may be `kept`, only when the agent keeps what is done there, since it learns
    of another window or monitor a moment later; and until it has seen the screen once more.
    """
    desktop.activate(window)
    began = time.monotonic()
    for step in range(6):
        desktop.xdotool("mousemove", at[0] + step, at[1] + step)
        time.sleep(0.02)

    def follows() -> bool:
        desktop.xdotool("mousemove", *at, "mousemove", at[0] + 5, at[1] + 5)
        return since(device, "pointer", began)

    if kept:
        wait_until(follows, "the agent to keep what the pointer does there")
    desktop.xdotool("click", 1)
    desktop.xdotool("type", "--delay", 40, text)
    typed = time.monotonic()
    time.sleep(0.9)
    if kept:
        wait_until(lambda: since(device, "screen", typed + 0.3), "a look at the screen")


def since(device: Device, modality: str, moment_s: float) -> bool:
    """Did something of it arrive after that moment? It says how long ago, in tenths of a second."""
    ago = status(device)["arrived_s"].get(modality)
    return ago is not None and time.monotonic() - ago - 0.1 > moment_s


WHITE, GREEN, BLUE = (255, 255, 255), (0, 192, 64), (0, 32, 208)


@pytest.mark.parametrize("taken_away", [False, True], ids=["recorded", "taken away"])
def test_of_a_monitor_that_was_taken_away_nothing_is_recorded(
    device: Device, desktop: Desktop, taken_away: bool
) -> None:
    desktop.edid(EDID)
    desktop.monitors(HDMI_1=RIGHT, eDP_1=LEFT)  # so that the one with the EDID is taken away
    if taken_away:
        told = json.loads(device.command("consent", "narrow", "--monitor", "hdmi-1", "--json"))
        assert told["monitors"] == {"recorded": ["eDP-1"], "never": ["HDMI-1"]}
        assert "never on HDMI-1" in device.command("status")
    letter = open_window(desktop, "letter", (40, 60), "#ffffff")
    portal = open_window(desktop, "portal", (620, 60), "#00c040")
    astride = open_window(desktop, "astride", (440, 300), "#0020d0")
    start(device)
    work_in(device, desktop, letter, (90, 110), "kind")
    work_in(device, desktop, portal, (680, 110), "jumpjump", kept=not taken_away)
    work_in(device, desktop, astride, (470, 360), "vowvow", kept=not taken_away)
    work_in(device, desktop, letter, (90, 110), "kind")
    found = recorded(device)

    assert "kind" in found.keys
    assert "letter" in found.titles
    assert found.colours(WHITE) > 5000
    assert any(e.x < 500 for e in found.pointer if isinstance(e, PointerButton))
    assert {r for _, r, _ in found.gaps} <= {GapReason.EXCLUDED}
    if not taken_away:
        assert "jump" in found.keys and "vow" in found.keys
        assert found.titles >= {"letter", "portal", "astride"}
        assert found.colours(GREEN) > 5000 and found.colours(BLUE) > 5000
        assert any(e.x > 600 for e in found.pointer)
        assert {len(d.displays) for d in found.displays} == {2}
        return
    assert set(found.keys) == set("kind")
    assert found.titles == {"letter", ""}
    assert found.colours(GREEN) == 0 and found.colours(BLUE) == 0
    assert all(e.x < 500 and e.display == 0 for e in found.pointer)
    assert all(w.rect.x + w.rect.width <= 500 for w in found.windows), "not even where a window is"
    for frame, pixels in found.frames:
        assert frame.display == 0 and pixels.shape == (600, 500, 3)
        assert frame.cursor_x < 500 and all(r.x + r.width <= 500 for r in frame.masked)
    assert {d.displays for d in found.displays} == {(found.displays[0].displays[0],)}
    assert found.displays[0].displays[0].rect == Rect(*LEFT) and found.displays[0].displays[0].id == 0
    missing = {modality: sum(n for m, _, n in found.gaps if m == modality) for modality, _, _ in found.gaps}
    assert missing["pointer"] >= 6 and missing["keyboard"] >= 7 and missing["screen"] > 10, "and every gap is counted"
    # long words, since base64 holds every one of three letters by chance
    for word in ("HDMI-", "eDP-", "monitor", "narrow", "portal", "astride", "jumpjump", "vowvow"):
        assert word not in found.text, "nobody learns what was taken away"


def test_while_it_is_not_known_which_monitors_there_are_nothing_is_recorded(device: Device, desktop: Desktop) -> None:
    device.command("consent", "narrow", "--monitor", "HDMI-1")
    letter = open_window(desktop, "letter", (40, 60), "#ffffff")
    process = start(device)
    work_in(device, desktop, letter, (90, 110), "kind")
    desktop.monitors(eDP_1=LEFT, HDMI_1=(500, 0, 200, 600), DP_2=(700, 0, 200, 600))
    told = wait_until(lambda: (s := status(device))["state"] == "trouble" and s, "the new monitor to be told")
    assert "DP-2 (200 × 600)" in told["sentence"] and "Nothing is recorded" in told["sentence"]
    work_in(device, desktop, letter, (90, 110), "jump", kept=False)
    desktop.monitors(eDP_1=(0, 0, 450, 600), HDMI_1=(450, 0, 450, 600))
    wait_until(lambda: "eDP-1 (450 × 600)" in status(device)["sentence"], "another size is another monitor")
    work_in(device, desktop, letter, (90, 110), "jump", kept=False)
    desktop.monitors(HDMI_1=(0, 0, 400, 600), eDP_1=(400, 0, 500, 600))
    wait_until(lambda: status(device)["state"] == "recording", "the monitors to be known again, in other places")
    work_in(
        device, desktop, letter, (90, 110), "jump", kept=False
    )  # its window now lies on the one that was taken away
    desktop.monitors(HDMI_1=RIGHT)
    wait_until(lambda: "every monitor" in status(device)["sentence"], "none to be left")
    assert status(device)["state"] == "off"
    desktop.monitors(eDP_1=LEFT, HDMI_1=RIGHT)
    wait_until(lambda: status(device)["state"] == "recording", "recording again")
    desktop.move(letter, 40, 60)  # the window manager took it to what was left
    work_in(device, desktop, letter, (90, 110), "vow")
    found = recorded(device)
    assert set(found.keys) == set("kindvow")
    assert not any(letter in found.keys for letter in "jmp")
    assert {pixels.shape for _, pixels in found.frames} == {(600, 500, 3)}
    excluded = sum(n for m, r, n in found.gaps if m == "keyboard" and r is GapReason.EXCLUDED)
    assert excluded >= 3 * len("jump"), "what was typed meanwhile is counted as missing"
    for word in ("HDMI-", "eDP-", "DP-2", "monitor"):
        assert word not in found.text
    process.terminate()
    assert process.wait(60) == 0, (device.folder / "agent.log").read_text()


def test_only_monitors_that_are_there_can_be_named_and_all_can_be_given_back(device: Device, desktop: Desktop) -> None:
    told = device.command("consent", "narrow", "--monitor", "HDMI-2", code=1)
    assert "HDMI-2" in told and "eDP-1 (500 × 600)" in told
    device.command("consent", "narrow", "--monitor", "HDMI-1", "--only-monitor", "eDP-1", code=2)
    assert "took nothing away" in device.command("consent", "narrow")
    assert "only on the monitors HDMI-1" in device.command("consent", "narrow", "--only-monitor", "HDMI-1")
    assert "only on the monitors HDMI-1" in device.command("status"), "also while no agent runs"
    assert json.loads(device.command("consent", "narrow", "--json"))["monitors"] == {
        "recorded": ["HDMI-1"],
        "never": None,
    }
    device.command("consent", "narrow", "--clear")
    assert json.loads(device.command("consent", "narrow", "--json"))["monitors"] is None
    device.environment.pop("DISPLAY")
    assert "no desktop" in device.command("consent", "narrow", "--monitor", "HDMI-1", code=1)
