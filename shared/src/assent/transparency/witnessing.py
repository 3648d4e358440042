"""What a log and a witness say to each other (C2SP tlog-witness, `add-checkpoint`), as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from assent.transparency.errors import NoteInvalid, SubmissionInvalid
from assent.transparency.lines import MAX_PROOF_HASHES, to_base64, to_hash, to_number
from assent.transparency.note import Note, Signature, VerifierKey, verify

SIZE_MEDIA_TYPE = "text/x.tlog.size"
"""Content type of the answer to a wrong old size."""


@dataclass(frozen=True)
class Submission:
    """A log asks for a cosignature: `proof` leads from the tree of `old_size` to the one in `checkpoint`."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: Note

    def to_bytes(self) -> bytes:
        lines = (f"old {self.old_size}", *map(to_base64, self.proof), "", "")
        return "\n".join(lines).encode() + self.checkpoint.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Submission:
        """Read a request body; `to_bytes` gives back the same bytes. Raises SubmissionInvalid."""
        head, separator, note = data.partition(b"\n\n")
        try:
            old, *hashes = head.decode("ascii").split("\n")
            if not separator or not old.startswith("old "):
                raise SubmissionInvalid("a request has an old size line, hashes, an empty line and a checkpoint")
            if len(hashes) > MAX_PROOF_HASHES:
                raise SubmissionInvalid(f"a proof has at most {MAX_PROOF_HASHES} hashes")
            return cls(to_number(old.removeprefix("old ")), tuple(map(to_hash, hashes)), Note.from_bytes(note))
        except (ValueError, NoteInvalid) as error:
            raise SubmissionInvalid(str(error)) from error


def build_cosignatures(signatures: Iterable[Signature]) -> bytes:
    """The body of a witness's answer 200."""
    return "".join(signature.to_line() for signature in signatures).encode()


def read_cosignatures(body: bytes, checkpoint: Note, witness_keys: Iterable[VerifierKey]) -> tuple[Signature, ...]:
    """Return the lines of an answer 200 that trusted witnesses made over this checkpoint; others are dropped.

    Raises SubmissionInvalid when the answer is malformed, SignatureInvalid when a line is not by the witness it names,
    NotSigned when no trusted witness is among them.
    """
    try:
        answer = Note.from_bytes(checkpoint.text.encode() + b"\n" + body)
    except NoteInvalid as error:
        raise SubmissionInvalid(f"answer of a witness: {error}") from error
    if answer.text != checkpoint.text:
        raise SubmissionInvalid("the answer of a witness is signature lines and nothing else")
    return tuple(verified.signature for verified in verify(answer, witness_keys))


def build_size(size: int) -> bytes:
    """The body of a witness's answer 409: the size of the checkpoint that it cosigned last."""
    return f"{size}\n".encode()


def read_size(body: bytes) -> int:
    """Read the body of an answer 409. Raises SubmissionInvalid."""
    try:
        line, separator, rest = body.decode("ascii").partition("\n")
        if not separator or rest:
            raise SubmissionInvalid("the size is on one line that ends")
        return to_number(line)
    except ValueError as error:
        raise SubmissionInvalid(f"answer of a witness: {error}") from error
