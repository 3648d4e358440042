"""Takes the collector's reports, in their order and without a gap, and writes them into the log as they were signed.

What was taken last is read in the log, and nowhere else: a custodian that was restored goes on where its log ends.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.limits import CLOCK_DOUBT_S
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import CollectorReport
from assent.contracts.times import parse_hour
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
    for _, data in log.newest_of_type(session, LeafType.COLLECTOR_REPORT, 1):
        last = Leaf.model_validate_json(data)
        if last.subject == envelope.hash:
            return
        before = read_unverified(Envelope.from_json(last.detail[REPORT]), CollectorReport)
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
