"""How much a reader is willing to hold in memory, and the one error for everything it refuses."""

from __future__ import annotations

from dataclasses import dataclass


class ContentInvalid(ValueError):
    """The bytes are damaged, were made by a hostile writer, or exceed the reader's limits; or a value has no place in
    the format. The message names the rule that was broken and never what was recorded."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, checked before anything of that size is allocated. The defaults fit every honest segment.

    An event takes about 200 bytes as a Python object, a pixel 3 bytes.
    """

    content_bytes: int = 64 * 1024 * 1024
    """The encoded content as a whole."""

    events: int = 2_000_000
    """Events of one segment; masked rectangles and displays inside events have the same bound, each in total."""

    event_bytes: int = 256 * 1024 * 1024
    """The decompressed block of events, texts included."""

    notes: int = 100_000
    """Clock anchors, and gaps, each."""

    frames: int = 20_000
    """Pictures of one segment."""

    displays: int = 16
    """Displays that pictures may belong to."""

    canvas_pixels: int = 8192 * 8192
    """Pixels of the current pictures of all displays together, hence of any one picture."""

    tiles: int = 200_000
    """Tiles sent in one segment, so at most 2.4 GB pass through the decompressor; 8,192 of them are kept at a time."""

    window_bytes: int = 32 * 1024 * 1024
    """Memory that the compressed pictures may demand of the decompressor."""


DEFAULT_LIMITS = Limits()
