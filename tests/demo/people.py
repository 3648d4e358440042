"""Everybody in the story: each with a folder of their own, a passphrase, and nothing but the public commands."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assent.client.credentials import Credential, CredentialStore
from assent.client.custodian import CustodianClient
from assent.client.directory import TrustedDirectory
from tests.demo.processes import TIMEOUT_S, Done, Programs, Running, StoryBroken

BIN = Path(sys.executable).parent
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TERM", "XDG_RUNTIME_DIR", "SYSTEMROOT")


def clean_environment(tmp: Path, more: Mapping[str, str] = {}) -> dict[str, str]:
    """An environment without any `ASSENT_*` of whoever runs the demo; temporary files go where we can search them."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "TMPDIR": str(tmp), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "COLUMNS": "160", **more}


@dataclass
class Person:
    """`name` as others see it; `home` is their `ASSENT_HOME`."""

    name: str
    home: Path
    programs: Programs
    base: Mapping[str, str]

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, mode=0o700)
        passphrase = self.home / "passphrase"
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_hex(16) + "\n")
        self.env = {
            **self.base,
            "ASSENT_HOME": str(self.home),
            "ASSENT_PASSPHRASE_FILE": str(passphrase),
            "ASSENT_AGENT_PASSPHRASE_FILE": str(passphrase),
            "ASSENT_AGENT_KEYRING": "false",
        }

    @property
    def log(self) -> str:
        return self.home.name

    def assent(self, *words: str | Path | int, timeout_s: float = TIMEOUT_S) -> Done:
        """`assent …` as this person, done or not."""
        return self.programs.run(BIN / "assent", *words, env=self.env, log=self.log, timeout_s=timeout_s)

    def agent(self, *words: str | Path | int, timeout_s: float = TIMEOUT_S) -> Done:
        """`assent-agent …` as this person, done or not."""
        return self.programs.run(BIN / "assent-agent", *words, env=self.env, log=self.log, timeout_s=timeout_s)

    def start_agent(self, *words: str | Path, env: Mapping[str, str] = {}) -> Running:
        """`assent-agent run …`, left running."""
        return self.programs.start(
            *(BIN / "assent-agent", "run", *words), env={**self.env, **env}, log=f"{self.log}-agent", name="the agent"
        )

    def python(self, module: str, *words: str | Path | int, timeout_s: float = TIMEOUT_S) -> Done:
        """A program of this person's own, which uses the `assent` package."""
        return self.programs.run(sys.executable, "-m", module, *words, env=self.env, log=self.log, timeout_s=timeout_s)

    def credential(self) -> Credential:
        return CredentialStore(self.home).load()

    def custodian(self) -> CustodianClient:
        """The `assent` package's client in this person's name, for many small questions."""
        credential = self.credential()
        trusted: TrustedDirectory = CredentialStore(self.home).directory(credential)
        key = credential.unlock((self.home / "passphrase").read_text().strip())
        return CustodianClient.of(trusted.current, key)


def done(what: Done) -> Done:
    """The same, if it went well. Raises StoryBroken, with what it said, otherwise."""
    if not what.ok:
        raise StoryBroken(f"'{what.command}' ended with {what.status}: {what.said[:300]}", what.log)
    return what
