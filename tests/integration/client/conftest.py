"""A whole installation in daily use, and people who type commands at it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.exposure.world import CUSTODIAN, Installation, Populated, installed, populate
from tests.simulators.custodian import Member

from assent.cli.app import main
from assent.cli.shell import Shell
from assent.client.credentials import Credential, CredentialStore, lock
from assent.client.files import write_private
from assent.contracts.statements import Role

PASSPHRASE = "four plain words"


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Runs the command as somebody, in this process, against the installation."""

    def __init__(self, installation: Installation, folder: Path, capture: Callable[[], tuple[str, str]]) -> None:
        self.installation = installation
        self.folder = folder
        self._capture = capture
        self._secret = folder / "passphrase"
        write_private(self._secret, PASSPHRASE.encode())

    def shell(self, name: str) -> Shell:
        return Shell(
            CredentialStore(self.folder / name),
            transport=self.installation.wire,
            clock=self.installation.world.clock,
            environment={"ASSENT_PASSPHRASE_FILE": str(self._secret)},
        )

    def run(self, name: str, *arguments: str) -> Ran:
        self._capture()
        with pytest.raises(SystemExit) as ended:
            main(arguments, self.shell(name))
        out, err = self._capture()
        assert PASSPHRASE not in out + err
        return Ran(int(ended.value.code or 0), out, err)

    def ok(self, name: str, *arguments: str) -> Ran:
        ran = self.run(name, *arguments)
        assert ran.code == 0, ran.err
        return ran

    def is_(self, name: str, member: Member) -> str:
        """Put a member's opening credential onto this terminal's disk."""
        self.shell(name).store.save(
            Credential(
                member.person,
                member.name,
                CUSTODIAN,
                self.installation.world.report.root_fingerprint,
                member.opening.public.id,
                lock(member.opening, PASSPHRASE),
            )
        )
        return name

    def code_for(self, name: str, role: Role | None = None) -> str:
        """An invitation code. A role in it waits for `countersign`."""
        world = self.installation.world
        code, invitation = world.invitation(name, role)
        assert world.admin.post("/v1/invitations", invitation).status_code == 200
        return code.to_text()

    def countersign(self, name: str) -> None:
        """The council agrees to the role for which somebody of this name was invited."""
        world = self.installation.world
        proposals = world.council.get("/v1/roles").json()["proposals"]
        (waiting,) = [one for one in proposals if one["name"] == name and not one["countersigned"]]
        assert world.countersign(waiting["proposal"]).status_code == 200


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Populated]:
    with installed(tmp_path_factory.mktemp("installation"), witness_timeout_s=30, backup_days=0) as installation:
        yield populate(installation)


@pytest.fixture
def terminal(populated: Populated, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Terminal:
    def capture() -> tuple[str, str]:
        captured = capfd.readouterr()
        return captured.out, captured.err

    return Terminal(populated.installation, tmp_path, capture)
