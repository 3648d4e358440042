"""Founding, later directories, starting up: and everything that keeps the service from starting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import select
from tests.simulators.custodian import CustodianWorld, custodian_world, problem

from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import Envelope, read
from assent.contracts.ids import sha256_hex
from assent.contracts.keys import PublicKey, SigningKey, fingerprint
from assent.contracts.statements import Directory
from assent_custodian import ceremony, tables
from assent_custodian.app import create_app
from assent_custodian.builds import build_hash
from assent_custodian.context import open_custodian
from assent_custodian.files import NotReady
from assent_custodian.log.models import LogEntry
from assent_custodian.settings import PROMISED, Settings
from assent_service.database import Database
from assent_service.migrating import migrate


def leaves(world: CustodianWorld, type_: str) -> list[dict[str, Any]]:
    with world.custodian.database.reading() as session:
        rows = session.scalars(select(LogEntry.leaf).where(LogEntry.type == type_).order_by(LogEntry.index))
        return [json.loads(row) for row in rows]


def init_again(world: CustodianWorld, settings: Settings, **changes: Any) -> ceremony.InitReport:
    content = {
        "organisation": "Example",
        "custodian_url": "http://127.0.0.1:1",
        "collector_url": "http://127.0.0.1:2",
        "collector_key": world.collector_key.public.text,
        "witnesses": [world.witness.entry],
        "agreement": "A",
        "dpia": "D",
        **changes,
    }
    return ceremony.init(settings, **content)


# --- the schema ---


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_migrations_make_exactly_the_tables_of_the_models(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else f"sqlite:///{tmp_path}/c.db"
    migrate("custodian", url)
    migrate("custodian", url)
    opened = Database(url)
    with opened.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.METADATA) == []
    opened.close()


# --- init ---


def test_the_directory_is_signed_by_the_root_and_names_this_custodians_keys(lite: CustodianWorld) -> None:
    envelope = Envelope.from_json(lite.client.get("/v1/directory").content)
    root = PublicKey((lite.settings.keys / "root.pub").read_text().strip())
    directory = read(envelope, Directory, root)
    assert fingerprint(root.text) == lite.report.root_fingerprint
    assert directory.collector_key == lite.collector_key.public.text
    assert (directory.version, directory.root_key) == (1, root.text)
    for code in lite.report.codes.values():
        assert InvitationCode.from_text(code).root_fingerprint == lite.report.root_fingerprint
    assert [leaf["counts"] for leaf in leaves(lite, "directory.changed")] == [{"version": 1}]


def test_the_codes_are_not_shown_when_the_report_is_printed(lite: CustodianWorld) -> None:
    for code in lite.report.codes.values():
        assert code not in repr(lite.report)


def test_key_files_and_folders_are_for_their_owner_only(lite: CustodianWorld) -> None:
    data = lite.settings.data_dir
    for folder in (data, data / "keys", data / "kek", data / "root"):
        assert folder.stat().st_mode & 0o777 == 0o700
    secret = [data / "root" / "root.key", data / "keys" / "statement.pem", data / "keys" / "log.pem"]
    secret += list((data / "kek").iterdir())
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}


def test_a_custodian_is_founded_once(lite: CustodianWorld) -> None:
    with pytest.raises(NotReady, match="exists already"):
        init_again(lite, lite.settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"agreement": " "},
        {"dpia": ""},
        {"collector_key": "ed25519:" + "A" * 42 + "B"},
        {"witnesses": []},
        {"quorum": 2},
        {"quorum": 0},
    ],
)
def test_a_ceremony_with_something_missing_founds_nothing(
    lite: CustodianWorld, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = Settings(data_dir=tmp_path / "other")
    with pytest.raises(NotReady):
        init_again(lite, settings, **changes)
    assert not settings.directory.exists()


def test_the_root_key_can_have_a_passphrase_and_leave(lite: CustodianWorld, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "other")
    report = init_again(lite, settings, root_passphrase=b"correct horse")
    with pytest.raises(NotReady, match="root key"):
        ceremony.sign_directory(settings, report.root_key_file, {})
    offline = tmp_path / "usb"
    report.root_key_file.rename(offline)
    open_custodian(settings).close()
    assert ceremony.sign_directory(settings, offline, {}, root_passphrase=b"correct horse").version == 2


# --- later directories ---


def test_a_new_directory_rises_is_logged_and_is_served_without_a_restart(lite: CustodianWorld) -> None:
    key = SigningKey.generate().public.text
    changes = {"collector_url": "https://collector.example", "collector_key": key}
    signed = ceremony.sign_directory(lite.settings, lite.report.root_key_file, changes, clock=lite.clock)
    assert signed.version == 2
    served = Envelope.from_json(lite.client.get("/v1/directory").content)
    assert read(served, Directory, PublicKey(signed.root_key)) == signed
    assert [leaf["counts"]["version"] for leaf in leaves(lite, "directory.changed")] == [1, 2]
    assert problem(lite.ask(lite.collector_key, "GET", "/v1/orders")) == "not-signed-in", "the old key is out"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 9},
        {"root_key": SigningKey.generate().public.text},
        {"statement_key": SigningKey.generate().public.text},
        {"log_vkey": "x"},
        {"collector_key": "p256:" + "A" * 44},
        {"nothing": 1},
        {"policy": "quorum many\n"},
    ],
)
def test_a_directory_that_does_not_fit_is_not_signed(lite: CustodianWorld, changes: dict[str, Any]) -> None:
    with pytest.raises(NotReady):
        ceremony.sign_directory(lite.settings, lite.report.root_key_file, changes, clock=lite.clock)
    assert lite.custodian.directory.directory.version == 1


def test_another_root_key_signs_nothing(lite: CustodianWorld, tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    path.write_bytes(SigningKey.generate().to_pem())
    path.chmod(0o600)
    with pytest.raises(NotReady, match="not the root key"):
        ceremony.sign_directory(lite.settings, path, {}, clock=lite.clock)


def test_an_older_or_forged_directory_file_is_never_served(lite: CustodianWorld) -> None:
    first = lite.settings.directory.read_bytes()
    ceremony.sign_directory(lite.settings, lite.report.root_key_file, {}, clock=lite.clock)
    second = lite.client.get("/v1/directory").content
    forged = second.replace(b'"sig":"', b'"sig":"AAAA')
    for content in (first, forged, b"{}", b""):
        lite.settings.directory.write_bytes(content)
        assert lite.client.get("/v1/directory").content == second


# --- starting ---


def test_starting_is_written_down_with_the_build(tmp_path: Path) -> None:
    with custodian_world(tmp_path) as world:
        with TestClient(create_app(world.settings, world.clock)) as client:
            assert client.get("/readyz").status_code == 200
        (boot,) = leaves(world, "boot")
        assert boot["detail"] == {"build": build_hash()}


def test_what_people_are_offered_and_promised_is_written_down_when_it_was_changed(tmp_path: Path) -> None:
    def start(settings: Settings) -> None:
        with TestClient(create_app(settings, world.clock)) as client:
            assert client.get("/readyz").status_code == 200

    def changes() -> list[tuple[str, dict[str, str]]]:
        return [(leaf["rule"], leaf["detail"]) for leaf in leaves(world, "config.changed")]

    with custodian_world(tmp_path) as world:
        start(world.settings)
        start(world.settings)
        first = dict(changes())
        assert len(changes()) == 2, "once, and not with every start"
        assert first["config.settings"]["role_delay_hours"] == "0"
        assert first["config.settings"]["retention_days"] == "180"
        assert first["config.policy"]["notice"] == sha256_hex(world.custodian.offer.notice.encode())
        policy = json.loads(world.settings.policy.read_text())
        world.settings.policy.write_text(json.dumps({**policy, "notice": "Everything is fine."}))
        start(world.settings)
        (rule, detail) = changes()[-1]
        assert (rule, detail["notice"]) == ("config.policy", sha256_hex(b"Everything is fine."))
        slower = Settings.model_validate({**world.settings.model_dump(), "erase_after_days": 1})
        start(slower)
        assert changes()[-1] == ("config.settings", {**first["config.settings"], "erase_after_days": "1"})
        start(slower)
        assert len(changes()) == 4


def test_every_number_that_can_be_set_is_in_the_log_or_promises_nothing() -> None:
    numbers = {name for name, field in Settings.model_fields.items() if type(field.default) in (int, float)}
    promise_nothing = {
        *("port", "night_hour_utc", "witness_timeout_s", "witness_interval_s", "pkcs11_timeout_s"),
    }
    assert numbers == set(PROMISED) | promise_nothing


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("keys/statement.pem", "statement.pem is missing"),
        ("keys/log.pem", "log.pem is missing"),
        ("keys/root.pub", "root.pub is missing"),
        ("directory.json", "no valid directory"),
        ("policy.json", "policy.json is missing"),
    ],
)
def test_the_service_does_not_start_without_a_file_and_names_it(lite: CustodianWorld, name: str, expected: str) -> None:
    (lite.settings.data_dir / name).unlink()
    with pytest.raises(NotReady, match=expected):
        create_app(lite.settings)


@pytest.mark.parametrize("name", ["keys/statement.pem", "keys/log.pem"])
def test_the_service_does_not_start_with_keys_that_others_could_read(lite: CustodianWorld, name: str) -> None:
    (lite.settings.data_dir / name).chmod(0o644)
    with pytest.raises(NotReady, match="others could read it"):
        create_app(lite.settings)


@pytest.mark.parametrize(("name", "expected"), [("statement.pem", "another statement key"), ("log.pem", "another log")])
def test_the_service_does_not_start_with_other_keys_than_the_directory_names(
    lite: CustodianWorld, name: str, expected: str
) -> None:
    (lite.settings.keys / name).write_bytes(SigningKey.generate().to_pem())
    with pytest.raises(NotReady, match=expected):
        create_app(lite.settings)


def test_the_service_does_not_start_with_a_policy_it_does_not_understand(lite: CustodianWorld) -> None:
    policy = json.loads(lite.settings.policy.read_text())
    for bad in (
        {**policy, "valid_days": 400},
        {**policy, "extra": 1},
        {**policy, "statements": []},
        {k: v for k, v in policy.items() if k != "dpia"},
    ):
        lite.settings.policy.write_text(json.dumps(bad))
        with pytest.raises(NotReady, match="policy"):
            create_app(lite.settings)


def test_the_text_shown_says_how_long_recordings_are_kept_here(lite: CustodianWorld, tmp_path: Path) -> None:
    assert "kept for 180 days at most" in " ".join(lite.custodian.offer.notice.split())
    settings = Settings(data_dir=tmp_path / "other", retention_days=365)
    init_again(lite, settings)
    offer = open_custodian(settings).offer
    assert offer.terms.retention_days == 365
    assert "365 days at most" in offer.notice and "180" not in offer.notice


def test_browsers_mail_and_chat_are_denied_unless_the_operator_decides_otherwise(lite: CustodianWorld) -> None:
    offered = lite.admin.get("/v1/consent/offer").json()["application_list"]
    assert {"firefox", "chromium", "thunderbird", "slack"} <= set(offered["deny"])
    assert "xterm" in offered["allow"]
    assert not set(offered["allow"]) & set(offered["deny"])


# --- settings ---


def test_settings_come_from_the_environment_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = tmp_path / "custodian.toml"
    toml.write_text(f'data_dir = "{tmp_path}"\nport = 9000\nrole_delay_hours = 1\n')
    monkeypatch.setenv("ASSENT_CUSTODIAN_PORT", "9001")
    settings = Settings.load(toml)
    assert (settings.data_dir, settings.port, settings.role_delay_hours) == (tmp_path, 9001, 1)


@pytest.mark.parametrize(
    "changes", [{"approvals_needed": 1}, {"certificate_hours": 48}, {"erase_after_days": 30}, {"unknown": 1}]
)
def test_settings_cannot_weaken_what_is_promised(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(data_dir=tmp_path, **changes)
