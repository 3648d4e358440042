"""The collector's process. It imports nothing of the custodian: `python -m assent_server.run_collector [CONFIG]`."""

from __future__ import annotations

import sys
from pathlib import Path

from assent.client.directory import DirectoryRefused
from assent_collector.app import NotReady, create_app
from assent_collector.settings import CollectorSettings
from assent_server.failures import failures
from assent_server.process import prepare_process
from assent_service.metrics import serve_metrics
from assent_service.migrating import DatabaseUnusable, migrate
from assent_service.web import PortTaken, serve


def run(config: Path | None) -> None:
    """Bring the database up to date and serve until SIGTERM. Ends the process with 1 when it cannot."""
    with failures(NotReady, DirectoryRefused, PortTaken, DatabaseUnusable):
        settings = CollectorSettings.load(config)
        prepare_process()
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        migrate("collector", settings.database)
        app = create_app(settings)
        serve_metrics(app.state.metrics, settings.operator_host, settings.operator_port)
        serve(app, settings.host, settings.port)


if __name__ == "__main__":
    run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
