"""The directory under a pinned root: each attack on it ends with the one that was known before."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.reader.world import CUSTODIAN, World

from assent.client.directory import DirectoryRefused, LogContradicted, TrustedDirectory, directory_facts, origin_of
from assent.client.transport import AnswerInvalid, Transport
from assent.contracts.envelope import read, sign
from assent.contracts.keys import SigningKey, fingerprint
from assent.contracts.statements import Directory
from assent.transparency.note import Cosigner, Note


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


# --- a log that ended ---


def grown(world: World, leaves: int) -> Note:
    """A witnessed head of the log with so many leaves."""
    world.leaves = [f"leaf {number}".encode() for number in range(leaves)]
    return world.checkpoint()


def test_a_log_that_ended_is_followed_by_the_one_that_says_how(world: World, tmp_path: Path) -> None:
    trusted = trusting(world, tmp_path / "directory.json")
    trusted.accept(world.directory_envelope)
    seen = grown(world, 7)
    trusted.saw(seen)
    directory = trusted.accept(world.end_log(2, kept=3))
    assert origin_of(directory) == "assent.test/log/2"
    assert trusted.kept_policy.check(seen).checkpoint.size == 7, "what was kept of the former one still verifies"
    facts = dict(directory_facts(directory))
    assert facts["former log"] == "assent.test/log ended at 7 leaves"
    assert facts["  LEAVES LOST"].startswith("4; the first 3 were saved")


@pytest.mark.parametrize("restarted", [False, True])
def test_who_saw_a_newer_head_than_is_quoted_refuses_and_keeps_the_evidence(
    world: World, tmp_path: Path, restarted: bool
) -> None:
    path = tmp_path / "directory.json"
    trusted = trusting(world, path)
    trusted.accept(world.directory_envelope)
    older = grown(world, 5)
    trusted.saw(grown(world, 7))
    trusted.saw(older)  # takes nothing back
    if restarted:
        trusted = trusting(world, path)
    world.leaves = world.leaves[:5]
    cut = world.end_log(2, kept=3, heads=[older])
    with pytest.raises(LogContradicted, match="ended at 5 leaves, and there is a signed head of 7"):
        trusted.accept(cut)
    again = trusting(world, path)
    assert again.current.version == 1
    assert again.contradiction is not None
    assert cut.to_json() in path.with_suffix(".contradiction").read_bytes()
    assert trusting(World(), None).contradiction is None


def test_an_alarm_ends_with_a_directory_that_contradicts_nothing(world: World, tmp_path: Path) -> None:
    path = tmp_path / "directory.json"
    trusted = trusting(world, path)
    trusted.accept(world.directory_envelope)
    fork = grown(world, 5)
    world.leaves = [b"another", *world.leaves[1:]]
    trusted.saw(world.checkpoint())
    with pytest.raises(LogContradicted, match="two histories"):
        trusted.saw(fork)
    assert trusting(world, path).contradiction is not None
    trusted.accept(world.directory(2))
    assert trusting(world, path).contradiction is trusted.contradiction is None


def test_a_head_without_enough_witnesses_is_not_remembered(world: World) -> None:
    trusted = trusting(world)
    trusted.accept(world.directory_envelope)
    older = grown(world, 5)
    world.quorum_met = False
    trusted.saw(grown(world, 9))  # the log alone can sign what it likes
    world.leaves = world.leaves[:5]
    assert trusted.accept(world.end_log(2, kept=3, heads=[older]))


def test_a_log_does_not_change_its_name_without_saying_how_it_ended(world: World) -> None:
    trusted = trusting(world)
    trusted.accept(world.directory_envelope)
    world.end_log(2, kept=0)
    silent = sign(world.directory_statement.model_copy(update={"former_logs": ()}), world.root)
    with pytest.raises(DirectoryRefused, match="does not say how the one of before ended"):
        trusted.accept(silent)
    assert trusted.accept(world.directory_envelope), "the control"


def test_how_a_log_ended_is_never_taken_back_or_changed(world: World) -> None:
    trusted = trusting(world)
    grown(world, 7)
    ended = read(world.end_log(2, kept=3), Directory, world.root.public)
    trusted.accept(sign(ended, world.root))
    (former,) = ended.former_logs
    other = former.model_copy(update={"kept": 2})
    for logs in ((), (other,)):
        changed = ended.model_copy(update={"version": 3, "former_logs": logs})
        with pytest.raises(DirectoryRefused, match="how a former log ended"):
            trusted.accept(sign(changed, world.root))
    assert trusted.accept(sign(ended.model_copy(update={"version": 3}), world.root)), "the control"


def test_the_witnesses_of_the_log_that_ended_are_those_that_it_had(world: World) -> None:
    trusted = trusting(world)
    trusted.accept(world.directory_envelope)
    grown(world, 7)
    world.witness = Cosigner("witness.test", Ed25519PrivateKey.generate())
    world.directory_statement = world._directory(1)  # as an operator tells it who brings witnesses of their own
    with pytest.raises(DirectoryRefused, match="other witnesses of the log that ended"):
        trusted.accept(world.end_log(2, kept=3))


@pytest.mark.parametrize("bad", ["unwitnessed", "the name goes on", "nothing lost", "no note"])
def test_a_directory_that_quotes_no_proper_ending_is_refused(world: World, bad: str) -> None:
    world.quorum_met = bad != "unwitnessed"
    grown(world, 7)
    world.end_log(2, kept=7 if bad == "nothing lost" else 3)
    changed = world.directory_statement
    if bad == "the name goes on":
        (former,) = changed.former_logs
        changed = changed.model_copy(update={"log_vkey": former.log_vkey, "policy": former.policy})
    if bad == "no note":
        (former,) = changed.former_logs
        changed = changed.model_copy(update={"former_logs": (former.model_copy(update={"heads": ("hello\n",)}),)})
    with pytest.raises(DirectoryRefused):
        trusting(world).accept(sign(changed, world.root))
