"""A role proposal counts as long as the key that signed it. Of what waits and did not come with an invitation it is not
known which key that was: it has to be proposed anew."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("role_proposals", sa.Column("credential", sa.String(32)))
    op.execute(
        "UPDATE role_proposals SET credential = "
        "(SELECT credential FROM invitations WHERE invitations.statement = role_proposals.hash)"
    )
