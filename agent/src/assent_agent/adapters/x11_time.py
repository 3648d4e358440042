"""The X server's clock, told in the monotonic time of this machine.

Events carry the server's time as 32-bit milliseconds, which wrap after 49.7 days. On servers of this machine (Xorg,
Xvfb) they are CLOCK_MONOTONIC, rounded down; then nothing is added. Elsewhere the offset is measured once, and the
measure's own uncertainty is part of the resolution that is claimed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from Xlib import X, Xatom
from Xlib.display import Display

WRAP_MS = 1 << 32
MS = 1_000_000


def unwrap(stamp_ms: int, near_ms: int) -> int:
    """The 64-bit time whose low 32 bits are `stamp_ms` and which lies nearest to `near_ms`; both in milliseconds."""
    half = WRAP_MS // 2
    return near_ms + (stamp_ms - near_ms + half) % WRAP_MS - half


@dataclass(frozen=True, slots=True)
class ServerClock:
    """`offset_ms`: what to add to the server's time to get this machine's monotonic time, wrapping aside."""

    offset_ms: int = 0
    resolution_ns: int = MS

    def monotonic_ns(self, stamp_ms: int, now_ns: int) -> int:
        """The monotonic time of an event stamped `stamp_ms`, seen at `now_ns` (less than 24 days after it happened)."""
        return unwrap(stamp_ms + self.offset_ms, now_ns // MS) * MS


def server_stamp(connection: Display) -> int:
    """The server's time now, in its 32-bit milliseconds (ICCCM section 2.1: append nothing, and be told)."""
    window = connection.screen().root.create_window(0, 0, 1, 1, 0, X.CopyFromParent, event_mask=X.PropertyChangeMask)
    try:
        window.change_property(Xatom.WM_NAME, Xatom.STRING, 8, b"", X.PropModeAppend)
        while True:
            event = connection.next_event()
            if event.type == X.PropertyNotify and event.window == window:
                return int(event.time)
    finally:
        window.destroy()
        connection.flush()


def measure(connection: Display, tries: int = 5) -> ServerClock:
    """Compare the server's clock with this machine's, keeping the try with the shortest round trip.

    `connection` must be the caller's alone: events that wait on it are discarded.
    """
    best: tuple[int, int, int] | None = None
    for _ in range(tries):
        before = time.monotonic_ns()
        stamp = server_stamp(connection)
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, stamp, before)
    if best is None:
        raise ValueError("at least one try is needed")
    round_trip, stamp, before = best
    earliest, latest = before // MS, (before + round_trip) // MS
    # The same clock shows a time within the round trip; coarse clocks lag by one tick (10 ms at 100 Hz) at most.
    if earliest - 10 <= unwrap(stamp, earliest) <= latest:
        return ServerClock()
    middle = (before + round_trip // 2) // MS
    return ServerClock(offset_ms=(middle - stamp) % WRAP_MS, resolution_ns=MS + round_trip)
