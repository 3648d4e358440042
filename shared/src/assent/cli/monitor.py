"""`assent audit monitor`: follows the log from another machine, and sounds the alarm by its exit status and metrics."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from assent.cli.output import plain
from assent.cli.shell import Shell, root_option, shell_of
from assent.client.custodian import CustodianClient
from assent.client.files import write_private
from assent.client.transport import Transport
from assent.contracts import limits
from assent.contracts.times import parse_moment
from assent.reader import monitoring
from assent.reader.log_copies import Address, Live, Served
from assent.reader.log_rules import REPORT_WITHIN
from assent.reader.monitoring import ADVICE, ROLE_DELAY, STALE_AFTER, Alarm, Look, Monitor

HOUR = timedelta(hours=1)


def monitor(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="A folder of its own; default: 'monitor' beside your credential.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", help="An address that serves the files of a copy; default: the custodian."
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once; exit status 1 while an alarm stands.")] = False,
    every: Annotated[int, typer.Option(min=1, help="Seconds between two looks.")] = 300,
    acknowledge: Annotated[
        str | None, typer.Option(metavar="ALARM", help="Write down that you have seen to this alarm, and end.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="Write figures to this file after each look, for node_exporter's textfiles.")
    ] = None,
    approvals: Annotated[int, typer.Option(min=1, help="Approvals that a request needs.")] = limits.APPROVALS_NEEDED,
    role_delay_hours: Annotated[
        float, typer.Option(min=0, help="Hours after which a countersigned role counts at the earliest.")
    ] = ROLE_DELAY / HOUR,
    stale_hours: Annotated[
        float, typer.Option(min=0.1, help="Hours after which a witness that has signed nothing is an alarm.")
    ] = STALE_AFTER / HOUR,
    report_hours: Annotated[
        float, typer.Option(min=0.1, help="Hours after which a collector that has reported nothing is an alarm.")
    ] = REPORT_WITHIN / HOUR,
    root: Annotated[
        str | None, typer.Option(help="The root key's fingerprint; default: that of your credential.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each thing instead of text.")
    ] = False,
) -> None:
    """Follow the log: read what is new, check it against all that was seen, and say what is wrong.

    Run it on a machine that the custodian's operators do not run. It keeps a copy of the log in its folder, which
    'assent audit verify' checks. Without --once it looks until it is stopped.
    """
    shell = shell_of(context)
    place = folder or shell.store.folder / "monitor"
    if acknowledge is not None:
        _acknowledged(shell, monitoring.acknowledge(place, acknowledge, shell.now), as_json)
        return
    fingerprint = root_option(shell, root)
    with Monitor(
        place, fingerprint, approvals_needed=approvals, role_delay=timedelta(hours=role_delay_hours),
        stale_after=timedelta(hours=stale_hours), report_within=timedelta(hours=report_hours),
    ) as watching:  # fmt: skip
        if source is None:
            shell.signer()  # the passphrase is asked for now, and not in the night
        if once:
            look = _look(shell, watching, source)
            _show(shell, look, place, as_json, everything=True)
            _write_metrics(metrics, look, watching)
            raise typer.Exit(1 if look.alarms else 0)
        stop = _stop_signal()
        first = True
        while True:
            look = _look(shell, watching, source)
            _show(shell, look, place, as_json, everything=first)
            _write_metrics(metrics, look, watching)
            first = False
            if stop.wait(every):
                return


def _acknowledged(shell: Shell, alarm: Alarm, as_json: bool) -> None:
    if as_json:
        shell.output.json_line({"event": "acknowledged", **_alarm(alarm)})
    else:
        shell.output.say(f"You have seen to this: {plain(alarm.text)}. It counts no more from the next look on.")


def _look(shell: Shell, watching: Monitor, source: str | None) -> Look:
    with _served(shell, watching, source) as served:
        return watching.look(served, shell.now)


@contextmanager
def _served(shell: Shell, watching: Monitor, source: str | None) -> Iterator[Served]:
    """Whoever is asked: an address, or the custodian at the place that the newest known directory names."""
    if source is not None:
        with Address(source, transport=shell.transport) as address:
            yield address
        return
    if not watching.trusted.known:
        with Transport(shell.credential().custodian_url, transport=shell.transport) as custodian:
            watching.trusted.refresh(custodian)
    current = watching.trusted.current
    with CustodianClient.of(current, shell.signer(), clock=shell.clock, transport=shell.transport) as client:
        yield Live(client, kept=watching.copy)


def _stop_signal() -> threading.Event:
    """Set when the process is asked to end: after the look under way."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


