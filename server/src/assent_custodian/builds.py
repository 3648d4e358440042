"""What runs here, as one hash: the custodian's own code, and everything that is installed beside it.

The hash stands in the log at each start, so that nobody exchanges a component without its being seen. Whoever installs
the same lock file on the same Python and platform gets the same hash (`assent-server build`). A file that is changed in
place, past the installer, shows only where it is one of Assent's own.
"""

from __future__ import annotations

import csv
import hashlib
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path

OWN_PACKAGES = ("assent", "assent_service", "assent_custodian", "assent_migrations")


@cache
def build_hash() -> str:
    """SHA-256 (hex) over the names and contents of the Python files of Assent that the custodian is made of, and over
    name, version and file hashes of each distribution installed: its RECORD (PyPA, "Recording installed projects")
    without what differs between two machines, which is what lies outside of the package or belongs to the installer.
    """
    digest = hashlib.sha256()
    for package in OWN_PACKAGES:
        root = Path(str(files(package)))
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    for line in sorted(_installed()):
        digest.update(line.encode() + b"\0")
    return digest.hexdigest()


def _installed() -> list[str]:
    found: dict[str, list[str]] = {}
    for distribution in metadata.distributions():  # the first of a name is the one that is imported
        name = distribution.name.lower()
        if name in found:
            continue
        rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
        recorded = [(path, hashed) for path, hashed, *_ in rows if hashed and _is_of_the_package(path)]
        found[name] = [f"{name} {distribution.version}", *(f"{name} {path} {hashed}" for path, hashed in recorded)]
    return [line for lines in found.values() for line in lines]


def _is_of_the_package(path: str) -> bool:
    first = path.split("/", maxsplit=1)[0]
    return first not in ("..", "__pycache__") and not first.endswith((".dist-info", ".pth")) and ".." not in path
