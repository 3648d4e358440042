"""The positive controls: a marker planted on a surface, in any form that the method claims to see, is found there.

Without these, "nothing was found" would mean nothing.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
import zstandard
from PIL import Image
from sqlalchemy import Engine, text
from tests.exposure.canary import (
    TILE_SIDE,
    Leaked,
    Marker,
    Named,
    NotSearched,
    Process,
    base64_core,
    must_not_leak,
    search,
    search_bytes,
)

from assent.codec.content import encode_content
from assent.codec.frames import FrameEncoder
from assent.contracts.events import ClockAnchor, KeyEvent, ScreenFrame, SegmentContent

MARKER = Marker.new()
NOISE = os.urandom(70_000)


def typed_content(marker: Marker, before: str = "") -> bytes:
    """The plaintext of a keyboard segment in which the marker was typed."""
    keys = [(key, pressed) for key in before + marker.text for pressed in (True, False)]
    events = tuple(KeyEvent(t_ns=n, seq=n, key=key, pressed=pressed) for n, (key, pressed) in enumerate(keys))
    return encode_content(
        SegmentContent(
            stream="0" * 32, sequence=0, modality="keyboard", events=events, anchors=(ClockAnchor(t_ns=0, wall_ns=0),)
        )
    )


def screen(marker: Marker, x: int = 37, y: int = 101) -> np.ndarray:
    """A picture of 400 × 300 pixels, RGB, with the tile somewhere on it."""
    picture = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    tile = np.frombuffer(marker.tile, dtype=np.uint8).reshape(TILE_SIDE, TILE_SIDE, 3)
    picture[y : y + TILE_SIDE, x : x + TILE_SIDE] = tile
    return picture


def screen_content(marker: Marker) -> bytes:
    """The plaintext of a screen segment that shows the tile."""
    encoder = FrameEncoder()
    encoder.add(screen(marker))
    return encode_content(
        SegmentContent(
            stream="0" * 32, sequence=0, modality="screen",
            events=(ScreenFrame(t_ns=0, seq=0, display=0, width=400, height=300),),
            anchors=(ClockAnchor(t_ns=0, wall_ns=0),), frames=encoder.finish(),
        )
    )  # fmt: skip


def png(marker: Marker) -> bytes:
    out = io.BytesIO()
    Image.fromarray(screen(marker)).save(out, "PNG")
    return out.getvalue()


def bgrx(marker: Marker) -> bytes:
    pixels = screen(marker)
    return np.dstack([pixels[..., ::-1], np.zeros(pixels.shape[:2], np.uint8)]).tobytes()


TEXT = MARKER.text.encode()
FORMS: dict[str, bytes] = {
    "utf-8": TEXT,
    "utf-16-le": MARKER.text.encode("utf-16-le"),
    "utf-16-be": MARKER.text.encode("utf-16-be"),
    "hex": TEXT.hex().encode(),
    "hex in capitals": TEXT.hex().upper().encode(),
    "base64 at 0": base64.b64encode(TEXT + b"after"),
    "base64 at 1": base64.b64encode(b"x" + TEXT + b"after"),
    "base64 at 2": base64.b64encode(b"xy" + TEXT + b"after"),
    "base64url at 1": base64.urlsafe_b64encode(b"\xff" + TEXT),
    "json escapes": "".join(f"\\u{ord(c):04x}" for c in MARKER.text).encode(),
    "json escapes in capitals": "".join(f"\\u{ord(c):04X}" for c in MARKER.text).encode(),
    "json": json.dumps({"title": MARKER.text}).encode(),
    "zlib": zlib.compress(b"a" * 100 + TEXT),
    "zlib, fast": zlib.compress(b"a" * 100 + TEXT, 1),
    "zlib, best": zlib.compress(b"a" * 100 + TEXT, 9),
    "gzip": gzip.compress(b"a" * 100 + TEXT),
    "zstd": zstandard.compress(b"a" * 100 + TEXT),
    "zstd of utf-16": zstandard.compress(MARKER.text.encode("utf-16-le")),
    "zstd in gzip": gzip.compress(NOISE + zstandard.compress(TEXT)),
    "base64 in zlib": zlib.compress(base64.b64encode(b"xy" + TEXT)),
    "torn zlib": zlib.compress(TEXT + NOISE)[:5000],
    "typed into a segment": typed_content(MARKER),
    "typed into a segment after other keys": typed_content(MARKER, before="qhello worlz"),
    "shown in a segment": screen_content(MARKER),
    "png": png(MARKER),
    "png in zlib": zlib.compress(png(MARKER)),
    "pixels rgb": screen(MARKER).tobytes(),
    "pixels bgrx": bgrx(MARKER),
}


@pytest.mark.parametrize("form", FORMS)
def test_marker_is_found_in_every_form(form: str) -> None:
    hits = search_bytes("planted", NOISE + FORMS[form] + NOISE, MARKER)
    assert hits, form
    assert {hit.what for hit in hits} == {"tile" if form.startswith(("png", "pixels", "shown")) else "text"}


@pytest.mark.parametrize("form", FORMS)
def test_another_marker_is_not_found_in_any_form(form: str) -> None:
    assert search_bytes("planted", NOISE + FORMS[form] + NOISE, Marker.new()) == []


@pytest.mark.parametrize("x", range(0, 64, 7))
def test_tile_is_found_wherever_it_lies_on_the_grid_of_the_codec(x: int) -> None:
    encoder = FrameEncoder()
    encoder.add(screen(MARKER, x=x, y=x))
    assert search_bytes("frames", encoder.finish(), MARKER)


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_base64_is_found_whatever_stands_around_it(before: int, after: int) -> None:
    encoded = base64.b64encode(b"\xff" * before + TEXT + b"\xff" * after)
    assert base64_core(TEXT, before % 3) in encoded


PLANTED = ("utf-8", "utf-16-le", "hex in capitals", "base64 at 2", "zstd", "gzip", "zlib", "png", "pixels bgrx")
"""One form of each kind, for the surfaces."""


@pytest.mark.parametrize("form", PLANTED)
def test_marker_is_found_in_a_folder(form: str, tmp_path: Path) -> None:
    hidden = tmp_path / "a" / ".hidden"
    hidden.mkdir(parents=True)
    (hidden / "core.1234").write_bytes(NOISE + FORMS[form] + NOISE)
    hits = search([tmp_path], MARKER)
    assert hits and all("core.1234" in hit.source for hit in hits)


def test_marker_is_found_in_the_name_of_a_file_and_of_a_link(tmp_path: Path) -> None:
    (tmp_path / f"{MARKER.text}.tmp").touch()
    assert search([tmp_path], MARKER)
    other = Marker.new()
    (tmp_path / "link").symlink_to(f"/nowhere/{other.text}")
    assert search([tmp_path], other)


@pytest.mark.parametrize("form", PLANTED)
def test_marker_is_found_in_a_database_file_its_wal_and_its_tables(form: str, tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    planted = b"x" * 3000 + FORMS[form] + b"x" * 3000
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute('CREATE TABLE "odd "" name" (held BLOB)')
        connection.execute('INSERT INTO "odd "" name" VALUES (?)', (planted,))
        connection.commit()
        assert (tmp_path / "some.db-wal").stat().st_size > len(planted)
        hits = search([tmp_path], MARKER)
        assert any("table" in hit.source for hit in hits), "through SQL"
        if form in ("utf-8", "hex in capitals"):
            assert any(hit.source.endswith("-wal") for hit in hits), "in the WAL"


def test_marker_is_found_in_deleted_rows_of_a_database_file(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("CREATE TABLE t (held TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", (MARKER.text,))
        connection.commit()
        connection.execute("DELETE FROM t")
        connection.commit()
    assert search([path], MARKER)


def test_damaged_database_never_counts_as_clean(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    path.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(NotSearched):
        search([path], MARKER)


@pytest.mark.parametrize("form", PLANTED)
def test_marker_is_found_in_a_database_through_sql(form: str, any_database: Engine) -> None:
    with any_database.begin() as connection:
        kind = "BYTEA" if any_database.dialect.name == "postgresql" else "BLOB"
        connection.execute(text(f'CREATE TABLE "planted in" (n INTEGER, held {kind})'))
        connection.execute(text('INSERT INTO "planted in" VALUES (1, :held)'), {"held": NOISE + FORMS[form]})
    assert search([any_database], MARKER)
    assert search([any_database], Marker.new()) == []


@pytest.mark.parametrize("form", PLANTED)
def test_marker_is_found_in_a_log(form: str) -> None:
    assert search([Named("stderr", b"some line\n" + FORMS[form] + b"\nother line\n")], MARKER)


@pytest.mark.parametrize("form", PLANTED)
def test_marker_is_found_in_the_memory_of_a_process(form: str) -> None:
    with holding(NOISE + FORMS[form]) as process:
        hits = search([Process(process.pid)], MARKER)
    assert hits and all("memory of process" in hit.source for hit in hits)


def test_memory_is_readable_for_root_although_the_process_is_not_dumpable() -> None:
    prelude = "from assent_service.hygiene import forbid_core_dumps; forbid_core_dumps()"
    with holding(NOISE + TEXT, prelude) as process:
        if os.geteuid() == 0:
            assert search([Process(process.pid)], MARKER)
        else:
            with pytest.raises(NotSearched, match="root only"):
                search([Process(process.pid)], MARKER)


def test_process_that_is_gone_never_counts_as_clean() -> None:
    with holding(b"") as process:
        pass
    with pytest.raises(NotSearched):
        search([Process(process.pid)], MARKER)


def test_missing_file_never_counts_as_clean(tmp_path: Path) -> None:
    with pytest.raises(NotSearched):
        search([tmp_path / "spool"], MARKER)


def test_must_not_leak_says_where_and_never_what() -> None:
    must_not_leak([Named("log", NOISE)], MARKER)
    with pytest.raises(Leaked) as caught:
        must_not_leak([Named("log", NOISE + TEXT)], MARKER)
    assert "log" in str(caught.value)
    assert MARKER.text not in str(caught.value)


def test_bombs_do_not_stop_the_search() -> None:
    bomb = zlib.compress(b"\0" * 100_000_000)
    assert search_bytes("bomb", zlib.compress(bomb) + TEXT, MARKER)


class holding:
    """A process that holds these bytes in memory until the block ends."""

    def __init__(self, data: bytes, prelude: str = "pass") -> None:
        hold = f"held = sys.stdin.buffer.read({len(data)}); print('holds', flush=True); sys.stdin.read(1)"
        code = f"import sys; {prelude}; {hold}"
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"holds\n"

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.process.communicate(timeout=20)
