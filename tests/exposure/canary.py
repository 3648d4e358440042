"""The canary method: plant something unmistakable, run everything, then look for it wherever it must not be.

A `Marker` is a text that is typed and shown in a title, and a tile that is drawn on the screen. `search` looks for both
in folders, files, databases and the memory of running processes; `must_not_leak` raises when it finds any.

    marker = Marker.new()                 # type marker.text (first thing in a segment), show it, draw marker.tile
    must_not_leak([data_folder, Process(pid), engine, Named("log", stderr)], marker)
    assert search([Named("what was read", plain)], marker)     # the positive control

What is looked for:

- the text in UTF-8, UTF-16 (both byte orders), hexadecimal (both cases), base64 and base64url at all three offsets,
  URL-encoded, and as JSON escapes;
- the text as typed keys: every key press of a block of events (`assent.codec`) put together;
- the tile as rows of pixels in the orders RGB, BGR, RGBx and BGRx, which is also how `assent.codec` writes it;
- all of that again inside zlib, gzip and zstd streams and PNG pictures found in the data, three levels deep.

What is not found: what was encrypted (that is the point), lossy or scaled pictures, a text that is cut into pieces, raw
deflate without a header. A place that cannot be read raises `NotSearched`: it never counts as clean.

Needs `zstandard`, `PIL` and `assent.codec`, which the project has anyway, and `sqlalchemy` for `search_database` only.
"""

from __future__ import annotations

import base64
import io
import json
import mmap
import os
import random
import re
import secrets
import sqlite3
import string
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import zstandard
from PIL import Image, UnidentifiedImageError

from assent.codec.events import decode_events
from assent.codec.limits import ContentInvalid
from assent.contracts.events import KeyEvent

if TYPE_CHECKING:
    from sqlalchemy import Engine

TILE_SIDE = 64
"""Pixels. However a codec cuts a picture into tiles of 64, one of them holds 32 columns of it."""

PERIOD = 8
"""Pixels after which a row of the tile repeats: any 15 neighbours hold the whole pattern."""

TEXT_CHARS = 20
MAX_INFLATED = 64 * 1024 * 1024
MAX_PICTURE_PIXELS = 64 * 1024 * 1024
MAX_DEPTH = 3
_MEMORY_STEP = 64 * 1024 * 1024
_OVERLAP = 4096
_PNG = b"\x89PNG\r\n\x1a\n"
_STREAM = re.compile(rb"\x28\xb5\x2f\xfd|\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]|\x89PNG\r\n\x1a\n")
_SQLITE = b"SQLite format 3\0"

Buffer = bytes | bytearray | mmap.mmap


class NotSearched(Exception):
    """This place could not be read, so nothing can be said about it."""


class Leaked(AssertionError):
    """The marker was found where it must not be."""

    def __init__(self, hits: list[Hit]) -> None:
        super().__init__("\n".join(["the marker was found:", *(f"  {hit}" for hit in hits[:20])]))
        self.hits = hits


@dataclass(frozen=True)
class Hit:
    """One find: where, whether text or tile, and through which encodings."""

    source: str
    what: str
    how: str
    offset: int

    def __str__(self) -> str:
        return f"{self.what} as {self.how} in {self.source} at {self.offset}"


