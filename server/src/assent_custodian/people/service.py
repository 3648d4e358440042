"""Joining, inviting, and changing roles. Every function works in the transaction it is given and writes the log in it.

Nobody can make anybody an existing person: an enrolment makes a new one, unless its code was signed for by an opening
credential of the person to whom it adds a key.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.codes import hash_of_secret
from assent.contracts.envelope import Envelope, StatementInvalid, read, read_unverified
from assent.contracts.ids import new_id
from assent.contracts.keys import KeyInvalid, PublicKey, fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import person_leaf
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Enrolled, Enrolment, Invitation, Role, RoleCountersignature, RoleProposal
from assent.contracts.times import day_of, moment, parse_moment
from assent.contracts.wire import CredentialView, Me, PersonView, ProposalView
from assent_custodian import replay
from assent_custodian.auth import Asker, roles_now
from assent_custodian.base import add_new
from assent_custodian.context import Custodian
from assent_custodian.log import service as log
from assent_custodian.people import devices, domain, notices, recovery
from assent_custodian.people.models import (
    Credential,
    Person,
    PersonName,
    PersonSalt,
    Proposal,
    RoleHeld,
    living_opening,
)
from assent_custodian.people.models import Invitation as InvitationRow
from assent_custodian.plain import check_text
from assent_service.database import batches


def founded(session: Session, now: datetime) -> bool:
    """Whether admin, council and dpo have all enrolled, and so signed the directory that they saw."""
    held = session.scalars(
        select(RoleHeld.role)
        .join(Person, Person.id == RoleHeld.person)
        .where(RoleHeld.effective <= moment(now), Person.drill.is_(False))
        .distinct()
    )
    return {role.value for role in domain.FOUNDERS} <= set(held)


def check_founded(session: Session, now: datetime) -> None:
    """Raises Problem `closed` until the three founders have enrolled: no certificate, no lease."""
    if not founded(session, now):
        raise Problem(
            Code.CLOSED, "admin, council and data-protection officer have not all enrolled yet: nothing starts before"
        )


def held_or_coming(session: Session, person: str) -> set[Role]:
    """Roles that this person holds, or will hold when a delay is over."""
    held = session.scalars(select(RoleHeld.role).where(RoleHeld.person == person, RoleHeld.ended.is_(None)))
    return {Role(role) for role in held}


def keys_that_sign(session: Session, role: Role, now: datetime) -> Counter[str]:
    """By person, how many opening keys can act in this role now. The drill's do not count."""
    holders = select(RoleHeld.person).where(RoleHeld.role == role.value, RoleHeld.ended.is_(None))
    keys = session.execute(
        select(Credential.person, Credential.opens_after)
        .join(Person, Person.id == Credential.person)
        .where(Credential.person.in_(holders), living_opening(), Person.drill.is_(False))
    )
    return Counter(person for person, after in keys if role in roles_now(session, person, now, after=after))


def one_at_a_time(session: Session, person: str) -> None:
    """Until this transaction ends, nobody else gives, withdraws or erases for this person: else a receipt and the
    withdrawal that overtook it would each be decided without seeing the other, and the receipt would stay.
    """
    session.execute(select(Person.id).where(Person.id == person).with_for_update())


# --- inviting and joining ---------------------------------------------------------------------------------------------


def invite(
    session: Session, custodian: Custodian, statement: Invitation, envelope: Envelope, asker: Asker
) -> InvitationRow:
    """Store an admin's invitation. A role in it is a proposal that needs a countersignature. Raises Problem."""
    now = custodian.now()
    check_text(statement.name)
    if statement.role is None:
        custodian.offer.require_references()
    until = _moment(statement.until)
    if not now < until <= now + timedelta(days=custodian.settings.invitation_days):
        days = custodian.settings.invitation_days
        raise Problem(Code.MALFORMED, f"an invitation ends in the future and within {days} days")
    return store_invitation(session, statement, envelope.hash, now, asker)


