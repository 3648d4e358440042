"""A log whose newest leaves are lost everywhere ends, and a new one begins with those that were saved.

Nobody can show that the new one continues what was lost. So the newest head of each witness is quoted, and whoever
holds a newer one, or another of the same size, sees that leaves were dropped of which somebody has proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from assent.transparency.checkpoint import Checkpoint, open_checkpoint
from assent.transparency.errors import CheckpointInvalid, NotSigned, ProofInvalid, QuorumMissing, TransparencyError
from assent.transparency.note import Note, VerifierKey, verify
from assent.transparency.policy import Policy


class LeavesDropped(TransparencyError):
    """There is proof of leaves that the log, as it is told now, never had. Keep both, and tell the witnesses."""


@dataclass(frozen=True)
class Ending:
    """How a log ended, checked. `newest`: for each witness, by key, the newest head that is quoted with its signature.

    `kept`: how many of the first leaves were saved, `kept_root` (32 bytes) the root over them.
    """

    origin: str
    policy: Policy
    heads: tuple[Checkpoint, ...]
    newest: Mapping[VerifierKey, Checkpoint]
    kept: int
    kept_root: bytes

    @property
    def last(self) -> Checkpoint:
        """The largest head that is quoted."""
        return max(self.heads, key=lambda head: head.size)

    @property
    def lost(self) -> int:
        """How many leaves are known to be missing."""
        return self.last.size - self.kept

    @property
    def silent(self) -> tuple[str, ...]:
        """Witnesses of the former log, by key name, of whom no head is quoted."""
        return tuple(one.key.name for one in self.policy.witnesses if one.key not in self.newest)

    def check(self, note: Note) -> None:
        """Raise LeavesDropped if this head of the same log, whose signatures were checked, says more than is quoted."""
        checkpoint = Checkpoint.from_text(note.text)
        try:
            cosigned = [one.key for one in verify(note, [one.key for one in self.policy.witnesses])]
        except NotSigned:
            cosigned = []
        self.check_head(checkpoint, cosigned)

    def check_head(self, head: Checkpoint, cosigned: Iterable[VerifierKey]) -> None:
        """The same, with the witnesses that signed it. A witness never goes back: what is quoted of it is no older."""
        of_witnesses = [self.newest[key].size for key in cosigned if key in self.newest]
        quoted = min([self.last.size, *of_witnesses])
        if head.size > quoted:
            raise LeavesDropped(
                f"leaves were dropped: the log {self.origin} is said to have ended at {quoted} leaves, "
                f"and there is a signed head of {head.size}"
            )
        saved = Checkpoint(self.origin, self.kept, self.kept_root)
        if any(head.size == other.size and head.root != other.root for other in (*self.heads, saved)):
            raise LeavesDropped(f"there are two histories of the log {self.origin}, both of {head.size} leaves")


def ending_of(
    policy: Policy, heads: Sequence[Note], kept: int, kept_root: bytes, *, log_keys: Iterable[VerifierKey] = ()
) -> Ending:
    """Check what is quoted of a log that ended under `policy`. `log_keys`: earlier keys of the same log.

    The log signed each head; the witnesses that signed one or another of them make the quorum. Raises
    TransparencyError, with what is missing.
    """
    (log,) = policy.logs
    keys = [log.key, *(key for key in log_keys if key.name == log.key.name)]
    names = {witness.key: witness.name for witness in policy.witnesses}
    found: list[Checkpoint] = []
    newest: dict[VerifierKey, Checkpoint] = {}
    for note in heads:
        checkpoint, _ = open_checkpoint(note, keys)
        found.append(checkpoint)
        for signed in verify(note, names):
            if signed.key not in newest or newest[signed.key].size < checkpoint.size:
                newest[signed.key] = checkpoint
    if not policy.is_met_by({names[key] for key in newest}):
        raise QuorumMissing(policy.quorum, tuple(sorted(names[key] for key in newest)))
    ending = Ending(log.key.name, policy, tuple(found), newest, kept, kept_root)
    if not 0 <= kept < ending.last.size:
        raise CheckpointInvalid("a log ends only when leaves are missing: fewer are saved than were witnessed")
    for one in (*found, Checkpoint(log.key.name, kept, kept_root)):
        if any(one.size == other.size and one.root != other.root for other in found):
            raise ProofInvalid(f"there are two histories of the log, both of {one.size} leaves")
    return ending
