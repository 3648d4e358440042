"""The night: what is due is erased, written down, ordered and sealed off, in steps that a crash cannot spoil.

Each step is a transaction of its own and does nothing when it was done already, so a night that was interrupted is
simply run again. A lock row keeps two workers from running it at the same time.
"""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Integer, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Mapped, Session, mapped_column

from assent.contracts.ids import new_id
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Problem
from assent.contracts.times import moment
from assent_custodian import alarms, backups, replay
from assent_custodian.base import DAY, ID, MOMENT, Base
from assent_custodian.consent import service as consent
from assent_custodian.consent.models import WithdrawalRow
from assent_custodian.context import Custodian
from assent_custodian.drills import service as drills
from assent_custodian.erasures import service as erasures
from assent_custodian.grants import service as grants
from assent_custodian.keys import rotation
from assent_custodian.leaving import service as leaving
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.log.models import QueuedPersonLeaf
from assent_custodian.orders import service as orders
from assent_custodian.people.models import Invitation
from assent_custodian.recalls import service as recalls
from assent_custodian.restoring.catching_up import catch_up

PERSON_LEAVES = 64
"""Person leaves come in multiples of this, filled up with random ones, every night, also when there was none."""

OF_PEOPLE = frozenset({
    "receipts_expired", "streams_erased", "streams_past_retention", "recalls", "erasures_final", "person_leaves",
    "leavers_streams_erased", "leavers_forgotten",
})  # fmt: skip
"""Parts of the report that follow from what persons did: for tests, never for the eyes of operators."""

LOCK_FOR = timedelta(hours=1)
"""A night that has not ended after this was killed; another may begin."""

_log = structlog.get_logger("assent.custodian.night")


class NightLock(Base):
    """One row: who runs the night, until when at most; and the day of the last one that came to its end."""

    __tablename__ = "night_lock"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    holder: Mapped[str] = mapped_column(ID)
    until: Mapped[str] = mapped_column(MOMENT)
    done: Mapped[str | None] = mapped_column(DAY)


def last_done(session: Session) -> str | None:
    """The day of the last night that came to its end, whoever ran it; None before the first."""
    return session.scalar(select(NightLock.done).where(NightLock.id == 1))


def note_done(session: Session, day: str) -> None:
    """The night of this day has come to its end (or there was nothing yet that one could be about)."""
    session.execute(update(NightLock).where(NightLock.id == 1).values(done=day))


def run_night(custodian: Custodian) -> dict[str, Any]:
    """Run the night once and say what it did; when it did not run, `missing` says why."""
    missing = catch_up(custodian)
    if missing is not None:
        return {"ran": False, **missing}
    holder = new_id()
    if not _lock(custodian, holder):
        return {"ran": False, "missing": _why_locked(custodian)}
    try:
        report = _steps(custodian)
        with custodian.database.transaction() as session:
            note_done(session, custodian.today())
        return {"ran": True, **report}
    finally:
        with custodian.database.transaction() as session:
            session.execute(update(NightLock).where(NightLock.holder == holder).values(until=_NEVER))


_NEVER = "0000-00-00T00:00:00Z"


def _lock(custodian: Custodian, holder: str) -> bool:
    now = custodian.now()
    with custodian.database.transaction() as session:
        taken = session.execute(
            update(NightLock)
            .where(NightLock.id == 1, NightLock.until < moment(now))
            .values(holder=holder, until=moment(now + LOCK_FOR))
        )
        assert isinstance(taken, CursorResult)  # noqa: S101 - an UPDATE always gives one
        return taken.rowcount == 1


def _why_locked(custodian: Custodian) -> str:
    with custodian.database.reading() as session:
        until = session.get_one(NightLock, 1).until
    return f"another one runs, or was killed while it ran: then this can be run again after {until}"


