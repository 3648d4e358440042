"""Pictures of an office desktop that does not exist: an editor, a document, a table, a task bar; deterministic.

A frame is a uint8 array of shape (height, width, 4), BGRA, as screen grabbers hand it out. Text is drawn with the font
inside Pillow (antialiased), so that the same frames come out wherever the same Pillow runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

SYLLABLES = [consonant + vowel for consonant in "bdfklmnprst" for vowel in "aeiou"]
INK = ["#202124", "#1a4fa0", "#8a1f11", "#18703c", "#6a3d9a"]


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def sentence(random: Random, words: int) -> str:
    text = " ".join("".join(random.choices(SYLLABLES, k=random.randint(1, 4))) for _ in range(words))
    return text[:1].upper() + text[1:] + random.choice(".,;?")


def bgra(image: Image.Image) -> Pixels:
    """The picture as a grabber would give it."""
    rgb = np.asarray(image)
    out = np.full((*rgb.shape[:2], 4), 255, dtype=np.uint8)
    out[..., :3] = rgb[..., ::-1]
    return out


class Desktop:
    """One person's screen: what is open on it, and what the next action changes.

    `photographs`: the document has some, with sensor noise; otherwise it has charts.
    """

    def __init__(self, width: int = 1920, height: int = 1080, seed: int = 3, photographs: bool = False) -> None:
        self.width, self.height = width, height
        self.illustrate = _photograph if photographs else _chart
        self.random = Random(seed)
        self.page = self._document(self.height * 5)
        self.table = self._table()
        self.offset = 0
        self.typed = ""
        self.lines = [sentence(self.random, self.random.randint(5, 14)) for _ in range(22)]
        self.front = "editor"
        self.minutes = 512

    def _document(self, height: int) -> Image.Image:
        """A long page with headings, paragraphs, coloured links and illustrations."""
        r = self.random
        width = self.width - 240
        page = Image.new("RGB", (width, height), "white")
        draw = ImageDraw.Draw(page)
        y = 24
        while y < height - 60:
            if r.random() < 0.12:
                draw.text((60, y), sentence(r, 4), font=font(26), fill="#1b1b1b")
                y += 44
            elif r.random() < 0.03:
                page.paste(self.illustrate(r, 480, 220), (60, y))
                y += 240
            x = 60
            while x < width * 0.48 + r.randint(0, 120):
                word = sentence(r, 2)
                draw.text((x, y), word, font=font(15), fill=r.choices(INK, [20, 2, 1, 1, 1])[0])
                x += int(draw.textlength(word, font=font(15))) + 6
            y += 23 if r.random() < 0.8 else 46
        margin = int(width * 0.7)
        draw.rectangle((margin, 0, width, height), fill="#f1f3f5")
        for link in range(40, height - 60, 60):
            draw.text((margin + 30, link), sentence(r, 3), font=font(14), fill=INK[1])
        return page

    def _table(self) -> Image.Image:
        r = self.random
        image = Image.new("RGB", (self.width - 240, self.height - 140), "white")
        draw = ImageDraw.Draw(image)
        for row in range(0, image.height, 24):
            draw.line((0, row, image.width, row), fill="#d8dbe0")
            for column in range(0, 1300, 130):
                draw.line((column, 0, column, image.height), fill="#d8dbe0")
                if row < 600 and r.random() < 0.75:
                    draw.text((column + 8, row + 4), f"{r.uniform(1, 99999):,.2f}", font=font(13), fill="#202124")
        return image

    def draw(self) -> Pixels:
        """The screen as it is now."""
        screen = Image.new("RGB", (self.width, self.height), "#2e4a62")
        draw = ImageDraw.Draw(screen)
        order = [name for name in ("table", "browser", "editor") if name != self.front] + [self.front]
        for name in order:
            getattr(self, f"_draw_{name}")(screen, draw)
        draw.rectangle((0, self.height - 40, self.width, self.height), fill="#1d2733")
        draw.text(
            (self.width - 90, self.height - 30),
            f"{self.minutes // 60:02}:{self.minutes % 60:02}",
            font=font(16),
            fill="white",
        )
        return bgra(screen)

    def _frame(self, draw: ImageDraw.ImageDraw, x: int, y: int, title: str) -> None:
        draw.rectangle((x, y, x + self.width - 240, y + 32), fill="#dfe3e8")
        draw.text((x + 14, y + 7), title, font=font(15), fill="#333333")
        for i, colour in enumerate(("#c94f4f", "#d9a63c", "#5da05d")):
            draw.ellipse((x + self.width - 330 + i * 24, y + 10, x + self.width - 318 + i * 24, y + 22), fill=colour)

    def _draw_browser(self, screen: Image.Image, draw: ImageDraw.ImageDraw) -> None:
        self._frame(draw, 40, 20, "Travel policy - Browser")
        screen.paste(self.page.crop((0, self.offset, self.page.width, self.offset + self.height - 140)), (40, 52))

    def _draw_table(self, screen: Image.Image, draw: ImageDraw.ImageDraw) -> None:
        self._frame(draw, 120, 30, "Quarter 3 - Table")
        screen.paste(self.table, (120, 62))

    def _draw_editor(self, screen: Image.Image, draw: ImageDraw.ImageDraw) -> None:
        self._frame(draw, 200, 60, "Letter - Editor")
        draw.rectangle((200, 92, self.width - 40, self.height - 60), fill="#fbfbf8")
        y = 110
        for line in [*self.lines[-32:], self.typed + "|"]:
            draw.text((230, y), line, font=font(17), fill="#202124")
            y += 26

    def type_key(self) -> None:
        self.typed += self.random.choice("aeinrst onldu")
        if len(self.typed) > 90:
            self.lines.append(self.typed)
            self.typed = ""

    def scroll(self, pixels: int) -> None:
        self.offset = max(0, min(self.page.height - self.height, self.offset + pixels))

    def switch(self, name: str) -> None:
        self.front = name


def _photograph(random: Random, width: int, height: int) -> Image.Image:
    """Smooth shapes with sensor noise: what compresses badly on a screen."""
    noise = np.random.default_rng(random.randrange(2**32))
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        np.sin(x / noise.uniform(30, 90) + c) * 60 + np.cos(y / noise.uniform(20, 60)) * 50 + 120 for c in range(3)
    ]
    picture = np.stack(planes, axis=-1) + noise.normal(0, 3, (height, width, 3))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def _chart(random: Random, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "#f4f6f8")
    draw = ImageDraw.Draw(image)
    for i in range(12):
        top = random.randint(30, height - 30)
        draw.rectangle(
            (20 + i * 38, top, 46 + i * 38, height - 16), fill=random.choice(("#3b7dd8", "#58a55c", "#d9a63c"))
        )
        draw.text((20 + i * 38, top - 16), str(height - top), font=font(12), fill="#444444")
    return image


def office_frames(width: int = 1920, height: int = 1080, seed: int = 3, photographs: bool = False) -> Iterator[Pixels]:
    """60 frames of a minute at the desk: typing, scrolling, switching windows; about 17 equal the one before."""
    desk = Desktop(width, height, seed, photographs)
    for _ in range(2):
        for _ in range(12):
            desk.type_key()
            if desk.random.random() < 0.5:
                desk.type_key()
            yield desk.draw()
        yield desk.draw()
        yield desk.draw()
        desk.switch("browser")
        yield desk.draw()
        for _ in range(8):
            desk.scroll(desk.random.choice((53, 106, 159, 318)))
            yield desk.draw()
            if desk.random.random() < 0.5:
                yield desk.draw()
        desk.switch("table")
        desk.minutes += 1
        yield desk.draw()
        yield desk.draw()
        yield desk.draw()
        desk.switch("editor")
