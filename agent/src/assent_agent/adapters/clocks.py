"""The machine's own clocks."""

from __future__ import annotations

import time


class SystemClock:
    """The monotonic and the wall clock of this machine; keeps both clock ports."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()
