"""What the agent's tests are made of: drafts, certificates, keys, a secret store in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

from assent.contracts.envelope import Envelope, sign
from assent.contracts.events import ClockAnchor, PointerMoved
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import StreamCertificate
from assent.contracts.times import day_of, hour_of
from assent.sealing.hpke import HybridPrivateKey
from assent_agent.core.recorder import Draft

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CANARY = 0x5EC2E7CA5A


@cache
def vault() -> HybridPrivateKey:
    return HybridPrivateKey.generate()


@cache
def statement_key() -> SigningKey:
    return SigningKey.generate()


def certificate(
    key: SigningKey, modality: Modality = Modality.POINTER, now: datetime = NOON, stream: str | None = None
) -> Envelope:
    return sign(
        StreamCertificate(
            stream=stream or new_id(),
            stream_key=key.public.text,
            modality=modality,
            day=day_of(now),
            vault_key=vault().public_key.to_text(),
            record_until=hour_of(now + timedelta(hours=24)),
            upload_until=day_of(now + timedelta(days=14)),
            byte_budget=10**9,
        ),
        statement_key(),
    )


def ns(at: datetime) -> int:
    return int(at.timestamp()) * 10**9


def draft(at: datetime, modality: Modality = Modality.POINTER, events: int = 3) -> Draft:
    """Five minutes that end at `at`."""
    start = ns(at - timedelta(minutes=5))
    return Draft(
        modality=modality,
        hour=hour_of(at - timedelta(minutes=5)),
        from_ns=start,
        until_ns=ns(at),
        events=tuple(PointerMoved(t_ns=i * 10**6, seq=i, x=CANARY + i, y=2) for i in range(events)),
        anchors=(ClockAnchor(0, start),),
        gaps=(),
        frames=b"",
        resolution_ns=1_000_000,
    )


class MemorySecrets:
    """Keeps the promise of `SecretStore` in memory; `on_use` may fail or crash first."""

    def __init__(self, on_use: Callable[[], None] = lambda: None) -> None:
        self.kept: dict[str, bytes] = {}
        self._on_use = on_use

    def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def put(self, name: str, secret: bytes) -> None:
        self._on_use()
        self.kept[name] = secret

    def delete(self, name: str) -> None:
        self._on_use()
        self.kept.pop(name, None)
