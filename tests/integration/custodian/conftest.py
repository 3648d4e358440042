from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.custodian import CustodianWorld, custodian_world
from tests.simulators.postgres import postgres_server, postgres_url
from tests.simulators.softhsm import hsm, token

__all__ = ["hsm", "postgres_server", "postgres_url", "token"]


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CustodianWorld]:
    """A founded custodian on SQLite, and the same on PostgreSQL."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    with custodian_world(tmp_path, url) as made:
        yield made


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[CustodianWorld]:
    """A founded custodian on SQLite, where the database makes no difference."""
    with custodian_world(tmp_path) as made:
        yield made
