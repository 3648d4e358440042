"""Requests from signature to grant. No request can name a person, and nobody approves alone or for themselves.

An approval is checked against the current state of the request in the transaction that stores it; at the last one the
cohort is frozen, in the same transaction.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from assent.contracts import limits
from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import list_root
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import DataRequest, Decision, Mode, Role
from assent.contracts.times import parse_day, parse_moment
from assent.contracts.wire import DecisionView, RequestView
from assent_custodian.auth import Asker, key_of, roles_now, verify
from assent_custodian.consent.domain import Use
from assent_custodian.consent.service import ConsentNow
from assent_custodian.context import Custodian
from assent_custodian.grants import domain
from assent_custodian.grants.models import CohortMember, DecisionRow, RequestRow
from assent_custodian.keys.models import Stream, not_withdrawn
from assent_custodian.log import service as log
from assent_custodian.people import service as people
from assent_custodian.people.models import Credential
from assent_custodian.purposes import service as purposes

LONGEST_RANGE_DAYS = 366

DRILL_FLOOR = 1
"""A grant of the drill reaches nobody but the drill's own people, so there is nobody to be lost among others."""


def sign_request(
    session: Session, custodian: Custodian, request: DataRequest, envelope: Envelope, asker: Asker
) -> None:
    """Store a request and write it down. The same one again changes nothing. Raises Problem."""
    if session.get(RequestRow, envelope.hash) is not None:
        return
    _check(session, request, asker)
    session.add(
        RequestRow(
            hash=envelope.hash, requester=asker.person, envelope=envelope.to_json().decode(), state="open",
            expires=request.expires, salt=None, drill=asker.drill,
        )
    )  # fmt: skip
    log.append(
        session,
        Leaf(
            type=LeafType.REQUEST_SIGNED, at=custodian.moment(), actor=log.actor_ref(session, asker.person),
            auth=asker.kind, decision="allowed", subject=envelope.hash, request=envelope.hash,
            purpose=f"{request.purpose} {request.purpose_version}", mode=request.mode.value, until=request.expires,
            detail={
                "modalities": " ".join(modality.value for modality in request.modalities),
                "days": f"{request.from_day} {request.to_day}",
                "recipient": request.recipient,
            },
        ),
    )  # fmt: skip


def _check(session: Session, request: DataRequest, asker: Asker) -> None:
    def refuse(why: str) -> Problem:
        return Problem(Code.REFUSED, why)

    purpose = purposes.current(session, drill=asker.drill).get(request.purpose)
    if purpose is None or purpose.version != request.purpose_version:
        raise refuse("this purpose is not signed by the council in this version; see the catalogue")
    if request.recipient not in purpose.recipients:
        raise refuse("this purpose has no such recipient class; see the catalogue")
    if request.mode not in purpose.modes:
        raise refuse("this purpose does not allow this mode; see the catalogue")
    if request.mode is Mode.EXPORT:
        raise refuse("exports cannot be made by this version; ask for mode reader")
    if request.storage is not None or request.destroy_by is not None:
        raise refuse("storage and a destruction date belong to exports; leave them out")
    try:
        first, last = parse_day(request.from_day), parse_day(request.to_day)
        expires, signed = parse_moment(request.expires), parse_moment(request.at)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "a day or moment is not one of the calendar") from error
    if not timedelta(0) <= last - first <= timedelta(days=LONGEST_RANGE_DAYS):
        raise refuse(f"the days must be in order and span {LONGEST_RANGE_DAYS} at most")
    if not signed < expires <= signed + timedelta(days=limits.REQUEST_DAYS):
        raise refuse(f"a request expires within {limits.REQUEST_DAYS} days")
    if request.people is not None and request.people < limits.COHORT_FLOOR:
        raise Problem(Code.NOT_AVAILABLE, f"ask for {limits.COHORT_FLOOR} people or more, or for all")


