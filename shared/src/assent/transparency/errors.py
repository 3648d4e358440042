"""What can be wrong with something that came from a log or a witness. Each error means: trust none of it."""

from __future__ import annotations


class TransparencyError(Exception):
    """Something about a log does not verify."""


class NoteInvalid(TransparencyError):
    """These bytes are not the one exact form of a signed note (C2SP signed-note)."""


class VerifierKeyInvalid(TransparencyError):
    """This text is not a verifier key of a kind that Assent knows (C2SP signed-note, "Verifier keys")."""


class SignatureInvalid(TransparencyError):
    """A signature line names a known key, but that key did not sign this text. The whole note is refused."""


class NotSigned(TransparencyError):
    """No key that is trusted for this signed the note."""


class CheckpointInvalid(TransparencyError):
    """This text is not the one exact form of a checkpoint (C2SP tlog-checkpoint)."""


class OriginUnknown(TransparencyError):
    """The checkpoint is of a log that is not among the trusted ones."""


class ProofInvalid(TransparencyError):
    """A proof is malformed, or the hashes do not lead to the root that was signed."""


class TileInvalid(TransparencyError):
    """A tile, an entry bundle or the path of one is not in the one exact form of C2SP tlog-tiles."""


class PolicyInvalid(TransparencyError):
    """A policy file is not in the form of C2SP tlog-policy. `line` counts from 1; None when it is about the whole."""

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        self.line = line
        super().__init__(reason if line is None else f"line {line}: {reason}")


class QuorumMissing(TransparencyError):
    """The log signed this checkpoint, but too few witnesses did. `cosigned` names those of the policy that did."""

    def __init__(self, quorum: str, cosigned: tuple[str, ...]) -> None:
        self.quorum = quorum
        self.cosigned = cosigned
        super().__init__(f"quorum {quorum!r} is not met; cosigned by: {', '.join(cosigned) or 'nobody'}")


class SubmissionInvalid(TransparencyError):
    """These bytes are not an add-checkpoint request, or not an answer to one (C2SP tlog-witness)."""
