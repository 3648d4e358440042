"""What waits for the night, and the orders that went out."""

from __future__ import annotations

from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, Base


class QueuedItem(Base):
    """One item of the next order. Its id is random, so that the order says nothing about who or when."""

    __tablename__ = "queued_order_items"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    action: Mapped[str] = mapped_column(String(8))
    stream: Mapped[str] = mapped_column(ID)
    hours: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)


class OrderRow(Base):
    """An order as signed. `done`: the day on which the collector signed that it was carried out."""

    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(HASH, unique=True)
    envelope: Mapped[str] = mapped_column(Text)
    day: Mapped[str] = mapped_column(DAY)
    done: Mapped[str | None] = mapped_column(DAY)
    acknowledgement: Mapped[str | None] = mapped_column(Text)
