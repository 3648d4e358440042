"""Key-encryption keys (KEKs), one per generation: the port that wraps and unwraps vault keys, and its folder adapter.

Whoever calls names a generation and never sees its key: in a folder it is read for the call and dropped, in a token
(`token.py`) it cannot be read at all. What is wrapped looks the same in both.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from assent_custodian.files import NotReady, destroy_file, make_private_folder, read_secret, write_file
from assent_custodian.keys.models import VaultKey
from assent_custodian.keys.wrapping import unwrap, wrap

KEK_BYTES = 32


class Keks(Protocol):
    """Where KEK generations lie. Every method raises NotReady, and has changed nothing, when it cannot be reached.

    Keys are given and returned by stream, as many at a time as the caller likes: a folder is read once for all of them.
    """

    def create(self, generation: int) -> str:
        """Make a generation and return its check value. Raises NotReady when it exists: none is ever overwritten.

        It lasts when this returns. When this raises, `has` tells whether it was made; nothing is wrapped under it.
        """

    def has(self, generation: int) -> bool:
        """Whether the generation is here."""

    def check(self, generation: int) -> str:
        """The value that `create` returned, computed again from the key: a hash that tells a wrong key from the
        right one. Raises NotReady when the generation is missing or damaged."""

    def wrap(self, generation: int, private: Mapping[str, bytes]) -> dict[str, bytes]:
        """Private vault keys, wrapped under the generation and bound to stream and generation."""

    def unwrap(self, generation: int, wrapped: Mapping[str, bytes]) -> dict[str, bytes]:
        """The private vault keys. Raises WrapInvalid when one of them is not what was wrapped for its stream."""

    def destroy(self, generation: int) -> None:
        """Destroy a generation. Doing it again changes nothing."""

    def in_token(self, generation: int) -> bool:
        """Whether the generation is kept by a token that never lets it out."""

    def is_software(self, generation: int) -> bool:
        """Whether a token keeps it that says of itself that it is no hardware."""

    def settled(self, generation: int) -> bool:
        """Whether it lies where new ones are made; rotation moves what does not."""

    def silent(self) -> bool:
        """Whether a token was asked something and has not answered in time, until now. Asks nothing."""

    def close(self) -> None:
        """End what was opened. It is opened again when it is needed."""


class KekFolder:
    """One file per generation, 32 random bytes, mode 0600, in a folder of their own. Keeps none in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, generation: int) -> Path:
        return self._folder / f"{generation:06d}.kek"

    def _read(self, generation: int) -> bytes:
        kek = read_secret(self._path(generation))
        if len(kek) != KEK_BYTES:
            raise NotReady(f"KEK generation {generation} is damaged")
        return kek

    def create(self, generation: int) -> str:
        make_private_folder(self._folder)
        if self.has(generation):
            raise NotReady(f"KEK generation {generation} exists already")
        kek = secrets.token_bytes(KEK_BYTES)
        write_file(self._path(generation), kek)
        return check_value(kek)

    def has(self, generation: int) -> bool:
        return self._path(generation).exists()

    def check(self, generation: int) -> str:
        return check_value(self._read(generation))

    def wrap(self, generation: int, private: Mapping[str, bytes]) -> dict[str, bytes]:
        kek = self._read(generation)
        return {stream: wrap(key, kek, stream, generation) for stream, key in private.items()}

    def unwrap(self, generation: int, wrapped: Mapping[str, bytes]) -> dict[str, bytes]:
        kek = self._read(generation)
        return {stream: unwrap(data, kek, stream, generation) for stream, data in wrapped.items()}

    def destroy(self, generation: int) -> None:
        """Overwrite and remove the file."""
        destroy_file(self._path(generation))

    def in_token(self, generation: int) -> bool:
        return False

    def is_software(self, generation: int) -> bool:
        return False

    def settled(self, generation: int) -> bool:
        return True

    def silent(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open between two calls."""

    def __repr__(self) -> str:
        return "KekFolder()"


def check_value(kek: bytes) -> str:
    """A hash by which a wrong key file is told from the right one."""
    return hashlib.sha256(b"assent/kek-check/v1\0" + kek).hexdigest()


def unwrap_rows(keks: Keks, rows: Iterable[VaultKey]) -> dict[str, bytes]:
    """The private vault keys of these rows, by stream. Raises WrapInvalid and NotReady."""
    by_generation: dict[int, dict[str, bytes]] = {}
    for row in rows:
        by_generation.setdefault(row.generation, {})[row.stream] = row.wrapped
    private: dict[str, bytes] = {}
    for generation, wrapped in by_generation.items():
        private |= keks.unwrap(generation, wrapped)
    return private
