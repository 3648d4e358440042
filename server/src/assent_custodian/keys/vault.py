"""The one place where sealed keys are opened. Only `leases` and `keys` may import this module.

Nothing here decides whether something may be opened: whoever calls has checked that, in the same transaction. Private
vault keys never leave this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import DataKey, open_sealed_key
from assent_custodian.keys.keks import Keks, unwrap_rows
from assent_custodian.keys.models import VaultKey
from assent_service.database import batches


class Vault:
    """Opens sealed keys. Make one for each transaction, and drop it: it remembers what it unwrapped.

    Keys that were taken in the transaction can be used just after it: the opening itself needs no database.
    """

    def __init__(self, session: Session, keks: Keks) -> None:
        self._session = session
        self._keks = keks
        self._key_of: dict[str, HybridPrivateKey] = {}

    def take(self, *streams: str) -> set[str]:
        """Unwrap the vault keys of these streams now, in this transaction; opening then needs the database no more.

        They cannot be destroyed before the transaction ends: a withdrawal waits for it. Returns those of the streams
        whose key was destroyed already: nothing sealed to it will ever open again. Raises WrapInvalid and NotReady.
        """
        for some in batches(streams):
            rows = self._session.scalars(
                select(VaultKey).where(VaultKey.stream.in_(some)).order_by(VaultKey.stream).with_for_update(read=True)
            )
            for stream, raw in unwrap_rows(self._keks, rows).items():
                self._key_of[stream] = HybridPrivateKey.from_private_bytes(raw)
        return {stream for stream in streams if stream not in self._key_of}

    def open_sealed(self, header: bytes, sealed_key: bytes, stream: str) -> DataKey:
        """The data key of a segment of `stream`, whose vault key was taken.

        Raises HeaderInvalid or SealInvalid: damaged, or of another stream or header (the seal binds the header).
        """
        return open_sealed_key(sealed_key, header, self._key_of[stream])

    def __repr__(self) -> str:
        return "Vault()"


def alive(session: Session, streams: Sequence[str]) -> set[str]:
    """Those of the streams whose vault key exists, held until the transaction ends: whatever erases them, or hours of
    them, waits for that, and what was erased before is seen by everything that is read after this.
    """
    found: set[str] = set()
    for some in batches(streams):
        found.update(
            session.scalars(
                select(VaultKey.stream)
                .where(VaultKey.stream.in_(some))
                .order_by(VaultKey.stream)
                .with_for_update(read=True)
            )
        )
    return found
