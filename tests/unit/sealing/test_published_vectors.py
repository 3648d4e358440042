"""The library passes the published vectors, and our keys are the keys of those vectors."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import cryptography_vectors
import pyhpke
import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM1024P384PrivateKey, Suite
from tests.unit.sealing import independent

from assent.sealing import hpke
from assent.sealing.segments import body_size

VECTORS = Path(cryptography_vectors.__file__).parent
BASE_MODE = 0
OUR_KEM = 0x647A
KDFS = {1: KDF.HKDF_SHA256, 2: KDF.HKDF_SHA384, 3: KDF.HKDF_SHA512, 16: KDF.SHAKE128, 17: KDF.SHAKE256}
AEADS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}


def _expanded(seed: bytes, length: int) -> bytes:
    """The vectors give 32-byte seeds of hybrid keys (draft-irtf-cfrg-concrete-hybrid-kems); we store the result."""
    return hashlib.shake_256(seed).digest(length)


def _our_key(seed: bytes) -> hpke.HybridPrivateKey:
    return hpke.HybridPrivateKey(_expanded(seed, 96))


def _mlkem1024_p384(seed: bytes) -> MLKEM1024P384PrivateKey:
    expanded = _expanded(seed, 64 + 48)
    return MLKEM1024P384PrivateKey(
        mlkem.MLKEM1024PrivateKey.from_seed_bytes(expanded[:64]),
        ec.derive_private_key(int.from_bytes(expanded[64:], "big"), ec.SECP384R1()),
    )


def _on_curve(curve: ec.EllipticCurve) -> Any:
    return lambda secret: ec.derive_private_key(int.from_bytes(secret, "big"), curve)


KEMS: dict[int, tuple[Any, Any]] = {
    0x10: (KEM.P256, _on_curve(ec.SECP256R1())),
    0x11: (KEM.P384, _on_curve(ec.SECP384R1())),
    0x12: (KEM.P521, _on_curve(ec.SECP521R1())),
    0x20: (KEM.X25519, x25519.X25519PrivateKey.from_private_bytes),
    0x41: (KEM.MLKEM768, mlkem.MLKEM768PrivateKey.from_seed_bytes),
    0x42: (KEM.MLKEM1024, mlkem.MLKEM1024PrivateKey.from_seed_bytes),
    0x51: (KEM.MLKEM1024_P384, _mlkem1024_p384),
    OUR_KEM: (KEM.MLKEM768_X25519, lambda seed: _our_key(seed)._key),
}


def _hpke_vectors(name: str) -> list[dict[str, Any]]:
    """Those that a single-shot opening in base mode can use."""
    return [
        vector
        for vector in json.loads((VECTORS / "HPKE" / name).read_text())
        if vector["mode"] == BASE_MODE
        and vector["kem_id"] in KEMS
        and vector["kdf_id"] in KDFS
        and vector["aead_id"] in AEADS
    ]


def _open_vector(vector: dict[str, Any]) -> None:
    kem, load = KEMS[vector["kem_id"]]
    suite = Suite(kem, KDFS[vector["kdf_id"]], AEADS[vector["aead_id"]])
    private = load(bytes.fromhex(vector["skRm"]))
    info = bytes.fromhex(vector["info"])
    first = vector["encryptions"][0]  # single shot is sequence number 0
    sealed = bytes.fromhex(vector["enc"] + first["ct"])
    aad = bytes.fromhex(first["aad"])
    assert openssl.hpke._decrypt_with_aad(suite, sealed, private, info, aad) == bytes.fromhex(first["pt"])
    with pytest.raises(InvalidTag):
        openssl.hpke._decrypt_with_aad(suite, sealed, private, info + b"\0", aad)


@pytest.mark.parametrize(("name", "at_least"), [("test-vectors.json", 18), ("hpke-pq-test-vectors.json", 7)])
def test_hpke_vectors_open_and_only_in_their_context(name: str, at_least: int) -> None:
    vectors = _hpke_vectors(name)
    for vector in vectors:
        _open_vector(vector)
    assert len(vectors) >= at_least


def test_the_exact_suite_of_a1_xw_has_a_vector_and_our_key_type_is_its_key() -> None:
    ours = [
        vector
        for vector in _hpke_vectors("hpke-pq-test-vectors.json")
        if (vector["kem_id"], vector["kdf_id"], vector["aead_id"]) == (OUR_KEM, 1, 3)
    ]
    assert len(ours) == 1
    private = _our_key(bytes.fromhex(ours[0]["skRm"]))
    assert private.public_key.to_public_bytes().hex() == ours[0]["pkRm"]
    first = ours[0]["encryptions"][0]
    opened = openssl.hpke._decrypt_with_aad(
        hpke._SUITE,
        bytes.fromhex(ours[0]["enc"] + first["ct"]),
        private._key,
        bytes.fromhex(ours[0]["info"]),
        bytes.fromhex(first["aad"]),
    )
    assert opened == bytes.fromhex(first["pt"])


@pytest.mark.parametrize("aead", list(pyhpke.AEADId)[:3])
def test_x25519_suites_agree_with_an_independent_implementation(aead: pyhpke.AEADId) -> None:
    theirs = pyhpke.CipherSuite.new(pyhpke.KEMId.DHKEM_X25519_HKDF_SHA256, pyhpke.KDFId.HKDF_SHA256, aead)
    ours = Suite(KEM.X25519, KDF.HKDF_SHA256, AEADS[aead.value])
    private = x25519.X25519PrivateKey.generate()
    their_public = pyhpke.KEMKey.from_pyca_cryptography_key(private.public_key())
    their_private = pyhpke.KEMKey.from_pyca_cryptography_key(private)

    enc, sender = theirs.create_sender_context(their_public, info=b"context")
    assert ours.decrypt(enc + sender.seal(b"from them"), private, b"context") == b"from them"

    sealed = ours.encrypt(b"from us", private.public_key(), b"context")
    recipient = theirs.create_recipient_context(sealed[:32], their_private, info=b"context")
    assert recipient.open(sealed[32:]) == b"from us"


def _chunked_vectors(expect: str) -> list[dict[str, Any]]:
    vectors = json.loads((VECTORS / "chunked-encryption" / "vectors.json").read_text())["vectors"]
    return [vector for vector in vectors if vector["expect"] == expect]


def _open_chunked(vector: dict[str, Any]) -> bytes:
    raw = base64.b64decode(vector["ciphertext"] or "")
    sealed = zlib.decompress(raw) if vector.get("compressed") else raw
    key, context = bytes.fromhex(vector["key"]), vector["context"].encode()
    payload = independent.open_(key=key, context=context, sealed=sealed, aead=vector["aead"], algorithm=SHA256())
    assert len(sealed) == body_size(len(payload))
    return payload


def test_the_independent_reader_opens_the_chunked_encryption_vectors() -> None:
    vectors = _chunked_vectors("success")
    for vector in vectors:
        payload = _open_chunked(vector)
        expected = (vector["payload_length"], vector["payload_sha256"])
        assert (len(payload), hashlib.sha256(payload).hexdigest()) == expected, vector["name"]
    assert len(vectors) >= 27


def test_the_independent_reader_refuses_the_chunked_encryption_vectors_that_must_fail() -> None:
    vectors = _chunked_vectors("failure")
    for vector in vectors:
        with pytest.raises((InvalidTag, ValueError)):
            _open_chunked(vector)
    assert len(vectors) >= 75


def _independent_256(key: bytes, context: bytes, salt: bytes, plaintext: bytes) -> bytes:
    return independent.seal(
        key=key, context=context, salt=salt, plaintext=plaintext, aead="AEAD_AES_256_GCM", algorithm=SHA512()
    )


LENGTHS = [0, 1, 16383, 16384, 16385, 2 * 16384, 40_000, 257 * 16384 + 1]


@pytest.mark.parametrize("length", LENGTHS)
def test_cobblestone_256_is_the_independent_scheme_with_sha_512_byte_for_byte(length: int) -> None:
    key, context, plaintext = bytes(range(32)), b"a context\0with a null", bytes(range(251)) * (length // 251 + 1)
    plaintext = plaintext[:length]
    encryptor = Cobblestone256Encryptor(key, context)
    sealed = encryptor.update(plaintext) + encryptor.finalize()
    assert sealed == _independent_256(key, context, sealed[:24], plaintext)

    theirs = _independent_256(key, context, bytes(24), plaintext)
    decryptor = Cobblestone256Decryptor(key, context)
    assert decryptor.update(theirs) + decryptor.finalize() == plaintext


@pytest.mark.parametrize("length", LENGTHS[:-1])
def test_cobblestone_256_refuses_what_is_cut_off_at_any_chunk(length: int) -> None:
    sealed = _independent_256(bytes(32), b"", bytes(24), bytes(length))
    for end in [0, 24, 56, *range(56 + 16400, len(sealed), 16400), len(sealed) - 1]:
        decryptor = Cobblestone256Decryptor(bytes(32), b"")
        with pytest.raises(InvalidTag):
            decryptor.update(sealed[:end])
            decryptor.finalize()
