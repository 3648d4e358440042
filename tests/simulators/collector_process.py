"""A collector in a process of its own that kills itself (SIGKILL) at a chosen step, or never.

    python -m tests.simulators.collector_process FOLDER serve STEP PORT
    python -m tests.simulators.collector_process FOLDER pull STEP

FOLDER was made by `World` and holds key, database and directory; `orders.json` in it are the orders of the custodian,
`acknowledged.txt` gets a line per acknowledgement. STEP `none` never kills; `serve` prints a line when it listens.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import uvicorn
from tests.simulators.collector import Clock

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.statements import OrderDone
from assent.contracts.wire import OrdersAnswer
from assent_collector.app import application, open_collector
from assent_collector.custodian import CustodianUnreachable
from assent_collector.settings import CollectorSettings
from assent_service.web import listening_socket


class FileCustodian:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def directory(self) -> Envelope:
        raise CustodianUnreachable("only the kept directory is there")

    def orders(self, after: int) -> OrdersAnswer:
        envelopes = json.loads((self._folder / "orders.json").read_text())
        return OrdersAnswer(orders=tuple(Envelope.from_json(json.dumps(envelope)) for envelope in envelopes[after:]))

    def returned(self, envelope: Envelope) -> None:
        raise CustodianUnreachable("it misses nothing")

    def done(self, envelope: Envelope) -> None:
        with (self._folder / "acknowledged.txt").open("a") as file:
            file.write(f"{read_unverified(envelope, OrderDone).number}\n")

    def close(self) -> None:
        """Nothing is held."""


def main(folder: Path, mode: str, step: str, port: int = 0) -> None:
    def hook(reached: Any) -> None:
        if reached.value == step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = CollectorSettings.model_validate_json((folder / "settings.json").read_text())
    collector = open_collector(settings, Clock(), FileCustodian(folder), hook, hook)
    if mode == "pull":
        collector.orders.pull_orders_once()
        collector.close()
        return
    bound = listening_socket("127.0.0.1", port)
    bound.listen()
    print("listening", flush=True)
    uvicorn.Server(uvicorn.Config(application(collector), log_config=None)).run(sockets=[bound])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
