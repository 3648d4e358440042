"""A custodian with ten participants for each test, on SQLite or on PostgreSQL: a copy of one that was made once."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.exposure.world import of
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import START, CustodianWorld
from tests.simulators.postgres import PostgresServer, postgres_server

from assent_custodian.app import app_for
from assent_custodian.context import open_custodian

__all__ = ["postgres_server"]

ON_BOTH = pytest.mark.parametrize("access", ["sqlite", "postgresql"], indirect=True)
"""For tests where the database matters: locks, transactions, uniqueness."""


class Original:
    """The custodian that is copied. Clock and witness are shared by the copies, one after the other."""

    def __init__(self, folder: Path, url: str) -> None:
        world = CustodianWorld(folder, url)
        self.access = AccessWorld(world)
        self._witness = dict(vars(world.witness))
        world.custodian.close()

    def copied(self, folder: Path, url: str) -> AccessWorld:
        made = self.access.custodian
        made.clock.at = START
        vars(made.witness).clear()
        vars(made.witness).update(self._witness)
        shutil.copytree(made.settings.data_dir, folder / "custodian")
        world = copy.copy(made)
        world.settings = made.settings.model_copy(update={"data_dir": folder / "custodian", "database_url": url})
        world.custodian = open_custodian(world.settings, world.clock)
        world.client = world.client_for(app_for(world.custodian))
        world.founders = {role: of(member, world) for role, member in made.founders.items()}
        access = copy.copy(self.access)
        access.custodian = world
        access.requester, access.auditor = of(access.requester, world), of(access.auditor, world)
        access.stewards = [of(member, world) for member in access.stewards]
        access.people = [of(member, world) for member in access.people]
        owners = {member.person: member for member in access.people}
        access.recorded = [replace(one, owner=owners[one.owner.person]) for one in access.recorded]
        access.certified = list(access.certified)
        return access

    def close(self) -> None:
        self.access.custodian.witness.close()


@pytest.fixture(scope="session")
def in_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Original]:
    original = Original(tmp_path_factory.mktemp("access"), "")
    yield original
    original.close()


@pytest.fixture(scope="session")
def in_postgres(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Original]:
    original = Original(tmp_path_factory.mktemp("access-on-postgres"), postgres_server.new_database())
    yield original
    original.close()


@pytest.fixture
def access(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AccessWorld]:
    url = ""
    server: PostgresServer | None = None
    if getattr(request, "param", "sqlite") == "postgresql":
        server = request.getfixturevalue("postgres_server")
        original: Original = request.getfixturevalue("in_postgres")
        url = server.copy(original.access.custodian.settings.database_url)
    else:
        original = request.getfixturevalue("in_files")
    made = original.copied(tmp_path, url)
    try:
        yield made
    finally:
        made.custodian.custodian.close()
        if server is not None:
            server.drop(url)
