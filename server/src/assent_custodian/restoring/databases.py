"""Putting a backup of the custodian in place. Nothing uses the database before its door was shut."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from assent_custodian.context import HEAD_FILE, Clock, wall_clock
from assent_custodian.files import NotReady
from assent_custodian.log import service as log
from assent_custodian.log.service import HeadMemory
from assent_custodian.restoring import state
from assent_custodian.ring import KeyRing
from assent_custodian.settings import Settings
from assent_service import backing_up
from assent_service.backing_up import Backup, BackupFailed
from assent_service.database import Database
from assent_service.migrating import migrate


def restore(settings: Settings, folder: Path, *, over: bool = False, clock: Clock = wall_clock) -> Backup:
    """Replace the database by that of a backup, and shut the door until it has caught up.

    Keys are in no backup: they must lie where the settings say. Directory and policy are taken from the backup where
    there is none: a directory's version never falls. Raises NotReady or BackupFailed; then nothing was changed.
    """
    backing_up.check_stopped(settings.host, settings.port, settings.database)
    backup = _checked(settings, folder)
    if backing_up.holds_tables(settings.database) and not over:
        raise NotReady("there is a database already; with --over it is replaced, and what it holds is lost")
    memory = HeadMemory(settings.keys / HEAD_FILE)
    last = memory.last()
    day = clock().date().isoformat()

    def shut(url: str) -> None:
        migrate("custodian", url)
        database = Database(url)
        try:
            with database.transaction() as session:
                state.begin(session, max(log.size(session), last.size if last else 0), day, anew=True)
        finally:
            database.close()

    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, place in (("directory.json", settings.directory), ("policy.json", settings.policy)):
        if not place.exists():
            shutil.copyfile(folder / name, place)
    backing_up.restore_database(backup, settings.database, shut, settings.restore_unfinished)
    return backup


def _checked(settings: Settings, folder: Path) -> Backup:
    """The backup, if a statement key of this folder signed it: the one of now, or one of before."""
    *others, last = KeyRing(settings.keys).every("statement")
    for key in others:
        with suppress(BackupFailed):
            return backing_up.check(folder, key.public, "custodian")
    return backing_up.check(folder, last.public, "custodian")
