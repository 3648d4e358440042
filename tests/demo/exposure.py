"""What each position obtained, tried for real: every role, a stranger, every dump, the spool, logs, memory.

Each function tries one thing and returns what came of it; `story` compares that with what is promised. The tries of
roles use the `assent` package's client with the person's own credential, which is what their command does.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import urllib.error
import urllib.request
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from assent.client.credentials import CredentialStore
from assent.client.transport import Refused
from assent.contracts.envelope import Envelope, read_unverified
from assent.contracts.ids import Modality
from assent.contracts.statements import OwnData, StreamCertificate
from assent.reader.jobs import open_lease
from tests.demo.people import Person
from tests.exposure.canary import Hit, Marker, NotSearched, Process, search, search_path

# --- the marker -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searched:
    """`hits`: finds, by marker's name. `size`: bytes looked at. `not_searched`: what could not be read."""

    hits: dict[str, list[Hit]]
    size: int
    not_searched: str = ""

    @property
    def clean(self) -> bool:
        return not self.not_searched and not any(self.hits.values())

    @property
    def text(self) -> str:
        if self.not_searched:
            return f"not searched: {self.not_searched}"
        found = [f"{name}: {hit}" for name, hits in self.hits.items() for hit in hits[:2]]
        return "; ".join(found) if found else f"no marker in {self.size / 1e6:.1f} MB"


def look_through(places: Sequence[Path | int], markers: dict[str, Marker]) -> Searched:
    """Look for all markers in folders, files, and (by number) the memory of processes."""
    hits: dict[str, list[Hit]] = {name: [] for name in markers}
    size = 0
    try:
        for place in places:
            for name, marker in markers.items():
                hits[name] += search([Process(place)] if isinstance(place, int) else [place], marker)
            size += _size(place)
    except NotSearched as error:
        return Searched(hits, size, str(error))
    return Searched(hits, size)


def _size(place: Path | int) -> int:
    if isinstance(place, int):
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{place}/status").read_text())
        return int(match[1]) * 1024 if match else 0
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def plant_controls(folder: Path, marker: Marker, picture: Path | None) -> dict[str, Path]:
    """Leaks as they happen, planted on purpose: what the search must find. Returns what was planted where."""
    folder.mkdir(mode=0o700)
    text = marker.text
    planted = {
        "a log line": f'{{"event":"typed {text}"}}\n'.encode(),
        "UTF-16 in zlib": zlib.compress(b"\0" * 99 + f"title={text}".encode("utf-16-le")),
        "JSON in zstd": zstandard.compress(json.dumps({"keys": text}).encode() * 3),
        "base64 in a dump": b"INSERT INTO t VALUES ('" + b64encode(b"x" + text.encode() + b"y") + b"')",
        "pixels of the tile": b"\0" * 77 + marker.tile,
    }
    paths = {}
    for number, (name, data) in enumerate(planted.items()):
        paths[name] = folder / f"leak-{number}"
        paths[name].write_bytes(data)
    database = folder / "leak.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE t (v BLOB)")
        connection.execute("INSERT INTO t VALUES (?)", (b"\0" * 9000 + text.encode(),))
    paths["a row of a database"] = database
    if picture is not None:
        paths["a screenshot"] = picture
    return paths


def not_found(planted: dict[str, Path], marker: Marker) -> list[str]:
    """Which of the planted leaks the search misses."""
    return [name for name, path in planted.items() if not search_path(path, marker)]


def names_in(folder: Path, needles: Iterable[str]) -> list[str]:
    """Which of these ids or names are anywhere below the folder, as text or (for ids) as bytes."""
    wanted: dict[bytes, str] = {}
    for needle in needles:
        wanted[needle.encode()] = needle
        if re.fullmatch(r"([0-9a-f]{2})+", needle):
            wanted[bytes.fromhex(needle)] = needle
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found |= {name for raw, name in wanted.items() if raw in data}
    return sorted(found)


# --- the network ------------------------------------------------------------------------------------------------------

_OPEN = {"/v1/directory", "/v1/log/checkpoint", "/healthz", "/readyz"}


@dataclass(frozen=True)
class Knocked:
    """What a stranger got: how many routes were tried, which answered with content, which failed inside."""

    tried: int
    answered: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.broken and all(route.split(" ")[1] in _OPEN for route in self.answered)


def knock(services: dict[str, tuple[str, Any]]) -> Knocked:
    """Try every route of both descriptions without a credential. `services`: name → (address, OpenAPI)."""
    tried, answered, broken = 0, [], []
    for address, description in services.values():
        for path, operations in description["paths"].items():
            for method in operations:
                if method not in ("get", "post", "put", "delete", "patch", "head"):
                    continue
                tried += 1
                status = _status(address + re.sub(r"\{[^}]*\}", "0" * 32, path), method.upper())
                if 200 <= status < 300:
                    answered.append(f"{method.upper()} {path}")
                elif status >= 500:
                    broken.append(f"{method.upper()} {path}: {status}")
    return Knocked(tried, tuple(answered), tuple(broken))


