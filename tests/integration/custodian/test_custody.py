"""Which custody level is in force, and every reason why it is not higher; a KEK in a token; moving there."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.simulators import softhsm
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import CustodianWorld, Member, custodian_world, problem
from tests.simulators.softhsm import SoftToken

from assent.contracts.ids import Modality
from assent.contracts.statements import Directory
from assent.sealing.hpke import HybridPrivateKey
from assent_custodian.context import Custodian, open_custodian
from assent_custodian.custody import Custody, Seen, assess, judge, look
from assent_custodian.files import NotReady
from assent_custodian.keys.keks import KekFolder, unwrap_rows
from assent_custodian.keys.models import Generation, Stream, VaultKey
from assent_custodian.keys.stores import open_keks
from assent_custodian.leases.models import LeaseRow
from assent_custodian.night import run_night

SHARED_MEMORY = Path("/dev/shm")
"""Another file system than that of temporary folders, on every Linux."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that is neither the database's nor the system's."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as made:
        assert SHARED_MEMORY.stat().st_dev not in (tmp_path.stat().st_dev, Path("/").stat().st_dev)
        yield Path(made)


@pytest.fixture
def apart(tmp_path: Path, volume: Path) -> Iterator[CustodianWorld]:
    """A custodian whose KEK has a volume of its own."""
    with custodian_world(tmp_path, kek_dir=volume / "kek") as made:
        yield made


@pytest.fixture
def guarded(tmp_path: Path, token: SoftToken) -> Iterator[CustodianWorld]:
    """A custodian whose KEK was made in a token."""
    with custodian_world(tmp_path, **token.settings) as made:
        yield made


def elsewhere(custodian: Custodian, **changes: Any) -> Directory:
    """The directory of an installation on four hosts, as far as anybody can see; with `changes`."""
    directory = custodian.directory.directory
    witness = directory.witnesses[0]
    return directory.model_copy(
        update={
            "custodian_url": "https://custodian.example",
            "collector_url": "https://collector.example",
            "witnesses": tuple(
                witness.model_copy(update={"url": f"https://{name}.example"}) for name in ("council", "security")
            ),
            "custody_level": 1,
            **changes,
        }
    )


def assessed(custodian: Custodian, **changes: Any) -> Custody:
    directory = elsewhere(custodian, **changes)
    return judge(look(custodian, directory), directory)


# --- level 0 and level 1 ---


def test_a_demo_says_that_it_is_one_and_gives_every_reason(lite: CustodianWorld) -> None:
    found = assess(lite.custodian)
    assert found.level == 0
    assert {reason.split(":")[0] for reason in found.reasons} == {
        "collector and custodian run on the same host",
        "the KEK lies beside the database, where a backup takes it along",
        "there are fewer than two witnesses",
        "witnessed by the same host only",
        "the directory claims level 0",
    }
    assert found.sentence.startswith("These accounts could open recordings without a trace today: root on ")


def test_level_one_is_in_force_when_everything_that_can_be_seen_holds(apart: CustodianWorld) -> None:
    found = assessed(apart.custodian)
    assert (found.level, found.faults) == (1, ())
    assert [reason.split(":")[0] for reason in found.reasons] == [
        "the KEK can be copied",
        "the directory claims level 1",
    ]
    assert f"root on {socket.gethostname()}" in found.sentence


