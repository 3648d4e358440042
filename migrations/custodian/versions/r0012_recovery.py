"""Recoveries, and what bounds the keys that come of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credentials", sa.Column("opens_after", sa.String(length=10), nullable=True))
    op.add_column("credentials", sa.Column("waits_until", sa.String(length=20), nullable=True))
    op.create_table(
        "recoveries",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("until", sa.String(length=20), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=32), nullable=False),
        sa.Column("credential", sa.String(length=32), nullable=False),
        sa.Column("proposed", sa.String(length=20), nullable=False),
        sa.Column("countersigned_by", sa.String(length=32), nullable=True),
        sa.Column("countersignature", sa.Text(), nullable=True),
        sa.Column("ready", sa.String(length=20), nullable=True),
        sa.Column("key_id", sa.String(length=32), nullable=True),
        sa.Column("stopped", sa.String(length=20), nullable=True),
        sa.Column("stop", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_recoveries")),
    )
    op.create_index(op.f("ix_recoveries_person"), "recoveries", ["person"], unique=False)
