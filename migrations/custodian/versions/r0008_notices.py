"""The texts that people agreed to, and the endings of consent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=500), nullable=False),
        sa.Column("locale", sa.String(length=500), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_notices")),
    )
    op.create_table(
        "consent_endings",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("notice", sa.String(length=64), nullable=True),
        sa.Column("erase_on", sa.String(length=10), nullable=False),
        sa.Column("erased", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_consent_endings")),
    )
    op.create_index(op.f("ix_consent_endings_notice"), "consent_endings", ["notice"], unique=False)
    op.create_index(op.f("ix_consent_endings_erase_on"), "consent_endings", ["erase_on"], unique=False)
    op.add_column("receipts", sa.Column("ended_by", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_receipts_ended_by"), "receipts", ["ended_by"], unique=False)
