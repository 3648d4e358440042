"""The one envelope: what is signed is what is read, and nothing unsigned is read at all."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assent.contracts.envelope import Envelope, StatementInvalid, pae, read, read_unverified, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SMALL_ORDER, KeyInvalid, PublicKey, SignatureInvalid, SigningKey, b64url
from assent.contracts.statements import LeaseClosed, Revocation

STATEMENT = LeaseClosed(lease="ab" * 16, opened=3)
ED25519 = SigningKey.generate()
P256 = SigningKey(ec.generate_private_key(ec.SECP256R1()))


def test_the_encoding_is_the_published_one() -> None:
    """The worked example of the DSSE protocol description."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("key", [ED25519, P256], ids=["ed25519", "p256"])
def test_a_signed_statement_is_read_back(key: SigningKey) -> None:
    envelope = Envelope.from_json(sign(STATEMENT, key).to_json())
    assert read(envelope, LeaseClosed, key.public) == STATEMENT


def test_the_hash_does_not_depend_on_who_signed() -> None:
    once = sign(STATEMENT, ED25519)
    assert once.hash == once.signed_also_by(P256).hash == sign(STATEMENT, P256).hash


def test_a_counter_signature_needs_both_keys() -> None:
    envelope = sign(STATEMENT, ED25519)
    with pytest.raises(StatementInvalid, match="not signed by key"):
        read(envelope, LeaseClosed, ED25519.public, P256.public)
    assert read(envelope.signed_also_by(P256), LeaseClosed, ED25519.public, P256.public) == STATEMENT


def test_a_statement_is_never_read_without_a_key() -> None:
    with pytest.raises(StatementInvalid, match="no key"):
        read(sign(STATEMENT, ED25519), LeaseClosed)


def test_a_statement_of_another_type_is_refused() -> None:
    with pytest.raises(StatementInvalid, match="expected"):
        read(sign(STATEMENT, ED25519), Revocation, ED25519.public)


def test_renaming_the_type_breaks_the_signature() -> None:
    envelope = sign(Revocation(stream=new_id()), ED25519)
    renamed = envelope.model_copy(update={"payloadType": LeaseClosed.payload_type()})
    with pytest.raises(StatementInvalid, match="not signed"):
        read(renamed, LeaseClosed, ED25519.public)


def test_any_flipped_bit_of_the_payload_is_refused() -> None:
    envelope = sign(STATEMENT, ED25519)
    payload = envelope.payload_bytes
    for bit in range(len(payload) * 8):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        other = envelope.model_copy(update={"payload": base64.b64encode(bytes(damaged)).decode()})
        with pytest.raises(StatementInvalid):
            read(other, LeaseClosed, ED25519.public)


def test_a_signature_of_another_key_under_this_keys_name_is_refused() -> None:
    forged = json.loads(sign(STATEMENT, P256).to_json())
    forged["signatures"][0]["keyid"] = ED25519.public.id
    with pytest.raises(StatementInvalid):
        read(Envelope.from_json(json.dumps(forged)), LeaseClosed, ED25519.public)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b'{"v":2}',
        b'{"v":1,"lease":"zz","opened":1}',
        b'{"v":1,"lease":"' + b"ab" * 16 + b'","opened":"1"}',
        b'{"v":1,"lease":"' + b"ab" * 16 + b'","opened":1,"more":1}',
        b"\xff",
    ],
)
def test_a_payload_that_is_not_exactly_the_statement_is_refused_without_quoting_it(payload: bytes) -> None:
    envelope = sign(STATEMENT, ED25519).model_copy(update={"payload": base64.b64encode(payload).decode()})
    with pytest.raises(StatementInvalid) as refusal:
        read_unverified(envelope, LeaseClosed)
    assert "zz" not in str(refusal.value)


@pytest.mark.parametrize(
    "data", [b"", b"<html>welcome</html>", b"{}", b'{"payloadType":"x","payload":"","signatures":[]}']
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(StatementInvalid):
        Envelope.from_json(data)


@pytest.mark.parametrize("key", [ED25519, P256], ids=["ed25519", "p256"])
def test_keys_survive_the_file_and_show_nothing(key: SigningKey) -> None:
    again = SigningKey.from_pem(key.to_pem(b"passphrase"), b"passphrase")
    assert again.public == key.public
    assert repr(key) == f"SigningKey({key.public.id})"
    with pytest.raises(KeyInvalid):
        SigningKey.from_pem(key.to_pem(b"passphrase"), b"wrong")


@pytest.mark.parametrize("text", ["", "ed25519:", "rsa:AAAA", "p256:" + "A" * 44, "ed25519:!!!"])
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(KeyInvalid):
        PublicKey(text).load()


def test_a_wrong_signature_names_the_key_and_nothing_else() -> None:
    with pytest.raises(SignatureInvalid, match=ED25519.public.id):
        ED25519.public.verify(b"\0" * 64, b"message")


def test_a_key_whose_one_signature_fits_every_message_is_no_key() -> None:
    """Points of small order (RFC 8032 §5.1.2), with either sign bit: with R = 1 and s = 0 they "sign" anything."""
    signature = bytes([1]) + bytes(63)
    assert len(SMALL_ORDER) == 7
    for point in SMALL_ORDER:
        for sign_bit in (0, 0x80):
            raw = point[:31] + bytes([point[31] | sign_bit])
            fits = 0
            for number in range(64):
                try:
                    Ed25519PublicKey.from_public_bytes(raw).verify(signature, b"message %d" % number)
                    fits += 1
                except (InvalidSignature, ValueError):
                    pass
            assert fits, "the positive control: the library alone is taken in"
            with pytest.raises(KeyInvalid):
                PublicKey(f"ed25519:{b64url(raw)}").verify(signature, b"message")
    assert PublicKey(SigningKey.generate().public.text).load()
