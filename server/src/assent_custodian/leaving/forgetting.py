"""Forgetting a person: nothing that is left in the database leads from an entry of the log, or a stream, to them.

Their name and their salt go, and with the salt the only way from a pseudonym of the log to anybody. What is theirs
alone goes with them: keys, receipts and the salts of those, erasures, notices. So do the salts of every list in the log
that they are in, a cohort or the streams of a lease: whoever knew their id could have tried it. What others still need
(a request that was granted, an approval, an order) stays, under an id that was never anybody's, without the signature
that would name their key. The log is not touched, and verifies as before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, String, delete, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.ids import new_id
from assent.contracts.statements import ConsentEnding
from assent_custodian.base import ID, Base
from assent_custodian.consent.models import EndingRow, ReceiptRow, WithdrawalRow
from assent_custodian.erasures.models import ErasureRow, ErasureTombstone
from assent_custodian.grants.models import CohortMember, DecisionRow, RequestRow
from assent_custodian.halting.models import HaltRow, ResumeRow
from assent_custodian.keys.models import Stream
from assent_custodian.leases.models import LeaseRefusal, LeaseRow, LeaseStream
from assent_custodian.leaving.models import Leaver
from assent_custodian.log import service as log
from assent_custodian.notifications.models import NotificationRow
from assent_custodian.people import service as people
from assent_custodian.people.models import (
    AccountNotice,
    Credential,
    Invitation,
    Person,
    PersonName,
    PersonSalt,
    Proposal,
    RecoveryRow,
    RoleHeld,
)
from assent_custodian.purposes.models import Purpose
from assent_custodian.recalls.models import RecallRow
from assent_custodian.restoring.models import Unheard
from assent_custodian.unmasking.models import UnmaskingRow

SOMEBODY = "somebody who has left"

THEIRS: Final[tuple[InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ...]] = (
    *(PersonName.person, PersonSalt.person, Credential.person, Person.id, Leaver.person, RoleHeld.person),
    *(Proposal.person, RecoveryRow.person, Invitation.person, AccountNotice.person, NotificationRow.person),
    *(ReceiptRow.person, WithdrawalRow.person, ErasureRow.person, ErasureTombstone.person, CohortMember.person),
    *(LeaseRefusal.person, Unheard.person),
)
"""By these columns rows are a person's alone. They are deleted."""

SIGNED: Final[tuple[InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ...]] = (
    *(RequestRow.envelope, DecisionRow.envelope, HaltRow.statement, ResumeRow.statement, EndingRow.envelope),
    *(Purpose.draft, Purpose.signature, Proposal.evidence, RecallRow.acknowledgement),
    *(RecoveryRow.statement, RecoveryRow.countersignature, RecoveryRow.stop),
    *(UnmaskingRow.statement, UnmaskingRow.countersignature),
)
"""Statements of people in a role that others still need."""

TEXTS: Final = (NotificationRow.text, AccountNotice.text)
"""Messages to others, which name who read, approved or asked."""

NO_KEY: Final = "0" * 32
"""Where the id of a forgotten key stood beside its signature."""


def forget(session: Session, person: str) -> None:
    """In one transaction. What is left of them is a number of rows under `stranger`, an id of no one."""
    session.flush()
    stranger = new_id()
    keys = session.scalars(select(Credential.key_id).where(Credential.person == person)).all()
    name = people.name_of(session, person)
    session.execute(delete(UnmaskingRow).where(UnmaskingRow.actor == log.actor_ref(session, person)))
    _without_salts_of_lists(session, person)
    own = select(LeaseRow.id).where(LeaseRow.person == person, LeaseRow.mode == "own")
    session.execute(delete(LeaseStream).where(LeaseStream.lease.in_(own)))
    session.execute(delete(LeaseRow).where(LeaseRow.person == person, LeaseRow.mode == "own"))
    records = session.scalars(select(ReceiptRow.record).where(ReceiptRow.person == person)).all()
    _without_endings_of(session, records)
    for column in THEIRS:
        session.execute(delete(column.class_).where(column == person).execution_options(synchronize_session=False))
    for key in keys:
        _without_signatures_of(session, key)
    if name != people.name_of(session, person):
        _without_name(session, name)
    _rename(session, [person, *keys, *records], stranger)
    session.expire_all()


def _without_salts_of_lists(session: Session, person: str) -> None:
    """Nobody can try any more whether they, or a stream of theirs, are in a list whose root is in the log."""
    requests = select(CohortMember.request).where(CohortMember.person == person)
    session.execute(update(RequestRow).where(RequestRow.hash.in_(requests)).values(salt=None))
    streams = select(Stream.id).where(Stream.person == person)
    leases = select(LeaseStream.lease).where(LeaseStream.stream.in_(streams))
    session.execute(update(LeaseRow).where(LeaseRow.id.in_(leases)).values(salt=b""))
    session.execute(delete(LeaseStream).where(LeaseStream.stream.in_(streams)))


def _without_endings_of(session: Session, records: Sequence[str]) -> None:
    """An ending by the dpo that names one receipt is about nobody else; what it covered is erased."""
    for row in session.scalars(select(EndingRow).where(EndingRow.notice.is_(None))).all():
        if read_unverified(Envelope.from_json(row.envelope), ConsentEnding).record in records:
            session.delete(row)
    session.flush()


def _rename(session: Session, known: list[str], stranger: str) -> None:
    """Wherever else an id of theirs stands, in whichever table, also in one that is added later."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, String) and column.type.length == ID.length:
                session.execute(update(table).where(column.in_(known)).values({column: stranger}))


def _without_signatures_of(session: Session, key: str) -> None:
    for column in SIGNED:
        model, places = column.class_, list(column.class_.__mapper__.primary_key)
        rows = session.execute(select(column, *places).where(column.contains(key))).all()
        for text, *place in rows:
            session.execute(update(model).where(*_at(places, place)).values({column.key: unsigned(text, key)}))


def _without_name(session: Session, name: str) -> None:
    whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    for column in TEXTS:
        rows = session.execute(select(column, column.class_.id).where(column.contains(name, autoescape=True))).all()
        for text, id_ in rows:
            session.execute(update(column.class_).where(column.class_.id == id_).values(text=whole.sub(SOMEBODY, text)))


def _at(columns: list[ColumnElement[str]], values: list[str]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in zip(columns, values, strict=True)]


def unsigned(envelope: str, key: str) -> str:
    """The same statement; beside the signature of this key stands no key any more, and no signature."""
    document = json.loads(envelope)
    for signature in document["signatures"]:
        if signature["keyid"] == key:
            signature.update(keyid=NO_KEY, sig="")
    return json.dumps(document, separators=(",", ":"))
