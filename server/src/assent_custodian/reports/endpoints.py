"""The route by which the collector reports."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.envelope import Envelope
from assent.contracts.wire import Accepted
from assent_custodian.guards import CollectorStates, Running, Tx, takes
from assent_custodian.reports import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer

router = APIRouter()


@router.post("/v1/reports", response_model=Accepted, openapi_extra=takes(Envelope))
def report(
    custodian: Running,
    session: Tx,
    envelope: Annotated[Envelope, Depends(CollectorStates(Permission.REPORT))],
) -> Response:
    """The collector's account of what it handed out and refused."""
    service.take(session, custodian, envelope)
    return answer(Accepted(hash=envelope.hash))
