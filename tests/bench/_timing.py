"""Timing operations beside each other, so that a busy moment hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

BLOCK = 6
UNCOUNTED = 2


def interleaved_ms(rounds: int, *operations: Callable[[], object]) -> list[float]:
    """Median wall time of each operation in milliseconds.

    The operations take turns in blocks; the first runs of a block are not counted, so that each is measured in the
    state of memory that it leaves itself, and none pays for the page faults of another.
    """
    times: list[list[float]] = [[] for _ in operations]
    for _ in range(rounds):
        for operation, taken in zip(operations, times, strict=True):
            for run_number in range(BLOCK):
                begin = time.perf_counter()
                operation()
                if run_number >= UNCOUNTED:
                    taken.append((time.perf_counter() - begin) * 1000)
    return [statistics.median(taken) for taken in times]
