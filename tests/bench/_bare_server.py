"""The baseline: what a server must do to store a body durably and to serve it, and nothing else.

python -m tests.bench._bare_server FOLDER PORT
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from assent_service.web import listening_socket

PIECE_BYTES = 512 * 1024


def bare_app(folder: Path) -> Starlette:
    async def put(request: Request) -> Response:
        name = request.path_params["name"]
        digest = hashlib.sha256()
        part = folder / f".{name}"
        with part.open("wb", buffering=0) as file:
            async for piece in request.stream():
                digest.update(piece)
                file.write(piece)
            await run_in_threadpool(_keep, file, part, folder / name)
        return PlainTextResponse(digest.hexdigest())

    async def get(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for name in request.query_params["names"].split(","):
                with (folder / name).open("rb", buffering=0) as file:
                    while piece := await run_in_threadpool(file.read, PIECE_BYTES):
                        yield piece

        return StreamingResponse(pieces(), media_type="application/octet-stream")

    return Starlette(routes=[Route("/{name}", put, methods=["PUT"]), Route("/", get)])


def _keep(file: BinaryIO, part: Path, final: Path) -> None:
    os.fsync(file.fileno())
    part.rename(final)
    handle = os.open(final.parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def main(folder: Path, port: int) -> None:
    folder.mkdir(parents=True)
    bound = listening_socket("127.0.0.1", port)
    bound.listen()
    print("listening", flush=True)
    uvicorn.Server(uvicorn.Config(bare_app(folder), log_config=None, access_log=False)).run(sockets=[bound])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
