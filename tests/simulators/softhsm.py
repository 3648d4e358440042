"""SoftHSM 2 tokens: a real PKCS#11 module, whose tokens are folders that a test can take away and bring back.

The module is one per process and reads `SOFTHSM2_CONF` when it is initialised; so one `SoftHsm` serves a whole session
of tests, and each test gets tokens of its own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pkcs11
import pytest

_PLACES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
)
MODULE = next((place for place in _PLACES if place.exists()), _PLACES[0])
MISSING = "SoftHSM 2 is not installed: `make system-packages` installs softhsm2"


_HOLD = """
import fcntl, pathlib, sys
files = [path.open("r+b") for path in pathlib.Path(sys.argv[1]).rglob("*") if path.is_file()]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def installed() -> bool:
    return MODULE.exists() and shutil.which("softhsm2-util") is not None


@dataclass
class SoftToken:
    """A token, its PIN file, and what its owner can do to it."""

    label: str
    pin_file: Path
    _folder: Path = field(repr=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What names it in the custodian's settings."""
        return {"pkcs11_module": MODULE, "pkcs11_token": self.label, "pkcs11_pin_file": self.pin_file}

    @property
    def _away(self) -> Path:
        return self._folder.parent.parent / f"{self._folder.name}.away"

    def take_away(self) -> None:
        self._folder.rename(self._away)

    def bring_back(self) -> None:
        self._away.rename(self._folder)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Every call that concerns the token hangs, as if the network before it were gone, and returns afterwards.

        SoftHSM locks its files while it reads them; here another process holds all of those locks.
        """
        command = [sys.executable, "-c", _HOLD, str(self._folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            try:
                yield
            finally:
                holder.communicate()

    def files(self) -> bytes:
        """Everything that the token keeps on disk."""
        return b"".join(path.read_bytes() for path in sorted(self._folder.rglob("*")) if path.is_file())


class SoftHsm:
    """Tokens in `folder`. Sets `SOFTHSM2_CONF` for this process and for those it starts."""

    def __init__(self, folder: Path) -> None:
        self._tokens = folder / "tokens"
        self._tokens.mkdir(parents=True)
        self._pins = folder
        self._config = folder / "softhsm2.conf"
        self.allow_mechanisms("ALL")
        os.environ["SOFTHSM2_CONF"] = str(self._config)

    def allow_mechanisms(self, names: str) -> None:
        """`ALL`, or a list with commas. Holds when the module is restarted."""
        self._config.write_text(
            f"directories.tokendir = {self._tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
            f"slots.mechanisms = {names}\n"
        )

    def new_token(self) -> SoftToken:
        """An empty token with a random PIN, as `softhsm2-util --init-token` makes it."""
        label, pin = f"assent-{secrets.token_hex(4)}", secrets.token_hex(8)
        before = set(self._tokens.iterdir())
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", pin]
        subprocess.run(command, check=True, capture_output=True)
        (made,) = set(self._tokens.iterdir()) - before
        pin_file = self._pins / f"{label}.pin"
        pin_file.write_text(f"{pin}\n")
        pin_file.chmod(0o600)
        return SoftToken(label, pin_file, made)


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    if not installed():
        pytest.skip(MISSING)
    return SoftHsm(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def token(hsm: SoftHsm) -> SoftToken:
    return hsm.new_token()


def restart_module() -> None:
    """As when the token loses power or its service is started again: every session and login of this process ends."""
    pkcs11.lib(str(MODULE)).reinitialize()
