"""That this database was restored, how far it has caught up, and from which devices nothing was heard since."""

from __future__ import annotations

from sqlalchemy import Boolean, Integer
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, ID, Base
from assent_custodian.log.models import Number


class Restoration(Base):
    """One row, once the database is known to be older than what was signed.

    `reach`: leaves that the log must have at least. `log_whole`: when witnesses countersigned a head of it again;
    nothing is appended before. `orders_whole`: when every order that the log knows of was here. Both: the door opens.
    `claimed`: where leaves of the log are lost, the number of the last order that the collector says there was; -1
    before it was asked; None where the log says it.
    """

    __tablename__ = "restoration"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    since: Mapped[str] = mapped_column(DAY)
    reach: Mapped[int] = mapped_column(Number)
    log_whole: Mapped[str | None] = mapped_column(DAY)
    orders_whole: Mapped[str | None] = mapped_column(DAY)
    claimed: Mapped[int | None] = mapped_column(Integer)


class Unheard(Base):
    """A device whose person's latest statement has not come again. `waits`: the door stays shut for that person; not
    for a device that had given nothing yet, whose first receipt may have come since."""

    __tablename__ = "unheard_devices"
    key_id: Mapped[str] = mapped_column(ID, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    waits: Mapped[bool] = mapped_column(Boolean, default=True)
