"""A witness's process: `python -m assent_server.run_witness [CONFIG]`."""

from __future__ import annotations

import sys
from pathlib import Path

from assent_custodian.files import NotReady
from assent_server import witnessing
from assent_server.failures import failures
from assent_server.process import prepare_process
from assent_witness.app import serve


def run(config: Path | None) -> None:
    """Serve until SIGTERM. Ends the process with 1 when it cannot."""
    with failures(NotReady):
        loaded = witnessing.load(config)
        prepare_process()
        prepared = witnessing.prepare(loaded)
        serve(prepared.settings, prepared.host, prepared.port, prepared.log_keys_now, prepared.endings)


if __name__ == "__main__":
    run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
