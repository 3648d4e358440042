"""The credential file: for its owner, whole or not there, and useless without the passphrase."""

from __future__ import annotations

from pathlib import Path

import pytest

from assent.client.credentials import (
    Credential,
    CredentialInvalid,
    CredentialMissing,
    CredentialStore,
    lock,
    passphrase_from_file,
)
from assent.client.files import write_private
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey

PASSPHRASE = "four plain words here"


def credential(key: SigningKey) -> Credential:
    return Credential(new_id(), "Ada", "http://custodian.test", "ab" * 32, key.public.id, lock(key, PASSPHRASE))


def test_a_credential_survives_a_restart_and_opens_with_its_passphrase(tmp_path: Path) -> None:
    key = SigningKey.generate()
    store = CredentialStore(tmp_path / "home")
    store.save(credential(key))
    loaded = store.load()
    assert loaded.unlock(PASSPHRASE).public == key.public
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o077 == 0


def test_a_wrong_passphrase_is_said_to_be_wrong(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    store.save(credential(SigningKey.generate()))
    with pytest.raises(CredentialInvalid, match="passphrase is wrong"):
        store.load().unlock("another passphrase")


def test_the_file_holds_no_key_in_the_clear_and_repr_shows_none(tmp_path: Path) -> None:
    key = SigningKey.generate()
    store = CredentialStore(tmp_path)
    store.save(credential(key))
    text = store.path.read_text()
    assert "ENCRYPTED PRIVATE KEY" in text
    assert "PRIVATE" not in repr(store.load())


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path)
    store.save(credential(SigningKey.generate()))
    store.path.chmod(0o644)
    with pytest.raises(CredentialInvalid, match="chmod 600"):
        store.load()


def test_no_file_means_not_logged_in(tmp_path: Path) -> None:
    with pytest.raises(CredentialMissing, match="assent login"):
        CredentialStore(tmp_path).load()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe"])
def test_a_damaged_file_says_so(tmp_path: Path, content: bytes) -> None:
    store = CredentialStore(tmp_path)
    write_private(store.path, content)
    with pytest.raises(CredentialInvalid, match="damaged"):
        store.load()


def test_a_key_that_is_not_the_one_named_is_refused(tmp_path: Path) -> None:
    swapped = Credential(new_id(), "Ada", "http://c.test", "ab" * 32, "0" * 32, lock(SigningKey.generate(), PASSPHRASE))
    store = CredentialStore(tmp_path)
    store.save(swapped)
    with pytest.raises(CredentialInvalid, match="another key"):
        store.load().unlock(PASSPHRASE)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(CredentialInvalid, match="at least 8"):
        lock(SigningKey.generate(), "short")


def test_where_the_credential_lies() -> None:
    assert CredentialStore.default({"ASSENT_HOME": "/x/y"}).folder == Path("/x/y")
    assert CredentialStore.default({}).folder.name == "assent"


def test_the_passphrase_may_come_from_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    write_private(path, b"four plain words\nsecond line\n")
    environment = {"ASSENT_PASSPHRASE_FILE": str(path)}
    assert passphrase_from_file(environment) == "four plain words"
    path.chmod(0o640)
    with pytest.raises(CredentialInvalid, match="others can read"):
        passphrase_from_file(environment)
    assert passphrase_from_file({}) is None
    with pytest.raises(CredentialInvalid, match="cannot be read"):
        passphrase_from_file({"ASSENT_PASSPHRASE_FILE": str(tmp_path / "none")})


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="full"):
        write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
