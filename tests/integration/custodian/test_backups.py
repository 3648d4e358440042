"""Backups of the custodian: what is in them, what is not, and that each was opened before it counts."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, inspect, select
from tests.simulators.custodian import CustodianWorld, custodian_world
from tests.simulators.postgres import client_programs

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.statements import OrderDone
from assent.contracts.wire import OrdersAnswer
from assent_custodian import backups
from assent_custodian.files import NotReady
from assent_custodian.keys import rotation
from assent_custodian.keys.models import Generation, VaultKey
from assent_custodian.keys.wrapping import WrapInvalid
from assent_custodian.night import run_night
from assent_custodian.people.models import Person
from assent_custodian.restoring import databases, state
from assent_service import backing_up
from assent_service.backing_up import Backup, BackupFailed


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CustodianWorld]:
    """A custodian with two people who record, and a folder for backups."""
    url = ""
    if request.param == "postgres":
        client_programs(monkeypatch)
        url = request.getfixturevalue("postgres_url")
    with custodian_world(tmp_path, url, backup_dir=tmp_path / "backups", backup_days=3) as made:
        made.add_purpose()
        for member in made.add_participants(2):
            member.certify((Modality.POINTER, Modality.SCREEN))
        yield made


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[CustodianWorld]:
    with custodian_world(tmp_path, backup_dir=tmp_path / "backups", backup_days=3) as made:
        made.add_purpose()
        for member in made.add_participants(2):
            member.certify((Modality.POINTER, Modality.SCREEN))
        yield made


def checked(world: CustodianWorld, folder: Path) -> Backup:
    return backing_up.check(folder, world.custodian.statement_key.public, "custodian")


def kept(world: CustodianWorld) -> list[str]:
    assert world.settings.backup_dir is not None
    return sorted(path.name for path in world.settings.backup_dir.iterdir())


def test_a_backup_says_what_is_in_it_and_holds_no_key(world: CustodianWorld) -> None:
    folder = backups.back_up(world.custodian)
    backup = checked(world, folder)
    assert {file.name for file in backup.manifest.files} == {backup.database.name, "directory.json", "policy.json"}
    assert (backup.manifest.day, backup.manifest.generations, backup.manifest.last_order) == ("2026-11-23", (1,), 0)
    assert backup.manifest.head_size
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    data = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    secrets = [path.read_bytes() for path in world.settings.keks.iterdir()]
    secrets += [path.read_bytes() for path in world.settings.keys.glob("*.pem")]
    assert len(secrets) == 3
    assert not [one for one in secrets if one in data or one.hex().encode() in data]


def test_a_backup_is_opened_before_it_counts(world: CustodianWorld) -> None:
    backups.check_sample(world.custodian, checked(world, backups.back_up(world.custodian)))
    with world.custodian.database.transaction() as session:
        for row in session.scalars(select(VaultKey)):
            row.wrapped = bytes(len(row.wrapped))
    with pytest.raises(WrapInvalid):
        backups.back_up(world.custodian)
    assert len(kept(world)) == 1, "nothing is left of it"


def test_the_night_backs_up_between_wrapping_anew_and_destroying(world: CustodianWorld) -> None:
    with world.custodian.database.transaction() as session:
        session.execute(Generation.__table__.update().values(tainted=True))  # type: ignore[attr-defined]
    report = run_night(world.custodian)
    assert report["generations_destroyed"] == [1]
    backup = checked(world, world.settings.backup_dir / report["backup"])  # type: ignore[operator]
    assert backup.manifest.generations == (1, 2), "the old one was still there"
    assert {generation for _, generation, _ in backups._sample(backup.database)} == {2}, "and nothing was under it"
    assert not world.custodian.keks.has(1)


def test_a_backup_that_fails_destroys_no_generation(lite: CustodianWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    with lite.custodian.database.transaction() as session:
        session.execute(Generation.__table__.update().values(tainted=True))  # type: ignore[attr-defined]

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(backing_up, "copy_database", full)
        with pytest.raises(OSError, match="No space"):
            run_night(lite.custodian)
    assert lite.custodian.keks.has(1)
    assert kept(lite) == []
    assert run_night(lite.custodian)["generations_destroyed"] == [1], "the next night goes on"


def test_a_crash_in_a_backup_leaves_nothing_that_looks_like_one(
    lite: CustodianWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        patched.setattr(backing_up, "seal", killed)
        with pytest.raises(KeyboardInterrupt):
            backups.back_up(lite.custodian)
    assert kept(lite)[0].startswith(".unfinished-")
    assert backups.oldest(lite.settings) is None
    folder = backups.back_up(lite.custodian)
    assert kept(lite) == [folder.name], "and the next one clears it away"


def test_a_night_without_erasure_backs_up_too_and_without_a_folder_says_so(
    lite: CustodianWorld, tmp_path: Path
) -> None:
    assert run_night(lite.custodian)["backup"] == kept(lite)[0]
    with custodian_world(tmp_path / "other") as without:
        assert run_night(without.custodian)["backup"] == "none: backup_dir is not set, or backup_days is 0"


def test_old_backups_go_and_from_which_day_none_is_left_is_known(lite: CustodianWorld) -> None:
    first = lite.now[:10]
    run_night(lite.custodian)
    for _ in range(2):
        lite.clock.forward(days=1)
        assert backups.gone_until(lite.settings, lite.now[:10]) < first
        run_night(lite.custodian)
        assert backups.oldest(lite.settings) == first
    lite.clock.forward(days=1)
    assert backups.gone_until(lite.settings, lite.now[:10]) == first
    assert run_night(lite.custodian)["backups_removed"] == 1
    assert backups.oldest(lite.settings) == "2026-11-24"


@pytest.mark.parametrize("damage", ["database", "manifest", "missing", "other key", "other service"])
def test_a_damaged_or_foreign_backup_is_refused(lite: CustodianWorld, damage: str) -> None:
    folder = backups.back_up(lite.custodian)
    assert checked(lite, folder), "the positive control"
    key, service = lite.custodian.statement_key.public, "custodian"
    match damage:
        case "database":
            data = bytearray((folder / backing_up.SQLITE_FILE).read_bytes())
            data[5000] ^= 1
            (folder / backing_up.SQLITE_FILE).write_bytes(data)
        case "manifest":
            text = (folder / backing_up.MANIFEST).read_text()
            (folder / backing_up.MANIFEST).write_text(text.replace('"payload":"', '"payload":"AAAA'))
        case "missing":
            (folder / "policy.json").unlink()
        case "other key":
            key = SigningKey.generate().public
        case _:
            service = "collector"
    with pytest.raises(BackupFailed):
        backing_up.check(folder, key, service)  # type: ignore[arg-type]


def test_keys_and_backups_never_share_a_folder(lite: CustodianWorld) -> None:
    for place in (lite.settings.keks, lite.settings.keys / "below", lite.settings.data_dir):
        with pytest.raises(BackupFailed, match="where the keys are"):
            backups.back_up(lite.custodian, place)


def test_a_backup_is_taken_while_the_custodian_works(lite: CustodianWorld) -> None:
    """What is not committed is not in it, and nobody waits for it."""
    with lite.custodian.database.transaction() as session:
        row = session.scalars(select(VaultKey)).first()
        assert row is not None
        session.delete(row)
        session.flush()
        folder = backups.back_up(lite.custodian)
        session.rollback()
    with closing(sqlite3.connect(folder / backing_up.SQLITE_FILE)) as copied:
        assert copied.execute("SELECT count(*) FROM vault_keys").fetchone() == (4,)


def test_a_restored_database_is_as_it_was_and_its_door_is_shut(world: CustodianWorld) -> None:
    folder = backups.back_up(world.custodian)
    with world.custodian.database.transaction() as session:
        wrapped = {row.stream: row.wrapped for row in session.scalars(select(VaultKey))}
        session.execute(VaultKey.__table__.delete())  # type: ignore[attr-defined]
        assert state.why_shut(session, world.custodian.head_memory) is None
    world.custodian.close()
    with pytest.raises(NotReady, match="--over"):
        databases.restore(world.settings, folder, clock=world.clock)
    databases.restore(world.settings, folder, over=True, clock=world.clock)
    world.restart()
    with world.custodian.database.reading() as session:
        assert {row.stream: row.wrapped for row in session.scalars(select(VaultKey))} == wrapped
        assert state.why_shut(session, world.custodian.head_memory) is not None
    ready = world.client.get("/readyz")
    assert (ready.status_code, ready.json()["missing"].split(":")[0]) == (200, "the door is shut")
    assert run_night(world.custodian)["ran"], "nothing was signed since: the log is whole as soon as witnesses say so"
    with world.custodian.database.reading() as session:
        assert state.why_shut(session, world.custodian.head_memory) is None
        assert world.client.get("/readyz").json() == {"status": "ready"}
        assert len(state.unheard(session, session.scalars(select(Person.id)))) == 2, "and nobody was heard yet"


def test_a_restore_that_was_interrupted_counts_for_nothing_and_can_be_done_again(
    world: CustodianWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In PostgreSQL the data is there a moment before the door is shut."""
    folder = backups.back_up(world.custodian)
    world.custodian.close()
    with monkeypatch.context() as patched:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(state, "begin", killed)
        with pytest.raises(KeyboardInterrupt):
            databases.restore(world.settings, folder, over=True, clock=world.clock)
    if world.custodian.database.is_sqlite:  # there the copy gets the database's name last of all
        world.restart()
        with world.custodian.database.reading() as session:
            assert state.why_shut(session, world.custodian.head_memory) is None
        world.custodian.close()
    else:
        with pytest.raises(NotReady, match="did not come to its end"):
            world.restart()
    databases.restore(world.settings, folder, over=True, clock=world.clock)
    world.restart()
    with world.custodian.database.reading() as session:
        assert state.why_shut(session, world.custodian.head_memory) is not None


