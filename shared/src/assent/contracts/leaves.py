"""Entries of the log: exact JSON bytes, written once. No content, no names; persons concerned only as salted roots."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from assent.contracts.ids import Hash


class LeafType(StrEnum):
    PERSON = "person"
    REQUEST_SIGNED = "request.signed"
    GRANT_APPROVED = "grant.approved"
    GRANT_REFUSED = "grant.refused"
    GRANT_REVOKED = "grant.revoked"
    GRANT_EXPIRED = "grant.expired"
    LEASE_OPENED = "lease.opened"
    LEASE_CLOSED = "lease.closed"
    LEASE_REFUSED = "lease.refused"
    ROLE_PROPOSED = "role.proposed"
    ROLE_CHANGED = "role.changed"
    CREDENTIAL_REVOKED = "credential.revoked"
    ACCOUNT_ENDED = "account.ended"
    PURPOSE_DRAFTED = "purpose.drafted"
    PURPOSE_SIGNED = "purpose.signed"
    CONSENT_ENDED = "consent.ended"
    CONFIG_CHANGED = "config.changed"
    DIRECTORY_CHANGED = "directory.changed"
    LOG_OPENED = "log.opened"
    AUDIT_VIEWED = "audit.viewed"
    AUDIT_UNMASK_ASKED = "audit.unmask-asked"
    AUDIT_UNMASKED = "audit.unmasked"
    ORDER_MADE = "order.made"
    GENERATION_DESTROYED = "generation.destroyed"
    ERASURE_OVERDUE = "erasure.overdue"
    RECALL_DONE = "recall.done"
    WITNESS_UNREACHABLE = "witness.unreachable"
    PROGRAMME_HALTED = "programme.halted"
    PROGRAMME_RESUME_SIGNED = "programme.resume-signed"
    PROGRAMME_RESUMED = "programme.resumed"
    RECOVERY_SIGNED = "recovery.signed"
    RECOVERY_COUNTERSIGNED = "recovery.countersigned"
    RECOVERY_USED = "recovery.used"
    RECOVERY_STOPPED = "recovery.stopped"
    DRILL_PASSED = "drill.passed"
    DRILL_FAILED = "drill.failed"
    BOOT = "boot"
    COLLECTOR_REPORT = "collector.report"


class Leaf(BaseModel):
    """One entry.

    `at`: a moment, for `person` entries only the day. `actor`: HMAC(salt, id), whose salt can
    be erased. `auth`: how the actor was authenticated (`opening`, `device`, `root`, `operator`, `collector`, `job`).
    `rule`: which rule allowed or refused. `subject`: the hash of the statement or lease that the entry is about.
    `roots`: salted lists.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    v: Literal[1] = 1
    type: LeafType
    at: str
    actor: Hash | None = None
    auth: str | None = None
    decision: Literal["allowed", "refused"] | None = None
    rule: str | None = None
    subject: Hash | None = None
    request: Hash | None = None
    purpose: str | None = None
    mode: str | None = None
    until: str | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    keys: tuple[str, ...] = ()
    roots: dict[str, Hash] = Field(default_factory=dict)
    detail: dict[str, str] = Field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The exact bytes of the entry (fewer than 64 KiB)."""
        kept = {k: v for k, v in self.model_dump(mode="json", exclude_none=True).items() if v not in ({}, [])}
        return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()
