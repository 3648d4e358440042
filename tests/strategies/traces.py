"""Recordings of a person who does not exist: deterministic event traces that look like work.

Pointer paths are Bézier curves run with a minimum-jerk speed profile, with tremor (correlated noise) and the noise of
the sensor on top, rounded to pixels and stamped in whole milliseconds (unless asked otherwise) by a bus that is
sometimes late: what an X server hands out. Reports that do not move the pointer do not exist, as on a real desktop.
Typing follows English text with log-normal pauses, capital letters and corrections.

The same arguments give the same trace on every machine: only `random.Random` and arithmetic are used.
"""

from __future__ import annotations

import math
from random import Random

from assent.contracts.events import Event, KeyEvent, PointerButton, PointerMoved, PointerScrolled

MS = 1_000_000
START_NS = 86_413_207 * MS
WIDTH, HEIGHT = 1920, 1080

TEXT = (
    "Dear colleagues, please find the figures for the third quarter below. Travel costs rose by 4.7 per cent, mostly "
    "because two trade fairs fell into the same month; without them we would be slightly under last year. I want to "
    "discuss on Thursday whether we book the rooms in March already. Could you check the invoice of 12,480 euros? "
    "The supplier wrote that part of it was credited in August, but I cannot find the note. Thank you, kind regards. "
)
EVDEV = {c: 30 + i for i, c in enumerate("asdfghjkl;'")} | {c: 16 + i for i, c in enumerate("qwertyuiop")}
EVDEV |= {c: 44 + i for i, c in enumerate("zxcvbnm,./")} | {c: 2 + i for i, c in enumerate("1234567890")}
EVDEV |= {" ": 57, "Shift_L": 42, "BackSpace": 14}
VK = {" ": 0x20, "Shift_L": 0xA0, "BackSpace": 0x08, ",": 0xBC, ".": 0xBE, ";": 0xBA, "?": 0xBF}


