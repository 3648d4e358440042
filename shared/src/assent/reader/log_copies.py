"""A copy of a log: from a folder, from an address that serves such a folder, or from the custodian; and how it grows.

A copy in a folder is `directory.json`, `policy`, `checkpoint`, and the tiles and entry bundles under `tile/`, as C2SP
tlog-tiles names them. A folder only ever grows: what it holds is what was there first, and a log that does not continue
it is a `Contradiction`, which is kept as evidence and changes nothing. It grows in one step: what is new is written
aside, under `incoming/`, and is a part of the copy from the moment on in which all of it is called `arrived/`, whether
or not it came to its places since.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx2

from assent.client.custodian import CustodianClient, from_base64
from assent.client.files import sync, write_private
from assent.client.transport import CHUNK_BYTES, AnswerInvalid, ClientError, Refused, Unreachable, is_loopback
from assent.contracts.envelope import Envelope, StatementInvalid, read_unverified
from assent.contracts.problems import Code
from assent.contracts.statements import Directory
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.edge import Edge
from assent.transparency.errors import TransparencyError
from assent.transparency.lines import HASH_BYTES
from assent.transparency.note import Note
from assent.transparency.tiles import (
    MAX_LEAF_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    EntryBundle,
    HashTile,
    build_bundle,
    entry_bundles,
    nodes_from_tiles,
    parse_bundle,
    parse_path,
)

DIRECTORY_FILE = "directory.json"
POLICY_FILE = "policy"
CHECKPOINT_FILE = "checkpoint"
TILE_FOLDER = "tile"
INCOMING = "incoming"
ARRIVED = "arrived"
EVIDENCE = "evidence"
MONITOR_FILE = "monitor.json"
LOCK_FILE = "lock"

MAX_EVIDENCE = 100
"""Contradictions that are kept; a log that shows more of them has shown enough."""

MAX_FILE_BYTES = TILE_WIDTH * (MAX_LEAF_BYTES + 2)
"""The longest file of a log: a full bundle of the longest leaves."""

AT_ONCE = 1000
"""Leaves that the custodian hands out for one question at most."""

Read = Callable[[str], bytes | None]
"""Returns a tile's bytes by its path, None when it is not there."""


class CopyInvalid(Exception):
    """There is no copy of a log, or a part of it is missing or cannot be read."""


KEEP_AND_TELL = "Keep every copy of this log, and tell the council and the witnesses."
"""What whoever sees a log that is not what it should be has to do."""


