"""The counts that requesters may see, as they were counted last."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, MOMENT, Base


class CatalogueCount(Base):
    """People in tens, 0 below ten, and the days by which ten had begun and on which ten had not stopped, if any."""

    __tablename__ = "catalogue_counts"
    purpose: Mapped[str] = mapped_column(String(300), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    modality: Mapped[str] = mapped_column(String(16), primary_key=True)
    people: Mapped[int] = mapped_column(Integer)
    from_day: Mapped[str | None] = mapped_column(DAY)
    to_day: Mapped[str | None] = mapped_column(DAY)


class CatalogueCounted(Base):
    """One row: when the counts were made."""

    __tablename__ = "catalogue_counted"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(MOMENT)
