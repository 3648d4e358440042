"""What was erased of a person, at whose wish whatever, as that person follows it to the end."""

from __future__ import annotations

from sqlalchemy import Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, Base


class ErasureRow(Base):
    """What one Erasure, Withdrawal or ConsentEnding (`of`: its hash; `kind` says which) reached of one person. Of a
    retention, for which nobody signs, `of` is random.

    `statement`: the Erasure as signed; others are kept where they belong. `requested`, `final`, `called_off`: the
    receipts. `destroyed`: when its keys were destroyed, or its tombstones signed. `generation`: the newest KEK
    generation of that moment, if keys were destroyed: when it is gone, so are all those under which they were wrapped.
    `salt`: hides the last receipt in the log.
    """

    __tablename__ = "erasures"
    of: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str] = mapped_column(ID, primary_key=True, index=True)
    kind: Mapped[str] = mapped_column(String(12))
    day: Mapped[str] = mapped_column(DAY)
    statement: Mapped[str | None] = mapped_column(Text)
    requested: Mapped[str] = mapped_column(Text)
    destroyed: Mapped[str | None] = mapped_column(DAY)
    generation: Mapped[int | None] = mapped_column(Integer)
    final: Mapped[str | None] = mapped_column(Text)
    called_off: Mapped[str | None] = mapped_column(Text)
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)


class ErasureTombstone(Base):
    """A tombstone whose order must be carried out before the erasure is final."""

    __tablename__ = "erasure_tombstones"
    erasure: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    tombstone: Mapped[str] = mapped_column(HASH, primary_key=True)
