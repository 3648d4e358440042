"""The log for those who check it: entries, tiles and proofs. Seeing entries is itself an entry."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.wire import LogEntries, LogEntry
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import TileInvalid
from assent.transparency.note import Note
from assent.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, EntryBundle, build_bundle, build_hash_tile, parse_path
from assent_custodian.auth import Asker
from assent_custodian.context import Custodian
from assent_custodian.guards import Asked, ByAsk, Running, Tx
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.roles import Permission
from assent_custodian.web import OF_A_FILE, answer, file
from assent_service.describing import answers, refuses

MAX_ENTRIES = 1000

READ_LOG = Annotated[Asked, Depends(ByAsk(Permission.READ_LOG))]

router = APIRouter()

FAR = 2**53
"""Beyond every log, and still a whole number to every database and every reader of JSON (RFC 8259 section 6)."""


def _newest(custodian: Running) -> Note:
    """Outside the transaction of the request: reading a checkpoint may sign one."""
    return witnesses.checkpoint(custodian)


def _viewed(session: Session, custodian: Custodian, asker: Asker, found: list[tuple[int, bytes]], start: int) -> None:
    """Write the look down, unless it showed nothing but looks of whoever asks: there would be no end of them, and
    nobody could ever hold a copy of the whole log.
    """
    actor = log.actor_ref(session, asker.person)
    if all(_is_look_of(actor, leaf) for _, leaf in found):
        return
    log.append(
        session,
        Leaf(
            type=LeafType.AUDIT_VIEWED, at=custodian.moment(), actor=actor, auth=asker.kind, decision="allowed",
            counts={"start": start, "entries": len(found)},
        ),
    )  # fmt: skip


def _is_look_of(actor: str, data: bytes) -> bool:
    leaf = Leaf.model_validate_json(data)
    return leaf.type is LeafType.AUDIT_VIEWED and leaf.actor == actor


@router.get("/v1/log/entries", response_model=LogEntries)
def entries(
    custodian: Running,
    session: Tx,
    asked: READ_LOG,
    start: Annotated[int, Query(ge=0, lt=FAR)] = 0,
    count: Annotated[int, Query(ge=1, le=MAX_ENTRIES)] = 100,
) -> Response:
    """Entries in order, as they were written."""
    found = log.entries(session, start, count)
    size = log.size(session)
    _viewed(session, custodian, asked.asker, found, start)
    return answer(
        LogEntries(
            size=size,
            entries=tuple(LogEntry(index=index, leaf=base64.b64encode(leaf).decode()) for index, leaf in found),
        )
    )


FULL = "private, max-age=31536000, immutable"
"""RFC 8246. Private, since whoever asks had to show a credential: no cache that others share may keep it."""

PARTIAL = "private, max-age=3600"
"""What is in it never changes either, but nobody asks for it any more when there is more."""


@router.get(
    "/v1/log/tile/{path:path}",
    response_class=Response,
    responses={**answers("application/octet-stream"), **OF_A_FILE, **refuses(Code.NOT_FOUND)},
)
def tile(custodian: Running, session: Tx, asked: READ_LOG, request: Request, path: str) -> Response:
    """A tile of hashes or a bundle of entries (C2SP tlog-tiles). What is complete never changes.

    Whoever has the bundle, and names it in If-None-Match, is shown nothing: that leaves no entry.
    """
    try:
        wanted = parse_path(f"tile/{path}")
    except TileInvalid as error:
        raise Problem(Code.NOT_FOUND, "there is no such tile") from error
    if not wanted.is_within(log.size(session)):
        raise Problem(Code.NOT_FOUND, "the log has no such tile yet")
    shown: list[tuple[int, bytes]] = []
    if isinstance(wanted, EntryBundle):
        shown = log.entries(session, wanted.leaves.start, len(wanted.leaves))
        data = build_bundle(leaf for _, leaf in shown)
    else:
        first = wanted.index * TILE_WIDTH
        data = build_hash_tile(wanted, log.row_of_nodes(session, TILE_HEIGHT * wanted.level, first, wanted.width))
    cache_control = FULL if wanted.width == TILE_WIDTH else PARTIAL
    answered = file(request, data, "application/octet-stream", cache_control)
    if shown and answered.status_code != 304:
        _viewed(session, custodian, asked.asker, shown, shown[0][0])
    return answered


@router.get(
    "/v1/log/proof",
    response_class=Response,
    responses={**answers("text/plain"), **refuses(Code.NOT_FOUND)},
)
def proof(
    checkpoint: Annotated[Note, Depends(_newest)],
    session: Tx,
    _asked: READ_LOG,
    index: Annotated[int, Query(ge=0, lt=FAR)],
) -> Response:
    """A proof file (C2SP tlog-proof) that an entry stands under the newest witnessed checkpoint."""
    if index >= Checkpoint.from_text(checkpoint.text).size:
        raise Problem(Code.NOT_FOUND, "this entry is not under a witnessed checkpoint yet; try again")
    return Response(log.proof(session, index, checkpoint).to_bytes(), media_type="text/plain; charset=utf-8")
