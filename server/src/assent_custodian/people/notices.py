"""Telling people what happens to their keys: every credential of theirs hears it, at every question."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.ids import new_id
from assent.contracts.statements import Notification
from assent.contracts.times import add_days
from assent.contracts.wire import AccountMessage
from assent_custodian.people.models import AccountNotice

NEWS_DAYS = 30
AT_MOST = 100
"""Messages in one answer."""

KINDS = {"device": "device that records", "opening": "key that opens your recordings"}


def tell(session: Session, person: str, day: str, text: str) -> None:
    """Keep a message for this person."""
    session.add(AccountNotice(id=new_id(), person=person, day=day, text=text))


def tell_added(session: Session, person: str, kind: str, day: str) -> None:
    """A key was added."""
    tell(
        session,
        person,
        day,
        f"A new {KINDS[kind]} was added to your account on {day}. If that was not you, revoke it with "
        "'assent me devices' and tell your data-protection officer.",
    )


def of_person(session: Session, person: str) -> tuple[AccountMessage, ...]:
    """Everything that was told, newest first."""
    return tuple(AccountMessage(day=row.day, text=row.text) for row in _rows(session, person, "0000-00-00"))


def news_of_person(session: Session, person: str, today: str) -> tuple[Notification, ...]:
    """What the agent shows: the messages of the last weeks."""
    return tuple(
        Notification(id=row.id, day=row.day, kind="account", text=row.text)
        for row in _rows(session, person, add_days(today, -NEWS_DAYS))
    )


def _rows(session: Session, person: str, since: str) -> list[AccountNotice]:
    rows = (
        select(AccountNotice)
        .where(AccountNotice.person == person, AccountNotice.day >= since)
        .order_by(AccountNotice.day.desc(), AccountNotice.id)
        .limit(AT_MOST)
    )
    return list(session.scalars(rows))
