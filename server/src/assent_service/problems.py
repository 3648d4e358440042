"""Turns every failure into `application/problem+json`, and never lets content, keys or names into an answer or a log.

An exception that nobody expected is answered with `internal` and a random reference; its type and place are logged, its
message is not, since a message may quote what it choked on.
"""

from __future__ import annotations

import json
import secrets
import traceback

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent.contracts.envelope import StatementInvalid
from assent.contracts.problems import Code, Problem
from assent_service.database import WriterBusy, is_busy, is_full

_log = structlog.get_logger("assent.service")

RETRY_AFTER_S = 5


def response_for(problem: Problem) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if problem.code.status in (429, 503) else {}
    if problem.code.status == 408:
        headers["Connection"] = "close"
    return Response(
        json.dumps(problem.as_dict()),
        status_code=problem.code.status,
        media_type="application/problem+json",
        headers=headers,
    )


def where(error: BaseException) -> list[str]:
    """File names and lines of the traceback, without messages, locals or paths of this machine."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames]


class NoPeepingOut:
    """Catches what nobody expected before the server would log it with its message.

    If the answer had begun, it is left unfinished: the server then drops the connection, and the client sees that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            reference = secrets.token_hex(6)
            _log.error("unexpected", reference=reference, kind=type(error).__name__, at=where(error))
            if not begun:
                problem = Problem(Code.INTERNAL, f"report this reference to the operator: {reference}")
                await response_for(problem)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Register the handlers. Every answer that is not a success goes through here or through `NoPeepingOut`."""

    @app.exception_handler(Problem)
    async def _problem(_request: Request, error: Problem) -> Response:
        return response_for(error)

    @app.exception_handler(StatementInvalid)
    async def _statement(_request: Request, error: StatementInvalid) -> Response:
        return response_for(Problem(Code.MALFORMED, str(error)))

    @app.exception_handler(DBAPIError)
    @app.exception_handler(NoConnectionFree)
    @app.exception_handler(WriterBusy)
    @app.exception_handler(OSError)
    async def _database(_request: Request, error: Exception) -> Response:
        if is_full(error):
            _log.error("disk-full", kind=type(error).__name__, at=where(error))
            return response_for(Problem(Code.STORAGE_FULL, "try again later; what was stored before is safe"))
        if not is_busy(error):
            raise error
        _log.warning("database-busy", kind=type(error).__name__, at=where(error))
        return response_for(Problem(Code.BUSY, "the database did not answer in time; ask again"))

    @app.exception_handler(RequestValidationError)
    async def _validation(_request: Request, error: RequestValidationError) -> Response:
        places = ", ".join(".".join(str(p) for p in e["loc"]) for e in error.errors()[:5])
        return response_for(Problem(Code.MALFORMED, f"not well-formed: {places}"))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return response_for(Problem(Code.NOT_FOUND, "no such address"))
        if error.status_code != 405:
            raise error
        allowed = ", ".join(methods_of(app, request.scope))
        response = response_for(Problem(Code.METHOD_NOT_ALLOWED, f"this address takes {allowed}"))
        response.headers["Allow"] = allowed  # RFC 9110 section 15.5.6: all of them, whichever route has which
        return response


def methods_of(app: FastAPI, scope: Scope) -> list[str]:
    """The methods with which this address may be asked."""
    return [
        method
        for method in ("GET", "PUT", "POST")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
