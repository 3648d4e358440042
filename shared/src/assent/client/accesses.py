"""Accesses to one's own recordings, and unmasking: the entry of the log, and the proof of it, as files to keep.

`ID.leaf` holds the exact bytes of the entry, `ID.tlog-proof` the inclusion proof and the checkpoint with its
cosignatures. `assent me accesses --verify` checks them without a network, for ever.
"""

from __future__ import annotations

from pathlib import Path

from assent.client.custodian import from_base64
from assent.client.files import write_private
from assent.client.transport import AnswerInvalid
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import Notification
from assent.contracts.wire import Access
from assent.transparency.errors import TransparencyError
from assent.transparency.policy import Policy
from assent.transparency.proof import LogProof

LEAF_SUFFIX = ".leaf"
PROOF_SUFFIX = ".tlog-proof"


class AccessUnproved(Exception):
    """What the custodian gave as proof of an access is none. The message says why."""


def proof_of(access: Access, policy: Policy) -> LogProof | None:
    """The proof that witnesses saw the entry of this very access in the log; None while they have not. Raises
    AccessUnproved."""
    if access.leaf is None or access.proof is None:
        return None
    told = access.notification
    try:
        data = from_base64(access.leaf)
        proof = LogProof.from_bytes(access.proof.encode())
        proof.verify(data, policy)
        leaf = Leaf.model_validate_json(data)
    except (TransparencyError, AnswerInvalid, ValueError) as error:
        raise AccessUnproved(str(error)) from error
    if proof.index != told.leaf_index or not _is_of(leaf, told):
        raise AccessUnproved("of another entry")
    return proof


def _is_of(leaf: Leaf, told: Notification) -> bool:
    if told.kind == "unmasked":
        return (leaf.type, leaf.subject) == (LeafType.AUDIT_UNMASKED, told.request)
    return (leaf.type, leaf.request, leaf.purpose) == (LeafType.LEASE_OPENED, told.request, told.purpose)


def keep_proof(access: Access, folder: Path) -> None:
    """Write entry and proof, which are there, into the folder. Raises OSError."""
    if access.leaf is None or access.proof is None:
        raise ValueError("this access has no proof yet")
    write_private(folder / f"{access.notification.id}{LEAF_SUFFIX}", from_base64(access.leaf))
    write_private(folder / f"{access.notification.id}{PROOF_SUFFIX}", access.proof.encode())
