"""Whose account has ended, and from when on they are forgotten."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leavers",
        sa.Column("person", sa.String(32), nullable=False),
        sa.Column("erase_on", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("person", name="pk_leavers"),
    )
    op.create_index("ix_leavers_erase_on", "leavers", ["erase_on"])
