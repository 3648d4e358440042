"""Erasures, how far each has come, and which order carried a tombstone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("of", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("statement", sa.Text(), nullable=True),
        sa.Column("requested", sa.Text(), nullable=False),
        sa.Column("destroyed", sa.String(length=10), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("final", sa.Text(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("of", name=op.f("pk_erasures")),
    )
    op.create_index(op.f("ix_erasures_person"), "erasures", ["person"], unique=False)
    op.create_table(
        "erasure_tombstones",
        sa.Column("erasure", sa.String(length=64), nullable=False),
        sa.Column("tombstone", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("erasure", "tombstone", name=op.f("pk_erasure_tombstones")),
    )
    op.add_column("tombstones", sa.Column("reason", sa.String(length=12), nullable=True))
    op.add_column("tombstones", sa.Column("ordered", sa.Integer(), nullable=True))
