"""The command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer
from pydantic import ValidationError

from assent.cli import audit, data, me, people, purposes
from assent.cli.output import Output, plain, wrong_words
from assent.cli.shell import AsJson, Failed, Shell, shell_of
from assent.client.credentials import Credential, CredentialInvalid, CredentialMissing, lock
from assent.client.directory import directory_facts
from assent.client.joining import join, look_up
from assent.client.transport import ClientError
from assent.contracts.codes import CodeInvalid, InvitationCode
from assent.contracts.keys import SigningKey, fingerprint
from assent.reader.log_copies import CopyInvalid
from assent.transparency.errors import TransparencyError

app = typer.Typer(
    name="assent",
    help="Consented recordings: ask for them, approve, read, audit; and see and take back your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data", help="Requests, approvals and reading.")
app.add_typer(me.app, name="me", help="Your own data: who read it, your receipts, your recordings, taking it back.")
app.add_typer(audit.app, name="audit", help="The log: list, show, report, export, verify, monitor.")
app.add_typer(people.app, name="people", help="Invitations and roles.")
app.add_typer(purposes.app, name="purposes", help="Draft, sign and list purposes.")

KNOWN_ERRORS = (
    ClientError,
    CredentialInvalid,
    CredentialMissing,
    CodeInvalid,
    CopyInvalid,
    Failed,
    TransparencyError,
    OSError,
)


@app.callback()
def _start(context: typer.Context) -> None:
    if context.obj is None:
        context.obj = Shell.default()


@app.command()
def login(
    context: typer.Context,
    code: str = typer.Argument(help="The invitation code, the whole line."),
    replace: bool = typer.Option(False, help="Replace the credential that is on this computer."),
    as_json: AsJson = False,
) -> None:
    """Join with an invitation code, or add a key with a code of 'assent me add-device'. The code works once.

    The passphrase is asked for twice, or read from the file that ASSENT_PASSPHRASE_FILE names.
    """
    shell = shell_of(context)
    if shell.store.exists() and not replace:
        raise Failed("You are logged in on this computer already. 'assent login --replace CODE' replaces that key.")
    invitation = InvitationCode.from_text(code)
    if invitation.adds == "device":
        raise Failed("This code adds a device that records: run 'assent-agent enrol CODE' there.")
    seen = look_up(invitation, transport=shell.transport)
    if not as_json:
        shell.output.say("The custodian's directory has the root key that your code names. Fingerprints:")
        shell.output.facts(directory_facts(seen.current))
        shell.output.say()
    passphrase = shell.new_passphrase()
    key = SigningKey.generate()
    locked = lock(key, passphrase)
    membership = join(code, {"opening"}, keys={"opening": key}, clock=shell.clock, transport=shell.transport)
    shell.store.directory_path.unlink(missing_ok=True)
    shell.store.save(
        Credential(
            membership.person,
            membership.name,
            membership.directory.custodian_url,
            membership.root_fingerprint,
            key.public.id,
            locked,
        )
    )
    shell.directory()
    facts = {
        "person": membership.person,
        "name": membership.name,
        "roles": list(membership.roles),
        "key_id": key.public.id,
        "key_fingerprint": fingerprint(key.public.text),
        "root_fingerprint": membership.root_fingerprint,
    }
    if as_json:
        shell.output.json(facts)
        return
    roles = ", ".join(membership.roles) or "none; you can see and take back your own data"
    shell.output.say(
        f"Welcome, {plain(membership.name)}. Your key is on this computer, under your passphrase.", "green"
    )
    shell.output.facts([("person", membership.person), ("roles", roles), ("your key", fingerprint(key.public.text))])


@app.command()
def whoami(context: typer.Context, as_json: AsJson = False) -> None:
    """Who you are at the custodian, and with which keys."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        me_view = custodian.me()
    current = shell.directory().current
    if as_json:
        shell.output.json(
            {
                **json.loads(me_view.to_json()),
                "key_fingerprint": fingerprint(shell.signer().public.text),
                "organisation": current.organisation,
                "custodian": current.custodian_url,
                "root_fingerprint": fingerprint(current.root_key),
                "directory_version": current.version,
            }
        )
        return
    shell.output.facts(
        [
            ("name", me_view.name),
            ("person", me_view.person),
            ("roles", ", ".join(me_view.roles) or "none"),
            ("your key", fingerprint(shell.signer().public.text)),
            ("organisation", current.organisation),
            ("custodian", current.custodian_url),
            ("root key", fingerprint(current.root_key)),
            ("directory", f"version {current.version}"),
        ]
    )
    for message in me_view.messages:
        shell.output.say(f"{message.day}  {plain(message.text)}")


def main(arguments: Sequence[str] | None = None, shell: Shell | None = None) -> NoReturn:
    """Entry point of the `assent` command; ends the process with its exit code."""
    try:
        app(arguments, obj=shell)
    except KNOWN_ERRORS as error:
        (shell.output if shell is not None else Output()).error(error)
    except ValidationError as error:  # what was typed is no part of a statement
        (shell.output if shell is not None else Output()).note(f"Not done. {wrong_words(error)}", "red")
        sys.exit(2)
    sys.exit(1)
