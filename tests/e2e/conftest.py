"""The demo, run once for all its tests; and a small installation of real processes for tests of trouble."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.demo.story import ROOT
from tests.e2e.installation import Installation
from tests.simulators.desktop import PROGRAMS, require_programs

DEMO_TIMEOUT_S = 900


@dataclass(frozen=True)
class DemoRun:
    """How the demo ended, what it printed and what it left."""

    folder: Path
    status: int
    printed: str
    summary: dict[str, Any]

    @property
    def outcomes(self) -> dict[str, dict[str, Any]]:
        return {outcome["name"]: outcome for outcome in self.summary["outcomes"]}

    @property
    def exposure(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.summary["exposure"]}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """`make demo`, once, in its own folder. Without the programs of a desktop: skipped by name; in CI a failure."""
    require_programs(*PROGRAMS, "trayer")
    folder = tmp_path_factory.mktemp("demo") / "demo-run"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo", "--folder", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_S,
        check=False,
    )
    summary = folder / "summary.json"
    assert summary.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    return DemoRun(folder, done.returncode, done.stdout, json.loads(summary.read_text()))


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """Services, founders and a signed purpose."""
    with Installation(tmp_path) as made:
        yield made
