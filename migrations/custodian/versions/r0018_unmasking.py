"""Who asked to learn who an actor of the log is, and who signed too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "unmaskings",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("leaf_index", number, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("by", sa.String(32), nullable=False),
        sa.Column("credential", sa.String(32), nullable=False),
        sa.Column("asked", sa.String(20), nullable=False),
        sa.Column("until", sa.String(20), nullable=False),
        sa.Column("countersigned_by", sa.String(32), nullable=True),
        sa.Column("countersignature", sa.Text(), nullable=True),
        sa.Column("answer_index", number, nullable=True),
        sa.PrimaryKeyConstraint("hash", name="pk_unmaskings"),
    )
