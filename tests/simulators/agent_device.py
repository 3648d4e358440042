"""A person's device in a folder of its own: the agent's commands and processes, against a desk and a real collector."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.simulators.agents import Desk, serving_desk
from tests.simulators.collector import World, serving_collector

from assent.contracts.codes import InvitationCode

AGENT = [sys.executable, "-m", "assent_agent.cli"]


@dataclass
class Device:
    """A folder, an environment, and the processes started on it."""

    folder: Path
    desk: Desk
    world: World
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def enrol(self) -> None:
        self.command("enrol", InvitationCode.new(self.desk.url, self.desk.issuer.root_fingerprint).to_text())

    def command(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [*AGENT, *words], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.command("status", "--json")))

    def asks(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask without starting a process for it: polling stays cheap."""
        from assent_agent.runtime.control import AgentNotRunning, ask

        try:
            return ask(self.folder / "agent" / "control.sock", question)
        except AgentNotRunning:
            return {"state": "not running", "arrived_s": {}, "segments_waiting": -1, "why": None}

    def start(self, replay: Path, *more: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*AGENT, "run", "--source", f"replay:{replay}", *more],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def recording(self) -> bool:
        told = self.asks({"do": "status"})
        return told["state"] == "recording" and "pointer" in told["arrived_s"]

    @property
    def streams(self) -> list[Path]:
        folder = self.folder / "agent" / "spool"
        return list(folder.iterdir()) if folder.exists() else []


@contextmanager
def a_device(folder: Path, environment: dict[str, str], **desk: Any) -> Iterator[Device]:
    """A device with `environment` below its own settings. What it started is killed at the end. `desk`: see `Desk`."""
    world = World.new(folder / "collector")
    world.clock.now = datetime.now(UTC)
    for name in ("agent-passphrase", "passphrase"):
        (folder / name).write_text("correct horse battery\n")
        (folder / name).chmod(0o600)
    with serving_collector(world) as url:
        answering = Desk(world.issuer, url, **desk)
        with serving_desk(answering):
            own = {
                "ASSENT_HOME": str(folder / "home"),
                "ASSENT_PASSPHRASE_FILE": str(folder / "passphrase"),
                "ASSENT_AGENT_PASSPHRASE_FILE": str(folder / "agent-passphrase"),
                "ASSENT_AGENT_KEYRING": "false",
                "ASSENT_AGENT_RESERVE_BYTES": "0",
            }
            made = Device(folder / "home", answering, world, {**environment, **own})
            yield made
            for process in made.processes:
                if process.poll() is None:
                    process.kill()
                process.wait(10)
    world.collector.close()
