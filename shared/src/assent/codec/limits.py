"""How much a reader is willing to hold in memory, and the one error for everything it refuses."""

from __future__ import annotations

from dataclasses import dataclass


class ContentInvalid(ValueError):
    """The bytes are damaged, were made by a hostile writer, or exceed the reader's limits; or a value has no place in
    the format. The message names the rule that was broken and never what was recorded."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, checked before anything of that size is allocated. The defaults fit every honest segment.

    An event takes 200 to 450 bytes as a Python object, a pixel 3 bytes. Whoever wants harm fills them in a few bytes:
    they bound what one segment can cost its reader, in memory and in time.
    """

    content_bytes: int = 64 * 1024 * 1024
    """The encoded content as a whole."""

    events: int = 1_000_000
    """Events of one segment; distinct texts and keys have the same bound."""

    rectangles: int = 500_000
    """Masked rectangles inside events, and displays inside events, each in total."""

    event_bytes: int = 64 * 1024 * 1024
    """The decompressed block of events, texts included."""

    notes: int = 100_000
    """Clock anchors, and gaps, each."""

    frames: int = 20_000
    """Pictures of one segment, and events that describe them."""

    displays: int = 16
    """Displays that pictures may belong to."""

    canvas_pixels: int = 8192 * 8192
    """Pixels of the current pictures of all displays together, hence of any one picture."""

    tiles: int = 200_000
    """Tiles sent in one segment, so at most 2.4 GB pass through the decompressor; 8,192 of them are kept at a time."""

    work_pixels: int = 2**35
    """Pixels that reading all pictures of one segment touches: of each picture as it comes out, of each move, of each
    tile that is put in place. About a minute of work, or four thousand 4K pictures that hardly differ."""

    window_bytes: int = 32 * 1024 * 1024
    """Memory that the compressed pictures may demand of the decompressor."""


DEFAULT_LIMITS = Limits()
