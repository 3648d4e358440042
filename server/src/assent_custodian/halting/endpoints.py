"""Routes about halting."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.problems import Code
from assent.contracts.statements import Halt, Resume
from assent.contracts.wire import Accepted, HaltsView
from assent_custodian.auth import Stated
from assent_custodian.guards import ByAsk, ByStatement, Running, Tx
from assent_custodian.halting import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.get("/v1/halt", response_model=HaltsView, dependencies=[Depends(ByAsk(Permission.SEE_HALTS))])
def halts(custodian: Running, session: Tx) -> Response:
    """Every halt in force, with its reason and who has signed that it may end."""
    return answer(service.standing(session, custodian))


@router.post("/v1/halt", response_model=Accepted, responses=refuses(Code.CONFLICT))
def halt(
    custodian: Running, session: Tx, stated: Annotated[Stated[Halt], Depends(ByStatement(Permission.HALT, Halt))]
) -> Response:
    """Halt the programme. It waits for nobody."""
    service.halt(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post("/v1/halt/resumptions", response_model=Accepted, responses=refuses(Code.NOT_FOUND, Code.CONFLICT))
def resume(
    custodian: Running, session: Tx, stated: Annotated[Stated[Resume], Depends(ByStatement(Permission.RESUME, Resume))]
) -> Response:
    """Sign that one halt may end. It ends when council and dpo have both signed."""
    service.resume(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))
