"""`assent data`: the catalogue, requests, approvals, and reading what was granted."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any, BinaryIO

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from assent.cli.output import plain
from assent.cli.shell import AsJson, Failed, Shell, day_option, full_hash, shell_of
from assent.contracts import limits
from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.ids import Modality, new_id
from assent.contracts.statements import DataRequest, Decision, Mode, Recall
from assent.contracts.times import day_of, moment
from assent.contracts.wire import RequestView
from assent.reader import sessions
from assent.reader.auditing import SAME_HOST, same_host
from assent.reader.log_words import SHORT
from assent.reader.opening import open_with
from assent.reader.patience import FetchStopped
from assent.reader.sessions import Coverage, Data, Session, StreamCoverage
from assent.reader.summary import Summary, render

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

HashArgument = Annotated[str, typer.Argument(metavar="HASH", help="The request's hash, or its first 8 digits.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

TOO_FEW = "Too few people recorded all that was asked for. Ask for more days or fewer modalities."


@app.command()
def catalogue(context: typer.Context, as_json: AsJson = False) -> None:
    """What could be asked for: purposes, modalities, days, people in tens."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        view = custodian.catalogue()
    if as_json:
        shell.output.json(json.loads(view.to_json()))
        return
    purposes = {(entry.purpose, entry.version): entry for entry in view.entries}
    if not purposes:
        shell.output.say("There is nothing to ask for yet.")
    for (iri, version), purpose in purposes.items():
        shell.output.facts(
            [
                ("purpose", f"{iri}, version {version}"),
                ("sentence", purpose.sentence),
                ("recipients", ", ".join(purpose.recipients)),
                ("modes", ", ".join(purpose.modes)),
            ]
        )
        rows = [
            (entry.modality, entry.people or "fewer than 10", days(entry.from_day, entry.to_day))
            for entry in view.entries
            if (entry.purpose, entry.version) == (iri, version)
        ]
        shell.output.say()
        shell.output.table(f"People, in tens, counted on {view.counted}", ("modality", "people", "days"), rows, "")
        shell.output.say()