class Contradiction(CopyInvalid):
    """What is served does not continue what was seen before, or is not what was signed. `kind`: a stable name."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


class Served(Protocol):
    """A log as somebody serves it. Everything raises CopyInvalid, or as `Transport.request`."""

    def directory(self) -> Envelope: ...
    def policy(self) -> str: ...
    def checkpoint(self) -> bytes: ...
    def tile(self, path: str) -> bytes | None: ...


@dataclass(frozen=True)
class LogCopy:
    """A log as it was handed out at one moment: nothing in it is verified. Leaves are read when they are asked for.

    `paths`: the tiles that are known to be there; None when nobody can say.
    """

    directory: Envelope
    policy: str
    checkpoint: Note
    read: Read
    paths: tuple[str, ...] | None = None

    @property
    def head(self) -> Checkpoint:
        """What the checkpoint says. Raises CheckpointInvalid."""
        return Checkpoint.from_text(self.checkpoint.text)

    def bundles(self, start: int = 0) -> Iterator[tuple[int, list[bytes]]]:
        """(index of the first leaf, leaves) of each bundle from the one that holds leaf `start` on, in order."""
        size = self.head.size
        for number in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
            bundle = EntryBundle(number, min(TILE_WIDTH, size - number * TILE_WIDTH))
            try:
                yield bundle.leaves.start, parse_bundle(bundle, self.bytes_of(bundle))
            except TransparencyError as error:
                raise Contradiction("missing", f"{bundle.path}: {error}") from error

    def bytes_of(self, tile: HashTile | EntryBundle) -> bytes:
        """A tile; cut out of the full one when it has been completed meanwhile. Raises CopyInvalid."""
        data = self.read(tile.path)
        if data is not None:
            return data
        whole = HashTile(tile.level, tile.index) if isinstance(tile, HashTile) else EntryBundle(tile.index)
        data = self.read(whole.path) if whole != tile else None
        if data is None:
            raise CopyInvalid(f"{tile.path} is missing")
        return cut(data, tile)

    def leaves(self) -> tuple[bytes, ...]:
        """All leaves at once, in memory. Raises CopyInvalid."""
        return tuple(leaf for _, leaves in self.bundles() for leaf in leaves)


def cut(data: bytes, tile: HashTile | EntryBundle) -> bytes:
    """The bytes of a partial tile out of those of a wider one."""
    if isinstance(tile, HashTile):
        return data[: tile.width * HASH_BYTES]
    position = 0
    for _ in range(tile.width):
        position += 2 + int.from_bytes(data[position : position + 2], "big")
    return data[:position]


def take(served: Served) -> LogCopy:
    """The log as it is served now. Raises CopyInvalid, and as `Transport.request`."""
    try:
        note = Note.from_bytes(served.checkpoint())
        copy = LogCopy(served.directory(), served.policy(), note, served.tile)
        copy.head  # noqa: B018 - it raises
    except (StatementInvalid, TransparencyError) as error:
        raise CopyInvalid(f"what is served there is no log: {error}") from error
    return copy


def load_copy(folder: Path) -> LogCopy:
    """The copy in a folder; its tiles are read when they are needed. Raises CopyInvalid."""
    served = Folder(folder)
    try:
        note = Note.from_bytes(served.checkpoint())
        copy = LogCopy(served.directory(), served.policy(), note, served.tile, served.paths())
        there = set(copy.paths or ())
        for bundle in entry_bundles(copy.head.size):
            if not {bundle.path, EntryBundle(bundle.index).path} & there:
                raise CopyInvalid(f"{bundle.path} is missing")
    except (OSError, UnicodeDecodeError, StatementInvalid, TransparencyError, CopyInvalid) as error:
        raise CopyInvalid(f"this folder does not hold a whole copy of a log: {error}") from error
    return copy


# --- who serves -------------------------------------------------------------------------------------------------------


class Folder:
    """A copy that `audit export` or `audit monitor` made, also when that ended while files came to their places."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def directory(self) -> Envelope:
        return Envelope.from_json(self._file(DIRECTORY_FILE))

    def policy(self) -> str:
        return self._file(POLICY_FILE).decode()

    def checkpoint(self) -> bytes:
        return self._file(CHECKPOINT_FILE)

    def tile(self, path: str) -> bytes | None:
        parse_path(path)
        try:
            return self._file(path)
        except FileNotFoundError:
            return None

    def paths(self) -> tuple[str, ...]:
        return tuple(sorted({*_tiles_in(self._folder), *_tiles_in(self._folder / ARRIVED)}))

    def _file(self, name: str) -> bytes:
        """Raises OSError."""
        with suppress(FileNotFoundError):  # it is in its place, then: that is where files go from there
            return (self._folder / ARRIVED / name).read_bytes()
        return (self._folder / name).read_bytes()


