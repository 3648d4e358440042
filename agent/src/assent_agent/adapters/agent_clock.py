"""The three clocks of this machine that the agent compares."""

from __future__ import annotations

import time


class SystemAgentClock:
    """Keeps `ports.AgentClock`."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def elapsed_ns(self) -> int:
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic_ns() if boottime is None else time.clock_gettime_ns(boottime)