@app.command()
def request(
    context: typer.Context,
    *,
    purpose: Annotated[str, typer.Option(help="The purpose's IRI; 'assent data catalogue' shows them.")],
    modality: Annotated[list[Modality], typer.Option(help="May be repeated.")],
    from_day: Annotated[str, typer.Option("--from", callback=day_option, help="First day, for instance 2026-11-01.")],
    to_day: Annotated[str, typer.Option("--to", callback=day_option, help="Last day.")],
    recipient: Annotated[str, typer.Option(help="The recipient class, as the purpose has it.")],
    why: Annotated[str, typer.Option(help="One sentence for the stewards.")],
    purpose_version: Annotated[int | None, typer.Option(min=1, help="Default: the newest in the catalogue.")] = None,
    mode: Annotated[Mode, typer.Option(help="How it will be read.")] = Mode.READER,
    people: Annotated[int | None, typer.Option(min=1, help="A random choice of this many; default: everybody.")] = None,
    expires_days: Annotated[int, typer.Option(min=1, max=limits.REQUEST_DAYS, help="How long it may live.")] = 30,
    storage: Annotated[str | None, typer.Option(help="Mode export: where the files will be.")] = None,
    destroy_by: Annotated[
        str | None, typer.Option(callback=day_option, help="Mode export: the day they are destroyed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a request. Two stewards must approve it; no person can be named in it."""
    shell = shell_of(context)
    if mode is Mode.EXPORT and (storage is None or destroy_by is None):
        raise typer.BadParameter("mode export needs --storage and --destroy-by")
    with shell.custodian() as custodian:
        if purpose_version is None:
            versions = [entry.version for entry in custodian.catalogue().entries if entry.purpose == purpose]
            if not versions:
                raise Failed("This purpose is not in the catalogue; 'assent data catalogue' shows what is.")
            purpose_version = max(versions)
        accepted = custodian.ask_for_data(
            DataRequest(
                purpose=purpose,
                purpose_version=purpose_version,
                modalities=tuple(dict.fromkeys(modality)),
                from_day=from_day,
                to_day=to_day,
                mode=mode,
                recipient=recipient,
                people=people,
                storage=storage,
                destroy_by=destroy_by,
                why=why,
                nonce=new_id(),
                at=custodian.now(),
                expires=moment(shell.now + timedelta(days=expires_days) - timedelta(minutes=1)),
            )
        )
    if as_json:
        shell.output.json({"request": accepted.hash})
        return
    shell.output.say(f"Signed. The request is known as\n\n{accepted.hash}\n")
    shell.output.say(f"Two stewards approve it with: assent data approve {accepted.hash[:SHORT]}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Requests that you may see, with their state."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        view = custodian.requests()
    if as_json:
        shell.output.json([request_json(entry) for entry in view.requests])
        return
    rows = []
    for entry in view.requests:
        asked = read_unverified(entry.statement, DataRequest)
        rows.append(
            (
                entry.hash[:SHORT],
                entry.state,
                entry.requester,
                asked.purpose,
                ", ".join(asked.modalities),
                days(asked.from_day, asked.to_day),
                f"{entry.approvals} of {entry.approvals_needed}",
            )
        )
    columns = ("request", "state", "requester", "purpose", "modalities", "days", "approvals")
    shell.output.table("Requests", columns, rows, "There are no requests that you may see.")


@app.command()
def view(context: typer.Context, hash_: HashArgument, as_json: AsJson = False) -> None:
    """One request in full: what its author signed, and what a steward signs."""
    shell = shell_of(context)
    with shell.custodian() as custodian:
        entry = custodian.request(full_hash(custodian, hash_))
    if as_json:
        shell.output.json(request_json(entry))
        return
    show_request(shell, entry)


@app.command()
def approve(context: typer.Context, hash_: HashArgument, yes: Yes = False, as_json: AsJson = False) -> None:
    """Approve a request (steward). You sign the hash of exactly what is shown."""
    _decide(shell_of(context), hash_, "approve", "", yes=yes, as_json=as_json)


@app.command()
def refuse(
    context: typer.Context,
    hash_: HashArgument,
    reason: Annotated[str, typer.Option(help="Why; the requester reads it.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Refuse a request (steward), with a reason."""
    _decide(shell_of(context), hash_, "refuse", reason, yes=yes, as_json=as_json)


@app.command()
def revoke(
    context: typer.Context,
    hash_: HashArgument,
    reason: Annotated[str, typer.Option(help="Why; the requester reads it.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End a request and its grant for good (steward, council, dpo)."""
    _decide(shell_of(context), hash_, "revoke", reason, yes=yes, as_json=as_json)


def _decide(shell: Shell, hash_: str, what: str, reason: str, *, yes: bool, as_json: bool) -> None:
    if what != "approve" and not reason.strip():
        raise typer.BadParameter("a reason is needed")
    with shell.custodian() as custodian:
        before = custodian.request(full_hash(custodian, hash_))
        if not as_json:
            show_request(shell, before)
        shell.confirm(f"{what.capitalize()} this request, by signing its hash {before.hash[:SHORT]}…?", yes)
        decision = Decision.model_validate(
            {"request": before.hash, "decision": what, "reason": reason, "at": custodian.now()}
        )
        after = custodian.decide(decision)
    if as_json:
        shell.output.json(request_json(after))
        return
    done = {"approve": "Approved", "refuse": "Refused", "revoke": "Revoked"}[what]
    shell.output.say(f"{done}. The request is now: {after.state} ({after.approvals} of {after.approvals_needed}).")


@app.command()
def recall(
    context: typer.Context,
    hash_: Annotated[
        str | None, typer.Argument(metavar="[HASH]", help="Only of this request: its hash, or its first 8 digits.")
    ] = None,
    done: Annotated[bool, typer.Option("--done", help="Sign that everything listed as open was dropped.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """What you read and must drop now (requester): its people took it back, or it is too old. With --done you sign it.

    Streams are named as your leases named them. Drop every copy, and whatever was derived from them stream by stream.
    """
    shell = shell_of(context)
    with shell.custodian() as custodian:
        only = None if hash_ is None else full_hash(custodian, hash_)
        found = [entry for entry in custodian.recalls() if only in (None, entry[1].request)]
        pending = [entry for entry in found if entry[2] is None]
        if not as_json:
            _show_recalls(shell, found)
        signed: set[str] = set()
        if done and pending:
            count = sum(len(statement.items) for _, statement, _ in pending)
            shell.confirm(f"Sign that all copies of these {count} streams, or hours of them, were dropped?", yes)
            for envelope, _, _ in pending:
                custodian.recall_done(envelope.hash)
                signed.add(envelope.hash)
    if as_json:
        shell.output.json(
            {
                "recalls": [
                    {
                        "recall": envelope.hash,
                        **statement.model_dump(mode="json"),
                        "done": day or (day_of(shell.now) if envelope.hash in signed else None),
                    }
                    for envelope, statement, day in found
                ]
            }
        )
        return
    if signed:
        shell.output.say("Signed, and written into the log.", "green")


def _show_recalls(shell: Shell, found: Sequence[tuple[Envelope, Recall, str | None]]) -> None:
    rows = [
        (statement.request[:SHORT], statement.day, item.stream, ", ".join(item.hours) or "all of it", day or "OPEN")
        for _, statement, day in found
        for item in statement.items
    ]
    columns = ("request", "recalled", "stream", "drop", "done")
    shell.output.table("To be dropped", columns, rows, "Nothing that you read was recalled.")


def days(first: str | None, last: str | None) -> str:
    """A range of days in words."""
    if first is None or last is None:
        return "-"
    return first if first == last else f"{first} to {last}"


def request_json(entry: RequestView) -> dict[str, Any]:
    """The view with the signed statement readable, and as it was signed."""
    return {
        **json.loads(entry.to_json()),
        "request": json.loads(entry.statement.payload_bytes),
        "signed_bytes_sha256": entry.statement.hash,
    }


def show_request(shell: Shell, entry: RequestView) -> None:
    """Everything in the statement, the decisions, and the very bytes that a signature is over."""
    asked = read_unverified(entry.statement, DataRequest)
    out = shell.output
    facts: list[tuple[str, object]] = [
        ("request", entry.hash),
        ("state", f"{entry.state}, {entry.approvals} of {entry.approvals_needed} approvals"),
        ("requester", entry.requester),
        ("why", asked.why),
        ("purpose", f"{asked.purpose}, version {asked.purpose_version}"),
        ("modalities", ", ".join(asked.modalities)),
        ("days", days(asked.from_day, asked.to_day)),
        ("people", "all who agreed to all of it" if asked.people is None else f"{asked.people}, chosen at random"),
        ("recipient", asked.recipient),
        (
            "mode",
            f"reader: in memory, leases of {limits.LEASE_HOURS} hours at most"
            if asked.mode is Mode.READER
            else "export: plaintext files",
        ),
    ]
    if asked.storage is not None:
        facts += [("storage", asked.storage), ("destroyed by", asked.destroy_by)]
    facts += [("signed", asked.at), ("expires", asked.expires)]
    out.facts(facts)
    if entry.state == "not-available":
        out.say(TOO_FEW)
    for decision in entry.decisions:
        reason = f": {plain(decision.reason)}" if decision.reason else ""
        out.say(f"{decision.day}  {plain(decision.name)}: {decision.decision}{reason}")
    out.say()
    out.say("What its author signed (its hash is what a steward signs):", "dim")
    out.say(plain(entry.statement.payload_bytes.decode(errors="replace")), "dim")
    out.say()


# --- reading ------------------------------------------------------------------------------------------------------


@app.command()
def pull(
    context: typer.Context,
    hash_: HashArgument,
    *,
    summary: Annotated[bool, typer.Option("--summary", help="Read everything and print numbers only.")] = False,
    to_command: Annotated[
        str | None,
        typer.Option(help="Start this program and stream events to its standard input, as JSON lines."),
    ] = None,
    hours: Annotated[float, typer.Option(min=0.1, max=limits.LEASE_HOURS, help="How long the lease may live.")] = 24.0,
    after: Annotated[
        str | None,
        typer.Option(metavar="PSEUDONYM/DAY", help="Go on behind this one, where an earlier pull had to stop."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Open a lease and read, in memory. Everybody concerned is told. Nothing is written to disk.

    Sessions come by pseudonym and day. A collector that is busy or out of reach is waited for. When nothing comes for
    five minutes the pull ends with 1, and says behind which pseudonym and day --after goes on.
    """
    shell = shell_of(context)
    if summary == (to_command is not None):
        raise typer.BadParameter("give one of --summary and --to-command")
    command = None if to_command is None else _program(to_command)
    behind = None if after is None else _place(after)
    with shell.custodian() as custodian:
        request_hash = full_hash(custodian, hash_)
    with reading(shell, request=request_hash, hours=hours) as data:
        outcome = _summarise(data, behind) if command is None else _stream(data, behind, command)
    facts = {"lease": lease_json(shell, data), **outcome.as_dict(), **account_json(data)}
    if as_json:
        shell.output.json(facts, aside=to_command is not None)
    else:
        if outcome.summary is not None:
            shell.output.out.print(render(outcome.summary))
            shell.output.say()
        show_account(shell, data, outcome)
    if outcome.stopped is not None:
        raise outcome.stopped


def _place(text: str) -> tuple[str, str]:
    pseudonym, _, day = text.rpartition("/")
    if not pseudonym or not day:
        raise typer.BadParameter("--after is PSEUDONYM/DAY, as the pull that had to stop printed it")
    return pseudonym, str(day_option(day))


class Outcome:
    """What a pull adds up."""

    def __init__(self, summary: Summary | None = None) -> None:
        """Without a summary sessions and coverage are counted only: the events went elsewhere."""
        self.summary = summary
        self.sessions = 0
        self.coverages: list[tuple[Session, Coverage]] = []
        self.empty: Sequence[StreamCoverage] = ()
        """Of streams of which nothing could be opened, so that no session has them."""
        self.stopped: FetchStopped | None = None

    def sessions_of(self, data: Data, behind: tuple[str, str] | None) -> Iterator[Session]:
        """Each session, counted; and its coverage when it was read. The end of the collector's delivery is theirs."""
        try:
            for session in data.sessions(behind):
                self.sessions += 1
                yield session
                self.coverages.append((session, session.coverage()))
        except FetchStopped as stopped:
            self.stopped = stopped
        self.empty = data.empty

    def as_dict(self) -> dict[str, Any]:
        streams = [*(stream for _, coverage in self.coverages for stream in coverage.streams), *self.empty]
        not_opened: dict[str, int] = {}
        for stream in streams:
            for reason, count in stream.not_opened.items():
                not_opened[reason] = not_opened.get(reason, 0) + count
        return {
            **({"summary": self.summary.as_dict()} if self.summary is not None else {}),
            **({"stopped": {"why": str(self.stopped), "read_to": _read_to(self.stopped)}} if self.stopped else {}),
            "session_count": self.sessions,
            "streams": {
                "read": len(streams),
                "complete": sum(stream.complete for stream in streams),
                "not_closed": sum(stream.closed == "not closed" for stream in streams),
                "with_missing_segments": sum(
                    any(finding.fault.value == "missing" for finding in stream.findings) for stream in streams
                ),
            },
            "forgotten_or_lost": sum(
                skip.to_sequence - skip.from_sequence + 1 for stream in streams for skip in stream.skips
            ),
            "segments_not_opened": not_opened,
            "events_dropped": {
                "outside_window": sum(stream.outside_window for stream in streams),
                "wrong_modality": sum(stream.wrong_modality for stream in streams),
            },
        }


def _read_to(stopped: FetchStopped) -> str | None:
    return None if stopped.read_to is None else "/".join(stopped.read_to)


def _summarise(data: Data, behind: tuple[str, str] | None = None) -> Outcome:
    summary = Summary()
    outcome = Outcome(summary)
    for session in outcome.sessions_of(data, behind):
        for content in session.segments():
            summary.add(session.pseudonym, content)
    return outcome


def _program(text: str) -> list[str]:
    """The program and its arguments; looked for before a lease is opened, since people are told of every lease."""
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise typer.BadParameter("--to-command has a quotation mark without its partner") from error
    if not command:
        raise typer.BadParameter("--to-command names a program")
    if shutil.which(command[0]) is None:
        raise Failed(f"There is no program {command[0]!r} here. No lease was opened.")
    return command


def _stream(data: Data, behind: tuple[str, str] | None, command: list[str]) -> Outcome:
    """One JSON object a line: session, pseudonym, day, modality, at_ns, event."""
    outcome = Outcome()
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
    except OSError as error:
        raise Failed(f"The program {command[0]!r} cannot be started: {error.strerror}.") from error
    assert process.stdin is not None  # noqa: S101 - it was asked for
    try:
        with process.stdin as pipe:
            for session in outcome.sessions_of(data, behind):
                _write_events(pipe, session, outcome.sessions)
    except BrokenPipeError as error:
        raise Failed(f"The program {command[0]!r} stopped reading (exit status {process.wait()}).") from error
    except BaseException:
        process.kill()
        process.wait()
        raise
    if status := process.wait():
        raise Failed(f"The program {command[0]!r} failed with exit status {status}.")
    return outcome


def _write_events(pipe: BinaryIO | Any, session: Session, number: int) -> None:
    head = {"session": number, "pseudonym": session.pseudonym, "day": session.day}
    for recorded in session.events():
        line = {**head, "modality": recorded.modality.value, "at_ns": recorded.at_ns, "event": recorded.event}
        pipe.write(msgspec.json.encode(line) + b"\n")


@contextmanager
def reading(shell: Shell, **what: Any) -> Iterator[Data]:
    """A lease with a progress bar on standard error."""
    signer, directory = shell.signer(), shell.directory()
    with (
        progress_bar(shell) as moved,
        open_with(directory, signer, progress=moved, clock=shell.clock, transport=shell.transport, **what) as data,
    ):
        yield data


@contextmanager
def progress_bar(shell: Shell) -> Iterator[Callable[[sessions.Progress], None]]:
    columns = (
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("streams, {task.fields[segments]} segments, {task.fields[megabytes]:.1f} MB{task.fields[waits]}"),
        TimeElapsedColumn(),
    )
    console = shell.output.err
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None, segments=0, megabytes=0.0, waits="")

        def moved(progress: sessions.Progress) -> None:
            bar.update(
                task,
                total=progress.streams_total,
                completed=progress.streams,
                segments=progress.segments,
                megabytes=progress.ciphertext_bytes / 1e6,
                waits="; waiting for the collector, which is busy or out of reach" if progress.waits else "",
            )

        yield moved


def lease_json(shell: Shell, data: Data) -> dict[str, Any]:
    """Which lease it was, and who witnessed it."""
    job = data.job
    return {
        "lease": job.lease.lease,
        "request": job.lease.request,
        "until": job.lease.until,
        "streams": len(job.streams),
        "no_longer_available": list(job.dropped),
        "log_size": job.witnessed.checkpoint.size,
        "witnesses": sorted(job.witnessed.cosigned_at),
        "same_host_only": same_host(shell.directory().current, job.witnessed.cosigned_at),
        "segments_opened": data.opened,
        "closed": data.lease_closed,
    }


def account_json(data: Data) -> dict[str, Any]:
    """What was leased and did not come, with the reason."""
    return {
        "missing_streams": [stream.stream for stream in data.missing],
        "dropped_streams": [{"stream": dropped.stream.stream, "reason": dropped.reason} for dropped in data.dropped],
        "empty_streams": [
            {
                "stream": coverage.stream,
                "complete": coverage.complete,
                "closed": coverage.closed,
                "not_opened": dict(coverage.not_opened),
            }
            for coverage in data.empty
        ],
    }


def show_account(shell: Shell, data: Data, outcome: Outcome) -> None:
    """The same in words; on standard error when the results went elsewhere."""
    out = shell.output
    facts = outcome.as_dict()
    streams = facts["streams"]
    out.note(
        f"{outcome.sessions} sessions, {data.opened} segments opened, "
        f"{streams['complete']} of {streams['read']} streams complete."
    )
    if streams["not_closed"]:
        out.note(
            f"{streams['not_closed']} streams are not closed: nobody can say that nothing is missing at their end."
        )
    if streams["with_missing_segments"]:
        out.note(f"{streams['with_missing_segments']} streams have holes that nobody signed for.", "yellow")
    if facts["forgotten_or_lost"]:
        out.note(f"{facts['forgotten_or_lost']} segments were forgotten by their author, or lost on the laptop.")
    for reason, count in sorted(facts["segments_not_opened"].items()):
        out.note(f"{count} segments were not opened: {plain(reason)}.", "yellow")
    dropped = facts["events_dropped"]
    if any(dropped.values()):
        out.note(f"{sum(dropped.values())} events were dropped: outside their hour, or of another modality.", "yellow")
    if data.missing:
        out.note(f"{len(data.missing)} leased streams are not at the collector.", "yellow")
    reasons: dict[str, int] = {}
    for one in data.dropped:
        reasons[one.reason] = reasons.get(one.reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        out.note(f"{count} streams dropped: {plain(reason)}.", "yellow")
    if data.job.dropped:
        out.note(f"{len(data.job.dropped)} streams of an earlier lease are no longer available; drop what you derived.")
    witnesses = ", ".join(sorted(data.job.witnessed.cosigned_at))
    out.note(f"The lease is in the log of size {data.job.witnessed.checkpoint.size}, witnessed by: {plain(witnesses)}.")
    if same_host(shell.directory().current, data.job.witnessed.cosigned_at):
        out.note(f"Mind: {SAME_HOST}.", "yellow")
    if outcome.stopped is not None:
        place = _read_to(outcome.stopped)
        behind = "Nothing was" if place is None else f"Everything up to {plain(place)} was"
        out.note(
            f"{behind} read. What came of others is not whole: drop it. "
            + ("Run it again." if place is None else f"Go on behind it with --after {plain(place)}."),
            "yellow",
        )
    if not data.lease_closed:
        out.note("The custodian was not told how much was read: this lease counts as read in full.", "yellow")
