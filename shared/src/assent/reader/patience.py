"""How long a collector is waited for that is busy or out of reach: once for a whole fetch, not for each piece of it.

While one call waits, no other is made. Whatever arrives begins the patience anew; when nothing did for `PATIENCE_S`,
nothing more is asked, and every further call fails at once. So a fetch ends in a time that one can wait for, whoever
answers what.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from assent.client.transport import ClientError

PATIENCE_S: Final = 300.0
"""Seconds of failing calls and waits, without anything that arrived in between."""

LONGEST_PAUSE_S: Final = 30.0
"""Waits are 1, 2, 4 … seconds up to this; longer only where the service asks for it (Retry-After, RFC 9110 section
10.2.3)."""

ATTEMPTS: Final = 4
"""So often is asked for bodies that do not come, where nobody says that the service is busy: it may be these alone."""

T = TypeVar("T")


class FetchStopped(ClientError):
    """Nothing came from the collector for as long as is waited. What had come before is whole, and counts.

    `read_to`: pseudonym and day up to which everything was read; `Data.sessions(after=…)` goes on behind them. None
    when not even the first person's day was.
    """

    retryable = True

    def __init__(self, reason: str, read_to: tuple[str, str] | None = None) -> None:
        super().__init__(reason)
        self.read_to = read_to


class Patience:
    """May be used by several threads. `waits` hears when waiting begins and ends. `wait` pauses for so many seconds; by
    default until somebody leaves."""

    def __init__(
        self, wait: Callable[[float], object] | None = None, waits: Callable[[bool], None] = lambda _waits: None
    ) -> None:
        self._left = threading.Event()
        self._wait = wait or self._left.wait
        self._waits = waits
        self._turn = threading.Lock()
        self._spent_s = 0.0
        self._failures = 0
        self.stopped: str | None = None
        """Why nothing more is asked."""

    def call(self, ask: Callable[[], T], attempts: int | None = None) -> T:
        """The result of `ask`, which is repeated while it fails for a passing reason; at most so many times, if the
        service does not say that it is busy. Raises FetchStopped, and what `ask` raises."""
        tried = 0
        while True:
            with self._turn:  # whoever holds it waits
                self._check()
                failures = self._failures
            began = time.monotonic()
            try:
                result = ask()
            except ClientError as error:
                if not error.retryable:
                    raise
                tried += 1
                if tried == attempts and not error.busy:
                    raise
                self._failed(error, failures, time.monotonic() - began)
            else:
                self.arrived()
                return result

    def arrived(self) -> None:
        """Something came."""
        self._failures, self._spent_s = 0, 0.0

    def begin_anew(self) -> None:
        """Somebody wants to go on after it was stopped."""
        self.arrived()
        self.stopped = None

    def close(self) -> None:
        """Nobody waits any more."""
        self._left.set()

    def _check(self) -> None:
        if self.stopped is not None:
            raise FetchStopped(self.stopped)
        if self._left.is_set():
            raise FetchStopped("it was closed")

    def _failed(self, error: ClientError, failures: int, took_s: float) -> None:
        """Wait, unless another call has done so since this one was made. Raises FetchStopped."""
        with self._turn:
            self._check()
            if self._failures != failures:
                return
            pause_s = max(min(LONGEST_PAUSE_S, 2.0**failures), float(error.retry_after_s or 0))
            self._failures += 1
            self._spent_s += took_s + pause_s
            if self._spent_s > PATIENCE_S:
                self.stopped = f"nothing came from the collector for {PATIENCE_S / 60:.0f} minutes ({error})"
                if pause_s > LONGEST_PAUSE_S:
                    self.stopped = f"the collector asks to be left alone for {pause_s:.0f} seconds ({error})"
                raise FetchStopped(self.stopped)
            self._waits(True)
            self._wait(pause_s)
            self._waits(False)
