"""One index for the streams of a person and day: with two, SQLite counted by walking everybody's streams of the day."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_streams_person", table_name="streams")
    op.create_index("ix_streams_person_day", "streams", ["person", "day"])
