"""Learning who a pseudonym of the log is: an auditor asks with a reason, the data-protection officer signs too.

Both signatures are checked here, and that both still count. It is in the log, and the person is told, before anybody
gets an answer; the answer is given to the auditor who asked, for a day, once witnesses have signed that entry. Who it
is is looked up each time and kept nowhere: when the person's salt was erased, nobody gets an answer any more.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.limits import UNMASKING_DAYS
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Role, Unmasking, UnmaskingCountersignature
from assent.contracts.times import moment
from assent.contracts.wire import UnmaskedView, UnmaskingView
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import TransparencyError
from assent.transparency.note import Note
from assent_custodian.auth import Asker, Stated, roles_now
from assent_custodian.base import add_new
from assent_custodian.context import Custodian
from assent_custodian.log import service as log
from assent_custodian.notifications import service as notifications
from assent_custodian.people import notices
from assent_custodian.people import service as people
from assent_custodian.people.models import Credential, Person
from assent_custodian.plain import check_text
from assent_custodian.unmasking.models import UnmaskingRow

ANSWERED_FOR = timedelta(days=1)
MOST_SHOWN = 100


def ask(session: Session, custodian: Custodian, stated: Stated[Unmasking]) -> None:
    """Keep an auditor's wish. It answers nothing, also not whether anybody is behind the pseudonym. Raises Problem."""
    statement, asker, now = stated.statement, stated.asker, custodian.now()
    check_text(statement.reason)
    found = log.entry(session, statement.index)
    if found is None or Leaf.model_validate_json(found).actor != statement.actor:
        raise Problem(Code.NOT_FOUND, "there is no such entry, or it has another actor")
    until = moment(now + timedelta(days=UNMASKING_DAYS))
    row = UnmaskingRow(
        hash=stated.envelope.hash, leaf_index=statement.index, actor=statement.actor,
        statement=stated.envelope.to_json().decode(), by=asker.person, credential=asker.credential,
        asked=moment(now), until=until,
    )  # fmt: skip
    add_new(session, row, "this was asked already")
    _write_down(session, custodian, LeafType.AUDIT_UNMASK_ASKED, row, asker)


def countersign(session: Session, custodian: Custodian, stated: Stated[UnmaskingCountersignature]) -> None:
    """The second signature. Whether both count is looked at now; the person is told in the same transaction.

    Raises Problem; then nobody learns anything, and nobody is told.
    """
    asker, now = stated.asker, custodian.now()
    row = session.get(UnmaskingRow, stated.statement.unmasking, with_for_update=True)
    if row is None:
        raise Problem(Code.NOT_FOUND, "nobody asked for that")
    if row.countersigned_by is not None:
        raise Problem(Code.CONFLICT, "this has been countersigned already")
    if row.until <= moment(now):
        raise Problem(Code.CONFLICT, "this has expired; the auditor has to ask again")
    first = session.get(Credential, row.credential)
    if asker.person == row.by or first is None or first.revoked is not None:
        raise Problem(Code.REFUSED, "it needs two people, both with keys that are not revoked")
    if Role.AUDITOR not in roles_now(session, row.by, now, after=first.opens_after):
        raise Problem(Code.REFUSED, "who asked is no auditor any more")
    person = _person_behind(session, row.actor)
    if person == asker.person:
        raise Problem(Code.REFUSED, "nobody signs for themselves: another data-protection officer has to")
    row.countersigned_by, row.countersignature = asker.person, stated.envelope.to_json().decode()
    row.until = moment(now + ANSWERED_FOR)
    row.answer_index = _write_down(session, custodian, LeafType.AUDIT_UNMASKED, row, asker)
    _tell(session, custodian, row, person)


def _person_behind(session: Session, actor: str) -> str:
    """Raises Problem when nobody can say who it is, or nobody ever could."""
    person = log.person_behind(session, actor)
    found = None if person is None else session.get(Person, person)
    if found is None or found.drill:
        raise Problem(
            Code.NOT_AVAILABLE,
            "nobody can say whose entry this is: a name for one time, an identity of the drill, or erased",
        )
    return found.id


def _tell(session: Session, custodian: Custodian, row: UnmaskingRow, person: str) -> None:
    assert row.countersigned_by is not None and row.answer_index is not None  # noqa: S101 - the caller has set both
    reason = read_unverified(Envelope.from_json(row.statement), Unmasking).reason
    auditor, dpo = people.name_of(session, row.by), people.name_of(session, row.countersigned_by)
    text = (
        f"{auditor} (auditor) may learn that entry {row.leaf_index} of the log, and every other by the same pseudonym, "
        f"is about something that you did. The reason: {reason} The data-protection officer, {dpo}, signed too."
    )
    notices.tell(session, person, custodian.today(), text)
    notifications.tell_unmasked(session, person, custodian.today(), text, row.hash, row.answer_index)


def every(session: Session, custodian: Custodian) -> tuple[UnmaskingView, ...]:
    """What was asked, newest first, for those who ask and sign."""
    rows = select(UnmaskingRow).order_by(UnmaskingRow.asked.desc(), UnmaskingRow.hash).limit(MOST_SHOWN)
    return tuple(
        UnmaskingView(
            unmasking=row.hash, index=row.leaf_index, actor=row.actor, name=people.name_of(session, row.by),
            reason=read_unverified(Envelope.from_json(row.statement), Unmasking).reason,
            state=_state(row, custodian.moment()), until=row.until,
        )
        for row in session.scalars(rows)
    )  # fmt: skip


def _state(row: UnmaskingRow, now: str) -> Literal["open", "signed", "expired"]:
    if row.until <= now:
        return "expired"
    return "open" if row.countersigned_by is None else "signed"


def answer(session: Session, custodian: Custodian, asker: Asker, hash_: str, checkpoint: Note) -> UnmaskedView:
    """Who it is, to the auditor who asked, while the entry that says so is witnessed. Raises Problem."""
    row = session.get(UnmaskingRow, hash_)
    if row is None or row.by != asker.person:
        raise Problem(Code.NOT_FOUND, "you have asked for no such thing")
    if row.until <= custodian.moment():
        raise Problem(Code.NOT_AVAILABLE, "this has expired; ask again")
    if row.answer_index is None:
        raise Problem(Code.NOT_AVAILABLE, "the data-protection officer has not signed")
    _check_witnessed(custodian, checkpoint, row.answer_index)
    person = _person_behind(session, row.actor)
    return UnmaskedView(
        unmasking=row.hash, index=row.leaf_index, actor=row.actor, person=person,
        name=people.name_of(session, person), until=row.until,
    )  # fmt: skip


def _check_witnessed(custodian: Custodian, checkpoint: Note, index: int) -> None:
    try:
        custodian.directory.policy.check(checkpoint)
    except TransparencyError as error:
        raise Problem(Code.NO_QUORUM, "too few witnesses have signed; ask again in a minute") from error
    if index >= Checkpoint.from_text(checkpoint.text).size:
        raise Problem(Code.NO_QUORUM, "no witness has signed that it is in the log; ask again in a minute")


def _write_down(session: Session, custodian: Custodian, type_: LeafType, row: UnmaskingRow, asker: Asker) -> int:
    leaf = Leaf(
        type=type_, at=custodian.moment(), actor=log.actor_ref(session, asker.person), auth=asker.kind,
        decision="allowed", subject=row.hash, until=row.until, counts={"index": row.leaf_index},
    )  # fmt: skip
    return log.append(session, leaf)
