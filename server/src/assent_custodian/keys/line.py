"""One thread that calls a module which may never return, and callers who do not wait for ever.

PKCS#11 knows no deadline: a token, or the network before it, that hangs, hangs whoever called. So one thread calls it
for all. Whoever waits gives up after so much silence; while it lasts, everybody else is refused at once, so nothing
piles up behind it. When the call returns after all, the line is free again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Silence(Exception):
    """Nothing came back for too long, or still does not since somebody else asked."""


class Line:
    """Does what it is given one after the other, in a thread of its own that is started when it is needed.

    The thread is a daemon: a process that ends does not wait for a call that hangs.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._started = False
        self._lock = threading.Lock()
        self._waiting = 0
        self._heard = 0.0

    def ask(self, work: Callable[[], T], silence_s: float) -> T:
        """What `work` returns or raises. Raises Silence after `silence_s` without a sign of life; `work` then goes on
        if it had begun, and what it returns is dropped."""
        job: Future[T] = Future()
        with self._lock:
            if self.is_silent(silence_s):
                raise Silence
            if not self._waiting:
                self._heard = time.monotonic()
            self._waiting += 1
            if not self._started:
                threading.Thread(target=self._serve, name="token", daemon=True).start()
                self._started = True
        job.add_done_callback(self._count_off)
        self._jobs.put((job, work))
        while not wait([job], timeout=max(0.0, self._heard + silence_s - time.monotonic())).done:
            if self.is_silent(silence_s):
                job.cancel()  # if it has not begun, it never will
                raise Silence
        return job.result()

    def heard(self) -> None:
        """A sign of life: called between the steps of a long piece of work."""
        self._heard = time.monotonic()

    def is_silent(self, silence_s: float) -> bool:
        """Whether something was asked, and nothing came back for so long."""
        return self._waiting > 0 and time.monotonic() - self._heard >= silence_s

    def _count_off(self, _job: Future[Any]) -> None:
        with self._lock:
            self._waiting -= 1

    def _serve(self) -> None:
        while True:
            job, work = self._jobs.get()
            if job.set_running_or_notify_cancel():
                self.heard()
                try:
                    done = work()
                except BaseException as error:
                    self.heard()
                    job.set_exception(error)
                else:
                    self.heard()
                    job.set_result(done)
