"""Pictures of displays as one compressed stream: what did not change is not written, and nothing is lost.

A picture is cut into tiles of 64 × 64 pixels. Only tiles that differ from the display's picture before are written; a
tile that was written lately is named instead of repeated; content that was scrolled is moved. One zstd stream runs
through the whole segment. Colours are kept exactly; transparency, which a screen has none of, is not kept.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from assent.codec.columns import fold, read_varint, unfold, varint
from assent.codec.limits import DEFAULT_LIMITS, ContentInvalid, Limits
from assent.codec.scrolling import Move, find_scroll

Pixels = NDArray[np.uint8]
Packed = NDArray[np.uint32]

TILE: Final = 64
"""Pixels per side; tiles at the right and lower edge are smaller."""

HISTORY: Final = 8192
"""So many of the latest distinct tiles can be named again: about 100 MB in a reader's memory, 16 full-HD pictures."""

MAX_MOVES: Final = 16
"""Moves in one picture."""

WINDOW_LOG: Final = 24
LEVEL: Final = 9
"""Measured on 60 full-HD pictures of office work: 8.1 KiB and 10 ms of CPU per changed picture; level 15 takes a
tenth less room and twice the time."""
_VERSION: Final = 1
_END: Final = 0
_FRAME: Final = 1
_COLOURS: Final = np.uint32(0x00FFFFFF)
_READ_BYTES: Final = 64 * 1024


