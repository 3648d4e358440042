"""The witness's own Ed25519 key, in a file that only its user can read."""

from __future__ import annotations

import os
from pathlib import Path

from assent.client.files import sync
from assent.contracts.keys import SigningKey
from assent.transparency.note import Cosigner


class KeyFileUnsafe(Exception):
    """Others than its owner could use the key file. The witness does not start."""


def create_key(path: Path) -> None:
    """Write a fresh key to a new file (PKCS #8 PEM, mode 0600). Raises FileExistsError rather than replace one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(SigningKey.generate().to_pem())
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def load_cosigner(path: Path, name: str) -> Cosigner:
    """Read the key. Raises FileNotFoundError, KeyFileUnsafe, or the key's and name's own errors."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise KeyFileUnsafe(f"{path} must be readable by its owner only: chmod 600")
        return Cosigner(name, SigningKey.from_pem(file.read()).ed25519)
