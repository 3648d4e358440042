"""Routes for learning who a pseudonym of the log is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from assent.contracts.problems import Code
from assent.contracts.statements import Unmasking, UnmaskingCountersignature
from assent.contracts.wire import Accepted, UnmaskedView, UnmaskingsView
from assent.transparency.note import Note
from assent_custodian.auth import Stated
from assent_custodian.guards import Asked, ByAsk, ByStatement, Running, Tx
from assent_custodian.log import witnesses
from assent_custodian.roles import Permission
from assent_custodian.unmasking import service
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


def _newest(custodian: Running) -> Note:
    """Outside the transaction of the request: reading a checkpoint may sign one."""
    return witnesses.checkpoint(custodian)


@router.get("/v1/unmaskings", response_model=UnmaskingsView, dependencies=[Depends(ByAsk(Permission.SEE_UNMASKINGS))])
def unmaskings(custodian: Running, session: Tx) -> Response:
    """What was asked, and what became of it."""
    return answer(UnmaskingsView(unmaskings=service.every(session, custodian)))


@router.post("/v1/unmaskings", response_model=Accepted, responses=refuses(Code.NOT_FOUND))
def ask(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[Unmasking], Depends(ByStatement(Permission.ASK_UNMASKING, Unmasking))],
) -> Response:
    """Ask, with a reason, who the actor of an entry is."""
    service.ask(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post(
    "/v1/unmaskings/countersignatures",
    response_model=Accepted,
    responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.CONFLICT, Code.NOT_AVAILABLE),
)
def countersign(
    custodian: Running,
    session: Tx,
    stated: Annotated[
        Stated[UnmaskingCountersignature],
        Depends(ByStatement(Permission.COUNTERSIGN_UNMASKING, UnmaskingCountersignature)),
    ],
) -> Response:
    """Agree that the auditor learns it; the person is told."""
    service.countersign(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.get(
    "/v1/unmaskings/{unmasking}/person",
    response_model=UnmaskedView,
    responses=refuses(Code.NOT_FOUND, Code.NOT_AVAILABLE, Code.NO_QUORUM),
)
def unmasked(
    checkpoint: Annotated[Note, Depends(_newest)],
    custodian: Running,
    session: Tx,
    asked: Annotated[Asked, Depends(ByAsk(Permission.ASK_UNMASKING))],
    unmasking: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
) -> Response:
    """Who it is: to the auditor who asked, when both have signed and witnesses, too."""
    return answer(service.answer(session, custodian, asked.asker, unmasking, checkpoint))
