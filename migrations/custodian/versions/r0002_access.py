"""Requests, decisions, cohorts, leases, notifications and the catalogue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "catalogue_counted",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue_counted")),
    )
    op.create_table(
        "catalogue_counts",
        sa.Column("purpose", sa.String(length=300), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("from_day", sa.String(length=10), nullable=True),
        sa.Column("to_day", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("purpose", "version", "modality", name=op.f("pk_catalogue_counts")),
    )
    op.create_table(
        "cohort_members",
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("pseudonym", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("request", "person", name=op.f("pk_cohort_members")),
    )
    op.create_table(
        "decisions",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("decision", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("hash", "person", name=op.f("pk_decisions")),
        sa.UniqueConstraint("request", "person", "decision", name=op.f("uq_decisions_request_person_decision")),
    )
    op.create_index(op.f("ix_decisions_request"), "decisions", ["request"], unique=False)
    op.create_table(
        "lease_refusals",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("rule", sa.String(length=32), nullable=False),
        sa.Column("at", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("person", "rule", name=op.f("pk_lease_refusals")),
    )
    op.create_table(
        "lease_streams",
        sa.Column("lease", sa.String(length=32), nullable=False),
        sa.Column("stream", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("lease", "stream", name=op.f("pk_lease_streams")),
    )
    op.create_index(op.f("ix_lease_streams_stream"), "lease_streams", ["stream"], unique=False)
    op.create_table(
        "leases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=8), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("credential", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=300), nullable=True),
        sa.Column("job_signing_key", sa.String(length=64), nullable=False),
        sa.Column("job_receiving_key", sa.String(length=1700), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("until", sa.String(length=20), nullable=False),
        sa.Column("leaf_index", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("released", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
        sa.UniqueConstraint("hash", name=op.f("uq_leases_hash")),
    )
    op.create_index(op.f("ix_leases_person"), "leases", ["person"], unique=False)
    op.create_index(op.f("ix_leases_request"), "leases", ["request"], unique=False)
    op.create_index(op.f("ix_leases_until"), "leases", ["until"], unique=False)
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=300), nullable=True),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("leaf_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(op.f("ix_notifications_person"), "notifications", ["person"], unique=False)
    op.create_index(op.f("ix_notifications_request"), "notifications", ["request"], unique=False)
    op.create_table(
        "requests",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("requester", sa.String(length=32), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("expires", sa.String(length=20), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_expires"), "requests", ["expires"], unique=False)
    op.create_index(op.f("ix_requests_requester"), "requests", ["requester"], unique=False)
    op.create_index(op.f("ix_requests_state"), "requests", ["state"], unique=False)
