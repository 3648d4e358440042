"""What sealing and releasing cost beyond the bare cryptography of the library, measured side by side.

Measured and baseline alternate, so that a busy moment hits both. How sealing compares with bare encryption says more
about the processor than about this code: the digest that is signed costs SHA-256 speed, bare encryption AES speed, and
vector AES is many times faster. So two more rows tell what that digest alone costs, and what sealing costs beyond it.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assent.contracts.ids import new_id
from assent.contracts.segment import FIRST_PREVIOUS, SEAL_TAG, header_hash
from assent.sealing import hpke
from assent.sealing.segments import DataKey, SealedSegment, open_sealed_key, seal_release, seal_segment
from tests.bench._timing import interleaved_ms

SEAL_ROUNDS = 12
RELEASE_ROUNDS = 2
RELEASE_KEYS = 1000


def _row(name: str, value: float, baseline: float, target: str | None, at: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": "ms",
        "baseline": round(baseline, 3),
        "ratio": round(value / baseline, 2),
        "target": target,
        "at": at,
    }


def run() -> list[dict[str, Any]]:
    """Measure sealing 1 MiB and releasing 1,000 data keys."""
    return [*_sealing(), _release()]


def _sealing() -> list[dict[str, Any]]:
    content = os.urandom(1024 * 1024)
    vault_key = hpke.HybridPrivateKey.generate().public_key
    stream_key = Ed25519PrivateKey.generate()
    stream = new_id()

    def bare() -> bytes:
        encryptor = Cobblestone256Encryptor(Cobblestone256Encryptor.generate_key(), b"benchmark")
        return encryptor.update(content) + encryptor.finalize()

    def with_digest() -> bytes:
        return hashlib.sha256(bare()).digest()

    def sealed() -> object:
        return _segment(content, stream, vault_key, stream_key)

    bare_ms, digest_ms, sealed_ms = interleaved_ms(SEAL_ROUNDS, bare, with_digest, sealed)
    at = "1 MiB"
    return [
        _row("seal a segment / bare Cobblestone-256", sealed_ms, bare_ms, None, at),
        _row("encryption and SHA-256 only / bare Cobblestone-256", digest_ms, bare_ms, None, at),
        _row("seal a segment / encryption and SHA-256 only", sealed_ms, digest_ms, "ratio <= 1.3", at),
    ]


def _segment(
    content: bytes, stream: str, vault_key: hpke.HybridPublicKey, stream_key: Ed25519PrivateKey
) -> tuple[SealedSegment, DataKey]:
    return seal_segment(
        content=content,
        stream=stream,
        sequence=0,
        previous=FIRST_PREVIOUS,
        hour="2026-11-23T14",
        vault_key=vault_key,
        stream_key=stream_key,
    )


def _release() -> dict[str, Any]:
    vault_key = hpke.HybridPrivateKey.generate()
    job_key = hpke.HybridPrivateKey.generate().public_key
    stream_key = Ed25519PrivateKey.generate()
    public = vault_key.public_key
    segments = [_segment(b"", new_id(), public, stream_key)[0] for _ in range(RELEASE_KEYS)]
    infos = [SEAL_TAG + header_hash(segment.header) for segment in segments]

    def bare() -> None:
        for segment, info in zip(segments, infos, strict=True):
            hpke.open_(segment.sealed_key, vault_key, info)

    def release() -> bytes:
        opened = [
            (header_hash(segment.header), open_sealed_key(segment.sealed_key, segment.header, vault_key))
            for segment in segments
        ]
        return seal_release(opened, job_key, bytes(32), bytes(32))

    bare_ms, release_ms = interleaved_ms(RELEASE_ROUNDS, bare, release)
    return _row(
        "release / bare HPKE opens",
        release_ms,
        bare_ms,
        "ratio <= 1.7",
        f"{RELEASE_KEYS} sealed keys, one release message",
    )


if __name__ == "__main__":
    for row in run():
        print(row)
