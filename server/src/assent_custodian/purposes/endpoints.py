"""Routes about purposes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.problems import Code
from assent.contracts.statements import PurposeDraft, PurposeSignature
from assent.contracts.wire import Accepted, PurposesView
from assent_custodian.auth import Stated
from assent_custodian.guards import ByAsk, ByStatement, Running, Tx
from assent_custodian.purposes import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.get("/v1/purposes", response_model=PurposesView, dependencies=[Depends(ByAsk(Permission.SEE_PURPOSES))])
def purposes(session: Tx) -> Response:
    """Every purpose, with whether the council has signed it."""
    return answer(PurposesView(purposes=service.views(session)))


@router.post("/v1/purposes", response_model=Accepted, responses=refuses(Code.REFUSED, Code.CONFLICT))
def draft(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[PurposeDraft], Depends(ByStatement(Permission.DRAFT_PURPOSES, PurposeDraft))],
) -> Response:
    """Draft a purpose, or a new version of one."""
    service.draft(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post("/v1/purposes/signatures", response_model=Accepted, responses=refuses(Code.NOT_FOUND))
def sign(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[PurposeSignature], Depends(ByStatement(Permission.SIGN_PURPOSES, PurposeSignature))],
) -> Response:
    """The council's signature under a draft."""
    service.sign(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(Accepted(hash=stated.envelope.hash))
