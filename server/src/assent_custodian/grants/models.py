"""Requests, decisions about them, and the frozen cohorts of grants."""

from __future__ import annotations

from sqlalchemy import Boolean, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, MOMENT, Base


class RequestRow(Base):
    """A request, known by its hash. `state` is a `wire.RequestState`; `envelope` is the statement as it was signed.

    `salt` salts the cohort's hash in the log; it exists once there is a cohort. `drill`: an identity of the drill
    signed it, and it reaches drill streams only.
    """

    __tablename__ = "requests"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    requester: Mapped[str] = mapped_column(ID, index=True)
    envelope: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16), index=True)
    expires: Mapped[str] = mapped_column(MOMENT, index=True)
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    drill: Mapped[bool] = mapped_column(Boolean, default=False)


class DecisionRow(Base):
    """What a steward signed about a request. One person decides the same thing once.

    Two stewards who sign the same words in the same second sign statements with the same hash: hence both in the key.
    """

    __tablename__ = "decisions"
    __table_args__ = (UniqueConstraint("request", "person", "decision"),)
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    request: Mapped[str] = mapped_column(HASH, index=True)
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    decision: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(Text)
    envelope: Mapped[str] = mapped_column(Text)
    day: Mapped[str] = mapped_column(DAY)


class CohortMember(Base):
    """One person of a grant's cohort, and the pseudonym that stands for them in this grant and nowhere else."""

    __tablename__ = "cohort_members"
    request: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    pseudonym: Mapped[str] = mapped_column(String(16))
