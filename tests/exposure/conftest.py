"""Databases for the positive controls, and the worlds in which attackers try their luck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from tests.exposure.world import Installation, Populated, Template, installed, populate, populated_copy
from tests.simulators.postgres import PostgresServer, client_programs, postgres_server, postgres_url
from tests.simulators.softhsm import hsm, token

__all__ = ["hsm", "postgres_server", "postgres_url", "token"]


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database of either kind."""
    url = f"sqlite:///{tmp_path / 'any.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Populated]:
    """An installation in daily use. Shared: tests add to it and take nothing away."""
    with installed(tmp_path_factory.mktemp("installation")) as installation:
        yield populate(installation)


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    """A founded installation with a purpose, to be copied."""
    with installed(tmp_path_factory.mktemp("founded")) as original:
        original.world.add_purpose()
        yield Template(original)


@pytest.fixture
def installation(founded: Template, tmp_path: Path) -> Iterator[Installation]:
    """An installation of the test's own, with a purpose and nobody but the founders."""
    with founded.copied(tmp_path / "installation") as fresh:
        yield fresh


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Populated, Template]]:
    """An installation in daily use, to be copied."""
    with installed(tmp_path_factory.mktemp("busy")) as original:
        populated = populate(original)
        yield populated, Template(original)


@pytest.fixture
def in_use(busy: tuple[Populated, Template], tmp_path: Path) -> Iterator[Populated]:
    """An installation in daily use that the test may spoil."""
    original, template = busy
    with template.copied(tmp_path / "installation") as copied:
        yield populated_copy(original, copied)


@pytest.fixture(scope="session")
def busy_on_postgres(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[tuple[Populated, Template]]:
    """The same on PostgreSQL, custodian and collector."""
    urls = (postgres_server.new_database(), postgres_server.new_database())
    with installed(tmp_path_factory.mktemp("busy-on-postgres"), database_urls=urls) as original:
        populated = populate(original)
        yield populated, Template(original)


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Populated]:
    """An installation in daily use that the test may spoil, on SQLite, and the same on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("in_use")
        return
    server = request.getfixturevalue("postgres_server")
    client_programs(monkeypatch)
    original, template = request.getfixturevalue("busy_on_postgres")
    with template.copied(tmp_path / "installation", server) as copied:
        yield populated_copy(original, copied)
