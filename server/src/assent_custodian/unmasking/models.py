"""Unmaskings: who asked for which entry, and who signed too. Who it is stands nowhere here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import HASH, ID, MOMENT, Base


class UnmaskingRow(Base):
    """One wish, known by its statement's hash. `by` signed it with `credential`, `countersigned_by` after them.

    `until`: until when it can be countersigned, and from then on until when the answer is given. `answer_index`: the
    entry of the log that must be witnessed before it is.
    """

    __tablename__ = "unmaskings"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    leaf_index: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))
    actor: Mapped[str] = mapped_column(HASH)
    statement: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(ID)
    credential: Mapped[str] = mapped_column(ID)
    asked: Mapped[str] = mapped_column(MOMENT)
    until: Mapped[str] = mapped_column(MOMENT)
    countersigned_by: Mapped[str | None] = mapped_column(ID)
    countersignature: Mapped[str | None] = mapped_column(Text)
    answer_index: Mapped[int | None] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))
