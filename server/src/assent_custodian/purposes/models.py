"""Purposes by (iri, version)."""

from __future__ import annotations

from sqlalchemy import Boolean, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, Base


class Purpose(Base):
    """`draft` and `signature` are the statements as they were signed. `drill`: the one purpose of the canary drill, for
    its identities only; the custodian itself signed it.
    """

    __tablename__ = "purposes"
    iri: Mapped[str] = mapped_column(String(300), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(HASH, unique=True)
    drafted_by: Mapped[str] = mapped_column(ID)
    draft: Mapped[str] = mapped_column(Text)
    signature: Mapped[str | None] = mapped_column(Text)
    signed: Mapped[str | None] = mapped_column(DAY)
    drill: Mapped[bool] = mapped_column(Boolean, default=False)
