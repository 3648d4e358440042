"""Private keys in the keyring of the operating system (Secret Service, Keychain, Credential Locker)."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import keyring
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringError, PasswordDeleteError

from assent_agent.ports import SecretsUnavailable

SERVICE: Final = "assent-agent"


class KeyringStore:
    """Keeps the promise of `ports.SecretStore`. `home` tells the agents of several homes apart."""

    def __init__(self, backend: KeyringBackend, home: str) -> None:
        self._backend = backend
        self._service = f"{SERVICE}:{home}"

    def get(self, name: str) -> bytes | None:
        try:
            text = self._backend.get_password(self._service, name)
            return None if text is None else base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise SecretsUnavailable("What the keyring holds for the agent is damaged.") from error
        except KeyringError as error:
            raise SecretsUnavailable("The keyring cannot be read; unlock it.") from error

    def put(self, name: str, secret: bytes) -> None:
        try:
            self._backend.set_password(self._service, name, base64.b64encode(secret).decode())
        except KeyringError as error:
            raise SecretsUnavailable("The keyring takes nothing; unlock it.") from error

    def delete(self, name: str) -> None:
        try:
            self._backend.delete_password(self._service, name)
        except PasswordDeleteError:
            return
        except KeyringError as error:
            raise SecretsUnavailable("The keyring cannot be changed; unlock it.") from error


def system_keyring() -> KeyringBackend | None:
    """The keyring of this session; None where there is none, or only one that would keep secrets in the clear."""
    try:
        backend = keyring.get_keyring()
    except (KeyringError, RuntimeError):
        return None
    if isinstance(backend, fail.Keyring | null.Keyring):
        return None
    if "plaintext" in type(backend).__name__.lower() or backend.priority < 1:
        return None
    return backend
