"""When a withdrawal came, so that the moment it states cannot bar receipts of the future."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("withdrawals", sa.Column("received", sa.String(length=20), nullable=True))
