"""What stops a signed message from counting twice: its time, and its nonce, kept for ten minutes."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from assent.contracts.limits import SKEW_S
from assent.contracts.problems import Code, Problem
from assent.contracts.times import moment, parse_moment
from assent_custodian.base import ID, MOMENT, Base

KEEP_NONCES = timedelta(minutes=10)


class Nonce(Base):
    """Who used which nonce. Rows older than ten minutes are gone: nothing that old is accepted anyway."""

    __tablename__ = "nonces"
    key_id: Mapped[str] = mapped_column(ID, primary_key=True)
    nonce: Mapped[str] = mapped_column(ID, primary_key=True)
    seen: Mapped[str] = mapped_column(MOMENT, index=True)


def stale(now: datetime, why: str, **members: str) -> Problem:
    """The refusal, which tells the custodian's time so that a client can see how far off it is."""
    return Problem(Code.STALE, f"{why}; the custodian's time is {moment(now)}", now=moment(now), **members)


def check_time(at: str, now: datetime) -> None:
    """Raises Problem `stale` unless `at` lies within 120 s of now."""
    try:
        signed_at = parse_moment(at)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "`at` is not a moment of the calendar") from error
    if abs((now - signed_at).total_seconds()) > SKEW_S:
        raise stale(now, f"signed more than {SKEW_S} s away from now")


def use_nonce(session: Session, key_id: str, nonce: str, now: datetime) -> None:
    """Take the nonce of this key, once. Raises Problem `stale` when it was used before, with the rule `replayed`.

    The row is unique in the database, so that two workers cannot both take it.
    """
    try:
        with session.begin_nested():
            session.add(Nonce(key_id=key_id, nonce=nonce, seen=moment(now)))
    except IntegrityError as error:
        raise stale(now, "this message was used before", rule="replayed") from error


def forget_old_nonces(session: Session, now: datetime) -> None:
    """Delete nonces of more than ten minutes ago. The background does this, so that requests do not wait for it."""
    session.execute(delete(Nonce).where(Nonce.seen < moment(now - KEEP_NONCES)))
