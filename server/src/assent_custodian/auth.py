"""Who signed this? Finds the credential behind a signature and the roles that count now.

The proof is always a statement in an envelope: an Ask in the Authorization field, or the body itself. Verified in this
order: well-formed; a known credential that is not revoked; its signature; time within 120 s and nonce used once, where
the statement has them. Only then is anybody's role looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.contracts.envelope import Envelope, Statement, StatementInvalid, read_unverified
from assent.contracts.keys import KeyInvalid, PublicKey, SignatureInvalid, b64url_bytes
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Ask, Role
from assent.contracts.times import moment
from assent.contracts.wire import AUTHORIZATION_SCHEME
from assent_custodian import replay
from assent_custodian.people.models import Credential, Person, RecoveryRow, RoleHeld
from assent_custodian.roles import CredentialKind

MAX_AUTHORIZATION_CHARS = 8192

S = TypeVar("S", bound=Statement)


@dataclass(frozen=True)
class Asker:
    """A person, by which credential, and the roles in effect at this moment.

    `opens_after`, `waits_until`: of a credential that came of a recovery (`people.models.Credential`).
    """

    person: str
    credential: str
    kind: CredentialKind
    roles: frozenset[Role]
    drill: bool
    revoked: bool = False
    opens_after: str | None = None
    waits_until: str | None = None


@dataclass(frozen=True)
class Stated(Generic[S]):
    """A statement whose signature, time and nonce hold, who signed it, and the salted leaf and the salt beside it, if
    any.
    """

    statement: S
    envelope: Envelope
    asker: Asker
    leaf: str | None = None
    salt: str | None = None

    @property
    def required_leaf(self) -> str:
        """The salted leaf, for routes whose body always has one. Raises Problem."""
        if self.leaf is None:
            raise Problem(Code.MALFORMED, "the salted hash for the log is missing")
        return self.leaf


def roles_now(session: Session, person: str, now: datetime, *, after: str | None = None) -> frozenset[Role]:
    """Roles whose delay is over and that have not ended; with `after`, those that began on a later day."""
    found = session.scalars(
        select(RoleHeld.role).where(
            RoleHeld.person == person,
            RoleHeld.effective <= moment(now),
            RoleHeld.effective > (f"{after}~" if after else ""),
            RoleHeld.ended.is_(None),
        )
    )
    return frozenset(Role(role) for role in found)


def signer(session: Session, envelope: Envelope, now: datetime, *, revoked_too: bool = False) -> Asker:
    """The person behind the first signature of a known credential, after checking it. Raises Problem.

    `revoked_too`: also of one that was revoked, unless it came of a recovery that was stopped.
    """
    for signature in envelope.signatures:
        credential = session.get(Credential, signature.keyid)
        if credential is None or (credential.revoked is not None and not revoked_too):
            continue
        if credential.revoked is not None and _never_was_theirs(session, credential):
            continue
        verify(envelope, PublicKey(credential.key))
        person = session.get(Person, credential.person)
        if person is None:
            continue
        return Asker(
            person=person.id,
            credential=credential.key_id,
            kind=cast("CredentialKind", credential.kind),
            roles=roles_now(session, person.id, now, after=credential.opens_after),
            drill=person.drill,
            revoked=credential.revoked is not None,
            opens_after=credential.opens_after,
            waits_until=credential.waits_until if (credential.waits_until or "") > moment(now) else None,
        )
    raise Problem(Code.NOT_SIGNED_IN, "sign this with a credential that is enrolled here and not revoked")


def _never_was_theirs(session: Session, credential: Credential) -> bool:
    """Whether this key came of a recovery that its person stopped: it does not even withdraw."""
    stopped = select(RecoveryRow.hash).where(RecoveryRow.key_id == credential.key_id, RecoveryRow.stopped.is_not(None))
    return session.scalars(stopped.limit(1)).first() is not None


def key_of(credential: Credential) -> PublicKey:
    """The public key of a credential."""
    return PublicKey(credential.key)


def verify(envelope: Envelope, key: PublicKey) -> None:
    """Raises Problem `signature-invalid` unless `key` signed."""
    try:
        envelope.signature_by(key)
    except (SignatureInvalid, KeyInvalid) as error:
        raise not_signed_by_its_key() from error


def not_signed_by_its_key() -> Problem:
    """What is said of a statement that nobody signed who could."""
    return Problem(Code.SIGNATURE_INVALID, "this statement is not signed by the key that it names")


def proved(
    session: Session, envelope: Envelope, kind: type[S], now: datetime, *, fresh: bool = True, revoked_too: bool = False
) -> tuple[S, Asker]:
    """Read a statement that a person signed. With `fresh`, its `at` and `nonce` are checked where it has them.

    Raises Problem, or StatementInvalid when it is not a well-formed statement of this kind.
    """
    statement = read_unverified(envelope, kind)
    asker = signer(session, envelope, now, revoked_too=revoked_too)
    if fresh:
        check_fresh(session, statement, asker.credential, now)
    return statement, asker


def check_fresh(session: Session, statement: Statement, key_id: str, now: datetime) -> None:
    """Time and nonce, where the statement has them."""
    at, nonce = getattr(statement, "at", None), getattr(statement, "nonce", None)
    if at is not None:
        replay.check_time(at, now)
    if nonce is not None:
        replay.use_nonce(session, key_id, nonce, now)


def read_ask(authorization: str | None, method: str, target: str) -> tuple[Ask, Envelope]:
    """The Ask in an Authorization field, which must name exactly this method and path with query. Raises Problem."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme != AUTHORIZATION_SCHEME or not encoded:
        raise Problem(Code.NOT_SIGNED_IN, f"this needs an Authorization field of the scheme {AUTHORIZATION_SCHEME}")
    if len(encoded) > MAX_AUTHORIZATION_CHARS:
        raise Problem(Code.TOO_LARGE, f"the Authorization field has {MAX_AUTHORIZATION_CHARS} characters at most")
    try:
        envelope = Envelope.from_json(b64url_bytes(encoded))
        ask = read_unverified(envelope, Ask)
    except (ValueError, StatementInvalid) as error:
        raise Problem(Code.MALFORMED, "the Authorization field does not hold a signed question") from error
    if ask.method != method or ask.target != target:
        raise Problem(Code.SIGNATURE_INVALID, "the signed question is another one than was asked")
    return ask, envelope


def asked(session: Session, ask: Ask, envelope: Envelope, now: datetime, *, revoked_too: bool = False) -> Asker:
    """The person who signed this Ask, fresh and for the first time. Raises Problem."""
    asker = signer(session, envelope, now, revoked_too=revoked_too)
    check_fresh(session, ask, asker.credential, now)
    return asker


def asked_by_key(session: Session, ask: Ask, envelope: Envelope, key: PublicKey, now: datetime) -> None:
    """The same for a key that belongs to no person (the collector's). Raises Problem."""
    if not any(signature.keyid == key.id for signature in envelope.signatures):
        raise Problem(Code.NOT_SIGNED_IN, "sign this with the collector key that the directory names")
    verify(envelope, key)
    check_fresh(session, ask, key.id, now)
