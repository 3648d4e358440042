"""A role is countersigned for keys. What was signed for an invitation that nobody has used was signed for a name: it
waits for a signature again."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "UPDATE role_proposals SET countersigned_by = NULL, effective = NULL, evidence = NULL "
        "WHERE person IS NULL AND countersigned_by IS NOT NULL"
    )
