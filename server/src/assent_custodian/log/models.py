"""Entries, the hashes of complete subtrees, the head, what was signed, and who countersigned it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import HASH, ID, MOMENT, Base

Number = BigInteger().with_variant(Integer, "sqlite")


class LogEntry(Base):
    """One leaf: its exact bytes."""

    __tablename__ = "log_entries"
    index: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(32), index=True)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class LogNode(Base):
    """The hash of one complete subtree (RFC 6962); once written it never changes."""

    __tablename__ = "log_nodes"
    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class LogHead(Base):
    """One row. It moves by compare-and-swap on `size`, since two workers may append."""

    __tablename__ = "log_head"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(Number)


class SignedHead(Base):
    """A checkpoint that the log key signed: one per size, for ever."""

    __tablename__ = "log_checkpoints"
    size: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str] = mapped_column(Text)


class Cosignature(Base):
    """One signature line of a witness over the checkpoint of `size`."""

    __tablename__ = "log_cosignatures"
    size: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=False)
    witness: Mapped[str] = mapped_column(String(500), primary_key=True)
    line: Mapped[str] = mapped_column(Text)


class WitnessState(Base):
    """How far each witness has followed, and when its silence was last written down."""

    __tablename__ = "witness_states"
    witness: Mapped[str] = mapped_column(String(500), primary_key=True)
    size: Mapped[int] = mapped_column(Number, default=0)
    complained: Mapped[str | None] = mapped_column(MOMENT)


class QueuedPersonLeaf(Base):
    """A salted hash that the next night run appends. Nothing here says when it came or from whom."""

    __tablename__ = "queued_person_leaves"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    leaf: Mapped[str] = mapped_column(HASH)
