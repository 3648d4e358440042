"""Key-encryption keys: one file per generation, 32 random bytes, mode 0600, in a folder of their own."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from assent_custodian.files import NotReady, destroy_file, make_private_folder, read_secret, write_file

KEK_BYTES = 32


class KekFolder:
    """Reads a generation when it is needed and keeps none in memory. Shows nothing when printed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, generation: int) -> Path:
        return self._folder / f"{generation:06d}.kek"

    def create(self, generation: int) -> str:
        """Make a generation and return its check value. Raises NotReady when it exists: none is ever overwritten."""
        make_private_folder(self._folder)
        if self._path(generation).exists():
            raise NotReady(f"KEK generation {generation} exists already")
        kek = secrets.token_bytes(KEK_BYTES)
        write_file(self._path(generation), kek)
        return check_value(kek)

    def read(self, generation: int) -> bytes:
        """The 32 bytes. Raises NotReady when the file is missing, has another length or could be read by others."""
        kek = read_secret(self._path(generation))
        if len(kek) != KEK_BYTES:
            raise NotReady(f"KEK generation {generation} is damaged")
        return kek

    def has(self, generation: int) -> bool:
        return self._path(generation).exists()

    def destroy(self, generation: int) -> None:
        """Overwrite and remove a generation. Doing it again changes nothing."""
        destroy_file(self._path(generation))

    def __repr__(self) -> str:
        return "KekFolder()"


def check_value(kek: bytes) -> str:
    """A hash by which a wrong key file is told from the right one."""
    return hashlib.sha256(b"assent/kek-check/v1\0" + kek).hexdigest()
