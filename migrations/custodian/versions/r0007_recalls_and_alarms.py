"""Recalls of what was released, when an alarm was last sounded, and since when a generation has to go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_alarms")),
    )
    op.create_table(
        "recalls",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("done", sa.String(length=10), nullable=True),
        sa.Column("acknowledgement", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_recalls")),
    )
    op.create_index(op.f("ix_recalls_request"), "recalls", ["request"], unique=False)
    op.create_table(
        "recalled_streams",
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=32), nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("request", "stream", "what", name=op.f("pk_recalled_streams")),
    )
    op.add_column("kek_generations", sa.Column("tainted_since", sa.String(length=10), nullable=True))
