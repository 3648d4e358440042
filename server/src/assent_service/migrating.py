"""Brings a database to the current schema, from an installed wheel as from a checkout.

The migrations live in `migrations/` at the top of the repository and are installed as the package
`assent_migrations`; Alembic is pointed at that package, so no working directory or ini file is needed.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Literal

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from assent_service.database import open_engine

_LOCK = 0x617373656E74
"""PostgreSQL advisory lock of migrations: "assent" in ASCII."""


class DatabaseUnusable(Exception):
    """The database cannot be reached, or not be written. Says of what kind the failure is, never what was in it."""

    @classmethod
    def because(cls, error: SQLAlchemyError) -> DatabaseUnusable:
        return cls(f"the database cannot be used ({type(error).__name__})")


def migrate(service: Literal["collector", "custodian"], url: str) -> None:
    """Upgrade `url` to the newest revision of `service`. Running it again changes nothing.

    Replicas may do so at once: on PostgreSQL they queue on an advisory lock, on SQLite on the one writer. Raises
    DatabaseUnusable.
    """
    with as_file(files("assent_migrations") / service) as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts))
        engine = open_engine(url)
        try:
            with engine.begin() as connection:
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise DatabaseUnusable.because(error) from error
        finally:
            engine.dispose()
