"""Signed notes (C2SP signed-note): a text, and lines saying which keys signed it.

The text of a note means nothing until `verify` has returned. Two kinds of key are known: 0x01, plain Ed25519, with
which a log signs; and 0x04, Ed25519 over the text and a time (C2SP tlog-cosignature), with which a witness says that at
that time this was the largest tree it had seen, and that it contradicts none it saw before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assent.transparency.errors import NoteInvalid, NotSigned, SignatureInvalid, VerifierKeyInvalid
from assent.transparency.lines import MAX_SIZE, from_base64, to_base64

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_DASH = "\u2014 "
_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_TIME = struct.Struct(">Q")


class Kind(IntEnum):
    """Signature type bytes assigned by C2SP signed-note."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True)
class Signature:
    """One signature line: who claims to have signed, by name and 4-byte key id, and the bytes given for it."""

    name: str
    key_id: bytes
    data: bytes

    def to_line(self) -> str:
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.data)}\n"

    @classmethod
    def from_line(cls, line: str) -> Signature:
        """Read one line without its newline. Raises NoteInvalid."""
        if not line.startswith(_DASH):
            raise NoteInvalid("a signature line begins with an em dash and a space")
        name, separator, encoded = line.removeprefix(_DASH).partition(" ")
        if not separator or not _is_key_name(name):
            raise NoteInvalid("a signature line has a key name without spaces or plus, a space, and base64")
        try:
            data = from_base64(encoded)
        except ValueError as error:
            raise NoteInvalid(f"signature line: {error}") from error
        if len(data) <= _KEY_ID_BYTES:
            raise NoteInvalid("a signature line holds a key id of 4 bytes and a signature")
        return cls(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


@dataclass(frozen=True)
class Note:
    """A text that ends with a newline, and its signature lines. Nothing in it is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        return "".join((self.text, "\n", *(signature.to_line() for signature in self.signatures))).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Note:
        """Read a note; `to_bytes` gives back the same bytes. Raises NoteInvalid."""
        if len(data) > MAX_NOTE_BYTES:
            raise NoteInvalid(f"a note has at most {MAX_NOTE_BYTES:,} bytes")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise NoteInvalid("a note is UTF-8") from error
        if any(character < " " and character != "\n" for character in whole):
            raise NoteInvalid("a note has no control character except newline")
        text, separator, lines = whole.rpartition("\n\n")
        if not separator:
            raise NoteInvalid("an empty line divides the text from the signatures")
        if not lines.endswith("\n"):
            raise NoteInvalid("a note has signature lines, and each ends with a newline")
        signature_lines = lines[:-1].split("\n")
        if len(signature_lines) > MAX_SIGNATURES:
            raise NoteInvalid(f"a note has at most {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(Signature.from_line(line) for line in signature_lines))

    def signed_also_by(self, *signatures: Signature) -> Note:
        """The same text with further signature lines; one that is there already is not repeated."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *signatures))))


@dataclass(frozen=True)
class VerifierKey:
    """A public key with the name under which it signs notes: what others need in order to verify them."""

    name: str
    kind: Kind
    public: bytes

    def __post_init__(self) -> None:
        if not _is_key_name(self.name):
            raise VerifierKeyInvalid("a key name is not empty and has no spaces, control characters or plus")
        if len(self.public) != _KEY_BYTES:
            raise VerifierKeyInvalid(f"an Ed25519 key has {_KEY_BYTES} bytes, not {len(self.public)}")

    @property
    def id(self) -> bytes:
        """SHA-256(name || newline || kind || public)[:4]."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{to_base64(bytes([self.kind]) + self.public)}"

    @classmethod
    def from_text(cls, text: str) -> VerifierKey:
        """Read `name+id+base64`, as `str()` writes it. Raises VerifierKeyInvalid."""
        parts = text.split("+", 2)  # base64 may hold a plus itself
        if len(parts) != 3:
            raise VerifierKeyInvalid("a verifier key is a name, a plus, 8 hexadecimal digits, a plus, and base64")
        name, key_id, encoded = parts
        try:
            data = from_base64(encoded)
        except ValueError as error:
            raise VerifierKeyInvalid(f"verifier key: {error}") from error
        if not data or data[0] not in tuple(Kind):
            raise VerifierKeyInvalid("only keys of type 0x01 (Ed25519) and 0x04 (cosignature) are known")
        key = cls(name, Kind(data[0]), data[1:])
        if key.id.hex() != key_id:
            raise VerifierKeyInvalid("the key id does not belong to this name and key; copy the whole line")
        return key

    def verify(self, text: str, signature: Signature) -> int | None:
        """Return the POSIX time of a cosignature, None for a plain one. Raises SignatureInvalid."""
        data, message, time = signature.data, text.encode(), None
        if self.kind is Kind.COSIGNATURE:
            if len(data) < _TIME.size:
                raise SignatureInvalid(f"the cosignature of {self.name} is cut off")
            (time,) = _TIME.unpack(data[: _TIME.size])
            if not 0 < time <= MAX_SIZE:
                raise SignatureInvalid(f"the cosignature of {self.name} has an impossible time")
            data, message = data[_TIME.size :], _cosigned_message(text, time)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(data, message)
        except InvalidSignature as error:
            raise SignatureInvalid(f"{self.name} did not sign this text") from error
        return time


@dataclass(frozen=True)
class Verified:
    """`key` did sign the note, with this line; a cosigner at POSIX time `time`, None for a plain signature."""

    key: VerifierKey
    signature: Signature
    time: int | None


def verify(note: Note, keys: Iterable[VerifierKey]) -> tuple[Verified, ...]:
    """Return which of `keys` signed, in the order of the lines. Lines of other keys are ignored.

    Raises SignatureInvalid when a line names one of `keys` and is not by it, NotSigned when none of them signed.
    """
    known = {(key.name, key.id): key for key in keys}
    verified: list[Verified] = []
    for signature in note.signatures:
        if key := known.get((signature.name, signature.key_id)):
            verified.append(Verified(key, signature, key.verify(note.text, signature)))
    if not verified:
        raise NotSigned("no trusted key signed this note")
    return tuple(verified)


class Signer:
    """Signs the texts of notes as `name`, with plain Ed25519 (0x01). Shows nothing of its key."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = VerifierKey(name, Kind.ED25519, key.public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        """Sign a text that ends with a newline. Raises NoteInvalid when no note can hold that text."""
        _check_text(text)
        return Signature(self.verifier.name, self.verifier.id, self._key.sign(text.encode()))

    def __repr__(self) -> str:
        return f"Signer({self.verifier})"


class Cosigner:
    """Cosigns the texts of checkpoints as `name`, with a time (0x04). Shows nothing of its key."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = VerifierKey(name, Kind.COSIGNATURE, key.public_key().public_bytes_raw())

    def cosign(self, text: str, time: int) -> Signature:
        """Sign a checkpoint's text as seen at POSIX time `time`, in seconds. Raises NoteInvalid, or ValueError."""
        _check_text(text)
        if not 0 < time <= MAX_SIZE:
            raise ValueError("the time of a cosignature is in seconds after 1970")
        data = _TIME.pack(time) + self._key.sign(_cosigned_message(text, time))
        return Signature(self.verifier.name, self.verifier.id, data)

    def __repr__(self) -> str:
        return f"Cosigner({self.verifier})"


def _cosigned_message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise NoteInvalid("the text of a note ends with a newline and has no other control character")


def _is_key_name(name: str) -> bool:
    return bool(name) and not any(
        character.isspace() or character < " " or character == "+" or "\ud800" <= character <= "\udfff"
        for character in name
    )
