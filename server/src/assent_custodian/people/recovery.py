"""Recovery of an account whose person has no opening credential left.

Council and data-protection officer sign, two people; then seven days pass, in which every credential that is there is
told and any of them can stop it. The new key withdraws at once, has erased after the seven days, and never opens what
was recorded before, nor uses a role that was given before: so a recovery is no way into anybody's recordings.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Recovery, RecoveryCountersignature, RecoveryStopped, Role
from assent.contracts.times import moment, parse_moment
from assent.contracts.wire import RecoveryView
from assent_custodian.auth import Asker, Stated, roles_now
from assent_custodian.base import add_new
from assent_custodian.consent.models import WithdrawalRow
from assent_custodian.context import Custodian
from assent_custodian.erasures import service as erasures
from assent_custodian.log import service as log
from assent_custodian.people import devices, notices
from assent_custodian.people.models import Credential, Invitation, Person, PersonName, RecoveryRow

State = Literal["open", "running", "done", "stopped"]

DELAY = timedelta(days=7)
LONGEST_CODE = timedelta(days=30)
MUST_SIGN = frozenset({Role.COUNCIL, Role.DPO})
NEVER = "9999-12-31"
"""The day of an erasure that was called off."""


def propose(session: Session, custodian: Custodian, stated: Stated[Recovery]) -> None:
    """Keep the first signature. It opens nothing and starts nothing. Raises Problem."""
    statement, asker, now = stated.statement, stated.asker, custodian.now()
    person = session.get(Person, statement.person)
    if person is None or person.drill:
        raise Problem(Code.NOT_FOUND, "there is no such person")
    _not_oneself(asker, statement.person)
    try:
        until = parse_moment(statement.until)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "a moment in this statement is not one of the calendar") from error
    if not now < until <= now + LONGEST_CODE:
        raise Problem(Code.MALFORMED, f"the code ends in the future and within {LONGEST_CODE.days} days")
    session.add(
        RecoveryRow(
            hash=stated.envelope.hash,
            person=statement.person,
            code=statement.code,
            until=statement.until,
            statement=stated.envelope.to_json().decode(),
            by=asker.person,
            credential=asker.credential,
            proposed=moment(now),
        )
    )
    _write_down(session, custodian, LeafType.RECOVERY_SIGNED, stated.envelope.hash, asker)


def countersign(session: Session, custodian: Custodian, stated: Stated[RecoveryCountersignature]) -> None:
    """The second signature, of the other role and another person: from now on the code works and the days run.

    Whether both signatures count is looked at now. Raises Problem.
    """
    asker, now = stated.asker, custodian.now()
    row = _row(session, stated.statement.recovery)
    if row.ready is not None or row.stopped is not None:
        raise Problem(Code.CONFLICT, "this recovery has been countersigned already")
    _not_oneself(asker, row.person)
    first = session.get(Credential, row.credential)
    if asker.person == row.by or first is None or first.revoked is not None:
        raise Problem(Code.REFUSED, "a recovery needs two people, both with keys that are not revoked")
    if not roles_now(session, row.by, now, after=first.opens_after) | asker.roles >= MUST_SIGN:
        raise Problem(Code.REFUSED, "one signature must be the council's, the other the data-protection officer's")
    if row.until <= moment(now):
        raise Problem(Code.CONFLICT, "the code has expired; sign a new recovery")
    row.countersigned_by, row.countersignature = asker.person, stated.envelope.to_json().decode()
    row.ready = moment(now + DELAY)
    code = Invitation(
        code=row.code,
        statement=row.hash,
        name=None,
        role=None,
        by=row.by,
        until=row.until,
        used=None,
        person=row.person,
        kind="opening",
        credential=None,
    )
    add_new(session, code, "this code exists already; sign a new recovery")
    notices.tell(
        session,
        row.person,
        custodian.today(),
        "ALARM: council and data-protection officer signed a recovery of your account. If you did not ask for it, "
        f"stop it before {row.ready} UTC, with 'assent-agent stop-recovery' or 'assent me recover --stop'. Until then "
        "the new key can withdraw for you, and nothing else; later it still opens nothing that was recorded before.",
    )
    _write_down(session, custodian, LeafType.RECOVERY_COUNTERSIGNED, row.hash, asker, row.ready)


def note_used(session: Session, invitation: Invitation, key_id: str, now: datetime) -> None:
    """If this code was one of a recovery, write down that it was used, and which key came of it."""
    row = session.get(RecoveryRow, invitation.statement)
    if row is not None:
        row.key_id = key_id
        leaf = Leaf(type=LeafType.RECOVERY_USED, at=moment(now), decision="allowed", subject=row.hash)
        log.append(session, leaf)


def stop(session: Session, custodian: Custodian, stated: Stated[RecoveryStopped]) -> None:
    """End a recovery, the key that came of it, and the erasures that this key asked for. Twice is once. Raises Problem.

    What that key withdrew stays closed to others: ends are final.
    """
    row = _row(session, stated.statement.recovery, of=stated.asker.person)
    if row.stopped is not None:
        return
    if stated.asker.waits_until is not None or stated.asker.credential == row.key_id:
        raise Problem(Code.REFUSED, "the key that came of a recovery does not stop it")
    if row.ready is not None and row.ready <= custodian.moment():
        raise Problem(Code.CONFLICT, "its days are over; revoke the key that came of it with 'assent me devices'")
    row.stop = stated.envelope.to_json().decode()
    if row.key_id is not None:
        credential = session.get_one(Credential, row.key_id, with_for_update=True)
        if credential.revoked is None:
            devices.end(session, custodian, credential)
    set_stopped(session, custodian, row, custodian.moment())
    notices.tell(
        session, row.person, custodian.today(), f"The recovery of your account was stopped on {custodian.today()}."
    )
    leaf = Leaf(
        type=LeafType.RECOVERY_STOPPED,
        at=custodian.moment(),
        auth=stated.asker.kind,
        decision="refused",
        subject=row.hash,
        request=stated.envelope.hash,
    )
    log.append(session, leaf)


def set_stopped(session: Session, custodian: Custodian, row: RecoveryRow, at: str) -> None:
    """The code of this recovery is void, and the erasures that its key asked for are called off. The key itself is
    ended apart."""
    row.stopped = at
    session.execute(
        update(Invitation).where(Invitation.statement == row.hash, Invitation.used.is_(None)).values(used=at[:10])
    )
    pending = select(WithdrawalRow).where(WithdrawalRow.person == row.person, WithdrawalRow.erased.is_(None))
    for withdrawal in session.scalars(pending.with_for_update()):
        signers = {signature.keyid for signature in Envelope.from_json(withdrawal.envelope).signatures}
        if row.key_id in signers:
            withdrawal.erase_on = NEVER
            erasures.call_off(session, custodian, withdrawal.hash, withdrawal.person)


def running(session: Session, person: str, now: datetime) -> tuple[RecoveryView, ...]:
    """Recoveries of this person that can still be stopped."""
    rows = select(RecoveryRow).where(RecoveryRow.person == person, RecoveryRow.stopped.is_(None))
    views = [
        RecoveryView(recovery=row.hash, state=_state(row, now), ready=row.ready)
        for row in session.scalars(rows.order_by(RecoveryRow.proposed))
        if row.until > moment(now) or row.ready is not None
    ]
    return tuple(view for view in views if view.state in ("open", "running"))


def every(session: Session, now: datetime) -> tuple[RecoveryView, ...]:
    """All recoveries, newest first, for those who sign them."""
    names = {row.person: row.name for row in session.scalars(select(PersonName))}
    return tuple(
        RecoveryView(
            recovery=row.hash,
            state=_state(row, now),
            ready=row.ready,
            person=row.person,
            name=names.get(row.person, "—"),
        )
        for row in session.scalars(select(RecoveryRow).order_by(RecoveryRow.proposed.desc(), RecoveryRow.hash))
    )


def _state(row: RecoveryRow, now: datetime) -> State:
    if row.stopped is not None:
        return "stopped"
    if row.ready is None:
        return "open"
    return "running" if row.ready > moment(now) else "done"


def _row(session: Session, hash_: str, of: str | None = None) -> RecoveryRow:
    """`of`: a recovery of anybody else's account does not exist. Raises Problem."""
    row = session.get(RecoveryRow, hash_, with_for_update=True)
    if row is None or (of is not None and row.person != of):
        raise Problem(Code.NOT_FOUND, "there is no such recovery")
    return row


def _not_oneself(asker: Asker, person: str) -> None:
    if asker.person == person:
        raise Problem(Code.REFUSED, "nobody signs a recovery of their own account")


def _write_down(
    session: Session, custodian: Custodian, type_: LeafType, recovery: str, asker: Asker, until: str | None = None
) -> None:
    leaf = Leaf(
        type=type_,
        at=custodian.moment(),
        actor=log.actor_ref(session, asker.person),
        auth=asker.kind,
        decision="allowed",
        subject=recovery,
        until=until,
    )
    log.append(session, leaf)
