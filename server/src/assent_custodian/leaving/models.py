"""Whose account has ended, until nothing of them is left to forget."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, ID, Base


class Leaver(Base):
    """Erased and forgotten in the night of the day `erase_on`; then this row goes, too."""

    __tablename__ = "leavers"
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    erase_on: Mapped[str] = mapped_column(DAY, index=True)
