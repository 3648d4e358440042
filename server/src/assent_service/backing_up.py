"""Backups that are whole or not there: made aside, described in a signed manifest, checked, and only then given a name.

A backup is a folder `<service>-<day>-<random>` with a copy of the database, further files, and `manifest.json`, a
signed list of the digests of them all. File times say midnight of the day. Nothing here decides what belongs into one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, MetaData, Table, inspect, make_url, text
from sqlalchemy.schema import DropTable

from assent.client.files import sync, write_private
from assent.contracts.envelope import Envelope, StatementInvalid, read
from assent.contracts.ids import new_id
from assent.contracts.keys import PublicKey
from assent.contracts.statements import BackupFile, BackupManifest
from assent.contracts.times import parse_day
from assent_service.database import connect_sqlite, open_engine, sqlite_file

MANIFEST = "manifest.json"
SQLITE_FILE = "database.sqlite"
DUMP_FILE = "database.dump"
UNFINISHED = ".unfinished-"
CONNECTIONS_END_WITHIN_S = 2
"""So long after a process let go of PostgreSQL its connections may still be counted."""

Service = Literal["collector", "custodian"]


class BackupFailed(Exception):
    """No backup was made, or this one cannot be used; says why and what to do."""


@dataclass(frozen=True)
class Backup:
    """A backup whose signature and digests hold."""

    folder: Path
    manifest: BackupManifest

    @property
    def database(self) -> Path:
        """The copy of the database: a SQLite file, or a dump of PostgreSQL in its custom format."""
        lite = self.folder / SQLITE_FILE
        return lite if lite.exists() else self.folder / DUMP_FILE


@contextmanager
def making(to: Path, service: Service, day: str) -> Iterator[Path]:
    """A new folder to fill. It gets its name when the block ends well, and is removed when it raises."""
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in to.glob(f"{UNFINISHED}{service}-*"):
        shutil.rmtree(left, ignore_errors=True)
    name = f"{service}-{day}-{new_id()[:8]}"
    aside = to / f"{UNFINISHED}{name}"
    aside.mkdir(mode=0o700)
    try:
        yield aside
        aside.rename(to / name)
        sync(to)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def named(aside: Path) -> Path:
    """Where a folder that is being made will be."""
    return aside.with_name(aside.name.removeprefix(UNFINISHED))


# --- databases --------------------------------------------------------------------------------------------------------


def copy_database(url: str, into: Path) -> Path:
    """A consistent copy of a database in use: SQLite's online backup, or `pg_dump`. Raises BackupFailed."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        copied = into / SQLITE_FILE
        copied.touch(mode=0o600)
        try:
            with closing(connect_sqlite(url)) as live, closing(sqlite3.connect(copied)) as target:
                live.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise BackupFailed(f"no backup was made: {error}") from error
        return copied
    copied = into / DUMP_FILE
    _client("pg_dump", parsed, "--format=custom", "--no-owner", f"--file={copied}")
    copied.chmod(0o600)
    return copied