def test_a_table_that_a_newer_version_added_goes_with_what_is_replaced(world: CustodianWorld) -> None:
    """Otherwise the migration that makes it would find it there, and fail."""
    folder = backups.back_up(world.custodian)
    newer = Table("of_a_newer_version", MetaData(), Column("id", Integer, primary_key=True))
    newer.create(world.custodian.database.engine)
    assert newer.name in inspect(world.custodian.database.engine).get_table_names(), "the positive control"
    world.custodian.close()
    databases.restore(world.settings, folder, over=True, clock=world.clock)
    world.restart()
    assert newer.name not in inspect(world.custodian.database.engine).get_table_names()
    with world.custodian.database.reading() as session:
        assert len(session.scalars(select(Person)).all()) == 5
        assert state.why_shut(session, world.custodian.head_memory) is not None


def test_a_restore_that_fails_leaves_the_database_as_it_was(
    world: CustodianWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backups.back_up(world.custodian)
    world.custodian.close()
    program = tmp_path / "bin" / "pg_restore"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no space left >&2; exit 1\n")
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(program.parent), prepend=":")
        patched.setattr(shutil, "copyfile", _full)
        with pytest.raises(BackupFailed, match="no space left"):
            databases.restore(world.settings, folder, over=True, clock=world.clock)
    world.restart()
    with world.custodian.database.reading() as session:
        assert state.why_shut(session, world.custodian.head_memory) is None
        assert len(session.scalars(select(VaultKey)).all()) == 4


