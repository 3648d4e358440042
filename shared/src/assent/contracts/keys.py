"""Signature keys in one text form, whatever made them: `ed25519:<base64url>` or `p256:<base64url>`.

Ed25519 (RFC 8032) keys are the 32 raw bytes; ECDSA P-256 keys (held in hardware) the 33-byte compressed point
(SEC 1 §2.3.3), with DER signatures over SHA-256. A key id is a hash of the text form and is public.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Annotated, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import StringConstraints

KeyText = Annotated[str, StringConstraints(pattern=r"^(ed25519:[A-Za-z0-9_-]{43}|p256:[A-Za-z0-9_-]{44})$")]
"""A public signature key as text."""

VaultKeyText = Annotated[str, StringConstraints(pattern=r"^a1-xw:[A-Za-z0-9_-]{1622}$")]
"""A public HPKE key of suite A1-XW (1,216 bytes) as text."""

KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""The points of Ed25519 whose order divides 8, in every encoding, sign bit cleared (RFC 8032 §5.1.2). One signature of
such a key fits any number of messages: whoever signs with it could deny everything, and anybody could sign for them."""


class KeyInvalid(ValueError):
    """The text is not a public key that Assent knows."""


class SignatureInvalid(Exception):
    """The signature is not one of this key over these bytes."""


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 4648 §5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64url_bytes(text: str) -> bytes:
    """Read base64url without padding. Raises ValueError when it is not exactly that."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if b64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def key_id(text: str) -> str:
    """The id of a public key given as text: 32 hexadecimal digits."""
    return hashlib.sha256(b"assent/key/v1\0" + text.encode()).hexdigest()[:32]


def fingerprint(text: str) -> str:
    """The full SHA-256 of a public key's text, 64 hexadecimal digits: what people compare aloud."""
    return hashlib.sha256(b"assent/fingerprint/v1\0" + text.encode()).hexdigest()


@dataclass(frozen=True)
class PublicKey:
    """A public signature key. `text` is its one form on the wire and at rest."""

    text: str

    @classmethod
    def of(cls, key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> PublicKey:
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls("ed25519:" + b64url(key.public_bytes_raw()))
        point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
        return cls("p256:" + b64url(point))

    @property
    def id(self) -> str:
        return key_id(self.text)

    def load(self) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
        """Return the library's key. Raises KeyInvalid."""
        kind, _, data = self.text.partition(":")
        try:
            raw = b64url_bytes(data)
            if kind == "ed25519":
                if _of_small_order(raw):
                    raise ValueError("one signature of it would fit any number of messages")
                return ed25519.Ed25519PublicKey.from_public_bytes(raw)
            if kind == "p256":
                return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        except ValueError as error:
            raise KeyInvalid(f"not a {kind} key") from error
        raise KeyInvalid("unknown kind of key: want ed25519: or p256:")

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises SignatureInvalid unless `signature` is this key's over `message`."""
        key = self.load()
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise SignatureInvalid(f"not signed by key {self.id}") from error


def _of_small_order(raw: bytes) -> bool:
    return raw[:31] + bytes(byte & 0x7F for byte in raw[31:]) in SMALL_ORDER


class SigningKey:
    """A private signature key in memory. It shows nothing when printed."""

    def __init__(self, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = PublicKey.of(key.public_key())

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh Ed25519 key."""
        return cls(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> SigningKey:
        """Read PKCS #8 (RFC 5958), encrypted if a passphrase is given. Raises KeyInvalid."""
        try:
            key = serialization.load_pem_private_key(pem, passphrase)
        except (ValueError, TypeError) as error:
            raise KeyInvalid("the key file is damaged, or the passphrase is wrong") from error
        if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise KeyInvalid("not an Ed25519 or P-256 key")
        return cls(key)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """Write PKCS #8 PEM, encrypted with the library's best scheme if a passphrase is given."""
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    @property
    def ed25519(self) -> ed25519.Ed25519PrivateKey:
        """The library's Ed25519 key, for signatures that are not statements. Raises KeyInvalid for P-256."""
        if not isinstance(self._key, ed25519.Ed25519PrivateKey):
            raise KeyInvalid("this must be an Ed25519 key")
        return self._key

    def sign(self, message: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))

    def __repr__(self) -> str:
        return f"SigningKey({self.public.id})"
