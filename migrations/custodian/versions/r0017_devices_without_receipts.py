"""Devices that had given nothing before a backup are asked, too, and nobody waits for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("unheard_devices", sa.Column("waits", sa.Boolean(), nullable=False, server_default=sa.true()))
