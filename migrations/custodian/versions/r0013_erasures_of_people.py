"""One statement may erase something of many people: what the dpo ended. And an erasure may be called off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_OWNER = "UPDATE erasure_tombstones SET person = (SELECT person FROM erasures WHERE erasures.of = erasure)"


def upgrade() -> None:
    with op.batch_alter_table("erasure_tombstones") as table:
        table.add_column(sa.Column("person", sa.String(length=32), nullable=True))
    op.execute(_OWNER)
    with op.batch_alter_table("erasure_tombstones") as table:
        table.alter_column("person", existing_type=sa.String(length=32), nullable=False)
        table.drop_constraint(op.f("pk_erasure_tombstones"), type_="primary")
        table.create_primary_key(op.f("pk_erasure_tombstones"), ["erasure", "person", "tombstone"])
    with op.batch_alter_table("erasures") as table:
        table.add_column(sa.Column("called_off", sa.Text(), nullable=True))
        table.drop_constraint(op.f("pk_erasures"), type_="primary")
        table.create_primary_key(op.f("pk_erasures"), ["of", "person"])
