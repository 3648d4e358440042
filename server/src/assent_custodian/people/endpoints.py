"""Routes about people: joining, inviting, roles."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from assent.contracts.envelope import Envelope
from assent.contracts.problems import Code
from assent.contracts.statements import (
    CredentialCode,
    CredentialRevocation,
    Enrolment,
    Invitation,
    Recovery,
    RecoveryCountersignature,
    RecoveryStopped,
    RoleCountersignature,
    RoleProposal,
)
from assent.contracts.wire import (
    Accepted,
    EnrolmentAnswer,
    InvitationAnswer,
    Me,
    PeopleView,
    ProposalsView,
    RecoveriesView,
)
from assent_custodian.auth import Stated
from assent_custodian.guards import Asked, ByAsk, ByStatement, Open, RawBody, Running, Tx
from assent_custodian.people import devices, recovery, service
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()

_STOPS = ByStatement(Permission.STOP_RECOVERY, RecoveryStopped, fresh=False)
"""It names one recovery: whenever it was signed, it cannot count for another."""


@router.get("/v1/directory", response_model=Envelope, dependencies=[Depends(Open(Permission.SEE_DIRECTORY))])
def directory(custodian: Running) -> Response:
    """The directory in force, as the root key signed it."""
    return answer(custodian.directory.envelope)


@router.post(
    "/v1/enrolments",
    response_model=EnrolmentAnswer,
    dependencies=[Depends(Open(Permission.ENROL, Enrolment))],
    responses=refuses(Code.CODE_INVALID, Code.SIGNATURE_INVALID, Code.STALE, Code.REFUSED, Code.CONFLICT),
)
def enrol(custodian: Running, session: Tx, body: RawBody) -> Response:
    """Join with a one-time code."""
    enrolled = service.enrol(session, custodian, Envelope.from_json(body))
    return answer(EnrolmentAnswer(enrolled=custodian.sign(enrolled), directory=custodian.directory.envelope))


@router.get("/v1/me", response_model=Me)
def me(
    custodian: Running, session: Tx, asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_OWN_ACCOUNT))]
) -> Response:
    """One's own account."""
    return answer(service.me(session, asked.asker, custodian.now()))


@router.post("/v1/me/credentials", response_model=InvitationAnswer, responses=refuses(Code.CONFLICT))
def add_credential(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[CredentialCode], Depends(ByStatement(Permission.ADD_CREDENTIALS, CredentialCode))],
) -> Response:
    """Sign for a code that adds one key to one's own account; the secret never comes here."""
    devices.sign_for_code(session, custodian, stated)
    return answer(InvitationAnswer(invitation=stated.envelope.hash, until=stated.statement.until))


@router.post("/v1/me/credentials/revocations", response_model=Accepted, responses=refuses(Code.REFUSED, Code.NOT_FOUND))
def revoke_credential(
    custodian: Running,
    session: Tx,
    stated: Annotated[
        Stated[CredentialRevocation], Depends(ByStatement(Permission.REVOKE_CREDENTIALS, CredentialRevocation))
    ],
) -> Response:
    """End a key of one's own, for instance of a lost laptop."""
    devices.revoke(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.get("/v1/recoveries", response_model=RecoveriesView, dependencies=[Depends(ByAsk(Permission.SEE_RECOVERIES))])
def recoveries(custodian: Running, session: Tx) -> Response:
    """Recoveries and what became of them."""
    return answer(RecoveriesView(recoveries=recovery.every(session, custodian.now())))


@router.post("/v1/recoveries", response_model=Accepted, responses=refuses(Code.REFUSED, Code.NOT_FOUND))
def recover(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[Recovery], Depends(ByStatement(Permission.RECOVER, Recovery))],
) -> Response:
    """Sign that a person who has lost every opening credential gets a new one."""
    recovery.propose(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post(
    "/v1/recoveries/countersignatures",
    response_model=Accepted,
    responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.CONFLICT),
)
def countersign_recovery(
    custodian: Running,
    session: Tx,
    stated: Annotated[
        Stated[RecoveryCountersignature], Depends(ByStatement(Permission.RECOVER, RecoveryCountersignature))
    ],
) -> Response:
    """Agree to a recovery; its days begin."""
    recovery.countersign(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post(
    "/v1/me/recoveries/stops", response_model=Accepted, responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.CONFLICT)
)
def stop_recovery(
    custodian: Running, session: Tx, stated: Annotated[Stated[RecoveryStopped], Depends(_STOPS)]
) -> Response:
    """Stop a recovery of one's own account."""
    recovery.stop(session, custodian, stated)
    return answer(Accepted(hash=stated.envelope.hash))


@router.get("/v1/people", response_model=PeopleView, dependencies=[Depends(ByAsk(Permission.SEE_PEOPLE))])
def people(custodian: Running, session: Tx) -> Response:
    """Who has an account. Nothing says who takes part."""
    return answer(PeopleView(people=service.people(session, custodian.now())))


@router.post("/v1/invitations", response_model=InvitationAnswer, responses=refuses(Code.REFUSED, Code.CONFLICT))
def invite(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[Invitation], Depends(ByStatement(Permission.INVITE, Invitation))],
) -> Response:
    """Invite somebody; the secret never comes here."""
    service.invite(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(InvitationAnswer(invitation=stated.envelope.hash, until=stated.statement.until))


@router.get("/v1/roles", response_model=ProposalsView, dependencies=[Depends(ByAsk(Permission.SEE_ROLES))])
def roles(session: Tx) -> Response:
    """Role proposals and what became of them."""
    return answer(ProposalsView(proposals=service.proposals(session)))


@router.post("/v1/roles", response_model=Accepted, responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.CONFLICT))
def propose(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[RoleProposal], Depends(ByStatement(Permission.PROPOSE_ROLES, RoleProposal))],
) -> Response:
    """Propose to grant or revoke a role."""
    service.propose(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(Accepted(hash=stated.envelope.hash))


@router.post(
    "/v1/roles/countersignatures",
    response_model=Accepted,
    responses=refuses(Code.REFUSED, Code.NOT_FOUND, Code.CONFLICT),
)
def countersign(
    custodian: Running,
    session: Tx,
    stated: Annotated[
        Stated[RoleCountersignature], Depends(ByStatement(Permission.COUNTERSIGN_ROLES, RoleCountersignature))
    ],
) -> Response:
    """Agree to a role proposal."""
    service.countersign(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(Accepted(hash=stated.envelope.hash))
