"""Pictures survive being written, cost little when little changes, and a hostile stream cannot exhaust its reader."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.screens import office_frames

from assent.codec import frames as codec
from assent.codec.columns import fold, varint
from assent.codec.frames import HISTORY, TILE, FrameDecoder, FrameEncoder
from assent.codec.limits import DEFAULT_LIMITS, ContentInvalid, Limits


def noise(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encode(*pictures: np.ndarray, display: int = 0) -> bytes:
    encoder = FrameEncoder()
    for picture in pictures:
        encoder.add(picture, display=display)
    return encoder.finish()


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> list[tuple[int, np.ndarray]]:
    return list(FrameDecoder(data, limits))


def rgb(picture: np.ndarray) -> np.ndarray:
    return picture[..., 2::-1] if picture.shape[2] == 4 else picture


def assert_lossless(pictures: list[np.ndarray], data: bytes) -> None:
    decoded = decode(data)
    assert [number for number, _ in decoded] == list(range(len(pictures)))
    for (_, got), picture in zip(decoded, pictures, strict=True):
        assert got.dtype == np.uint8
        assert np.array_equal(got, rgb(picture))


OFFICE = list(office_frames(800, 480))


def test_office_work_comes_back_exactly():
    assert_lossless(OFFICE, encode(*OFFICE))


def test_office_work_costs_a_fraction_of_its_pictures_compressed_one_by_one():
    changed = [OFFICE[0], *(now for before, now in pairwise(OFFICE) if not np.array_equal(before, now))]
    alone = sum(len(zstandard.compress(picture.tobytes(), 9)) for picture in changed)
    assert len(encode(*OFFICE)) < alone / 4


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_sequence_of_pictures_comes_back_exactly(data):
    """Sizes, displays, channels, patches, scrolls and repetitions in any order."""
    encoder = FrameEncoder()
    expected = []
    current: dict[int, np.ndarray] = {}
    for step in range(data.draw(st.integers(1, 8))):
        display = data.draw(st.sampled_from([0, 1, -7]))
        act = data.draw(st.sampled_from(["new", "same", "patch", "scroll"]))
        if act == "new" or display not in current:
            height, width = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 300))
            picture = noise(step, height, width, data.draw(st.sampled_from([3, 4])))
        else:
            picture = current[display].copy()
            y, x = data.draw(st.integers(0, picture.shape[0] - 1)), data.draw(st.integers(0, picture.shape[1] - 1))
            if act == "patch":
                picture[y : y + 9, x : x + 70] = step
            if act == "scroll":
                picture[y:, x:] = np.roll(picture[y:, x:], data.draw(st.integers(-90, 90)), axis=0)
        before = current.get(display)
        differs = (
            before is None or before.shape[:2] != picture.shape[:2] or not np.array_equal(rgb(before), rgb(picture))
        )
        assert encoder.add(picture, display=display) == differs
        current[display] = picture
        expected.append(picture)
    assert_lossless(expected, encoder.finish())


def test_no_pictures_are_no_bytes():
    assert FrameEncoder().finish() == b""
    assert decode(b"") == []


def test_an_unchanged_picture_is_left_out_when_asked_and_its_number_stays_free():
    encoder = FrameEncoder()
    picture = noise(1, 70, 70)
    assert encoder.add(picture, seq=5)
    assert not encoder.add(picture, seq=6, keep_unchanged=False)
    assert encoder.frames == 1
    assert not encoder.add(picture, seq=6)
    assert encoder.add(255 - picture, seq=9, keep_unchanged=False)
    assert [number for number, _ in decode(encoder.finish())] == [5, 6, 9]


def test_unchanged_pictures_cost_a_few_bytes():
    picture = noise(1, 300, 300)
    assert len(encode(*[picture] * 101)) - len(encode(picture)) < 100


def test_the_fourth_channel_is_ignored():
    picture = noise(1, 80, 80, 4)
    other = picture.copy()
    other[..., 3] = 9
    encoder = FrameEncoder()
    assert encoder.add(picture)
    assert not encoder.add(other)
    assert_lossless([picture, other], encoder.finish())


def test_a_picture_that_returns_is_named_not_repeated():
    first, second = noise(1, 256, 256), noise(2, 256, 256)
    assert len(encode(first, second, first, second)) < len(encode(first, second)) + 200


def test_scrolled_content_is_moved_not_repeated():
    page = noise(1, 1500, 512)
    pictures = [page[offset : offset + 600] for offset in (0, 53, 153, 100)]
    data = encode(*pictures)
    assert_lossless(pictures, data)
    shown = 753 * 512 * 3
    tile_rows_at_the_edge = 3 * 2 * TILE * 512 * 3
    assert len(data) < shown + tile_rows_at_the_edge


def test_a_grabber_may_reuse_its_buffer():
    buffer = noise(1, 100, 100, 4)
    first = buffer.copy()
    encoder = FrameEncoder()
    encoder.add(buffer)
    buffer[:] = 7
    assert encoder.add(buffer)
    assert_lossless([first, buffer], encoder.finish())


def test_pictures_are_the_readers_to_keep():
    decoded = decode(encode(noise(1, 70, 70), noise(1, 70, 70)))
    decoded[0][1][:] = 0
    assert np.array_equal(decoded[1][1], noise(1, 70, 70))


def test_views_of_other_arrays_are_accepted():
    big = noise(1, 200, 300, 4)
    assert_lossless([big[10:150:2, 5:200]], encode(big[10:150:2, 5:200]))


def test_tiles_older_than_the_history_are_sent_again(monkeypatch):
    monkeypatch.setattr(codec, "HISTORY", 4)
    pictures = [noise(seed, 128, 128) for seed in (1, 2, 3, 1, 3, 3, 1)]
    assert_lossless(pictures, encode(*pictures))


def test_size_grows_while_pictures_are_added():
    encoder = FrameEncoder()
    sizes = [encoder.size_bytes]
    for seed in range(4):
        encoder.add(noise(seed, 512, 512))
        sizes.append(encoder.size_bytes)
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1_000_000
    assert encoder.size_bytes <= len(encoder.finish())


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0, 4), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype} {pixels.shape}",
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ContentInvalid):
        FrameEncoder().add(pixels)


def test_the_writer_keeps_the_limits_and_goes_on_after_a_refusal():
    encoder = FrameEncoder(replace(DEFAULT_LIMITS, canvas_pixels=10_000, displays=2, frames=3))
    picture = noise(1, 50, 100)
    encoder.add(picture)
    with pytest.raises(ContentInvalid):
        encoder.add(noise(1, 101, 100))
    encoder.add(picture, display=1)
    for refused in ({"display": 2}, {"seq": 1}, {"seq": 2**63}, {"display": 2**63}):
        with pytest.raises(ContentInvalid):
            encoder.add(noise(1, 1, 1), **refused)
    encoder.add(picture, display=1)
    with pytest.raises(ContentInvalid):
        encoder.add(picture)
    assert_lossless([picture] * 3, encoder.finish())
    with pytest.raises(RuntimeError):
        encoder.add(picture)


# --- damage


def stream(*parts: int | bytes, end: bool = True) -> bytes:
    """A stream of these parts: integers as LEB128."""
    plain = b"\x01" + b"".join(part if isinstance(part, bytes) else varint(part) for part in parts)
    return zstandard.compress(plain + (b"\0" if end else b""))


PIXELS = bytes(4 * 2 * 3)
HEAD = (1, 1, fold(0), 4, 2)  # a picture, its number, its display, 4 × 2 pixels
MOVED = (*HEAD, 1, 1, 0, 3, 2, fold(1), fold(0), 1, 0, 0)


@pytest.mark.parametrize("data", [stream(*HEAD, 0, 1, 0, 0, PIXELS), stream(*MOVED, PIXELS)])
def test_streams_written_by_hand_are_read(data):
    assert [picture.shape for _, picture in decode(data)] == [(2, 4, 3)]


DAMAGED = {
    "no zstd frame": b"assent",
    "unknown version": zstandard.compress(b"\x02\0"),
    "no pictures": stream(),
    "no end": stream(*HEAD, 0, 0, end=False),
    "bytes after the end": stream(*HEAD, 0, 0, b"\0"),
    "a second zstd frame": stream(*HEAD, 0, 0) + zstandard.compress(b"x"),
    "noise after the frame": stream(*HEAD, 0, 0) + b"x",
    "unknown tag": stream(2, 1, 0, 4, 2, 0, 0),
    "number does not increase": stream(1, 0, 0, 4, 2, 0, 0),
    "number beyond 63 bits": stream(1, 2**63 + 1, 0, 4, 2, 0, 0),
    "integer of 80 bits": stream(1, b"\xff" * 11 + b"\1"),
    "integer of 65 bits": stream(1, b"\xff" * 9 + b"\2"),
    "no width": stream(1, 1, 0, 0, 2, 0, 0),
    "no height": stream(1, 1, 0, 4, 0, 0, 0),
    "huge width": stream(1, 1, 0, 2**62, 1, 0, 0),
    "huge picture": stream(1, 1, 0, 8193, 8192, 0, 0),
    "huge pictures together": stream(*(1, 1, 0, 8192, 4097, 0, 0), *(1, 1, 2, 8192, 4097, 0, 0)),
    "too many moves": stream(*HEAD, 17, *(0, 0, 1, 1, 0, 0) * 17, 0),
    "move from beyond the left": stream(*HEAD, 1, 0, 0, 3, 2, fold(1), fold(0), 0),
    "move from beyond the right": stream(*HEAD, 1, 1, 0, 3, 2, fold(-1), fold(0), 0),
    "move from above": stream(*HEAD, 1, 0, 0, 4, 1, fold(0), fold(1), 0),
    "move from below": stream(*HEAD, 1, 0, 1, 4, 1, fold(0), fold(-1), 0),
    "move to beyond the picture": stream(*HEAD, 1, 2, 0, 3, 2, fold(2), fold(0), 0),
    "huge move": stream(*HEAD, 1, 2**63, 2**63, 2**63, 2**63, 2**63, 2**63, 0),
    "more tiles than fit": stream(*HEAD, 0, 2, 0, 0, 0, 0, PIXELS * 2),
    "huge number of tiles": stream(*HEAD, 0, 2**60),
    "tile beyond the picture": stream(*HEAD, 0, 1, 1, 0, PIXELS),
    "tile that was never sent": stream(*HEAD, 0, 1, 0, 1),
    "tile beyond the history": stream(*HEAD, 0, 1, 0, HISTORY + 1),
    "tile that does not fit": stream(*HEAD, 0, 1, 0, 0, PIXELS, *(1, 1, 0, 2, 4, 0, 1, 0, 1)),
    "tile cut": stream(*HEAD, 0, 1, 0, 0, PIXELS[:-1], end=False),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_each_kind_of_damage_has_the_one_error(data):
    with pytest.raises(ContentInvalid):
        decode(data)


VALID = encode(*(picture[:130, :200] for picture in OFFICE[:20:3]), noise(1, 40, 40))


def test_cuts_are_found():
    for at in range(1, len(VALID), 7):
        with pytest.raises(ContentInvalid):
            decode(VALID[:at])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_stream_is_refused_or_read_within_the_limits(data):
    plain = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(VALID))
    for _ in range(data.draw(st.integers(1, 3))):
        plain[data.draw(st.integers(0, 120) | st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    limits = replace(DEFAULT_LIMITS, canvas_pixels=100_000, frames=50, tiles=100)
    for damaged in (zstandard.compress(bytes(plain), 1), bytes(plain)):
        try:
            for _, picture in FrameDecoder(damaged, limits):
                assert picture.size <= 300_000
        except ContentInvalid:
            pass


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.integers(0, 7))
def test_flipped_bits_are_refused_by_the_checksum(at, bit):
    damaged = bytearray(VALID)
    damaged[at] ^= 1 << bit
    expected = [picture.tobytes() for _, picture in decode(VALID)]
    try:
        got = [picture.tobytes() for _, picture in decode(bytes(damaged))]
    except ContentInvalid:
        return
    assert got == expected, "a flip may pass only where zstd ignores the bit"


def peak_bytes(data: bytes) -> int:
    tracemalloc.start()
    with pytest.raises(ContentInvalid):
        for _ in FrameDecoder(data):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_bombs_are_refused_in_little_memory():
    endless = stream(*HEAD, 0, 0, bytes(100_000_000))
    huge = stream(1, 1, 0, 2**31, 2**31, 0, 0)
    many = stream(*HEAD, 0, 2**50, bytes(50_000_000))
    assert max(map(len, (endless, huge, many))) < 20_000
    assert max(map(peak_bytes, (endless, huge, many))) < 2_000_000


def picture_record(side: int, moves: int = 0, tiles: bytes = b"\x00") -> bytes:
    """One more picture of display 0, moved onto itself so often."""
    move = b"".join(map(varint, (0, 0, side, side, 0, 0)))
    return b"\x01" + b"".join(map(varint, (1, 0, side, side, moves))) + move * moves + tiles


@pytest.mark.parametrize(
    "record",
    [
        picture_record(4096),
        picture_record(4096, 16),
        picture_record(4096, 0, varint(4096) + b"\x00\x01" * 4096),
    ],
    ids=["pictures", "moves", "tiles"],
)
def test_hours_of_work_in_a_few_bytes_are_refused(record):
    """Twenty thousand pictures of 8192 × 8192, moved sixteen times each, took 36 bytes, and would have taken a day."""
    first = picture_record(4096, 0, varint(4096) + b"\x00\x00" + b"\x00\x01" * 4095) + bytes(64 * 64 * 3)
    bomb = stream(first, record * 1000)
    assert len(bomb) < 60_000
    came = 0
    with pytest.raises(ContentInvalid, match="more work"):
        for _ in FrameDecoder(bomb, replace(DEFAULT_LIMITS, work_pixels=2**29)):
            came += 1
    assert came <= 2**29 // 4096**2
    assert DEFAULT_LIMITS.work_pixels <= 2**35


def test_the_writer_stays_within_the_work_that_a_reader_does():
    patience = replace(DEFAULT_LIMITS, work_pixels=100_000)
    encoder = FrameEncoder(patience)
    pictures = [noise(n, 70, 70) for n in range(20)]
    kept = []
    with pytest.raises(ContentInvalid, match="more work"):
        for picture in pictures:
            encoder.add(picture)
            kept.append(picture)
    assert 0 < len(kept) < len(pictures)
    assert len(decode(encoder.finish(), patience)) == len(kept)


def test_a_window_larger_than_the_limits_is_refused():
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(b"\x01") + compressor.flush()
    with pytest.raises(ContentInvalid):
        decode(data)


def test_readers_with_less_patience_refuse_sooner():
    data = encode(noise(1, 70, 70), noise(2, 70, 70))
    assert len(decode(data)) == 2
    for limits in (
        replace(DEFAULT_LIMITS, frames=1),
        replace(DEFAULT_LIMITS, tiles=5),
        replace(DEFAULT_LIMITS, canvas_pixels=4_899),
        replace(DEFAULT_LIMITS, displays=0),
        replace(DEFAULT_LIMITS, window_bytes=1 << 20),
    ):
        with pytest.raises(ContentInvalid):
            decode(data, limits)
