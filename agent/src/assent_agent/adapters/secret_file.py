"""Private keys in one file of our own, for computers without a keyring: encrypted under a passphrase, mode 0600.

scrypt (RFC 7914; N = 2^15, r = 8, p = 1: 32 MiB) turns the passphrase into an AES-256-GCM key, once per process; the
salt stands in the file. The header is authenticated as associated data. Each write has a fresh nonce.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from assent.client.files import write_private
from assent_agent.ports import SecretsUnavailable

MAGIC: Final = b"ASSENT-SECRETS-1\n"
_SALT: Final = 16
_NONCE: Final = 12
MIN_PASSPHRASE: Final = 8


class SecretFile:
    """Keeps the promise of `ports.SecretStore`. Making one raises SecretsUnavailable when the passphrase is wrong."""

    def __init__(self, path: Path, passphrase: str) -> None:
        if len(passphrase) < MIN_PASSPHRASE:
            raise SecretsUnavailable(f"The agent's passphrase needs at least {MIN_PASSPHRASE} characters.")
        self._path = path
        self._lock = threading.Lock()
        self._salt = os.urandom(_SALT)
        data = b""
        if path.exists():
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SecretsUnavailable(f"Others can read the agent's key file; run 'chmod 600 {path}'.")
            data = path.read_bytes()
            self._salt = data[len(MAGIC) : len(MAGIC) + _SALT]
        self._key = AESGCM(Scrypt(salt=self._salt, length=32, n=2**15, r=8, p=1).derive(passphrase.encode()))
        self._secrets = self._open(data) if data else {}

    def _open(self, data: bytes) -> dict[str, bytes]:
        start = len(MAGIC) + _SALT
        try:
            if not data.startswith(MAGIC):
                raise SecretsUnavailable("The agent's key file is damaged.")
            plain = self._key.decrypt(data[start : start + _NONCE], data[start + _NONCE :], data[:start])
        except (InvalidTag, ValueError) as error:
            raise SecretsUnavailable("The passphrase is wrong, or the agent's key file is damaged.") from error
        return {name: base64.b64decode(secret) for name, secret in json.loads(plain).items()}

    def get(self, name: str) -> bytes | None:
        with self._lock:
            return self._secrets.get(name)

    def put(self, name: str, secret: bytes) -> None:
        with self._lock:
            self._write({**self._secrets, name: secret})

    def delete(self, name: str) -> None:
        with self._lock:
            if name in self._secrets:
                self._write({other: secret for other, secret in self._secrets.items() if other != name})

    def _write(self, secrets: dict[str, bytes]) -> None:
        plain = json.dumps({name: base64.b64encode(secret).decode() for name, secret in secrets.items()}).encode()
        head, nonce = MAGIC + self._salt, os.urandom(_NONCE)
        try:
            write_private(self._path, head + nonce + self._key.encrypt(nonce, plain, head))
        except OSError as error:
            raise SecretsUnavailable("The agent's key file cannot be written.") from error
        self._secrets = secrets

    def __repr__(self) -> str:
        return "SecretFile()"
