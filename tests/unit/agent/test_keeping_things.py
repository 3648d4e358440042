"""Secrets, the agent's folder and the control socket."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError
from tests.unit.agent.parts import MemorySecrets

from assent_agent.adapters.keyring_store import KeyringStore
from assent_agent.adapters.secret_file import SecretFile
from assent_agent.ports import SecretStore, SecretsUnavailable
from assent_agent.runtime.control import AgentNotRunning, ControlServer, ask
from assent_agent.runtime.home import AgentHome, HomeBusy, HomeLock, NotEnrolled, Switch

PASSPHRASE = "correct horse battery"


class DictKeyring(KeyringBackend):
    """A keyring in memory."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise KeyringLocked("locked")
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise PasswordDeleteError("none")
        del self.kept[service, username]


@pytest.fixture(params=["memory", "file", "keyring"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SecretStore:
    match request.param:
        case "file":
            return SecretFile(tmp_path / "secrets", PASSPHRASE)
        case "keyring":
            return KeyringStore(DictKeyring(), "home")
        case _:
            return MemorySecrets()


def test_a_secret_store_keeps_replaces_and_forgets(store: SecretStore) -> None:
    assert store.get("a") is None
    store.delete("a")
    store.put("a", b"\x00one\xff")
    store.put("b", b"two")
    store.put("a", b"three")
    assert (store.get("a"), store.get("b")) == (b"three", b"two")
    store.delete("a")
    store.delete("a")
    assert (store.get("a"), store.get("b")) == (None, b"two")


def test_the_key_file_is_encrypted_private_and_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    store = SecretFile(path, PASSPHRASE)
    store.put("device", b"a very private key")
    data = path.read_bytes()
    assert b"private" not in data and base64.b64encode(b"a very private key") not in data and b"device" not in data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SecretFile(path, PASSPHRASE).get("device") == b"a very private key"
    assert repr(store) == "SecretFile()"


def test_a_wrong_passphrase_or_any_damage_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    SecretFile(path, PASSPHRASE).put("device", b"key")
    good = path.read_bytes()
    with pytest.raises(SecretsUnavailable, match="passphrase is wrong"):
        SecretFile(path, PASSPHRASE + "x")
    for place in (0, 20, 40, len(good) - 1):
        damaged = bytearray(good)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(SecretsUnavailable):
            SecretFile(path, PASSPHRASE)
    path.write_bytes(good)
    path.chmod(0o640)
    with pytest.raises(SecretsUnavailable, match="Others can read"):
        SecretFile(path, PASSPHRASE)
    with pytest.raises(SecretsUnavailable, match="at least 8"):
        SecretFile(tmp_path / "new", "short")


def test_a_locked_keyring_says_so() -> None:
    backend = DictKeyring()
    store = KeyringStore(backend, "home")
    backend.locked = True
    with pytest.raises(SecretsUnavailable, match="unlock"):
        store.get("a")
    with pytest.raises(SecretsUnavailable, match="unlock"):
        store.put("a", b"x")


def test_a_folder_serves_one_agent_at_a_time(tmp_path: Path) -> None:
    home = AgentHome(tmp_path)
    lock = HomeLock(home)
    with pytest.raises(HomeBusy):
        HomeLock(home)
    lock.release()
    HomeLock(home).release()


def test_a_new_folder_is_not_enrolled_and_switched_off(tmp_path: Path) -> None:
    home = AgentHome(tmp_path)
    with pytest.raises(NotEnrolled):
        home.identity()
    assert home.switch() == Switch(on=False)
    assert home.held_receipt() is None
    assert home.withdrawals() == ()


def test_a_damaged_switch_is_no_switch(tmp_path: Path) -> None:
    home = AgentHome(tmp_path)
    home.save_switch(Switch(on=True))
    (home.folder / "switch.json").write_bytes(b'{"on":"yes"}')
    assert home.switch() == Switch(on=False)


@pytest.mark.parametrize("depth", [1, 12])
def test_the_control_socket_answers_its_own_account(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["a-rather-long-name"] * depth)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    with pytest.raises(AgentNotRunning):
        ask(path, {"do": "status"})
    server = ControlServer(path, lambda question: {"ok": True, "asked": question["do"]})
    try:
        assert ask(path, {"do": "status"}) == {"ok": True, "asked": "status"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        server.close()
    assert not path.exists()
    with pytest.raises(AgentNotRunning):
        ask(path, {"do": "status"})


def test_a_broken_question_does_not_end_the_server(tmp_path: Path) -> None:
    import socket

    path = tmp_path / "control.sock"
    server = ControlServer(path, lambda question: {"ok": True})
    try:
        for data in (b"not json\n", b"[1]\n", b""):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                assert b'"ok": false' in connection.recv(4096)
        assert ask(path, {})["ok"]
    finally:
        server.close()
