"""Brings a database to the current schema, from an installed wheel as from a checkout.

The migrations live in `migrations/` at the top of the repository and are installed as the package
`assent_migrations`; Alembic is pointed at that package, so no working directory or ini file is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from assent_service.database import NO_ROOM_TO_SHARE, open_engine, sqlite_file

Service = Literal["collector", "custodian"]

_LOCK = 0x617373656E74
"""PostgreSQL advisory lock of migrations: "assent" in ASCII."""


class DatabaseUnusable(Exception):
    """The database cannot be reached, or not be written. Says of what kind the failure is, never what was in it."""

    @classmethod
    def because(cls, error: Exception) -> DatabaseUnusable:
        """SQLite's own name of the failure says whether its disk is full, or its file cannot be opened."""
        told = getattr(getattr(error, "orig", None), "sqlite_errorname", None)
        if told == NO_ROOM_TO_SHARE:
            told = "SQLITE_FULL"
        why = {
            "SQLITE_FULL": "its disk is full",
            "SQLITE_CANTOPEN": (
                "its file cannot be opened: see whether it is there (database_url says where), and whose it is"
            ),
            "SQLITE_READONLY": "its file, or the folder, is not writable by this account",
        }.get("_".join(str(told).split("_")[:2]))
        kind = type(error).__name__ if told is None else f"{type(error).__name__}, {told}"
        return cls(f"the database cannot be used ({kind})" + (f": {why}" if why else ""))


def migrate(service: Service, url: str) -> None:
    """Upgrade `url` to the newest revision of `service`. Running it again changes nothing. A new SQLite file is its
    owner's alone, whatever the umask; its write-ahead log takes after it.

    Replicas may do so at once: on PostgreSQL they queue on an advisory lock, on SQLite on the one writer. Raises
    DatabaseUnusable.
    """
    _make_private(url)
    with _scripts(service) as config, _connected(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _make_private(url: str) -> None:
    """Make the file of an SQLite database that is not there yet, empty and with mode 0600."""
    if make_url(url).get_backend_name() != "sqlite":
        return
    with suppress(OSError):  # it is there, or cannot be made: the database itself says what is wrong
        os.close(os.open(sqlite_file(url), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def check_migrated(service: Service, url: str) -> None:
    """Raises DatabaseUnusable unless `url` is at the newest revision of `service`."""
    with _scripts(service) as config, _connected(url) as connection:
        newest = ScriptDirectory.from_config(config).get_current_head()
        if MigrationContext.configure(connection).get_current_revision() != newest:
            raise DatabaseUnusable(
                f"the {service}'s database is not of this version; run `assent-server migrate {service}`"
            )


@contextmanager
def _scripts(service: Service) -> Iterator[Config]:
    with as_file(files("assent_migrations") / service) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder))
        yield config


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = open_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise DatabaseUnusable.because(error) from error
    finally:
        engine.dispose()
