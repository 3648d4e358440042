"""`assent-server` as operators use it: real processes on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml
from typer.testing import CliRunner

from assent.contracts.codes import InvitationCode
from assent.contracts.keys import SigningKey
from assent_collector.app import openapi
from assent_custodian.builds import build_hash
from assent_custodian.settings import Settings as CustodianSettings
from assent_server.cli import app
from assent_server.doctor import redacted

COMMAND = [sys.executable, "-m", "assent_server"]
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def _run(*arguments: str, **environment: str) -> Done:
    """Run a command in this process: quick, for commands that start no service."""
    result = CliRunner().invoke(app, list(arguments), env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def _process(*arguments: str, **environment: str) -> Done:
    """Run a command as operators do."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _free_base() -> int:
    """A number whose next three ports are free."""
    for base in range(20_000 + os.getpid() % 10_000, 60_000, 7):
        sockets = [socket.socket() for _ in range(3)]
        try:
            for step, one in enumerate(sockets):
                one.bind(("127.0.0.1", base + 1 + step))
        except OSError:
            continue
        else:
            return base
        finally:
            for one in sockets:
                one.close()
    raise RuntimeError("no free ports")


def _until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


@contextmanager
def _up(data: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [*COMMAND, "up", "--data", str(data), "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(60)


def test_one_command_starts_everything_restarts_what_crashes_and_stops_it(tmp_path: Path) -> None:
    data, base = tmp_path / "data", _free_base()
    with _up(data, "--port-base", str(base)) as (process, summary):
        assert set(summary["codes"]) == {"admin", "council", "dpo"}
        assert InvitationCode.from_text(summary["codes"]["admin"]).root_fingerprint == summary["root_fingerprint"]
        assert summary["custody_level"] == 0
        assert "could open recordings" in summary["custody_sentence"]
        founders = data / "founders.txt"
        assert founders.stat().st_mode & 0o777 == 0o600
        assert summary["codes"]["dpo"] in founders.read_text()
        ready = [f"{summary[name]}/readyz" for name in ("custodian_url", "collector_url")]
        assert all(map(_answers, ready))
        children = psutil.Process(process.pid).children()
        assert len(children) == 4, "custodian, collector, witness, and the drill beside them"
        collector = next(child for child in children if "assent_server.run_collector" in child.cmdline())
        collector.kill()
        _until(lambda: not _answers(ready[1]) or not collector.is_running())
        _until(lambda: _answers(ready[1]))
        assert sum(1 for child in children if child.is_running()) == 3  # the others were left alone
        children = psutil.Process(process.pid).children()
    assert process.returncode == 0
    assert not any(child.is_running() for child in children)
    other = _run("up", "--data", str(data), "--port-base", str(base + 500))
    assert other.returncode == 1
    assert str(base) in other.stderr
    with _up(data) as (process, summary):
        assert summary["codes"] == {}  # a second start prints no codes
        children = psutil.Process(process.pid).children()
        os.kill(process.pid, signal.SIGKILL)  # even then the services end
        psutil.wait_procs(children, timeout=60)
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `init` made; nothing runs."""
    data = tmp_path_factory.mktemp("founded") / "data"
    done = _run("init", "--data", str(data), "--json", "--port-base", str(_free_base()))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["codes"]) == 3
    return data


def test_founding_twice_is_refused_and_changes_nothing(founded: Path) -> None:
    before = sorted((p, p.read_bytes()) for p in founded.rglob("*") if p.is_file())
    again = _run("init", "--data", str(founded))
    assert (again.returncode, again.stdout) == (1, "")
    assert "founded already" in again.stderr
    assert sorted((p, p.read_bytes()) for p in founded.rglob("*") if p.is_file()) == before


def test_what_is_typed_at_init_is_used_or_refused(tmp_path: Path) -> None:
    """An operator who believes that the root key has a passphrase, or that two witnesses are asked, is not wrong."""
    data, secret = str(tmp_path / "data"), tmp_path / "passphrase"
    for option, value in (
        ("--witness", "http://w.test=w"), ("--quorum", "1"), ("--custody-level", "1"),
        ("--custodian-url", "http://c.test"), ("--collector-url", "http://c.test"),
    ):  # fmt: skip
        done = _run("init", "--data", data, option, value)
        assert (done.returncode, option in done.stderr) == (2, True), done.stderr
    done = _run("init", "--data", data, "--collector-key", "ed25519:x")
    assert (done.returncode, "--data" in done.stderr) == (2, True)
    assert not Path(data).exists()
    secret.write_text("correct horse\n")
    assert _run("init", "--data", data, "--passphrase-file", str(secret), "--port-base", "9400").returncode == 0
    root = Path(data) / "custodian" / "root" / "root.key"
    assert b"ENCRYPTED" in root.read_bytes()
    sign = ("directory", "sign", "--data", data, "--root-key", str(root))
    assert "passphrase" in _run(*sign).stderr
    assert _run(*sign, "--passphrase-file", str(secret)).returncode == 0
    other = _run("up", "--data", data, "--agreement", "WA-2")
    assert (other.returncode, "policy.json" in other.stderr) == (1, True), "founded with another one"


def test_the_doctor_says_who_could_open_recordings(founded: Path) -> None:
    done = _run("doctor", "--data", str(founded), "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["ok"]
    assert found["custody_level"] == 0
    assert any("witnessed by the same host only" in note for note in found["notes"])
    assert not any("claims level" in note and "in force" in note for note in found["notes"])


def test_the_doctor_says_when_everybody_is_told_a_higher_level_than_is_in_force(founded: Path, tmp_path: Path) -> None:
    founded = _copy(founded, tmp_path)
    root_key = founded / "custodian" / "root" / "root.key"
    claim = ("directory", "sign", "--data", str(founded), "--root-key", str(root_key), "--custody-level", "2")
    assert _run(*claim).returncode == 0
    found = json.loads(_run("doctor", "--data", str(founded), "--json").stdout)
    assert found["custody_level"] == 0
    assert "custodian: the directory claims level 2 to everybody; 0 is in force" in found["notes"]


def test_the_doctor_names_settings_that_promise_less_than_the_documents(founded: Path) -> None:
    def notes(**environment: str) -> str:
        return " ".join(json.loads(_run("doctor", "--data", str(founded), "--json", **environment).stdout)["notes"])

    assert "catalogue_refresh_days" not in notes() and "role_delay_hours" not in notes()
    assert "catalogue_refresh_days is 0" in notes(ASSENT_CUSTODIAN_CATALOGUE_REFRESH_DAYS="0")
    assert "role_delay_hours is 23.5" in notes(ASSENT_CUSTODIAN_ROLE_DELAY_HOURS="23.5")


def test_the_doctor_says_what_is_overdue_and_since_when(founded: Path) -> None:
    with closing(sqlite3.connect(founded / "custodian" / "custodian.db")) as database:
        (good,) = database.execute("SELECT done FROM night_lock").fetchone()
        late = (
            "UPDATE night_lock SET done = '2020-01-01'",
            "UPDATE kek_generations SET tainted = 1, tainted_since = '2020-01-02'",
            f"INSERT INTO orders VALUES (1, '{'0' * 64}', '', '2020-01-03', NULL, NULL)",
            f"INSERT INTO recalls VALUES ('{'0' * 64}', '{'1' * 64}', '2020-01-04', '', NULL, NULL)",
        )
        for statement in late:
            database.execute(statement)
        database.commit()
        done = _run("doctor", "--data", str(founded))
        faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT custodian")]
        assert (done.returncode, len(faults)) == (1, 4)
        assert all(any(f"2020-01-0{n}" in fault for fault in faults) for n in (1, 2, 3, 4))
        for statement in (
            f"UPDATE night_lock SET done = '{good}'",
            "UPDATE kek_generations SET tainted = 0, tainted_since = NULL",
            "DELETE FROM orders",
            "DELETE FROM recalls",
        ):
            database.execute(statement)
        database.commit()
    assert _run("doctor", "--data", str(founded)).returncode == 0


def test_the_doctor_says_when_the_collector_has_reported_nothing(founded: Path, tmp_path: Path) -> None:
    founded = _copy(founded, tmp_path)
    assert _run("doctor", "--data", str(founded)).returncode == 0, "it has two days for its first report"
    with closing(sqlite3.connect(founded / "custodian" / "custodian.db")) as database:
        (leaf,) = database.execute('SELECT leaf FROM log_entries WHERE "index" = 0').fetchone()
        old = json.dumps(json.loads(leaf) | {"at": "2020-01-05T06:07:08Z"}).encode()
        database.execute('UPDATE log_entries SET leaf = ? WHERE "index" = 0', (old,))
        database.commit()
    done = _run("doctor", "--data", str(founded))
    (fault,) = (line for line in done.stdout.splitlines() if line.startswith("FAULT"))
    assert done.returncode == 1
    assert fault.startswith("FAULT custodian: the collector has reported nothing since 2020-01-05T06:07:08Z: see that")
    page = (ROOT / "docs" / "operations" / "README.md").read_text()
    assert "`FAULT custodian: the collector has reported nothing since …`" in page
    assert f"(`report_overdue_hours`, {CustodianSettings(data_dir=founded).report_overdue_hours};" in page


def test_the_doctor_finds_faults_and_ends_with_one(founded: Path) -> None:
    key = founded / "collector" / "collector.pem"
    good = key.read_bytes()
    try:
        key.chmod(0o644)
        done = _run("doctor", "--data", str(founded))
        assert done.returncode == 1
        assert "FAULT collector" in done.stdout
        key.chmod(0o600)
        key.unlink()
        assert _run("doctor", "--data", str(founded)).returncode == 1
    finally:
        key.write_bytes(good)
        key.chmod(0o600)
    assert _run("doctor", "--data", str(founded)).returncode == 0


@pytest.mark.parametrize(
    "lacks",
    [
        (),
        ("custodian/custodian.db",),
        ("collector/collector.db",),
        ("custodian/directory.json", "custodian/custodian.db"),
        ("collector/directory.json", "collector/collector.db", "collector/blobs"),
        ("custodian/keys/last-checkpoint", "custodian/custodian.db", "custodian/kek"),
        ("collector/collector.pem", "collector/collector.db"),
        ("witness",),
        ("custodian", "collector"),
    ],
)
def test_the_doctor_makes_nothing_and_changes_nothing(founded: Path, tmp_path: Path, lacks: tuple[str, ...]) -> None:
    """Least of all a database where one should have been: a restore would take it for one that is in use."""
    data = _copy(founded, tmp_path)
    for name in lacks:
        if (data / name).is_dir():
            shutil.rmtree(data / name)
        else:
            (data / name).unlink(missing_ok=True)
    before = _everything_in(data)
    done = _run("doctor", "--data", str(data))
    assert done.returncode == (1 if lacks else 0), done.stdout
    assert _everything_in(data) == before


@pytest.mark.parametrize("url", ["sqlite://", "nonsense", "mysql://me:s3cret@nowhere/one"])
def test_an_address_of_no_database_is_said_to_be_wrong_before_anything_is_opened(founded: Path, url: str) -> None:
    done = _run("doctor", "--data", str(founded), ASSENT_CUSTODIAN_DATABASE_URL=url, ASSENT_COLLECTOR_DATABASE_URL=url)
    assert done.returncode == 1
    for service in ("custodian", "collector"):
        assert f"FAULT {service}: the configuration is missing or wrong in: database_url" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


def _everything_in(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time of the last change, and content of all that lies there; of folders the mode."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: (path.stat().st_mode, 0, b"")
        if path.is_dir()
        else (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for name, path in found.items()
    }


def test_a_site_on_postgresql_whose_setting_got_lost_is_named_and_gets_no_sqlite(founded: Path, tmp_path: Path) -> None:
    data = _copy(founded, tmp_path)
    folder = json.loads(_run("backup", "custodian", "--data", str(data), "--to", str(tmp_path / "b"), "--json").stdout)
    for service in ("custodian", "collector"):
        (data / service / f"{service}.db").unlink()
    commands = (("doctor",), ("backup",), ("rotate",), ("halt", "--reason", "a fault"))
    for command in commands:
        done = _run(*command, "--data", str(data))
        assert done.returncode == 1
        assert (
            "its file cannot be opened: see whether it is there (database_url says where)" in done.stdout + done.stderr
        )
        assert list(data.rglob("*.db*")) == []
    assert "`assent-server migrate collector`" in _run("doctor", "--data", str(data)).stdout
    restored = _run("restore", folder["custodian"], "--data", str(data))
    assert restored.returncode == 0, "nothing is in its way"


# --- what goes wrong around backups -----------------------------------------------------------------------------------


def _on_a_full_disk(*arguments: str) -> Done:
    """The command, where no file can grow beyond 100 KiB."""
    command = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *COMMAND, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def copied(founded: Path, tmp_path: Path) -> Path:
    return _copy(founded, tmp_path)


def test_a_backup_on_a_full_disk_is_none_and_says_so(copied: Path, tmp_path: Path) -> None:
    to = tmp_path / "backups"
    done = _on_a_full_disk("backup", "custodian", "--data", str(copied), "--to", str(to))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no backup was made: ")
    assert list(to.iterdir()) == []
    assert _run("backup", "custodian", "--data", str(copied), "--to", str(to)).returncode == 0, "the positive control"


def test_a_restore_on_a_full_disk_leaves_everything_as_it_was(copied: Path, tmp_path: Path) -> None:
    data, to = ("--data", str(copied)), tmp_path / "backups"
    folder = json.loads(_run("backup", "custodian", *data, "--to", str(to), "--json").stdout)["custodian"]
    database = copied / "custodian" / "custodian.db"
    before = database.read_bytes()
    done = _on_a_full_disk("restore", folder, *data, "--over")
    assert done.returncode == 1
    assert done.stderr.startswith("error: nothing was restored, and the database is as it was: ")
    assert database.read_bytes() == before
    assert not list(database.parent.glob(".*")), "and nothing is left lying about"
    assert _run("doctor", *data).returncode == 0


def test_a_restore_that_is_killed_is_done_again(copied: Path, tmp_path: Path) -> None:
    data, to = ("--data", str(copied)), tmp_path / "backups"
    folder = json.loads(_run("backup", "custodian", *data, "--to", str(to), "--json").stdout)["custodian"]
    aside = copied / "custodian" / ".custodian.db.restoring"
    with subprocess.Popen([*COMMAND, "restore", folder, *data, "--over"], stderr=subprocess.DEVNULL) as restoring:
        while not aside.exists() and restoring.poll() is None:
            time.sleep(0.001)
        restoring.kill()
    assert aside.exists(), "killed before the copy got its name"
    assert aside.stat().st_mode & 0o777 == 0o600
    assert _run("doctor", *data).returncode == 0, "until then the database is as it was"
    assert _run("restore", folder, *data, "--over").returncode == 0
    assert not list(aside.parent.glob(".*"))
    assert "the door is shut" in _run("doctor", *data).stdout


def test_a_wrong_folder_is_named_and_the_right_one_hinted_at(copied: Path, tmp_path: Path) -> None:
    data, to = ("--data", str(copied)), tmp_path / "backups"
    made = json.loads(_run("backup", "custodian", *data, "--to", str(to), "--json").stdout)["custodian"]
    wrong = _run("restore", str(to), *data, "--over")
    assert wrong.returncode == 1
    assert f"name one of them, as {Path(made).name}" in wrong.stderr
    assert "name one" not in _run("restore", str(tmp_path), *data, "--over").stderr


@pytest.mark.parametrize("name", ["keys/statement.pem", "keys/log.pem", "kek/000001.kek"])
def test_a_key_that_is_missing_is_to_be_brought_back_and_not_made_anew(copied: Path, name: str) -> None:
    (copied / "custodian" / name).unlink()
    done = _run("doctor", "--data", str(copied))
    assert done.returncode == 1
    assert f"{Path(name).name} is missing" in done.stdout
    assert "bring it back from where you keep a copy" in done.stdout


def test_a_database_that_cannot_be_opened_is_no_question_of_migrations_alone(copied: Path) -> None:
    database = copied / "custodian" / "custodian.db"
    database.unlink()
    database.mkdir()
    done = _run("doctor", "--data", str(copied))
    assert done.returncode == 1
    assert "SQLITE_CANTOPEN" in done.stdout
    assert "its file cannot be opened" in done.stdout


def test_an_operator_halts_with_a_reason_and_cannot_resume(founded: Path, tmp_path: Path) -> None:
    data = ("--data", str(_copy(founded, tmp_path)))
    assert json.loads(_run("resume", *data, "--json").stdout) == {"halted": False, "halts": []}
    assert _run("halt", *data).returncode == 2
    assert _run("halt", *data, "--reason", " ").returncode == 1
    halted = json.loads(_run("halt", *data, "--reason", "a fault was found", "--json").stdout)
    assert halted["halted"]
    assert json.loads(_run("halt", *data, "--reason", "again", "--json").stdout) == halted, "halted once"
    refused = _run("resume", *data)
    assert refused.returncode == 1
    assert "a fault was found" in refused.stdout
    assert "signed so far: nobody" in refused.stdout
    assert json.loads(_run("resume", *data, "--json").stdout)["halts"][0]["halted_by"] == "the operator"


def test_a_halt_is_seen_by_the_doctor_and_a_folder_that_is_none_is_named(founded: Path, tmp_path: Path) -> None:
    founded = _copy(founded, tmp_path)
    assert "halted" not in _run("doctor", "--data", str(founded)).stdout
    assert _run("halt", "--data", str(founded), "--reason", "a fault").returncode == 0
    told = _run("doctor", "--data", str(founded))
    assert (told.returncode, "by the operator: a fault" in told.stdout) == (0, True)
    for command in (("halt", "--reason", "x"), ("resume",), ("rotate",), ("directory", "key", "log")):
        done = _run(*command, "--data", str(tmp_path / "nowhere"))
        assert done.returncode == 1
        assert "no installation in" in done.stderr and "--config" in done.stderr


def test_the_night_reports_what_it_did(founded: Path) -> None:
    done = _process("rotate", "--data", str(founded), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ran"] is True


def _copy(founded: Path, tmp_path: Path) -> Path:
    """An installation of the test's own, which it may spoil."""
    copied = tmp_path / "data"
    shutil.copytree(founded, copied)
    for file in copied.glob("*.toml"):
        file.write_text(file.read_text().replace(str(founded), str(copied)))
    return copied


def test_both_services_are_backed_up_with_one_command(founded: Path, tmp_path: Path) -> None:
    founded = _copy(founded, tmp_path)
    done = _run("backup", "--data", str(founded), "--to", str(tmp_path / "backups"), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert sorted(made) == ["collector", "custodian"]
    assert all((Path(folder) / "manifest.json").is_file() for folder in made.values())
    refused = _run("backup", "custodian", "--data", str(founded))
    assert refused.returncode == 1
    assert "--to" in refused.stderr
    for folder in made.values():
        refused = _run("restore", folder, "--data", str(founded))
        assert refused.returncode == 1
        assert "--over" in refused.stderr
        restored = _run("restore", folder, "--data", str(founded), "--over", "--json")
        assert restored.returncode == 0, restored.stderr
        assert json.loads(restored.stdout)["service"] in made
    shut = _run("rotate", "--data", str(founded), "--json")
    assert shut.returncode == 1, "no witness runs"
    assert "quorum" in json.loads(shut.stdout[shut.stdout.index("{") :])["missing"]
    assert "restored" in _run("doctor", "--data", str(founded)).stdout
    assert _run("restore", "--data", str(founded)).returncode == 2


def test_a_quorum_alone_keeps_the_witnesses_and_is_not_passed_over(founded: Path, tmp_path: Path) -> None:
    founded = _copy(founded, tmp_path)
    sign = ("directory", "sign", "--data", str(founded), "--root-key", str(founded / "custodian" / "root" / "root.key"))
    done = _run(*sign, "--quorum", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "from 1 to the number of witnesses, 1" in done.stderr
    assert "policy" in _run(*sign, "--quorum", "1").stdout


def test_a_signed_directory_has_the_next_version(founded: Path) -> None:
    root = founded / "custodian" / "root" / "root.key"
    arguments = ("directory", "sign", "--data", str(founded), "--root-key", str(root), "--json")
    done = _run(*arguments, "--collector-url", "http://127.0.0.1:9")
    assert json.loads(done.stdout) == {"version": 2, "changed": ["collector_url"]}
    foreign = founded / "foreign.pem"
    foreign.write_bytes(SigningKey.generate().to_pem())
    foreign.chmod(0o600)
    assert _run(*arguments[:4], "--root-key", str(foreign)).returncode == 1


def test_a_directory_is_signed_where_the_root_key_is_and_nothing_else(founded: Path, tmp_path: Path) -> None:
    copied, usb = _copy(founded, tmp_path), tmp_path / "usb"
    usb.mkdir(mode=0o700)
    (copied / "custodian" / "root" / "root.key").rename(usb / "root.key")
    data, root = ("--data", str(copied)), ("--root-key", str(usb / "root.key"))
    key = json.loads(_run("directory", "key", "statement", *data, "--json").stdout)["key"]
    unsigned, signed = usb / "next.json", usb / "signed.json"
    exported = _run("directory", "export", *data, "--statement-key", key, "--to", str(unsigned), "--json")
    version = json.loads(exported.stdout)["version"]
    assert _run("directory", "import", str(unsigned), *data).returncode == 1, "it is not signed"
    elsewhere = _run("directory", "sign", str(unsigned), *root, "--to", str(signed), "--json")
    assert json.loads(elsewhere.stdout)["version"] == version, elsewhere.stderr
    assert _run("directory", "sign", str(unsigned), *root).returncode == 2, "where to?"
    assert json.loads(_run("directory", "import", str(signed), *data, "--json").stdout) == {"version": version}
    again = _run("directory", "import", str(signed), *data)
    assert (again.returncode, "does not follow" in again.stderr) == (1, True)
    foreign = _run("directory", "export", *data, "--statement-key", SigningKey.generate().public.text, "--to", "x")
    assert foreign.returncode == 1
    assert json.loads(_run("doctor", *data, "--json").stdout)["ok"]


def test_migrating_twice_changes_nothing(founded: Path) -> None:
    for service in ("collector", "custodian"):
        for _ in range(2):
            done = _run("migrate", service, "--config", str(founded / f"{service}.toml"), "--json")
            assert json.loads(done.stdout) == {"service": service, "migrated": True}


def test_a_database_of_another_version_is_named_and_not_touched(founded: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(founded, data)
    for file in data.glob("*.toml"):
        file.write_text(file.read_text().replace(str(founded), str(data)))
    with closing(sqlite3.connect(data / "custodian" / "custodian.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
    for command in (("rotate",), ("halt", "--reason", "a fault")):
        done = _run(*command, "--data", str(data))
        assert done.returncode == 1
        assert "run `assent-server migrate custodian`" in done.stderr


@pytest.mark.parametrize("service", ["collector", "custodian"])
def test_the_description_names_everything_it_refers_to(service: str) -> None:
    done = _run("openapi", service)
    document = json.loads(done.stdout)
    schemas = document["components"]["schemas"]
    wanted = {part.split('"')[0] for part in done.stdout.split("#/components/schemas/")[1:]}
    assert wanted <= set(schemas)
    for path in document["paths"].values():
        for operation in path.values():
            assert {"200", "400", "500"} <= set(operation["responses"]), "what it answers, and how it fails, by status"


def test_build_says_what_the_log_will_say() -> None:
    assert json.loads(_run("build", "--json").stdout) == {"build": build_hash()}


def test_the_description_of_the_collector_knows_no_person() -> None:
    words = json.dumps(openapi()).lower()
    assert "stream" in words
    assert not [word for word in ("person", "account", "user", "device", "employee") if word in words]


def test_the_roles_are_a_table() -> None:
    rows = json.loads(_run("roles", "--json").stdout)
    exceptions = {"drill", "while_behind", "when_revoked", "while_waiting"}
    assert {"permission", "who", "credentials", "routes", *exceptions} == set(rows[0])
    drill = {row["permission"]: row["drill"] for row in rows if row["drill"]}
    assert drill["approve, refuse or revoke requests"] == ["steward"]
    assert "halt the programme" not in drill
    text = _run("roles").stdout
    assert all(row["permission"] in text for row in rows)


def test_a_service_without_its_configuration_says_what_is_missing(tmp_path: Path) -> None:
    done = _run("collector", ASSENT_COLLECTOR_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "root_fingerprint" in done.stderr
    assert "custodian_url" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_cannot_be_used_is_said_in_a_sentence(founded: Path) -> None:
    config = ("--config", str(founded / "collector.toml"))
    url = "postgresql+psycopg://collector:secret@127.0.0.1:1/collector"
    for command in (("migrate", "collector", *config), ("collector", *config)):
        done = _process(*command, ASSENT_COLLECTOR_DATABASE_URL=url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "error: the database cannot be used (OperationalError)\n"


def test_the_collectors_process_imports_nothing_of_the_custodian() -> None:
    program = "import sys, assent_server.run_collector; print([m for m in sys.modules if 'custodian' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['assent_collector.custodian']\n"  # its client of the custodian


def test_keys_are_made_where_they_are_used_and_only_the_public_half_is_printed(tmp_path: Path) -> None:
    collector = {
        "ASSENT_ROOT_FINGERPRINT": "0" * 64,
        "ASSENT_COLLECTOR_CUSTODIAN_URL": "http://127.0.0.1:1",
        "ASSENT_COLLECTOR_DATA_DIR": str(tmp_path / "collector"),
    }
    first = _run("collector", "--key", **collector).stdout
    assert first.startswith("ed25519:")
    assert _run("collector", "--key", **collector).stdout == first
    witness = {
        "ASSENT_WITNESS_NAME": "witness.test/one",
        "ASSENT_WITNESS_KEY_PATH": str(tmp_path / "witness" / "witness.pem"),
        "ASSENT_WITNESS_STATE_DIR": str(tmp_path / "witness" / "state"),
    }
    vkey = _run("witness", "--key", **witness).stdout
    assert vkey.startswith("witness.test/one+")
    for key in (tmp_path / "collector" / "collector.pem", tmp_path / "witness" / "witness.pem"):
        assert key.stat().st_mode & 0o777 == 0o600
    custodian = {"ASSENT_CUSTODIAN_DATA_DIR": str(tmp_path / "custodian")}
    urls = ("--custodian-url", "http://custodian.test", "--collector-url", "http://collector.test")
    entry = f"http://witness.test={vkey.strip()}"
    company = ("init", "--collector-key", first.strip(), "--witness", entry, *urls, "--json")
    refused = _run(*company, **custodian)
    assert refused.returncode == 1
    assert "works agreement" in refused.stderr
    founded = _run(*company, "--agreement", "WA-7", "--dpia", "DPIA-3", **custodian)
    assert founded.returncode == 0, founded.stderr
    assert _run("doctor", "--custodian-config", os.devnull, **custodian).returncode == 0


def test_a_taken_port_is_said_in_a_sentence(founded: Path) -> None:
    config = founded / "custodian.toml"
    port = int(config.read_text().split("port = ")[1].split()[0])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = _process("custodian", "--config", str(config))
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_passwords_of_databases_are_not_shown() -> None:
    shown = redacted({"database_url": "postgresql+psycopg://collector:secret@db/collector", "port": 1})
    assert "secret" not in json.dumps(shown)
    assert "collector:***@db" in shown["database_url"]


def test_the_compose_file_keeps_the_parties_apart() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    assert set(services) == {"collector-db", "collector", "custodian-db", "custodian", "witness"}
    for one, other in (("collector", "custodian-db"), ("custodian", "collector-db"), ("witness", "custodian-db")):
        assert not set(services[one]["networks"]) & set(services[other]["networks"])
    volumes = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert len(volumes) == len(set(volumes))
    assert set(volumes) == set(compose["volumes"])
    passwords = [service["environment"].get("POSTGRES_PASSWORD", "") for service in services.values()]
    assert all(":?" in password for password in passwords if password)  # no default
