from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.collector import World, client_of, serving_collector
from tests.simulators.postgres import postgres_server, postgres_url

from assent.client.collector import CollectorClient

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A collector on SQLite, and the same on PostgreSQL."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    made = World.new(tmp_path, database_url=url)
    yield made
    made.collector.close()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[World]:
    """A collector on SQLite, where the database makes no difference."""
    made = World.new(tmp_path)
    yield made
    made.collector.close()


@pytest.fixture
def client(world: World) -> Iterator[CollectorClient]:
    """A real client of the world's collector over HTTP."""
    with serving_collector(world) as url, client_of(world, url) as made:
        yield made
