"""A fresh custodian with ten participants for each test, on SQLite or on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import CustodianWorld
from tests.simulators.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

ON_BOTH = pytest.mark.parametrize("access", ["sqlite", "postgresql"], indirect=True)
"""For tests where the database matters: locks, transactions, uniqueness."""


@pytest.fixture
def access(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AccessWorld]:
    url = ""
    server: PostgresServer | None = None
    if getattr(request, "param", "sqlite") == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.new_database()
    world = CustodianWorld(tmp_path, url)
    try:
        yield AccessWorld(world)
    finally:
        world.close()
        if server is not None:
            server.drop(url)
