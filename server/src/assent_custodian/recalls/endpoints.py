"""Routes by which a requester learns what to drop, and says that it was dropped."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.problems import Code
from assent.contracts.statements import RecallDone
from assent.contracts.wire import Accepted, RecallsView
from assent_custodian.auth import Stated
from assent_custodian.guards import Asked, ByAsk, ByStatement, Running, Tx
from assent_custodian.recalls import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.get("/v1/recalls", response_model=RecallsView)
def recalls(
    custodian: Running, session: Tx, asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_RECALLS))]
) -> Response:
    """What was released under one's own grants and must be dropped."""
    return answer(service.of_requester(session, asked.asker.person, custodian.now()))


@router.post("/v1/recalls/done", response_model=Accepted, responses=refuses(Code.NOT_FOUND))
def done(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[RecallDone], Depends(ByStatement(Permission.ACKNOWLEDGE_RECALLS, RecallDone))],
) -> Response:
    """The requester's word that a recall was carried out."""
    service.acknowledge(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))
