"""Signed lease requests of which a refusal is in the log already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refused_lease_requests",
        sa.Column("signed", sa.String(64), primary_key=True),
        sa.Column("rule", sa.String(32), primary_key=True),
    )
