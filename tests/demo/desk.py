"""Ada's desktop: real programs on a real X11 display, operated at the pace of a person."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from assent.contracts.events import Rect
from assent_agent.ui.icons import COLOURS
from tests.demo.processes import wait_for
from tests.exposure.canary import TILE_SIDE, Marker
from tests.simulators.desktop import PROGRAMS, Desktop

SIZE = (1120, 680)
PROGRAM = (sys.executable, "-m", "tests.demo.programs")
KEY_MS = 75
"""Between keys: a good typist."""

MOUSE_MS = 8
"""Between reports of the mouse: 125 Hz."""

BACKGROUND = 0x2B3A4F
NEAR = 60
"""Sum of the differences of red, green and blue up to which two colours count as the same."""

LETTER = (
    "Dear colleagues, here are the figures for the third quarter.",
    "Travel costs rose by 4.7 per cent, because of two trade fairs.",
    "Could you check the invoice of 12,480 euros? Part of it was",
    "credited in August, but I cannot find the note.",
)
CLOSING = "Thank you, kind regards, Ada"

TERMINAL = (
    *("xterm", "-class", "XTerm", "-T", "Letter", "-geometry", "66x26+20+40", "-fa", "DejaVu Sans Mono", "-fs", "11"),
    *("-bg", "#fbfbf8", "-fg", "#202124", "-xrm", "*allowTitleOps: true", "-sb", "-rightbar", "-sl", "500"),
)
TITLE_SCRIPT = """#!/bin/sh
printf '\\033]0;Letter %s\\007' "$(cat marker.txt)"
"""
FIGURES_SCRIPT = """#!/bin/sh
i=1; while [ $i -le 60 ]; do printf '%3d  travel   %6d.%02d   rooms  %5d.%02d\\n' \
  $i $((i * 7919 % 90000)) $((i * 31 % 100)) $((i * 104729 % 9000)) $((i * 17 % 100)); i=$((i + 1)); done
