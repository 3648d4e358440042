"""Streams, certificates, items, marks and the place in the orders.

Nothing here has a time finer than the hour that the header itself says, and no column orders rows by arrival.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "streams",
        sa.Column("stream", sa.String(32), primary_key=True),
        sa.Column("stream_key", sa.String(64), nullable=False),
        sa.Column("modality", sa.String(16), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("record_until", sa.String(13), nullable=False),
        sa.Column("upload_until", sa.String(10), nullable=False),
        sa.Column("byte_budget", sa.BigInteger, nullable=False),
        sa.Column("bytes_stored", sa.BigInteger, nullable=False),
        sa.Column("next_sequence", sa.BigInteger, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("closed", sa.String(16), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "certificates",
        sa.Column("stream", sa.String(32), primary_key=True),
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("record_until", sa.String(13), nullable=False),
        sa.Column("envelope", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "items",
        sa.Column("stream", sa.String(32), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("exact", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("sealed_key", sa.LargeBinary),
        sa.Column("body_sha256", sa.String(64)),
        sa.Column("body_length", sa.BigInteger),
        sa.Column("hour", sa.String(13)),
        sa.Column("blob", sa.String(32)),
        sqlite_with_rowid=False,
    )
    op.create_index("items_by_id", "items", ["id"])
    op.create_index("items_by_blob", "items", ["blob"])
    op.create_table(
        "marks",
        sa.Column("stream", sa.String(32), primary_key=True),
        sa.Column("evidence_hash", sa.String(64), primary_key=True),
        sa.Column("erased", sa.Boolean, nullable=False),
        sa.Column("hours", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("keep_until", sa.String(10), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "orders",
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("acknowledged", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("recordings are not dropped by a migration: restore the backup from before")