def restore_database(backup: Backup, url: str, prepare: Callable[[str], None], unfinished: Path | None = None) -> None:
    """Put the copy in place of the database at `url`, which nobody uses. Raises BackupFailed; then it is as it was.

    SQLite: `prepare` gets the address of the copy before it takes the database's name. PostgreSQL: what the database
    holds is replaced in one transaction, tables that a newer version added are dropped, and then `prepare` gets its
    address. Meanwhile the file `unfinished` is there: a database that is replaced and not prepared must not be used.
    """
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite"
    if is_file != (backup.database.name == SQLITE_FILE):
        raise BackupFailed("this backup is of another kind of database (SQLite or PostgreSQL) than is configured")
    if not is_file:
        before = set(_tables(url))
        if unfinished is not None:
            write_private(unfinished, b"")
        try:
            _client(
                "pg_restore", parsed, "--clean", "--if-exists", "--no-owner", "--single-transaction", backup.database
            )
        except BackupFailed:
            if unfinished is not None:
                unfinished.unlink()
            raise
        _drop(url, before - _dumped_tables(backup.database))
        prepare(url)
        if unfinished is not None:
            unfinished.unlink()
        return
    place = sqlite_file(url)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = place.with_name(f".{place.name}.restoring")
    for leftover in (aside, *_beside(aside)):
        leftover.unlink(missing_ok=True)
    try:
        aside.touch(mode=0o600)
        shutil.copyfile(backup.database, aside)
        prepare(f"sqlite:///{aside}")
        with closing(sqlite3.connect(aside)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
        sync(aside)
    except Exception as error:
        for leftover in (aside, *_beside(aside)):
            leftover.unlink(missing_ok=True)
        raise BackupFailed(f"nothing was restored, and the database is as it was: {error}") from error
    for old in _beside(place):
        old.unlink(missing_ok=True)
    aside.replace(place)
    sync(place.parent)


def check_stopped(host: str, port: int, url: str) -> None:
    """Raises BackupFailed while something listens where the service would, or while others are connected to its
    database (on PostgreSQL: another replica, or a pool before it): nothing may use what is being replaced.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1)
        if probe.connect_ex((host, port)) == 0:
            raise BackupFailed(f"something answers at port {port}: stop the service first")
    if make_url(url).get_backend_name() == "sqlite":
        return
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            for _ in range(CONNECTIONS_END_WITHIN_S * 10):
                others = connection.execute(text(_OTHERS)).scalar_one()
                connection.rollback()
                if not others:
                    return
                time.sleep(0.1)
    finally:
        engine.dispose()
    raise BackupFailed(f"others are connected to the database ({others}): stop every replica first")


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)


def holds_tables(url: str) -> bool:
    """Whether there is something at `url` that a restore would replace. Raises sqlalchemy.exc.SQLAlchemyError."""
    if make_url(url).get_backend_name() == "sqlite":
        return sqlite_file(url).exists()
    return bool(_tables(url))


def _tables(url: str) -> list[str]:
    engine = open_engine(url)
    try:
        return inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _drop(url: str, names: Iterable[str]) -> None:
    """Remove tables that are in no dump: a migration that the backup has not seen makes them again, empty."""
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            for name in sorted(names):
                connection.execute(DropTable(Table(name, MetaData())))
    finally:
        engine.dispose()


def _dumped_tables(dump: Path) -> set[str]:
    """The names of the tables in a dump of PostgreSQL. Raises BackupFailed."""
    listed = subprocess.run([_found("pg_restore"), "--list", str(dump)], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise BackupFailed("pg_restore cannot read the dump")
    entries = (line.split() for line in listed.stdout.splitlines() if not line.startswith(";"))
    return {words[5] for words in entries if words[3:4] == ["TABLE"] and words[4:5] != ["DATA"]}


def dumped_rows(dump: Path, table: str) -> Iterator[list[str]]:
    """The rows of one table in a dump of PostgreSQL, as `COPY` writes them. Raises BackupFailed."""
    command = [_found("pg_restore"), "--data-only", f"--table={table}", "--file=-", str(dump)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        inside = False
        for line in process.stdout:
            if inside and line == "\\.\n":
                inside = False
            elif inside:
                yield line.rstrip("\n").split("\t")
            elif line.startswith("COPY "):
                inside = True
    if process.returncode:
        raise BackupFailed("pg_restore cannot read the dump")


def _beside(file: Path) -> tuple[Path, ...]:
    return tuple(file.with_name(file.name + suffix) for suffix in ("-wal", "-shm", "-journal"))


def _client(program: str, url: URL, *arguments: str | Path) -> bytes:
    """Run a client of PostgreSQL. The password goes through the environment, never through the command line."""
    environment = dict(os.environ)
    if url.password is not None:
        environment["PGPASSWORD"] = str(url.password)
    bare = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    command = [_found(program), f"--dbname={bare}", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackupFailed(f"{program} failed: {why[0][:300] if why else 'no reason given'}")
    return done.stdout


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise BackupFailed(
            f"{program} is not installed here: install PostgreSQL's client programs (of the server's version or newer)"
        )
    return path


# --- manifests --------------------------------------------------------------------------------------------------------


def describe(folder: Path, *, leave_out: str = "") -> tuple[BackupFile, ...]:
    """Digests of all files, those below the folder `leave_out` excepted; every file is synced."""
    files = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name == MANIFEST or (leave_out and name.startswith(f"{leave_out}/")):
            continue
        sync(path)
        files.append(BackupFile(name=name, sha256=digest(path), size_bytes=path.stat().st_size))
    return tuple(files)


def seal(folder: Path, manifest: Envelope, day: str) -> None:
    """Write the manifest, set every file's time to midnight of the day, and sync."""
    write_private(folder / MANIFEST, manifest.to_json())
    midnight = datetime.combine(parse_day(day), datetime.min.time(), UTC).timestamp()
    for path in (*folder.iterdir(), folder):
        os.utime(path, (midnight, midnight))
    sync(folder)


def check(folder: Path, key: PublicKey, service: Service) -> Backup:
    """Read a backup of this service that `key` signed, and check the digest of every file. Raises BackupFailed."""
    try:
        manifest = read(Envelope.from_json((folder / MANIFEST).read_bytes()), BackupManifest, key)
    except OSError as error:
        raise BackupFailed(_no_backup(folder)) from error
    except StatementInvalid as error:
        raise BackupFailed(f"{folder.name} is not a backup of this {service}: {error}") from error
    if manifest.service != service:
        raise BackupFailed(f"{folder.name} is a backup of the {manifest.service}, not of the {service}")
    for file in manifest.files:
        path = folder / file.name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BackupFailed("the manifest names a file outside its folder")
        if not path.is_file() or path.stat().st_size != file.size_bytes or digest(path) != file.sha256:
            raise BackupFailed(f"{file.name} in {folder.name} is not as it was backed up; use another backup")
    return Backup(folder, manifest)


def service_of(folder: Path) -> Service:
    """Of which service a backup says it is; nothing is believed yet. Raises BackupFailed."""
    try:
        envelope = Envelope.from_json((folder / MANIFEST).read_bytes())
        return BackupManifest.model_validate_json(envelope.payload_bytes).service
    except (OSError, StatementInvalid, ValueError) as error:
        raise BackupFailed(_no_backup(folder)) from error


def _no_backup(folder: Path) -> str:
    inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    hint = f"; it holds backups, so name one of them, as {inside[-1]}" if inside else ""
    return f"{folder} is no backup: its manifest cannot be read{hint}"


def days_of(folder: Path, service: Service) -> list[tuple[str, Path]]:
    """(day, folder) of the backups of a service, by name, oldest first."""
    found = folder.glob(f"{service}-????-??-??-*") if folder.exists() else ()
    return sorted((path.name.removeprefix(f"{service}-")[:10], path) for path in found)


def remove_before(folder: Path, service: Service, day: str) -> int:
    """Remove the backups that were made before this day. Returns how many."""
    old = [path for made, path in days_of(folder, service) if made < day]
    for path in old:
        shutil.rmtree(path)
    if old:
        sync(folder)
    return len(old)


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
