"""The directory under a pinned root: each attack on it ends with the one that was known before."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.reader.world import CUSTODIAN, World

from assent.client.directory import DirectoryRefused, TrustedDirectory
from assent.client.transport import AnswerInvalid, Transport
from assent.contracts.envelope import sign
from assent.contracts.keys import SigningKey, fingerprint


@pytest.fixture
def world() -> World:
    return World()


def trusting(world: World, path: Path | None = None) -> TrustedDirectory:
    return TrustedDirectory(fingerprint(world.root.public.text), path)


def test_an_honest_directory_is_fetched_and_survives_a_restart(world: World, tmp_path: Path) -> None:
    path = tmp_path / "directory.json"
    with Transport(CUSTODIAN, transport=world.transport) as custodian:
        assert trusting(world, path).refresh(custodian).version == 1
    again = trusting(world, path)
    assert again.known
    assert again.current == world.directory_statement
    assert again.statement_key.text == world.statement.public.text
    assert path.stat().st_mode & 0o077 == 0


def test_a_newer_one_replaces_it(world: World) -> None:
    trusted = trusting(world)
    trusted.accept(world.directory(1))
    trusted.accept(world.directory(5))
    assert trusted.current.version == 5


def test_a_swapped_root_is_refused(world: World) -> None:
    other = World()
    with pytest.raises(DirectoryRefused, match="another root key"):
        trusting(world).accept(other.directory_envelope)


def test_a_directory_that_names_the_root_but_is_signed_by_another_key_is_refused(world: World) -> None:
    with pytest.raises(DirectoryRefused, match="not signed by key"):
        trusting(world).accept(sign(world.directory_statement, SigningKey.generate()))


def test_a_rolled_back_directory_is_refused_also_after_a_restart(world: World, tmp_path: Path) -> None:
    path = tmp_path / "directory.json"
    trusting(world, path).accept(world.directory(3))
    trusted = trusting(world, path)
    with pytest.raises(DirectoryRefused, match="older"):
        trusted.accept(world.directory(2))
    assert trusted.current.version == 3


def test_two_directories_with_one_version_are_refused(world: World) -> None:
    trusted = trusting(world)
    trusted.accept(world.directory(3))
    with pytest.raises(DirectoryRefused, match="two directories"):
        trusted.accept(world.directory(3, organisation="Somebody else"))
    assert trusted.current.organisation == "Example"


def test_a_policy_about_another_log_is_refused(world: World) -> None:
    other = World()
    with pytest.raises(DirectoryRefused, match="another log"):
        trusting(world).accept(world.directory(1, policy=other.directory_statement.policy))


def test_a_policy_that_cannot_be_read_is_refused(world: World) -> None:
    with pytest.raises(DirectoryRefused, match="cannot be read"):
        trusting(world).accept(world.directory(1, policy="quorum everybody\n"))


def test_a_damaged_cache_is_not_believed(world: World, tmp_path: Path) -> None:
    path = tmp_path / "directory.json"
    path.write_bytes(b"{}")
    with pytest.raises(DirectoryRefused, match="damaged"):
        trusting(world, path)


def test_a_cache_of_another_root_is_not_believed(world: World, tmp_path: Path) -> None:
    path = tmp_path / "directory.json"
    path.write_bytes(World().directory_envelope.to_json())
    with pytest.raises(DirectoryRefused, match="another root"):
        trusting(world, path)


def test_something_that_is_no_directory_is_no_answer(world: World) -> None:
    world.tamper = lambda _path, _body: b'{"hello": 1}'
    with Transport(CUSTODIAN, transport=world.transport) as custodian, pytest.raises(AnswerInvalid):
        trusting(world).refresh(custodian)


def test_nothing_is_known_before_the_first_one(world: World) -> None:
    with pytest.raises(DirectoryRefused):
        _ = trusting(world).current
