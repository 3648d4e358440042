"""What was recalled from whom."""

from __future__ import annotations

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, Base


class RecallRow(Base):
    """A Recall as signed. `done`: the day on which its requester signed (`acknowledgement`) that it was carried out."""

    __tablename__ = "recalls"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    request: Mapped[str] = mapped_column(HASH, index=True)
    day: Mapped[str] = mapped_column(DAY)
    envelope: Mapped[str] = mapped_column(Text)
    done: Mapped[str | None] = mapped_column(DAY)
    acknowledgement: Mapped[str | None] = mapped_column(Text)


WHOLE = "whole"


class RecalledStream(Base):
    """What was named in a recall of this request already. `what`: `whole`, or the tombstone of the hours."""

    __tablename__ = "recalled_streams"
    request: Mapped[str] = mapped_column(HASH, primary_key=True)
    stream: Mapped[str] = mapped_column(ID, primary_key=True)
    what: Mapped[str] = mapped_column(String(64), primary_key=True)
