"""What an event and a picture cost to store, to write and to read, beside the plain alternatives.

Every row: `name`, `value`, `unit`, `baseline` (the figure of what the name compares with), `ratio` (value over
baseline), `target` (None where none was set), `at` (the conditions). Times are CPU time of one process, best of three.
"""

from __future__ import annotations

import io
import lzma
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import zstandard
from PIL import Image

from assent.codec.content import decode_content, encode_content
from assent.codec.events import encode_events
from assent.codec.frames import FrameDecoder, FrameEncoder
from assent.contracts.events import Event, SegmentContent
from tests.strategies.screens import Pixels, office_frames
from tests.strategies.traces import dense_trace, office_trace


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of one call, best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def row(name: str, unit: str, at: str, *, value: float, baseline: float, target: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": round(baseline, 3),
        "ratio": round(value / baseline, 4),
        "target": target,
        "at": at,
    }


def event_rows(name: str, trace: Sequence[Event], target: str) -> list[dict[str, Any]]:
    count = len(trace)
    lines = b"".join(msgspec.json.encode(event) + b"\n" for event in trace)
    packed = msgspec.msgpack.encode(trace)
    content = SegmentContent(stream="0" * 32, sequence=0, modality="pointer", events=tuple(trace), anchors=())
    data = encode_events(trace)
    whole = encode_content(content)
    at = f"{count} events"
    reader = msgspec.msgpack.Decoder(tuple[Event, ...])
    return [
        row(
            f"events, {name}, against JSON Lines",
            "B/event",
            at,
            value=len(data) / count,
            baseline=len(lines) / count,
            target=target,
        ),
        row(
            f"events, {name}, with envelope, against xz of JSON Lines",
            "B/event",
            at,
            value=len(whole) / count,
            baseline=len(lzma.compress(lines, preset=9)) / count,
            target=target,
        ),
        row(
            f"events, {name}, writing, against MessagePack and zstd 19",
            "events/s",
            f"{at}; MessagePack alone takes {len(packed) / count:.1f} B/event",
            value=count / cpu_s(lambda: encode_content(content)),
            baseline=count / cpu_s(lambda: zstandard.compress(msgspec.msgpack.encode(trace), 19)),
        ),
        row(
            f"events, {name}, reading, against MessagePack uncompressed",
            "events/s",
            at,
            value=count / cpu_s(lambda: decode_content(whole)),
            baseline=count / cpu_s(lambda: reader.decode(packed)),
        ),
    ]


def frame_rows(name: str, pictures: Sequence[Pixels]) -> list[dict[str, Any]]:
    changed = [pictures[0], *(now for before, now in pairwise(pictures) if not np.array_equal(before, now))]
    rgb = [np.ascontiguousarray(picture[..., 2::-1]) for picture in changed]

    def write() -> bytes:
        encoder = FrameEncoder()
        for picture in pictures:
            encoder.add(picture)
        return encoder.finish()

    def png(picture: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        return buffer.getvalue()

    def read() -> None:
        for _ in FrameDecoder(data):
            pass

    data = write()
    number = len(changed)
    png_size = sum(len(png(picture)) for picture in rgb) / 1024 / number
    zstd_size = sum(len(zstandard.compress(picture.tobytes(), 9)) for picture in rgb) / 1024 / number
    size = len(data) / 1024 / number
    write_ms = cpu_s(write) * 1000
    one_png = png(rgb[0])
    png_ms = cpu_s(lambda: png(rgb[0])) * 1000
    unchanged_ms = cpu_s(lambda: still(pictures[0], 20)) * 1000 / 20 - cpu_s(lambda: still(pictures[0], 0)) * 1000 / 20
    height, width = pictures[0].shape[:2]
    at = f"{width} × {height}, {len(pictures)} pictures, {number} changed, key picture included"
    return [
        row(
            f"screen, {name}, against PNG",
            "KiB/changed picture",
            at,
            value=size,
            baseline=png_size,
        ),
        row(
            f"screen, {name}, against zstd 9 of each picture",
            "KiB/changed picture",
            at,
            value=size,
            baseline=zstd_size,
        ),
        row(
            f"screen, {name}, writing, against PNG",
            "ms CPU/changed picture",
            at,
            value=write_ms / number,
            baseline=png_ms,
        ),
        row(f"screen, {name}, unchanged, against PNG", "ms CPU/picture", at, value=unchanged_ms, baseline=png_ms),
        row(
            f"screen, {name}, reading, against PNG",
            "ms CPU/picture",
            at,
            value=cpu_s(read) * 1000 / len(pictures),
            baseline=cpu_s(lambda: np.asarray(Image.open(io.BytesIO(one_png)))) * 1000,
        ),
    ]


def still(picture: Pixels, repetitions: int) -> None:
    encoder = FrameEncoder()
    for _ in range(repetitions + 1):
        encoder.add(picture, keep_unchanged=False)


def run() -> list[dict[str, Any]]:
    """All figures. Takes about half a minute."""
    return [
        *event_rows("1 kHz mouse, ms stamps", dense_trace(), "figure <= 4"),
        *event_rows("1 kHz mouse, ns stamps", dense_trace(stamp_ns=1), "figure <= 4"),
        *event_rows("office, 125 Hz mouse and typing", office_trace(), "figure <= 7"),
        *frame_rows("office text", list(office_frames())),
        *frame_rows("office text with photographs", list(office_frames(photographs=True))),
    ]