def _steps(custodian: Custodian) -> dict[str, Any]:
    now = custodian.now()
    report: dict[str, Any] = {}
    with custodian.database.transaction() as session:
        report["receipts_expired"] = consent.expire(session, now)
        tidy(session, now)
    with custodian.database.transaction() as session:
        report["streams_erased"] = erase_due(session, custodian) + consent.erase_ended(session, custodian)
    with custodian.database.transaction() as session:
        report["streams_past_retention"] = erasures.erase_past_retention(session, custodian)
    with custodian.database.transaction() as session:
        report["leavers_streams_erased"] = leaving.erase_due(session, custodian)
    with custodian.database.transaction() as session:
        report["drill_streams_erased"] = drills.clear(session, custodian)
    with custodian.database.transaction() as session:
        report["requests_expired"] = grants.expire_due(session, custodian)
    report["backups_removed"] = backups.remove_old(custodian)
    with custodian.database.transaction() as session:
        report["recalls"] = recalls.issue(session, custodian)
    with custodian.database.transaction() as session:
        report["erasures_final"] = erasures.finish(session, custodian)
    with custodian.database.transaction() as session:
        report["person_leaves"] = append_person_leaves(session, custodian.today())
    with custodian.database.transaction() as session:
        report["orders"] = orders.make_orders(session, custodian)
    with custodian.database.transaction() as session:
        report["leavers_forgotten"] = leaving.forget_due(session, custodian)
    custodian.database.empty_write_ahead_log()
    rotation.remove_destroyed_keys(custodian)
    report |= _rotate_and_back_up(custodian)
    report["overdue"] = alarms.sound(custodian, last_night=custodian.today())
    report["witnessed"] = _witness(custodian)
    with custodian.database.reading() as session:
        report["orders_open"] = orders.open_orders(session)
    return report


def _rotate_and_back_up(custodian: Custodian) -> dict[str, Any]:
    """Back up every night; in one with a rotation after everything is wrapped anew, before anything is destroyed."""
    report: dict[str, Any] = {"backup": "none: backup_dir is not set, or backup_days is 0", "generations_destroyed": []}

    def back_up() -> None:
        if custodian.settings.backup_dir is not None and custodian.settings.backup_days:
            report["backup"] = backups.back_up(custodian).name

    with custodian.database.reading() as session:
        due = rotation.is_due(session, custodian.keks)
    if due:
        report["generations_destroyed"] = rotation.rotate(custodian, back_up)
    else:
        back_up()
    return report


def erase_due(session: Session, custodian: Custodian) -> int:
    """Erase what was withdrawn long enough ago."""
    count = 0
    due = select(WithdrawalRow).where(WithdrawalRow.erased.is_(None), WithdrawalRow.erase_on <= custodian.today())
    for withdrawal in session.scalars(due.order_by(WithdrawalRow.hash).with_for_update()):
        count += consent.erase_withdrawn(
            session, custodian, withdrawal.hash, withdrawal.person, json.loads(withdrawal.streams)
        )
        withdrawal.erased = custodian.today()
    return count


def append_person_leaves(session: Session, day: str) -> int:
    """Append the salted hashes that wait, among random ones, in random order; only the day is written."""
    session.flush()
    waiting = session.scalars(select(QueuedPersonLeaf).with_for_update()).all()
    hashes = [row.leaf for row in waiting]
    missing = -len(hashes) % PERSON_LEAVES if hashes else PERSON_LEAVES
    hashes += [secrets.token_hex(32) for _ in range(missing)]
    secrets.SystemRandom().shuffle(hashes)
    log.append(session, *(Leaf(type=LeafType.PERSON, at=day, subject=hash_) for hash_ in hashes))
    for row in waiting:
        session.delete(row)
    return len(hashes)


def tidy(session: Session, now: datetime) -> None:
    """Forget nonces that are too old to matter, and names in invitations that nobody took up."""
    replay.forget_old_nonces(session, now)
    session.execute(
        update(Invitation).where(Invitation.until < moment(now), Invitation.name.is_not(None)).values(name=None)
    )


def _witness(custodian: Custodian) -> bool:
    """Ask for cosignatures of the new head. Erasure never waits for a witness, so a failure is only reported."""
    try:
        note = witnesses.submit_head(custodian)
        custodian.directory.policy.check(note)
    except Exception as error:
        kind = error.code.wire if isinstance(error, Problem) else type(error).__name__
        _log.warning("night without quorum", kind=kind)
        return False
    return True
