"""`assent audit`: the log, for auditors and the council; `verify` and `monitor` for everybody who gets at a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from assent.cli.audit_reading import list_, report, show
from assent.cli.log_sources import FromCopy, Root, live_log, proven, take_live
from assent.cli.monitor import monitor
from assent.cli.output import CONTRADICTED, plain
from assent.cli.shell import AsJson, Failed, Shell, root_option, shell_of
from assent.cli.unmask import unmask
from assent.client.accesses import LEAF_SUFFIX
from assent.client.directory import origin_of
from assent.reader.auditing import Audit, audit
from assent.reader.event_files import write_events
from assent.reader.log_copies import EVIDENCE, Address, Contradiction, CopyFolder, load_copy, take

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command("list")(list_)
app.command()(show)
app.command()(report)
app.command()(monitor)
app.command()(unmask)


@app.command()
def export(
    context: typer.Context,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|FILE",
            help="A new folder or file, or that of an earlier export: it is brought up to date.",
        ),
    ],
    as_: Annotated[
        Literal["copy", "ocsf"],
        typer.Option("--format", help="copy: a folder that can be verified. ocsf: a file of OCSF events, one a line."),
    ] = "copy",
    start: Annotated[int | None, typer.Option(min=0, help="ocsf: the first entry of a new file.")] = None,
    copy: FromCopy = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Save the log. As a copy: tiles, entries, checkpoint, directory and policy; `verify` needs nothing else. As OCSF
    events: for systems that watch many logs; a second run goes on after the last whole line.
    """
    shell = shell_of(context)
    if as_ == "ocsf":
        _export_events(shell, target, start, copy, root, as_json)
        return
    if start is not None or copy is not None or root is not None:
        raise typer.BadParameter("--start, --copy and --root belong to --format ocsf")
    with CopyFolder(target) as kept, live_log(shell, kept) as served:
        _same_log(shell, kept)
        taken = take_live(shell, served)
        shell.directory().policy.check(taken.checkpoint)
        try:
            added = kept.extend(taken)
        except Contradiction as error:
            raise Contradiction(error.kind, f"{error}. What was served is kept in {target / EVIDENCE}.") from error
    if as_json:
        shell.output.json({"folder": str(target), "size": kept.size, "added": added})
        return
    shell.output.say(f"A copy of {kept.size} entries is in {target}, {added} of them new.")
    shell.output.say(f"Check it anywhere, without a network: assent audit verify {target}")


def _export_events(
    shell: Shell, file: Path, start: int | None, copy: Path | None, root: str | None, as_json: bool
) -> None:
    with proven(shell, copy, root) as source:
        written = write_events(source.log, file, start)
    if as_json:
        told = {"file": str(file), "added": written.added, "next": written.next, "torn_bytes": written.torn_bytes}
        shell.output.json({**told, "size": source.log.size})
        return
    if written.torn_bytes:
        shell.output.say(
            f"A line that was cut off ({written.torn_bytes} bytes) was taken away; its entry is whole now."
        )
    shell.output.say(f"{written.added} events were added to {file}; entry {written.next} comes next.")


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
        with live_log(shell) as live:
            outcome = audit(take_live(shell, live), fingerprint, proofs, former=before, newest=True)
    elif copy.startswith(("http://", "https://")):
        with Address(copy, transport=shell.transport) as address:
            outcome = audit(take(address), fingerprint, proofs, former=before)
    else:
        outcome = audit(load_copy(Path(copy)), fingerprint, proofs, former=before)
    if as_json:
        shell.output.json(
            {
                "passed": outcome.passed,
                "log_passed": outcome.log_passed,
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
    if not outcome.log_passed:
        shell.output.say(CONTRADICTED, "bold red")
        return
    shell.output.say(f"The log of {outcome.size} entries is whole and as it was witnessed.", "green")
    if not outcome.passed:
        shell.output.say(
            "What FAILED is a file that was compared with it: ask whoever gave it to you for the right one.", "bold red"
        )


def _proof(path: Path) -> tuple[str, bytes, bytes | None]:
    """A proof file, and its leaf when it lies beside it as `….leaf`. Raises Failed."""
    leaf = path.with_suffix(LEAF_SUFFIX)
    try:
        return path.name, path.read_bytes(), leaf.read_bytes() if leaf.exists() else None
    except OSError as error:
        why = f"{error.strerror}: {error.filename}"
        raise Failed(f"The proof cannot be read, and nothing was checked: {why}") from error


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
