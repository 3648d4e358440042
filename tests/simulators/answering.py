"""Services in processes of their own: when they answer."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx2

START_S = 60


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    """Until `url` answers with 200. Raises AssertionError, with its `log`, when the process ends or takes too long."""
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, f"it did not start: {log and log.read_text()}"
        try:
            if httpx2.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, f"it did not start in time: {log and log.read_text()}"
        time.sleep(0.05)
