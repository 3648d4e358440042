"""The one-time code by which somebody joins, or adds a key: where the custodian is, a 128-bit secret, and the root
key's fingerprint.

The fingerprint is in the code so that a swapped root is refused before anything is sent. The custodian stores only a
hash of the secret.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Literal

CodeKind = Literal["device", "opening"]

_PREFIXES: dict[CodeKind | None, str] = {None: "assent1", "device": "assent1d", "opening": "assent1o"}


class CodeInvalid(ValueError):
    """The text is not an invitation code, or a part of it is missing or mistyped."""


@dataclass(frozen=True)
class InvitationCode:
    """`url` of the custodian, 16 secret bytes, and the 64-digit fingerprint of the root key.

    `adds`: which kind of key it adds to an existing account; None: it makes an account. The prefix says so, as a help;
    what the code may do is what the custodian has a signature for.
    """

    url: str
    root_fingerprint: str
    secret: bytes = field(repr=False)
    adds: CodeKind | None = None

    @classmethod
    def new(cls, url: str, root_fingerprint: str, adds: CodeKind | None = None) -> InvitationCode:
        return cls(url=url, root_fingerprint=root_fingerprint, secret=secrets.token_bytes(16), adds=adds)

    @property
    def secret_hex(self) -> str:
        return self.secret.hex()

    @property
    def secret_hash(self) -> str:
        """What the custodian knows of the secret beforehand."""
        return hash_of_secret(self.secret_hex)

    def to_text(self) -> str:
        """Lower-case base32 after a prefix, with a checksum at the end; safe to copy, to speak and to put in a URL."""
        raw = self.secret + bytes.fromhex(self.root_fingerprint) + self.url.encode()
        checked = raw + hashlib.sha256(raw).digest()[:4]
        return f"{_PREFIXES[self.adds]}-{base64.b32encode(checked).decode().rstrip('=').lower()}"

    @classmethod
    def from_text(cls, text: str) -> InvitationCode:
        """Raises CodeInvalid with what to do about it."""
        prefix, _, body = "".join(text.split()).lower().partition("-")
        adds = {text: kind for kind, text in _PREFIXES.items()}
        if prefix not in adds:
            raise CodeInvalid(f"an invitation code begins with '{_PREFIXES[None]}'; copy the whole line")
        try:
            data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
        except ValueError as error:  # also what is not ASCII
            raise CodeInvalid("the code has a wrong character or is cut off; copy the whole line") from error
        raw, check = data[:-4], data[-4:]
        # Base32 leaves spare bits in the last letter: only the one form that `to_text` writes is a code.
        canonical = base64.b32encode(data).decode().rstrip("=").lower()
        if len(raw) < 48 or hashlib.sha256(raw).digest()[:4] != check or canonical != body:
            raise CodeInvalid("the code is mistyped or cut off; copy the whole line")
        return cls(raw[48:].decode(), raw[16:48].hex(), raw[:16], adds[prefix])


def hash_of_secret(secret_hex: str) -> str:
    """SHA-256 by which the custodian finds an invitation."""
    return hashlib.sha256(b"assent/invitation/v1\0" + secret_hex.encode()).hexdigest()
