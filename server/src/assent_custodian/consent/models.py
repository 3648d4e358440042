"""Receipts and withdrawals, as they were signed, and what is left of each receipt."""

from __future__ import annotations

from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, MOMENT, Base


class ReceiptRow(Base):
    """`state` and `left` are the two parts of `domain.Consent`: `left` is JSON of the choices not withdrawn.
    `ended_by`: the hash of the ending that took what was left. `salt`: hides it in the log; for its person alone. None
    when its device has not handed it in.
    """

    __tablename__ = "receipts"
    record: Mapped[str] = mapped_column(ID, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    credential: Mapped[str] = mapped_column(ID, index=True)
    hash: Mapped[str] = mapped_column(HASH, unique=True)
    envelope: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12), index=True)
    left: Mapped[str] = mapped_column(Text)
    valid_from: Mapped[str] = mapped_column(MOMENT)
    valid_until: Mapped[str] = mapped_column(MOMENT, index=True)
    ended_by: Mapped[str | None] = mapped_column(HASH, index=True)
    salt: Mapped[str | None] = mapped_column(String(128))


class EndingRow(Base):
    """The dpo's word that receipts have ended. `erase_on`: the day on which the night erases what they covered."""

    __tablename__ = "consent_endings"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    envelope: Mapped[str] = mapped_column(Text)
    notice: Mapped[str | None] = mapped_column(HASH, index=True)
    erase_on: Mapped[str] = mapped_column(DAY, index=True)
    erased: Mapped[str | None] = mapped_column(DAY)


class NoticeRow(Base):
    """A notice that somebody agreed to: kept, since the policy file has only the newest."""

    __tablename__ = "notices"
    sha256: Mapped[str] = mapped_column(HASH, primary_key=True)
    version: Mapped[str] = mapped_column(String(500))
    locale: Mapped[str] = mapped_column(String(500))
    text: Mapped[str] = mapped_column(Text)


class WithdrawalRow(Base):
    """`received`: when it came; None: before that was written down. `erase_on`: the day on which the night run erases
    `streams` (JSON list); `erased` once that has been done.
    """

    __tablename__ = "withdrawals"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    received: Mapped[str | None] = mapped_column(MOMENT)
    envelope: Mapped[str] = mapped_column(Text)
    confirmation: Mapped[str] = mapped_column(Text)
    streams: Mapped[str] = mapped_column(Text)
    closed: Mapped[int] = mapped_column(Integer)
    erase_on: Mapped[str] = mapped_column(DAY, index=True)
    erased: Mapped[str | None] = mapped_column(DAY)
