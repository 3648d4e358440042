"""An account ends by its person's signature, or by the data-protection officer's for somebody who has left.

At once: every key is revoked, every receipt ends, and every stream is closed, for everybody. What was recorded is
erased: by one's own signature at once, by the officer's after as many days as after a withdrawal. Then, in the night,
the person is forgotten (`forgetting`).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Leaving
from assent.contracts.times import add_days
from assent_custodian.auth import Stated
from assent_custodian.consent import service as consent
from assent_custodian.context import Custodian
from assent_custodian.keys import erasure
from assent_custodian.keys.models import Stream
from assent_custodian.leaving import forgetting
from assent_custodian.leaving.models import Leaver
from assent_custodian.log import service as log
from assent_custodian.people import devices
from assent_custodian.people import service as people
from assent_custodian.people.models import Credential, Invitation, Person, PersonSalt


def leave(session: Session, custodian: Custodian, stated: Stated[Leaving]) -> None:
    """One's own account. Raises Problem while its person has a role: that has to be revoked by others first."""
    if stated.statement.person != stated.asker.person:
        raise Problem(Code.REFUSED, "one can only leave for oneself")
    living = _end(session, custodian, stated.statement.person, custodian.today())
    erasure.erase(session, custodian, living)
    _write_down(session, custodian, stated, actor=None)


def end_account(session: Session, custodian: Custodian, stated: Stated[Leaving]) -> None:
    """The account of somebody who has left, by the data-protection officer. Raises Problem."""
    person, asker = stated.statement.person, stated.asker
    found = session.get(Person, person)
    if found is None or found.drill:
        raise Problem(Code.NOT_FOUND, "there is no such person")
    if person == asker.person:
        raise Problem(Code.REFUSED, "this is your own account: 'assent me leave'")
    _end(session, custodian, person, add_days(custodian.today(), custodian.settings.erase_after_days))
    _write_down(session, custodian, stated, actor=log.actor_ref(session, asker.person))


def _end(session: Session, custodian: Custodian, person: str, erase_on: str) -> list[str]:
    """Returns the streams that are not erased yet."""
    people.one_at_a_time(session, person)
    held = people.held_or_coming(session, person)
    if held:
        raise Problem(Code.CONFLICT, f"first the role {min(held).value} has to be revoked, by admin and council or dpo")
    if session.get(Leaver, person) is not None:
        raise Problem(Code.CONFLICT, "this account has ended already")
    return _close(session, custodian, person, erase_on)


def _close(session: Session, custodian: Custodian, person: str, erase_on: str) -> list[str]:
    living = select(Credential).where(Credential.person == person, Credential.revoked.is_(None))
    for credential in session.scalars(living.order_by(Credential.key_id).with_for_update()).all():
        devices.end(session, custodian, credential)
    session.execute(
        update(Invitation).where(Invitation.person == person, Invitation.used.is_(None)).values(used=custodian.today())
    )
    session.add(Leaver(person=person, erase_on=erase_on))
    return consent.end_for(session, custodian, person)


def _write_down(session: Session, custodian: Custodian, stated: Stated[Leaving], actor: str | None) -> None:
    """Only a custodian that still has the salt finds out whose account it was: one restored from before."""
    subject = stated.envelope.hash
    root = log.concerned(session, stated.statement.person, subject)
    leaf = Leaf(
        type=LeafType.ACCOUNT_ENDED, at=custodian.moment(), actor=actor, auth=stated.asker.kind, decision="allowed",
        subject=subject, roots={"person": root},
    )  # fmt: skip
    log.append(session, leaf)


def end_again(session: Session, custodian: Custodian, leaves: Iterable[Leaf]) -> None:
    """After a restore: those whose accounts the log says ended, and whose salts the backup brought back."""
    roots = {leaf.roots.get("person", ""): leaf.subject or "" for leaf in leaves}
    if not roots:
        return
    for person in session.scalars(select(PersonSalt.person).order_by(PersonSalt.person)).all():
        known = {log.concerned(session, person, subject) for subject in roots.values()}
        if known & roots.keys() and session.get(Leaver, person) is None:
            keys = select(Credential).where(Credential.person == person, Credential.revoked.is_(None))
            for credential in session.scalars(keys).all():
                devices.set_revoked(session, credential, custodian.today())
            consent.end_for(session, custodian, person)
            session.add(Leaver(person=person, erase_on=custodian.today()))


def erase_due(session: Session, custodian: Custodian) -> int:
    """Erase what those recorded whose days are over. Returns how many streams."""
    due = select(Leaver.person).where(Leaver.erase_on <= custodian.today())
    living = select(Stream.id).where(Stream.person.in_(due), Stream.erased.is_(None)).order_by(Stream.id)
    return erasure.erase(session, custodian, session.scalars(living).all(), "ended")


def forget_due(session: Session, custodian: Custodian) -> int:
    """Forget those of whom nothing is left that could be erased. Returns how many."""
    recorded = select(Stream.person).where(Stream.erased.is_(None))
    due = select(Leaver.person).where(Leaver.erase_on <= custodian.today(), Leaver.person.not_in(recorded))
    gone = session.scalars(due.order_by(Leaver.person)).all()
    for person in gone:
        forgetting.forget(session, person)
    return len(gone)
