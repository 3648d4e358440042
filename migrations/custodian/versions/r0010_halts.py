"""Halts by their statements' hashes, and the signatures that end them.

A halt of before has no statement; it is kept in force under a hash of its moment, so that an upgrade resumes nothing.
"""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    halts = op.create_table(
        "programme_halts",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=32), nullable=True),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("resumed", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_programme_halts")),
    )
    op.create_index(op.f("ix_programme_halts_at"), "programme_halts", ["at"], unique=False)
    op.create_table(
        "programme_resumptions",
        sa.Column("halt", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("credential", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("halt", "person", name=op.f("pk_programme_resumptions")),
    )
    old = sa.table("halts", *(sa.column(name) for name in ("at", "reason", "by", "resumed")))
    for row in op.get_bind().execute(sa.select(old)).mappings().all():
        hash_ = hashlib.sha256(b"assent/halt-without-statement\0" + row["at"].encode()).hexdigest()
        op.execute(halts.insert().values(hash=hash_, statement="", **row))
    op.drop_table("halts")
