"""Whether this database is behind what was signed, and what must not happen while it is. Every doubt shuts the door.

Withdrawals and erasures are never refused for it. Nothing is appended to a log that lacks leaves: what came after them
would be another history, which no witness countersigns.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from assent.contracts.problems import Code, Problem
from assent.contracts.segment import FIRST_PREVIOUS
from assent_custodian.consent.models import ReceiptRow
from assent_custodian.leases.models import LeaseRow
from assent_custodian.log import service as log
from assent_custodian.log.service import HeadMemory
from assent_custodian.people.models import Credential, Invitation
from assent_custodian.restoring.models import Restoration, Unheard
from assent_service.database import batches


def begin(session: Session, reach: int, day: str, *, anew: bool = False) -> None:
    """Shut the door until this database has caught up, to a log of `reach` leaves at least.

    Every lease ends, every code is void (it may have been used since; what founders' codes were used for is in the
    log), and every device is to say again what its person wants. `anew`: also when it was restored before.
    """
    row = session.get(Restoration, 1, with_for_update=True)
    if row is not None and not anew and row.log_whole is None:
        row.reach = max(row.reach, reach)
        return
    session.merge(Restoration(id=1, since=day, reach=reach, log_whole=None, orders_whole=None, claimed=None))
    session.execute(delete(Unheard))
    devices = session.execute(
        select(
            Credential.key_id,
            Credential.person,
            (Credential.last_receipt != FIRST_PREVIOUS) | Credential.key_id.in_(select(ReceiptRow.credential)),
        ).where(Credential.kind == "device", Credential.revoked.is_(None))
    ).all()
    if devices:
        session.execute(
            insert(Unheard), [{"key_id": key, "person": person, "waits": bool(gave)} for key, person, gave in devices]
        )
    session.execute(update(LeaseRow).where(LeaseRow.state == "open").values(state="ended"))  # a pending one lapses
    session.execute(update(Invitation).where(Invitation.used.is_(None), Invitation.by.is_not(None)).values(used=day))


def look(session: Session, memory: HeadMemory, day: str) -> bool:
    """Begin, if the last head that was signed is larger than this log. Returns whether the log lacks leaves."""
    last = memory.last()
    if last is not None and last.size > log.size(session):
        begin(session, last.size, day)
    return not log.is_whole(session)


def why_shut(session: Session, memory: HeadMemory) -> str | None:
    """Why nothing may be opened or certified here, or None. Asked at the door, each time."""
    row = session.get(Restoration, 1)
    if row is not None and row.log_whole is None:
        return log.NOT_WHOLE
    if row is not None and row.orders_whole is None:
        return "this custodian was restored from a backup, and orders that it signed since have not come back"
    last = memory.last()
    if last is not None and last.size > log.size(session):
        return "the log is shorter than a head that was signed before: this database is an old one"
    return None


def check_open(session: Session, memory: HeadMemory) -> None:
    """Raises Problem `closed` while the database is behind."""
    why = why_shut(session, memory)
    if why is not None:
        raise Problem(Code.CLOSED, why, rule="restored")


def claim(session: Session, last: int) -> None:
    """The collector says which was the last order. It counts where the log that would say it is lost."""
    row = session.get(Restoration, 1)
    if row is not None and row.claimed is not None and row.orders_whole is None:
        row.claimed = max(row.claimed, last)


def unheard(session: Session, people: Iterable[str]) -> set[str]:
    """Those of these people of whom a device has not said again what they want: for them the door is shut."""
    found: set[str] = set()
    for some in batches(sorted(set(people))):
        found.update(session.scalars(select(Unheard.person).where(Unheard.person.in_(some), Unheard.waits)))
    return found


def is_unheard(session: Session, key_id: str) -> bool:
    """Whether this device is to say again what its person wants."""
    return session.get(Unheard, key_id) is not None
