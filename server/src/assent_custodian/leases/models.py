"""Leases and the streams they name."""

from __future__ import annotations

from sqlalchemy import Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import HASH, ID, MOMENT, Base


class LeaseRow(Base):
    """`state`: `pending` (in the log, not yet witnessed), `open`, `closed`, `ended` (by a restore), `refused` (it never
    opened), `lapsed` (nothing came of it; it counts as read). Only an open one releases anything.

    `mode`: `reader` or `own`. `released`: how many sealed keys were opened under it, counted before the answer left.
    """

    __tablename__ = "leases"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    request: Mapped[str] = mapped_column(HASH, index=True)
    mode: Mapped[str] = mapped_column(String(8))
    person: Mapped[str] = mapped_column(ID, index=True)
    credential: Mapped[str] = mapped_column(ID)
    purpose: Mapped[str | None] = mapped_column(String(300))
    job_signing_key: Mapped[str] = mapped_column(String(64))
    job_receiving_key: Mapped[str] = mapped_column(String(1700))
    envelope: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(HASH, unique=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    until: Mapped[str] = mapped_column(MOMENT, index=True)
    leaf_index: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(8), index=True)
    released: Mapped[int] = mapped_column(Integer, default=0)


class LeaseStream(Base):
    """A stream that a lease names."""

    __tablename__ = "lease_streams"
    lease: Mapped[str] = mapped_column(ID, primary_key=True)
    stream: Mapped[str] = mapped_column(ID, primary_key=True, index=True)


class LeaseRefusal(Base):
    """When a refusal of this rule to this person was last written into the log: once a minute at most."""

    __tablename__ = "lease_refusals"
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    rule: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[str] = mapped_column(MOMENT)


class RefusedRequest(Base):
    """A signed lease request of which a refusal by this rule is in the log: sent again, it makes no second entry.

    `signed`: its hash. Nothing here says whose it is, or when it came.
    """

    __tablename__ = "refused_lease_requests"
    signed: Mapped[str] = mapped_column(HASH, primary_key=True)
    rule: Mapped[str] = mapped_column(String(32), primary_key=True)
