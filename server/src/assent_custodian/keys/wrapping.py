"""How a vault key lies in the database: AES-256-GCM under a KEK, bound to its stream and generation.

A row moved to another stream, or said to be of another generation, does not unwrap.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


class WrapInvalid(Exception):
    """These bytes are not the vault key of this stream under this KEK generation."""


def wrap(private: bytes, kek: bytes, stream: str, generation: int) -> bytes:
    """Nonce (12 bytes) and ciphertext with tag."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(kek).encrypt(nonce, private, bound_to(stream, generation))


def unwrap(wrapped: bytes, kek: bytes, stream: str, generation: int) -> bytes:
    """The private vault key's bytes. Raises WrapInvalid."""
    try:
        return AESGCM(kek).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound_to(stream, generation))
    except (InvalidTag, ValueError) as error:
        raise WrapInvalid("a vault key does not unwrap: damaged, or of another stream or generation") from error


def bound_to(stream: str, generation: int) -> bytes:
    """What is authenticated with a wrapped key (AES-GCM's associated data)."""
    return b"assent/vault/v1\0" + stream.encode() + b"\0" + str(generation).encode()