def store_invitation(
    session: Session, statement: Invitation, statement_hash: str, now: datetime, asker: Asker | None
) -> InvitationRow:
    """Write an invitation whose signature was checked (`asker` None: the root key's, for founders).

    It falls with the key that signed it, as a code that adds a key does.
    """
    by = asker.person if asker is not None else None
    row = InvitationRow(
        code=statement.code,
        statement=statement_hash,
        name=statement.name,
        role=statement.role.value if statement.role else None,
        by=by,
        until=statement.until,
        used=None,
        credential=asker.credential if asker is not None else None,
    )
    add_new(session, row, "this invitation, or one with the same code, exists already")
    if statement.role is not None:
        proposal = Proposal(
            hash=statement_hash, role=statement.role.value, action="grant", proposed_by=by, credential=row.credential,
            proposed=moment(now), effective=moment(now) if by is None else None,
        )  # fmt: skip
        _store_proposal(session, proposal, auth="root" if by is None else "opening")
    return row


def enrol(session: Session, custodian: Custodian, envelope: Envelope) -> Enrolled:
    """Make a person of the holder of a code, or add a key to the person who signed for the code. Raises Problem; then
    the code is as good as before.

    Every key that is introduced must have signed; the directory named must be the one in force.
    """
    now = custodian.now()
    log.check_whole(session)  # who signed for the code may have been revoked since, or have lost the role
    unverified = read_unverified(envelope, Enrolment)
    invitation = session.execute(
        select(InvitationRow).where(InvitationRow.code == hash_of_secret(unverified.secret)).with_for_update()
    ).scalar_one_or_none()
    if invitation is None or invitation.used is not None or invitation.until < moment(now):
        raise Problem(Code.CODE_INVALID, "ask for a new invitation: this code is unknown, expired or already used")
    if invitation.person is None and not _is_admin(session, invitation.by, now):
        raise Problem(Code.CODE_INVALID, "who invited you is no admin any more; ask for a new invitation")
    if invitation.role is None:
        custodian.offer.require_references()
    keys = [PublicKey(credential.key) for credential in unverified.credentials]
    try:
        enrolment = read(envelope, Enrolment, *keys)
    except (StatementInvalid, KeyInvalid) as error:
        raise Problem(Code.SIGNATURE_INVALID, "every key that an enrolment introduces must sign it") from error
    kinds = [credential.kind for credential in enrolment.credentials]
    if len(set(kinds)) != len(kinds) or len({key.id for key in keys}) != len(keys):
        raise Problem(Code.MALFORMED, "an enrolment introduces at most one device key and one opening credential")
    replay.check_time(enrolment.at, now)
    if enrolment.directory != custodian.directory.hash:
        raise Problem(Code.CONFLICT, "the directory has changed meanwhile; fetch it and enrol again with its hash")
    bounds = devices.UNBOUND
    if invitation.person is None:
        person = _new_person(session, invitation.name or "", now, drill=invitation.drill)
    else:
        person = invitation.person
        bounds = devices.check_code(session, invitation, kinds)
    for key, kind in zip(keys, kinds, strict=True):
        credential = Credential(
            key_id=key.id,
            person=person,
            kind=kind,
            key=key.text,
            since=day_of(now),
            opens_after=bounds.opens_after,
            waits_until=bounds.waits_until,
        )
        add_new(session, credential, "one of these keys is enrolled already; make a new one")
    invitation.used, name, invitation.name = day_of(now), invitation.name or "", None
    if invitation.person is None:
        roles = _take_up_role(session, invitation, person, now)
    else:
        name = name_of(session, person)
        roles = tuple(sorted(roles_now(session, person, now, after=bounds.opens_after)))
        recovery.note_used(session, invitation, keys[0].id, now)
        notices.tell_added(session, person, kinds[0], day_of(now))
    log.queue_person_leaf(session, person_leaf(secrets.token_bytes(16), envelope.hash))
    return Enrolled(person=person, name=name, credentials=tuple(key.id for key in keys), roles=roles)


def _is_admin(session: Session, by: str | None, now: datetime) -> bool:
    """Whether what this person proposed still counts. None: the root key signed it, or the operator for the drill."""
    return by is None or Role.ADMIN in roles_now(session, by, now)


