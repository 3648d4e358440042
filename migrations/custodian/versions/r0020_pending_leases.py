"""Leases over which the service died are looked for every few seconds."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_leases_state", "leases", ["state"])
