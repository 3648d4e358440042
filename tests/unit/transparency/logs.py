"""A log and its witnesses for tests, with keys that are the same in every run."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assent.transparency.checkpoint import Checkpoint, sign_checkpoint
from assent.transparency.note import Cosigner, Note, Signer

ORIGIN = "log.example/assent"
TIME = 1_795_000_000


def private_key(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(seed.encode()).digest())


def log_signer(origin: str = ORIGIN, seed: str = "log") -> Signer:
    return Signer(origin, private_key(seed))


def witness_cosigner(number: int) -> Cosigner:
    return Cosigner(f"witness{number}.example", private_key(f"witness {number}"))


def signed(checkpoint: Checkpoint, *witnesses: int) -> Note:
    """A checkpoint signed by the log and cosigned by these witnesses, each a second after the other."""
    note = sign_checkpoint(checkpoint, log_signer(checkpoint.origin))
    return note.signed_also_by(
        *(witness_cosigner(number).cosign(note.text, TIME + second) for second, number in enumerate(witnesses))
    )