def _status(url: str, method: str) -> int:
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


# --- roles ------------------------------------------------------------------------------------------------------------

READ = "read recordings"
ROLE_MAY: dict[str, set[str]] = {
    "requester": {"see the catalogue", "see requests", READ},
    "steward": {"see requests"},
    "auditor": {"read the log"},
    "admin": {"list accounts", "see role proposals"},
    "council": {"see requests", "read the log", "see role proposals"},
    "dpo": {"list accounts", "see requests", "see role proposals"},
    "nobody in particular": set(),
}
"""Of what `try_role` tries, what each may. Nobody but the requester under the grant reads."""


def try_role(person: Person, request: str) -> dict[str, str]:
    """Everything that only some may, tried by one: what → "allowed", or the reason of the refusal."""
    store = CredentialStore(person.home)
    trusted = store.directory(store.load())
    with person.custodian() as custodian:
        tries: dict[str, Callable[[], object]] = {
            "see the catalogue": custodian.catalogue,
            "see requests": custodian.requests,
            "read the log": lambda: custodian.log_entries(0, 5),
            "list accounts": custodian.people,
            "see role proposals": custodian.proposals,
            "fetch orders": lambda: custodian.orders(0),
            READ: lambda: open_lease(custodian, trusted, request=request, hours=0.2),
        }
        outcome = {}
        for what, attempt in tries.items():
            try:
                attempt()
                outcome[what] = "allowed"
            except Refused as refused:
                outcome[what] = refused.code.wire
    return outcome


def own_streams(person: Person, day: str) -> set[str]:
    """The streams that somebody gets who asks for their own data."""
    store = CredentialStore(person.home)
    trusted = store.directory(store.load())
    with person.custodian() as custodian:
        own = OwnData(from_day=day, to_day=day, modalities=tuple(Modality))
        return {stream.stream for stream in open_lease(custodian, trusted, own=own, hours=0.2).streams}


# --- what two may put together ----------------------------------------------------------------------------------------

_HEX = re.compile(rb"[0-9a-f]{32,64}")


def sizes_by_modality(spool: Path) -> dict[str, int]:
    """Bytes of the sealed segments in an agent's spool, everything included, by modality."""
    sizes: dict[str, int] = {}
    for certificate in spool.glob("*/certificate.json"):
        envelope = Envelope.from_json(certificate.read_bytes())
        modality = read_unverified(envelope, StreamCertificate).modality.value
        size = sum(path.stat().st_size for path in certificate.parent.glob("*.segment"))
        sizes[modality] = sizes.get(modality, 0) + size
    return sizes


def joined(log_copy: Path, database: Path) -> list[str]:
    """Ids and hashes that stand both in an auditor's copy of the log and in the collector's database."""
    told = {
        match for path in (log_copy / "tile").rglob("*") if path.is_file() for match in _HEX.findall(path.read_bytes())
    }
    kept: set[bytes] = set()
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table.decode()}"'):
                for value in row:
                    if isinstance(value, bytes):
                        kept |= set(_HEX.findall(value)) | {value.hex().encode()}
    return sorted(match.decode() for match in told & kept)


def blob_files(folder: Path) -> list[Path]:
    """The bodies that the collector keeps."""
    return [path for path in folder.rglob("*") if path.is_file()]


def odd_times(files: Iterable[Path]) -> int:
    """How many files tell when they came: whose time is not midnight (UTC)."""
    return sum(int(path.stat().st_mtime) % 86400 != 0 for path in files)


def tamper(folder: Path) -> Path:
    """Change one letter of one entry in a copy of a log; returns the file."""
    bundle = sorted(path for path in (folder / "tile" / "entries").rglob("*") if path.is_file())[0]
    data = bytearray(bundle.read_bytes())
    at = data.find(b'"at":"20') + len(b'"at":"20')
    data[at] = data[at] ^ 1
    bundle.chmod(0o600)
    bundle.write_bytes(bytes(data))
    return bundle


def children(pid: int) -> dict[str, int]:
    """The services that a supervisor started: name → process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = re.search(r"^PPid:\s+(\d+)$", (entry / "status").read_text(), re.MULTILINE)
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if (
            parent
            and int(parent[1]) == pid
            and (service := re.search(rb"(custodian|collector|witness)\.toml", command))
        ):
            found[service[1].decode()] = int(entry.name)
    return found


def is_root() -> bool:
    return os.geteuid() == 0