OWN_NAME = socket.gethostname()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"collector_url": "https://custodian.example"}, "same host"),
        ({"collector_url": "https://CUSTODIAN.example.:8402"}, "same host"),
        ({"collector_url": "http://localhost:8402"}, "same host"),
        ({"collector_url": "http://127.3.2.1:8402"}, "same host"),
        ({"collector_url": "http://[::1]:8402"}, "same host"),
        ({"collector_url": f"http://{OWN_NAME}:8402"}, "same host"),
        ({"custodian_url": "http://127.0.0.1:8401"}, "same host"),
        ({"custody_level": 0}, "claims level 0"),
    ],
)
def test_each_fault_of_the_directory_keeps_it_at_level_zero(
    apart: CustodianWorld, changes: dict[str, str], reason: str
) -> None:
    found = assessed(apart.custodian, **changes)
    assert found.level == 0
    assert [one for one in found.reasons if reason in one], found.reasons
    assert len(found.reasons) == 1, "and nothing else is blamed"


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        (["https://council.example"], "fewer than two"),
        (["https://council.example", "https://council.example:8404"], "one witness"),
        (["https://council.example", "http://127.0.0.1:8403"], "runs on the custodian's host"),
        (["https://council.example", "https://custodian.example:8403"], "runs on the custodian's host"),
        (["https://council.example", f"http://{OWN_NAME}:8403"], "runs on the custodian's host"),
        (["https://a.example", "https://b.example", "http://localhost:8403"], "runs on the custodian's host"),
        (["http://127.0.0.1:8403", "http://localhost:8404"], "same host only"),
    ],
)
def test_witnesses_count_when_they_run_elsewhere(apart: CustodianWorld, urls: list[str], reason: str) -> None:
    witness = apart.custodian.directory.directory.witnesses[0]
    found = assessed(apart.custodian, witnesses=tuple(witness.model_copy(update={"url": url}) for url in urls))
    assert found.level == 0
    assert len(found.reasons) == 1, found.reasons
    assert reason in found.reasons[0]


def test_a_kek_beside_the_database_keeps_it_at_level_zero(lite: CustodianWorld) -> None:
    found = assessed(lite.custodian)
    assert found.level == 0
    assert len(found.reasons) == 1
    assert "beside the database" in found.reasons[0]


def test_a_database_inside_the_kek_folder_does_too(apart: CustodianWorld, volume: Path) -> None:
    inside = apart.settings.model_copy(update={"database_url": f"sqlite:///{volume}/kek/custodian.db"})
    found = assessed(dataclasses.replace(apart.custodian, settings=inside))
    assert found.level == 0
    assert "beside the database" in found.reasons[0]


def test_another_folder_of_the_same_volume_is_no_volume_of_its_own(tmp_path: Path) -> None:
    with custodian_world(tmp_path, kek_dir=tmp_path / "other" / "kek") as world:
        found = assessed(world.custodian)
    assert found.level == 0
    assert len(found.reasons) == 1
    assert "volume of its own" in found.reasons[0]


def test_a_kek_beside_the_backups_would_go_along_with_them(apart: CustodianWorld, volume: Path) -> None:
    for backups, reason in ((volume / "kek" / "backups", "takes it along"), (volume / "backups", "volume of its own")):
        backups.mkdir()
        found = assessed(
            dataclasses.replace(apart.custodian, settings=apart.settings.model_copy(update={"backup_dir": backups}))
        )
        assert found.level == 0
        assert len(found.reasons) == 1
        assert reason in found.reasons[0]


def test_a_kek_that_others_may_read_is_a_fault_and_level_zero(apart: CustodianWorld, volume: Path) -> None:
    file = volume / "kek" / "000001.kek"
    file.chmod(0o640)
    found = assessed(apart.custodian)
    assert found.level == 0
    assert "0600" in found.reasons[0]
    assert found.faults == found.reasons
    file.chmod(0o600)
    assert assessed(apart.custodian).level == 1, "the positive control"
    (volume / "kek").chmod(0o755)
    found = assessed(apart.custodian)
    assert found.level == 0
    assert "0700" in found.reasons[0]


def test_a_lost_or_exchanged_kek_is_a_fault_and_level_zero(apart: CustodianWorld, volume: Path) -> None:
    file = volume / "kek" / "000001.kek"
    file.write_bytes(bytes(32))
    assert "another key" in assessed(apart.custodian).faults[0]
    file.unlink()
    found = assessed(apart.custodian)
    assert found.level == 0
    assert "missing" in found.faults[0]


# --- level 2 ---


def test_level_two_is_in_force_when_the_kek_is_in_a_token_and_level_one_holds(guarded: CustodianWorld) -> None:
    found = assessed(guarded.custodian, custody_level=2)
    assert (found.level, found.faults) == (2, ())
    assert found.sentence.startswith("These accounts could open recordings without a trace today: root on ")
    assert "they can ask the token" in found.sentence
    assert len(found.reasons) == 1
    assert "software" in found.reasons[0], "SoftHSM is a file on a disk, and that is said"


