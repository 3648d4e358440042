"""Checking a whole log without believing whoever keeps it: leaves, root, signatures, witnesses, and who approved what.

`audit` looks at a copy (`LogCopy`) and answers with a list of checks, each passed or failed with a reason. It needs no
network; the only thing taken on trust is the fingerprint of the root key. The copy in a folder is: `directory.json`,
`policy`, `checkpoint`, and the tiles and entry bundles under `tile/`, as C2SP tlog-tiles names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from assent.client.directory import DirectoryRefused, kept_policy_of, policy_of, verify_directory
from assent.client.transport import is_loopback
from assent.contracts import limits
from assent.contracts.envelope import Envelope, StatementInvalid
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import Directory
from assent.transparency import merkle
from assent.transparency.errors import TransparencyError
from assent.transparency.note import Note
from assent.transparency.policy import Policy
from assent.transparency.proof import LogProof
from assent.transparency.tiles import (
    EntryBundle,
    HashTile,
    build_hash_tile,
    entry_bundles,
    hash_tiles,
    parse_bundle,
    parse_path,
    verify_leaves,
)

DIRECTORY_FILE = "directory.json"
POLICY_FILE = "policy"
CHECKPOINT_FILE = "checkpoint"

SAME_HOST = "witnessed by the same host only"


class CopyInvalid(Exception):
    """The folder does not hold a copy of a log, or a part of it is missing."""


@dataclass(frozen=True)
class LogCopy:
    """A log as it was handed out: nothing in it is verified yet. `tiles` are optional; the leaves decide."""

    directory: Envelope
    policy: str
    checkpoint: Note
    leaves: tuple[bytes, ...]
    tiles: Mapping[str, bytes]


@dataclass(frozen=True)
class Check:
    """One thing that was checked. `text` says what, or, if it failed, what is wrong."""

    passed: bool
    text: str


@dataclass(frozen=True)
class Audit:
    """The outcome. `warnings` are true and unflattering, and no failure."""

    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    size: int

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def fetch_copy(
    directory: Envelope, policy: str, checkpoint: bytes, read: Callable[[str], bytes | None], *, tiles: bool
) -> LogCopy:
    """Put a copy together from whoever serves it. `read` returns a tile's bytes by path, None when it is not there.

    A partial tile that has been completed meanwhile is cut out of the full one. Raises TransparencyError, CopyInvalid.
    """
    note = Note.from_bytes(checkpoint)
    size = int(note.text.split("\n")[1])
    files: dict[str, bytes] = {}
    leaves: list[bytes] = []
    for bundle in entry_bundles(size):
        data = _read(bundle, read)
        found = parse_bundle(bundle, data)
        leaves += found
        files[bundle.path] = data
    if tiles:
        for tile in hash_tiles(size):
            files[tile.path] = _read(tile, read)
    return LogCopy(directory, policy, note, tuple(leaves), files)


def _read(tile: HashTile | EntryBundle, read: Callable[[str], bytes | None]) -> bytes:
    data = read(tile.path)
    if data is not None:
        return data
    whole = HashTile(tile.level, tile.index) if isinstance(tile, HashTile) else EntryBundle(tile.index)
    data = read(whole.path) if whole != tile else None
    if data is None:
        raise CopyInvalid(f"{tile.path} is missing")
    if isinstance(tile, HashTile):
        return data[: tile.width * 32]
    position = 0
    for _ in range(tile.width):
        position += 2 + int.from_bytes(data[position : position + 2], "big")
    return data[:position]


def load_copy(folder: Path) -> LogCopy:
    """Read what `save_copy` wrote. Raises CopyInvalid."""
    try:
        directory = Envelope.from_json((folder / DIRECTORY_FILE).read_bytes())
        policy = (folder / POLICY_FILE).read_text("utf-8")
        checkpoint = (folder / CHECKPOINT_FILE).read_bytes()
        tile_files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted((folder / "tile").rglob("*"))
            if path.is_file()
        }
        copy = fetch_copy(directory, policy, checkpoint, tile_files.get, tiles=False)
    except (OSError, UnicodeDecodeError, ValueError, IndexError, StatementInvalid, TransparencyError) as error:
        raise CopyInvalid(f"this folder does not hold a whole copy of a log: {error}") from error
    return LogCopy(copy.directory, copy.policy, copy.checkpoint, copy.leaves, tile_files)


def files_of(copy: LogCopy) -> dict[str, bytes]:
    """The files of a copy by relative path, for `load_copy`. Paths of tiles are checked. Raises TileInvalid."""
    for path in copy.tiles:
        parse_path(path)
    return {
        DIRECTORY_FILE: copy.directory.to_json(),
        POLICY_FILE: copy.policy.encode(),
        CHECKPOINT_FILE: copy.checkpoint.to_bytes(),
        **copy.tiles,
    }


def audit(
    copy: LogCopy,
    root_fingerprint: str,
    proofs: Iterable[tuple[str, bytes, bytes | None]] = (),
    *,
    approvals_needed: int = limits.APPROVALS_NEEDED,
) -> Audit:
    """Check everything that a copy lets one check. `proofs`: (name, proof file, leaf or None to take the log's).

    1. the root key with this fingerprint signed the directory, and the policy is the directory's;
    2. the log signed the checkpoint and enough witnesses countersigned it;
    3. the leaves are exactly those of the checkpoint, and the tiles are made of them;
    4. every lease came after enough approvals of its request, by distinct people other than the requester;
    5. each proof is of a tree that this log contains.
    """
    checks: list[Check] = []
    warnings: list[str] = []
    try:
        directory = verify_directory(copy.directory, root_fingerprint)
        checks.append(Check(True, f"directory {directory.version} is signed by the root key"))
        policy = policy_of(directory)
    except DirectoryRefused as error:
        return Audit((Check(False, str(error)),), (), 0)
    checks.append(
        Check(True, "the witness policy is the directory's")
        if copy.policy == directory.policy
        else Check(False, "the witness policy is not the one in the directory")
    )
    size = _check_checkpoint(copy, directory, policy, checks, warnings)
    if size is None:
        return Audit(tuple(checks), tuple(warnings), 0)
    checks.append(_check_tiles(copy, size))
    checks += check_leases(copy.leaves, approvals_needed)
    checks += [_check_proof(copy, kept_policy_of(directory), *proof) for proof in proofs]
    return Audit(tuple(checks), tuple(warnings), size)


def _check_checkpoint(
    copy: LogCopy, directory: Directory, policy: Policy, checks: list[Check], warnings: list[str]
) -> int | None:
    try:
        witnessed = policy.check(copy.checkpoint)
        checks.append(
            Check(True, f"the checkpoint of size {witnessed.checkpoint.size} is signed and witnessed by quorum")
        )
        if same_host(directory, witnessed.cosigned_at):
            warnings.append(SAME_HOST)
        verify_leaves(copy.leaves, witnessed.checkpoint)
        checks.append(Check(True, f"the {len(copy.leaves)} leaves are exactly those that were signed"))
    except TransparencyError as error:
        checks.append(Check(False, str(error)))
        return None
    return witnessed.checkpoint.size


def same_host(directory: Directory, cosigned: Iterable[str]) -> bool:
    """Whether nobody but this very host witnessed: every witness of the directory is at a loopback address."""
    return bool(list(cosigned)) and all(is_loopback(witness.url) for witness in directory.witnesses)


def _check_tiles(copy: LogCopy, size: int) -> Check:
    nodes: dict[tuple[int, int], bytes] = {}
    hashes = [merkle.leaf_hash(leaf) for leaf in copy.leaves]
    for node in merkle.append(0, hashes, lambda level, index: nodes[level, index]):
        nodes[node.level, node.index] = node.hash
    checked = 0
    for path, data in copy.tiles.items():
        try:
            tile = parse_path(path)
        except TransparencyError:
            return Check(False, "the copy has a file that is no tile")
        if isinstance(tile, HashTile):
            if not tile.is_within(size) or data != build_hash_tile(tile, lambda level, index: nodes[level, index]):
                return Check(False, f"{path} does not belong to these leaves")
            checked += 1
    return Check(True, f"the hash tiles ({checked}) are made of these leaves")


def check_leases(leaves: Sequence[bytes], approvals_needed: int) -> list[Check]:
    """Every allowed lease of other people's data: after enough approvals, by distinct actors, not the requester's own,
    of a request that was not refused or revoked before."""
    approvals: dict[str, set[str]] = {}
    requesters: dict[str, str | None] = {}
    ended: set[str] = set()
    bad: list[Check] = []
    count = 0
    for index, data in enumerate(leaves):
        try:
            leaf = Leaf.model_validate_json(data)
        except ValidationError:
            bad.append(Check(False, f"leaf {index} cannot be read"))
            continue
        request = leaf.request or leaf.subject or ""
        match leaf.type:
            case LeafType.REQUEST_SIGNED:
                requesters[request] = leaf.actor
            case LeafType.GRANT_APPROVED if leaf.decision != "refused" and leaf.actor is not None:
                approvals.setdefault(request, set()).add(leaf.actor)
            case LeafType.GRANT_REFUSED | LeafType.GRANT_REVOKED | LeafType.GRANT_EXPIRED if leaf.decision != "refused":
                ended.add(request)
            case LeafType.LEASE_OPENED if leaf.decision != "refused" and leaf.mode != "own":
                count += 1
                others = approvals.get(leaf.request or "", set()) - {requesters.get(leaf.request or "")}
                if leaf.request is None or len(others) < approvals_needed:
                    bad.append(
                        Check(False, f"leaf {index}: a lease with {len(others)} of {approvals_needed} approvals")
                    )
                elif leaf.request in ended:
                    bad.append(Check(False, f"leaf {index}: a lease after its request had been refused or had ended"))
            case _:
                pass
    if not bad and not count:
        return [Check(True, "nobody has opened other people's recordings")]
    return bad or [Check(True, f"all leases ({count}) came after {approvals_needed} approvals by different people")]


def _check_proof(copy: LogCopy, policy: Policy, name: str, data: bytes, leaf: bytes | None) -> Check:
    try:
        proof = LogProof.from_bytes(data)
        if leaf is None:
            if proof.index >= len(copy.leaves):
                return Check(False, f"{name}: there is no leaf {proof.index} in this log")
            leaf = copy.leaves[proof.index]
        checkpoint = proof.verify(leaf, policy).checkpoint
    except TransparencyError as error:
        return Check(False, f"{name}: {error}")
    if checkpoint.size > len(copy.leaves):
        return Check(False, f"{name}: it is of a longer log than this copy; fetch a newer one")
    if merkle.root_of_leaves(copy.leaves[: checkpoint.size]) != checkpoint.root:
        return Check(False, f"{name}: it is of another log than this one: two histories were signed")
    return Check(True, f"{name}: leaf {proof.index} is in this log")
