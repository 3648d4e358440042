"""Halting the programme: certificates stop, the door closes, every agent shows the reason first."""

from __future__ import annotations

from sqlalchemy import Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent_custodian.base import ID, MOMENT, Base
from assent_custodian.log import service as log


class Halt(Base):
    """One row per halt; the programme runs when every one has `resumed`."""

    __tablename__ = "halts"
    at: Mapped[str] = mapped_column(MOMENT, primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str | None] = mapped_column(ID)
    resumed: Mapped[str | None] = mapped_column(MOMENT)


def halted(session: Session) -> str | None:
    """The reason for which the programme is halted, or None. The door and the certificates ask this every time."""
    return session.scalars(select(Halt.reason).where(Halt.resumed.is_(None)).order_by(Halt.at).limit(1)).first()


def halt(session: Session, now: str, reason: str, by: str | None = None) -> None:
    """Stop everything, at once and without a witness. `by` None: an operator at the custodian's own host.

    Halting what is halted changes nothing. Raises Problem when there is no reason: people are shown it.
    """
    reason = reason.strip()
    if not reason:
        raise Problem(Code.MALFORMED, "a halt needs a reason: everybody is shown it")
    if halted(session) is not None:
        return
    session.merge(Halt(at=now, reason=reason, by=by, resumed=None))
    actor = log.actor_ref(session, by) if by else None
    auth = "opening" if by else "operator"
    log.append(session, Leaf(type=LeafType.PROGRAMME_HALTED, at=now, actor=actor, auth=auth, decision="allowed"))


def resume(session: Session, now: str, by: tuple[str, ...] = ()) -> None:
    """Let it run again. Resuming what runs changes nothing."""
    if halted(session) is None:
        return
    for row in session.scalars(select(Halt).where(Halt.resumed.is_(None))):
        row.resumed = now
    auth = "opening" if by else "operator"
    actor = log.actor_ref(session, by[0]) if by else None
    log.append(session, Leaf(type=LeafType.PROGRAMME_RESUMED, at=now, actor=actor, auth=auth, decision="allowed"))
