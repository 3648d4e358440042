"""Suite A1-XW: sealing a short message to a key so that only the private half opens it, in one context only.

HPKE (RFC 9180) base mode, single shot, with the hybrid KEM ML-KEM-768 + X25519 (0x647a, "X-Wing"), HKDF-SHA256 and
ChaCha20-Poly1305. A message stays secret as long as either ML-KEM-768 or X25519 holds. `info` binds the message to
its context: opened with any other `info`, it does not open. There is no additional data and no negotiation.
"""

from __future__ import annotations

from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from assent.contracts.keys import KeyInvalid, b64url, b64url_bytes, key_id
from assent.sealing.errors import SealInvalid

TEXT_PREFIX: Final = "a1-xw:"

MLKEM_SEED_BYTES: Final = 64
MLKEM_PUBLIC_BYTES: Final = 1184
X25519_BYTES: Final = 32
PRIVATE_BYTES: Final = MLKEM_SEED_BYTES + X25519_BYTES
PUBLIC_BYTES: Final = MLKEM_PUBLIC_BYTES + X25519_BYTES
OVERHEAD_BYTES: Final = 1088 + 32 + 16
"""What sealing adds to a message: ML-KEM ciphertext, ephemeral X25519 key, tag."""

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class HybridPublicKey:
    """The public half: anyone who has it can seal. Raw form: ML-KEM-768 key (1184 bytes), X25519 key (32 bytes)."""

    __slots__ = ("_key", "_raw")

    def __init__(self, raw: bytes) -> None:
        """Read the 1216 raw bytes. Raises KeyInvalid when they are not a key."""
        if len(raw) != PUBLIC_BYTES:
            raise KeyInvalid(f"an A1-XW public key has {PUBLIC_BYTES} bytes, these are {len(raw)}")
        try:
            self._key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(raw[:MLKEM_PUBLIC_BYTES]),
                X25519PublicKey.from_public_bytes(raw[MLKEM_PUBLIC_BYTES:]),
            )
        except ValueError as error:
            raise KeyInvalid("these bytes are not an A1-XW public key") from error
        self._raw = bytes(raw)

    @classmethod
    def from_public_bytes(cls, raw: bytes) -> HybridPublicKey:
        """Read the 1216 raw bytes. Raises KeyInvalid."""
        return cls(raw)

    @classmethod
    def from_text(cls, text: str) -> HybridPublicKey:
        """Read `a1-xw:` and base64url without padding. Raises KeyInvalid for anything but the one exact form."""
        if not text.startswith(TEXT_PREFIX):
            raise KeyInvalid(f"an A1-XW public key starts with {TEXT_PREFIX!r}")
        try:
            raw = b64url_bytes(text.removeprefix(TEXT_PREFIX))
        except ValueError as error:
            raise KeyInvalid("an A1-XW public key is canonical base64url without padding") from error
        return cls(raw)

    def to_public_bytes(self) -> bytes:
        """The 1216 raw bytes."""
        return self._raw

    def to_text(self) -> str:
        """`a1-xw:` and the raw bytes in base64url without padding."""
        return TEXT_PREFIX + b64url(self._raw)

    @property
    def key_id(self) -> str:
        """The id that all public keys have: a hash of the text form, 32 hexadecimal digits."""
        return key_id(self.to_text())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HybridPublicKey) and self._raw == other._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return f"HybridPublicKey({self.key_id[:8]})"


class HybridPrivateKey:
    """The private half: 96 random bytes, the ML-KEM-768 seed (64, FIPS 203 d and z) and the X25519 key (32).

    `repr` shows nothing, and the object refuses to be pickled or copied: the bytes leave it only where somebody
    asks for them by name.
    """

    __slots__ = ("_key", "_raw")

    def __init__(self, raw: bytes) -> None:
        """Read the 96 bytes. Raises KeyInvalid when their number is another."""
        if len(raw) != PRIVATE_BYTES:
            raise KeyInvalid(f"an A1-XW private key has {PRIVATE_BYTES} bytes, these are {len(raw)}")
        self._key = MLKEM768X25519PrivateKey(
            MLKEM768PrivateKey.from_seed_bytes(raw[:MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(raw[MLKEM_SEED_BYTES:]),
        )
        self._raw = bytes(raw)

    @classmethod
    def generate(cls) -> HybridPrivateKey:
        """A new key from the library's random source."""
        seed = MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls(seed + X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_private_bytes(cls, raw: bytes) -> HybridPrivateKey:
        """Read the 96 bytes. Raises KeyInvalid."""
        return cls(raw)

    def to_private_bytes(self) -> bytes:
        """The 96 bytes. Whoever holds them opens everything that was sealed to this key."""
        return self._raw

    @property
    def public_key(self) -> HybridPublicKey:
        """The public half."""
        mlkem = MLKEM768PrivateKey.from_seed_bytes(self._raw[:MLKEM_SEED_BYTES]).public_key()
        x25519 = X25519PrivateKey.from_private_bytes(self._raw[MLKEM_SEED_BYTES:]).public_key()
        return HybridPublicKey(mlkem.public_bytes_raw() + x25519.public_bytes_raw())

    def __repr__(self) -> str:
        return "HybridPrivateKey()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied")


def seal(plaintext: bytes, public: HybridPublicKey, info: bytes) -> bytes:
    """Seal `plaintext` to `public` in the context `info`: encapsulated key (1120 bytes), ciphertext, tag (16).

    Raises KeyInvalid when the key holds an X25519 point with which no secret can be agreed.
    """
    try:
        return _SUITE.encrypt(plaintext, public._key, info)
    except ValueError as error:
        raise KeyInvalid("no secret can be agreed with this public key") from error


def open_(sealed: bytes, private: HybridPrivateKey, info: bytes) -> bytes:
    """Open what `seal` made for this key and this `info`. Raises SealInvalid; which part was wrong is not told."""
    try:
        return _SUITE.decrypt(sealed, private._key, info)
    except (InvalidTag, ValueError) as error:
        raise SealInvalid("does not open: damaged, or sealed to another key or for another context") from error
