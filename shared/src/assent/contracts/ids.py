"""Names of things: random ids that say nothing, and hashes that say exactly what they name.

A stream id is 16 random bytes. A hash is SHA-256. Both travel as lower-case hexadecimal, so that they can be
compared, logged and put into a path as they are.
"""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 as 64 lower-case hexadecimal digits."""

StreamId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""16 random bytes as 32 lower-case hexadecimal digits. Nothing can be derived from it."""

RandomId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""16 random bytes: nonces, tickets, leases, invitations, people."""


Salt = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){16,64}$")]
"""16 to 64 random bytes as hexadecimal, that hide a statement in the log (`lists.person_leaf`)."""


class Modality(StrEnum):
    """One kind of observation. Consent is given per modality."""

    POINTER = "pointer"
    KEYBOARD = "keyboard"
    SCREEN = "screen"
    CONTEXT = "context"


def is_hex(text: str) -> bool:
    """Whether it is one lower-case hexadecimal digit or more, and nothing else."""
    return bool(text) and set(text) <= set("0123456789abcdef")


def new_id() -> str:
    """Return 16 fresh random bytes as hexadecimal."""
    return secrets.token_hex(16)


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
