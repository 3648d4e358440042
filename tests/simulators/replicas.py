"""Custodian replicas: processes of their own, started as operators start them, on one PostgreSQL and one data folder.

A `Replica` can be told to kill itself (SIGKILL), or to stop (SIGSTOP), in the middle of the next transaction that
appends to the log: after its leaves were written and before they are committed, while it holds the head.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx2
from fastapi.testclient import TestClient
from tests.simulators.answering import wait_until_it_answers
from tests.simulators.custodian import CustodianWorld, LocalWitness
from tests.simulators.custodian import TestClock as StandingClock

from assent_custodian.settings import Settings
from assent_witness.app import create_app
from assent_witness.settings import WitnessSettings

LIMITS = {"lock_timeout": "2000", "idle_in_transaction_session_timeout": "12000"}
"""Of the replicas' sessions, in milliseconds: shorter than in earnest."""

_SERVE = """
import json, os, sys
from pathlib import Path
from assent_custodian import presence
from assent_custodian.log import service
from assent_server import run_custodian
from assent_service import database

limits, armed = json.loads(sys.argv[1]), Path(sys.argv[2])
database._LIMITS = {**database._LIMITS, **limits}
presence.GONE_WITHIN_S = 2
append = service.append_again

def append_and(session, typed):
    first = append(session, typed)
    if typed and armed.exists():
        sign = int(armed.read_text())
        armed.unlink()
        os.kill(os.getpid(), sign)
    return first

service.append_again = append_and
run_custodian.run(None)
"""


class WallClock(StandingClock):
    """What the replicas go by."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Replica:
    """One process. `url`: where it listens."""

    url: str
    environment: dict[str, str] = field(repr=False)
    armed: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, stderr: int = subprocess.DEVNULL) -> None:
        command = [sys.executable, "-c", _SERVE, json.dumps(LIMITS), str(self.armed)]
        self.process = subprocess.Popen(command, env={**os.environ, **self.environment}, stderr=stderr)

    def wait_until_it_answers(self) -> None:
        assert self.process is not None
        wait_until_it_answers(f"{self.url}/readyz", self.process)

    def send(self, sign: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(sign)

    def in_the_next_append(self, what: Literal[signal.Signals.SIGKILL, signal.Signals.SIGSTOP]) -> None:
        aside = self.armed.with_suffix(".new")
        aside.write_text(str(int(what)))
        aside.replace(self.armed)

    def end(self, sign: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sign)
            self.process.wait(timeout=60)
            self.process = None


class Spread:
    """Sends each request to the next replica, as a load balancer does, or to `only` one."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._turn = itertools.cycle(replicas)
        self._client = httpx2.Client(timeout=30, trust_env=False)
        self.only: Replica | None = None

    def request(self, method: str, target: str, **options: Any) -> httpx2.Response:
        replica = self.only or next(self._turn)
        return self._client.request(method, f"{replica.url}{target}", **options)

    def get(self, target: str, **options: Any) -> httpx2.Response:
        return self.request("GET", target, **options)

    def post(self, target: str, **options: Any) -> httpx2.Response:
        return self.request("POST", target, **options)

    @contextmanager
    def to(self, replica: Replica) -> Iterator[None]:
        self.only = replica
        try:
            yield
        finally:
            self.only = None

    def close(self) -> None:
        self._client.close()


def really_witness(world: CustodianWorld, folder: Path) -> list[int]:
    """Let the real witness answer in the place of the world's, with the same key. Returns its answers' status codes."""
    witness: LocalWitness = world.witness
    folder.mkdir()
    key = folder / "key.pem"
    key.write_bytes(witness.key.to_pem())
    key.chmod(0o600)
    settings = WitnessSettings(
        name=witness.cosigner.verifier.name, key_path=key, state_dir=folder / "state",
        log_keys=(world.custodian.directory.directory.log_vkey,),
    )  # fmt: skip
    real = TestClient(create_app(settings))
    statuses: list[int] = []

    def answer(body: bytes, _clock: Callable[[], datetime]) -> tuple[int, bytes]:
        response = real.post("/add-checkpoint", content=body)
        statuses.append(response.status_code)
        return response.status_code, response.content

    witness.answer = answer  # type: ignore[method-assign, assignment]
    return statuses


def replicas_of(settings: Settings, ports: Sequence[int], folder: Path) -> list[Replica]:
    """Not started yet."""
    shared = {
        "ASSENT_CUSTODIAN_DATA_DIR": str(settings.data_dir),
        "ASSENT_CUSTODIAN_DATABASE_URL": settings.database_url,
        "ASSENT_CUSTODIAN_ROLE_DELAY_HOURS": "0",
        "ASSENT_CUSTODIAN_NIGHT_HOUR_UTC": "0",
        "ASSENT_CUSTODIAN_WITNESS_INTERVAL_S": "0.2",
    }
    return [
        Replica(f"http://127.0.0.1:{port}", {**shared, "ASSENT_CUSTODIAN_PORT": str(port)}, folder / f"armed-{port}")
        for port in ports
    ]
