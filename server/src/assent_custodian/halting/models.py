"""Halts as they were signed, and who signed that one may end."""

from __future__ import annotations

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import HASH, ID, MOMENT, Base


class HaltRow(Base):
    """One row per halt, known by its statement's hash. The programme runs when every one has `resumed`.

    `by`: None for an operator at the custodian's own host. `statement`: the signed `Halt`.
    """

    __tablename__ = "programme_halts"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    at: Mapped[str] = mapped_column(MOMENT, index=True)
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str | None] = mapped_column(ID)
    statement: Mapped[str] = mapped_column(Text)
    resumed: Mapped[str | None] = mapped_column(MOMENT)


class ResumeRow(Base):
    """One person's signature that this halt may end. It is kept; whether it counts is looked at again every time."""

    __tablename__ = "programme_resumptions"
    halt: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    credential: Mapped[str] = mapped_column(ID)
    hash: Mapped[str] = mapped_column(HASH)
    statement: Mapped[str] = mapped_column(Text)
