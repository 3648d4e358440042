"""The command behind `make demo`. Exit status 0 only when every outcome is as promised.

python -m tests.demo [--folder demo-run] [--this-desktop] [--keep]
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from tests.demo.display import Display
from tests.demo.outcomes import Outcomes
from tests.demo.processes import StoryBroken, tail
from tests.demo.settings import SHORTENED
from tests.demo.story import Story, relative

MARK = ".assent-demo"
"""In every folder that the demo made, so that it never removes another one."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description="The whole story of Assent, for real.")
    parser.add_argument("--folder", type=Path, default=Path("demo-run"), help="where everything goes (made anew)")
    parser.add_argument(
        "--this-desktop", action="store_true", help="record Ada on the X11 session in which this was started"
    )
    parser.add_argument("--keep", action="store_true", help="leave the services running at the end")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if not _make_anew(folder):
        print(f"{folder} is there and was not made by the demo; name another --folder", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    display, outcomes = Display(), Outcomes()
    _open(display, outcomes, folder)
    begun = time.monotonic()
    story = Story(folder, display, outcomes, this_desktop=options.this_desktop)
    complete = False
    try:
        story.tell()
        complete = True
    except StoryBroken as broken:
        log = broken.log
        display.trouble(str(broken), relative(log) if log else "", tail(log) if log else "")
    except KeyboardInterrupt:
        display.trouble("You stopped it.", "", "")
    except Exception as error:
        log = folder / "logs" / "demo.log"
        log.write_text(traceback.format_exc())
        display.trouble(f"{type(error).__name__}: {error}", relative(log), tail(log))
    finally:
        story.close(keep=options.keep and complete)
        outcomes.write(folder / "summary.json", complete=complete, seconds=time.monotonic() - begun)
    if outcomes.exposure:
        _show_exposure(display, outcomes)
    _show_figures(display, outcomes)
    _close(display, outcomes, story, complete, time.monotonic() - begun, keep=options.keep)
    return 0 if complete and not outcomes.failed else 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _make_anew(folder: Path) -> bool:
    """An empty folder with our mark in it. False when there is something that is not ours."""
    if folder.exists():
        if not (folder / MARK).exists() and any(folder.iterdir()):
            return False
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    (folder / MARK).touch()
    return True


def _open(display: Display, outcomes: Outcomes, folder: Path) -> None:
    display.opening(
        [
            "People choose to record how they work, see what is recorded, take it back, and learn of every access.",
            "Three services, seventeen people, ten agents: all here, on the loopback only, in about two minutes.",
            f"Everything they leave is in {relative(folder)}/. Ctrl-C stops it all.",
        ]
    )
    outcomes.shortened = {one.what: {"usual": one.usual, "here": one.here} for one in SHORTENED}
    rows = [(one.what, one.usual, one.here) for one in SHORTENED]
    display.table("So that it fits into two minutes", (("what", None), ("usually", None), ("here", None)), rows)


def _show_exposure(display: Display, outcomes: Outcomes) -> None:
    rows = [
        (row.position, row.may, f"{row.obtained}", "✓" if row.ok else "✗")
        for row in sorted(outcomes.exposure, key=lambda row: (_number(row.position), row.position))
    ]
    columns = (("who or what", 3), ("may obtain at most", 3), ("obtained here", 4), ("", None))
    display.table("What each position obtained, against what it may obtain", columns, rows, lines=True)


def _number(position: str) -> int:
    first = position.split(" ", maxsplit=1)[0]
    return int(first) if first.isdigit() else 99


def _show_figures(display: Display, outcomes: Outcomes) -> None:
    figures = outcomes.figures
    rows: list[tuple[str, str]] = []
    if agent := figures.get("agent"):
        rows.append(
            (
                "Ada's agent while she worked",
                f"{agent['cpu_percent_of_one_core']} % of one core, {agent['memory_mb']} MB",
            )
        )
    if ada := figures.get("ada"):
        rows += [
            (
                "Everything but pictures",
                f"{ada['bytes_per_event_without_screen']} bytes per event, everything included",
            ),
            (
                "Volume of half a minute, per hour",
                f"{ada['mb_per_hour_without_screen']} MB, with pictures {ada['mb_per_hour_with_screen']} MB",
            ),
        ]
    if upload := figures.get("upload"):
        rows.append(("Upload", f"{upload['bytes'] / 1e6:.2f} MB in {upload['seconds']} s"))
    if read := figures.get("read"):
        rows.append(("Reading", f"{read['events']:,} events in {read['seconds']} s, start and lease included"))
    for what, seconds in sorted(figures.get("seconds_from_withdrawal_until", {}).items(), key=lambda item: item[1]):
        rows.append((f"From withdrawal until {what}", f"{seconds:.1f} s"))
    if rows:
        display.table("Figures", (("what", 3), ("here", 3)), rows)


def _close(display: Display, outcomes: Outcomes, story: Story, complete: bool, seconds: float, *, keep: bool) -> None:
    folder = relative(story.folder)
    print_ = display.console.print
    print_()
    for reason in outcomes.skipped:
        print_(f"skipped: {reason}", style="yellow")
    if complete and not outcomes.failed:
        count = len(outcomes.outcomes) + len(outcomes.exposure)
        print_(f"All {count} outcomes are as promised, after {seconds:.0f} s.", style="bold green")
    elif outcomes.failed:
        print_(f"Not as promised: {', '.join(outcomes.failed)}", style="bold red")
    print_(f"Figures and outcomes: {folder}/summary.json   Pictures: {folder}/pictures/   Logs: {folder}/logs/")
    if not complete:
        print_("Everything that was started was stopped.")
        return
    if keep:
        print_(f"The services still run (process {story.up.pid}); stop them with: kill {story.up.pid}")
    else:
        print_(f"Everything was stopped. Open the services again: .venv/bin/assent-server up --data {folder}/data")
    auditor = f"{folder}/people/auditor"
    print_(f"Then be the auditor: export ASSENT_HOME={auditor} ASSENT_PASSPHRASE_FILE={auditor}/passphrase")
    print_("                     .venv/bin/assent audit list    (or requester, steward-1, ada … in people/)")


if __name__ == "__main__":
    sys.exit(main())
