"""What people are told about accesses to their recordings."""

from __future__ import annotations

from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, Base


class NotificationRow(Base):
    """One access. `kind`: `lease` (the first under a grant), `digest` (a later one) or `own`; or `unmasked`, and then
    `request` is the wish to unmask.
    """

    __tablename__ = "notifications"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    day: Mapped[str] = mapped_column(DAY)
    kind: Mapped[str] = mapped_column(String(8))
    text: Mapped[str] = mapped_column(Text)
    request: Mapped[str] = mapped_column(HASH, index=True)
    purpose: Mapped[str | None] = mapped_column(String(300))
    approvals: Mapped[int] = mapped_column(Integer)
    leaf_index: Mapped[int] = mapped_column(Integer)
