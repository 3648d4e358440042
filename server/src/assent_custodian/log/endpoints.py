"""The one route of the log that is open to all. Entries, tiles and proofs belong to `audit`."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from assent_custodian.guards import Open, Running
from assent_custodian.log import witnesses
from assent_custodian.roles import Permission
from assent_custodian.web import OF_A_FILE, file
from assent_service.describing import answers

router = APIRouter()


@router.get(
    "/v1/log/checkpoint",
    response_class=Response,
    dependencies=[Depends(Open(Permission.SEE_CHECKPOINT))],
    responses={**answers("text/plain"), **OF_A_FILE},
)
def checkpoint(custodian: Running, request: Request) -> Response:
    """The newest checkpoint as a signed note, with the witnesses' cosignatures. A cache asks whether it still is."""
    return file(request, witnesses.checkpoint(custodian).to_bytes(), "text/plain; charset=utf-8", "no-cache")
