"""The collector's routes. They read, check and answer; what is decided and stored is decided and stored elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from assent.contracts.envelope import Envelope
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import StreamCertificate
from assent.contracts.wire import (
    BODY_SHA256_FIELD,
    HEADER_FIELD,
    SEALED_KEY_FIELD,
    SIGNATURE_FIELD,
    FetchAnswer,
    FetchBody,
    RecordBody,
    StreamState,
)
from assent_collector import rules
from assent_collector.fetches import Fetches
from assent_collector.reports import Reports
from assent_collector.settings import CollectorSettings
from assent_collector.uploads import Admission, Receiving, Uploads
from assent_service.describing import answers, refuses, takes, takes_bytes
from assent_service.web import JSON, check_media, read_body

PIECE_BYTES = 1024 * 1024
"""So much of a body is held in memory before it goes to disk."""

StreamPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="stream id, 32 hexadecimal digits")]
NumberPath = Annotated[int, Path(ge=0, lt=2**31)]
_PREAMBLE = {
    HEADER_FIELD: "exact header bytes, base64url",
    SEALED_KEY_FIELD: "the sealed data key, base64url",
    BODY_SHA256_FIELD: "SHA-256 of the body, hexadecimal",
    SIGNATURE_FIELD: "the stream key's signature, base64url",
}
BYTES = "application/octet-stream"

_PLACE = (Code.SIGNATURE_INVALID, Code.CERTIFICATE_INVALID, Code.REVOKED, Code.CONFLICT, Code.OUT_OF_ORDER)
"""Why something may not be put where it claims to belong."""
_TICKET = (Code.STALE, Code.TICKET_INVALID, Code.TOO_MANY)
"""Why a ticket may not serve."""


class Slots:
    """How much may go on at once, in all and per stream. Counts, and knows no addresses."""

    def __init__(self, total: int, per_stream: int) -> None:
        self._total = total
        self._per_stream = per_stream
        self._taken: dict[str, int] = {}
        self._count = 0

    @contextmanager
    def one(self, stream: str) -> Iterator[None]:
        """Raises Problem (too-many) when there is no slot."""
        mine = self._taken.get(stream, 0)
        if self._count >= self._total or mine >= self._per_stream:
            raise Problem(Code.TOO_MANY, "too much is under way; try again in a few seconds")
        self._taken[stream] = mine + 1
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if self._taken[stream] == 1:
                del self._taken[stream]
            else:
                self._taken[stream] -= 1


def routes(uploads: Uploads, fetches: Fetches, reports: Reports, settings: CollectorSettings) -> APIRouter:
    """All routes, bound to the services that do the work."""

    async def count_refusals() -> AsyncIterator[None]:
        try:
            yield
        except Problem as problem:
            reports.refused(problem.code)
            raise

    router = APIRouter(dependencies=[Depends(count_refusals, scope="function")])
    uploading = Slots(settings.max_uploads, settings.max_uploads_per_stream)
    fetching = Slots(settings.max_fetches, settings.max_fetches)

    @router.put(
        "/v1/streams/{stream}",
        openapi_extra=takes(Envelope, StreamCertificate),
        response_model=StreamState,
        responses=refuses(Code.CERTIFICATE_INVALID, Code.REVOKED),
    )
    async def put_stream(request: Request, stream: StreamPath) -> Response:
        """Show a stream certificate, the first or an extension; the answer says what comes next."""
        envelope = Envelope.from_json(await read_body(request))
        state = await run_in_threadpool(uploads.register, stream, envelope)
        return Response(state.to_json(), media_type=JSON)

    @router.put(
        "/v1/streams/{stream}/segments/{sequence}",
        openapi_extra=takes_bytes(_PREAMBLE),
        response_model=Envelope,
        responses=refuses(*_PLACE, Code.LENGTH_REQUIRED, Code.BUDGET_SPENT, Code.BODY_MISMATCH, Code.TOO_MANY),
    )
    async def put_segment(request: Request, stream: StreamPath, sequence: NumberPath) -> Response:
        """Send a segment. The fields are checked before a byte of the body is read; the answer is a signed Stored."""
        check_media(request, BYTES)
        preamble = rules.read_preamble(request.headers, stream, sequence)
        with uploading.one(stream):
            admitted = await run_in_threadpool(uploads.admit, preamble, request.headers.get("content-length"))
            if isinstance(admitted, Envelope):
                return Response(admitted.to_json(), media_type=JSON)
            stored = await _receive(request.receive, uploads, admitted, settings)
        return Response(stored.to_json(), media_type=JSON)

    @router.put(
        "/v1/streams/{stream}/records/{sequence}",
        openapi_extra=takes(RecordBody),
        response_model=Envelope,
        responses=refuses(*_PLACE),
    )
    async def put_record(request: Request, stream: StreamPath, sequence: NumberPath) -> Response:
        """Send a skip record (`sequence` is its from_sequence) or an end record (its next_sequence)."""
        body = RecordBody.parse(await read_body(request))
        stored = await run_in_threadpool(uploads.record, stream, sequence, body)
        return Response(stored.to_json(), media_type=JSON)

    @router.post(
        "/v1/fetch/streams",
        openapi_extra=takes(FetchBody),
        response_model=FetchAnswer,
        responses=refuses(*_TICKET),
    )
    async def fetch_streams(request: Request) -> Response:
        """Certificates, headers, sealed keys and records of a ticket's streams; those unknown here are absent."""
        return await _answer_in_pieces(request, fetching, fetches.streams, JSON)

    @router.post(
        "/v1/fetch/bodies",
        openapi_extra=takes(FetchBody),
        response_class=StreamingResponse,
        responses={**answers(BYTES), **refuses(*_TICKET)},
    )
    async def fetch_bodies(request: Request) -> Response:
        """For each segment: 32 bytes id, 8 bytes big-endian length, the body. Length 2^64-1: no longer there."""
        return await _answer_in_pieces(request, fetching, fetches.bodies, BYTES)

    return router


