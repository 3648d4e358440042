"""Migrations from a checkout and from an installed wheel."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from tests.simulators.postgres import postgres_server, postgres_url

from assent_collector.models import metadata
from assent_service.database import open_engine
from assent_service.migrating import _connected, _scripts, migrate

__all__ = ["postgres_server", "postgres_url"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield request.getfixturevalue("postgres_url")
    else:
        (tmp_path / "one.db").touch()
        yield f"sqlite:///{tmp_path / 'one.db'}"


def test_the_migrations_make_what_the_models_say(url: str) -> None:
    migrate("collector", url)
    migrate("collector", url)
    engine = open_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_erasures_of_before_keep_their_owner_and_their_tombstones(url: str) -> None:
    with _scripts("custodian") as config, _connected(url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")
        for number in (1, 2):
            values = {"of": f"{number}" * 64, "person": f"{number}" * 32, "tombstone": f"{number + 2}" * 64}
            connection.execute(
                text(
                    "INSERT INTO erasures (of, person, kind, day, requested) "
                    "VALUES (:of, :person, 'erasure', '2026-11-23', '{}')"
                ),
                values,
            )
            connection.execute(text("INSERT INTO erasure_tombstones VALUES (:of, :tombstone)"), values)
    migrate("custodian", url)
    with _connected(url) as connection:
        found = connection.execute(
            text(
                "SELECT e.of, e.person, e.called_off, t.tombstone FROM erasures e JOIN erasure_tombstones t "
                "ON t.erasure = e.of AND t.person = e.person ORDER BY e.of"
            )
        ).all()
    assert [tuple(row) for row in found] == [
        (f"{number}" * 64, f"{number}" * 32, None, f"{number + 2}" * 64) for number in (1, 2)
    ]


def test_what_was_countersigned_for_nobody_in_particular_waits_for_a_signature_again(url: str) -> None:
    insert = text(
        "INSERT INTO role_proposals (hash, person, role, action, proposed_by, proposed, countersigned_by, effective, "
        "evidence) VALUES (:hash, :person, 'steward', 'grant', :by, '2026-11-23T09:00:00Z', :second, "
        "'2026-11-24T09:00:00Z', '{}')"
    )
    with _scripts("custodian") as config, _connected(url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0021")
        for hash_, person, by, second in (
            ("1" * 64, None, "a" * 32, "c" * 32),
            ("2" * 64, "b" * 32, "a" * 32, "c" * 32),
            ("3" * 64, None, None, None),
        ):
            connection.execute(insert, {"hash": hash_, "person": person, "by": by, "second": second})
    migrate("custodian", url)
    with _connected(url) as connection:
        found = connection.execute(text("SELECT hash, effective IS NULL FROM role_proposals ORDER BY hash")).all()
    waits = {row[0][0]: bool(row[1]) for row in found}
    assert waits == {"1": True, "2": False, "3": False}, "who has joined keeps the role; founders were never signed for"


def test_what_was_proposed_by_a_key_that_is_not_known_has_to_be_proposed_anew(url: str) -> None:
    with _scripts("custodian") as config, _connected(url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0022")
        for hash_ in ("1" * 64, "2" * 64):
            connection.execute(
                text(
                    "INSERT INTO role_proposals (hash, role, action, proposed_by, proposed) "
                    "VALUES (:hash, 'steward', 'grant', :by, '2026-11-23T09:00:00Z')"
                ),
                {"hash": hash_, "by": "a" * 32},
            )
        connection.execute(
            text(
                "INSERT INTO invitations (code, statement, until, drill, credential) "
                "VALUES (:code, :statement, '2026-11-30T09:00:00Z', :drill, :key)"
            ),
            {"code": "c" * 64, "statement": "2" * 64, "drill": False, "key": "b" * 32},
        )
    migrate("custodian", url)
    with _connected(url) as connection:
        found = connection.execute(text("SELECT hash, credential FROM role_proposals ORDER BY hash")).all()
    assert [tuple(row) for row in found] == [("1" * 64, None), ("2" * 64, "b" * 32)], "an invitation knows its key"


def test_a_new_sqlite_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        migrate("collector", f"sqlite:///{tmp_path / 'one.db'}")
    finally:
        os.umask(umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes.pop("one.db") == 0o600
    assert set(modes.values()) <= {0o600}


def test_an_installed_wheel_migrates_from_anywhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(ROOT / "server")], check=True, capture_output=True)
    target = tmp_path / "installed"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    program = (
        "import assent_migrations, assent_service, sys;"
        "assert assent_migrations.__file__.startswith(sys.argv[1]), assent_migrations.__file__;"
        "assert assent_service.__file__.startswith(sys.argv[1]);"
        "from assent_service.migrating import migrate;"
        "[migrate(service, f'sqlite:///{service}.db') for service in ('collector', 'custodian')]"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(target)}
    subprocess.run([sys.executable, "-c", program, str(target)], cwd=elsewhere, env=environment, check=True)
    for service, table in (("collector", "items"), ("custodian", "orders")):
        with sqlite3.connect(elsewhere / f"{service}.db") as connection:
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
            connection.execute(f"SELECT count(*) FROM {table}")
