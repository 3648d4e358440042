"""The golden stream, and small segments to damage."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assent.sealing.chain import ChainItem
from assent.sealing.hpke import HybridPrivateKey, HybridPublicKey
from assent.sealing.segments import DataKey, SealedSegment, SignedRecord

GOLDEN = Path(__file__).parents[2] / "golden" / "segments" / "stream-a1-xw.json"


@dataclass(frozen=True)
class GoldenStream:
    """The checked-in stream: its keys, its segments with content and data key, its records, its release."""

    stream: str
    stream_key: Ed25519PrivateKey
    vault_key: HybridPrivateKey
    vault_public: HybridPublicKey
    segments: dict[str, SealedSegment]
    contents: dict[str, bytes]
    data_keys: dict[str, DataKey]
    items: list[ChainItem]
    raw: dict[str, Any]


@pytest.fixture(scope="session")
def golden() -> GoldenStream:
    raw = json.loads(GOLDEN.read_text())
    segments, contents, data_keys = {}, {}, {}
    items: list[ChainItem] = []
    for item in raw["items"]:
        if item["kind"] == "record":
            items.append(SignedRecord(base64.b64decode(item["record"]), base64.b64decode(item["signature"])))
            continue
        segment = SealedSegment(
            header=base64.b64decode(item["header"]),
            sealed_key=base64.b64decode(item["sealed_key"]),
            body=base64.b64decode(item["body"]),
            body_sha256=bytes.fromhex(item["body_sha256"]),
            signature=base64.b64decode(item["signature"]),
        )
        segments[item["name"]] = segment
        contents[item["name"]] = base64.b64decode(item["content"])
        data_keys[item["name"]] = DataKey(base64.b64decode(item["data_key"]))
        items.append(segment.link)
    return GoldenStream(
        stream=raw["stream"],
        stream_key=Ed25519PrivateKey.from_private_bytes(base64.b64decode(raw["stream_private_key"])),
        vault_key=HybridPrivateKey(base64.b64decode(raw["vault_private_key"])),
        vault_public=HybridPublicKey.from_text(raw["vault_public_key"]),
        segments=segments,
        contents=contents,
        data_keys=data_keys,
        items=items,
        raw=raw,
    )
