"""Applications asked in the thread of the test, without worker threads and without a network.

For machines that play thousands of requests: one takes a few milliseconds, not fifteen. Everything between the request
and the answer is the service's own. What shows only between threads is tested with real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import anyio.to_thread
import httpx2
from fastapi import FastAPI
from tests.simulators.custodian import LocalWitness, TestClock

from assent_custodian.log import witnesses


class InlineClient:
    """As much of `TestClient` as the simulators use."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return self.request("GET", target, headers)

    def post(self, target: str, content: bytes = b"", headers: Mapping[str, str] | None = None) -> httpx2.Response:
        return self.request("POST", target, headers, content)

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> httpx2.Response:
        path, _, query = target.partition("?")
        fields = {"host": "testserver", **{name.lower(): value for name, value in (headers or {}).items()}}
        if method != "GET":
            fields["content-length"] = str(len(content))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
            "server": ("testserver", 80), "client": ("testclient", 1),
        }  # fmt: skip
        arriving: list[dict[str, Any]] = [{"type": "http.request", "body": content, "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return arriving.pop() if arriving else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        with patch.object(anyio.to_thread, "run_sync", _here):
            _loop().run_until_complete(self._app(scope, receive, send))  # type: ignore[arg-type]
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx2.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


async def _here(work: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
    return work(*arguments)


_LOOPS: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    if not _LOOPS:
        _LOOPS.append(asyncio.new_event_loop())
    return _LOOPS[0]


@contextmanager
def witness_beside(witness: LocalWitness, clock: TestClock) -> Iterator[None]:
    """Until the end, custodians of this process ask this witness without a network. What it answers is its own."""

    class Direct:
        def __init__(self, **_options: Any) -> None:
            return

        def __enter__(self) -> Direct:
            return self

        def __exit__(self, *_error: object) -> None:
            return

        def close(self) -> None:
            return

        @contextmanager
        def stream(self, _method: str, _url: str, *, content: bytes) -> Iterator[httpx2.Response]:
            status, body = witness.answer(content, clock)
            yield httpx2.Response(status, stream=httpx2.ByteStream(body))

    with patch.object(witnesses, "httpx2", SimpleNamespace(Client=Direct, HTTPError=httpx2.HTTPError)):
        yield
