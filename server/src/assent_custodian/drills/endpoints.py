"""The route by which the drill says how it ended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.problems import Code
from assent.contracts.statements import DrillResult
from assent.contracts.wire import Accepted
from assent_custodian.auth import Stated
from assent_custodian.drills import service
from assent_custodian.guards import ByStatement, Running, Tx
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.post("/v1/drills", response_model=Accepted, responses=refuses(Code.NOT_FOUND))
def state(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[DrillResult], Depends(ByStatement(Permission.STATE_DRILL, DrillResult))],
) -> Response:
    """Say how a drill ended."""
    service.state(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))
