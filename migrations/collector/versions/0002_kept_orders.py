"""Orders as the custodian signed them, so that it can be given back what a restore made it forget."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_orders",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("envelope", sa.Text, nullable=False),
    )
