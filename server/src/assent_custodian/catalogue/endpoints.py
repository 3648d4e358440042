"""The catalogue."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from assent.contracts.wire import CatalogueView
from assent_custodian.catalogue import service
from assent_custodian.guards import ByAsk, Running, Tx
from assent_custodian.roles import Permission
from assent_custodian.web import answer

router = APIRouter()


@router.get("/v1/catalogue", response_model=CatalogueView, dependencies=[Depends(ByAsk(Permission.SEE_CATALOGUE))])
def catalogue(custodian: Running, session: Tx) -> Response:
    """Purposes, and people in tens."""
    return answer(service.catalogue(session, custodian))