class Desk:
    """The hands at the desk: keeps the clock, the pointer and the sequence numbers, and collects the events."""

    def __init__(self, seed: int, report_ms: int, stamp_ns: int = MS) -> None:
        self.random = Random(seed)
        self.report_ms = report_ms
        self.stamp_ns = stamp_ns
        self.events: list[Event] = []
        self.t_ms = START_NS // MS
        self.x, self.y = 640, 480
        self.pointer_seq = 0
        self.keyboard_seq = 0

    def rest(self, mean_ms: float) -> None:
        self.t_ms += max(1, round(self.random.lognormvariate(math.log(mean_ms), 0.5)))

    def move(self, to_x: float, to_y: float) -> None:
        """Travel to a point as a hand does: quickly, slightly curved, with a short correction at the end."""
        r = self.random
        distance = math.hypot(to_x - self.x, to_y - self.y)
        if distance > 150 and r.random() < 0.6:
            angle = r.uniform(0, 2 * math.pi)
            miss = distance * r.uniform(0.02, 0.07)
            self._stroke(to_x + miss * math.cos(angle), to_y + miss * math.sin(angle))
            self.rest(40)
        self._stroke(to_x, to_y)

    def _stroke(self, to_x: float, to_y: float) -> None:
        r = self.random
        from_x, from_y = self.x, self.y
        distance = math.hypot(to_x - from_x, to_y - from_y)
        duration_ms = 90 + 140 * math.log2(1 + distance / 22) * r.uniform(0.8, 1.25)
        bend = distance * 0.12
        c1 = (from_x + (to_x - from_x) * 0.3 + r.gauss(0, bend), from_y + (to_y - from_y) * 0.3 + r.gauss(0, bend))
        c2 = (from_x + (to_x - from_x) * 0.75 + r.gauss(0, bend), from_y + (to_y - from_y) * 0.75 + r.gauss(0, bend))
        tremor_x = tremor_y = 0.0
        start_ms, next_ms = self.t_ms, 0.0
        while next_ms < duration_ms:
            next_ms += self.report_ms
            s = min(1.0, next_ms / duration_ms)
            s = s * s * s * (10 - 15 * s + 6 * s * s)
            tremor_x = 0.95 * tremor_x + r.gauss(0, 0.35)
            tremor_y = 0.95 * tremor_y + r.gauss(0, 0.35)
            x = _bezier(from_x, c1[0], c2[0], to_x, s) + tremor_x + r.gauss(0, 0.5)
            y = _bezier(from_y, c1[1], c2[1], to_y, s) + tremor_y + r.gauss(0, 0.5)
            late = 0 if r.random() < 0.8 else r.choice((1, 1, 1, 2, 3))
            self._moved(max(self.t_ms, start_ms + int(next_ms) + late), round(x), round(y))

    def _moved(self, t_ms: int, x: int, y: int) -> None:
        self.t_ms = t_ms
        if (x, y) == (self.x, self.y):
            return
        self.x, self.y = x, y
        within_ms = int(self.random.random() * MS) // self.stamp_ns * self.stamp_ns
        t_ns = max(t_ms * MS + within_ms, self.events[-1].t_ns if self.events else 0)
        self.events.append(PointerMoved(t_ns=t_ns, seq=self.pointer_seq, x=x, y=y))
        self.pointer_seq += 1

    def click(self, button: int = 1) -> None:
        for pressed in (True, False):
            self.rest(75)
            self.events.append(
                PointerButton(
                    t_ns=self.t_ms * MS, seq=self.pointer_seq, x=self.x, y=self.y, button=button, pressed=pressed
                )
            )
            self.pointer_seq += 1

    def scroll(self, steps: int) -> None:
        down = self.random.random() < 0.75
        for _ in range(steps):
            self.rest(38)
            self.events.append(
                PointerScrolled(
                    t_ns=self.t_ms * MS, seq=self.pointer_seq, x=self.x, y=self.y, dx=0, dy=-1 if down else 1
                )
            )
            self.pointer_seq += 1

    def type(self, text: str) -> None:
        """Type `text`; now and then a wrong letter is typed and taken back."""
        for character in text:
            if character.isalpha() and self.random.random() < 0.02:
                self._strike(self.random.choice("etaoinshr"))
                self.rest(280)
                self._strike("BackSpace")
            self._strike(character)

    def _strike(self, key: str) -> None:
        shifted = key.isupper() and len(key) == 1
        if shifted:
            self._key("Shift_L", True)
            self.rest(60)
        self.rest(130)
        self._key(key, True)
        self.rest(85)
        self._key(key, False)
        if shifted:
            self.rest(40)
            self._key("Shift_L", False)

    def _key(self, key: str, pressed: bool) -> None:
        low = key.lower() if len(key) == 1 else key
        self.events.append(
            KeyEvent(
                t_ns=self.t_ms * MS,
                seq=self.keyboard_seq,
                key=key,
                pressed=pressed,
                code=EVDEV.get(low, 53),
                vk=VK.get(low, ord(low.upper()) if len(low) == 1 else 0),
            )
        )
        self.keyboard_seq += 1


def _bezier(p0: float, p1: float, p2: float, p3: float, s: float) -> float:
    q = 1 - s
    return q * q * q * p0 + 3 * q * q * s * p1 + 3 * q * s * s * p2 + s * s * s * p3


def dense_trace(events: int = 13_401, seed: int = 7, stamp_ns: int = MS) -> tuple[Event, ...]:
    """Busy pointing with a 1 kHz mouse: moves and clicks only. `stamp_ns`: resolution of the stamps of moves."""
    desk = Desk(seed, report_ms=1, stamp_ns=stamp_ns)
    while len(desk.events) < events:
        desk.move(desk.random.uniform(5, WIDTH - 5), desk.random.uniform(5, HEIGHT - 5))
        desk.rest(120)
        if desk.random.random() < 0.7:
            desk.click(3 if desk.random.random() < 0.1 else 1)
    return tuple(desk.events[:events])


def office_trace(events: int = 4_099, seed: int = 11) -> tuple[Event, ...]:
    """Office work with a 125 Hz mouse: moves in bursts, clicks, scrolling, and typing of running text."""
    desk = Desk(seed, report_ms=8)
    words = TEXT.split(" ")
    word = 0
    while len(desk.events) < events:
        desk.move(desk.random.uniform(5, WIDTH - 5), desk.random.uniform(5, HEIGHT - 5))
        desk.rest(250)
        act = desk.random.random()
        if act < 0.6:
            desk.click(1)
        if act < 0.4:
            count = desk.random.randint(3, 14)
            desk.type(" ".join(words[(word + i) % len(words)] for i in range(count)) + " ")
            word += count
        elif act > 0.75:
            desk.scroll(desk.random.randint(3, 25))
        desk.rest(700)
    return tuple(desk.events[:events])
