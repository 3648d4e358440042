"""Everything that a custodian holds while it runs, put together once and passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from assent.client.directory import origin_of
from assent.contracts.envelope import Envelope, Statement, sign
from assent.contracts.keys import KeyInvalid, PublicKey, SigningKey
from assent.contracts.times import day_of, moment
from assent.transparency.note import Signer
from assent_custodian.consent.offer import OfferPolicy, read_policy
from assent_custodian.directory import ROOT_KEY_FILE, Current, DirectoryBook
from assent_custodian.files import NotReady
from assent_custodian.keys.keks import Keks
from assent_custodian.keys.stores import open_keks
from assent_custodian.log.service import HeadMemory
from assent_custodian.ring import KeyRing
from assent_custodian.settings import Settings
from assent_service.database import Database

Clock = Callable[[], datetime]

HEAD_FILE = "last-checkpoint"


def wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Custodian:
    """The running custodian. It holds the store of KEKs, but only `keys.vault` opens anything with it."""

    settings: Settings
    database: Database
    clock: Clock
    ring: KeyRing = field(repr=False)
    head_memory: HeadMemory
    book: DirectoryBook
    offer: OfferPolicy
    keks: Keks

    @property
    def directory(self) -> Current:
        return self.book.current()

    @property
    def statement_key(self) -> SigningKey:
        """The one that the directory in force names: a new directory changes it without a restart. Raises NotReady."""
        return self.ring.statement(self.directory.directory.statement_key)

    @property
    def log_signer(self) -> Signer:
        """The same for the log."""
        return self.ring.log(self.directory.directory.log_vkey)

    def now(self) -> datetime:
        return self.clock().astimezone(UTC)

    def moment(self) -> str:
        return moment(self.now())

    def today(self) -> str:
        return day_of(self.now())

    def sign(self, statement: Statement) -> Envelope:
        """Sign with the statement key."""
        return sign(statement, self.statement_key)

    def close(self) -> None:
        self.database.close()
        self.keks.close()


def open_custodian(settings: Settings, clock: Clock = wall_clock) -> Custodian:
    """Read keys, directory and policy, and check that they belong together. Raises NotReady with what to do.

    The database must have been migrated; nothing is written here.
    """
    if settings.restore_unfinished.exists():
        raise NotReady("a restore did not come to its end: run `assent-server restore FOLDER --over` once more")
    ring = KeyRing(settings.keys)
    try:
        root_key = PublicKey((settings.keys / ROOT_KEY_FILE).read_text().strip())
        root_key.load()
    except (OSError, KeyInvalid) as error:
        raise NotReady(f"{ROOT_KEY_FILE} is missing or no key; run `assent-server init`") from error
    book = DirectoryBook(settings.directory, root_key)
    directory = book.current().directory
    ring.statement(directory.statement_key)
    ring.log(directory.log_vkey)
    offer = read_policy(settings.policy)
    if settings.retention_days > offer.terms.retention_days:
        raise NotReady(
            f"retention_days is {settings.retention_days}, but people are promised {offer.terms.retention_days} in "
            f"{settings.policy.name}: nothing is kept for longer than was promised"
        )
    return Custodian(
        settings=settings,
        database=Database(settings.database, settings.reserve),
        clock=clock,
        ring=ring,
        head_memory=HeadMemory(settings.keys / HEAD_FILE, lambda: origin_of(book.current().directory)),
        book=book,
        offer=offer,
        keks=open_keks(settings),
    )
