"""Programs of the demo: each has a time limit and a log, and none outlives the demo.

Everything the demo does goes through the public commands as separate programs. `Programs.run` waits for one to end,
`Programs.start` leaves one running; `Programs.close` ends them all, with whatever they started themselves.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

TIMEOUT_S = 120.0
PATIENCE_S = 30.0
"""How long a program may take to end when it was asked to."""

TAIL_LINES = 15


class StoryBroken(Exception):
    """The story cannot go on. `log`: where to read why."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True)
class Done:
    """How a program ended. `seconds`: how long it ran."""

    command: str
    status: int
    out: str = field(repr=False)
    err: str = field(repr=False)
    seconds: float
    log: Path

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def json(self) -> Any:
        """What it printed, as JSON. Raises StoryBroken when it is none."""
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise StoryBroken(f"{self.command}: printed no JSON", self.log) from error

    @property
    def said(self) -> str:
        """Everything it said, on one line."""
        return " ".join(f"{self.err} {self.out}".split())


@dataclass
class Running:
    """A program that goes on. Its output goes to `log` (and standard output to `out_path`)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self, timeout_s: float) -> int:
        """Its exit status. Raises StoryBroken when it does not end in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise StoryBroken(f"{self.name} did not end within {timeout_s:g} s", self.log) from error

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the program and whatever it started. Harmless when it is gone."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def end(self) -> int:
        """Ask it to end, the way Ctrl-C does not: SIGTERM to the program alone, then SIGKILL to its whole group."""
        if not self.ended:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                pass
        self.tell(signal.SIGKILL)
        return self.process.wait(PATIENCE_S)


class Programs:
    """Starts programs and remembers them. Safe to use from several threads."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: list[Running] = []
        self._alone = threading.Lock()
        self._closed = False

    def run(
        self,
        *command: str | Path | int,
        env: Mapping[str, str],
        log: str,
        timeout_s: float = TIMEOUT_S,
        quiet: bool = False,
    ) -> Done:
        """Run a program to its end. It never reads the terminal. Raises StoryBroken when it takes too long.

        What it was called with and said goes to the log of that name; with `quiet` only how it ended.
        """
        words = [str(word) for word in command]
        shown = " ".join([Path(words[0]).name, *words[1:3]])
        path = self.logs / f"{log}.log"
        begun = time.monotonic()
        process = self._popen(words, env, subprocess.PIPE, subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            self._kill(process)
            raise StoryBroken(f"{shown}: not done within {timeout_s:g} s", path) from error
        except BaseException:
            self._kill(process)
            raise
        done = Done(
            shown,
            process.returncode,
            out.decode(errors="replace"),
            err.decode(errors="replace"),
            time.monotonic() - begun,
            path,
        )
        with self._alone, path.open("a") as file:
            file.write(f"$ {shown}\n{'' if quiet else done.err + done.out}[exit status {done.status}]\n")
        return done

    def start(
        self, *command: str | Path | int, env: Mapping[str, str], log: str, out: Path | None = None, name: str = ""
    ) -> Running:
        """Start a program and return at once. Standard output goes to `out` if given, everything else to the log."""
        words = [str(word) for word in command]
        path = self.logs / f"{log}.log"
        with path.open("ab") as file:
            if out is None:
                process = self._popen(words, env, file, subprocess.STDOUT)
            else:
                with out.open("wb") as results:
                    process = self._popen(words, env, results, file)
        running = Running(name or Path(words[0]).name, process, path)
        with self._alone:
            self._running.append(running)
        return running

    def _popen(self, words: list[str], env: Mapping[str, str], out: Any, err: Any) -> subprocess.Popen[bytes]:
        if self._closed:
            raise StoryBroken("the demo is ending")
        try:
            return subprocess.Popen(
                words, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise StoryBroken(f"{words[0]} cannot be started: {error.strerror}") from error

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(PATIENCE_S)

    def forget(self, running: Running) -> None:
        """Leave this one alone at the end (`--keep`)."""
        with self._alone:
            if running in self._running:
                self._running.remove(running)

    def close(self) -> None:
        """End everything that still runs, the latest first."""
        self._closed = True
        with self._alone:
            left = list(reversed(self._running))
            self._running.clear()
        for running in left:
            running.end()


def wait_for(
    probe: Callable[[], T | None], what: str, timeout_s: float, log: Path | None = None, every_s: float = 0.05
) -> T:
    """Ask `probe` until it answers something true; return that. Raises StoryBroken, naming `what`."""
    until = time.monotonic() + timeout_s
    while not (answer := probe()):
        if time.monotonic() > until:
            raise StoryBroken(f"waited {timeout_s:g} s for {what}", log)
        time.sleep(every_s)
    return answer


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, without what could drive a terminal."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return "(there is no log)"
    text = re.sub(r"[^\x20-\x7e\n\t -￿]", "·", text)
    return "\n".join(text.rstrip().split("\n")[-lines:])
