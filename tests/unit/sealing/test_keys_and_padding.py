"""Keys have one form and show nothing; padding has one form per content and hides its length."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assent.contracts.keys import KeyInvalid, key_id
from assent.sealing import hpke, padding
from assent.sealing.errors import BodyInvalid, SealInvalid
from assent.sealing.segments import DataKey

PRIVATE = hpke.HybridPrivateKey(bytes(range(96)))
PUBLIC = PRIVATE.public_key


def test_a_key_survives_its_bytes_and_its_text() -> None:
    again = hpke.HybridPrivateKey.from_private_bytes(PRIVATE.to_private_bytes())
    assert again.public_key == PUBLIC
    assert hpke.HybridPublicKey.from_text(PUBLIC.to_text()) == PUBLIC
    assert hpke.HybridPublicKey.from_public_bytes(PUBLIC.to_public_bytes()) == PUBLIC
    assert (len(PUBLIC.to_public_bytes()), len(PRIVATE.to_private_bytes())) == (1216, 96)
    assert len(PUBLIC.to_text()) == len("a1-xw:") + 1622
    assert PUBLIC.key_id == key_id(PUBLIC.to_text())


def test_generated_keys_differ_and_open_what_was_sealed_to_them() -> None:
    one, other = hpke.HybridPrivateKey.generate(), hpke.HybridPrivateKey.generate()
    assert one.to_private_bytes() != other.to_private_bytes()
    sealed = hpke.seal(b"secret", one.public_key, b"context")
    assert len(sealed) == len(b"secret") + hpke.OVERHEAD_BYTES
    assert hpke.open_(sealed, one, b"context") == b"secret"
    with pytest.raises(SealInvalid):
        hpke.open_(sealed, other, b"context")
    with pytest.raises(SealInvalid):
        hpke.open_(sealed, one, b"another context")


@pytest.mark.parametrize("length", [0, 1, 1119, 1120, 1135])
def test_a_sealed_message_too_short_to_be_one_does_not_open(length: int) -> None:
    with pytest.raises(SealInvalid):
        hpke.open_(bytes(length), PRIVATE, b"")


TEXT = PUBLIC.to_text()
DAMAGED_TEXTS = {
    "empty": "",
    "no prefix": TEXT.removeprefix("a1-xw:"),
    "another suite": TEXT.replace("a1-xw:", "a1-p256:"),
    "upper-case prefix": TEXT.replace("a1-xw:", "A1-XW:"),
    "padded": TEXT + "==",
    "newline": TEXT + "\n",
    "space inside": TEXT[:100] + " " + TEXT[101:],
    "a character short": TEXT[:-1],
    "a character long": TEXT + "A",
    "not ASCII": TEXT[:-1] + "é",
    "standard alphabet": TEXT[:50] + "+" + TEXT[51:],
    "unused bits set": TEXT[:-1] + chr(ord(TEXT[-1]) + 1),
    "ML-KEM coefficients out of range": "a1-xw:" + "_" * 1579 + TEXT[-43:],
}


@pytest.mark.parametrize("text", DAMAGED_TEXTS.values(), ids=DAMAGED_TEXTS)
def test_a_public_key_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(KeyInvalid):
        hpke.HybridPublicKey.from_text(text)


@pytest.mark.parametrize("length", [0, 32, 95, 97])
def test_private_bytes_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(KeyInvalid):
        hpke.HybridPrivateKey.from_private_bytes(bytes(length))
    with pytest.raises(KeyInvalid):
        hpke.HybridPublicKey.from_public_bytes(bytes(length))


def test_sealing_to_a_degenerate_x25519_point_is_refused() -> None:
    degenerate = hpke.HybridPublicKey(PUBLIC.to_public_bytes()[:1184] + bytes(32))
    with pytest.raises(KeyInvalid):
        hpke.seal(b"secret", degenerate, b"")


@pytest.mark.parametrize("secret", [PRIVATE, DataKey(b"\x41" * 32)], ids=["private key", "data key"])
def test_a_secret_shows_nothing_and_is_not_copied(secret: object) -> None:
    assert repr(secret) == str(secret) == f"{secret}" == f"{type(secret).__name__}()"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(secret)
    assert not hasattr(secret, "__dict__")


def test_a_public_key_shows_the_beginning_of_its_id() -> None:
    assert repr(PUBLIC) == f"HybridPublicKey({PUBLIC.key_id[:8]})"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_data_key_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(bytes(length))


@pytest.mark.parametrize(
    ("length", "expected"),
    [(2, 2), (8, 8), (9, 10), (100, 104), (256, 256), (257, 272), (1000, 1024), (2**20, 2**20), (2**20 + 8, 1081344)],
)
def test_padme_gives_the_published_lengths(length: int, expected: int) -> None:
    assert padding.padme(length) == expected


@given(st.integers(2, 2**26))
def test_padme_adds_little_and_keeps_few_bits(length: int) -> None:
    padded = padding.padme(length)
    assert length <= padded <= length * 1.12
    assert padding.padme(padded) == padded
    exponent = length.bit_length() - 1
    assert padded % (1 << max(exponent - exponent.bit_length(), 0)) == 0


@settings(max_examples=50)
@given(st.binary(max_size=3000))
def test_padding_comes_off_again(content: bytes) -> None:
    padded = padding.pad(content)
    assert len(padded) == padding.padded_length(len(content))
    assert padding.unpad(padded) == content
    assert padding.unpad(memoryview(padded)) == content


def _damaged_paddings() -> dict[str, bytes]:
    good = padding.pad(b"x" * 93)
    assert len(good) == 104
    return {
        "nothing": b"",
        "shorter than the prefix": bytes(7),
        "cut off": good[:-1],
        "longer than it should be": good + b"\0",
        "much longer, in an allowed length": good + bytes(8),
        "length beyond the end": (97).to_bytes(8, "big") + good[8:],
        "length of another bucket": (10).to_bytes(8, "big") + good[8:],
        "huge length": b"\xff" * 8 + good[8:],
        "fill not zero at the end": good[:-1] + b"\x01",
        "fill not zero at the beginning": good[:101] + b"\x80" + good[102:],
        "little-endian": good[:8][::-1] + good[8:],
    }


@pytest.mark.parametrize("padded", _damaged_paddings().values(), ids=_damaged_paddings())
def test_malformed_padding_is_refused(padded: bytes) -> None:
    with pytest.raises(BodyInvalid):
        padding.unpad(padded)
