"""A second device, and a lost one. Only an opening credential of the person adds a key to them, or ends one.

A revoked key signs nothing any more but withdrawals, its certificates end at the collector at once, and recordings
made before stay: whether they open is for consent to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import CredentialCode, CredentialRevocation
from assent.contracts.times import parse_moment
from assent_custodian.auth import Stated
from assent_custodian.base import add_new
from assent_custodian.context import Custodian
from assent_custodian.keys.models import Stream
from assent_custodian.log import service as log
from assent_custodian.orders import service as orders
from assent_custodian.people import notices
from assent_custodian.people.models import Credential, Invitation, Person, RecoveryRow, living_opening
from assent_custodian.restoring.models import Unheard

CODE_FOR = timedelta(hours=24)
"""How long a code that adds a key works."""


def sign_for_code(session: Session, custodian: Custodian, stated: Stated[CredentialCode]) -> None:
    """Let the holder of this code add one key to the person who signed. Raises Problem."""
    statement, asker, now = stated.statement, stated.asker, custodian.now()
    try:
        until = parse_moment(statement.until)
    except ValueError as error:
        raise Problem(Code.MALFORMED, "a moment in this statement is not one of the calendar") from error
    if not now < until <= parse_moment(statement.at) + CODE_FOR:
        raise Problem(Code.MALFORMED, "a code that adds a key ends in the future and within 24 hours")
    row = Invitation(
        code=statement.code,
        statement=stated.envelope.hash,
        name=None,
        role=None,
        by=asker.person,
        until=statement.until,
        used=None,
        person=asker.person,
        kind=statement.kind,
        credential=asker.credential,
    )
    add_new(session, row, "this code exists already; make a new one")


@dataclass(frozen=True)
class Bounds:
    """What a new key may not do; see `models.Credential`."""

    opens_after: str | None = None
    waits_until: str | None = None


UNBOUND = Bounds()


def check_code(session: Session, invitation: Invitation, kinds: Sequence[str]) -> Bounds:
    """Whether this code adds exactly these kinds of keys, and who signed for it may still; returns what bounds the key.

    A key is bound as the one that added it. Raises Problem.
    """
    if kinds != [invitation.kind]:
        raise Problem(Code.REFUSED, f"this code adds one key, of the kind {invitation.kind}")
    if invitation.credential is None:
        row = session.get(RecoveryRow, invitation.statement, with_for_update=True)
        if row is None or row.ready is None or row.stopped is not None:
            raise Problem(Code.CODE_INVALID, "this recovery was stopped")
        return Bounds(opens_after=row.ready[:10], waits_until=row.ready)
    signer = session.get(Credential, invitation.credential, with_for_update={"read": True})
    if signer is None or signer.revoked is not None or signer.kind != "opening":
        raise Problem(Code.CODE_INVALID, "the key that signed for this code was revoked; make a new code")
    return Bounds(opens_after=signer.opens_after)


def revoke(session: Session, custodian: Custodian, stated: Stated[CredentialRevocation]) -> None:
    """End a key of the person who signed. Twice is once. Raises Problem.

    Its live streams are closed in this transaction, and an order to the collector is made in it, not in the night.
    """
    statement, person = stated.statement, stated.asker.person
    session.execute(select(Person.id).where(Person.id == person).with_for_update())  # nobody revokes the other last one
    row = session.get(Credential, statement.credential, with_for_update=True)
    if row is None or row.person != person:
        raise Problem(Code.NOT_FOUND, "you have no such key; 'assent me devices' lists yours")
    if row.revoked is not None:
        return
    if row.kind == "opening" and not statement.even_last and _other_opening(session, row) == 0:
        raise Problem(
            Code.REFUSED,
            "this is your last opening key: only a recovery makes another; say that you mean it",
        )
    end(session, custodian, row)
    notices.tell(
        session,
        person,
        custodian.today(),
        f"The {notices.KINDS[row.kind]} of {row.since} (key {row.key_id[:8]}) was revoked on {custodian.today()}.",
    )


def end(session: Session, custodian: Custodian, row: Credential) -> None:
    """Revoke a credential, what it may still send, and the codes that it signed for. Raises Problem.

    The leaf says whose key it was to nobody but a custodian that has the person's salt: one restored from before.
    """
    orders.revoke_now(session, custodian, set_revoked(session, row, custodian.today()))
    root = log.concerned(session, row.person, row.key_id)
    log.append(session, Leaf(type=LeafType.CREDENTIAL_REVOKED, at=custodian.moment(), roots={"credential": root}))


def set_revoked(session: Session, row: Credential, day: str) -> list[str]:
    """The same, as far as it is known here only. Returns the streams that were closed.

    After a restore, what is revoked is not waited for.
    """
    row.revoked = day
    session.execute(delete(Unheard).where(Unheard.key_id == row.key_id))
    streams = session.scalars(
        select(Stream)
        .where(
            Stream.credential == row.key_id,
            Stream.closed.is_(None),
            Stream.erased.is_(None),
            Stream.upload_until >= day,
        )
        .order_by(Stream.id)
    ).all()
    for stream in streams:
        stream.closed = "revoked"
    session.execute(
        update(Invitation).where(Invitation.credential == row.key_id, Invitation.used.is_(None)).values(used=day)
    )
    return [stream.id for stream in streams]


def _other_opening(session: Session, row: Credential) -> int:
    others = select(func.count()).where(
        Credential.person == row.person, living_opening(), Credential.key_id != row.key_id
    )
    return session.scalar(others) or 0
