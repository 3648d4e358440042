"""The custodian's process. It imports nothing of the collector: `python -m assent_server.run_custodian [CONFIG]`."""

from __future__ import annotations

import sys
from pathlib import Path

from assent_custodian.app import create_app
from assent_custodian.files import NotReady
from assent_custodian.presence import present
from assent_custodian.settings import Settings
from assent_server.failures import failures
from assent_server.process import prepare_process
from assent_service.metrics import serve_metrics
from assent_service.migrating import DatabaseUnusable, migrate
from assent_service.web import PortTaken, serve


def run(config: Path | None) -> None:
    """Bring the database up to date and serve until SIGTERM. Ends the process with 1 when it cannot."""
    with failures(NotReady, PortTaken, DatabaseUnusable):
        settings = Settings.load(config)
        prepare_process()
        with present(settings):
            if settings.reserve is not None:
                settings.reserve.prepare()
            migrate("custodian", settings.database)
            app = create_app(settings)
            serve_metrics(app.state.metrics, settings.operator_host, settings.operator_port)
            serve(app, settings.host, settings.port)


if __name__ == "__main__":
    run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
