"""Small copies of the demo's pictures, for the README.

python -m tests.demo.readme_pictures demo-run/pictures docs/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH = 1000
ROWS_SHOWN = 3
"""Whole rows of the contact sheet: the last ones, with the drawing and the masked password store."""


def main() -> int:
    pictures, to = Path(sys.argv[1]), Path(sys.argv[2])
    to.mkdir(parents=True, exist_ok=True)
    with Image.open(pictures / "tray.png") as tray:
        _save(tray.convert("RGB"), to / "tray.png")
    with Image.open(pictures / "contact-sheet.png") as sheet:
        _save(_last_rows(sheet.convert("RGB")), to / "contact-sheet.png")
    return 0


def _last_rows(sheet: Image.Image) -> Image.Image:
    """The last full rows of pictures. Between rows there is a strip of nothing but the page's own colour."""
    page = np.asarray(sheet)
    empty = (page == page[0, 0]).all(axis=(1, 2))
    begins = [y for y in range(1, sheet.height) if empty[y - 1] and not empty[y]]
    ends = [y for y in range(1, sheet.height) if not empty[y - 1] and empty[y]]
    first, last = max(0, len(begins) - 1 - ROWS_SHOWN), max(0, len(ends) - 2)
    return sheet.crop((0, begins[first] - begins[0], sheet.width, ends[last] + begins[0]))


def _save(picture: Image.Image, path: Path) -> None:
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.LANCZOS)
        picture = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    sys.exit(main())
