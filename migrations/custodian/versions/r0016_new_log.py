"""What the collector says of its last order, where the log that would say it is lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("restoration", sa.Column("claimed", sa.Integer(), nullable=True))
