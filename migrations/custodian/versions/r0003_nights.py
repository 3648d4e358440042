"""The day of the last night that came to its end, so that a restart neither skips a night nor repeats one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("night_lock", sa.Column("done", sa.String(length=10), nullable=True))
