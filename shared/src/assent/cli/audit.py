"""`assent audit`: the log, for auditors and the council; `verify` and `monitor` for everybody who gets at a copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from assent.cli.monitor import monitor
from assent.cli.output import plain
from assent.cli.shell import SHORT, AsJson, Failed, Shell, root_option, shell_of
from assent.cli.unmask import unmask
from assent.client.custodian import CustodianClient, from_base64
from assent.client.directory import origin_of
from assent.client.transport import AnswerInvalid
from assent.contracts.leaves import Leaf
from assent.reader.auditing import Audit, audit
from assent.reader.log_copies import EVIDENCE, Address, Contradiction, CopyFolder, Live, load_copy, take
from assent.transparency.note import Note

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command()(monitor)
app.command()(unmask)


@app.command("list")
def list_(
    context: typer.Context,
    start: Annotated[int | None, typer.Option(min=0, help="First entry; default: the last ones.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """Entries of the log. That you looked is in the log, too, unless you see nothing but looks of your own."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        if start is None:
            start = max(0, _witnessed_size(shell, custodian) - count)
        view = custodian.log_entries(start, count)
    entries: list[dict[str, Any]] = []
    for entry in view.entries:
        try:
            leaf = Leaf.model_validate_json(from_base64(entry.leaf))
        except ValueError as error:
            raise AnswerInvalid(f"entry {entry.index} of the log cannot be read") from error
        fields = leaf.model_dump(mode="json", exclude_none=True)
        entries.append({"index": entry.index, "actor_name": entry.actor_name, **fields})
    if as_json:
        shell.output.json({"size": view.size, "entries": entries})
        return
    rows = [
        (
            entry["index"],
            entry["at"].replace("T", " ").removesuffix("Z"),
            entry["type"],
            entry.get("decision", ""),
            entry["actor_name"] or entry.get("actor", "")[:SHORT],
            entry.get("request", "")[:SHORT],
            "  ".join(entry[key] for key in ("purpose", "rule") if key in entry),
        )
        for entry in entries
    ]
    columns = ("index", "at", "what", "decision", "who", "request", "purpose, rule")
    shell.output.table(f"The log, {view.size} entries", columns, rows, "No entries there.")


@app.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier copy: it is brought up to date.")],
    as_json: AsJson = False,
) -> None:
    """Save a copy of the log: tiles, entries, checkpoint, directory and policy. `verify` needs nothing else."""
    shell = shell_of(context)
    with CopyFolder(folder) as kept, _live(shell, kept) as served:
        _same_log(shell, kept)
        copy = take(served)
        shell.directory().policy.check(copy.checkpoint)
        shell.directory().saw(copy.checkpoint)
        try:
            added = kept.extend(copy)
        except Contradiction as error:
            raise Failed(
                f"{error}. This log is not what it should be: what was served is kept in {folder / EVIDENCE}, "
                "tell the council and the other witnesses."
            ) from error
    if as_json:
        shell.output.json({"folder": str(folder), "size": kept.size, "added": added})
        return
    shell.output.say(f"A copy of {kept.size} entries is in {folder}, {added} of them new.")
    shell.output.say(f"Check it anywhere, without a network: assent audit verify {folder}")


@app.command()
def verify(
    context: typer.Context,
    copy: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER|URL]",
            help="A copy that 'assent audit export' or 'monitor' made, or an address that serves the files of one; "
            "without it the live log is read.",
        ),
    ] = None,
    proof: Annotated[
        list[Path] | None, typer.Option(help="A proof file to check against this log; may be repeated.")
    ] = None,
    former: Annotated[
        list[Path] | None, typer.Option(help="A copy of a log that ended since, to compare; may be repeated.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="The root key's fingerprint; default: that of your credential.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the log from its leaves; check signatures, witnesses, and that every entry may follow those before it:
    every lease after two approvals, nothing opened during a halt, nobody's role without a second signature.
    """
    shell = shell_of(context)
    fingerprint, proofs = root_option(shell, root), [_proof(path) for path in proof or ()]
    before = [(path.name, load_copy(path)) for path in former or ()]
    if copy is None or _is_custodian(shell, copy):
        with _live(shell) as live:
            outcome = audit(take(live), fingerprint, proofs, former=before)
    elif copy.startswith(("http://", "https://")):
        with Address(copy, transport=shell.transport) as address:
            outcome = audit(take(address), fingerprint, proofs, former=before)
    else:
        outcome = audit(load_copy(Path(copy)), fingerprint, proofs, former=before)
    if as_json:
        shell.output.json(
            {
                "passed": outcome.passed,
                "size": outcome.size,
                "checks": [{"passed": check.passed, "text": check.text} for check in outcome.checks],
                "warnings": list(outcome.warnings),
            }
        )
    else:
        _show(shell, outcome)
    if not outcome.passed:
        raise typer.Exit(1)


def _show(shell: Shell, outcome: Audit) -> None:
    for check in outcome.checks:
        shell.output.say(
            f"{'ok    ' if check.passed else 'FAILED'}  {plain(check.text)}", "" if check.passed else "red"
        )
    for warning in outcome.warnings:
        shell.output.say(f"mind    {warning}", "yellow")
    if outcome.passed:
        shell.output.say(f"The log of {outcome.size} entries is whole and as it was witnessed.", "green")
    else:
        shell.output.say("This log is not what it should be. Keep the copy, and tell the other witnesses.", "bold red")


def _proof(path: Path) -> tuple[str, bytes, bytes | None]:
    """A proof file, and its leaf when it lies beside it as `….leaf`."""
    leaf = path.with_suffix(".leaf")
    return path.name, path.read_bytes(), leaf.read_bytes() if leaf.exists() else None


def _witnessed_size(shell: Shell, custodian: CustodianClient) -> int:
    note = Note.from_bytes(custodian.checkpoint())
    shell.directory().saw(note)
    return shell.directory().policy.check(note).checkpoint.size


def _same_log(shell: Shell, kept: CopyFolder) -> None:
    """A copy of a log that ended is never brought up to date: it may have leaves that are lost. Raises Failed."""
    ended = [origin_of(log) for log in shell.directory().current.former_logs]
    if kept.head is not None and kept.head.origin in ended:
        raise Failed(
            f"{kept.folder} holds a copy of a log that ended: keep it, it may have leaves that are lost. Name a new "
            f"folder, and compare both: assent audit verify NEW --former {kept.folder}"
        )


def _is_custodian(shell: Shell, address: str) -> bool:
    """Whether this is the address of one's own custodian, which is asked with the credential."""
    if not shell.store.exists():
        return False
    known = shell.known_directory()
    addresses = {shell.credential().custodian_url, known.current.custodian_url if known.known else ""}
    return address.rstrip("/") in {one.rstrip("/") for one in addresses}


@contextmanager
def _live(shell: Shell, kept: CopyFolder | None = None) -> Iterator[Live]:
    """The log at the custodian, in one's own name. `kept`: leaves that this copy has are not asked for."""
    directory = shell.directory()
    with shell.custodian() as custodian:
        yield Live(custodian, directory.envelope, kept)