def _new_person(session: Session, name: str, now: datetime, *, drill: bool) -> str:
    person = new_id()
    session.add(Person(id=person, since=day_of(now), drill=drill))
    session.add(PersonName(person=person, name=name))
    session.add(PersonSalt(person=person, salt=secrets.token_bytes(32)))
    session.flush()
    return person


def _take_up_role(session: Session, invitation: InvitationRow, person: str, now: datetime) -> tuple[Role, ...]:
    """Bind the proposal in the invitation to the new person; return the roles that count at once."""
    if invitation.drill:
        return _begin_drill_role(session, invitation, person, now)
    proposal = session.get(Proposal, invitation.statement)
    if proposal is None:
        return ()
    proposal.person = person
    if proposal.effective is None:
        return ()
    _begin_role(session, proposal, max(proposal.effective, moment(now)), now)
    return (Role(proposal.role),) if proposal.effective <= moment(now) else ()


def _begin_drill_role(session: Session, invitation: InvitationRow, person: str, now: datetime) -> tuple[Role, ...]:
    """An identity of the drill has its role at once and by nobody's signature: it counts for nothing but the drill.

    The log names the actor, so that whoever reads it tells the drill's acts from people's.
    """
    roles = () if invitation.role is None else (Role(invitation.role),)
    session.add_all(
        RoleHeld(proposal=invitation.statement, person=person, role=role.value, effective=moment(now), ended=None)
        for role in roles
    )
    log.append(
        session,
        Leaf(
            type=LeafType.ROLE_CHANGED,
            at=moment(now),
            actor=log.actor_ref(session, person),
            auth="operator",
            decision="allowed",
            rule="role.drill",
            subject=invitation.statement,
            detail={"role": invitation.role or "none", "action": "grant"},
        ),
    )
    return roles


# --- roles ------------------------------------------------------------------------------------------------------------


def propose(session: Session, custodian: Custodian, statement: RoleProposal, envelope: Envelope, asker: Asker) -> None:
    """Store a proposal to grant or revoke a role. Raises Problem."""
    now = custodian.now()
    person = session.get(Person, statement.person)
    if person is None or person.drill:
        raise Problem(Code.NOT_FOUND, "there is no such person")
    domain.check_proposer(asker.roles, statement.role)
    if statement.action == "grant":
        domain.check_exclusive(held_or_coming(session, statement.person), statement.role)
    elif _held(session, statement.person, statement.role) is None:
        raise Problem(Code.CONFLICT, f"this person does not hold the role {statement.role.value}")
    proposal = Proposal(
        hash=envelope.hash, person=statement.person, role=statement.role.value, action=statement.action,
        proposed_by=asker.person, credential=asker.credential, proposed=moment(now),
    )  # fmt: skip
    _store_proposal(session, proposal, auth=asker.kind)


def _store_proposal(session: Session, proposal: Proposal, auth: str) -> None:
    """Keep it until it is countersigned, and write down who proposed it."""
    by = proposal.proposed_by
    session.add(proposal)
    log.append(
        session,
        Leaf(
            type=LeafType.ROLE_PROPOSED,
            at=proposal.proposed,
            actor=log.actor_ref(session, by) if by else None,
            auth=auth,
            decision="allowed",
            subject=proposal.hash,
            detail={"role": proposal.role, "action": proposal.action},
        ),
    )


