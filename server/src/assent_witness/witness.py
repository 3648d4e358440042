"""The one decision of a witness: cosign this head of a log, or refuse (C2SP tlog-witness, `add-checkpoint`).

Check, cosign, store, answer: all under the lock of that log. A crash after storing loses only the answer; the log then
learns the stored size from its next attempt and asks again.

A log that ended, and the one that begins after it, are known from the root-signed directory alone. The new one is not
cosigned unless the directory quotes the very head of the former one that was cosigned here last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from assent.transparency.checkpoint import Checkpoint, open_checkpoint
from assent.transparency.errors import NotSigned, OriginUnknown, ProofInvalid, SignatureInvalid, SubmissionInvalid
from assent.transparency.merkle import EMPTY_ROOT, verify_consistency
from assent.transparency.note import Cosigner, Note, Verified, VerifierKey
from assent.transparency.succession import Ending, LeavesDropped
from assent.transparency.witnessing import Submission, build_cosignatures
from assent_witness.heads import Heads

LOOK_AT_MOST_EVERY_S = 30.0
"""How often a signature that is not known makes the witness look for newer log keys."""

_log = logging.getLogger(__name__)


class OldSizeWrong(Exception):
    """The request starts from another size than the last cosigned one. `size` is that one."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the last cosigned size is {size}")


class Witness:
    """Cosigns heads of the logs that `log_keys` belong to. `now` gives POSIX time in seconds."""

    def __init__(
        self,
        cosigner: Cosigner,
        heads: Heads,
        log_keys: Sequence[VerifierKey],
        now: Callable[[], float],
        log_keys_now: Callable[[], Sequence[VerifierKey]] | None = None,
        endings: Callable[[], Sequence[Ending]] = tuple,
    ) -> None:
        """`log_keys_now`: the keys as they are now, asked when a signature is not known. A key that it does not name
        any more counts no longer; the heads go on, since they are kept by the log's name. `endings`: of the logs before
        the one of now, oldest first; asked while nothing of it is cosigned."""
        self._cosigner = cosigner
        self._heads = heads
        self._log_keys = log_keys
        self._now = now
        self._log_keys_now = log_keys_now
        self._endings = endings
        self._looked: float | None = None

    def add_checkpoint(self, body: bytes) -> bytes:
        """Return the cosignature line for a request body; the new head is stored when this returns.

        Raises SubmissionInvalid or CheckpointInvalid (malformed), OriginUnknown, SignatureInvalid or NotSigned (not by
        a trusted log), OldSizeWrong, ProofInvalid or LeavesDropped (not a continuation), HeadDamaged, OSError. Nothing
        is cosigned then.
        """
        submission = Submission.from_bytes(body)
        checkpoint, by_log = self._open(submission.checkpoint)
        if submission.old_size > checkpoint.size:
            raise SubmissionInvalid("the old size is larger than the checkpoint's")
        with self._heads.locked(checkpoint.origin) as head:
            try:
                last = head.read()
                if last.size == 0:
                    last = self._beginning(last)
                if submission.old_size != last.size:
                    raise OldSizeWrong(last.size)
                verify_consistency(last.size, last.root, checkpoint.size, checkpoint.root, submission.proof)
            except (ProofInvalid, LeavesDropped) as error:
                # Signed by the log, and no continuation was shown: keep it, it may be evidence.
                _log.warning("refused a signed checkpoint: %s: %r", error, submission.checkpoint.to_bytes())
                raise
            cosignature = self._cosigner.cosign(submission.checkpoint.text, int(self._now()))
            log_lines = {verified.key: verified.signature for verified in by_log}  # strangers' lines are not kept
            head.replace(Note(submission.checkpoint.text, (*log_lines.values(), cosignature)))
        return build_cosignatures([cosignature])

    def _beginning(self, nothing: Checkpoint) -> Checkpoint:
        """Where a log begins of which nothing is cosigned: with nothing, or with what was kept of the one before it."""
        endings = self._endings()
        if any(ending.origin == nothing.origin for ending in endings):
            raise OriginUnknown("this log ended, the directory says")
        begin = nothing
        for ending in endings:
            with self._heads.locked(ending.origin) as head:
                begin = kept_of(ending, head.read(), self._cosigner.verifier)
        return Checkpoint(nothing.origin, begin.size, begin.root)

    def _open(self, note: Note) -> tuple[Checkpoint, tuple[Verified, ...]]:
        try:
            return open_checkpoint(note, self._log_keys)
        except (OriginUnknown, NotSigned, SignatureInvalid):
            now = self._now()
            recent = self._looked is not None and 0 <= now - self._looked < LOOK_AT_MOST_EVERY_S
            if self._log_keys_now is None or recent:
                raise
            self._looked = now
            keys = self._log_keys_now()
            if list(keys) == list(self._log_keys):
                raise
            self._log_keys = keys
        return open_checkpoint(note, self._log_keys)


def kept_of(ending: Ending, own: Checkpoint, witness: VerifierKey) -> Checkpoint:
    """The head from which the next log must go on, for the witness whose last head of the former one is `own`.

    Raises LeavesDropped unless exactly that head is quoted. What was kept must begin with it, if it is not longer.
    """
    quoted = ending.newest.get(witness)
    of_it = Checkpoint(own.origin, 0, EMPTY_ROOT) if quoted is None else quoted
    if (of_it.size, of_it.root) != (own.size, own.root):
        raise LeavesDropped(
            f"leaves were dropped, or this witness has forgotten some: of the log {own.origin} it signed {own.size} "
            f"leaves last, and the directory quotes {of_it.size} of it"
        )
    return own if 0 < own.size <= ending.kept else Checkpoint(own.origin, ending.kept, ending.kept_root)
