"""What the collector counts, and the report of it that is due."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    counts = ("listings", "bodies", "refused_tickets", "refused_certificates", "refused_over_budget", "orders")
    op.create_table(
        "reports",
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("since", sa.String(13), nullable=False),
        sa.Column("until", sa.String(13)),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        sa.Column("resumed", sa.Boolean, nullable=False),
    )
