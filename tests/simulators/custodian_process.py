"""A custodian in a process of its own that kills itself (SIGKILL) at a chosen step of answering, or never.

Steps: `before N` and `after N` are the N-th commit of the database since the first question about leases came in;
`answering` is when the answer would leave. A process that was forked from one that has imported everything starts in
no time.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.simulators.custodian import TestClock

from assent_custodian.app import app_for
from assent_custodian.context import Custodian, open_custodian
from assent_custodian.settings import Settings
from assent_service.web import listening_socket

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


class _Killer:
    def __init__(self, step: str) -> None:
        self._step, self._armed, self._commits = step, False, 0

    def reached(self, step: str) -> None:
        if self._armed and step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_commits(self, custodian: Custodian) -> None:
        dialect: Any = custodian.database.engine.dialect
        commit = dialect.do_commit

        def do_commit(connection: object) -> None:
            self._commits += self._armed
            self.reached(f"before {self._commits}")
            commit(connection)
            self.reached(f"after {self._commits}")

        dialect.do_commit = do_commit

    def around(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.reached("answering")
                await send(message)

            self._armed = self._armed or scope.get("path", "").startswith("/v1/leases")
            await app(scope, receive, sent)

        return watched


def _serve(settings: Settings, at: datetime, step: str, told: Connection) -> None:
    killer = _Killer(step)
    custodian = open_custodian(settings, TestClock(at))
    killer.watch_commits(custodian)
    bound = listening_socket("127.0.0.1", 0)
    bound.listen()
    told.send(bound.getsockname()[1])
    uvicorn.Server(uvicorn.Config(killer.around(app_for(custodian)), log_config=None)).run(sockets=[bound])


@contextmanager
def custodian_process(settings: Settings, at: datetime, step: str) -> Iterator[tuple[ForkServerProcess, str]]:
    """The process, whose clock stands still, and its address. It is killed at the end if it still runs."""
    told, tells = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_serve, args=(settings, at, step, tells), daemon=True)
    process.start()
    tells.close()
    try:
        yield process, f"http://127.0.0.1:{told.recv()}"
    finally:
        process.kill()
        process.join(20)
