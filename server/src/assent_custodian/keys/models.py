"""Streams, their vault keys, KEK generations, and tombstones. This is where stream and person meet."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ColumnElement, Index, Integer, LargeBinary, String, Text, or_
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, HOUR, ID, Base


class Stream(Base):
    """A stream, whose it is, and under which receipt it was certified.

    `closed`: why nothing more is accepted, or None: `withdrawn` or `ended`, and nobody but the person may open it;
    `revoked`, since its device was, and what was recorded before stays as consent has it.
    `erased`: the day on which its vault key was destroyed.
    """

    __tablename__ = "streams"
    __table_args__ = (Index("ix_streams_person_day", "person", "day"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person: Mapped[str] = mapped_column(ID)
    record: Mapped[str] = mapped_column(ID, index=True)
    credential: Mapped[str] = mapped_column(ID)
    modality: Mapped[str] = mapped_column(String(16))
    day: Mapped[str] = mapped_column(DAY, index=True)
    stream_key: Mapped[str] = mapped_column(String(64), unique=True)
    vault_key: Mapped[str] = mapped_column(String(1700))
    suite: Mapped[str] = mapped_column(String(16))
    record_until: Mapped[str] = mapped_column(HOUR)
    upload_until: Mapped[str] = mapped_column(DAY)
    byte_budget: Mapped[int] = mapped_column(BigInteger)
    certificate: Mapped[str] = mapped_column(Text)
    drill: Mapped[bool] = mapped_column(Boolean, default=False)
    closed: Mapped[str | None] = mapped_column(String(16))
    erased: Mapped[str | None] = mapped_column(DAY)


def not_withdrawn() -> ColumnElement[bool]:
    """For a query: streams that consent may still let others open."""
    return or_(Stream.closed.is_(None), Stream.closed == "revoked")


class VaultKey(Base):
    """The private half of a stream's vault key, wrapped. No row: nothing of the stream ever opens again."""

    __tablename__ = "vault_keys"
    stream: Mapped[str] = mapped_column(ID, primary_key=True)
    generation: Mapped[int] = mapped_column(Integer, index=True)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)


class Generation(Base):
    """A KEK generation. `check_value` tells a wrong key file from the right one without opening anything.

    `tainted`: a key that was wrapped under it has been destroyed, so the generation must go as well; `tainted_since`:
    the day of the first one.
    """

    __tablename__ = "kek_generations"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    check_value: Mapped[str] = mapped_column(HASH)
    created: Mapped[str] = mapped_column(DAY)
    destroyed: Mapped[str | None] = mapped_column(DAY)
    tainted: Mapped[bool] = mapped_column(Boolean, default=False)
    tainted_since: Mapped[str | None] = mapped_column(DAY)


class TombstoneRow(Base):
    """The stream, or the hours listed (JSON; empty list: all), never opens again. Outlives the stream's row.

    `reason`: `retention`, `ended`, or None for what its person wished. `ordered`: the order that carried it to the
    collector.
    """

    __tablename__ = "tombstones"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    stream: Mapped[str] = mapped_column(ID, index=True)
    hours: Mapped[str] = mapped_column(Text)
    envelope: Mapped[str] = mapped_column(Text)
    day: Mapped[str] = mapped_column(DAY)
    reason: Mapped[str | None] = mapped_column(String(12))
    ordered: Mapped[int | None] = mapped_column(Integer)
