"""What can go wrong between the parties, by stable name (RFC 9457 problem details).

Clients and services share this table: a code, its HTTP status, and a title that says what happened. The detail of an
occurrence says how much and what to do next; it never holds content, keys, names or addresses.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

PREFIX = "urn:assent:problem:"


class Code(Enum):
    """(name on the wire, HTTP status, title)."""

    MALFORMED = ("malformed", 400, "The message is not well-formed")
    NOT_SIGNED_IN = ("not-signed-in", 401, "This needs a signature of an enrolled credential")
    SIGNATURE_INVALID = ("signature-invalid", 401, "The signature is not valid")
    STALE = ("stale", 401, "The message is too old, too new, or was used before")
    FORBIDDEN = ("forbidden", 403, "This role may not do that")
    REFUSED = ("refused", 403, "Not permitted")
    REVOKED = ("revoked", 403, "This stream is closed for good")
    CERTIFICATE_INVALID = ("certificate-invalid", 403, "The certificate is unknown, not valid, or has ended")
    TICKET_INVALID = ("ticket-invalid", 403, "The ticket is not valid for this")
    CODE_INVALID = ("code-invalid", 403, "The invitation code is unknown, expired or already used")
    NOT_FOUND = ("not-found", 404, "There is no such thing")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "This address is not asked like that")
    TIMED_OUT = ("timed-out", 408, "The body did not arrive in time")
    CONFLICT = ("conflict", 409, "This contradicts what is already stored")
    OUT_OF_ORDER = ("out-of-order", 409, "Another sequence number is expected")
    NOT_AVAILABLE = ("not-available", 409, "Not available")
    TOO_LARGE = ("too-large", 413, "The body is too large")
    LENGTH_REQUIRED = ("length-required", 411, "The body needs a Content-Length")
    BUDGET_SPENT = ("budget-spent", 413, "The byte budget of this stream is spent")
    UNSUPPORTED_MEDIA = ("unsupported-media", 415, "The body is of another type than is taken here")
    BODY_MISMATCH = ("body-mismatch", 422, "The body is not the one that was announced")
    TOO_MANY = ("too-many", 429, "Too many requests")
    INTERNAL = ("internal", 500, "The service failed; nothing was changed")
    BUSY = ("busy", 503, "The service is busy")
    CLOSED = ("closed", 503, "The door is shut")
    NO_QUORUM = ("no-quorum", 503, "The log could not be witnessed; nothing was opened")
    STORAGE_FULL = ("storage-full", 507, "The disk is full; nothing was stored")

    def __init__(self, wire: str, status: int, title: str) -> None:
        self.wire = wire
        self.status = status
        self.title = title

    @property
    def type(self) -> str:
        return PREFIX + self.wire


class Problem(Exception):
    """A refusal or failure with a stable code. `members` are further JSON members (for instance `expected`)."""

    def __init__(self, code: Code, detail: str, **members: Any) -> None:
        super().__init__(f"{code.wire}: {detail}")
        self.code = code
        self.detail = detail
        self.members = members

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.members,
            "type": self.code.type,
            "title": self.code.title,
            "status": self.code.status,
            "detail": self.detail,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Problem | None:
        """Read a problem document; None when it is not one of ours."""
        for code in Code:
            if data.get("type") == code.type:
                members = {k: v for k, v in data.items() if k not in ("type", "title", "status", "detail")}
                return cls(code, str(data.get("detail", "")), **members)
        return None
