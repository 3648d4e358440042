"""The drill's process beside the services: `python -m assent_server.run_drill DATA`."""

from __future__ import annotations

import sys
from pathlib import Path

from assent_collector.settings import CollectorSettings
from assent_custodian.files import NotReady
from assent_custodian.settings import Settings as CustodianSettings
from assent_server.drill.hosting import every_interval
from assent_server.embedded import Layout
from assent_server.failures import failures
from assent_server.process import prepare_process


def run(data: Path) -> None:
    """Drill the installation in this folder until SIGTERM."""
    with failures(NotReady):
        layout = Layout(data)
        prepare_process()
        settings = CustodianSettings.load(layout.config("custodian"))
        every_interval(settings, CollectorSettings.load(layout.config("collector")))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
