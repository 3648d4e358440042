"""The one decision of a witness: cosign this head of a log, or refuse (C2SP tlog-witness, `add-checkpoint`).

Check, cosign, store, answer: all under the lock of that log. A crash after storing loses only the answer; the log then
learns the stored size from its next attempt and asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from assent.transparency.checkpoint import open_checkpoint
from assent.transparency.errors import ProofInvalid, SubmissionInvalid
from assent.transparency.merkle import verify_consistency
from assent.transparency.note import Cosigner, Note, VerifierKey
from assent.transparency.witnessing import Submission, build_cosignatures
from assent_witness.heads import Heads

_log = logging.getLogger(__name__)


class OldSizeWrong(Exception):
    """The request starts from another size than the last cosigned one. `size` is that one."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the last cosigned size is {size}")


class Witness:
    """Cosigns heads of the logs that `log_keys` belong to. `now` gives POSIX time in seconds."""

    def __init__(
        self, cosigner: Cosigner, heads: Heads, log_keys: Sequence[VerifierKey], now: Callable[[], float]
    ) -> None:
        self._cosigner = cosigner
        self._heads = heads
        self._log_keys = log_keys
        self._now = now

    def add_checkpoint(self, body: bytes) -> bytes:
        """Return the cosignature line for a request body; the new head is stored when this returns.

        Raises SubmissionInvalid or CheckpointInvalid (malformed), OriginUnknown, SignatureInvalid or NotSigned (not by
        a trusted log), OldSizeWrong, ProofInvalid (not a continuation), HeadDamaged, OSError. Nothing is cosigned then.
        """
        submission = Submission.from_bytes(body)
        checkpoint, by_log = open_checkpoint(submission.checkpoint, self._log_keys)
        if submission.old_size > checkpoint.size:
            raise SubmissionInvalid("the old size is larger than the checkpoint's")
        with self._heads.locked(checkpoint.origin) as head:
            last = head.read()
            if submission.old_size != last.size:
                raise OldSizeWrong(last.size)
            try:
                verify_consistency(last.size, last.root, checkpoint.size, checkpoint.root, submission.proof)
            except ProofInvalid as error:
                # Signed by the log, and no continuation was shown: keep it, it may be evidence.
                _log.warning("refused a signed checkpoint: %s: %r", error, submission.checkpoint.to_bytes())
                raise
            cosignature = self._cosigner.cosign(submission.checkpoint.text, int(self._now()))
            log_lines = {verified.key: verified.signature for verified in by_log}  # strangers' lines are not kept
            head.replace(Note(submission.checkpoint.text, (*log_lines.values(), cosignature)))
        return build_cosignatures([cosignature])
