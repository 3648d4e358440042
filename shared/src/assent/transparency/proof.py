"""Proof files (C2SP tlog-proof@v1): all that shows, without a network, that one entry stands in a witnessed log."""

from __future__ import annotations

from dataclasses import dataclass

from assent.transparency.checkpoint import Checkpoint
from assent.transparency.errors import CheckpointInvalid, NoteInvalid, ProofInvalid
from assent.transparency.lines import MAX_PROOF_HASHES, from_base64, to_base64, to_hash, to_number
from assent.transparency.merkle import leaf_hash, verify_inclusion
from assent.transparency.note import Note
from assent.transparency.policy import Policy, Witnessed

_FIRST_LINE = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class LogProof:
    """Leaf number `index`, the hashes from its sibling up to the root's child, and the signed checkpoint, verbatim.

    `extra` is for the application and is authenticated by nothing; None when the file has no such line.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes | None = None

    def to_bytes(self) -> bytes:
        lines = [_FIRST_LINE]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines += (f"index {self.index}", *map(to_base64, self.hashes), "", "")
        return "\n".join(lines).encode() + self.checkpoint.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> LogProof:
        """Read a proof file; `to_bytes` gives back the same bytes. Raises ProofInvalid."""
        head, separator, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
            if not separator or lines.pop(0) != _FIRST_LINE:
                raise ProofInvalid(f"a proof begins with {_FIRST_LINE}; an empty line divides it from the checkpoint")
            extra = None
            if lines and lines[0].startswith("extra "):
                extra = from_base64(lines.pop(0).removeprefix("extra "))
            if extra == b"" or not lines or not lines[0].startswith("index "):
                raise ProofInvalid("a proof has at most one extra line, not empty, and then an index line")
            index = to_number(lines.pop(0).removeprefix("index "))
            if len(lines) > MAX_PROOF_HASHES:
                raise ProofInvalid(f"a proof has at most {MAX_PROOF_HASHES} hashes")
            note = Note.from_bytes(checkpoint)
            Checkpoint.from_text(note.text)
            return cls(index, tuple(map(to_hash, lines)), note, extra)
        except (ValueError, NoteInvalid, CheckpointInvalid) as error:
            raise ProofInvalid(f"proof file: {error}") from error

    def verify(self, leaf: bytes, policy: Policy) -> Witnessed:
        """Return what is proved about the exact bytes `leaf`: which checkpoint holds them, and who cosigned it when.

        Raises what `Policy.check` raises, or ProofInvalid when the leaf is not at this index of the signed tree.
        """
        witnessed = policy.check(self.checkpoint)
        checkpoint = witnessed.checkpoint
        verify_inclusion(leaf_hash(leaf), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return witnessed
