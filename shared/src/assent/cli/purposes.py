"""`assent purposes`: drafted by an admin, signed by the council, shown to people before they consent."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from assent.cli.shell import AsJson, Failed, shell_of
from assent.contracts.statements import DPV_RESEARCH, Mode, PurposeDraft, PurposeSignature
from assent.reader.log_words import SHORT

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def draft(
    context: typer.Context,
    *,
    iri: Annotated[str, typer.Option(help="The purpose's name, for instance https://example.org/purposes/agents")],
    sentence: Annotated[str, typer.Option(help="The purpose in one plain sentence, as people will read it.")],
    recipient: Annotated[list[str], typer.Option(help="Who may receive it; may be repeated.")],
    mode: Annotated[list[Mode] | None, typer.Option(help="How it may be read; may be repeated.")] = None,
    term: Annotated[
        list[str] | None, typer.Option(help="Its kind as an IRI of the Data Privacy Vocabulary; may be repeated.")
    ] = None,
    version: Annotated[int, typer.Option(min=1, help="A change is a new version, and asks everybody anew.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Draft a purpose (admin). It counts for nothing until the council signs it."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        accepted = custodian.draft_purpose(
            PurposeDraft(
                iri=iri,
                version=version,
                sentence=sentence,
                recipients=tuple(recipient),
                modes=tuple(mode or [Mode.READER]),
                terms=tuple(term or [DPV_RESEARCH]),
                at=custodian.now(),
            )
        )
    if as_json:
        shell.output.json({"draft": accepted.hash})
        return
    shell.output.say(f"Drafted. The council signs it with: assent purposes sign {accepted.hash}")


@app.command()
def sign(
    context: typer.Context,
    draft_hash: str = typer.Argument(metavar="DRAFT", help="The draft's hash, or its first 8 digits."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    as_json: AsJson = False,
) -> None:
    """Sign a purpose (council). From then on people can be asked for it."""
    shell = shell_of(context)
    wanted = draft_hash.strip().lower()
    if len(wanted) < SHORT:
        raise Failed(f"Write at least {SHORT} digits of the draft's hash; 'assent purposes list' shows it.")
    with shell.custodian() as custodian:
        found = [entry for entry in custodian.purposes().purposes if entry.draft.startswith(wanted)]
        if len(found) != 1:
            raise Failed("There is no single draft like that; 'assent purposes list' shows them.")
        purpose = found[0]
        if not as_json:
            shell.output.facts(
                [
                    ("purpose", f"{purpose.iri}, version {purpose.version}"),
                    ("sentence", purpose.sentence),
                    ("recipients", ", ".join(purpose.recipients)),
                    ("modes", ", ".join(purpose.modes)),
                    ("terms", ", ".join(purpose.terms)),
                    ("draft", purpose.draft),
                ]
            )
        shell.confirm("Sign this purpose?", yes)
        custodian.sign_purpose(PurposeSignature(draft=purpose.draft, at=custodian.now()))
    if as_json:
        shell.output.json({"draft": purpose.draft, "signed": True})
        return
    shell.output.say("Signed. People can now be asked for it.")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """All purposes, signed or not."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        view = custodian.purposes()
    if as_json:
        shell.output.json(json.loads(view.to_json()))
        return
    rows = [
        (
            entry.iri,
            entry.version,
            entry.sentence,
            ", ".join(entry.recipients),
            ", ".join(entry.modes),
            "signed" if entry.signed else f"draft {entry.draft[:SHORT]}",
        )
        for entry in view.purposes
    ]
    columns = ("purpose", "version", "sentence", "recipients", "modes", "state")
    shell.output.table("Purposes", columns, rows, "There is no purpose yet; an admin drafts one.")
