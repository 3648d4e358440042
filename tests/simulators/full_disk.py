"""A custodian that runs, as operators start it, on a small disk of its own, which can be filled up while it works."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
from tests.simulators.answering import wait_until_it_answers
from tests.simulators.custodian import CustodianWorld
from tests.simulators.small_disk import SmallDisk, small_disk

MIB = 2**20
DISK_BYTES = 64 * MIB
RESERVE_MIB = 20

_SERVE = """
import os, signal, sys
from pathlib import Path
from sqlalchemy.engine import default
from assent_server import run_custodian

armed = Path(sys.argv[2])
commit = default.DefaultDialect.do_commit

def do_commit(dialect, connection):
    step = armed.read_text() if armed.exists() else ""
    if step == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    commit(dialect, connection)
    if step == "after":
        os.kill(os.getpid(), signal.SIGKILL)

default.DefaultDialect.do_commit = do_commit
run_custodian.run(Path(sys.argv[1]))
"""


@dataclass
class CrampedCustodian:
    """`world`: whose people speak to it. `config`: its configuration file."""

    world: CustodianWorld
    disk: SmallDisk
    config: Path
    _armed: Path = field(repr=False)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.world.settings.port}"

    @property
    def folder(self) -> Path:
        return self.disk.folder / "custodian"

    @property
    def kept_bytes(self) -> int:
        """How long the file is that keeps room; 0 without one."""
        path = self.folder / "custodian.db-reserve"
        return path.stat().st_size if path.exists() else 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`assent-server`, on its disk."""
        command = [*self.disk.inside, sys.executable, "-m", "assent_server", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def start(self) -> None:
        """Returns when it answers. Raises AssertionError, with what it said, when it does not start."""
        command = [*self.disk.inside, sys.executable, "-c", _SERVE, str(self.config), str(self._armed)]
        with self.config.with_suffix(".log").open("wb") as said:
            self._process = subprocess.Popen(command, stderr=said)
        wait_until_it_answers(f"{self.url}/healthz", self._process, self.config.with_suffix(".log"))

    def killed_at_the_next_commit(self, when: Literal["before", "after"]) -> None:
        """Let it kill itself then, and start it no more."""
        self._armed.write_text(when)

    def end(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """However it ends; it may have ended already."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(timeout=60)
            self._process = None
            self._armed.unlink(missing_ok=True)

    def missing(self) -> str | None:
        """What `/readyz` says that it cannot do now."""
        answer: dict[str, Any] = httpx2.get(f"{self.url}/readyz", timeout=5, trust_env=False).json()
        return answer.get("missing")


@contextmanager
def cramped_custodian(world: CustodianWorld, place: Path, reserve_mib: int = RESERVE_MIB) -> Iterator[CrampedCustodian]:
    """A copy of this world's custodian, whose database nobody uses, on a disk of 64 MiB; started. Its people speak to
    it from then on."""
    place.mkdir()
    with small_disk(place / "disk", DISK_BYTES) as disk:
        shutil.copytree(world.settings.data_dir, disk.folder / "custodian")
        (disk.folder / "custodian" / "custodian.db-reserve").unlink(missing_ok=True)
        config = place / "custodian.toml"
        settings = {
            "data_dir": str(disk.place / "custodian"), "port": world.settings.port, "reserve_mib": reserve_mib,
            "role_delay_hours": 0, "witness_interval_s": 0.2,
        }  # fmt: skip
        config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        made = CrampedCustodian(world, disk, config, place / "armed")
        before = world.client
        client = httpx2.Client(base_url=made.url, timeout=30, trust_env=False)
        world.client = client
        try:
            made.start()
            yield made
        finally:
            made.end()
            client.close()
            world.client = before
