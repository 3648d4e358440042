"""The opening credential on this computer: one file, for its owner only, useless without the passphrase.

It lies in the folder that `ASSENT_HOME` names, or in the user's configuration folder. Beside it lies the last accepted
directory. The passphrase is never stored; it is asked for, or read from the file that `ASSENT_PASSPHRASE_FILE` names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field

from assent.client.directory import TrustedDirectory
from assent.client.files import write_private
from assent.contracts.envelope import Signed, StatementInvalid
from assent.contracts.ids import Hash, RandomId
from assent.contracts.keys import KeyId, KeyInvalid, SigningKey
from assent.contracts.statements import Url

HOME_VARIABLE = "ASSENT_HOME"
PASSPHRASE_VARIABLE = "ASSENT_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable
MIN_PASSPHRASE = 8

Prompt = Callable[[], str]


class CredentialMissing(Exception):
    """There is no credential here. `assent login CODE` makes one."""


class CredentialInvalid(Exception):
    """The credential cannot be used: damaged, open to others, or the passphrase is wrong."""


class _CredentialFile(Signed):
    v: Annotated[int, Field(ge=1, le=1)] = 1
    person: RandomId
    name: str
    custodian_url: Url
    root_fingerprint: Hash
    key_id: KeyId
    opening_key: str = Field(repr=False)


@dataclass(frozen=True)
class Credential:
    """Who one is, where, under which root, and the opening key, still locked: PKCS #8 PEM under the passphrase."""

    person: str
    name: str
    custodian_url: str
    root_fingerprint: str
    key_id: str
    locked_key: bytes

    def unlock(self, passphrase: str) -> SigningKey:
        """Raises CredentialInvalid when the passphrase is wrong."""
        try:
            key = SigningKey.from_pem(self.locked_key, passphrase.encode())
        except KeyInvalid as error:
            raise CredentialInvalid("the passphrase is wrong, or the credential file is damaged; try again") from error
        if key.public.id != self.key_id:
            raise CredentialInvalid("the credential file holds another key than it says; log in again with a new code")
        return key

    def __repr__(self) -> str:
        return f"Credential({self.key_id})"


class CredentialStore:
    """The folder with the credential and the directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def default(cls, environment: Mapping[str, str] | None = None) -> CredentialStore:
        """`ASSENT_HOME`, or the user's configuration folder."""
        named = (os.environ if environment is None else environment).get(HOME_VARIABLE)
        return cls(Path(named) if named else Path(platformdirs.user_config_dir("assent")))

    @property
    def path(self) -> Path:
        return self.folder / "credential.json"

    @property
    def directory_path(self) -> Path:
        return self.folder / "directory.json"

    def exists(self) -> bool:
        return self.path.exists()

    def save(self, credential: Credential) -> None:
        """Write the credential, whole or not at all, mode 0600. Raises OSError."""
        data = _CredentialFile(
            person=credential.person,
            name=credential.name,
            custodian_url=credential.custodian_url,
            root_fingerprint=credential.root_fingerprint,
            key_id=credential.key_id,
            opening_key=credential.locked_key.decode(),
        )
        write_private(self.path, data.to_json())

    def load(self) -> Credential:
        """Raises CredentialMissing or CredentialInvalid."""
        try:
            mode = self.path.stat().st_mode
            data = self.path.read_bytes()
        except FileNotFoundError as error:
            raise CredentialMissing("you are not logged in on this computer: run 'assent login CODE'") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CredentialInvalid(f"others can read the credential file; run 'chmod 600 {self.path}'")
        try:
            parsed = _CredentialFile.parse(data)
        except StatementInvalid as error:
            raise CredentialInvalid("the credential file is damaged; log in again with a new code") from error
        return Credential(
            parsed.person,
            parsed.name,
            parsed.custodian_url,
            parsed.root_fingerprint,
            parsed.key_id,
            parsed.opening_key.encode(),
        )

    def directory(self, credential: Credential) -> TrustedDirectory:
        """The directory under this credential's root, as far as it is known here. Raises DirectoryRefused."""
        return TrustedDirectory(credential.root_fingerprint, self.directory_path)


def lock(key: SigningKey, passphrase: str) -> bytes:
    """The key as PKCS #8 PEM under the passphrase. Raises CredentialInvalid when the passphrase is too short."""
    check_passphrase(passphrase)
    return key.to_pem(passphrase.encode())


def check_passphrase(passphrase: str) -> None:
    """Raises CredentialInvalid when the passphrase is too short to protect a key."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise CredentialInvalid(f"a passphrase has at least {MIN_PASSPHRASE} characters; several words are best")


def passphrase_from_file(environment: Mapping[str, str] | None = None) -> str | None:
    """The first line of the file that `ASSENT_PASSPHRASE_FILE` names; None when no file is named.

    Raises CredentialInvalid when the file cannot be read or others can read it.
    """
    named = (os.environ if environment is None else environment).get(PASSPHRASE_VARIABLE)
    if not named:
        return None
    path = Path(named)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CredentialInvalid(f"others can read the passphrase file; run 'chmod 600 {path}'")
        return path.read_text("utf-8").split("\n", 1)[0]
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialInvalid(f"the passphrase file {path} cannot be read") from error
