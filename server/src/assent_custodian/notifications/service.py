"""Tells everyone concerned that their recordings were opened: who, for what, which days, who approved, with proof.

The first lease under a grant is told at once; later ones of a day are shown as one message for that day. Every access
is kept with its own entry of the log. The rows are written in the transaction that opens the lease, so nothing opens
without them; and of a lease over which the service died, soon after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.ids import new_id
from assent.contracts.statements import Notification
from assent.contracts.times import add_days
from assent_custodian.notifications.models import NotificationRow

EVERY_DAY = "0000-00-00"
NEWS_DAYS = 30
UNMASKED = "unmasked"
NEWS_AT_MOST = 100
"""Messages in one news."""


@dataclass(frozen=True)
class Opening:
    """A lease that was opened, as the people concerned are told of it."""

    request: str
    purpose: str | None
    approvals: int
    leaf_index: int
    own: bool = False


def tell(session: Session, texts: Mapping[str, str], day: str, opening: Opening) -> None:
    """Write one notification for each person of `texts`: `lease` for the first under a request, `digest` for later
    ones."""
    told_before = set(
        session.scalars(select(NotificationRow.person).where(NotificationRow.request == opening.request).distinct())
    )
    for person, text in sorted(texts.items()):
        kind = "own" if opening.own else "digest" if person in told_before else "lease"
        session.add(
            NotificationRow(
                id=new_id(), person=person, day=day, kind=kind, text=text, request=opening.request,
                purpose=opening.purpose, approvals=opening.approvals, leaf_index=opening.leaf_index,
            )
        )  # fmt: skip


def tell_unmasked(session: Session, person: str, day: str, text: str, unmasking: str, leaf_index: int) -> None:
    """Keep, with its entry of the log, that this person was unmasked. The news tell it as an account message."""
    session.add(
        NotificationRow(
            id=new_id(), person=person, day=day, kind=UNMASKED, text=text, request=unmasking, purpose=None, approvals=0,
            leaf_index=leaf_index,
        )
    )  # fmt: skip


def of_person(session: Session, person: str, since: str) -> tuple[Notification, ...]:
    """Every access to this person's recordings that was told since that day, each with its own entry of the log, newest
    first."""
    return tuple(_shown(row, row.text) for row in _rows(session, person, since))


def news_of_person(session: Session, person: str, today: str) -> tuple[Notification, ...]:
    """What the agent shows: accesses of the last weeks, later leases of one day gathered into one message.

    Bounded, since agents ask every few minutes; `of_person` has everything.
    """
    gathered: dict[tuple[str, str, str], list[NotificationRow]] = {}
    for row in _rows(session, person, add_days(today, -NEWS_DAYS)):
        if row.kind == UNMASKED:
            continue
        key = (row.kind, row.request, row.day) if row.kind == "digest" else (row.kind, row.request, row.id)
        gathered.setdefault(key, []).append(row)
    told = []
    for rows in list(gathered.values())[:NEWS_AT_MOST]:
        again = f" ({len(rows)} times on this day)" if len(rows) > 1 else ""
        told.append(_shown(rows[0], rows[0].text + again))
    return tuple(told)


def _rows(session: Session, person: str, since: str) -> Sequence[NotificationRow]:
    return session.scalars(
        select(NotificationRow)
        .where(NotificationRow.person == person, NotificationRow.day >= since)
        .order_by(NotificationRow.leaf_index.desc(), NotificationRow.id)
    ).all()


def _shown(row: NotificationRow, text: str) -> Notification:
    return Notification(
        id=row.id, day=row.day, kind=row.kind, text=text, request=row.request,  # type: ignore[arg-type]
        purpose=row.purpose, approvals=row.approvals, leaf_index=row.leaf_index,
    )  # fmt: skip
