"""A real file system of a few hundred KiB, which can be filled up: tmpfs, in a mount namespace of its own.

It is seen through `/proc`, so that nothing is mounted where this process lives, and nothing is left behind. SQLite does
not go that way (it follows links by their text): a program that keeps a database there is started `inside`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_BOOT = 'mount -t tmpfs -o size="$2",mode=0700 tmpfs "$1" && echo there && exec cat'


@dataclass(frozen=True)
class SmallDisk:
    """`folder`: its top, as this process sees it; `place`: as a program sees it that is started with the words `inside`
    before its own."""

    folder: Path
    place: Path
    inside: tuple[str, ...]

    def leave(self, room_bytes: int) -> None:
        """Fill it up, but for so many bytes, in whole pages."""
        self.make_room()
        with self._ballast.open("wb") as file:
            state = os.statvfs(self.folder)
            file.truncate(0)
            for _ in range(max(0, state.f_bavail * state.f_bsize - room_bytes) // state.f_bsize):
                file.write(bytes(state.f_bsize))

    def fill_up(self) -> None:
        """Take what is free, also while somebody else takes and gives back."""
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / ".ballast"

    @property
    def names(self) -> set[str]:
        """What lies in it."""
        return {path.name for path in self.folder.iterdir()} - {self._ballast.name}


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Skips the test where no namespaces can be made."""
    place.mkdir()
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _BOOT, "sh", str(place), str(size_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            if process.stdout.readline() != b"there\n":
                pytest.skip(f"no mount namespaces here: {process.stderr.read().decode().strip()}")
            enter = ("nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(process.pid), "--")
            yield SmallDisk(Path(f"/proc/{process.pid}/root") / place.relative_to("/"), place, enter)
        finally:
            process.stdin.close()
