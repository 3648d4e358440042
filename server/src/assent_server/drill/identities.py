"""The drill's own people: their keys in one folder, and how they join, over HTTP as everybody does."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2
from pydantic import Field

from assent.client.custodian import Clock, CustodianClient
from assent.client.directory import TrustedDirectory
from assent.client.files import write_private
from assent.client.joining import join
from assent.client.transport import Transport, now_utc
from assent.contracts.codes import CodeInvalid, InvitationCode
from assent.contracts.envelope import Envelope, Signed, StatementInvalid
from assent.contracts.ids import Hash, RandomId
from assent.contracts.keys import KeyInvalid, SigningKey
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import CredentialRevocation, Directory, Url

Kind = Literal["device", "opening"]
KINDS: tuple[Kind, ...] = ("device", "opening")

CANARY, NEIGHBOUR, LEAVER = "canary", "neighbour", "leaver"


class DrillNotReady(Exception):
    """The drill cannot run; says what to do."""


class _Member(Signed):
    person: RandomId
    role: str | None = None
    device: str = Field(repr=False)
    opening: str = Field(repr=False)


class _File(Signed):
    root_fingerprint: Hash
    custodian_url: Url
    members: dict[str, _Member]


class Notes(Signed):
    """What one drill leaves for the next: the newest receipt of each who records, and certificates of erased streams,
    with the day on which they were.
    """

    receipts: dict[str, Hash] = Field(default={})
    erased: tuple[tuple[str, Envelope], ...] = ()


@dataclass(frozen=True)
class Identity:
    """One of the drill's people. `revoked`: its keys were."""

    name: str
    role: str | None
    person: str
    keys: Mapping[Kind, SigningKey]

    @property
    def revoked(self) -> bool:
        return self.name == LEAVER

    def __str__(self) -> str:
        return f"{self.name} ({self.role})" if self.role and self.role != self.name else self.name


class Folder:
    """Where the keys lie, mode 0600 in a folder of mode 0700, with the newest directory and the notes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def _file(self) -> Path:
        return self.path / "identities.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One drill at a time: each withdraws what it gave, and what was given before. Raises DrillNotReady."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DrillNotReady("a drill is running already with these identities; wait until it ends") from error
            yield
        finally:
            os.close(handle)

    @property
    def exists(self) -> bool:
        return self._file.exists()

    def load(self) -> tuple[dict[str, Identity], TrustedDirectory]:
        """Raises DrillNotReady."""
        if stat.S_IMODE(self._file.stat().st_mode) & 0o077:
            raise DrillNotReady(f"others could read the keys of the drill: chmod 600 {self._file}")
        try:
            parsed = _File.parse(self._file.read_bytes())
            members = {
                name: Identity(
                    name, one.role, one.person,
                    {kind: SigningKey.from_pem(getattr(one, kind).encode()) for kind in KINDS},
                )
                for name, one in parsed.members.items()
            }  # fmt: skip
        except (StatementInvalid, KeyInvalid) as error:
            raise DrillNotReady(
                f"{self._file.name} is damaged; remove it, and the drill sets itself up anew"
            ) from error
        return members, TrustedDirectory(parsed.root_fingerprint, self.path / "directory.json")

    def save(self, members: Mapping[str, Identity], root_fingerprint: str, custodian_url: str) -> None:
        kept = {
            one.name: _Member(
                person=one.person, role=one.role,
                device=one.keys["device"].to_pem().decode(), opening=one.keys["opening"].to_pem().decode(),
            )
            for one in members.values()
        }  # fmt: skip
        content = _File(root_fingerprint=root_fingerprint, custodian_url=custodian_url, members=kept)
        write_private(self._file, content.to_json())

    @property
    def notes(self) -> Notes:
        """Those of the last drill; empty ones when there are none, or none that can be read."""
        try:
            return Notes.parse((self.path / "notes.json").read_bytes())
        except (OSError, StatementInvalid):
            return Notes()

    @notes.setter
    def notes(self, notes: Notes) -> None:
        write_private(self.path / "notes.json", notes.to_json())


def enrol(
    folder: Folder,
    codes: Mapping[str, str],
    *,
    clock: Clock = now_utc,
    transport: httpx2.BaseTransport | None = None,
    progress: Callable[[str], None] = lambda _text: None,
) -> None:
    """Join with one code for each identity, and revoke the keys of the one that leaves. Nothing is kept before all have
    joined; codes that were used lead nowhere, and new ones end whoever came of them. Raises as `joining.join`.
    """
    progress("setting up the identities of the drill")
    try:
        first = InvitationCode.from_text(next(iter(codes.values())))
    except (CodeInvalid, StopIteration) as error:
        raise DrillNotReady("the codes of the drill cannot be read; make new ones with `drill --invite`") from error
    (folder.path / "directory.json").unlink(missing_ok=True)
    directory = TrustedDirectory(first.root_fingerprint, folder.path / "directory.json")
    members = {}
    for name, code in codes.items():
        joined = join(code, set(KINDS), directory=directory, clock=clock, transport=transport)
        role = joined.roles[0].value if joined.roles else None
        members[name] = Identity(name, role, joined.person, joined.keys)
    _leave(members[LEAVER], directory.current, clock, transport)
    folder.notes = Notes(receipts={CANARY: FIRST_PREVIOUS, NEIGHBOUR: FIRST_PREVIOUS})
    folder.save(members, directory.root_fingerprint, directory.current.custodian_url)


def _leave(member: Identity, directory: Directory, clock: Clock, transport: httpx2.BaseTransport | None) -> None:
    opening = member.keys["opening"]
    with CustodianClient.of(directory, opening, clock=clock, transport=transport) as custodian:
        for key in (member.keys["device"], opening):
            custodian.revoke_credential(
                CredentialRevocation(credential=key.public.id, even_last=True, at=custodian.now())
            )


def refresh(directory: TrustedDirectory, url: str, transport: httpx2.BaseTransport | None) -> None:
    """Fetch the newest directory."""
    with Transport(url, transport=transport) as custodian:
        directory.refresh(custodian)