# --- how it is said ---------------------------------------------------------------------------------------------------


def _show(shell: Shell, look: Look, folder: Path, as_json: bool, *, everything: bool) -> None:
    """News and changes; `everything`: also the alarms that stood before, and that there are none."""
    shown = look.alarms if everything else look.begun
    output = shell.output
    if as_json:
        for one in look.news:
            output.json_line({"event": "new", "kind": one.kind, "leaf": one.about, "at": one.at, "text": one.text})
        for alarm in shown:
            output.json_line({"event": "alarm", **_alarm(alarm)})
        for alarm in look.ended:
            output.json_line({"event": "ended", "at": look.at, **_alarm(alarm)})
        output.json_line(
            {
                "event": "look", "at": look.at, "complete": look.complete, "size": look.size, "added": look.added,
                "witnessed": look.witnessed, "alarms": len(look.alarms),
            }
        )  # fmt: skip
        return
    at = _time(look.at)
    for one in look.news:
        output.say(f"{at}  new    {plain(one.text)}")
    for alarm in shown:
        output.say(f"{at}  ALARM  {plain(alarm.text)}", "bold red")
        output.say(f"    since  {_time(alarm.since)}")
        output.say(f"    do     {alarm.advice}")
        output.say(f"    id     {plain(alarm.id)}{'  (stays until it is acknowledged)' if alarm.stays else ''}")
    for alarm in look.ended:
        output.say(f"{at}  ended  {plain(alarm.text)}", "green")
    if everything or look.begun or look.ended:
        output.say(f"{at}  {_summary(look)}", "" if look.alarms else "green")
    if shown:
        output.say(f"Who has seen to an alarm says so: assent audit monitor {folder} --acknowledge ID")


def _summary(look: Look) -> str:
    if look.complete:
        witnesses = ", ".join(f"{plain(name)} {_time(moment)}" for name, moment in sorted(look.witnessed.items()))
        state = f"{look.size} entries, {look.added} new; last witnessed: {witnesses or 'by nobody'}."
    else:
        state = f"The log could not be followed; {look.size} entries are in the copy."
    count = len(look.alarms)
    return f"{state} {'No alarm.' if not count else 'One alarm.' if count == 1 else f'{count} alarms.'}"


def _alarm(alarm: Alarm) -> dict[str, object]:
    return {
        "id": alarm.id, "kind": alarm.kind, "text": alarm.text, "since": alarm.since, "seen": alarm.seen,
        "do": alarm.advice, "stays": alarm.stays,
    }  # fmt: skip


def _time(moment: str) -> str:
    """A moment of UTC, as every witness and the log say it."""
    return moment.replace("T", " ").replace("Z", " UTC")


# --- figures ----------------------------------------------------------------------------------------------------------


def _write_metrics(path: Path | None, look: Look, watching: Monitor) -> None:
    """The Prometheus text format, replaced as a whole, readable by everybody: it says nothing about people."""
    if path is None:
        return
    write_private(path, figures(look, watching.state.succeeded).encode())
    path.chmod(0o644)


def figures(look: Look, succeeded: str) -> str:
    """One line per figure; times in seconds since 1970, 0 for never. Kinds without an alarm are there with 0."""
    kinds = Counter(alarm.kind for alarm in look.alarms)
    lines = [f'assent_monitor_alarms{{kind="{kind}"}} {kinds[kind]}' for kind in sorted({*ADVICE, *kinds})]
    lines += [
        f"assent_monitor_log_size {look.size}",
        f"assent_monitor_last_look_timestamp_seconds {_seconds(look.at)}",
        f"assent_monitor_last_complete_look_timestamp_seconds {_seconds(succeeded)}",
    ]
    lines += [
        f'assent_monitor_witnessed_timestamp_seconds{{witness="{_label(name)}"}} {_seconds(at)}'
        for name, at in sorted(look.witnessed.items())
    ]
    return "".join(f"{line}\n" for line in lines)


def _seconds(moment: str) -> int:
    return int(parse_moment(moment).timestamp()) if moment else 0


def _label(text: str) -> str:
    return plain(text).replace("\\", "\\\\").replace('"', '\\"')
