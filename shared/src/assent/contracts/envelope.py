"""One envelope for everything that is signed: DSSE (Dead Simple Signing Envelope, v1).

The bytes that were signed are stored and served as they are; nothing is re-serialised to check a signature.
A statement's hash is the SHA-256 of the bytes that its signatures cover, so it does not depend on who signed.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from assent.contracts.ids import sha256_hex
from assent.contracts.keys import KeyId, PublicKey, SignatureInvalid, SigningKey

_PREFIX = "application/vnd.assent."
MAX_SIGNATURES = 8


class StatementInvalid(Exception):
    """The envelope does not hold a statement of the expected type, or it is not signed as it must be."""


class Statement(BaseModel):
    """Base of every signed payload. Strict: unknown fields, lax numbers and missing fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    TYPE: ClassVar[str]
    v: Literal[1] = 1

    @classmethod
    def payload_type(cls) -> str:
        return f"{_PREFIX}{cls.TYPE}+json"

    def to_bytes(self) -> bytes:
        """The exact bytes to sign: compact JSON in field order, without fields that are None."""
        return json.dumps(
            self.model_dump(mode="json", exclude_none=True), separators=(",", ":"), ensure_ascii=False
        ).encode()


_BASE64 = r"^[A-Za-z0-9+/]*={0,2}$"
Base64 = Annotated[str, StringConstraints(pattern=_BASE64)]
"""Standard base64. That its length is a possible one, too, is found out when it is read."""


class Signature(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    keyid: KeyId
    sig: Annotated[str, StringConstraints(max_length=1024, pattern=_BASE64)]


class Envelope(BaseModel):
    """A DSSE envelope. `payload` and signatures are standard base64."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    payloadType: Annotated[str, StringConstraints(pattern=r"^application/vnd\.assent\.[a-z0-9-]+\+json$")]
    payload: Base64
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=MAX_SIGNATURES)]

    @property
    def payload_bytes(self) -> bytes:
        """The exact signed payload. Raises StatementInvalid."""
        try:
            return base64.b64decode(self.payload, validate=True)
        except binascii.Error as error:
            raise StatementInvalid("the payload is not base64") from error

    @property
    def signed_bytes(self) -> bytes:
        """DSSE's pre-authentication encoding (PAE): what every signature covers."""
        return pae(self.payloadType, self.payload_bytes)

    @property
    def hash(self) -> str:
        """The statement's hash: SHA-256 of `signed_bytes`, hexadecimal."""
        return sha256_hex(self.signed_bytes)

    @classmethod
    def from_json(cls, data: bytes | str) -> Envelope:
        """Raises StatementInvalid when `data` is not an envelope."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise StatementInvalid("not a signed statement (DSSE envelope)") from error

    def to_json(self) -> bytes:
        return self.model_dump_json().encode()

    def signature_by(self, key: PublicKey) -> bytes:
        """Return this key's signature after checking it. Raises SignatureInvalid if it has none, or a wrong one."""
        for signature in self.signatures:
            if signature.keyid == key.id:
                try:
                    raw = base64.b64decode(signature.sig, validate=True)
                except binascii.Error as error:
                    raise SignatureInvalid("the signature is not base64") from error
                key.verify(raw, self.signed_bytes)
                return raw
        raise SignatureInvalid(f"not signed by key {key.id}")

    def signed_also_by(self, key: SigningKey) -> Envelope:
        """The same statement with one more signature (a counter-signature)."""
        return self.model_copy(update={"signatures": (*self.signatures, _signature(key, self.signed_bytes))})


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _signature(key: SigningKey, message: bytes) -> Signature:
    return Signature(keyid=key.public.id, sig=base64.b64encode(key.sign(message)).decode())


def sign(statement: Statement, *keys: SigningKey) -> Envelope:
    """Write the statement once and sign those bytes with every key."""
    payload = statement.to_bytes()
    message = pae(statement.payload_type(), payload)
    return Envelope(
        payloadType=statement.payload_type(),
        payload=base64.b64encode(payload).decode(),
        signatures=tuple(_signature(key, message) for key in keys),
    )


S = TypeVar("S", bound=Statement)


def read_unverified(envelope: Envelope, kind: type[S]) -> S:
    """Parse the payload without looking at signatures: to find out whose they must be. Raises StatementInvalid."""
    if envelope.payloadType != kind.payload_type():
        raise StatementInvalid(f"expected a statement of type {kind.TYPE}")
    try:
        return kind.model_validate_json(envelope.payload_bytes)
    except ValidationError as error:
        places = ", ".join(".".join(str(p) for p in e["loc"]) or "statement" for e in error.errors()[:5])
        raise StatementInvalid(f"this {kind.TYPE} statement is not well-formed: {places}") from error


def read(envelope: Envelope, kind: type[S], *keys: PublicKey) -> S:
    """Parse the payload after checking that each of `keys` signed it. Raises StatementInvalid.

    At least one key must be given: nothing unsigned is read as a statement.
    """
    if not keys:
        raise StatementInvalid("no key to check the statement against")
    for key in keys:
        try:
            envelope.signature_by(key)
        except SignatureInvalid as error:
            raise StatementInvalid(f"this {kind.TYPE} statement is {error}") from error
    return read_unverified(envelope, kind)


class Signed(BaseModel):
    """Base of HTTP bodies that are not statements themselves."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Raises StatementInvalid with the places that are wrong, never their content."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            places = ", ".join(".".join(str(p) for p in e["loc"]) or "body" for e in error.errors()[:5])
            raise StatementInvalid(f"the message is not well-formed: {places}") from error

    def to_json(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()
