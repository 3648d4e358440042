"""The canary drill: what is its own is marked as such, and how it stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("invitations", "purposes", "requests"):
        op.add_column(table, sa.Column("drill", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "drill_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("set_up", sa.String(length=20), nullable=False),
        sa.Column("stated", sa.String(length=20), nullable=True),
        sa.Column("passed", sa.String(length=20), nullable=True),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.Column("failed", sa.String(length=5000), nullable=False),
        sa.Column("alarmed", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drill_state")),
    )
