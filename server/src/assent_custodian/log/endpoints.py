"""The one route of the log that is open to all. Entries, tiles and proofs belong to `audit`."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from assent_custodian.guards import Open, Running
from assent_custodian.log import witnesses
from assent_custodian.roles import Permission

router = APIRouter()


@router.get(
    "/v1/log/checkpoint",
    response_class=Response,
    dependencies=[Depends(Open(Permission.SEE_CHECKPOINT))],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def checkpoint(custodian: Running) -> Response:
    """The newest checkpoint as a signed note, with the witnesses' cosignatures."""
    return Response(witnesses.checkpoint(custodian).to_bytes(), media_type="text/plain; charset=utf-8")
