"""Backups of the collector: the database and every body, by hard link; nothing in them opens anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.simulators.collector import DAY, Recording, World, put
from tests.simulators.postgres import client_programs

from assent.contracts.keys import SigningKey
from assent_collector import backups
from assent_service import backing_up
from assent_service.backing_up import BackupFailed


@pytest.fixture(autouse=True)
def clients(monkeypatch: pytest.MonkeyPatch) -> None:
    client_programs(monkeypatch)


def record(world: World, count: int = 2) -> list[Recording]:
    made = []
    for _ in range(count):
        recording = Recording()
        world.register(recording)
        put(world.collector.uploads, recording.segment())
        made.append(recording)
    return made


def back_up(world: World, to: Path) -> Path:
    return backups.back_up(world.settings, world.collector.key, world.clock, to)


def test_a_backup_holds_rows_and_bodies_and_no_key(world: World, tmp_path: Path) -> None:
    record(world)
    folder = back_up(world, tmp_path / "backups")
    backup = backups.check(folder, world.collector.key)
    assert (backup.manifest.day, backup.manifest.last_order) == (DAY, 0)
    copied = sorted(path for path in (folder / backups.BLOBS).rglob("*") if path.is_file())
    assert [path.name for path in copied] == [path.name for path in world.kept()]
    assert [path.stat().st_ino for path in copied] == [path.stat().st_ino for path in world.kept()]
    pem = world.settings.key.read_bytes()
    assert not [path for path in folder.rglob("*") if path.is_file() and pem in path.read_bytes()]


def test_what_is_erased_later_stays_in_the_backup_until_it_goes(lite: World, tmp_path: Path) -> None:
    gone, kept = record(lite)
    settings = lite.settings.model_copy(update={"backup_dir": tmp_path / "backups", "backup_days": 2})
    first = backups.back_up(settings, lite.collector.key, lite.clock)
    lite.book.order(lite.issuer.erase(gone.stream))
    assert lite.collector.orders.pull_orders_once() == 1
    assert len(lite.kept()) == 1
    assert backups.check(first, lite.collector.key), "sealed to a key that is destroyed; what backup_days is about"
    lite.clock.forward(days=3)
    second = backups.back_up(settings, lite.collector.key, lite.clock)
    assert list((tmp_path / "backups").iterdir()) == [second]
    assert backups.check(second, lite.collector.key).manifest.last_order == 1
    assert kept.stream != gone.stream


def test_a_store_whose_bodies_are_damaged_is_not_backed_up(lite: World, tmp_path: Path) -> None:
    record(lite)
    for body in lite.kept():
        body.write_bytes(bytes(body.stat().st_size))
    with pytest.raises(BackupFailed, match="damaged"):
        back_up(lite, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.parametrize("damage", ["body missing", "body cut off", "list", "other key"])
def test_a_damaged_backup_is_refused(lite: World, tmp_path: Path, damage: str) -> None:
    record(lite)
    folder = back_up(lite, tmp_path / "backups")
    body = next(path for path in (folder / backups.BLOBS).rglob("*") if path.is_file())
    key = lite.collector.key
    assert backups.check(folder, key), "the positive control"
    match damage:
        case "body missing":
            body.unlink()
        case "body cut off":
            body.unlink()
            body.write_bytes(b"short")
        case "list":
            (folder / backups.LIST).write_text("../../outside 3\n")
        case _:
            key = SigningKey.generate()
    with pytest.raises(BackupFailed):
        backups.check(folder, key)


def test_a_body_on_another_file_system_is_copied(lite: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_file_system(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    record(lite)
    monkeypatch.setattr(os, "link", other_file_system)
    folder = back_up(lite, tmp_path / "backups")
    copied = sorted(path for path in (folder / backups.BLOBS).rglob("*") if path.is_file())
    assert [path.read_bytes() for path in copied] == [path.read_bytes() for path in lite.kept()]
    assert copied[0].stat().st_mtime == lite.kept()[0].stat().st_mtime
    assert backing_up.days_of(tmp_path / "backups", "collector")
