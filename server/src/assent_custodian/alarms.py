"""What should have happened and did not: orders that nobody acknowledged, a generation that still lives, a night that
did not run, recipients who did not say that they dropped what was recalled.

Said by `assent-server doctor`, in the service's log without ids, and once a day in the log for everybody who audits it;
there a number stands from ten up, in tens, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import structlog
from sqlalchemy import ColumnElement, String, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.times import add_days
from assent_custodian.base import DAY, Base
from assent_custodian.context import Custodian
from assent_custodian.keys.models import Generation
from assent_custodian.log import service as log
from assent_custodian.orders.models import OrderRow
from assent_custodian.recalls.models import RecallRow

Kind = Literal["orders", "generation", "night", "recalls"]

SENTENCES: dict[Kind, str] = {
    "orders": "the collector has not acknowledged orders since {since}: see that it runs and reaches the custodian",
    "generation": "a KEK generation has had to go since {since}: run `assent-server rotate` and read what it says",
    "night": "the night did not come to its end since {since}: run `assent-server rotate` and read what it says",
    "recalls": "recipients have not said since {since} that they dropped what was recalled: speak to the requesters",
}

_log = structlog.get_logger("assent.custodian.alarms")


class AlarmRow(Base):
    """When an alarm of this kind was last written into the log: once a day at most."""

    __tablename__ = "alarms"
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    day: Mapped[str] = mapped_column(DAY)


@dataclass(frozen=True)
class Overdue:
    """`since`: the day from which on it is outstanding. `count`: how many, for the log in tens only."""

    kind: Kind
    since: str
    count: int

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, for operators."""
        return SENTENCES[self.kind].format(since=self.since)

    @property
    def counts(self) -> dict[str, int]:
        """For the log: from ten up, in tens."""
        return {self.kind: self.count // 10 * 10} if self.count >= 10 else {}


def overdue(session: Session, custodian: Custodian, last_night: str | None) -> list[Overdue]:
    """Everything that is overdue now. `last_night`: the day of the last night that came to its end, if any."""
    settings, today = custodian.settings, custodian.today()
    before = add_days(today, -settings.overdue_days)
    tainted = func.coalesce(Generation.tainted_since, Generation.created)
    outstanding: list[tuple[Kind, int, str | None]] = [
        ("orders", *_first(session, OrderRow.day, OrderRow.done.is_(None), OrderRow.day < before)),
        (
            "generation",
            *_first(session, tainted, Generation.destroyed.is_(None), Generation.tainted == true(), tainted < before),
        ),
        (
            "recalls",
            *_first(
                session, RecallRow.day, RecallRow.done.is_(None), RecallRow.day < add_days(today, -settings.recall_days)
            ),
        ),
    ]
    found = [Overdue(kind, since, count) for kind, count, since in outstanding if since is not None]
    if last_night is not None and last_night < add_days(today, -1):
        found.append(Overdue("night", last_night, 1))
    return found


def _first(
    session: Session, day: ColumnElement[str] | InstrumentedAttribute[str], *conditions: ColumnElement[bool]
) -> tuple[int, str | None]:
    """How many rows, and the earliest day of them."""
    count, first = session.execute(select(func.count(), func.min(day)).where(*conditions)).one()
    return count, first


def sound(custodian: Custodian, last_night: str | None) -> list[Kind]:
    """Write what is overdue into the log, each kind once a day, and say it to the operator. Returns what was new."""
    with custodian.database.transaction() as session:
        log.hold(session)  # replicas look at the same time
        new = []
        for alarm in overdue(session, custodian, last_night):
            row = session.get(AlarmRow, alarm.kind)
            if row is not None and row.day >= custodian.today():
                continue
            session.merge(AlarmRow(kind=alarm.kind, day=custodian.today()))
            leaf = Leaf(
                type=LeafType.ERASURE_OVERDUE, at=custodian.moment(), rule=alarm.kind, counts=alarm.counts,
                detail={"since": alarm.since},
            )  # fmt: skip
            log.append(session, leaf)
            new.append(alarm)
    for alarm in new:
        _log.warning("overdue", kind=alarm.kind, since=alarm.since)
    return [alarm.kind for alarm in new]
