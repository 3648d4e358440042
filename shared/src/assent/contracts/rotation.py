"""Statement keys change, and what was signed before goes on: which statements of a former key still count.

What answers a question now (news, certificate answers, enrolments) must be signed by the key of now. What endures, such
as receipts and certificates, may be signed by a former key that the directory lists, if it was made before that ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from assent.contracts import limits
from assent.contracts.envelope import Envelope, S, Statement, StatementInvalid, read
from assent.contracts.keys import PublicKey
from assent.contracts.statements import (
    Directory,
    ErasureReceipt,
    FormerKey,
    Lease,
    Order,
    Receipt,
    Revocation,
    StreamCertificate,
    Ticket,
    Tombstone,
    WithdrawalConfirmed,
)
from assent.contracts.times import add_days, moment, parse_moment


@dataclass(frozen=True)
class StatementKey(PublicKey):
    """The custodian's key of now, and the former ones."""

    former: tuple[FormerKey, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """Ids of all of them: by these one knows the custodian's signatures among others."""
        return frozenset({self.id, *(PublicKey(one.key).id for one in self.former)})


def statement_key_of(directory: Directory) -> StatementKey:
    """The statement keys that this directory names."""
    return StatementKey(directory.statement_key, directory.former_keys)


def _later(ended: str, **by: float) -> str:
    return moment(parse_moment(ended) + timedelta(**by))


def _always(_statement: Any, _ended: str) -> bool:
    """They only close or confirm: signed by whomever the custodian was, they permit nothing."""
    return True


ENDURING: Final[Mapping[type[Statement], Callable[[Any, str], bool]]] = {
    Receipt: lambda it, ended: it.at <= _later(ended, seconds=limits.SKEW_S),
    StreamCertificate: lambda it, ended: it.day <= add_days(ended[:10], 1),
    Lease: lambda it, ended: it.opened <= ended,
    Ticket: lambda it, ended: it.until <= _later(ended, hours=limits.LEASE_HOURS),
    Order: lambda it, ended: it.day <= ended[:10],
    ErasureReceipt: lambda it, ended: it.day <= ended[:10],
    Revocation: _always,
    Tombstone: _always,
    WithdrawalConfirmed: _always,
}
"""The statements that outlive their key, each with how one sees that it was made before the key ended."""


def read_lasting(envelope: Envelope, kind: type[S], key: PublicKey, *others: PublicKey) -> S:
    """As `envelope.read`, by the key of now or, for what endures, by a former key of a `StatementKey`.

    `others` must have signed as well. Raises StatementInvalid.
    """
    try:
        return read(envelope, kind, key, *others)
    except StatementInvalid:
        made_before = ENDURING.get(kind)
        if made_before is None or not isinstance(key, StatementKey):
            raise
        signers = {signature.keyid for signature in envelope.signatures}
        former = [one for one in key.former if PublicKey(one.key).id in signers]
        if not former:
            raise
    statement = read(envelope, kind, PublicKey(former[0].key), *others)
    if not made_before(statement, former[0].ended):
        raise StatementInvalid(f"this {kind.TYPE} statement is newer than the end of the key that signed it")
    return statement
