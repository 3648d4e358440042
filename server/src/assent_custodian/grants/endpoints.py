"""Routes about requests and decisions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.problems import Code
from assent.contracts.statements import DataRequest, Decision
from assent.contracts.wire import Accepted, RequestsView, RequestView
from assent_custodian.auth import Stated
from assent_custodian.grants import service
from assent_custodian.guards import Asked, ByAsk, ByStatement, Running, Tx
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


@router.get("/v1/requests", response_model=RequestsView)
def requests(
    custodian: Running, session: Tx, asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_REQUESTS))]
) -> Response:
    """Requests: one's own for requesters, all for those who decide or oversee."""
    rows = service.visible_to(session, asked.asker)
    return answer(RequestsView(requests=tuple(service.view(session, custodian, row) for row in rows)))


@router.get("/v1/requests/{hash}", response_model=RequestView, responses=refuses(Code.NOT_FOUND))
def request(
    custodian: Running,
    session: Tx,
    hash: str,  # noqa: A002 - the name in the path
    asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_REQUESTS))],
) -> Response:
    """One request, as it was signed, with what was decided about it."""
    return answer(service.view(session, custodian, service.one_visible_to(session, asked.asker, hash)))


@router.post("/v1/requests", response_model=Accepted, responses=refuses(Code.REFUSED, Code.NOT_AVAILABLE))
def sign_request(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[DataRequest], Depends(ByStatement(Permission.SIGN_REQUESTS, DataRequest))],
) -> Response:
    """Sign a request; from now on it is known by its hash."""
    service.sign_request(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post(
    "/v1/decisions", response_model=RequestView, responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.CONFLICT)
)
def decide(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[Decision], Depends(ByStatement(Permission.DECIDE, Decision))],
) -> Response:
    """Approve, refuse or revoke; answers what the request is now."""
    row = service.decide(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(service.view(session, custodian, row))
