"""The routes of the door."""

# FastAPI reads the annotations of `__call__` from instances, where it cannot resolve strings: no `annotations` import.
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from assent.contracts.envelope import Envelope
from assent.contracts.problems import Code
from assent.contracts.statements import LeaseClosed, LeaseRequest, ReleaseRequest
from assent.contracts.wire import Accepted, LeaseAnswer, ReleaseAnswer, ReleaseBody
from assent_custodian.auth import Stated
from assent_custodian.guards import Guard, Open, RawBody, Running, Tx, custodian_of
from assent_custodian.leases import service
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()


class ByLeaseRequest(Guard):
    """The proof is a lease request. Unlike other guards it commits on its own: the log and its witnesses come next."""

    states = LeaseRequest

    def __call__(self, request: Request, body: RawBody) -> Stated[LeaseRequest]:
        envelope = Envelope.from_json(body)
        statement, asker = service.prove(custodian_of(request), envelope)
        return Stated(statement, envelope, asker)


@router.post(
    "/v1/leases",
    response_model=LeaseAnswer,
    responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.NOT_AVAILABLE, Code.NO_QUORUM),
)
def open_lease(
    custodian: Running, stated: Annotated[Stated[LeaseRequest], Depends(ByLeaseRequest(Permission.OPEN_LEASES))]
) -> Response:
    """Open a lease under a grant, or for one's own data."""
    return answer(service.open_lease(custodian, stated.statement, stated.envelope, stated.asker))


@router.post(
    "/v1/leases/releases",
    response_model=ReleaseAnswer,
    dependencies=[Depends(Open(Permission.RELEASE, ReleaseRequest, within=ReleaseBody))],
    responses=refuses(Code.SIGNATURE_INVALID, Code.FORBIDDEN, Code.REFUSED, Code.NOT_FOUND, Code.BODY_MISMATCH),
)
def release(custodian: Running, body: RawBody) -> Response:
    """Have sealed keys opened, a thousand at most."""
    return answer(service.release(custodian, ReleaseBody.parse(body)))


@router.post(
    "/v1/leases/closures",
    response_model=Accepted,
    dependencies=[Depends(Open(Permission.CLOSE_LEASES, LeaseClosed))],
    responses=refuses(Code.SIGNATURE_INVALID, Code.REFUSED, Code.NOT_FOUND),
)
def close(custodian: Running, session: Tx, body: RawBody) -> Response:
    """End a lease."""
    return answer(Accepted(hash=service.close(custodian, session, Envelope.from_json(body))))
