from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.custodian import CustodianWorld, Member, custodian_world
from tests.simulators.postgres import postgres_server, postgres_url
from tests.simulators.softhsm import hsm, token

from assent.contracts.ids import Modality

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


@pytest.fixture
def kim(world: CustodianWorld) -> Member:
    """A person who may agree to a purpose."""
    return _person(world)


@pytest.fixture
def lee(lite: CustodianWorld) -> Member:
    """The same, on SQLite only."""
    return _person(lite)


@pytest.fixture
def people(world: CustodianWorld) -> list[Member]:
    """Two persons who record."""
    return _who_record(world)


@pytest.fixture
def few(lite: CustodianWorld) -> list[Member]:
    """The same, on SQLite only."""
    return _who_record(lite)


def _person(world: CustodianWorld) -> Member:
    world.add_purpose()
    return world.add_person("Kim")


def _who_record(world: CustodianWorld) -> list[Member]:
    world.add_purpose()
    members = world.add_participants(2)
    for member in members:
        member.certify((Modality.POINTER, Modality.SCREEN))
    return members