def test_level_two_needs_everything_that_level_one_needs(guarded: CustodianWorld) -> None:
    found = assessed(guarded.custodian, custody_level=2, collector_url="https://custodian.example")
    assert found.level == 0
    assert len(found.reasons) == 1
    assert "same host" in found.reasons[0]
    assert assess(guarded.custodian).level == 0


def test_a_directory_that_claims_level_one_has_level_one(guarded: CustodianWorld) -> None:
    found = assessed(guarded.custodian)
    assert found.level == 1
    assert found.reasons == ("the directory claims level 1: sign one with --custody-level 2",)


def test_a_kek_in_a_file_has_level_one_whatever_is_claimed(apart: CustodianWorld) -> None:
    for claimed in (2, 3, 4):
        found = assessed(apart.custodian, custody_level=claimed)
        assert found.level == 1
        assert len(found.reasons) == 1
        assert "can be copied" in found.reasons[0]


def test_a_token_that_cannot_be_asked_is_no_custody_at_all(guarded: CustodianWorld, token: SoftToken) -> None:
    token.take_away()
    softhsm.restart_module()
    found = assessed(guarded.custodian, custody_level=2)
    assert found.level == 0
    assert token.label in found.faults[0]
    token.bring_back()
    assert assessed(guarded.custodian, custody_level=2).level == 2


def test_a_key_that_could_leave_the_token_does_not_count(guarded: CustodianWorld, token: SoftToken) -> None:
    import pkcs11
    from pkcs11 import Attribute

    guarded.custodian.keks.close()
    pin = token.pin_file.read_text().strip()
    with pkcs11.lib(str(softhsm.MODULE)).get_token(token_label=token.label).open(rw=True, user_pin=pin) as session:
        session.generate_key(
            pkcs11.KeyType.AES, 256, label="assent-kek-000002", store=True,
            template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
        )  # fmt: skip
    check = guarded.custodian.keks.check(2)
    with guarded.custodian.database.transaction() as session:
        session.add(Generation(number=2, check_value=check, created="2026-11-23", destroyed=None, tainted=False))
    found = assessed(guarded.custodian, custody_level=2)
    assert found.level == 1
    assert "can be copied" in found.reasons[0]


def test_every_sentence_names_root_and_the_account_that_runs_the_custodian(apart: CustodianWorld) -> None:
    seen = Seen(host="keys1", account="assent", local=frozenset(), in_token=True)
    directory = elsewhere(apart.custodian, custody_level=2)
    for one in (seen, dataclasses.replace(seen, in_token=False)):
        assert "root on keys1, assent on keys1" in judge(one, directory).sentence
    assert "keys1, " not in judge(dataclasses.replace(seen, account="root"), directory).sentence


# --- a custodian whose KEK is in a token ---


@pytest.fixture
def kim(guarded: CustodianWorld) -> Member:
    guarded.add_purpose()
    member = guarded.add_person("Kim")
    member.consent()
    return member


def vault_keys(custodian: Custodian) -> dict[str, bytes]:
    with custodian.database.reading() as session:
        return unwrap_rows(custodian.keks, session.scalars(select(VaultKey)))


def living(custodian: Custodian) -> list[int]:
    with custodian.database.reading() as session:
        return list(session.scalars(select(Generation.number).where(Generation.destroyed.is_(None))))


def test_streams_are_certified_and_their_vault_keys_lie_under_the_token(kim: Member, token: SoftToken) -> None:
    certificates = kim.certify()
    private = vault_keys(kim.world.custodian)
    assert {one.stream for one, _, _ in certificates} == set(private)
    for certificate, _, _ in certificates:
        key = HybridPrivateKey.from_private_bytes(private[certificate.stream])
        assert key.public_key.to_text() == certificate.vault_key
    assert not kim.world.settings.keks.exists(), "there is no file with a KEK"
    data = b"".join(path.read_bytes() for path in kim.world.settings.data_dir.rglob("*") if path.is_file())
    assert token.pin_file.read_bytes().strip() not in data
    assert b"pkcs11" not in data