async def _receive(receive: Receive, uploads: Uploads, admission: Admission, settings: CollectorSettings) -> Envelope:
    """Take the body from the network to the disk, a piece at a time, and store it.

    Raises Problem; also when the body comes too slowly.
    """
    receiving: Receiving | None = None
    pieces: list[bytes] = []
    held = received = 0
    began = time.monotonic()
    try:
        while True:
            try:
                async with asyncio.timeout(settings.idle_timeout_s):
                    message = await receive()
            except TimeoutError as error:
                raise Problem(Code.TIMED_OUT, "the body stopped arriving; send it again") from error
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece = message.get("body", b"")
            received += len(piece)
            if time.monotonic() - began > settings.idle_timeout_s + received / settings.slowest_bytes_per_s:
                raise Problem(Code.TIMED_OUT, "the body arrives too slowly; send it again on a better network")
            pieces.append(piece)
            held += len(piece)
            if not message.get("more_body", False):
                break
            if held >= PIECE_BYTES:
                if receiving is None:
                    receiving = await run_in_threadpool(uploads.begin)
                await run_in_threadpool(receiving.write, pieces)
                pieces, held = [], 0
    except BaseException:
        if receiving is not None:
            receiving.incoming.discard()
        raise
    return await run_in_threadpool(_finish, uploads, admission, receiving, pieces)


def _finish(uploads: Uploads, admission: Admission, receiving: Receiving | None, pieces: list[bytes]) -> Envelope:
    return uploads.finish(admission, receiving if receiving is not None else uploads.begin(), pieces)


class _WithSlot(StreamingResponse):
    """Gives the slot back when the answer is over. The iterator cannot: it never begins if the client has gone."""

    def __init__(self, content: AsyncIterator[bytes], media_type: str, slot: AbstractContextManager[None]) -> None:
        super().__init__(content, media_type=media_type)
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slot.__exit__(None, None, None)


async def _answer_in_pieces(
    request: Request, fetching: Slots, start: Callable[[FetchBody], Iterator[bytes]], media_type: str
) -> Response:
    """Check now, so that a refusal is a problem document; then stream, holding the slot until the end."""
    body = FetchBody.parse(await read_body(request))
    slot = fetching.one("")
    slot.__enter__()
    try:
        pieces = await run_in_threadpool(start, body)
    except BaseException:
        slot.__exit__(None, None, None)
        raise

    async def stream() -> AsyncIterator[bytes]:
        while (piece := await run_in_threadpool(next, pieces, None)) is not None:
            yield piece

    return _WithSlot(stream(), media_type, slot)
