"""Codes that add a key to an account, and what people are told of their keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("invitations", sa.Column("person", sa.String(length=32), nullable=True))
    op.add_column("invitations", sa.Column("kind", sa.String(length=8), nullable=True))
    op.add_column("invitations", sa.Column("credential", sa.String(length=32), nullable=True))
    op.create_table(
        "account_notices",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_notices")),
    )
    op.create_index(op.f("ix_account_notices_person"), "account_notices", ["person"], unique=False)
