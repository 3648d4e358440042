"""Reports: the collector's signed, numbered account of what it handed out and refused, for the custodian's log.

What is handed out is counted before it leaves, in the database, so that replicas and crashes lose none of it. What is
refused is counted in memory and stored now and then: a crash loses a minute of it at most. A report is about whole
hours, each begins where the one before ended, and one that was not taken stays due until it is. Numbers are rounded
down to powers of ten before they are signed; what came in is not counted at all, nor who asked, nor for which stream.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.orm import Session

from assent.contracts.envelope import sign
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code
from assent.contracts.statements import REFUSED, CollectorReport
from assent.contracts.times import hour_of, parse_hour
from assent_collector import store
from assent_collector.custodian import Custodian, CustodianUnreachable, ReportElsewhere
from assent_collector.models import reports
from assent_service.database import Database

COUNTED = ("listings", "bodies", *REFUSED)
KINDS: Mapping[Code, str] = {
    Code.TICKET_INVALID: "refused_tickets",
    Code.CERTIFICATE_INVALID: "refused_certificates",
    Code.BUDGET_SPENT: "refused_over_budget",
}
COUNTING = 0
MOST_COUNTED = 10**15
"""No count is ever beyond this: it must fit into a statement."""


class Reports:
    """Counts, and reports. Thread-safe; every method but `refused` blocks on the database."""

    def __init__(
        self,
        database: Database,
        custodian: Custodian,
        *,
        key: SigningKey,
        clock: Callable[[], datetime],
        hours: int,
    ) -> None:
        """`hours`: how long a report is at least."""
        self._database = database
        self._custodian = custodian
        self._key = key
        self._clock = clock
        self._every = timedelta(hours=hours)
        self._refused: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._alone = threading.Lock()

    def handed_out(self, *, listings: int = 0, bodies: int = 0) -> None:
        """Count what will leave now. On disk when this returns; what cannot be counted must not leave."""
        if listings or bodies:
            with self._database.transaction() as session:
                self._begin(session)
                self._turn_over(session)
                _add(session, {"listings": listings, "bodies": bodies})

    def refused(self, code: Code) -> None:
        """Count a refusal, if it is of a kind that is reported."""
        if code in KINDS:
            with self._lock:
                self._refused[KINDS[code]] += 1

    def report_once(self) -> int:
        """Store what was refused; hand in what is due, in order. Returns how many reports the custodian took.

        Raises CustodianUnreachable; what was not taken stays due.
        """
        with self._alone:
            with self._lock:
                refused, self._refused = self._refused, Counter()
            with self._database.transaction() as session:
                self._begin(session)
                _add(session, refused)
                self._turn_over(session)
                due = _due(session)
            moved, taken = False, 0
            while due:
                try:
                    self._custodian.reported(sign(_statement(due[0]), self._key))
                except ReportElsewhere as elsewhere:
                    if moved:
                        raise CustodianUnreachable("it expects another report each time") from elsewhere
                    moved = True
                    with self._database.transaction() as session:
                        due = _move(session, due[0], elsewhere)
                    continue
                with self._database.transaction() as session:
                    session.execute(delete(reports).where(reports.c.place == due[0].place))
                due, taken = due[1:], taken + 1
            return taken

    def _begin(self, session: Session) -> None:
        """Once in a collector's life."""
        if _counting(session) is None:
            nothing = dict.fromkeys((*COUNTED, "orders"), 0)
            first = {"place": COUNTING, "number": 1, "since": hour_of(self._clock()), "resumed": False}
            store.insert_once(session, reports, {**first, **nothing})

    def _turn_over(self, session: Session) -> None:
        """When the time of a report is over, put it with those that are due, and begin counting anew."""
        now = hour_of(self._clock())
        counting = _counting(session)
        assert counting is not None  # noqa: S101 - `_begin` has put it there, and nothing removes it
        if parse_hour(now) - parse_hour(counting.since) < self._every:
            return
        last = store.last_order(session)
        over = {**counting._mapping, "place": counting.number, "until": now, "orders": last.number if last else 0}
        session.execute(insert(reports).values(**over))
        anew = {**dict.fromkeys(COUNTED, 0), "number": counting.number + 1, "since": now, "resumed": False}
        session.execute(update(reports).where(reports.c.place == COUNTING).values(**anew))


def _counting(session: Session) -> Row[Any] | None:
    return session.execute(select(reports).where(reports.c.place == COUNTING).with_for_update()).one_or_none()


def _due(session: Session) -> list[Row[Any]]:
    rows = select(reports).where(reports.c.place != COUNTING).order_by(reports.c.number)
    return list(session.execute(rows).all())


def _add(session: Session, counts: Mapping[str, int]) -> None:
    more = {name: reports.c[name] + count for name, count in counts.items() if count}
    if more:
        session.execute(update(reports).where(reports.c.place == COUNTING).values(**more))


def _move(session: Session, refused: Row[Any], elsewhere: ReportElsewhere) -> list[Row[Any]]:
    """Go on where the custodian is: after a restore of it or of this collector. Returns what is due now.

    Nothing that was counted is lost: of hours that the custodian has a report of, it is added to the next one.
    """
    counting, due = _counting(session), _due(session)
    if counting is None or not due or due[0].number != refused.number:
        return due  # another replica was faster
    expected, since = elsewhere.expected, elsewhere.since or refused.since
    told = [row for row in due if row.until <= since]
    rest = [{**row._mapping} for row in due if row.until > since]
    coming = [*rest, {**counting._mapping}]
    for number, row in enumerate(coming, expected):
        row |= {"number": number, "place": number if row["until"] else COUNTING}
    coming[0] |= {"since": since, "resumed": True}
    for name in COUNTED:
        coming[0][name] += sum(row._mapping[name] for row in told)
    session.execute(delete(reports))
    session.execute(insert(reports), coming)
    return _due(session)


def _statement(due: Row[Any]) -> CollectorReport:
    counts = {name: magnitude(due._mapping[name]) for name in COUNTED}
    few = {name: 0 for name in REFUSED if counts[name] < 10}
    said = {name: due._mapping[name] for name in ("number", "since", "until", "orders", "resumed")}
    return CollectorReport.model_validate({**said, **counts, **few})


def magnitude(count: int) -> int:
    """The largest power of ten that is not larger; 0 for 0."""
    return 0 if count < 1 else int(10 ** (len(str(min(count, MOST_COUNTED))) - 1))
