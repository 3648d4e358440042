"""People, credentials, invitations, role proposals and roles held.

Names and salts stand in tables of their own, so that they can be erased while everything else stays consistent.
"""

from __future__ import annotations

from sqlalchemy import Boolean, ColumnElement, LargeBinary, String, Text, and_
from sqlalchemy.orm import Mapped, mapped_column

from assent_custodian.base import DAY, HASH, ID, MOMENT, Base


class Person(Base):
    """`drill`: an identity of the canary drill, which touches drill streams only."""

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    since: Mapped[str] = mapped_column(DAY)
    drill: Mapped[bool] = mapped_column(Boolean, default=False)


class PersonName(Base):
    """Erasable."""

    __tablename__ = "person_names"
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(500))


class PersonSalt(Base):
    """Erasable. Without it, nobody can say which entries of the log are this person's."""

    __tablename__ = "person_salts"
    person: Mapped[str] = mapped_column(ID, primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary)


class Credential(Base):
    """A public key of a person. `last_receipt`: what this credential's next receipt must name as its predecessor.

    Of a key that came of a recovery, and of the keys that it added: `opens_after`, the day until which nothing opens to
    it and no role counts for it; `waits_until`, the moment until which it does nothing but withdraw.
    """

    __tablename__ = "credentials"
    key_id: Mapped[str] = mapped_column(ID, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    kind: Mapped[str] = mapped_column(String(8))
    key: Mapped[str] = mapped_column(String(64))
    since: Mapped[str] = mapped_column(DAY)
    revoked: Mapped[str | None] = mapped_column(DAY)
    last_receipt: Mapped[str] = mapped_column(HASH, default="0" * 64)
    opens_after: Mapped[str | None] = mapped_column(DAY)
    waits_until: Mapped[str | None] = mapped_column(MOMENT)


def living_opening() -> ColumnElement[bool]:
    """The credential opens, and is not revoked."""
    return and_(Credential.kind == "opening", Credential.revoked.is_(None))


class Invitation(Base):
    """`code`: hash of the secret. `name` is blanked when the code is used; the statement, which holds it, is not kept.

    `by`: who invited; None for the founders, whom the root key invited. A code that adds a key of `kind` to an account
    names that `person`, and the `credential` that signed for it. `drill`: it makes an identity of the drill.
    """

    __tablename__ = "invitations"
    code: Mapped[str] = mapped_column(HASH, primary_key=True)
    statement: Mapped[str] = mapped_column(HASH, unique=True)
    name: Mapped[str | None] = mapped_column(String(500))
    role: Mapped[str | None] = mapped_column(String(16))
    by: Mapped[str | None] = mapped_column(ID)
    until: Mapped[str] = mapped_column(MOMENT)
    used: Mapped[str | None] = mapped_column(DAY)
    person: Mapped[str | None] = mapped_column(ID)
    kind: Mapped[str | None] = mapped_column(String(8))
    credential: Mapped[str | None] = mapped_column(ID)
    drill: Mapped[bool] = mapped_column(Boolean, default=False)


class AccountNotice(Base):
    """What happened to a person's keys; every credential of theirs is told."""

    __tablename__ = "account_notices"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    day: Mapped[str] = mapped_column(DAY)
    text: Mapped[str] = mapped_column(Text)


class RecoveryRow(Base):
    """A recovery, known by its statement's hash. `by` signed it with `credential`, `countersigned_by` after them.

    `ready`: when the delay is over. `key_id`: the credential that came of it. `stopped`: when, and `stop` by which
    statement.
    """

    __tablename__ = "recoveries"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    code: Mapped[str] = mapped_column(HASH)
    until: Mapped[str] = mapped_column(MOMENT)
    statement: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(ID)
    credential: Mapped[str] = mapped_column(ID)
    proposed: Mapped[str] = mapped_column(MOMENT)
    countersigned_by: Mapped[str | None] = mapped_column(ID)
    countersignature: Mapped[str | None] = mapped_column(Text)
    ready: Mapped[str | None] = mapped_column(MOMENT)
    key_id: Mapped[str | None] = mapped_column(ID)
    stopped: Mapped[str | None] = mapped_column(MOMENT)
    stop: Mapped[str | None] = mapped_column(Text)


class Proposal(Base):
    """A role somebody is to get or lose, known by the hash of the proposal or of the invitation that names it.

    `person` is None until an invited person has enrolled. `effective` is set by the countersignature. `credential`: the
    key by which `proposed_by` signed; None for the founders, whom the root key invited, and where it is not known.
    """

    __tablename__ = "role_proposals"
    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str | None] = mapped_column(ID, index=True)
    role: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(8))
    proposed_by: Mapped[str | None] = mapped_column(ID)
    credential: Mapped[str | None] = mapped_column(ID)
    proposed: Mapped[str] = mapped_column(MOMENT)
    countersigned_by: Mapped[str | None] = mapped_column(ID)
    effective: Mapped[str | None] = mapped_column(MOMENT)
    evidence: Mapped[str | None] = mapped_column(Text)
    """The countersignature, as it was signed."""


class RoleHeld(Base):
    """A role counts from the moment `effective`, and no longer once `ended` is set."""

    __tablename__ = "roles_held"
    proposal: Mapped[str] = mapped_column(HASH, primary_key=True)
    person: Mapped[str] = mapped_column(ID, index=True)
    role: Mapped[str] = mapped_column(String(16))
    effective: Mapped[str] = mapped_column(MOMENT)
    ended: Mapped[str | None] = mapped_column(MOMENT)
