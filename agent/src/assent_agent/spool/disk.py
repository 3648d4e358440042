"""The few things that the spool does to a disk, one method each, so that a test can fail or crash at any of them.

Nothing is durable before it was synced: a file's content by `sync`, its name (after `write`, `rename` or `remove`) by
`sync_folder` of its folder. All methods raise OSError.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from assent.client.files import sync


class Disk(Protocol):
    """A file system as far as the spool needs one."""

    def make_folder(self, path: Path) -> None:
        """Make a folder, mode 0700, with its parents. It may exist."""

    def write(self, path: Path, data: bytes) -> None:
        """Create or replace a file, mode 0600. Not atomic."""

    def sync(self, path: Path) -> None:
        """Return when the file's content is durable."""

    def rename(self, old: Path, new: Path) -> None:
        """Atomic; replaces a file of the new name."""

    def sync_folder(self, path: Path) -> None:
        """Return when the names in the folder are durable."""

    def remove(self, path: Path) -> None:
        """Remove a file. It may be gone already."""

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder. It may be gone already."""

    def names(self, path: Path) -> list[str]:
        """What is in a folder, sorted; nothing when there is no such folder."""

    def read(self, path: Path) -> bytes:
        """The content of a file. Raises FileNotFoundError."""

    def size(self, path: Path) -> int:
        """Bytes of a file. Raises FileNotFoundError."""

    def set_time(self, path: Path, seconds: int) -> None:
        """Set access and modification time, Unix seconds."""

    def free_bytes(self, path: Path) -> int:
        """What is still free where `path` is."""


class RealDisk:
    """The disk of this computer."""

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

    def sync(self, path: Path) -> None:
        sync(path)

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def sync_folder(self, path: Path) -> None:
        sync(path)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        try:
            path.rmdir()
        except FileNotFoundError:
            pass

    def names(self, path: Path) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(path))
        except FileNotFoundError:
            return []

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def set_time(self, path: Path, seconds: int) -> None:
        os.utime(path, (seconds, seconds))

    def free_bytes(self, path: Path) -> int:
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free


def write_durably(disk: Disk, path: Path, data: bytes, seconds: int) -> None:
    """Put a file in place, whole or not at all, with its time set to `seconds` (the beginning of an hour).

    Raises OSError; then the name holds what it held before, or, if only the last sync failed, perhaps the new content.
    """
    beside = path.with_name(path.name + ".tmp")
    disk.write(beside, data)
    disk.set_time(beside, seconds)
    disk.sync(beside)
    disk.rename(beside, path)
    disk.sync_folder(path.parent)
