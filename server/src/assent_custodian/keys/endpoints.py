"""The route by which a device gets permission to record."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.statements import CertificateRequest
from assent.contracts.wire import CertificatesAnswer
from assent_custodian.auth import Stated
from assent_custodian.guards import ByStatement, Running, Tx
from assent_custodian.keys import certifying
from assent_custodian.roles import Permission
from assent_custodian.web import answer

router = APIRouter()


@router.post("/v1/certificates", response_model=CertificatesAnswer)
def certificates(
    custodian: Running,
    session: Tx,
    stated: Annotated[
        Stated[CertificateRequest], Depends(ByStatement(Permission.GET_CERTIFICATES, CertificateRequest))
    ],
) -> Response:
    """Certificates for the streams of the next 24 hours."""
    return answer(certifying.certify(session, custodian, stated.statement, stated.asker))
