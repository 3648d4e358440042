"""Key files: mode 0600, in folders of mode 0700, owned by who runs the service; written so that a crash loses nothing.

Whatever is wrong with one is said in a sentence, and the service does not start.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from assent.client.files import sync, write_all


class NotReady(Exception):
    """The custodian cannot start, and the message says what to do."""


def read_secret(path: Path) -> bytes:
    """The content of a key file. Raises NotReady when it is missing, or when others could read it."""
    try:
        info = path.stat()
    except FileNotFoundError as error:
        raise NotReady(
            f"key file {path.name} is missing in {path.parent.name}/: bring it back from where you keep a copy "
            "(`assent-server init` makes the keys of a new installation, and of no other)"
        ) from error
    if not stat.S_ISREG(info.st_mode):
        raise NotReady(f"{path.name} is not a regular file")
    if stat.S_IMODE(info.st_mode) & 0o077:
        mode = stat.S_IMODE(info.st_mode)
        raise NotReady(f"key file {path.name} has mode {mode:04o}: others could read it; make it 0600")
    if info.st_uid != os.geteuid():
        raise NotReady(f"key file {path.name} belongs to another account; it must belong to who runs the custodian")
    return path.read_bytes()


def make_private_folder(path: Path) -> None:
    """A folder that only its owner may enter."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` as a whole: written aside, fsynced, renamed, folder fsynced."""
    aside = path.with_name(f".{path.name}.new")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(handle, mode)
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    aside.replace(path)
    sync(path.parent)


def destroy_file(path: Path) -> None:
    """Overwrite and unlink. On flash storage overwriting is a gesture: keep such files on a volume apart."""
    if not path.exists():
        return
    size = path.stat().st_size
    handle = os.open(path, os.O_WRONLY)
    try:
        write_all(handle, os.urandom(size))
        os.fsync(handle)
    finally:
        os.close(handle)
    path.unlink()
    sync(path.parent)