def countersign(
    session: Session, custodian: Custodian, statement: RoleCountersignature, envelope: Envelope, asker: Asker
) -> None:
    """Council or dpo agrees. The state of the proposal is looked at now, in this transaction, and so is who proposed
    it: it is void when they are no longer what they were, or revoked the key that signed it. Raises Problem.

    A role is given to the keys that the signature names, and only if these are all that the account has: what they
    looked at is what they sign.
    """
    now = custodian.now()
    proposal = session.execute(
        select(Proposal).where(Proposal.hash == statement.proposal).with_for_update()
    ).scalar_one_or_none()
    if proposal is None:
        raise Problem(Code.NOT_FOUND, "there is no such proposal")
    if proposal.effective is not None:
        raise Problem(Code.CONFLICT, "this proposal has been countersigned already")
    proposed_as = _proposed_as(session, proposal)
    if not domain.may_propose(proposed_as, Role(proposal.role)):
        raise Problem(
            Code.REFUSED,
            "this proposal is void: who made it has lost that role, or revoked the key that signed it; "
            "somebody has to propose it anew",
            rule="proposer",
        )
    domain.check_countersigner(
        asker.person, asker.roles, proposal.proposed_by, proposal.person, proposed_as=proposed_as
    )
    if statement.keys != _keys_to_sign(session, proposal):
        raise Problem(
            Code.CONFLICT, "the signature has to name the keys that this account has now; look at them, and sign again"
        )
    when = domain.effective(proposal.action, now, custodian.settings.role_delay)
    proposal.countersigned_by = asker.person
    proposal.effective = moment(when)
    proposal.evidence = envelope.to_json().decode()
    roots = {}
    if proposal.action == "revoke" and proposal.person is not None:
        roots["person"] = log.concerned(session, proposal.person, proposal.hash)
        held = _held(session, proposal.person, Role(proposal.role))
        if held is None:
            raise Problem(Code.CONFLICT, "this role is not held any more")
        domain.check_last(Role(proposal.role), _others_who_act(session, held, now))
        held.ended = moment(now)
    elif proposal.person is not None:
        _begin_role(session, proposal, moment(when), now)
    log.append(
        session,
        Leaf(
            type=LeafType.ROLE_CHANGED,
            at=moment(now),
            actor=log.actor_ref(session, asker.person),
            auth=asker.kind,
            decision="allowed",
            rule="role.countersigned",
            subject=proposal.hash,
            until=moment(when),
            roots=roots,
            detail={"role": proposal.role, "action": proposal.action},
        ),
    )


def _proposed_as(session: Session, proposal: Proposal) -> frozenset[Role]:
    """What who proposed this was then and still is, by the key that signed it, if that is not revoked."""
    credential = session.get(Credential, proposal.credential or "")
    if credential is None or credential.revoked is not None or credential.person != proposal.proposed_by:
        return frozenset()
    return roles_now(session, credential.person, parse_moment(proposal.proposed), after=credential.opens_after)


def _is_void(session: Session, proposal: Proposal) -> bool:
    """Whether it waits for a signature that nobody can give any more."""
    waits = proposal.effective is None
    return waits and not domain.may_propose(_proposed_as(session, proposal), Role(proposal.role))


def _keys_to_sign(session: Session, proposal: Proposal) -> tuple[str, ...]:
    """Which keys a countersignature of this proposal has to name. Raises Problem when there is none that could act."""
    if proposal.action != "grant":
        return ()
    keys = () if proposal.person is None else _opening_keys(session, [proposal.person]).get(proposal.person, ())
    if not keys:
        raise Problem(
            Code.CONFLICT,
            "a role is signed for keys: nobody has joined yet, or with no opening key",
        )
    return keys


