"""A disk in memory that forgets what was not synced, and that can fail or crash at any single operation."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

Survives = Literal["synced", "names", "all"]
"""After a crash: only what was synced; all names, but contents only as far as synced; everything."""


class Crashed(BaseException):
    """The machine stops here. Not an Exception: nothing may catch it and go on."""


class _File:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.durable = b""
        self.seconds = -1


class _Folder:
    def __init__(self) -> None:
        self.children: dict[str, _File | _Folder] = {}
        self.durable: dict[str, _File | _Folder] = {}


class SimulatedDisk:
    """Keeps the promises of `spool.disk.Disk`, and not one more.

    `at`: the number of the operation (from 0) at which `fault` happens; `every` operation from then on when `stays`.
    """

    def __init__(self) -> None:
        self.root = _Folder()
        self.operations = 0
        self.at: int | None = None
        self.fault: Callable[[], BaseException] = Crashed
        self.stays = False
        self.written: list[bytes] = []
        self.free = 10**12

    def fail_at(self, operation: int | None, fault: Callable[[], BaseException] = Crashed, stays: bool = False) -> None:
        self.operations, self.at, self.fault, self.stays = 0, operation, fault, stays

    def tick(self) -> None:
        now = self.operations
        self.operations += 1
        if self.at is not None and (now == self.at or (self.stays and now > self.at)):
            raise self.fault()

    def crash(self, survives: Survives) -> None:
        """What the next start finds."""
        self.fail_at(None)
        self._settle(self.root, survives)

    def _settle(self, folder: _Folder, survives: Survives) -> None:
        if survives == "synced":
            folder.children = dict(folder.durable)
        folder.durable = dict(folder.children)
        for child in folder.children.values():
            if isinstance(child, _Folder):
                self._settle(child, survives)
            elif survives == "all":
                child.durable = child.data
            else:
                child.data = child.durable

    def _folder(self, path: Path) -> _Folder:
        at = self.root
        for part in path.parts[1:]:
            child = at.children.get(part)
            if not isinstance(child, _Folder):
                raise FileNotFoundError(path)
            at = child
        return at

    def _file(self, path: Path) -> _File:
        child = self._folder(path.parent).children.get(path.name)
        if not isinstance(child, _File):
            raise FileNotFoundError(path)
        return child

    # --- the port ---------------------------------------------------------------------------------

    def make_folder(self, path: Path) -> None:
        self.tick()
        at = self.root
        for part in path.parts[1:]:
            child = at.children.setdefault(part, _Folder())
            assert isinstance(child, _Folder)
            at = child

    def write(self, path: Path, data: bytes) -> None:
        folder = self._folder(path.parent)
        try:
            self.tick()
        except BaseException:
            folder.children[path.name] = _File(data[: len(data) // 2])
            raise
        folder.children[path.name] = _File(data)
        self.written.append(data)

    def sync(self, path: Path) -> None:
        self.tick()
        file = self._file(path)
        file.durable = file.data

    def rename(self, old: Path, new: Path) -> None:
        self.tick()
        moved = self._folder(old.parent).children.pop(old.name, None)
        if moved is None:
            raise FileNotFoundError(old)
        self._folder(new.parent).children[new.name] = moved

    def sync_folder(self, path: Path) -> None:
        self.tick()
        folder = self._folder(path)
        folder.durable = dict(folder.children)

    def remove(self, path: Path) -> None:
        self.tick()
        self._folder(path.parent).children.pop(path.name, None)

    def remove_folder(self, path: Path) -> None:
        self.tick()
        folder = self._folder(path.parent)
        child = folder.children.get(path.name)
        if isinstance(child, _Folder) and child.children:
            raise OSError(errno.ENOTEMPTY, "not empty")
        folder.children.pop(path.name, None)

    def names(self, path: Path) -> list[str]:
        try:
            return sorted(self._folder(path).children)
        except FileNotFoundError:
            return []

    def read(self, path: Path) -> bytes:
        return self._file(path).data

    def size(self, path: Path) -> int:
        return len(self._file(path).data)

    def set_time(self, path: Path, seconds: int) -> None:
        self._file(path).seconds = seconds

    def free_bytes(self, path: Path) -> int:
        return self.free

    # --- for looking ------------------------------------------------------------------------------

    def files(self, folder: Path = Path("/")) -> Iterator[tuple[Path, _File]]:
        for name, child in self._folder(folder).children.items():
            if isinstance(child, _Folder):
                yield from self.files(folder / name)
            else:
                yield folder / name, child


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "no space left on device")
