"""What a person sees who opens their own recordings with the `assent` package: numbers only, nothing is kept.

    python -m tests.demo.own_look DAY MARKER.json SECRET.json

Runs in the person's own name (`ASSENT_HOME`, `ASSENT_PASSPHRASE_FILE`). MARKER was planted where recording is allowed,
SECRET where it is not; both files hold a text and a pattern of pixels. Prints JSON: per modality the events, bytes and
seconds; how often each was found, as typed keys, as a title, as a tile in a picture; how many pictures are masked.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import assent
from assent.codec.frames import Pixels
from assent.contracts.events import KeyEvent, ScreenFrame, WindowActivated
from assent.contracts.ids import Modality
from assent.contracts.statements import OwnData
from assent.reader.sessions import Data, Progress


class Planted:
    """A text and a tile to look for."""

    def __init__(self, path: Path) -> None:
        planted = json.loads(path.read_text())
        self.text: str = planted["text"]
        self._row = bytes.fromhex(planted["pattern"])
        self.found = {"typed": 0, "title": 0, "tile": 0}

    def in_picture(self, pixels: Pixels) -> None:
        """`pixels`: (height, width, 3), RGB. A tile is there when its row of eight pixels is."""
        self.found["tile"] += self._row in pixels.tobytes()

    def in_title(self, title: str) -> None:
        self.found["title"] += self.text in title

    def in_keys(self, typed: str) -> None:
        self.found["typed"] += typed.count(self.text)


def main() -> int:
    day = sys.argv[1]
    planted = {"marker": Planted(Path(sys.argv[2])), "secret": Planted(Path(sys.argv[3]))}
    modalities: dict[str, dict[str, Any]] = {}
    pictures = {"count": 0, "masked": 0}
    for modality in Modality:
        progress: list[Progress] = []
        own = OwnData(from_day=day, to_day=day, modalities=(modality,))
        with assent.open(own=own, hours=0.5, progress=progress.append) as data:
            modalities[modality.value] = _look(data, modality, list(planted.values()), pictures)
        modalities[modality.value]["ciphertext_bytes"] = progress[-1].ciphertext_bytes if progress else 0
    found = {name: one.found for name, one in planted.items()}
    print(json.dumps({"modalities": modalities, "pictures": pictures, "found": found}))
    return 0


def _look(data: Data, modality: Modality, planted: list[Planted], pictures: dict[str, int]) -> dict[str, Any]:
    count, frames, seconds = 0, 0, 0.0
    for session in data.sessions():
        typed = ""
        first_ns = last_ns = 0
        for recorded in session.events():
            count += 1
            first_ns, last_ns = first_ns or recorded.at_ns, recorded.at_ns
            match recorded.event:
                case KeyEvent(pressed=True, key=key):
                    typed += key if len(key) == 1 else "\n"
                case WindowActivated(title=title):
                    for one in planted:
                        one.in_title(title)
                case ScreenFrame():
                    frames += 1
                case _:
                    pass
        seconds += (last_ns - first_ns) / 1e9
        for one in planted:
            one.in_keys(typed)
        if modality is Modality.SCREEN:
            for picture in session.frames():
                pictures["count"] += 1
                pictures["masked"] += bool(picture.event.masked)
                for one in planted:
                    one.in_picture(picture.pixels)
    return {"events": count, "frames": frames, "seconds": round(seconds, 2), "segments": data.opened}


if __name__ == "__main__":
    sys.exit(main())
