"""Routes by which a restored custodian is told what it forgot."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.envelope import Envelope
from assent.contracts.problems import Code
from assent.contracts.statements import OrderReturned, Standing
from assent.contracts.wire import Accepted
from assent_custodian.auth import Stated
from assent_custodian.guards import ByStatement, CollectorStates, Running, Tx
from assent_custodian.restoring import catching_up
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.post(
    "/v1/orders/returned", response_model=Accepted, responses=refuses(Code.REFUSED, Code.CONFLICT, Code.OUT_OF_ORDER)
)
def returned(
    custodian: Running,
    session: Tx,
    envelope: Annotated[Envelope, Depends(CollectorStates(Permission.RETURN_ORDERS, OrderReturned))],
) -> Response:
    """An order of this custodian's own, which a restore made it forget."""
    return answer(Accepted(hash=catching_up.take_back(session, custodian, envelope)))


@router.post("/v1/me/standing", response_model=Accepted, responses=refuses(Code.REFUSED, Code.CONFLICT))
def standing(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[Standing], Depends(ByStatement(Permission.RESTATE, Standing))],
) -> Response:
    """What a device holds of receipts and withdrawals, after a restore."""
    return answer(Accepted(hash=catching_up.restate(session, custodian, stated)))
