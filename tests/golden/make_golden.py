"""Writes the golden segments. Run once, when the format is settled: `python tests/golden/make_golden.py`.

Sealing is random, so running it again makes other files; the old ones are what proves that old segments still open.
It refuses to overwrite without `--force`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assent.contracts.segment import FIRST_PREVIOUS, EndRecord, SkipRecord
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import SealedSegment, SignedRecord, seal_release, seal_segment, sign_record

TARGET = Path(__file__).parent / "segments"


def contents() -> list[tuple[str, bytes]]:
    """Name and content of each golden segment: lengths around what padding and chunks make special."""
    text = b"The collector knows what, but not who. "
    return [
        ("empty", b""),
        ("one-byte", b"\x80"),
        ("small", text * 3),
        ("one-full-chunk", (text * 500)[: 16 * 1024 - 8]),
        ("three-chunks", (text * 2000)[:40_000]),
    ]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def segment_entry(name: str, content: bytes, segment: SealedSegment, data_key: bytes) -> dict[str, Any]:
    return {
        "kind": "segment",
        "name": name,
        "id": segment.id,
        "content": b64(content),
        "data_key": b64(data_key),
        "header": b64(segment.header),
        "sealed_key": b64(segment.sealed_key),
        "body": b64(segment.body),
        "body_sha256": segment.body_sha256.hex(),
        "signature": b64(segment.signature),
    }


def record_entry(record: SignedRecord) -> dict[str, str]:
    return {"kind": "record", "record": b64(record.record), "signature": b64(record.signature)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--force", action="store_true", help="replace the golden segments that are there")
    force = parser.parse_args(arguments).force
    TARGET.mkdir(exist_ok=True)
    if any(TARGET.glob("*.json")) and not force:
        print("golden segments exist; --force replaces them", file=sys.stderr)
        return 1

    vault_key, job_key = HybridPrivateKey.generate(), HybridPrivateKey.generate()
    stream_key = Ed25519PrivateKey.generate()
    stream = hashlib.sha256(b"golden stream").hexdigest()[:32]
    lease_hash, batch_hash = hashlib.sha256(b"golden lease").digest(), hashlib.sha256(b"golden batch").digest()

    items: list[dict[str, Any]] = []
    released = []
    previous, sequence = FIRST_PREVIOUS, 0
    for name, content in contents():
        segment, data_key = seal_segment(
            content=content,
            stream=stream,
            sequence=sequence,
            previous=previous,
            hour="2026-11-23T14",
            vault_key=vault_key.public_key,
            stream_key=stream_key,
        )
        items.append(segment_entry(name, content, segment, data_key.to_bytes()))
        released.append((bytes.fromhex(segment.id), data_key))
        previous, sequence = segment.id, sequence + 1
    forgotten = hashlib.sha256(b"the header of the last segment that was forgotten").hexdigest()
    skip = SkipRecord(
        stream=stream,
        from_sequence=sequence,
        to_sequence=sequence + 2,
        previous=previous,
        last_skipped=forgotten,
        reason="forgotten",
    )
    end = EndRecord(stream=stream, next_sequence=sequence + 3, previous=forgotten, how="clean")
    items += [record_entry(sign_record(skip, stream_key)), record_entry(sign_record(end, stream_key))]

    golden = {
        "comment": "One whole stream of suite A1-XW and one release of it. All keys are for tests.",
        "stream": stream,
        "stream_public_key": b64(stream_key.public_key().public_bytes_raw()),
        "stream_private_key": b64(stream_key.private_bytes_raw()),
        "vault_public_key": vault_key.public_key.to_text(),
        "vault_key_id": vault_key.public_key.key_id,
        "vault_private_key": b64(vault_key.to_private_bytes()),
        "items": items,
        "release": {
            "job_public_key": job_key.public_key.to_text(),
            "job_private_key": b64(job_key.to_private_bytes()),
            "lease_hash": lease_hash.hex(),
            "batch_hash": batch_hash.hex(),
            "sealed": b64(seal_release(released, job_key.public_key, lease_hash, batch_hash)),
        },
    }
    (TARGET / "stream-a1-xw.json").write_text(json.dumps(golden, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
