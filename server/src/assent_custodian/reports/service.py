"""Takes the collector's reports, in their order and without a gap, and writes them into the log as they were signed.

What was taken last is read in the log, and nowhere else: a custodian that was restored goes on where its log ends.
So is whether the collector has fallen silent; that needs no entry, since whoever reads the log sees what it lacks.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.limits import CLOCK_DOUBT_S, FIRST_REPORT_HOURS
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import CollectorReport
from assent.contracts.times import moment, parse_hour, parse_moment
from assent_custodian.context import Custodian
from assent_custodian.log import service as log

REPORT = "report"
"""Where, in the entry's `detail`, the whole signed statement stands."""


def take(session: Session, custodian: Custodian, envelope: Envelope) -> None:
    """Write a report into the log whose signature was checked. Twice is once.

    Raises Problem: `out-of-order` with `expected` and `since`, the number and first hour of the one that comes next.
    """
    report = read_unverified(envelope, CollectorReport)
    try:
        begins, ends = parse_hour(report.since), parse_hour(report.until)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "an hour in this report is not one of the calendar") from error
    if begins >= ends or ends > custodian.now() + timedelta(seconds=CLOCK_DOUBT_S):
        raise Problem(Code.REFUSED, "a report is about hours that are over")
    log.append(session)  # locks the head: one report at a time
    expected, since = 1, None
    last = _last(session)
    if last is not None:
        if last.subject == envelope.hash:
            return
        before = _quoted(last)
        expected, since = before.number + 1, before.until
    if report.number != expected or report.since != (since or report.since):
        detail = f"report {expected}" + (f", from {since} on," if since else "") + " comes next"
        raise Problem(Code.OUT_OF_ORDER, detail, expected=expected, since=since)
    log.append(
        session,
        Leaf(
            type=LeafType.COLLECTOR_REPORT, at=custodian.moment(), auth="collector", subject=envelope.hash,
            counts=report.counts, keys=(custodian.directory.collector_key.text,),
            detail={REPORT: envelope.to_json().decode()},
        ),
    )  # fmt: skip


def silent_since(session: Session, custodian: Custodian) -> str | None:
    """Since when the collector has reported nothing, a moment, if that is longer ago than it may be; None when all is
    well."""
    last = _last(session)
    if last is not None:
        return _if_over(parse_hour(_quoted(last).until), custodian.settings.report_overdue_hours, custodian)
    first = log.entry(session, 0)
    if first is None:
        return None
    return _if_over(parse_moment(Leaf.model_validate_json(first).at), FIRST_REPORT_HOURS, custodian)


def facts(session: Session, custodian: Custodian) -> dict[str, float]:
    """Figures for operators."""
    return {"collector_silent": float(silent_since(session, custodian) is not None)}


def _if_over(since: datetime, hours: int, custodian: Custodian) -> str | None:
    return moment(since) if custodian.now() - since > timedelta(hours=hours) else None


def _last(session: Session) -> Leaf | None:
    """The entry of the report that was taken last."""
    newest = log.newest_of_type(session, LeafType.COLLECTOR_REPORT, 1)
    return Leaf.model_validate_json(newest[0][1]) if newest else None


def _quoted(leaf: Leaf) -> CollectorReport:
    return read_unverified(Envelope.from_json(leaf.detail[REPORT]), CollectorReport)
