"""That a database was restored, how far it has caught up, and which devices were not heard since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "restoration",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.String(length=10), nullable=False),
        sa.Column("reach", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("log_whole", sa.String(length=10), nullable=True),
        sa.Column("orders_whole", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restoration")),
    )
    op.create_table(
        "unheard_devices",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_unheard_devices")),
    )
    op.create_index(op.f("ix_unheard_devices_person"), "unheard_devices", ["person"], unique=False)
