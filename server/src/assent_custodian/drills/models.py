"""How the canary drill stands."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import MOMENT, Base


class DrillState(Base):
    """One row, once there are identities of the drill.

    `set_up`: when they were invited. `stated`, `passed`: when a drill last said how it ended, and last passed. `wrong`,
    `failed`: what the last one found, the names of what it broke separated by blanks. `alarmed`: when it was last
    written into the log that no drill passes.
    """

    __tablename__ = "drill_state"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    set_up: Mapped[str] = mapped_column(MOMENT)
    stated: Mapped[str | None] = mapped_column(MOMENT)
    passed: Mapped[str | None] = mapped_column(MOMENT)
    wrong: Mapped[int] = mapped_column(Integer, default=0)
    failed: Mapped[str] = mapped_column(String(5000), default="")
    alarmed: Mapped[str | None] = mapped_column(MOMENT)
