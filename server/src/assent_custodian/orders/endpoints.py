"""Routes for the collector: fetching orders, and saying that they were carried out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from assent.contracts.envelope import Envelope
from assent.contracts.problems import Code
from assent.contracts.statements import OrderDone
from assent.contracts.wire import Accepted, OrdersAnswer
from assent_custodian.guards import ByCollector, CollectorStates, Running, Tx
from assent_custodian.orders import service
from assent_custodian.restoring import state as restoring
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.get("/v1/orders", response_model=OrdersAnswer, dependencies=[Depends(ByCollector(Permission.FETCH_ORDERS))])
def orders(session: Tx, after: Annotated[int, Query(ge=0, lt=2**31)] = 0) -> Response:
    """Orders with higher numbers than `after`, a few at a time."""
    restoring.claim(session, after)
    last, _ = service.next_place(session)
    return answer(OrdersAnswer(orders=service.after(session, after), missing_after=last - 1 if after >= last else None))


@router.post("/v1/orders/done", response_model=Accepted, responses=refuses(Code.NOT_FOUND, Code.CONFLICT))
def done(
    custodian: Running,
    session: Tx,
    envelope: Annotated[Envelope, Depends(CollectorStates(Permission.ACKNOWLEDGE_ORDERS, OrderDone))],
) -> Response:
    """The collector's word that an order was carried out."""
    service.acknowledge(session, custodian, envelope)
    return answer(Accepted(hash=envelope.hash))
