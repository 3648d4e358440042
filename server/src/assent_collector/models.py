"""The collector's tables. No person, no account, no address, no moment of arrival.

Keys are random ids or hashes; SQLite's tables are WITHOUT ROWID, so that no counter numbers rows as they came. What
remains: SQLite's write-ahead log until its next checkpoint; PostgreSQL's physical row order, transaction ids and WAL;
the file system's own change times (ctime, inode numbers), which no program sets.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata: Final = MetaData()

streams: Final = Table(
    "streams",
    metadata,
    Column("stream", String(32), primary_key=True),
    Column("stream_key", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("day", String(10), nullable=False),
    Column("record_until", String(13), nullable=False),
    Column("upload_until", String(10), nullable=False),
    Column("byte_budget", BigInteger, nullable=False),
    Column("bytes_stored", BigInteger, nullable=False),
    Column("next_sequence", BigInteger, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("closed", String(16), nullable=False),
    sqlite_with_rowid=False,
)
"""One row per stream: what its certificates allow, and where its chain is. `closed` is `sealing.chain.Closed`."""

certificates: Final = Table(
    "certificates",
    metadata,
    Column("stream", String(32), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("record_until", String(13), nullable=False),
    Column("envelope", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The first certificate of a stream and its extensions, as signed."""

items: Final = Table(
    "items",
    metadata,
    Column("stream", String(32), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),
    Column("id", String(64), nullable=False),
    Column("exact", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("sealed_key", LargeBinary),
    Column("body_sha256", String(64)),
    Column("body_length", BigInteger),
    Column("hour", String(13)),
    Column("blob", String(32)),
    Index("items_by_id", "id"),
    Index("items_by_blob", "blob"),
    sqlite_with_rowid=False,
)
"""Segments, skip and end records at their place in the stream. `exact` are the signed bytes, `blob` names the body."""

marks: Final = Table(
    "marks",
    metadata,
    Column("stream", String(32), primary_key=True),
    Column("evidence_hash", String(64), primary_key=True),
    Column("erased", Boolean, nullable=False),
    Column("hours", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("keep_until", String(10), nullable=False),
    sqlite_with_rowid=False,
)
"""Streams (or hours of them, space-separated) that accept nothing more. They outlive the rows they stand for."""

kept_orders: Final = Table(
    "kept_orders",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("day", String(10), nullable=False),
    Column("envelope", Text, nullable=False),
)
"""Orders that were carried out, as signed: a custodian that was restored gets its own back."""

orders: Final = Table(
    "orders",
    metadata,
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("acknowledged", Boolean, nullable=False),
)
"""One row, `place` 1: the last order that was carried out."""

reports: Final = Table(
    "reports",
    metadata,
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("since", String(13), nullable=False),
    Column("until", String(13)),
    Column("listings", BigInteger, nullable=False),
    Column("bodies", BigInteger, nullable=False),
    Column("refused_tickets", BigInteger, nullable=False),
    Column("refused_certificates", BigInteger, nullable=False),
    Column("refused_over_budget", BigInteger, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("resumed", Boolean, nullable=False),
)
"""`place` 0: what is being counted since an hour. Others, by number: reports that the custodian has not taken yet."""
