"""Backups of the collector: its database, and every body by hard link (or by copy, on another file system).

What is in one is what the collector holds: sealed bodies of nameless streams, and no key that opens any. Its signing
key is not in it. The database is copied first: a body that comes later is in no row, and one that is erased meanwhile
is missing as it should be. `blobs.list` names the bodies; their digests are in the rows.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from assent.client.files import sync, write_private
from assent.contracts.envelope import sign
from assent.contracts.keys import SigningKey
from assent.contracts.statements import BackupManifest
from assent.contracts.times import add_days, day_of
from assent_collector import store
from assent_collector.app import read_key
from assent_collector.models import items, streams
from assent_collector.settings import CollectorSettings
from assent_service import backing_up
from assent_service.backing_up import Backup, BackupFailed
from assent_service.database import Database
from assent_service.migrating import migrate

BLOBS = "blobs"
LIST = "blobs.list"
SAMPLE = 16
"""Bodies that are read and compared with their digest before a backup counts."""


def back_up(
    settings: CollectorSettings, key: SigningKey, clock: Callable[[], datetime], to: Path | None = None
) -> Path:
    """Make a backup in `to` (else `backup_dir`, where older ones than `backup_days` go) and return its folder.

    Raises BackupFailed; then there is none.
    """
    place = to or settings.backup_dir
    if place is None:
        raise BackupFailed("name a folder with --to, or set backup_dir")
    if place.resolve().is_relative_to(settings.blobs.resolve()):
        raise BackupFailed("a backup must not lie among the bodies")
    day = day_of(clock())
    with backing_up.making(place, "collector", day) as folder:
        database = Database(settings.database)
        try:
            with database.reading() as session:
                last = store.last_order(session)
            backing_up.copy_database(settings.database, folder)
            bodies = _link_all(settings.blobs / "days", folder / BLOBS)
            (folder / LIST).write_text("".join(f"{name} {size}\n" for name, size in bodies))
            _compare_sample(database, folder)
        finally:
            database.close()
        manifest = BackupManifest(
            service="collector", day=day, files=backing_up.describe(folder, leave_out=BLOBS),
            last_order=last.number if last else 0,
        )  # fmt: skip
        backing_up.seal(folder, sign(manifest, key), day)
        check(folder, key)
        made = backing_up.named(folder)
    if to is None:
        backing_up.remove_before(place, "collector", add_days(day, 1 - settings.backup_days))
    return made


def check(folder: Path, key: SigningKey) -> Backup:
    """A backup whose signature and digests hold and whose bodies are all there. Raises BackupFailed."""
    backup = backing_up.check(folder, key.public, "collector")
    for name, size in _listed(backup):
        path = folder / BLOBS / name
        if not path.is_file() or path.stat().st_size != size:
            raise BackupFailed(f"a body is missing from {folder.name}, or cut off; use another backup")
    return backup


def restore_bodies(backup: Backup, settings: CollectorSettings) -> int:
    """Put the bodies of a checked backup beside what is there; a name is used once, so none is replaced."""
    count = 0
    folders = set()
    for name, _ in _listed(backup):
        place = settings.blobs / "days" / name
        if not place.exists():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link(backup.folder / BLOBS / name, place)
            sync(place)
            folders.add(place.parent)
            count += 1
    for folder in folders:
        sync(folder)
    return count


def _listed(backup: Backup) -> list[tuple[str, int]]:
    found = []
    for line in (backup.folder / LIST).read_text().splitlines():
        name, _, size = line.partition(" ")
        if name.count("/") != 1 or ".." in name:
            raise BackupFailed("the list of bodies names something else")
        found.append((name, int(size)))
    return found


def _link_all(days: Path, into: Path) -> list[tuple[str, int]]:
    into.mkdir(mode=0o700)
    found = []
    for day in sorted(days.iterdir()) if days.exists() else ():
        target = into / day.name
        target.mkdir(mode=0o700)
        for body in sorted(day.iterdir()):
            try:
                _link(body, target / body.name)
                found.append((f"{day.name}/{body.name}", (target / body.name).stat().st_size))
            except FileNotFoundError:
                continue  # erased while we looked
        shutil.copystat(day, target)
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copy2(source, target)


def _compare_sample(database: Database, folder: Path) -> None:
    """Bodies at random, by their random names, against the digests in their rows. Raises BackupFailed."""
    for _ in range(SAMPLE):
        with database.reading() as session:
            row = session.execute(
                select(streams.c.day, items.c.blob, items.c.body_sha256)
                .join(streams, streams.c.stream == items.c.stream)
                .where(items.c.blob >= secrets.token_hex(16), items.c.kind == "segment")
                .order_by(items.c.blob)
                .limit(1)
            ).first()
        if row is None:
            continue
        copied = folder / BLOBS / row.day / row.blob
        if copied.exists() and backing_up.digest(copied) != row.body_sha256:
            raise BackupFailed("a body is not what its row says: the store is damaged; restore it from a backup")


def restore(settings: CollectorSettings, folder: Path, *, over: bool = False) -> Backup:
    """Put a backup in place. Nothing is handed out before every order since was carried out again.

    Raises BackupFailed, and NotReady when the key is missing; then nothing was changed.
    """
    backing_up.check_stopped(settings.host, settings.port, settings.database)
    backup = check(folder, read_key(settings.key))
    if backing_up.holds_tables(settings.database) and not over:
        raise BackupFailed("there is a database already; with --over it is replaced, and what it holds is lost")
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(settings.behind, f"{backup.manifest.day}\n".encode())
    restore_bodies(backup, settings)
    backing_up.restore_database(backup, settings.database, lambda url: migrate("collector", url))
    return backup