def decide(session: Session, custodian: Custodian, decision: Decision, envelope: Envelope, asker: Asker) -> RequestRow:
    """Store a decision and carry it out. Raises Problem; the same decision again changes nothing."""
    row = session.scalars(select(RequestRow).where(RequestRow.hash == decision.request).with_for_update()).one_or_none()
    if row is None or row.drill is not asker.drill:
        raise Problem(Code.NOT_FOUND, "there is no request with this hash")
    if session.get(DecisionRow, (envelope.hash, asker.person)) is not None:
        return row
    if decision.decision != "revoke" and Role.STEWARD not in asker.roles:
        raise Problem(Code.FORBIDDEN, "only stewards approve or refuse; you may revoke")
    if decision.decision == "refuse" and not decision.reason.strip():
        raise Problem(Code.MALFORMED, "a refusal needs a reason: the requester is shown it")
    request = read_request(row)
    now = custodian.now()
    candidates: list[str] = []
    event: domain.Event
    if decision.decision == "approve":
        if Role.REQUESTER not in roles_now(session, row.requester, now):
            raise Problem(
                Code.REFUSED,
                "who signed this is no requester any more; another one has to sign it",
                rule="not-requester",
            )
        insiders = {row.requester, asker.person, *approvers(session, row.hash)}
        candidates = [
            person for person in candidates_for(session, custodian, request, row.drill) if person not in insiders
        ]
        event = domain.Approved(asker.person, len(candidates), now)
    elif decision.decision == "refuse":
        event = domain.Refused(asker.person, now)
    else:
        event = domain.Revoked(now)
    try:
        after = domain.step(
            state_of(session, row, now), event, wanted=request.people, needed=custodian.settings.approvals_needed,
            floor=DRILL_FLOOR if row.drill else limits.COHORT_FLOOR,
        )  # fmt: skip
    except domain.DecisionRefused as refusal:
        code = Code.CONFLICT if refusal.rule in ("already-decided", "ended", "approved-twice") else Code.REFUSED
        raise Problem(code, str(refusal), rule=refusal.rule) from refusal
    if decision.decision == "approve":  # an approval of theirs that is here was by a key revoked since: the log has it
        session.execute(delete(DecisionRow).where(*_approval_of(row.hash), DecisionRow.person == asker.person))
    session.add(
        DecisionRow(
            hash=envelope.hash, request=row.hash, person=asker.person, decision=decision.decision,
            reason=decision.reason, envelope=envelope.to_json().decode(), day=custodian.today(),
        )
    )  # fmt: skip
    roots: dict[str, str] = {}
    match after:
        case domain.Open():
            row.state = "open"
        case domain.Granted():
            row.state = "granted"
            roots = {"cohort": _freeze(session, row, domain.choose(candidates, request.people))}
        case domain.Ended(how=how):
            row.state = how
    kinds = {
        "approve": LeafType.GRANT_APPROVED, "refuse": LeafType.GRANT_REFUSED, "revoke": LeafType.GRANT_REVOKED,
    }  # fmt: skip
    log.append(
        session,
        Leaf(
            type=kinds[decision.decision], at=custodian.moment(), actor=log.actor_ref(session, asker.person),
            auth=asker.kind, decision="allowed", subject=envelope.hash, request=row.hash, roots=roots,
            rule="not-available" if row.state == "not-available" else None,
        ),
    )  # fmt: skip
    return row


def _freeze(session: Session, row: RequestRow, cohort: list[str]) -> str:
    """Store who belongs to the grant, each under a pseudonym of this grant; return the salted hash of the list."""
    row.salt = secrets.token_bytes(16)
    names: set[str] = set()
    while len(names) < len(cohort):
        names.add(f"p-{secrets.token_hex(4)}")
    session.add_all(
        CohortMember(request=row.hash, person=person, pseudonym=name)
        for person, name in zip(cohort, names, strict=True)
    )
    return list_root(row.salt, cohort)


def candidates_for(session: Session, custodian: Custodian, request: DataRequest, drill: bool) -> list[str]:
    """People who recorded, on these days, every modality of the request, and whose consent covers those streams now.

    Who recorded some of them does not count: else one person whose screen is read would hide among nine who only type.
    """
    streams = streams_for(session, request, custodian.today(), drill=drill)
    now = ConsentNow(session, streams, use_of(request), custodian.now())
    covered: defaultdict[str, set[str]] = defaultdict(set)
    for stream in streams:
        if now.why_not(stream) is None:
            covered[stream.person].add(stream.modality)
    wanted = {modality.value for modality in request.modalities}
    return sorted(person for person, have in covered.items() if have >= wanted)


def use_of(request: DataRequest) -> Use:
    """What the request wants to do, as consent is asked about it."""
    return Use(request.purpose, request.purpose_version, request.recipient, request.mode)


def streams_for(session: Session, request: DataRequest, today: str, *, drill: bool) -> list[Stream]:
    """Streams of the request's days up to today, and of its modalities, that are neither withdrawn nor erased.

    `drill`: of the drill; otherwise of people. Never both.
    """
    return list(
        session.scalars(
            select(Stream).where(
                Stream.day >= request.from_day,
                Stream.day <= min(request.to_day, today),
                Stream.modality.in_([modality.value for modality in request.modalities]),
                not_withdrawn(),
                Stream.erased.is_(None),
                Stream.drill.is_(drill),
            )
        )
    )


def state_of(session: Session, row: RequestRow, now: datetime) -> domain.State:
    """The state that the rows mean. What somebody approved who left counts no more: another steward can decide."""
    expires = parse_moment(row.expires)
    if row.state == "open":
        return domain.Open(row.requester, expires, frozenset(approvers_now(session, row, now)))
    if row.state == "granted":
        return domain.Granted(row.requester, expires)
    return domain.Ended(row.state)  # type: ignore[arg-type]


def approvers(session: Session, request: str) -> list[str]:
    """People who approved this request."""
    return [made.person for made in _approvals(session, request)]


