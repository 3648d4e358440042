"""Rows 8, 10 and 26, by the directory: what a person who prepares it can put in unseen, and what a careless one loses.

The custodian's operator writes the next directory; whoever has the root key reads what is printed, and signs. So what
is not printed, or what is printed and then not meant, is the way in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.simulators.custodian import CustodianWorld, Member, custodian_world
from typer.testing import CliRunner

from assent.client.directory import DirectoryRefused, TrustedDirectory, directory_facts
from assent.contracts.envelope import Envelope, sign
from assent.contracts.keys import PublicKey, SigningKey, fingerprint
from assent.contracts.rotation import read_lasting, statement_key_of
from assent.contracts.statements import Directory, FormerKey, FormerPolicy, Receipt, WitnessEntry
from assent.transparency.note import Cosigner, Signer
from assent_custodian import ceremony
from assent_custodian.files import NotReady
from assent_server.cli import app


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CustodianWorld]:
    with custodian_world(tmp_path) as found:
        found.add_purpose()
        yield found


@pytest.fixture
def kim(world: CustodianWorld) -> Member:
    member = world.add_person("Kim")
    member.consent()
    return member


def another_witness() -> WitnessEntry:
    cosigner = Cosigner("witness.example/mine", Ed25519PrivateKey.generate())
    return WitnessEntry(url="http://127.0.0.1:9", vkey=str(cosigner.verifier))


def signed(world: CustodianWorld, directory: Directory) -> Envelope:
    """As a root key's holder would who looks at nothing."""
    return sign(directory, SigningKey.from_pem(world.report.root_key_file.read_bytes()))


def believed(world: CustodianWorld, envelope: Envelope) -> Directory:
    return TrustedDirectory(world.report.root_fingerprint).accept(envelope)


def hidden(world: CustodianWorld) -> dict[str, dict[str, Any]]:
    """Changes that the list of witnesses and the keys of now do not show."""
    current = world.custodian.directory.directory
    mine = another_witness()
    everybody = (*current.witnesses, mine)
    either = ceremony.policy_text(current.log_vkey, everybody, 1)
    day_on, year_on = "2026-11-24T09:00:00Z", "2027-11-24T09:00:00Z"
    stolen = SigningKey.generate().public.text
    nobody = f"log {current.log_vkey}\nquorum none\n"
    return {
        "a witness of mine instead": {"policy": ceremony.policy_text(current.log_vkey, [mine])},
        "a witness of mine besides": {"policy": either},
        "fewer witnesses than are named": {"witnesses": everybody},
        "no witness": {"policy": f"{current.policy.partition('group')[0]}quorum none\n"},
        "no witness, and none named": {"policy": nobody, "witnesses": ()},
        "a key of mine that counts for a year": {"former_keys": (FormerKey(key=stolen, ended=year_on),)},
        "rules of mine that count for a year": {
            "former_policies": (FormerPolicy(log_vkey=current.log_vkey, policy=either, ended=year_on),)
        },
        "rules of before that asked nobody": {
            "former_policies": (FormerPolicy(log_vkey=current.log_vkey, policy=nobody, ended=day_on),)
        },
    }


def test_row_26_what_the_rules_of_a_directory_ask_is_what_it_shows_or_nobody_believes_it(
    world: CustodianWorld, tmp_path: Path
) -> None:
    plain = ceremony.next_directory(world.custodian, {"organisation": "Example plc"})
    assert believed(world, signed(world, plain)).organisation == "Example plc", "the positive control"
    for name, changes in hidden(world).items():
        bad = plain.model_copy(update=changes)
        with pytest.raises(DirectoryRefused):
            believed(world, signed(world, bad))
            pytest.fail(name)
        with pytest.raises(NotReady):
            ceremony.sign_offline(bad.to_bytes(), world.report.root_key_file)
            pytest.fail(name)
        with pytest.raises(NotReady):
            ceremony.publish(world.custodian, signed(world, bad))
            pytest.fail(name)
    assert world.custodian.directory.directory.version == 1


def test_row_26_who_signs_a_directory_is_shown_every_witness_how_many_are_needed_and_every_former_key(
    world: CustodianWorld, tmp_path: Path
) -> None:
    key, mine = world.custodian.ring.add("statement"), another_witness()
    current = world.custodian.directory.directory
    witnesses = (*current.witnesses, mine)
    changes = {
        "statement_key": key.public.text,
        "witnesses": witnesses,
        "policy": ceremony.policy_text(current.log_vkey, witnesses, 1),
    }
    unsigned, to = tmp_path / "next.json", tmp_path / "signed.json"
    unsigned.write_bytes(ceremony.next_directory(world.custodian, changes).to_bytes())
    command = ["directory", "sign", str(unsigned), "--root-key", str(world.report.root_key_file), "--to", str(to)]
    for shown in (
        CliRunner().invoke(app, command).stdout,
        str(json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["facts"]),
    ):
        for fact in (*(witness.vkey for witness in witnesses), "1 of 2"):
            assert fact in shown
        assert fingerprint(current.statement_key) in shown, "the former key"
        assert current.log_vkey in shown, "the former rules"