class Address:
    """A copy that somebody serves as plain files over HTTP. Nothing there is trusted, and no redirect followed."""

    def __init__(self, url: str, *, timeout_s: float = 30.0, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._client = httpx2.Client(
            timeout=timeout_s, follow_redirects=False, trust_env=not is_loopback(url), transport=transport
        )

    def directory(self) -> Envelope:
        return Envelope.from_json(self._file(DIRECTORY_FILE))

    def policy(self) -> str:
        try:
            return self._file(POLICY_FILE).decode()
        except UnicodeDecodeError as error:
            raise CopyInvalid("the policy there is no text") from error

    def checkpoint(self) -> bytes:
        return self._file(CHECKPOINT_FILE)

    def tile(self, path: str) -> bytes | None:
        return self._get(path)

    def _file(self, name: str) -> bytes:
        data = self._get(name)
        if data is None:
            raise CopyInvalid(f"there is no copy of a log at {self.url}: {name} is missing")
        return data

    def _get(self, path: str) -> bytes | None:
        out = bytearray()
        try:
            with self._client.stream("GET", f"{self.url}/{path}") as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code != 200:
                    raise AnswerInvalid(f"{self.url} answered {response.status_code} for {path}")
                for piece in response.iter_bytes(CHUNK_BYTES):
                    out += piece
                    if len(out) > MAX_FILE_BYTES:
                        raise AnswerInvalid(f"{path} is longer than any file of a log")
        except httpx2.HTTPError as error:
            raise Unreachable(f"{self.url} cannot be reached ({type(error).__name__})") from error
        except httpx2.InvalidURL as error:
            raise AnswerInvalid(f"the address {self.url} cannot be asked") from error
        return bytes(out)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Address:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Live:
    """The custodian itself, asked with the credential of somebody who may read the log. The look is in the log, too.

    `kept`: the copy that is brought up to date. Leaves that it has are not asked for again, so that a look at nothing
    but the trace of the look before leaves none.
    """

    def __init__(
        self, custodian: CustodianClient, directory: Envelope | None = None, kept: CopyFolder | None = None
    ) -> None:
        """`directory`: one that was verified; without it the custodian is asked for it, too."""
        self._custodian = custodian
        self._directory = directory
        self._kept = kept

    def directory(self) -> Envelope:
        if self._directory is not None:
            return self._directory
        return Envelope.from_json(self._custodian.transport.request("GET", "/v1/directory"))

    def policy(self) -> str:
        """The directory's: there is no other."""
        return read_unverified(self.directory(), Directory).policy

    def checkpoint(self) -> bytes:
        return self._custodian.checkpoint()

    def tile(self, path: str) -> bytes | None:
        tile = parse_path(path)
        held = self._kept.held(tile) if self._kept is not None and isinstance(tile, EntryBundle) else []
        if held and isinstance(tile, EntryBundle):
            new = self.entries(tile.leaves.start + len(held), tile.leaves.stop)
            return build_bundle([*held, *(leaf for leaf, _ in new)])
        try:
            return self._custodian.tile(path)
        except Refused as refused:
            if refused.code is Code.NOT_FOUND:
                return None
            raise

    def entries(self, start: int, stop: int) -> list[tuple[bytes, str | None]]:
        """Leaves, with the name of their actor where the custodian tells it. The look is in the log.

        Raises Contradiction when the custodian does not hand out exactly these.
        """
        found = self._some(start, stop - start) if stop > start else []
        if len(found) != stop - start:
            raise Contradiction("missing", f"leaves {start} to {stop - 1} were asked for, and not all of them came")
        return found

    def entries_after(self, size: int) -> list[tuple[bytes, str | None]]:
        """What the log has by now beyond `size` leaves. Raises Contradiction."""
        found: list[tuple[bytes, str | None]] = []
        while some := self._some(size + len(found), AT_ONCE):
            found += some
            if len(some) < AT_ONCE:
                break
        return found

    def _some(self, start: int, count: int) -> list[tuple[bytes, str | None]]:
        found = self._custodian.log_entries(start, count).entries
        if [entry.index for entry in found] != list(range(start, start + len(found))):
            raise Contradiction("missing", f"leaves from {start} on were asked for, and others came")
        return [(from_base64(entry.leaf), entry.actor_name) for entry in found]


# --- growing ----------------------------------------------------------------------------------------------------------


class CopyFolder:
    """The copy in a folder that is brought up to date. One process at a time; close it."""

    def __init__(self, folder: Path) -> None:
        """Take up the folder, also after a crash; an empty or missing one is a new copy. Raises CopyInvalid."""
        self.folder = folder
        self.head: Checkpoint | None = None
        self._edge = Edge()
        if not _is_begun(folder):
            raise CopyInvalid(f"{folder} is there already and holds no copy of a log; name a new folder.")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (folder / LOCK_FILE).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder / INCOMING, ignore_errors=True)
            self._settle()
            if (folder / CHECKPOINT_FILE).exists():
                self._load()
        except BlockingIOError as error:
            self.close()
            raise CopyInvalid(f"another process works with {folder} just now") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lock.close()

    def __enter__(self) -> CopyFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self) -> None:
        folder = self.folder
        try:
            self.head = Checkpoint.from_text(Note.from_bytes((folder / CHECKPOINT_FILE).read_bytes()).text)
            self._edge = Edge.from_tiles(self.head.size, self._hash_tile)
        except (TransparencyError, OSError) as error:
            raise CopyInvalid(f"{folder} is there already and holds no whole copy of a log: {error}") from error
        if self._edge.root() != self.head.root:
            raise CopyInvalid(f"the copy in {folder} was damaged: keep it, and make a new one in a new folder.")
        self._remove_superseded()

    def _hash_tile(self, tile: HashTile) -> bytes:
        return (self.folder / tile.path).read_bytes()

    @property
    def size(self) -> int:
        return self.head.size if self.head else 0

    def held(self, bundle: EntryBundle) -> list[bytes]:
        """The leaves of this bundle that the copy has, from the first on."""
        width = min(self.size, bundle.leaves.stop) - bundle.leaves.start
        if width <= 0:
            return []
        part = EntryBundle(bundle.index, width)
        return list(parse_bundle(part, self.copy().bytes_of(part)))

    def copy(self) -> LogCopy:
        """What is in the folder. Raises CopyInvalid."""
        served = Folder(self.folder)
        return LogCopy(served.directory(), served.policy(), Note.from_bytes(served.checkpoint()), served.tile)

    def check(self, copy: LogCopy) -> None:
        """Raise Contradiction if this log does not continue the copy, as `extend` does; add nothing."""
        self._receive(copy)
        shutil.rmtree(self.folder / INCOMING, ignore_errors=True)

    def extend(self, copy: LogCopy) -> int:
        """Add the new leaves of a log whose checkpoint was verified; returns how many. On disk when this returns.

        Only new leaves are read. Raises CopyInvalid; Contradiction when this log does not continue the copy: it is kept
        under `evidence/`, and the copy is as it was.
        """
        self._settle()
        edge = self._receive(copy)
        incoming = self.folder / INCOMING
        for tile in _tiles_in(incoming):
            (self.folder / tile).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (incoming, *(path for path in incoming.rglob("*") if path.is_dir())):
            sync(folder)
        incoming.replace(self.folder / ARRIVED)  # from here on it is the copy, and nothing needs room
        sync(self.folder)
        before, self.head, self._edge = self.size, copy.head, edge
        self._settle()
        self._remove_superseded(before=before)
        return self.size - before

    def _settle(self) -> None:
        """Bring to its places what has arrived, also before a crash. Who reads meanwhile finds it here or there."""
        arrived = self.folder / ARRIVED
        if not arrived.exists():
            return
        changed = {self.folder}
        for tile in _tiles_in(arrived):
            target = self.folder / tile
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (arrived / tile).replace(target)
            changed.update(parent for parent in target.parents if parent.is_relative_to(self.folder))
        for parent in changed:
            sync(parent)
        for name in (DIRECTORY_FILE, POLICY_FILE, CHECKPOINT_FILE):
            with suppress(FileNotFoundError):  # it was brought there before a crash
                (arrived / name).replace(self.folder / name)
            sync(self.folder)
        shutil.rmtree(arrived)

    def _receive(self, copy: LogCopy) -> Edge:
        """Write the new tiles into `incoming`, and what stands beside them. Raises Contradiction, after everything was
        kept as evidence."""
        incoming = self.folder / INCOMING
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(mode=0o700)
        try:
            edge = self._compare_and_write(copy, incoming)
            _write_beside(copy, incoming)
            return edge
        except Contradiction:
            self._keep_evidence(copy, incoming)
            raise
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise

    def _compare_and_write(self, copy: LogCopy, incoming: Path) -> Edge:
        """Write the new tiles aside, and return the edge of the tree when its root is the one that was signed."""
        head, have = copy.head, self.head
        if have is not None and head.origin != have.origin:
            raise Contradiction(
                "another-log", f"this is the log {head.origin}, and not {have.origin}, which was seen before"
            )
        if head.size < self.size:
            raise Contradiction(
                "rolled-back",
                f"the log has {head.size} leaves, and {self.size} were witnessed before: leaves were taken away",
            )
        if have is not None and head.size == have.size:
            if head.root != have.root:
                raise Contradiction("fork", f"two different logs of {head.size} leaves were signed")
            return self._edge
        edge = self._edge.copy()
        for start, leaves in copy.bundles(self.size):
            known = max(0, self.size - start)
            if known:
                self._compare(start, leaves[:known])
            bundle = EntryBundle(start // TILE_WIDTH, len(leaves))
            _write(incoming, bundle.path, build_bundle(leaves))
            for tile, data in edge.grow([merkle.leaf_hash(leaf) for leaf in leaves[known:]]):
                _write(incoming, tile.path, data)
        for tile, data in edge.partial_tiles():
            _write(incoming, tile.path, data)
        if edge.root() != head.root:
            raise blame(copy, self.head)
        return edge

    def _compare(self, start: int, leaves: Sequence[bytes]) -> None:
        """The leaves that a partial bundle has in common with the copy."""
        bundle = EntryBundle(start // TILE_WIDTH, len(leaves))
        for offset, (old, new) in enumerate(
            zip(parse_bundle(bundle, self.copy().bytes_of(bundle)), leaves, strict=True)
        ):
            if old != new:
                raise Contradiction("edited", f"leaf {start + offset} is not what it was when it was seen first")

    def _keep_evidence(self, copy: LogCopy, incoming: Path) -> None:
        """Everything that was read of a log that contradicts this one, as a copy of its own."""
        head = copy.head
        target = self.folder / EVIDENCE / f"{head.size}-{head.root.hex()[:16]}"
        kept = list((self.folder / EVIDENCE).iterdir()) if (self.folder / EVIDENCE).exists() else []
        if not target.exists() and len(kept) < MAX_EVIDENCE:
            _write_beside(copy, incoming)
            target.parent.mkdir(exist_ok=True, mode=0o700)
            incoming.replace(target)
            sync(target.parent)
        shutil.rmtree(incoming, ignore_errors=True)

    def _remove_superseded(self, *, before: int | None = None) -> None:
        """Partial tiles of smaller trees: those of the tree of `before` leaves, or every one that lies there."""
        wanted = {tile.path for tile in _partial(self.size)}
        if before is not None:
            old = [tile.path for tile in _partial(before)]
        else:
            old = [path for path in _tiles_in(self.folder) if ".p/" in path]
        for path in old:
            if path not in wanted and parse_path(path).is_within(self.size):
                (self.folder / path).unlink(missing_ok=True)
                with suppress(OSError):  # others are still in it
                    (self.folder / path).parent.rmdir()


def _write_beside(copy: LogCopy, folder: Path) -> None:
    write_private(folder / DIRECTORY_FILE, copy.directory.to_json())
    write_private(folder / POLICY_FILE, copy.policy.encode())
    write_private(folder / CHECKPOINT_FILE, copy.checkpoint.to_bytes())


def _is_begun(folder: Path) -> bool:
    """Whether there is a copy in a folder, or one was begun there, or nothing is there."""
    begun = any((folder / name).exists() for name in (CHECKPOINT_FILE, LOCK_FILE))
    return begun or not folder.exists() or not any(folder.iterdir())


def _tiles_in(folder: Path) -> list[str]:
    found = (folder / TILE_FOLDER).rglob("*")
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def _partial(size: int) -> list[HashTile | EntryBundle]:
    """The tiles of a tree that are not full."""
    tiles: list[HashTile | EntryBundle] = []
    level = 0
    while hashes := size >> TILE_HEIGHT * level:
        if hashes % TILE_WIDTH:
            tiles.append(HashTile(level, hashes // TILE_WIDTH, hashes % TILE_WIDTH))
        level += 1
    if size % TILE_WIDTH:
        tiles.append(EntryBundle(size // TILE_WIDTH, size % TILE_WIDTH))
    return tiles


def _write(folder: Path, path: str, data: bytes) -> None:
    """A file that is on disk before it is moved to its place."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.write_bytes(data)
    sync(target)


def blame(copy: LogCopy, before: Checkpoint | None = None) -> Contradiction:
    """Why the leaves that were handed out do not lead to the head that was signed, as far as the hash tiles can tell.

    `before`: a head that was verified, whose leaves are known to be right.
    """
    head = copy.head
    try:
        nodes = nodes_from_tiles(head.size, copy.bytes_of)
        if merkle.root(head.size, nodes) != head.root:
            return Contradiction(
                "wrong-leaves", f"these {head.size} leaves are not those that were signed, and neither are the hashes"
            )
        if before is not None and merkle.root(before.size, nodes) != before.root:
            text = (
                f"the log of {head.size} leaves that was signed does not begin with the {before.size} leaves "
                "that were witnessed before"
            )
            return Contradiction("fork", text)
        for start, leaves in copy.bundles(before.size if before else 0):
            for index, leaf in enumerate(leaves, start):
                if merkle.leaf_hash(leaf) != nodes(0, index):
                    return Contradiction("wrong-leaves", f"leaf {index} is not the one that was signed")
    except (CopyInvalid, TransparencyError, ClientError):  # whoever withholds the tiles does not get away with it
        pass
    return Contradiction("wrong-leaves", f"these {head.size} leaves are not those that were signed")