"""


def missing_programs() -> list[str]:
    """What a desktop of our own needs and is not installed here."""
    return [program for program in (*PROGRAMS, "trayer") if shutil.which(program) is None]


class ThisDesktop(Desktop):
    """The X11 session in which the demo was started: nothing of it is started or ended but our own programs."""

    def __enter__(self) -> Self:
        self.display = os.environ["DISPLAY"]
        self.env = dict(os.environ)
        return self


class Desk:
    """Programs, hands and a camera. `documents` holds Ada's own files; they are hers and are not searched."""

    def __init__(self, desktop: Desktop, documents: Path, marker: Marker, secret: Marker) -> None:
        self._desktop = desktop
        self._documents = documents
        self._marker = marker
        self._secret = secret
        self._random = random.Random(5)
        self._at = (300, 300)
        documents.mkdir(parents=True, mode=0o700)
        for name, planted in (("marker", marker), ("secret", secret)):
            tile = Image.frombytes("RGB", (TILE_SIDE, TILE_SIDE), planted.tile)
            tile.save(documents / f"{name}.ppm")
            write_planted(documents, name, planted)
        for name, script in (("title", TITLE_SCRIPT), ("figures", FIGURES_SCRIPT)):
            (documents / name).write_text(script)
            (documents / name).chmod(0o700)

    # --- programs -------------------------------------------------------------------------------------

    def open_programs(self) -> None:
        """A shell in a terminal, and a picture to draw on."""
        shell = ("bash", "--noprofile", "--norc", "-i") if shutil.which("bash") else ("sh", "-i")
        there = ("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(self._documents))
        self._desktop.spawn(*there, *TERMINAL, "-e", *shell, env={"PS1": "ada: ", "HISTFILE": "/dev/null"})
        tile = str(self._documents / "marker.ppm")
        self._desktop.spawn(*PROGRAM, "pictures", "Sunrise", tile, "400x280+690+370")
        self._desktop.window("^Sunrise$")
        self._letter = self._desktop.window("^Letter")
        self._desktop.activate(self._letter)

    # --- hands ----------------------------------------------------------------------------------------

    def work(self) -> None:
        """About half a minute: write a letter, name the window, read a table, draw; and look up a password."""
        self._go(260, 240, click=True)
        self._type("cat > letter.txt")
        self._key("Return")
        for line in LETTER:
            self._type(line)
            self._key("Return")
        self._type(f"Our reference: {self._marker.text}")
        self._key("Return", "ctrl+d")
        self._type("./title; ./figures")
        self._key("Return")
        self._scroll(4, 8)
        for y in (120, 210, 330):  # reads with the pointer
            self._go(self._random.randint(120, 420), y)
        self._scroll(5, 8)
        self._go(800, 560, click=True)
        self._drag([(800, 560), (870, 520), (950, 550), (1040, 500)])
        self._drag([(1040, 500), (1010, 440), (1060, 410)])
        self.look_up_a_password()
        self._go(300, 300, click=True)
        self._type(f"echo {CLOSING}")
        self._key("Return")
        time.sleep(0.6)

    def look_up_a_password(self) -> None:
        """Open a password store over the other windows, type into it, close it again."""
        tile = str(self._documents / "secret.ppm")
        vault = self._desktop.spawn(*PROGRAM, "vault", f"Vault {self._secret.text}", tile, "340x230+480+330")
        window = self._desktop.window("^Vault ")
        self._desktop.activate(window)
        self._go(690, 408, click=True)
        self._type(self._secret.text)
        time.sleep(0.8)
        self._desktop.end(vault)

    def play(self, seconds: float) -> None:
        """Go on working, without anything planted."""
        until = time.monotonic() + seconds
        self._go(300, 300, click=True)
        while time.monotonic() < until:
            self._type("echo and so on ")
            self._key("Return")
            self._go(self._random.randint(100, 600), self._random.randint(120, 420))

    def _type(self, text: str) -> None:
        self._desktop.run("xdotool", "type", "--delay", str(KEY_MS), "--", text, timeout_s=60)

    def _key(self, *keys: str) -> None:
        self._desktop.xdotool("key", "--delay", 120, *keys)
        time.sleep(0.2)

    def _scroll(self, button: int, steps: int) -> None:
        self._desktop.xdotool("click", "--repeat", steps, "--delay", 60, button)
        time.sleep(0.3)

    def _go(self, x: int, y: int, *, click: bool = False) -> None:
        """Move there as a hand does: along a bow, quickly in the middle."""
        self._run_path(_bow(self._at, (x, y), self._random.uniform(-0.15, 0.15)))
        self._at = (x, y)
        if click:
            self._desktop.xdotool("click", 1)
            time.sleep(0.15)

    def _drag(self, points: list[tuple[int, int]]) -> None:
        self._desktop.xdotool("mousedown", 1)
        for start, end in pairwise(points):
            self._run_path(_bow(start, end, 0.08))
        self._desktop.xdotool("mouseup", 1)
        self._at = points[-1]

    def _run_path(self, path: list[tuple[int, int]]) -> None:
        words: list[str] = []
        for x, y in path:
            words += ["mousemove", str(x), str(y), "sleep", f"{MOUSE_MS / 1000}"]
        self._desktop.run("xdotool", *words)

    # --- camera ---------------------------------------------------------------------------------------

    def paint_background(self) -> None:
        """A quiet colour behind the windows; it stays when we have left."""
        from Xlib import display

        connection = display.Display(self._desktop.display)
        try:
            root = connection.screen().root
            root.change_attributes(background_pixel=BACKGROUND)
            root.clear_area(0, 0, 0, 0)
            connection.sync()
        finally:
            connection.close()

    def screenshot(self, path: Path) -> Path:
        return self._desktop.screenshot(path)

    def photograph_menu(self, path: Path) -> bool:
        """Open the menu of the tray icon, photograph icon and menu, close it again. False when there is no icon."""
        icon = self._seek(_is_icon)
        if icon is None:
            return False
        before = self._at
        self._desktop.xdotool("mousemove", icon.x + icon.width // 2, icon.y + icon.height - 1, "click", 3)
        menu = wait_for(lambda: self._seek(_is_menu), "the menu of the tray icon", 60)
        time.sleep(0.3)
        whole = self._desktop.screenshot(path.with_suffix(".whole.png"))
        wait_for(self._menu_is_closed, "the menu to close", 60, every_s=1)
        with Image.open(whole) as picture:
            left, bottom = max(0, menu.x - 12), min(picture.height, menu.y + menu.height + 12)
            picture.convert("RGB").crop((left, 0, picture.width, bottom)).save(path)
        whole.unlink()
        self._go(*before)
        return True

    def _menu_is_closed(self) -> bool:
        """Close it; one that has just come may not have the keyboard yet."""
        if self._seek(_is_menu) is not None:
            self._desktop.xdotool("key", "Escape")
            time.sleep(0.3)
        return self._seek(_is_menu) is None

    def icon_is_shown(self) -> bool:
        return self._seek(_is_icon) is not None

    def icon_state(self, path: Path) -> str | None:
        """Which state the tray icon shows, told by its colour in a screenshot. None when there is no icon."""
        place = self._seek(_is_icon)
        if place is None:
            return None
        with Image.open(self._desktop.screenshot(path)) as picture:
            box = (place.x, place.y, place.x + place.width, place.y + place.height)
            pixels = np.asarray(picture.convert("RGB").crop(box), dtype=int)
        path.unlink()
        distances = {
            state.value: np.abs(pixels - ImageColor.getrgb(colour)).sum(axis=2) for state, colour in COLOURS.items()
        }
        return max(distances, key=lambda state: int((distances[state] < NEAR).sum()))

    def _seek(self, wanted: Callable[[Rect, int], bool]) -> Rect | None:
        """The place of the agent's first visible window (and its depth among windows) that is wanted."""
        from Xlib import X, display
        from Xlib.error import XError

        connection = display.Display(self._desktop.display)
        try:
            root = connection.screen().root
            waiting: list[tuple[Any, int]] = [(root, 0)]
            while waiting:
                window, depth = waiting.pop()
                try:
                    waiting += [(child, depth + 1) for child in window.query_tree().children]
                    name = window.get_wm_class() if depth else None
                    if name is None or "assent-agent" not in name:
                        continue
                    if window.get_attributes().map_state != X.IsViewable:
                        continue
                    shape, place = window.get_geometry(), window.translate_coords(root, 0, 0)
                    rect = Rect(-place.x, -place.y, shape.width, shape.height)
                except XError:
                    continue  # gone meanwhile
                if wanted(rect, depth):
                    return rect
            return None
        finally:
            connection.close()


def write_planted(documents: Path, name: str, planted: Marker) -> None:
    """What was planted, for the programs that look for it."""
    (documents / f"{name}.txt").write_text(planted.text)
    (documents / f"{name}.json").write_text(json.dumps({"text": planted.text, "pattern": planted.pattern.hex()}))


def _is_icon(rect: Rect, depth: int) -> bool:
    return depth > 1 and 12 <= rect.width <= 64 and 12 <= rect.height <= 64


def _is_menu(rect: Rect, depth: int) -> bool:
    return depth == 1 and rect.width > 100 and rect.height > 100


def _bow(start: tuple[int, int], end: tuple[int, int], bend: float) -> list[tuple[int, int]]:
    """Points of a curved stroke with a minimum-jerk profile, one for each report of the mouse."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    duration_ms = 120 + 90 * math.log2(1 + math.hypot(dx, dy) / 20)
    points = []
    for step in range(1, int(duration_ms / MOUSE_MS) + 1):
        s = min(1.0, step * MOUSE_MS / duration_ms)
        s = s * s * s * (10 - 15 * s + 6 * s * s)
        off = math.sin(math.pi * s) * bend
        points.append((round(x0 + dx * s - dy * off), round(y0 + dy * s + dx * off)))
    return [*points, end]


def compose(pictures: list[tuple[str, Path]], to: Path) -> None:
    """One picture of several beside each other, each with its caption."""
    images = [(caption, Image.open(path).convert("RGB")) for caption, path in pictures]
    margin, head = 14, 34
    width = sum(image.width + margin for _, image in images) + margin
    page = Image.new("RGB", (width, max(image.height for _, image in images) + head + margin), "#ffffff")
    draw = ImageDraw.Draw(page)
    x = margin
    for caption, image in images:
        draw.text((x, 9), caption, font=ImageFont.load_default(17), fill="#20242e")
        page.paste(image, (x, head))
        x += image.width + margin
    page.save(to)
