"""Many pictures on one page, small, with a caption each: for a person who looks at what was recorded.

What was masked stays masked; `hatched` makes it plain that something was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from assent.contracts.events import Rect

Pixels = NDArray[np.uint8]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PAPER: Final = "#eef0f3"
_CARD: Final = "#ffffff"
_MOUNT: Final = "#e3e6eb"
_EDGE: Final = "#cfd5dd"
_INK: Final = "#3c4450"
_MASK: Final = "#2b2f36"
_STRIPE: Final = "#e0a83a"
_GAP: Final = 16
_CAPTION: Final = 26
_MIN_THUMBNAIL: Final = 40


def contact_sheet(frames: Iterable[tuple[str, Pixels]], columns: int = 4, width: int = 1600) -> Image.Image:
    """Lay out captioned pictures in rows, `columns` to a row, on a page `width` pixels wide and as high as needed.

    `frames`: caption, and uint8 array of shape (height, width, 3), sRGB; taken one at a time, so that only small copies
    stay in memory. Proportions are kept and nothing is enlarged. Captions that are too long end in "…". No pictures
    give a page that says so. Raises ValueError when so many columns do not fit.
    """
    cell = (width - _GAP * (columns + 1)) // columns if columns > 0 else 0
    if cell < _MIN_THUMBNAIL:
        raise ValueError(f"{columns} columns do not fit on {width} pixels")
    font = ImageFont.load_default(13)
    cards = [(caption, _thumbnail(pixels, cell)) for caption, pixels in frames]
    if not cards:
        return _empty(width)
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(picture.height for _, picture in row) + _CAPTION for row in rows]
    page = Image.new("RGB", (width, sum(heights) + _GAP * (len(rows) + 1)), _PAPER)
    draw = ImageDraw.Draw(page)
    y = _GAP
    for row, height in zip(rows, heights, strict=True):
        for place, (caption, picture) in enumerate(row):
            x = _GAP + place * (cell + _GAP)
            draw.rectangle((x - 1, y - 1, x + cell, y + height), fill=_CARD, outline=_EDGE)
            draw.rectangle((x, y, x + cell - 1, y + height - _CAPTION - 1), fill=_MOUNT)
            page.paste(picture, (x + (cell - picture.width) // 2, y + (height - _CAPTION - picture.height) // 2))
            text = _fitting(caption, font, cell - 16)
            draw.text((x + 8, y + height - _CAPTION // 2), text, font=font, fill=_INK, anchor="lm")
        y += height + _GAP
    return page


def hatched(pixels: Pixels, masked: Iterable[Rect], origin: tuple[int, int] = (0, 0)) -> Pixels:
    """A copy of a picture in which each masked rectangle is dark with amber stripes.

    `masked`: in pixels of the virtual desktop, as in `ScreenFrame`; `origin`: where the picture's upper left corner
    lies there. Parts beyond the picture are ignored.
    """
    out = pixels.copy()
    height, width = pixels.shape[:2]
    stripe = max(4, width // 100)
    for rect in masked:
        left, top = max(0, rect.x - origin[0]), max(0, rect.y - origin[1])
        right = min(width, rect.x - origin[0] + rect.width)
        bottom = min(height, rect.y - origin[1] + rect.height)
        if left >= right or top >= bottom:
            continue
        y, x = np.mgrid[top:bottom, left:right]
        pattern = (x + y) // stripe % 4 == 0
        colours = np.array([_rgb(_MASK), _rgb(_STRIPE)], dtype=np.uint8)
        out[top:bottom, left:right] = colours[pattern.astype(np.intp)]
    return out


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _thumbnail(pixels: Pixels, cell: int) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((cell, cell * 3 // 4), Image.Resampling.LANCZOS)
    return picture


def _fitting(text: str, font: _Font, width: int) -> str:
    """The text on one line, shortened until it fits; characters the font lacks are its own affair."""
    line = " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _empty(width: int) -> Image.Image:
    page = Image.new("RGB", (width, 120), _PAPER)
    ImageDraw.Draw(page).text((width // 2, 60), "No pictures", font=ImageFont.load_default(18), fill=_INK, anchor="mm")
    return page
