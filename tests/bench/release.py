"""What the door costs: a release of 1,000 sealed keys, from the bytes of the request to the bytes of the answer.

The baseline is the bare HPKE opens of the same sealed keys with the same vault keys. Measured is everything else as
well: parsing, the job's signature, the grant and consent of every stream, tombstones, unwrapping, the committed count,
and the one message sealed to the job.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any

from assent.contracts.envelope import sign
from assent.contracts.ids import sha256_hex
from assent.contracts.lists import pack_batch
from assent.contracts.segment import FIRST_PREVIOUS, SEAL_TAG, header_hash
from assent.contracts.statements import ReleaseRequest
from assent.contracts.wire import ReleaseBody
from assent.sealing import hpke
from assent.sealing.segments import SealedSegment, seal_segment
from assent_custodian.keys.keks import unwrap_rows
from assent_custodian.keys.models import VaultKey
from assent_custodian.leases import service
from tests.bench._timing import interleaved_ms
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import CustodianWorld

KEYS = 1000
ROUNDS = 3


def run() -> list[dict[str, Any]]:
    """One row per number of streams over which the 1,000 sealed keys are spread."""
    return [_release(people) for people in (10, 40)]


def _release(people: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        world = CustodianWorld(Path(folder))
        try:
            access = AccessWorld(world, people)
            job = access.job()
            assert job.open(access.requester, request=access.grant()).status_code == 200
            segments = sealed_segments(access)
            body = batch_body(job, segments)
            keys = vault_keys_of(world, {stream for stream, _ in segments})
            infos = [SEAL_TAG + header_hash(segment.header) for _, segment in segments]

            def bare() -> None:
                for (stream, segment), info in zip(segments, infos, strict=True):
                    hpke.open_(segment.sealed_key, keys[stream], info)

            def release() -> bytes:
                return service.release(world.custodian, ReleaseBody.parse(body)).to_json()

            bare_ms, release_ms = interleaved_ms(ROUNDS, bare, release)
        finally:
            world.close()
    return {
        "name": "release through the door / bare HPKE opens",
        "value": round(release_ms, 1),
        "unit": "ms",
        "baseline": round(bare_ms, 1),
        "ratio": round(release_ms / bare_ms, 2),
        "target": "ratio <= 1.7",
        "at": f"{KEYS} sealed keys of {2 * people} streams",
    }


def sealed_segments(access: AccessWorld) -> list[tuple[str, SealedSegment]]:
    made = []
    for number in range(KEYS):
        certificate, key = access.certified[number % len(access.certified)]
        segment, _ = seal_segment(
            content=b"",
            stream=certificate.stream,
            sequence=number // len(access.certified),
            previous=FIRST_PREVIOUS,
            hour=access.custodian.now[:13],
            vault_key=hpke.HybridPublicKey.from_text(certificate.vault_key),
            stream_key=key.ed25519,
        )
        made.append((certificate.stream, segment))
    return made


def batch_body(job: Any, segments: list[tuple[str, SealedSegment]]) -> bytes:
    batch = pack_batch((segment.header, segment.sealed_key) for _, segment in segments)
    statement = sign(ReleaseRequest(lease=job.lease.lease, batch=sha256_hex(batch), count=KEYS), job.signing)
    return ReleaseBody(statement=statement, batch=base64.b64encode(batch).decode()).to_json()


def vault_keys_of(world: CustodianWorld, streams: set[str]) -> dict[str, hpke.HybridPrivateKey]:
    with world.custodian.database.reading() as session:
        rows = session.query(VaultKey).where(VaultKey.stream.in_(streams)).all()
        private = unwrap_rows(world.custodian.keks, rows)
    return {stream: hpke.HybridPrivateKey.from_private_bytes(raw) for stream, raw in private.items()}


if __name__ == "__main__":
    for row in run():
        print(row)
