"""The witness over HTTP: `POST /add-checkpoint` and `GET /<origin hash>/checkpoint` as C2SP tlog-witness has them,
`GET /healthz`, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from assent.transparency.errors import (
    CheckpointInvalid,
    NotSigned,
    OriginUnknown,
    ProofInvalid,
    SignatureInvalid,
    SubmissionInvalid,
)
from assent.transparency.note import VerifierKey
from assent.transparency.succession import Ending, LeavesDropped
from assent.transparency.witnessing import SIZE_MEDIA_TYPE, build_size
from assent_witness.heads import HeadDamaged, Heads
from assent_witness.keys import load_cosigner
from assent_witness.settings import WitnessSettings
from assent_witness.witness import OldSizeWrong, Witness

MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 10
MAX_CONNECTIONS = 64

_STATUS: dict[type[Exception], int] = {
    SubmissionInvalid: 400,
    CheckpointInvalid: 400,
    SignatureInvalid: 403,
    NotSigned: 403,
    OriginUnknown: 404,
    ProofInvalid: 422,
    LeavesDropped: 422,
}

_log = logging.getLogger(__name__)


def verifier_key(settings: WitnessSettings) -> str:
    """The line by which others trust this witness: goes into their policies."""
    return str(load_cosigner(settings.key_path, settings.name).verifier)


def create_app(
    settings: WitnessSettings,
    now: Callable[[], float] = time.time,
    log_keys_now: Callable[[], Sequence[str]] | None = None,
    endings: Callable[[], Sequence[Ending]] = tuple,
) -> FastAPI:
    """Build the service. Raises at once when the key, a log key or the state folder cannot be used.

    `log_keys_now` looks for the log keys of now: it is asked when a checkpoint has a signature that is not known, every
    30 s at most. None: they never change. `endings`: of the logs before it, as `Witness` has them.
    """
    heads = Heads(settings.state_dir)
    witness = Witness(
        load_cosigner(settings.key_path, settings.name),
        heads,
        [VerifierKey.from_text(text) for text in settings.log_keys],
        now,
        None if log_keys_now is None else lambda: [VerifierKey.from_text(text) for text in log_keys_now()],
        endings,
    )
    app = FastAPI(title="Assent witness", openapi_url=None)

    @app.post("/add-checkpoint")
    async def add_checkpoint(request: Request) -> Response:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        return PlainTextResponse(f"a request has at most {MAX_BODY_BYTES} bytes\n", 413)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("the request did not arrive whole in time\n", 408)
        try:
            return PlainTextResponse(await run_in_threadpool(witness.add_checkpoint, bytes(body)))
        except OldSizeWrong as error:
            return Response(build_size(error.size), 409, {"Content-Type": SIZE_MEDIA_TYPE})
        except tuple(_STATUS) as error:
            return PlainTextResponse(f"{error}\n", _STATUS[type(error)])
        except (HeadDamaged, OSError) as error:
            _log.error("cannot keep heads, so nothing is cosigned: %s", error)
            return PlainTextResponse("the witness cannot keep its state\n", 500)

    @app.get("/{origin_hash}/checkpoint")
    def checkpoint(origin_hash: str) -> Response:
        try:
            note = heads.newest(origin_hash)
        except (HeadDamaged, OSError) as error:
            _log.error("cannot read heads: %s", error)
            return PlainTextResponse("the witness cannot read its state\n", 500)
        if note is None:
            return PlainTextResponse("this witness has signed nothing of such a log\n", 404)
        return PlainTextResponse(note.to_bytes().decode(), headers={"Cache-Control": "no-cache"})

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    return app


def serve(
    settings: WitnessSettings,
    host: str,
    port: int,
    log_keys_now: Callable[[], Sequence[str]] | None = None,
    endings: Callable[[], Sequence[Ending]] = tuple,
) -> None:
    """Run until SIGTERM or SIGINT. Logs no requests and no addresses."""
    uvicorn.run(
        create_app(settings, log_keys_now=log_keys_now, endings=endings),
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=BODY_TIMEOUT_S,
    )
