"""One supervisor, one process per service: crashed ones are started again, and all stop together.

A service that crashes again and again is started ever more slowly, up to every half minute; the others run on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FrameType

import httpx2
import structlog

from assent_server.process import PARENT

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_AFTER_S = 60.0
"""A service that ran this long was not crashing at its start."""

POLL_S = 0.1

_log = structlog.get_logger("assent.supervisor")


class NotStarted(Exception):
    """A service did not become ready; says which."""


@dataclass
class Service:
    """A process to keep alive. `ready_url` answers 200 once it can do its work; None: nobody waits for it."""

    name: str
    command: Sequence[str]
    ready_url: str | None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    next_start: float = 0.0
    restarts: int = 0

    def start(self) -> None:
        environment = {**os.environ, PARENT: str(os.getpid())}
        self.process = subprocess.Popen(list(self.command), env=environment)
        self.started = time.monotonic()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Starts services and waits until all are ready. To be used from the main thread."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = list(services)
        self._stopping = threading.Event()

    def run(self, when_ready: Callable[[], None]) -> None:
        """Start all, call `when_ready`, and keep them alive until SIGTERM or SIGINT; then stop all.

        Raises NotStarted when a service does not become ready at first; the others are stopped then.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            for service in self._services:
                service.start()
            for service in self._services:
                if not self._wait_until_ready(service):
                    return
            when_ready()
            while not self._stopping.wait(POLL_S):
                for service in self._services:
                    self._keep_alive(service)
        finally:
            self._stop_all()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()

    def _wait_until_ready(self, service: Service) -> bool:
        """False when asked to stop meanwhile. Raises NotStarted."""
        if service.ready_url is None:
            return True
        deadline = time.monotonic() + READY_TIMEOUT_S
        with httpx2.Client(trust_env=False, timeout=5) as http:
            while time.monotonic() < deadline:
                if self._stopping.wait(POLL_S):
                    return False
                if not service.running:
                    raise NotStarted(f"the {service.name} ended at its start; what it said is above")
                try:
                    if http.get(service.ready_url).status_code == 200:
                        return True
                except httpx2.HTTPError:
                    continue
        raise NotStarted(f"the {service.name} was not ready after {READY_TIMEOUT_S:.0f} seconds")

    def _keep_alive(self, service: Service) -> None:
        if service.running:
            return
        now = time.monotonic()
        if service.process is not None:
            code = service.process.returncode
            service.process = None
            if now - service.started > STEADY_AFTER_S:
                service.pause_s = FIRST_PAUSE_S
            service.next_start = now + service.pause_s
            service.pause_s = min(service.pause_s * 2, LONGEST_PAUSE_S)
            _log.error("service-ended", service=service.name, code=code)
        if now >= service.next_start:
            service.restarts += 1
            service.start()
            _log.warning("service-started-again", service=service.name, restarts=service.restarts)

    def _stop_all(self) -> None:
        """The last one started stops first. Those that do not stop in time are killed."""
        running = [service.process for service in reversed(self._services) if service.process and service.running]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
