"""What both services' applications have in common: problems, limits, health, and how they are served.

Every middleware is plain ASGI and touches a request only where it has to: a body that declares its length flows to the
handler untouched, since uvicorn's parser already holds it to that length.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import uvicorn
from fastapi import FastAPI, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent.contracts.problems import Code, Problem
from assent_service import problems
from assent_service.problems import NoPeepingOut

JSON = "application/json"
MAX_CONNECTIONS = 512
"""Connections of one process; the next one is answered 503 at once."""
KEEP_ALIVE_S = 5
"""A connection that asks nothing more is closed after so long."""
BODY_TIMEOUT_S = 10
"""So long may the body of a statement take, and longer as it is longer."""
SLOWEST_BODY_BYTES_PER_S = 64 * 1024
"""What is added for a long body: a second for so many bytes of it that have arrived."""


def check_media(request: Request, taken: str) -> None:
    """Raises Problem (unsupported-media) when the body is said to be of another type than `taken`.

    A body of which nothing is said (RFC 9110 section 8.3) is looked at as what it should be.
    """
    said = request.headers.get("content-type")
    if said is not None and said.partition(";")[0].strip().lower() != taken:
        raise Problem(Code.UNSUPPORTED_MEDIA, f"send it as {taken}")


async def read_body(request: Request) -> bytes:
    """The whole body, in JSON, in time. Raises Problem (unsupported-media, timed-out), and what `BodyLimit` raises when
    it is too long. A question (GET) has none, and whatever comes with it is not looked at.

    Nobody who stops in the middle holds a connection for longer than that.
    """
    if request.method != "GET":
        check_media(request, JSON)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S) as limit:
            latest = limit.when() or 0.0
            async for piece in request.stream():
                body += piece
                limit.reschedule(latest + len(body) / SLOWEST_BODY_BYTES_PER_S)
    except TimeoutError as error:
        raise Problem(Code.TIMED_OUT, "the body did not arrive in time; send it again") from error
    return bytes(body)


class BodyLimit:
    """Refuses bodies longer than `limit_for(path)` bytes: by Content-Length at once, otherwise while they arrive."""

    def __init__(self, app: ASGIApp, limit_for: Callable[[str], int]) -> None:
        self._app = app
        self._limit_for = limit_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_for(scope["path"])
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if declared is not None and declared.isdigit() and int(declared) <= limit:
            await self._app(scope, receive, send)
            return
        too_large = Problem(Code.TOO_LARGE, f"this address takes {limit} bytes at most", limit_bytes=limit)
        if declared is not None:
            await problems.response_for(too_large)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise too_large
            return message

        await self._app(scope, counted, send)


class NoStore:
    """Answers are not to be cached unless they say otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, marked)


def new_app(
    title: str,
    ready: Callable[[], str | None],
    limit_for: Callable[[str], int],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """An application with problem documents, `/healthz`, `/readyz` and a body limit, and without a docs page.

    `ready` raises Problem when the service cannot do its work, and returns what it cannot do for the time being, if it
    does the rest. `lifespan` runs from the first request to the last.
    """
    app = FastAPI(title=title, version="1", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.router.redirect_slashes = False  # a question is signed for one address, exactly
    app.add_middleware(BodyLimit, limit_for=limit_for)
    app.add_middleware(NoStore)
    problems.install(app)
    app.add_middleware(NoPeepingOut)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> dict[str, str]:
        missing = ready()
        return {"status": "ready"} if missing is None else {"status": "ready", "missing": missing}

    return app


class PortTaken(Exception):
    """The address cannot be bound; says which."""


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket. Raises PortTaken. Port 0 takes any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise PortTaken(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return bound


def server_config(app: FastAPI, most_connections: int = MAX_CONNECTIONS) -> uvicorn.Config:
    """How both services are served. No access log: it would undo the hour."""
    return uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=most_connections,
    )


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM; requests under way are finished. Raises PortTaken."""
    bound = listening_socket(host, port)
    uvicorn.Server(server_config(app)).run(sockets=[bound])
