"""Checkpoints (C2SP tlog-checkpoint): a log's statement of its size and root, as the text of a signed note."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from assent.transparency import note as notes
from assent.transparency.errors import CheckpointInvalid, OriginUnknown
from assent.transparency.lines import HASH_BYTES, MAX_SIZE, to_base64, to_hash, to_number
from assent.transparency.note import Note, Signer, Verified, VerifierKey


@dataclass(frozen=True)
class Checkpoint:
    """The log named `origin` has `size` leaves, and `root` (32 bytes) is the root over them.

    `extensions` are further lines that the log added. They are signed but mean nothing here.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or any(character < " " for character in line):
                raise CheckpointInvalid("origin and extension lines are not empty and have no control characters")
        if not 0 <= self.size <= MAX_SIZE:
            raise CheckpointInvalid("the size is from 0 to 2^63 - 1")
        if len(self.root) != HASH_BYTES:
            raise CheckpointInvalid(f"the root has {HASH_BYTES} bytes")

    def to_text(self) -> str:
        return "".join(f"{line}\n" for line in (self.origin, self.size, to_base64(self.root), *self.extensions))

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Read the text of a note; `to_text` gives back the same text. Raises CheckpointInvalid."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop():
            raise CheckpointInvalid("a checkpoint has an origin, a size and a root, each on a line that ends")
        origin, size, root, *extensions = lines
        try:
            return cls(origin, to_number(size), to_hash(root), tuple(extensions))
        except ValueError as error:
            raise CheckpointInvalid(f"size or root: {error}") from error


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> Note:
    """Sign a checkpoint as the log. The caller makes sure that no two signed ones contradict each other.

    Raises CheckpointInvalid when the signer's name is not the origin: nobody would find its key.
    """
    if signer.verifier.name != checkpoint.origin:
        raise CheckpointInvalid("the log's key carries the log's origin as its name")
    text = checkpoint.to_text()
    return Note(text, (signer.sign(text),))


def open_checkpoint(note: Note, log_keys: Iterable[VerifierKey]) -> tuple[Checkpoint, tuple[Verified, ...]]:
    """Return the checkpoint and which of `log_keys` signed it. A key counts only for the origin that is its name.

    Raises CheckpointInvalid, OriginUnknown, SignatureInvalid or NotSigned, in this order of checks.
    """
    checkpoint = Checkpoint.from_text(note.text)
    keys = [key for key in log_keys if key.name == checkpoint.origin]
    if not keys:
        raise OriginUnknown("no key is trusted for the origin of this checkpoint")
    return checkpoint, notes.verify(note, keys)
