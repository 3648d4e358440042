"""The directory that this custodian serves: read from a file, believed only if the pinned root key signed it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from assent.contracts.envelope import Envelope, StatementInvalid, read
from assent.contracts.keys import PublicKey
from assent.contracts.statements import Directory
from assent.transparency.errors import TransparencyError
from assent.transparency.policy import Policy
from assent_custodian.files import NotReady

ROOT_KEY_FILE = "root.pub"


@dataclass(frozen=True)
class Current:
    """The directory in force: its content, the signed form, and the witness policy in it."""

    directory: Directory
    envelope: Envelope
    policy: Policy

    @property
    def hash(self) -> str:
        return self.envelope.hash

    @property
    def collector_key(self) -> PublicKey:
        return PublicKey(self.directory.collector_key)


class DirectoryBook:
    """Looks at the file again when it has changed. A version only rises, and an unsigned one is never served."""

    def __init__(self, path: Path, root_key: PublicKey) -> None:
        self._path = path
        self._root_key = root_key
        self._seen: tuple[int, int] | None = None
        self._current: Current | None = None
        self._lock = threading.Lock()

    def current(self) -> Current:
        """The newest directory that was ever valid here. Raises NotReady when there is none."""
        with self._lock:
            try:
                info = self._path.stat()
                seen = (info.st_mtime_ns, info.st_ino)
                if seen != self._seen:
                    found = read_directory(self._path.read_bytes(), self._root_key)
                    if self._current is None or found.directory.version > self._current.directory.version:
                        self._current = found
                    self._seen = seen
            except (OSError, NotReady):
                if self._current is None:
                    raise NotReady("there is no valid directory; run `assent-server init`") from None
            assert self._current is not None  # noqa: S101 - the branch above raised otherwise
            return self._current


def read_directory(data: bytes, root_key: PublicKey) -> Current:
    """Check a signed directory against the root key. Raises NotReady with what is wrong."""
    try:
        envelope = Envelope.from_json(data)
        directory = read(envelope, Directory, root_key)
        policy = Policy.from_bytes(directory.policy.encode())
    except (StatementInvalid, TransparencyError) as error:
        raise NotReady(f"the directory is not valid: {error}") from error
    if directory.root_key != root_key.text:
        raise NotReady("the directory names another root key than the one that signed it")
    return Current(directory, envelope, policy)
