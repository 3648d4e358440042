"""KEK rotation: a new generation, everything living wrapped anew, backed up, a sample opened, and only then the old one
destroyed.

Each step is committed before the next, and each can be taken again after a crash: `rotate` goes on where it stopped.
The old generation's key is destroyed only after the log says so, in the same transaction that has seen that
nothing is left under it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assent.contracts.leaves import Leaf, LeafType
from assent_custodian.context import Custodian
from assent_custodian.keys.keks import Keks
from assent_custodian.keys.models import Generation, VaultKey
from assent_custodian.keys.wrapping import WrapInvalid
from assent_custodian.log import service as log

BATCH = 10_000
"""Vault keys wrapped anew in one transaction: about a quarter of a second in which nobody else writes on SQLite."""

_MOVE = "UPDATE vault_keys SET wrapped = ?, generation = ? WHERE stream = ?"
"""As SQLite's driver takes it: through SQLAlchemy's own compiler a million rows would take a third longer."""

SAMPLE = 16


def is_due(session: Session, keks: Keks) -> bool:
    """Whether something was erased under a living generation, an earlier rotation was interrupted, or the living
    generation does not lie where new ones are made (in the token that the settings name since)."""
    living = session.execute(select(Generation.number, Generation.tainted).where(Generation.destroyed.is_(None))).all()
    return len(living) > 1 or any(row.tainted or not keks.settled(row.number) for row in living)


def rotate(custodian: Custodian, back_up: Callable[[], None] = lambda: None) -> list[int]:
    """Wrap every living vault key under a new generation and destroy the older ones. Returns those destroyed.

    `back_up` is called when everything is under the new generation and nothing is destroyed. What it raises, and
    WrapInvalid when a key does not unwrap, destroys nothing. Run by one at a time: the night holds a lock.
    """
    new = _new_generation(custodian)
    while (old := _oldest(custodian)) is not None and old < new:
        _rewrap_some(custodian, old, new)
    back_up()
    destroyed = _retire(custodian, new)
    remove_destroyed_keys(custodian)
    return destroyed


def remove_destroyed_keys(custodian: Custodian) -> None:
    """Destroy the keys of generations that the log calls destroyed; a crash may have left one."""
    with custodian.database.reading() as session:
        gone = session.scalars(select(Generation.number).where(Generation.destroyed.is_not(None))).all()
    for number in gone:
        custodian.keks.destroy(number)


def _new_generation(custodian: Custodian) -> int:
    """The generation to move to: a fresh one, unless an interrupted rotation has begun one already."""
    with custodian.database.transaction() as session:
        living = session.scalars(select(Generation).where(Generation.destroyed.is_(None))).all()
        newest = max(living, key=lambda generation: generation.number)
        if len(living) > 1 and not newest.tainted and custodian.keks.settled(newest.number):
            return newest.number
        number = newest.number + 1
        # A key without a row is left by a crash before the commit: nothing was ever wrapped under it.
        check = custodian.keks.check(number) if custodian.keks.has(number) else custodian.keks.create(number)
        session.add(
            Generation(number=number, check_value=check, created=custodian.today(), destroyed=None, tainted=False)
        )
        return number


def _oldest(custodian: Custodian) -> int | None:
    """The oldest generation that a key is wrapped under."""
    with custodian.database.reading() as session:
        return session.scalar(select(func.min(VaultKey.generation)))


def _rewrap_some(custodian: Custodian, old: int, new: int) -> None:
    """Wrap up to `BATCH` keys of one generation anew.

    Taken as the index on generations has them, so that a batch touches as few pages as possible; locked in the order
    in which everybody else locks them.
    """
    some = select(VaultKey.stream).where(VaultKey.generation == old).limit(BATCH)
    with custodian.database.transaction(slow=True) as session:  # a token takes its time for ten thousand keys
        rows = session.execute(
            select(VaultKey.stream, VaultKey.wrapped)
            .where(VaultKey.stream.in_(some))
            .order_by(VaultKey.stream)
            .with_for_update()
        )
        anew = custodian.keks.wrap(new, custodian.keks.unwrap(old, {row.stream: row.wrapped for row in rows}))
        moved = [(wrapped, new, stream) for stream, wrapped in anew.items()]
        if moved:
            statement = _MOVE if custodian.database.is_sqlite else _MOVE.replace("?", "%s")
            session.connection().exec_driver_sql(statement, moved)


def _retire(custodian: Custodian, new: int) -> list[int]:
    """Mark older generations destroyed, in the transaction that has seen that nothing is left under them."""
    with custodian.database.transaction() as session:
        old = session.scalars(
            select(Generation)
            .where(Generation.destroyed.is_(None), Generation.number != new)
            .order_by(Generation.number)
            .with_for_update()
        ).all()
        _check_sample(session, custodian, new)
        destroyed: list[int] = []
        for generation in old:
            left = session.scalar(
                select(func.count()).select_from(VaultKey).where(VaultKey.generation == generation.number)
            )
            if left:
                continue
            generation.destroyed = custodian.today()
            log.append(
                session,
                Leaf(
                    type=LeafType.GENERATION_DESTROYED,
                    at=custodian.moment(),
                    auth="operator",
                    counts={"generation": generation.number},
                ),
            )
            destroyed.append(generation.number)
        return destroyed


def _check_sample(session: Session, custodian: Custodian, new: int) -> None:
    """Unwrap some keys from what is stored, with the new generation's key as it is kept. Raises WrapInvalid."""
    if custodian.keks.check(new) != session.get_one(Generation, new).check_value:
        raise WrapInvalid("the key of the new generation is not the one that was made")
    sample: dict[str, bytes] = {}
    for start in ("", *(secrets.token_hex(16) for _ in range(SAMPLE - 1))):  # at random, since stream ids are random
        row = session.execute(
            select(VaultKey.stream, VaultKey.wrapped)
            .where(VaultKey.stream >= start, VaultKey.generation == new)
            .order_by(VaultKey.stream)
            .limit(1)
        ).first()
        if row is not None:
            sample[row.stream] = row.wrapped
    custodian.keks.unwrap(new, sample)