def test_without_the_token_certificates_are_refused_and_nothing_is_lost(kim: Member, token: SoftToken) -> None:
    kim.certify((Modality.POINTER,))
    before = vault_keys(kim.world.custodian)
    token.take_away()
    softhsm.restart_module()
    request, _ = kim.certificate_request()
    refused = kim.post("/v1/certificates", request, key=kim.device)
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:assent:problem:closed")
    assert token.label not in refused.text
    assert kim.withdraw(erase="now").status_code == 200, "withdrawing needs no token"
    with pytest.raises(NotReady, match=token.label):
        run_night(kim.world.custodian)
    token.bring_back()
    assert set(before) and not vault_keys(kim.world.custodian)
    assert run_night(kim.world.custodian)["generations_destroyed"] == [1]
    lee = kim.world.add_person("Lee")
    lee.consent()
    lee.certify()


def test_a_token_that_hangs_hangs_nobody(tmp_path: Path, token: SoftToken) -> None:
    with custodian_world(tmp_path, **token.settings, pkcs11_timeout_s=1) as guarded:
        access = AccessWorld(guarded)
        job = access.job()
        assert job.open(access.requester, request=access.grant()).status_code == 200
        opened, _ = job.release(access.recorded)
        kim = guarded.add_person("Kim")
        kim.consent()
        assert guarded.client.get("/readyz").json() == {"status": "ready"}
        with token.hanging():
            began = time.monotonic()
            for _ in range(3):
                refused = kim.post("/v1/certificates", kim.certificate_request()[0], key=kim.device)
                assert (refused.status_code, problem(refused)) == (503, "closed")
                assert int(refused.headers["Retry-After"]) > 0
                response, _ = job.ask_release([one.segment for one in access.recorded])
                assert (response.status_code, problem(response)) == (503, "closed")
            assert kim.withdraw().status_code == 200
            assert time.monotonic() - began < 5, "one of them has waited, and nobody after it"
            ready = guarded.client.get("/readyz")
            assert ready.status_code == 200, "it goes on taking withdrawals"
            assert "token does not answer" in ready.json()["missing"]
            assert "does not answer" in assess(guarded.custodian).faults[0]
        while guarded.custodian.keks.silent():
            time.sleep(0.01)
        assert job.release(access.recorded)[0] == opened
        assert guarded.client.get("/readyz").json() == {"status": "ready"}
        assert assess(guarded.custodian).faults == ()


def test_the_doctor_says_that_the_token_hangs_and_comes_to_its_end(tmp_path: Path, token: SoftToken) -> None:
    with custodian_world(tmp_path, **token.settings):
        config = tmp_path / "custodian.toml"
        settings = {"data_dir": tmp_path / "custodian", **token.settings}
        config.write_text(
            "".join(f'{name} = "{value}"\n' for name, value in settings.items()) + "pkcs11_timeout_s = 1\n"
        )
        command = [sys.executable, "-m", "assent_server", "doctor", "--custodian-config", str(config)]
        with token.hanging():
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert f"the token {token.label} does not answer" in done.stdout


def test_without_the_token_the_door_refuses_and_opens_again_with_it(guarded: CustodianWorld, token: SoftToken) -> None:
    access = AccessWorld(guarded)
    job = access.job()
    assert job.open(access.requester, request=access.grant()).status_code == 200
    opened, refused = job.release(access.recorded)
    assert opened == {one.segment.id: one.data_key.to_bytes() for one in access.recorded}
    assert not refused
    token.take_away()
    softhsm.restart_module()
    response, _ = job.ask_release([one.segment for one in access.recorded])
    assert (response.status_code, response.json()["type"]) == (503, "urn:assent:problem:closed")
    token.bring_back()
    assert job.release(access.recorded)[0] == opened
    with guarded.custodian.database.reading() as session:
        counts = session.scalars(select(LeaseRow.released)).all()
    assert counts == [2 * len(access.recorded)], "what was refused was not counted as released"