class FrameEncoder:
    """Collects the pictures of one segment. Not for use by several threads at once."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, window_log=WINDOW_LOG, enable_ldm=True, write_checksum=True
        )
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._out = [self._stream.compress(bytes([_VERSION]))]
        self._size = len(self._out[0])
        self._pictures: dict[int, Packed] = {}
        self._spare: dict[int, Packed] = {}
        self._known: dict[tuple[int, bytes], int] = {}
        self._tiles = 0
        self._work = 0
        self._frames = 0
        self._seq = -1
        self._finished = False

    @property
    def frames(self) -> int:
        """Pictures kept so far."""
        return self._frames

    @property
    def size_bytes(self) -> int:
        """Compressed bytes so far; up to a block of 128 KiB before compression is still under way."""
        return self._size

    def add(self, pixels: Pixels, *, display: int = 0, seq: int | None = None, keep_unchanged: bool = True) -> bool:
        """Append a picture of `display` and return whether it differs from the display's picture before.

        `pixels`: uint8 array, shape (height, width, 4) in the order blue, green, red, ignored (what grabbers give), or
        (height, width, 3) in the order red, green, blue. It is copied. The first picture of a display, and the first
        of a new size, always differ. `seq`: the number the reader gets back with it, that of the `ScreenFrame`;
        increasing; default: one more than the last. With `keep_unchanged` false, a picture that does not differ is
        not appended and its number stays free; otherwise it costs a few bytes.
        Raises ContentInvalid when the limits are exceeded; nothing is appended then.
        """
        if self._finished:
            raise RuntimeError("the pictures of this segment are finished")
        number = self._seq + 1 if seq is None else seq
        if not self._seq < number < 2**63:
            raise ContentInvalid("the numbers of pictures do not increase")
        height, width = self._check(pixels, display)
        before = self._pictures.get(display)
        if before is not None and before.shape != (height, width):
            before = None
        now = self._packed(pixels, display, (height, width))
        moves, dirty = _difference(before, now)
        if not dirty and not moves and not keep_unchanged:
            self._spare[display] = now
            return False
        head = bytearray([_FRAME])
        for value in (number - self._seq, fold(display), width, height, len(moves)):
            head += varint(value)
        for move in moves:
            for value in (move.x, move.y, move.width, move.height, fold(move.dx), fold(move.dy)):
                head += varint(value)
        self._write_tiles(head, now, dirty)
        self._work += now.size + sum(move.width * move.height for move in moves) + len(dirty) * TILE**2
        if before is not None:
            self._spare[display] = before
        self._pictures[display] = now
        self._seq = number
        self._frames += 1
        return bool(dirty or moves)

    def _check(self, pixels: Pixels, display: int) -> tuple[int, int]:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or 0 in pixels.shape:
            raise ContentInvalid("a picture is a uint8 array of shape (height, width, 3 or 4)")
        if not -(2**63) <= display < 2**63:
            raise ContentInvalid("the number of a display does not fit into 64 bits")
        height, width = pixels.shape[:2]
        others = sum(picture.size for other, picture in self._pictures.items() if other != display)
        if others + height * width > self._limits.canvas_pixels:
            raise ContentInvalid("a picture has more pixels than the limits allow")
        if self._frames >= self._limits.frames or len(self._pictures.keys() | {display}) > self._limits.displays:
            raise ContentInvalid("there are more pictures or displays than the limits allow")
        tiles = -(-height // TILE) * -(-width // TILE)
        if self._tiles + tiles > self._limits.tiles:
            raise ContentInvalid("there are more tiles than the limits allow")
        if self._work + 2 * height * width + tiles * TILE**2 > self._limits.work_pixels:
            raise ContentInvalid("reading the pictures would be more work than the limits allow")
        return height, width

    def _packed(self, pixels: Pixels, display: int, shape: tuple[int, int]) -> Packed:
        """One integer per pixel, transparency removed, in memory of our own."""
        spare = self._spare.pop(display, None)
        out = spare if spare is not None and spare.shape == shape else np.empty(shape, dtype="<u4")
        if pixels.shape[2] == 4:
            np.bitwise_and(np.ascontiguousarray(pixels).view("<u4")[..., 0], _COLOURS, out=out)
        else:
            channels = out.view(np.uint8).reshape(*shape, 4)
            channels[..., :3] = pixels[..., ::-1]
            channels[..., 3] = 0
        return out

    def _write_tiles(self, head: bytearray, now: Packed, dirty: list[int]) -> None:
        """Complete the record: where tiles changed, which of them are known, and the pixels of those that are not."""
        height, width = now.shape
        channels = now.view(np.uint8).reshape(height, width, 4)
        columns = -(-width // TILE)
        head += varint(len(dirty))
        fresh: list[bytes] = []
        last = -1
        for place in dirty:
            y, x = place // columns * TILE, place % columns * TILE
            tile = channels[y : y + TILE, x : x + TILE, 2::-1]
            data = tile.tobytes()
            key = (tile.shape[1], hashlib.sha256(data).digest())
            known = self._known.get(key)
            head += varint(place - last - 1)
            last = place
            if known is not None and self._tiles - known <= HISTORY:
                head += varint(self._tiles - known)
                continue
            head.append(0)
            fresh.append(data)
            self._known[key] = self._tiles
            self._tiles += 1
        if len(self._known) > 2 * HISTORY:
            self._known = {key: known for key, known in self._known.items() if self._tiles - known <= HISTORY}
        for chunk in (bytes(head), *fresh):
            self._append(self._stream.compress(chunk))

    def _append(self, data: bytes) -> None:
        if data:
            self._out.append(data)
            self._size += len(data)

    def finish(self) -> bytes:
        """The encoded pictures; empty bytes when there are none. The encoder takes no more afterwards."""
        if not self._finished:
            self._finished = True
            self._append(self._stream.compress(bytes([_END])))
            self._append(self._stream.flush())
            self._pictures.clear()
            self._spare.clear()
        return b"".join(self._out) if self._frames else b""


def _difference(before: Packed | None, now: Packed) -> tuple[tuple[Move, ...], list[int]]:
    """What turns `before` into `now`: moves, made first, and the places of tiles that differ after them.

    `before` is changed by the moves.
    """
    height, width = now.shape
    if before is None:
        return (), list(range(-(-height // TILE) * -(-width // TILE)))
    dirty = _changed_tiles(before, now)
    move = find_scroll(before, now, dirty, TILE)
    if move is None:
        return (), dirty
    _move(before, move)
    return (move,), _changed_tiles(before, now)


def _changed_tiles(before: Packed, now: Packed) -> list[int]:
    """Places (row by row) of the tiles that differ. Rows of tiles that are equal cost one comparison."""
    height, width = now.shape
    edges = np.arange(0, width, TILE)
    places: list[int] = []
    for row, y in enumerate(range(0, height, TILE)):
        differs = before[y : y + TILE] != now[y : y + TILE]
        if differs.any():
            columns = np.logical_or.reduceat(np.logical_or.reduce(differs, axis=0), edges)
            places.extend((np.flatnonzero(columns) + row * edges.size).tolist())
    return places


def _move(picture: NDArray[np.generic], move: Move) -> None:
    """Copy a rectangle of the picture to where it was moved; both may overlap."""
    source = picture[
        move.y - move.dy : move.y - move.dy + move.height, move.x - move.dx : move.x - move.dx + move.width
    ]
    picture[move.y : move.y + move.height, move.x : move.x + move.width] = source.copy()


class FrameDecoder:
    """Iterates over `(number, picture)`: the `seq` of each picture and a uint8 array, shape (height, width, 3), sRGB
    in the order red, green, blue, physical pixels, which is the caller's to keep.

    Pictures come in the order they were added. Damage is found on the way, so the pictures before it have come out
    already when ContentInvalid is raised. Memory: `HISTORY` tiles, the displays' current pictures, and zstd's window.
    Time: what `Limits.work_pixels` allows, however few bytes ask for it.
    """

    def __init__(self, data: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
        self._data = data
        self._limits = limits

    def __iter__(self) -> Iterator[tuple[int, Pixels]]:
        if not self._data:
            return
        source = _Source(self._data, self._limits)
        if source.take(1)[0] != _VERSION:
            raise ContentInvalid("the pictures have an unknown version")
        pictures: dict[int, Pixels] = {}
        work = _Work(self._limits.work_pixels)
        tiles = _Tiles(source, self._limits, work)
        seq, frames = -1, 0
        while True:
            tag = source.take(1)[0]
            if tag == _END:
                break
            frames += 1
            if tag != _FRAME or frames > self._limits.frames:
                raise ContentInvalid("a picture is expected, or there are more than the limits allow")
            step = source.varint()
            seq += step
            if step == 0 or seq >= 2**63:
                raise ContentInvalid("the numbers of pictures do not increase")
            picture = self._canvas(pictures, source)
            work.spend(picture.size // 3)
            _apply_moves(picture, source, work)
            tiles.paint(picture)
            yield seq, picture.copy()
        source.end()
        if frames == 0:
            raise ContentInvalid("there are no pictures")

    def _canvas(self, pictures: dict[int, Pixels], source: _Source) -> Pixels:
        display, width, height = unfold(source.varint()), source.varint(), source.varint()
        picture = pictures.get(display)
        if picture is not None and picture.shape == (height, width, 3):
            return picture
        others = sum(other.size // 3 for number, other in pictures.items() if number != display)
        if not width or not height or others + width * height > self._limits.canvas_pixels:
            raise ContentInvalid("a picture has no pixels, or more than the limits allow")
        if display not in pictures and len(pictures) >= self._limits.displays:
            raise ContentInvalid("there are more displays than the limits allow")
        pictures[display] = np.zeros((height, width, 3), dtype=np.uint8)
        return pictures[display]


class _Work:
    """What may still be done for the pictures of one segment, in pixels touched."""

    def __init__(self, pixels: int) -> None:
        self._left = pixels

    def spend(self, pixels: int) -> None:
        self._left -= pixels
        if self._left < 0:
            raise ContentInvalid("reading the pictures would be more work than the limits allow")


def _apply_moves(picture: Pixels, source: _Source, work: _Work) -> None:
    height, width = picture.shape[:2]
    count = source.varint()
    if count > MAX_MOVES:
        raise ContentInvalid("a picture has too many moves")
    for _ in range(count):
        x, y, w, h = (source.varint() for _ in range(4))
        dx, dy = unfold(source.varint()), unfold(source.varint())
        inside = x + w <= width and y + h <= height
        if not inside or not 0 <= x - dx <= width - w or not 0 <= y - dy <= height - h:
            raise ContentInvalid("a move reaches beyond the picture")
        work.spend(w * h)
        _move(picture, Move(x, y, w, h, dx, dy))


class _Tiles:
    """The latest distinct tiles, by number."""

    def __init__(self, source: _Source, limits: Limits, work: _Work) -> None:
        self._source = source
        self._limits = limits
        self._work = work
        self._kept: dict[int, Pixels] = {}
        self._total = 0

    def paint(self, picture: Pixels) -> None:
        """Read one picture's list of changed tiles, then the new tiles, and put them in place."""
        height, width = picture.shape[:2]
        columns, rows = -(-width // TILE), -(-height // TILE)
        count = self._source.varint()
        if count > rows * columns:
            raise ContentInvalid("a picture has more tiles than fit")
        self._work.spend(count * TILE**2)
        place, total = -1, self._total
        plan: list[tuple[int, int]] = []
        for _ in range(count):
            place += self._source.varint() + 1
            back = self._source.varint()
            if place >= rows * columns or back > min(total, HISTORY):
                raise ContentInvalid("a tile lies beyond the picture or was never sent")
            plan.append((place, total - back))
            total += back == 0
        if total > self._limits.tiles:
            raise ContentInvalid("there are more tiles than the limits allow")
        for place, number in plan:
            y, x = place // columns * TILE, place % columns * TILE
            target = picture[y : y + TILE, x : x + TILE]
            if number == self._total:
                self._receive(target.shape)
            tile = self._kept[number]
            if tile.shape != target.shape:
                raise ContentInvalid("a tile does not fit its place")
            target[:] = tile

    def _receive(self, shape: tuple[int, ...]) -> None:
        height, width, channels = shape
        data = self._source.take(height * width * channels)
        self._kept[self._total] = np.frombuffer(data, dtype=np.uint8).reshape(shape)
        self._kept.pop(self._total - HISTORY, None)
        self._total += 1


class _Source:
    """Decompressed bytes, never more in memory than asked for."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes)
        self._reader = decompressor.stream_reader(io.BytesIO(data), read_across_frames=True)
        self._buffer = b""
        self._at = 0

    def _more(self, size: int) -> bytes:
        try:
            return self._reader.read(size)
        except zstandard.ZstdError as error:
            raise ContentInvalid("the pictures are not one whole zstd frame") from error

    def take(self, size: int) -> bytes:
        if len(self._buffer) - self._at < size:
            rest = self._buffer[self._at :]
            self._buffer, self._at = rest + self._more(max(size - len(rest), _READ_BYTES)), 0
            if len(self._buffer) < size:
                raise ContentInvalid("the pictures end too early")
        self._at += size
        return self._buffer[self._at - size : self._at]

    def varint(self) -> int:
        return read_varint(self.take)

    def end(self) -> None:
        if self._at != len(self._buffer) or self._more(1):
            raise ContentInvalid("the pictures have bytes left over")