@dataclass(frozen=True)
class Marker:
    """Something that occurs nowhere by chance.

    `text`: 20 different lower-case letters and digits in random order (90 bits). They differ so that the text also
    stands whole in a table of distinct keys, if nothing was typed before it. `pattern`: 8 RGB pixels.
    """

    text: str
    pattern: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Marker:
        chosen = random.SystemRandom().sample(string.ascii_lowercase + string.digits, TEXT_CHARS)
        return cls("".join(chosen), secrets.token_bytes(3 * PERIOD))

    @property
    def tile(self) -> bytes:
        """The picture to show: 64 rows of 64 RGB pixels, 12,288 bytes."""
        return self.pattern * (TILE_SIDE // PERIOD) * TILE_SIDE

    @cached_property
    def needles(self) -> tuple[tuple[str, str, bytes], ...]:
        """(what, how, bytes) of every direct form."""
        found: dict[bytes, tuple[str, str]] = {}
        for how, data in (*_text_forms(self.text), *_tile_forms(self.pattern)):
            found.setdefault(data, ("tile" if how.startswith("pixels") else "text", how))
        return tuple((what, how, data) for data, (what, how) in found.items())


def _text_forms(text: str) -> Iterator[tuple[str, bytes]]:
    utf8 = text.encode()
    yield "UTF-8", utf8
    yield "UTF-16LE", text.encode("utf-16-le")
    yield "UTF-16BE", text.encode("utf-16-be")
    yield "hexadecimal", utf8.hex().encode()
    yield "hexadecimal", utf8.hex().upper().encode()
    for offset in range(3):
        yield f"base64 at offset {offset}", base64_core(utf8, offset)
        yield f"base64url at offset {offset}", base64_core(utf8, offset).translate(bytes.maketrans(b"+/", b"-_"))
    yield "URL", urllib.parse.quote(text).encode()
    yield "JSON", json.dumps(text).strip('"').encode()
    escaped = "".join(f"\\u{ord(char):04x}" for char in text)
    yield "JSON escapes", escaped.encode()
    yield "JSON escapes", escaped.replace("\\u", "\0").upper().replace("\0", "\\u").encode()


def _tile_forms(pattern: bytes) -> Iterator[tuple[str, bytes]]:
    pixels = [pattern[at : at + 3] for at in range(0, len(pattern), 3)]
    for order in ("RGB", "BGR"):
        ordered = [pixel if order == "RGB" else pixel[::-1] for pixel in pixels]
        for name, filler in ((order, b""), (f"{order}x", b"\0"), (f"{order}x", b"\xff")):
            yield f"pixels {name}", b"".join(pixel + filler for pixel in ordered)


def base64_core(data: bytes, offset: int) -> bytes:
    """The base64 digits that `data` alone decides when `offset` (0 to 2) bytes stand before it and any after it."""
    digits = base64.b64encode(b"\0" * offset + data)
    return digits[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]


# --- searching --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """Bytes with a name, for instance a captured log."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Process:
    """A running process by its id."""

    pid: int


Source: TypeAlias = "Path | Named | Process | Engine"


def search(sources: Iterable[Source], marker: Marker) -> list[Hit]:
    """Every find in all sources: files and folders, named bytes, processes, SQLAlchemy engines. Raises NotSearched."""
    hits: list[Hit] = []
    for source in sources:
        if isinstance(source, Path):
            hits += search_path(source, marker)
        elif isinstance(source, Named):
            hits += search_bytes(source.name, source.data, marker)
        elif isinstance(source, Process):
            hits += search_process(source.pid, marker)
        else:
            hits += search_database(source, marker)
    return hits


def must_not_leak(sources: Iterable[Source], marker: Marker) -> None:
    """Raises Leaked with what was found where, or NotSearched."""
    hits = search(sources, marker)
    if hits:
        raise Leaked(hits)


def search_bytes(name: str, data: Buffer, marker: Marker, *, depth: int = MAX_DEPTH) -> list[Hit]:
    """Look through bytes, and `depth` levels into the compressed streams in them. One hit per form and place."""
    hits = [Hit(name, what, how, at) for what, how, needle in marker.needles if (at := data.find(needle)) >= 0]
    if depth == 0:
        return hits
    covered = 0
    for match in _STREAM.finditer(data):
        start = match.start()
        if start < covered:
            continue
        for how, inner, length in _unpacked(data, start, match.group()):
            covered = max(covered, start + length)
            for hit in search_bytes(name, inner, marker, depth=depth - 1):
                hits.append(Hit(name, hit.what, f"{how} > {hit.how}", start))
            if how == "zstd" and (typed := _typed(data, start, length)) and marker.text in typed:
                hits.append(Hit(name, "text", "typed keys", start))
    return hits


def _unpacked(data: Buffer, start: int, magic: bytes) -> Iterator[tuple[str, bytes, int]]:
    """(how, content, packed length) of the stream that may begin at `start`; nothing if it is none.

    A stream that breaks off yields what came out of it: a leak is a leak also when it is torn.
    """
    if magic == _PNG:
        yield from _picture(data, start)
    elif magic == b"\x28\xb5\x2f\xfd":
        content, length = _inflate(zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj(), data, start)
        if content:
            yield "zstd", content, length
    else:
        content, length = _inflate(zlib.decompressobj(zlib.MAX_WBITS | 32), data, start)
        if content:
            yield "gzip" if magic[0] == 0x1F else "zlib", content, length


def _inflate(stream: object, data: Buffer, start: int) -> tuple[bytes, int]:
    """What the stream gives (bounded), and how many packed bytes it took (0 when it broke off)."""
    out = bytearray()
    at, step = start, 1 << 12
    while at < len(data) and len(out) < MAX_INFLATED:
        piece = bytes(data[at : at + step])
        at += len(piece)
        try:
            out += stream.decompress(piece)  # type: ignore[attr-defined]
        except (zlib.error, zstandard.ZstdError):
            return bytes(out), 0
        if stream.eof:  # type: ignore[attr-defined]
            return bytes(out), at - start - len(stream.unused_data)  # type: ignore[attr-defined]
        step = min(step * 2, 1 << 20)
    return bytes(out), 0


def _picture(data: Buffer, start: int) -> Iterator[tuple[str, bytes, int]]:
    end = data.find(b"IEND", start)
    if end < 0:
        return
    png = bytes(data[start : end + 8])
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            if picture.width * picture.height <= MAX_PICTURE_PIXELS:
                yield "PNG", picture.convert("RGB").tobytes(), len(png)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return


def _typed(data: Buffer, start: int, length: int) -> str:
    """The keys pressed in a block of events, put together; empty when it is none."""
    try:
        events = decode_events(bytes(data[start : start + length]))
    except ContentInvalid:
        return ""
    return "".join(event.key for event in events if isinstance(event, KeyEvent) and event.pressed)


# --- files ------------------------------------------------------------------------------------------------------------


def search_path(path: Path, marker: Marker) -> list[Hit]:
    """A file or all files below a folder, their names included; SQLite databases also through SQL."""
    if path.is_dir() and not path.is_symlink():
        hits = search_bytes(
            f"{path}: names", "\n".join(sorted(_names(path))).encode("utf-8", "surrogateescape"), marker
        )
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.is_symlink():
                hits += _search_file(file, marker)
        return hits
    if not path.exists():
        raise NotSearched(f"{path} does not exist")
    return _search_file(path, marker)


def _names(folder: Path) -> Iterator[str]:
    for file in folder.rglob("*"):
        yield str(file.relative_to(folder))
        if file.is_symlink():
            yield str(file.readlink())


def _search_file(path: Path, marker: Marker) -> list[Hit]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return []
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                hits = search_bytes(str(path), data, marker)
                is_sqlite = data[:16] == _SQLITE
    except FileNotFoundError:
        return []  # gone while we looked: a temporary file of a live service
    except OSError as error:
        raise NotSearched(f"{path}: {error.strerror}") from error
    return hits + (_search_sqlite(path, marker) if is_sqlite else [])


def _search_sqlite(path: Path, marker: Marker) -> list[Hit]:
    """Every value of every table: pages are cut up in the file, so a long value is whole only here."""
    hits: list[Hit] = []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.text_factory = bytes
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                name = table.decode()
                for row in connection.execute('SELECT * FROM "{}"'.format(name.replace('"', '""'))):
                    hits += _search_row(f"{path}: table {name}", row, marker)
    except sqlite3.Error as error:
        raise NotSearched(f"{path} is an SQLite database that cannot be read: {error}") from error
    return hits


def search_database(engine: Engine, marker: Marker) -> list[Hit]:
    """Every value of every table that this account may read, on whatever database."""
    from sqlalchemy import inspect, text

    hits: list[Hit] = []
    with engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            quoted = engine.dialect.identifier_preparer.quote(table)
            for row in connection.execute(text(f"SELECT * FROM {quoted}")):
                hits += _search_row(f"database: table {table}", tuple(row), marker)
    return hits


def _search_row(name: str, row: Iterable[object], marker: Marker) -> list[Hit]:
    values = [
        bytes(value) if isinstance(value, bytes | bytearray | memoryview) else str(value).encode()
        for value in row
        if value is not None
    ]
    return search_bytes(name, b"\0".join(values), marker)


# --- memory -----------------------------------------------------------------------------------------------------------


def search_process(pid: int, marker: Marker) -> list[Hit]:
    """All memory of a process but program files and the kernel's own pages. Raises NotSearched when it is not allowed.

    Services set PR_SET_DUMPABLE to 0, so that only root may do this.
    """
    hits: list[Hit] = []
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for start, end, name in _regions(maps):
                for at in range(start, end, _MEMORY_STEP):
                    try:
                        memory.seek(at)
                        data = memory.read(min(end, at + _MEMORY_STEP + _OVERLAP) - at)
                    except OSError:
                        continue  # a page that is mapped and cannot be read: a device, or gone meanwhile
                    hits += search_bytes(f"memory of process {pid} at {at:x} {name}".rstrip(), data, marker)
    except PermissionError as error:
        raise NotSearched(f"the memory of process {pid} may be read by root only") from error
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotSearched(f"there is no process {pid}") from error
    return hits


def _regions(maps: str) -> Iterator[tuple[int, int, str]]:
    for line in maps.splitlines():
        span, modes, _, _, inode, *rest = line.split(maxsplit=5)
        name = rest[0] if rest else ""
        program_file = inode != "0" and "w" not in modes
        if "r" in modes and not program_file and not name.startswith(("[v", "/dev/")):
            start, end = (int(part, 16) for part in span.split("-"))
            yield start, end, name
