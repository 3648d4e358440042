"""What a person sees of accesses to their own recordings."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.times import Day
from assent.contracts.wire import Access, AccessesView
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.note import Note
from assent_custodian.guards import Asked, ByAsk, Running, Tx
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.notifications import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer

router = APIRouter()


def _newest(custodian: Running) -> Note:
    """Outside the transaction of the request: reading a checkpoint may sign one."""
    return witnesses.checkpoint(custodian)


@router.get("/v1/me/accesses", response_model=AccessesView)
def accesses(
    checkpoint: Annotated[Note, Depends(_newest)],
    session: Tx,
    asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_OWN_ACCESSES))],
    since: Day | None = None,
) -> Response:
    """Every access told since a day (UTC), with the entry of the log, and its proof where it is already witnessed."""
    size = Checkpoint.from_text(checkpoint.text).size
    found = []
    for notification in service.of_person(session, asked.asker.person, since or service.EVERY_DAY):
        index = notification.leaf_index
        leaf = None if index is None or index >= size else log.entry(session, index)
        if leaf is None or index is None:
            found.append(Access(notification=notification))
            continue
        proof = log.proof(session, index, checkpoint).to_bytes().decode()
        found.append(Access(notification=notification, leaf=base64.b64encode(leaf).decode(), proof=proof))
    return answer(AccessesView(accesses=tuple(found)))
