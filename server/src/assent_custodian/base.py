"""The one table of tables of the custodian. Every feature's `models` hangs its tables here.

Days are `2026-11-23`, moments `2026-11-23T14:05:09Z`: text that sorts as time. Ids and hashes are hexadecimal text.
"""

from __future__ import annotations

from sqlalchemy import MetaData, String
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Session

from assent.contracts.problems import Code, Problem

DAY = String(10)
HOUR = String(13)
MOMENT = String(20)
ID = String(32)
HASH = String(64)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        }
    )


def add_new(session: Session, row: Base, taken: str) -> None:
    """Store a row whose key nobody has used. Otherwise raises Problem `conflict` with what `taken` says; then nothing
    has changed."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise Problem(Code.CONFLICT, taken) from error
