"""People, log, purposes, consent, keys and orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "credentials",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("since", sa.String(length=10), nullable=False),
        sa.Column("revoked", sa.String(length=10), nullable=True),
        sa.Column("last_receipt", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_credentials")),
    )
    op.create_index(op.f("ix_credentials_person"), "credentials", ["person"], unique=False)
    op.create_table(
        "halts",
        sa.Column("at", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=32), nullable=True),
        sa.Column("resumed", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_halts")),
    )
    op.create_table(
        "invitations",
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("statement", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=True),
        sa.Column("by", sa.String(length=32), nullable=True),
        sa.Column("until", sa.String(length=20), nullable=False),
        sa.Column("used", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_invitations")),
        sa.UniqueConstraint("statement", name=op.f("uq_invitations_statement")),
    )
    op.create_table(
        "kek_generations",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("check_value", sa.String(length=64), nullable=False),
        sa.Column("created", sa.String(length=10), nullable=False),
        sa.Column("destroyed", sa.String(length=10), nullable=True),
        sa.Column("tainted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_kek_generations")),
    )
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_log_checkpoints")),
    )
    op.create_table(
        "log_cosignatures",
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("witness", sa.String(length=500), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", "witness", name=op.f("pk_log_cosignatures")),
    )
    op.create_table(
        "log_entries",
        sa.Column("index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index", name=op.f("pk_log_entries")),
    )
    op.create_index(op.f("ix_log_entries_type"), "log_entries", ["type"], unique=False)
    op.create_table(
        "log_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_head")),
    )
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_log_nodes")),
    )
    op.create_table(
        "night_lock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(length=32), nullable=False),
        sa.Column("until", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_night_lock")),
    )
    op.create_table(
        "nonces",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("nonce", sa.String(length=32), nullable=False),
        sa.Column("seen", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "nonce", name=op.f("pk_nonces")),
    )
    op.create_index(op.f("ix_nonces_seen"), "nonces", ["seen"], unique=False)
    op.create_table(
        "orders",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("done", sa.String(length=10), nullable=True),
        sa.Column("acknowledgement", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_orders")),
        sa.UniqueConstraint("hash", name=op.f("uq_orders_hash")),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("since", sa.String(length=10), nullable=False),
        sa.Column("drill", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
    )
    op.create_table(
        "person_names",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_person_names")),
    )
    op.create_table(
        "person_salts",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_person_salts")),
    )
    op.create_table(
        "purposes",
        sa.Column("iri", sa.String(length=300), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("drafted_by", sa.String(length=32), nullable=False),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.Column("signed", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("iri", "version", name=op.f("pk_purposes")),
        sa.UniqueConstraint("hash", name=op.f("uq_purposes_hash")),
    )
    op.create_table(
        "queued_order_items",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("stream", sa.String(length=32), nullable=False),
        sa.Column("hours", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queued_order_items")),
    )
    op.create_table(
        "queued_person_leaves",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("leaf", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queued_person_leaves")),
    )
    op.create_table(
        "receipts",
        sa.Column("record", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("credential", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("left", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.String(length=20), nullable=False),
        sa.Column("valid_until", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("record", name=op.f("pk_receipts")),
        sa.UniqueConstraint("hash", name=op.f("uq_receipts_hash")),
    )
    op.create_index(op.f("ix_receipts_credential"), "receipts", ["credential"], unique=False)
    op.create_index(op.f("ix_receipts_person"), "receipts", ["person"], unique=False)
    op.create_index(op.f("ix_receipts_state"), "receipts", ["state"], unique=False)
    op.create_index(op.f("ix_receipts_valid_until"), "receipts", ["valid_until"], unique=False)
    op.create_table(
        "role_proposals",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("proposed_by", sa.String(length=32), nullable=True),
        sa.Column("proposed", sa.String(length=20), nullable=False),
        sa.Column("countersigned_by", sa.String(length=32), nullable=True),
        sa.Column("effective", sa.String(length=20), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_role_proposals")),
    )
    op.create_index(op.f("ix_role_proposals_person"), "role_proposals", ["person"], unique=False)
    op.create_table(
        "roles_held",
        sa.Column("proposal", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("effective", sa.String(length=20), nullable=False),
        sa.Column("ended", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("proposal", name=op.f("pk_roles_held")),
    )
    op.create_index(op.f("ix_roles_held_person"), "roles_held", ["person"], unique=False)
    op.create_table(
        "streams",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("record", sa.String(length=32), nullable=False),
        sa.Column("credential", sa.String(length=32), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("stream_key", sa.String(length=64), nullable=False),
        sa.Column("vault_key", sa.String(length=1700), nullable=False),
        sa.Column("suite", sa.String(length=16), nullable=False),
        sa.Column("record_until", sa.String(length=13), nullable=False),
        sa.Column("upload_until", sa.String(length=10), nullable=False),
        sa.Column("byte_budget", sa.BigInteger(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("drill", sa.Boolean(), nullable=False),
        sa.Column("closed", sa.String(length=16), nullable=True),
        sa.Column("erased", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_streams")),
        sa.UniqueConstraint("stream_key", name=op.f("uq_streams_stream_key")),
    )
    op.create_index(op.f("ix_streams_day"), "streams", ["day"], unique=False)
    op.create_index(op.f("ix_streams_person"), "streams", ["person"], unique=False)
    op.create_index(op.f("ix_streams_record"), "streams", ["record"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("stream", sa.String(length=32), nullable=False),
        sa.Column("hours", sa.Text(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_stream"), "tombstones", ["stream"], unique=False)
    op.create_table(
        "vault_keys",
        sa.Column("stream", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name=op.f("pk_vault_keys")),
    )
    op.create_index(op.f("ix_vault_keys_generation"), "vault_keys", ["generation"], unique=False)
    op.create_table(
        "withdrawals",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("confirmation", sa.Text(), nullable=False),
        sa.Column("streams", sa.Text(), nullable=False),
        sa.Column("closed", sa.Integer(), nullable=False),
        sa.Column("erase_on", sa.String(length=10), nullable=False),
        sa.Column("erased", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_withdrawals")),
    )
    op.create_index(op.f("ix_withdrawals_erase_on"), "withdrawals", ["erase_on"], unique=False)
    op.create_index(op.f("ix_withdrawals_person"), "withdrawals", ["person"], unique=False)
    op.create_table(
        "witness_states",
        sa.Column("witness", sa.String(length=500), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("complained", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("witness", name=op.f("pk_witness_states")),
    )
    op.bulk_insert(
        sa.table("log_head", sa.column("id", sa.Integer), sa.column("size", sa.Integer)), [{"id": 1, "size": 0}]
    )
    op.bulk_insert(
        sa.table(
            "night_lock", sa.column("id", sa.Integer), sa.column("holder", sa.String), sa.column("until", sa.String)
        ),
        [{"id": 1, "holder": "0" * 32, "until": "0000-00-00T00:00:00Z"}],
    )
