"""The route by which the collector reports."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.envelope import Envelope
from assent.contracts.problems import Code
from assent.contracts.statements import CollectorReport
from assent.contracts.wire import Accepted
from assent_custodian.guards import CollectorStates, Running, Tx
from assent_custodian.reports import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.post("/v1/reports", response_model=Accepted, responses=refuses(Code.REFUSED, Code.OUT_OF_ORDER))
def report(
    custodian: Running,
    session: Tx,
    envelope: Annotated[Envelope, Depends(CollectorStates(Permission.REPORT, CollectorReport))],
) -> Response:
    """The collector's account of what it handed out and refused."""
    service.take(session, custodian, envelope)
    return answer(Accepted(hash=envelope.hash))
