"""What others could read on this host without asking anybody: modes of databases, bodies and keys."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from assent_collector.settings import CollectorSettings
from assent_custodian.settings import Settings as CustodianSettings
from assent_server.drill.results import Results

OTHERS = 0o077


@dataclass(frozen=True)
class Surface:
    """A file or folder that its owner alone may use. `deep`: also everything in it. It may be absent."""

    rule: str
    path: Path
    what: str
    deep: bool = False


def of_custodian(settings: CustodianSettings) -> list[Surface]:
    """What lies where the custodian runs."""
    found = [
        Surface("surface.custodian-keys", settings.keys, "the custodian's signing keys"),
        Surface("surface.kek", settings.keks, "key-encryption keys", deep=True),
        Surface("surface.drill", settings.drill, "keys of the drill", deep=True),
        *_database("surface.custodian-database", settings.database, "the custodian's database"),
    ]
    if settings.backup_dir is not None:
        found.append(Surface("surface.custodian-backups", settings.backup_dir, "backups of the custodian", deep=True))
    return found


def of_collector(settings: CollectorSettings) -> list[Surface]:
    """What lies where the collector runs."""
    found = [
        Surface("surface.collector-key", settings.key, "the collector's signing key"),
        Surface("surface.bodies", settings.blobs, "bodies of recordings"),
        *_database("surface.collector-database", settings.database, "the collector's database"),
    ]
    if settings.backup_dir is not None:
        found.append(Surface("surface.collector-backups", settings.backup_dir, "backups of the collector", deep=True))
    return found


def _database(rule: str, url: str, what: str) -> Iterator[Surface]:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        for suffix in ("", "-wal", "-shm", "-journal"):
            yield Surface(rule, Path(f"{parsed.database}{suffix}"), what)


def look(surfaces: Iterable[Surface], results: Results) -> None:
    """Compare every mode with what is promised: nobody but the owner."""
    for surface in surfaces:
        paths = [surface.path, *(surface.path.rglob("*") if surface.deep and surface.path.is_dir() else ())]
        for path in paths:
            try:
                mode = stat.S_IMODE(path.stat().st_mode)
            except FileNotFoundError:
                continue
            kind = "enter" if path.is_dir() else "use"
            results.expect(
                surface.rule,
                not mode & OTHERS,
                f"other accounts of this host could {kind} {path.name} (mode {mode:04o}): {surface.what}",
            )
