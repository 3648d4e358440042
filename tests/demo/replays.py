"""Recordings of nine people who do not exist, as files for `assent-agent run --source replay:FILE`.

Each has a hand of its own (`tests.strategies.traces`); the pictures of three drawn desks are shared among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from assent.contracts.events import Event, PointerButton, PointerMoved, PointerScrolled
from tests.strategies.screens import Desktop
from tests.strategies.traces import office_trace

SIZE = (800, 500)
DESKS = 3
PICTURE_EVERY_MS = 1_000
WINDOW = {"rect": {"x": 0, "y": 0, "width": SIZE[0], "height": SIZE[1]}, "application": "gedit", "title": "A letter"}


def write_replays(folder: Path, people: int, seconds: float, planted: str = "") -> list[Path]:
    """Write one replay per person into `folder` and return them. Deterministic.

    `planted`: a text that is typed, and stands in the window's title, at the end of each.
    """
    folder.mkdir(parents=True)
    pictures = [_write_pictures(folder, desk, seconds) for desk in range(DESKS)]
    files = []
    for person in range(people):
        path = folder / f"person-{person + 1}.jsonl"
        with path.open("w") as file:
            for line in _lines(person, seconds, pictures[person % DESKS], planted):
                file.write(json.dumps(line) + "\n")
        files.append(path)
    return files


def _write_pictures(folder: Path, desk: int, seconds: float) -> list[str]:
    """A picture a second of somebody who types, scrolls and changes windows."""
    screen = Desktop(*SIZE, seed=20 + desk)
    names = []
    for number in range(int(seconds * 1000 / PICTURE_EVERY_MS) + 1):
        if number % 5 == 3:
            screen.switch(("browser", "table", "editor")[number // 5 % 3])
        elif screen.front == "browser":
            screen.scroll(106)
        else:
            screen.type_key()
        name = f"desk-{desk}-{number:02}.ppm"
        rgb = screen.draw()[..., 2::-1]
        (folder / name).write_bytes(f"P6 {SIZE[0]} {SIZE[1]} 255\n".encode() + rgb.tobytes())
        names.append(name)
    return names


def _lines(person: int, seconds: float, pictures: list[str], planted: str) -> Iterator[dict[str, Any]]:
    events = _events(person, seconds)
    start_ns = events[0].t_ns
    display = {"id": 0, "rect": WINDOW["rect"], "scale": 1.0}
    yield {"t_ns": start_ns, "type": "displays", "displays": [display]}
    yield {"t_ns": start_ns, "type": "window", **WINDOW}
    waiting = [(start_ns + i * PICTURE_EVERY_MS * 1_000_000, name) for i, name in enumerate(pictures)]
    for event in events:
        while waiting and waiting[0][0] <= event.t_ns:
            at_ns, name = waiting.pop(0)
            yield {"t_ns": at_ns, "type": "frame", "image": name}
        yield {key: value for key, value in msgspec.to_builtins(event).items() if key != "seq"}
    at_ns = events[-1].t_ns + 500_000_000
    if planted:
        yield {"t_ns": at_ns, "type": "window", **WINDOW, "title": f"A letter {planted}"}
    for number, character in enumerate(planted, 1):
        for pressed in (True, False):
            t_ns = at_ns + number * 100_000_000 + (0 if pressed else 60_000_000)
            yield {"t_ns": t_ns, "type": "key", "key": character, "pressed": pressed, "code": 30, "vk": 65}


def _events(person: int, seconds: float) -> list[Event]:
    """The first seconds of somebody's work, scaled onto the small screen."""
    trace = office_trace(events=2_000, seed=100 + person)
    until_ns = trace[0].t_ns + int(seconds * 1e9)
    scaled: list[Event] = []
    for event in trace:
        if event.t_ns > until_ns:
            break
        if isinstance(event, PointerMoved | PointerButton | PointerScrolled):
            x, y = event.x * SIZE[0] // 1920, event.y * SIZE[1] // 1080
            scaled.append(msgspec.structs.replace(event, x=x, y=y))
        else:
            scaled.append(event)
    return scaled