def _full(*_: object) -> None:
    raise OSError(28, "no space left")


def test_a_service_that_runs_is_not_restored(lite: CustodianWorld) -> None:
    folder = backups.back_up(lite.custodian)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        running = lite.settings.model_copy(update={"port": listening.getsockname()[1]})
        with pytest.raises(BackupFailed, match="stop the service"):
            databases.restore(running, folder, over=True, clock=lite.clock)


def test_a_rotation_of_several_batches_moves_every_key(lite: CustodianWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 3)
    rotation.rotate(lite.custodian)
    with lite.custodian.database.reading() as session:
        assert [row.generation for row in session.scalars(select(VaultKey))] == [2] * 4


def test_an_erasure_is_not_final_while_an_older_backup_lies_there(
    lite: CustodianWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    (member,) = lite.add_participants(1)
    member.certify((Modality.POINTER,))
    assert member.withdraw(erase="now").status_code == 200
    run_night(lite.custodian)
    order = OrdersAnswer.parse(lite.ask(lite.collector_key, "GET", "/v1/orders?after=0").content).orders[0]
    done = sign(OrderDone(number=1, order=order.hash), lite.collector_key)
    assert lite.post("/v1/orders/done", done.to_json()).status_code == 200
    lite.clock.forward(days=3)
    with monkeypatch.context() as patched:
        patched.setattr(backups, "remove_old", lambda _: 0)
        assert run_night(lite.custodian)["erasures_final"] == 0
    report = run_night(lite.custodian)
    assert (report["backups_removed"], report["erasures_final"]) == (1, 1)
