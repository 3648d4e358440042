"""What every command needs: who one is, the directory, and a client that signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, TypeAlias

import httpx2
import typer

from assent.cli.output import Output
from assent.client.credentials import (
    Credential,
    CredentialInvalid,
    CredentialMissing,
    CredentialStore,
    check_passphrase,
    passphrase_from_file,
)
from assent.client.custodian import Clock, CustodianClient
from assent.client.directory import CONTRADICTION_SUFFIX, LogContradicted, TrustedDirectory
from assent.client.transport import Transport, Unreachable, now_utc
from assent.contracts.ids import is_hex
from assent.contracts.keys import SigningKey
from assent.contracts.times import parse_day
from assent.reader.log_words import SHORT

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
HASH_DIGITS = 64


class Failed(Exception):
    """The command could not do what was asked; the message says why and what to do."""


@dataclass
class Shell:
    """One run of the command. Tests replace the network, the clock and the environment."""

    store: CredentialStore
    transport: httpx2.BaseTransport | None = None
    clock: Clock = now_utc
    environment: Mapping[str, str] | None = None
    output: Output = field(default_factory=Output)
    _signer: SigningKey | None = field(default=None, repr=False)
    _directory: TrustedDirectory | None = None

    @classmethod
    def default(cls) -> Shell:
        return cls(CredentialStore.default())

    @property
    def now(self) -> datetime:
        return self.clock()

    def credential(self) -> Credential:
        return self.store.load()

    def signer(self) -> SigningKey:
        """The opening key; the passphrase is asked for once."""
        if self._signer is None:
            credential = self.credential()
            passphrase = passphrase_from_file(self.environment)
            if passphrase is None:
                passphrase = typer.prompt("Passphrase", hide_input=True, err=True)
            self._signer = credential.unlock(passphrase)
        return self._signer

    def known_directory(self) -> TrustedDirectory:
        """The directory as it is known on this computer, without asking anybody."""
        return self.store.directory(self.credential())

    def directory(self) -> TrustedDirectory:
        """The directory, refreshed. When nobody answers, the known one is used and that is said."""
        if self._directory is None:
            credential = self.credential()
            trusted = self.store.directory(credential)
            url = trusted.current.custodian_url if trusted.known else credential.custodian_url
            try:
                with Transport(url, transport=self.transport) as address:
                    trusted.refresh(address)
            except Unreachable:
                if not trusted.known:
                    raise
                self.output.note("The custodian cannot be reached; the directory known here is used.", "yellow")
            except LogContradicted:
                if not trusted.known:
                    raise
            if trusted.contradiction is not None:
                self.output.note(f"ALARM: {trusted.contradiction}.", "bold red")
                self.output.note(
                    f"What proves it is in {self.store.directory_path.with_suffix(CONTRADICTION_SUFFIX)}: keep it, and "
                    "tell the works council and the witnesses. The directory of before is used; withdrawing works.",
                    "red",
                )
            self._directory = trusted
        return self._directory

    def custodian(self) -> CustodianClient:
        """A client that signs with the opening key."""
        return CustodianClient.of(self.directory().current, self.signer(), clock=self.clock, transport=self.transport)

    def new_passphrase(self) -> str:
        """From the file that the environment names, or asked for twice. Raises CredentialInvalid when too short."""
        passphrase = passphrase_from_file(self.environment)
        if passphrase is not None:
            check_passphrase(passphrase)
            return passphrase
        while True:
            asked: str = typer.prompt(
                "A new passphrase for your key (several words are best)",
                hide_input=True,
                confirmation_prompt="The same again",
                err=True,
            )
            try:
                check_passphrase(asked)
            except CredentialInvalid as error:
                self.output.note(f"{error}.", "yellow")
            else:
                return asked

    def confirm(self, question: str, yes: bool) -> None:
        """Ask, unless --yes was given. Ends the command when the answer is no, or nobody is there to answer."""
        try:
            agreed = yes or typer.confirm(question, err=True)
        except typer.Abort:
            self.output.note("")
            raise Failed("Nothing was done: nobody answered. --help names the option that agrees.") from None
        if not agreed:
            raise Failed("Nothing was done: you said no.")


def shell_of(context: typer.Context) -> Shell:
    shell = context.obj
    if not isinstance(shell, Shell):
        raise CredentialInvalid("the command was started without its shell")
    return shell


def root_option(shell: Shell, given: str | None) -> str:
    """The pinned fingerprint: given, or the credential's. Nothing is checked against a fingerprint from the copy."""
    if given is not None:
        text = "".join(given.split()).lower()
        if len(text) != HASH_DIGITS or not is_hex(text):
            raise typer.BadParameter("a fingerprint has 64 hexadecimal digits")
        return text
    try:
        return shell.credential().root_fingerprint
    except CredentialMissing as error:
        raise Failed(
            "Name the root key's fingerprint with --root; the ceremony printed it, and invitation codes hold it."
        ) from error


def day_option(text: str | None) -> str | None:
    """A day as YYYY-MM-DD, or a usage error."""
    if text is not None:
        try:
            parse_day(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} is not a day; write it as 2026-11-23") from error
    return text


def full_hash(custodian: CustodianClient, text: str) -> str:
    """A request's hash from its first digits, at least 8."""
    wanted = text.strip().lower()
    if len(wanted) == HASH_DIGITS:
        return wanted
    if len(wanted) < SHORT:
        raise Failed(f"Write at least {SHORT} digits of the request's hash; 'assent data list' shows it.")
    found = [view.hash for view in custodian.requests().requests if view.hash.startswith(wanted)]
    if len(found) != 1:
        raise Failed(
            "No request that you may see begins like that; 'assent data list' shows them."
            if not found
            else "Several requests begin like that; write more digits."
        )
    return found[0]
