"""Halting: certificates stop, the door closes, also to one's own data, and every agent shows the reason first.

A halt is written in one short transaction that waits for no witness. It ends when the council and the data-protection
officer have both signed for this very halt; one signature alone is kept and changes nothing.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope
from assent.contracts.ids import new_id
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Halt, Resume, Role
from assent.contracts.wire import HaltsView, HaltView
from assent_custodian import auth
from assent_custodian.auth import Stated
from assent_custodian.context import Custodian
from assent_custodian.halting.models import HaltRow, ResumeRow
from assent_custodian.log import service as log
from assent_custodian.people.models import Credential
from assent_custodian.people.service import name_of
from assent_custodian.plain import check_text

MUST_SIGN = frozenset({Role.COUNCIL, Role.DPO})
"""The roles whose signatures end a halt, both. One person holds one role, so these are two people."""


def halted(session: Session) -> str | None:
    """The reason for which the programme is halted, or None. The door and the certificates ask this every time."""
    return session.scalars(
        select(HaltRow.reason).where(HaltRow.resumed.is_(None)).order_by(HaltRow.at, HaltRow.hash).limit(1)
    ).first()


def halt(session: Session, custodian: Custodian, stated: Stated[Halt]) -> None:
    """Stop everything, at once, on one person's signature. Raises Problem when this person's halt is in force already.

    Another person's halt is another halt: it needs its own two signatures to end.
    """
    check_text(stated.statement.reason)
    by = stated.asker.person
    if session.scalars(select(HaltRow.hash).where(HaltRow.by == by, HaltRow.resumed.is_(None))).first() is not None:
        raise Problem(Code.CONFLICT, "the programme is halted by you already")
    _begin(session, custodian, stated.envelope, stated.statement, by)


def halt_by_operator(session: Session, custodian: Custodian, reason: str) -> str:
    """The same by an operator at the custodian's own host; returns the halt's hash. Raises ValidationError without a
    reason. Halting again changes nothing while an operator's halt is in force.
    """
    statement = Halt(reason=reason, nonce=new_id(), at=custodian.moment())
    check_text(statement.reason)
    standing = session.scalars(select(HaltRow.hash).where(HaltRow.by.is_(None), HaltRow.resumed.is_(None))).first()
    if standing is not None:
        return standing
    envelope = custodian.sign(statement)
    _begin(session, custodian, envelope, statement, None)
    return envelope.hash


def _begin(session: Session, custodian: Custodian, envelope: Envelope, statement: Halt, by: str | None) -> None:
    session.add(
        HaltRow(
            hash=envelope.hash,
            at=custodian.moment(),
            reason=statement.reason,
            by=by,
            statement=envelope.to_json().decode(),
            resumed=None,
        )
    )
    log.append(
        session,
        Leaf(
            type=LeafType.PROGRAMME_HALTED,
            at=custodian.moment(),
            actor=log.actor_ref(session, by) if by else None,
            auth="opening" if by else "operator",
            decision="allowed",
            subject=envelope.hash,
        ),
    )


def resume(session: Session, custodian: Custodian, stated: Stated[Resume]) -> None:
    """Keep this signature; end the halt if council and dpo have both signed for it and both signatures count now.

    A signature counts while its credential is not revoked and its person holds the role. Raises Problem.
    """
    statement, envelope, asker = stated.statement, stated.envelope, stated.asker
    row = session.get(HaltRow, statement.halt, with_for_update=True)  # two at once: each must see the other
    if row is None:
        raise Problem(Code.NOT_FOUND, "there is no such halt")
    if row.resumed is not None:
        raise Problem(Code.CONFLICT, "this halt has ended already")
    session.merge(
        ResumeRow(
            halt=row.hash,
            person=asker.person,
            credential=asker.credential,
            hash=envelope.hash,
            statement=envelope.to_json().decode(),
        )
    )
    session.flush()
    log.append(
        session,
        Leaf(
            type=LeafType.PROGRAMME_RESUME_SIGNED,
            at=custodian.moment(),
            actor=log.actor_ref(session, asker.person),
            auth=asker.kind,
            decision="allowed",
            subject=envelope.hash,
            request=row.hash,
        ),
    )
    signed = _signed(session, custodian, row.hash)
    if signed.keys() < MUST_SIGN:
        return
    row.resumed = custodian.moment()
    log.append(
        session,
        Leaf(
            type=LeafType.PROGRAMME_RESUMED,
            at=custodian.moment(),
            auth="opening",
            decision="allowed",
            rule="resume.council-and-dpo",
            subject=row.hash,
            detail={role.value: signature for role, signature in sorted(signed.items())},
        ),
    )


def _signed(session: Session, custodian: Custodian, halt_hash: str) -> dict[Role, str]:
    """The hash of the signature that counts now for each role that must sign."""
    rows = session.scalars(
        select(ResumeRow)
        .join(Credential, Credential.key_id == ResumeRow.credential)
        .where(ResumeRow.halt == halt_hash, Credential.revoked.is_(None))
        .order_by(ResumeRow.hash)
    )
    found: dict[Role, str] = {}
    for row in rows:
        for role in auth.roles_now(session, row.person, custodian.now()) & MUST_SIGN:
            found[role] = row.hash
    return found


def standing(session: Session, custodian: Custodian) -> HaltsView:
    """Every halt that has not ended, and who has signed that it may."""
    rows = session.scalars(select(HaltRow).where(HaltRow.resumed.is_(None)).order_by(HaltRow.at, HaltRow.hash))
    return HaltsView(
        halts=tuple(
            HaltView(
                hash=row.hash,
                reason=row.reason,
                at=row.at,
                halted_by=name_of(session, row.by) if row.by else "the operator",
                resume_signed=tuple(sorted(_signed(session, custodian, row.hash))),
            )
            for row in rows.all()
        )
    )