def test_a_directory_that_comes_too_late_is_refused_before_it_makes_receipts_worthless(
    world: CustodianWorld, kim: Member
) -> None:
    """Signed on Monday, imported on Wednesday: what the old key counter-signed on Tuesday would hold no more."""
    key, log_key = world.custodian.ring.add("statement"), world.custodian.ring.add("log")
    log_vkey = str(Signer(world.custodian.log_signer.verifier.name, log_key.ed25519).verifier)
    both = [
        signed(world, ceremony.next_directory(world.custodian, changes))
        for changes in ({"statement_key": key.public.text}, {"log_vkey": log_vkey})
    ]
    harmless = signed(world, ceremony.next_directory(world.custodian, {"organisation": "Example plc"}))
    world.clock.forward(hours=25)
    receipt = kim.consent()
    for envelope in both:
        with pytest.raises(NotReady, match="Export it again"):
            ceremony.publish(world.custodian, envelope)
    countersigned = kim.countersigned
    assert countersigned is not None
    statement_key = statement_key_of(world.custodian.directory.directory)
    assert read_lasting(countersigned, Receipt, statement_key) == receipt
    ceremony.publish(world.custodian, harmless)
    again = ceremony.next_directory(world.custodian, {"statement_key": key.public.text})
    now = ceremony.publish(world.custodian, signed(world, again))
    assert read_lasting(countersigned, Receipt, statement_key_of(now)) == receipt, "the positive control: in time"


def test_a_former_key_that_is_stolen_later_can_be_left_out(world: CustodianWorld, kim: Member) -> None:
    """Otherwise it would go on to count, for revocations and tombstones for ever, until 32 others had come after it."""
    custodian = world.custodian
    old = custodian.directory.directory.statement_key
    keys = [custodian.ring.add("statement").public.text for _ in range(2)]
    for text in keys:
        ceremony.publish(custodian, signed(world, ceremony.next_directory(custodian, {"statement_key": text})))
        world.clock.forward(days=2)
    assert [one.key for one in custodian.directory.directory.former_keys] == [old, keys[0]]
    with pytest.raises(NotReady, match="no such former key"):
        ceremony.next_directory(custodian, {}, forget=(keys[1],))
    with pytest.raises(NotReady, match="replaced before"):
        ceremony.next_directory(custodian, {"statement_key": old})
    assert kim.countersigned is not None
    assert read_lasting(kim.countersigned, Receipt, statement_key_of(custodian.directory.directory))
    ceremony.publish(custodian, signed(world, ceremony.next_directory(custodian, {}, forget=(old,))))
    now = custodian.directory.directory
    assert [one.key for one in now.former_keys] == [keys[0]]
    assert PublicKey(old).id not in statement_key_of(now).ids
    assert fingerprint(old) not in str(directory_facts(now))


def test_two_processes_with_one_memory_do_not_take_each_other_back(world: CustodianWorld, tmp_path: Path) -> None:
    """The agent and the command line keep the newest directory in one file: the one that looked longest ago must not
    believe, and write down, an older one than the other has seen.
    """
    root, path = world.report.root_fingerprint, tmp_path / "directory.json"
    first = world.custodian.directory.envelope
    versions = [first]
    for name in ("Second", "Third"):
        envelope = signed(world, ceremony.next_directory(world.custodian, {"organisation": name}))
        ceremony.publish(world.custodian, envelope)
        versions.append(envelope)
    slow, quick = TrustedDirectory(root, path), TrustedDirectory(root, path)
    slow.accept(versions[0])
    quick.accept(versions[2])
    with pytest.raises(DirectoryRefused, match="older"):
        slow.accept(versions[1])
    assert TrustedDirectory(root, path).current.version == slow.current.version == 3


def test_row_26_a_fork_that_is_put_into_the_folder_is_not_served_and_the_doctor_names_an_older_one(
    world: CustodianWorld, tmp_path: Path
) -> None:
    """Two directories of one version, or the one of before: whoever can write the file must gain nothing by it."""
    custodian = world.custodian
    old = custodian.directory.envelope
    one, other = (signed(world, ceremony.next_directory(custodian, {"organisation": name})) for name in "AB")
    ceremony.publish(custodian, one)
    config = tmp_path / "custodian.toml"
    config.write_text(f"data_dir = {json.dumps(str(world.settings.data_dir))}\n")

    def faults() -> str:
        done = CliRunner().invoke(app, ["doctor", "--custodian-config", str(config), "--json"])
        return " ".join(json.loads(done.stdout)["faults"])

    def served() -> str:
        return Envelope.from_json(world.client.get("/v1/directory").content).hash

    assert "directory" not in faults(), "the positive control"
    assert served() == one.hash
    for bad in (other, old):
        world.settings.directory.write_bytes(bad.to_json())
        assert served() == one.hash
        assert "put the newest one back" in faults()
