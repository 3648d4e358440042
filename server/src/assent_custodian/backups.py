"""Backups of the custodian: its database, directory and policy; never a KEK, and none of its signing keys.

Without the KEK generations that the manifest names, a backup opens nothing. What is erased is gone from later backups,
and from earlier ones once the generation is destroyed under which it was wrapped there; what remains in those (people,
consent) goes when they expire. A backup counts once vault keys from it were opened.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assent.contracts.statements import BackupManifest
from assent.contracts.times import add_days
from assent_custodian.context import Custodian
from assent_custodian.keys.models import Generation
from assent_custodian.log import service as log
from assent_custodian.orders.models import OrderRow
from assent_custodian.settings import Settings
from assent_service import backing_up
from assent_service.backing_up import Backup, BackupFailed

SAMPLE = 16
"""Vault keys that are opened from a backup before it counts."""


def back_up(custodian: Custodian, to: Path | None = None) -> Path:
    """Make a backup in `to` (else `backup_dir`), open a sample from it, and return its folder.

    Raises BackupFailed, WrapInvalid or NotReady; then there is none.
    """
    to = to or custodian.settings.backup_dir
    if to is None:
        raise BackupFailed("name a folder with --to, or set backup_dir")
    _not_beside_keys(custodian.settings, to)
    day = custodian.today()
    with backing_up.making(to, "custodian", day) as folder:
        with custodian.database.reading() as session:
            head, order, living = log.size(session), _last_order(session), _living(session)
        backing_up.copy_database(custodian.settings.database, folder)
        for name, path in (
            ("directory.json", custodian.settings.directory),
            ("policy.json", custodian.settings.policy),
        ):
            shutil.copyfile(path, folder / name)
            (folder / name).chmod(0o600)
        manifest = BackupManifest(
            service="custodian", day=day, files=backing_up.describe(folder), head_size=head, generations=living,
            last_order=order,
        )  # fmt: skip
        backing_up.seal(folder, custodian.sign(manifest), day)
        check_sample(custodian, backing_up.check(folder, custodian.statement_key.public, "custodian"))
        return backing_up.named(folder)


def check_sample(custodian: Custodian, backup: Backup) -> None:
    """Open some vault keys from a backup, with the KEKs as they are now. Raises WrapInvalid or NotReady."""
    by_generation: dict[int, dict[str, bytes]] = {}
    for stream, generation, wrapped in _sample(backup.database):
        by_generation.setdefault(generation, {})[stream] = wrapped
    for generation, keys in by_generation.items():
        custodian.keks.unwrap(generation, keys)


def _sample(copied: Path) -> Iterable[tuple[str, int, bytes]]:
    """(stream, generation, wrapped) of some vault keys in a copy of the database; at random, as stream ids are."""
    if copied.name == backing_up.DUMP_FILE:
        rows = [
            (row[0], int(row[1]), bytes.fromhex(row[2][3:])) for row in backing_up.dumped_rows(copied, "vault_keys")
        ]
        return secrets.SystemRandom().sample(rows, min(SAMPLE, len(rows)))
    query = "SELECT stream, generation, wrapped FROM vault_keys WHERE stream >= ? ORDER BY stream LIMIT 1"
    found: list[tuple[str, int, bytes]] = []
    with closing(sqlite3.connect(f"file:{copied}?mode=ro&immutable=1", uri=True)) as connection:
        whole = connection.execute("PRAGMA quick_check").fetchone()
        if whole != ("ok",):
            raise BackupFailed("the copy of the database is damaged")
        found += connection.execute("SELECT stream, generation, wrapped FROM vault_keys LIMIT 1")
        for _ in range(SAMPLE):
            found += connection.execute(query, (secrets.token_hex(16),))
    return found


def remove_old(custodian: Custodian) -> int:
    """Remove backups in `backup_dir` that are `backup_days` old. Returns how many."""
    settings = custodian.settings
    if settings.backup_dir is None:
        return 0
    kept_from = add_days(gone_until(settings, custodian.today()), 1)
    return backing_up.remove_before(settings.backup_dir, "custodian", kept_from)


def gone_until(settings: Settings, today: str) -> str:
    """The last day of which, by the configured retention, no backup exists any more today.

    An erasure whose old KEK generation was destroyed on that day or before is final, if `oldest` agrees.
    """
    return add_days(today, -settings.backup_days)


def oldest(settings: Settings) -> str | None:
    """The day of the oldest backup in `backup_dir`: what the night has not removed is not gone, whatever was meant."""
    if settings.backup_dir is None:
        return None
    made = backing_up.days_of(settings.backup_dir, "custodian")
    return made[0][0] if made else None


def _not_beside_keys(settings: Settings, to: Path) -> None:
    """A backup in the folder of the KEKs would be opened by what lies beside it. Raises BackupFailed."""
    place = to.resolve()
    for folder in (settings.keks.resolve(), settings.keys.resolve()):
        if place.is_relative_to(folder) or folder.is_relative_to(place):
            raise BackupFailed("a backup must not lie where the keys are, nor the keys in the folder of backups")


def _last_order(session: Session) -> int:
    return session.scalar(select(func.max(OrderRow.number))) or 0


def _living(session: Session) -> tuple[int, ...]:
    return tuple(
        session.scalars(select(Generation.number).where(Generation.destroyed.is_(None)).order_by(Generation.number))
    )
