"""Installations for drills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.exposure.world import Installation, Template, installed
from tests.simulators.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    """A founded installation, to be copied."""
    with installed(tmp_path_factory.mktemp("founded")) as original:
        yield Template(original)


@pytest.fixture
def installation(founded: Template, tmp_path: Path) -> Iterator[Installation]:
    """An installation of the test's own, with nobody but the founders."""
    with founded.copied(tmp_path / "installation") as fresh:
        yield fresh
