"""Routes by which an account ends."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.problems import Code
from assent.contracts.statements import Leaving
from assent.contracts.wire import Accepted
from assent_custodian.auth import Stated
from assent_custodian.guards import ByStatement, Running, Tx
from assent_custodian.leaving import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.post("/v1/me/leaving", response_model=Accepted, responses=refuses(Code.REFUSED, Code.CONFLICT))
def leave(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[Leaving], Depends(ByStatement(Permission.LEAVE, Leaving))],
) -> Response:
    """End one's own account, for good."""
    service.leave(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post("/v1/leavings", response_model=Accepted, responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.CONFLICT))
def end_account(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[Leaving], Depends(ByStatement(Permission.END_ACCOUNTS, Leaving))],
) -> Response:
    """End the account of somebody who has left."""
    service.end_account(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))