def _opening_keys(session: Session, people: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By person, the fingerprints of the opening keys that are not revoked, sorted."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for some in batches(people):
        living = select(Credential.person, Credential.key).where(Credential.person.in_(some), living_opening())
        for person, key in session.execute(living):
            found[person].append(fingerprint(key))
    return {person: tuple(sorted(keys)) for person, keys in found.items()}


def _begin_role(session: Session, proposal: Proposal, effective: str, now: datetime) -> None:
    assert proposal.person is not None  # noqa: S101 - callers bind the person first
    # Two roles that exclude each other may be countersigned at the same time: each must see the other.
    session.execute(select(Person.id).where(Person.id == proposal.person).with_for_update())
    domain.check_exclusive(held_or_coming(session, proposal.person), Role(proposal.role))
    session.add(
        RoleHeld(proposal=proposal.hash, person=proposal.person, role=proposal.role, effective=effective, ended=None)
    )
    if proposal.countersigned_by is None:
        log.append(
            session,
            Leaf(
                type=LeafType.ROLE_CHANGED,
                at=moment(now),
                actor=log.actor_ref(session, proposal.person),
                auth="root",
                decision="allowed",
                rule="role.founder",
                subject=proposal.hash,
                detail={"role": proposal.role, "action": "grant"},
            ),
        )


def _others_who_act(session: Session, held: RoleHeld, now: datetime) -> int:
    """How many other people can act in this role now: it counts for them, and for an opening key of theirs.

    Until this transaction ends nobody else's role of this kind ends: two could go at once, each for the other's sake.
    """
    same = select(RoleHeld).where(RoleHeld.role == held.role, RoleHeld.ended.is_(None)).order_by(RoleHeld.proposal)
    session.scalars(same.with_for_update().execution_options(populate_existing=True)).all()
    return len(keys_that_sign(session, Role(held.role), now).keys() - {held.person})


def _held(session: Session, person: str, role: Role) -> RoleHeld | None:
    return session.scalars(
        select(RoleHeld).where(RoleHeld.person == person, RoleHeld.role == role.value, RoleHeld.ended.is_(None))
    ).one_or_none()


# --- views ------------------------------------------------------------------------------------------------------------


def name_of(session: Session, person: str | None) -> str:
    """The name of an account, or a dash when it was erased."""
    if person is None:
        return "—"
    return session.scalar(select(PersonName.name).where(PersonName.person == person)) or "—"


def me(session: Session, asker: Asker, now: datetime) -> Me:
    """One's own account, as it is shown to all of its keys."""
    credentials = session.scalars(
        select(Credential).where(Credential.person == asker.person, Credential.revoked.is_(None))
    )
    views = tuple(
        CredentialView.model_validate({"key_id": c.key_id, "kind": c.kind, "since": c.since})
        for c in sorted(credentials, key=lambda c: (c.kind, c.key_id))
    )
    return Me(
        person=asker.person,
        name=name_of(session, asker.person),
        roles=tuple(sorted(asker.roles)),
        credentials=views,
        messages=notices.of_person(session, asker.person),
        recoveries=recovery.running(session, asker.person, now),
    )


def people(session: Session, now: datetime) -> tuple[PersonView, ...]:
    """Every account with its roles in effect. Nothing here says who takes part in recording."""
    roles: dict[str, list[Role]] = {}
    for person, role in session.execute(
        select(RoleHeld.person, RoleHeld.role).where(RoleHeld.effective <= moment(now), RoleHeld.ended.is_(None))
    ):
        roles.setdefault(person, []).append(Role(role))
    rows = session.execute(
        select(Person.id, PersonName.name)
        .join(PersonName, PersonName.person == Person.id)
        .where(Person.drill.is_(False))
        .order_by(PersonName.name, Person.id)
    )
    return tuple(PersonView(person=id_, name=name, roles=tuple(sorted(roles.get(id_, [])))) for id_, name in rows)


def proposals(session: Session) -> tuple[ProposalView, ...]:
    """Every role proposal, newest first. Founders' are shown as countersigned: the root key signed them. What is void
    is shown as that, and with no keys to sign for."""
    invited = {row.statement: row.name for row in session.execute(select(InvitationRow.statement, InvitationRow.name))}
    rows = session.scalars(select(Proposal).order_by(Proposal.proposed.desc(), Proposal.hash)).all()
    void = {row.hash for row in rows if _is_void(session, row)}
    gives = {row.hash for row in rows if row.effective is None and row.action == "grant"} - void
    keys = _opening_keys(session, sorted({row.person for row in rows if row.person and row.hash in gives}))
    return tuple(
        ProposalView.model_validate(
            {
                "proposal": row.hash,
                "person": row.person,
                "name": name_of(session, row.person) if row.person else (invited.get(row.hash) or "—"),
                "role": Role(row.role),
                "action": row.action,
                "countersigned": row.effective is not None,
                "effective": row.effective,
                "keys": keys.get(row.person or "", ()) if row.hash in gives else (),
                "void": True if row.hash in void else None,
            }
        )
        for row in rows
    )


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "a moment in this statement is not one of the calendar") from error
