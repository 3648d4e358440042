"""What one requester may open in a day of UTC, and when somebody has to hear that something is used for the first time.

A budget counts people and recorded days (a person's day, whatever the number of streams in it) over all leases of the
day, but for those that are known never to have opened. What was opened on the same day already costs nothing again, so
a job that died can go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Lease
from assent_custodian.context import Custodian
from assent_custodian.keys.models import Stream
from assent_custodian.leases.models import LeaseRow, LeaseStream
from assent_custodian.people.models import Person
from assent_service.database import batches

FirstUse = Literal["requester", "key", "grant"]


def check(session: Session, custodian: Custodian, requester: str, streams: Sequence[Stream]) -> None:
    """Return only if opening these streams as well stays within the day's budgets. Else Problem `refused`.

    Leases of one requester wait for each other here, so that two at once cannot both spend what is left.
    """
    session.get_one(Person, requester, with_for_update=True)
    days = _opened_on(session, requester, custodian.today()) | {(one.person, one.day) for one in streams}
    settings = custodian.settings
    spent = {
        "people-per-day": (len({person for person, _ in days}), settings.people_per_day, "people"),
        "days-per-day": (len(days), settings.recorded_days_per_day, "recorded days"),
    }
    for rule, (wanted, allowed, what) in spent.items():
        if wanted > allowed:
            raise Problem(
                Code.REFUSED,
                f"with this you would have opened more than {allowed:,} {what} on one day (UTC); ask for fewer days or "
                "people, or go on tomorrow",
                rule=rule,
            )


def _opened_on(session: Session, requester: str, day: str) -> set[tuple[str, str]]:
    """(person, recorded day) of every lease of other people's data that this requester opened on `day`."""
    leases = session.execute(
        select(LeaseRow.id, LeaseRow.envelope).where(
            LeaseRow.person == requester, LeaseRow.mode != "own", LeaseRow.state != "refused", LeaseRow.until >= day
        )
    )
    opened = [
        id_ for id_, envelope in leases if read_unverified(Envelope.from_json(envelope), Lease).opened.startswith(day)
    ]
    return {
        (person, recorded)
        for some in batches(opened)
        for person, recorded in session.execute(
            select(Stream.person, Stream.day)
            .join(LeaseStream, LeaseStream.stream == Stream.id)
            .where(LeaseStream.lease.in_(some))
            .distinct()
        )
    }


def first_use(session: Session, requester: str, credential: str, request: str) -> FirstUse | None:
    """What is used here for the first time, the most remarkable only: this requester reads at all, with this key, or
    under this grant. A lease that never opened was no use; one that lapsed counts."""
    before = (
        select(LeaseRow.id)
        .where(LeaseRow.person == requester, LeaseRow.mode != "own", LeaseRow.state.not_in(("pending", "refused")))
        .limit(1)
    )
    if session.scalar(before) is None:
        return "requester"
    if session.scalar(before.where(LeaseRow.credential == credential)) is None:
        return "key"
    return "grant" if session.scalar(before.where(LeaseRow.request == request)) is None else None