def approvers_now(session: Session, row: RequestRow, now: datetime) -> set[str]:
    """Those of them, other than the requester, who are stewards at this moment, by a key that was not revoked since:
    who revokes a key says that others may have signed with it, and not when they began to.
    """
    return {
        made.person
        for made in _approvals(session, row.hash)
        if made.person != row.requester and _counts(session, made, now)
    }


def _counts(session: Session, made: DecisionRow, now: datetime) -> bool:
    """Whether an opening key of theirs signed this that is not revoked, and that the role counts for."""
    envelope = Envelope.from_json(made.envelope)
    for signature in envelope.signatures:
        credential = session.get(Credential, signature.keyid)
        if credential is None or (credential.person, credential.kind, credential.revoked) != (
            made.person, "opening", None,
        ):  # fmt: skip
            continue
        with suppress(Problem):  # one that was put beside the real one, and was never looked at
            verify(envelope, key_of(credential))
            return Role.STEWARD in roles_now(session, made.person, now, after=credential.opens_after)
    return False


def _approvals(session: Session, request: str) -> Sequence[DecisionRow]:
    return session.scalars(select(DecisionRow).where(*_approval_of(request))).all()


def _approval_of(request: str) -> tuple[ColumnElement[bool], ...]:
    return DecisionRow.request == request, DecisionRow.decision == "approve"


def row_of(session: Session, hash_: str) -> RequestRow:
    """The row of a request that must exist, since something refers to it."""
    return session.get_one(RequestRow, hash_)


def read_request(row: RequestRow) -> DataRequest:
    """The statement as it was signed; its signature was checked when it came."""
    return read_unverified(Envelope.from_json(row.envelope), DataRequest)


def expire_due(session: Session, custodian: Custodian) -> int:
    """End requests whose time ran out, and write it down. The night run calls this; nothing waits for it."""
    due = session.scalars(
        select(RequestRow).where(RequestRow.state.in_(("open", "granted")), RequestRow.expires <= custodian.moment())
    ).all()
    for row in due:
        row.state = "expired"
        log.append(session, Leaf(type=LeafType.GRANT_EXPIRED, at=custodian.moment(), request=row.hash))
    return len(due)


def visible_to(session: Session, asker: Asker) -> list[RequestRow]:
    """Requesters see their own; stewards, council and data-protection officer see all but the drill's, and the
    drill's see only those. Newest expiry first."""
    query = (
        select(RequestRow).where(RequestRow.drill.is_(asker.drill)).order_by(RequestRow.expires.desc(), RequestRow.hash)
    )
    if not asker.roles & {Role.STEWARD, Role.COUNCIL, Role.DPO}:
        query = query.where(RequestRow.requester == asker.person)
    return list(session.scalars(query))


def one_visible_to(session: Session, asker: Asker, hash_: str) -> RequestRow:
    """Raises Problem `not-found`, also for a request that exists and that this person may not see."""
    for row in visible_to(session, asker):
        if row.hash == hash_:
            return row
    raise Problem(Code.NOT_FOUND, "there is no request with this hash")


def view(session: Session, custodian: Custodian, row: RequestRow) -> RequestView:
    """A request as it is shown: the statement byte for byte, its state now, and who decided what."""
    decisions = session.scalars(
        select(DecisionRow).where(DecisionRow.request == row.hash).order_by(DecisionRow.day, DecisionRow.hash)
    ).all()
    now = custodian.now()
    state = domain.step(state_of(session, row, now), domain.TimePassed(now))
    return RequestView(
        hash=row.hash,
        state="expired" if state == domain.Ended("expired") else row.state,  # type: ignore[arg-type]
        requester=people.name_of(session, row.requester),
        approvals=len(approvers_now(session, row, now)),
        approvals_needed=custodian.settings.approvals_needed,
        statement=Envelope.from_json(row.envelope),
        decisions=tuple(
            DecisionView(
                name=people.name_of(session, made.person), decision=made.decision,  # type: ignore[arg-type]
                reason=made.reason, day=made.day,
            )
            for made in decisions
        ),
    )  # fmt: skip


def granted_now(session: Session, custodian: Custodian, hash_: str, requester: str) -> tuple[RequestRow, DataRequest]:
    """The grant, if it is one at this moment, of this requester, approved by stewards of this moment. Else Problem."""
    row = session.get(RequestRow, hash_)
    if row is None or row.requester != requester:
        raise Problem(Code.NOT_FOUND, "there is no request with this hash", rule="unknown-request")
    now = custodian.now()
    if domain.step(state_of(session, row, now), domain.TimePassed(now)) != domain.Granted(
        row.requester, parse_moment(row.expires)
    ):
        raise Problem(Code.REFUSED, f"this request is not granted (it is {row.state})", rule="not-granted")
    if Role.REQUESTER not in roles_now(session, requester, now):
        raise Problem(Code.FORBIDDEN, "you are not a requester now", rule="not-requester")
    if len(approvers_now(session, row, now)) < custodian.settings.approvals_needed:
        raise Problem(
            Code.REFUSED,
            "too few approvals count now: who gave them is no steward any more, or revoked their key",
            rule="approvals",
        )
    return row, read_request(row)
