"""What requesters can ask for: purposes and, in tens, how many people take part in them.

The counts are made once a week and kept, so that nobody can watch them change with one person; below ten there is
nothing, not even days. Days are those of ten people, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from assent.contracts.ids import Modality
from assent.contracts.limits import COHORT_FLOOR
from assent.contracts.statements import Mode
from assent.contracts.times import day_of, moment, parse_moment
from assent.contracts.wire import CatalogueEntry, CatalogueView, PurposeView
from assent_custodian.catalogue.models import CatalogueCount, CatalogueCounted
from assent_custodian.consent.domain import Use
from assent_custodian.consent.service import ConsentNow
from assent_custodian.context import Custodian
from assent_custodian.keys.models import Stream, not_withdrawn
from assent_custodian.purposes import service as purposes

ROW = 1
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def catalogue(session: Session, custodian: Custodian) -> CatalogueView:
    """The catalogue, counted anew when the last count is a week old."""
    now = custodian.now()
    counted = session.get(CatalogueCounted, ROW)
    refresh = timedelta(days=custodian.settings.catalogue_refresh_days)
    if counted is None:
        with suppress(IntegrityError), session.begin_nested():  # somebody else may begin at this moment
            session.add(CatalogueCounted(id=ROW, at=moment(NEVER)))
    if counted is None or now - parse_moment(counted.at) >= refresh:
        counted = session.get_one(CatalogueCounted, ROW, with_for_update=True)
        if now - parse_moment(counted.at) >= refresh:  # nobody has counted while this one waited
            _count(session, now)
            counted.at = moment(now)
    entries = []
    for purpose in purposes.offered(session):
        for modality in Modality:
            row = session.get(CatalogueCount, (purpose.iri, purpose.version, modality.value))
            entries.append(_entry(purpose, modality, row))
    return CatalogueView(counted=day_of(parse_moment(counted.at)), entries=tuple(entries))


def _entry(purpose: PurposeView, modality: Modality, row: CatalogueCount | None) -> CatalogueEntry:
    return CatalogueEntry(
        purpose=purpose.iri, version=purpose.version, sentence=purpose.sentence, recipients=purpose.recipients,
        modes=purpose.modes, modality=modality, people=row.people if row else 0,
        from_day=row.from_day if row else None, to_day=row.to_day if row else None,
    )  # fmt: skip


def _count(session: Session, now: datetime) -> None:
    session.execute(delete(CatalogueCount))
    streams = session.scalars(
        select(Stream).where(not_withdrawn(), Stream.erased.is_(None), Stream.drill.is_(False))
    ).all()
    for purpose in purposes.offered(session):
        use = Use(purpose.iri, purpose.version, purpose.recipients[0], Mode.READER)
        consent = ConsentNow(session, streams, use, now)
        covered = [stream for stream in streams if consent.why_not(stream) is None]
        for modality in Modality:
            days: dict[str, list[str]] = defaultdict(list)
            for stream in covered:
                if stream.modality == modality.value:
                    days[stream.person].append(stream.day)
            from_day, to_day = _days_of_ten(days.values())
            session.add(
                CatalogueCount(
                    purpose=purpose.iri, version=purpose.version, modality=modality.value,
                    people=len(days) // COHORT_FLOOR * COHORT_FLOOR, from_day=from_day, to_day=to_day,
                )
            )  # fmt: skip
    session.flush()


def _days_of_ten(days: Collection[Collection[str]]) -> tuple[str | None, str | None]:
    """The day by which ten people had begun, and the day on which ten had not yet stopped, of each person's days.

    The first and the last day of all would be those of one person. (None, None) when no ten recorded at one time.
    """
    if len(days) < COHORT_FLOOR:
        return None, None
    begun = sorted(min(of_one) for of_one in days)[COHORT_FLOOR - 1]
    going = sorted((max(of_one) for of_one in days), reverse=True)[COHORT_FLOOR - 1]
    return (begun, going) if begun <= going else (None, None)