def test_the_night_makes_a_new_generation_in_the_token_and_destroys_the_old_one_there(
    kim: Member, guarded: CustodianWorld
) -> None:
    lee = guarded.add_person("Lee")
    lee.consent()
    kim.certify()
    stays = {certificate.stream for certificate, _, _ in lee.certify()}
    before = vault_keys(guarded.custodian)
    kim.withdraw(erase="now")
    assert run_night(guarded.custodian)["generations_destroyed"] == [1]
    keks = guarded.custodian.keks
    assert [keks.has(number) for number in (1, 2)] == [False, True]
    assert keks.in_token(2)
    assert vault_keys(guarded.custodian) == {stream: before[stream] for stream in stays}
    guarded.restart()
    assert set(vault_keys(guarded.custodian)) == stays


# --- moving there ---


def test_an_installation_moves_from_its_folder_into_a_token_with_the_next_night(
    lite: CustodianWorld, token: SoftToken
) -> None:
    lite.add_purpose()
    kim = lite.add_person("Kim")
    kim.consent()
    kim.certify()
    before = vault_keys(lite.custodian)
    assert run_night(lite.custodian)["generations_destroyed"] == [], "a folder stays a folder"
    lite.settings = lite.settings.model_copy(update=token.settings)
    lite.restart()
    assert vault_keys(lite.custodian) == before, "what lies in the folder goes on opening"
    assert not assess(lite.custodian).faults
    assert run_night(lite.custodian)["generations_destroyed"] == [1]
    assert not list(lite.settings.keks.glob("*.kek")), "and the file is destroyed"
    assert lite.custodian.keks.in_token(2)
    assert vault_keys(lite.custodian) == before
    assert run_night(lite.custodian)["generations_destroyed"] == [], "once"
    assert living(lite.custodian) == [2]


def test_a_move_without_its_token_changes_nothing_and_goes_on_later(lite: CustodianWorld, token: SoftToken) -> None:
    lite.add_purpose()
    kim = lite.add_person("Kim")
    kim.consent()
    kim.certify()
    before = vault_keys(lite.custodian)
    lite.settings = lite.settings.model_copy(update=token.settings)
    lite.restart()
    token.take_away()
    softhsm.restart_module()
    with pytest.raises(NotReady, match=token.label):
        run_night(lite.custodian)
    assert (vault_keys(lite.custodian), living(lite.custodian)) == (before, [1])
    token.bring_back()
    assert run_night(lite.custodian)["generations_destroyed"] == [1]
    assert vault_keys(lite.custodian) == before


# --- settings and ceremony ---


@pytest.mark.parametrize(
    "left_out",
    [{"pkcs11_module": None}, {"pkcs11_token": ""}, {"pkcs11_pin_file": None}],
    ids=lambda one: next(iter(one)),
)
def test_a_token_is_named_completely_or_not_at_all(
    lite: CustodianWorld, token: SoftToken, left_out: dict[str, Any]
) -> None:
    settings = lite.settings.model_copy(update={**token.settings, **left_out})
    with pytest.raises(NotReady, match="all three"):
        open_keks(settings)
    with pytest.raises(NotReady, match="all three"):
        open_custodian(settings)


def test_no_installation_is_founded_on_the_keys_of_another_or_without_its_token(
    guarded: CustodianWorld, token: SoftToken, tmp_path: Path
) -> None:
    spoil: Callable[[], object]
    for spoil, says in ((lambda: None, "another installation"), (token.take_away, token.label)):
        spoil()
        softhsm.restart_module()
        with pytest.raises(NotReady, match=says), custodian_world(tmp_path / "second", **token.settings):
            pass
        assert not (tmp_path / "second").exists(), "and nothing is left of the attempt"


def test_a_kek_folder_is_still_what_an_installation_gets_that_says_nothing(lite: CustodianWorld) -> None:
    assert isinstance(lite.custodian.keks, KekFolder)
    with lite.custodian.database.reading() as session:
        assert session.scalars(select(Stream)).all() == []
