"""Routes by which a person erases what is stored of theirs, and follows it to the end."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.problems import Code
from assent.contracts.statements import Erasure
from assent.contracts.wire import ErasureAnswer, ErasuresView, StatementWithLeaf
from assent_custodian.auth import Stated
from assent_custodian.erasures import service
from assent_custodian.guards import Asked, ByAsk, ByStatement, Running, Tx
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()

_ERASES = ByStatement(Permission.ERASE, Erasure, fresh=False, within=StatementWithLeaf)
"""An erasure counts whenever it arrives. Not from a credential that was revoked: whoever stole it must not erase."""


@router.post("/v1/erasures", response_model=ErasureAnswer, responses=refuses(Code.REFUSED))
def erase(custodian: Running, session: Tx, stated: Annotated[Stated[Erasure], Depends(_ERASES)]) -> Response:
    """Erase hours, days or everything of one's own."""
    return answer(ErasureAnswer(receipt=service.erase(session, custodian, stated)))


@router.get("/v1/me/erasures", response_model=ErasuresView)
def erasures(session: Tx, asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_OWN_ERASURES))]) -> Response:
    """One's own erasures and withdrawals, and how far each has come."""
    return answer(service.of_person(session, asked.asker.person))
