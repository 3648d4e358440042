"""Row 30: a component that is exchanged. What the lock does not name is not installed, and no exchange is silent."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.simulators.custodian import custodian_world

from assent.contracts.leaves import Leaf, LeafType
from assent.reader.log_rules import LogRules
from assent_custodian import ceremony
from assent_custodian.builds import build_hash
from assent_custodian.log.models import LogEntry

ROOT = Path(__file__).parents[2]
DEPENDENCY = "annotated-doc"
EVIL = b"\nimport os  # and what somebody wants\n"


def wheel(folder: Path, *, changed: bool) -> Path:
    """The dependency as it is installed here, packed again; `changed` by one line, with file hashes that say so."""
    distribution = metadata.distribution(DEPENDENCY)
    stem = f"{distribution.name.replace('-', '_')}-{distribution.version}"
    contents: dict[str, bytes] = {}
    for path in distribution.files or []:
        if ".." not in path.parts and path.suffix != ".pyc" and path.name not in ("RECORD", "INSTALLER", "REQUESTED"):
            extra = EVIL if changed and path.name == "__init__.py" else b""
            contents[path.as_posix()] = path.read_binary() + extra
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow((name, f"sha256={digest}", len(data)))
    rows.writerow((f"{stem}.dist-info/RECORD", "", ""))
    contents[f"{stem}.dist-info/RECORD"] = record.getvalue().encode()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in contents.items():
            packed.writestr(name, data)
    return file


def install(*arguments: str | Path, into: Path) -> subprocess.CompletedProcess[str]:
    """As `make setup` installs, but into a folder, and from no registry."""
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-cache-dir", "--target", str(into)]
    return subprocess.run([*pip, *map(str, arguments)], capture_output=True, text=True, check=False)


def build_with(first: Path) -> str:
    """The hash that a custodian would write down where this folder comes first on the path."""
    command = [sys.executable, "-c", "from assent_custodian.builds import build_hash; print(build_hash())"]
    env = {**os.environ, "PYTHONPATH": str(first), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_row_30_a_dependency_that_was_exchanged_makes_another_build(tmp_path: Path) -> None:
    for name, changed in (("same", False), ("evil", True)):
        installed = install(wheel(tmp_path / "wheels" / name, changed=changed), into=tmp_path / name)
        assert installed.returncode == 0, installed.stderr
    assert build_with(tmp_path / "same") == build_hash(), "the positive control: the same one elsewhere"
    assert build_with(tmp_path / "evil") != build_hash()


def test_row_30_a_file_of_assent_that_was_exchanged_makes_another_build(tmp_path: Path) -> None:
    package = Path(ceremony.__file__).parent
    for name in ("same", "evil"):
        shutil.copytree(package, tmp_path / name / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "evil" / package.name / "leases" / "service.py").open("ab") as file:
        file.write(EVIL)
    assert build_with(tmp_path / "same") == build_hash()
    assert build_with(tmp_path / "evil") != build_hash()


def test_row_30_a_build_that_was_exchanged_stands_in_the_log_and_the_monitor_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with custodian_world(tmp_path) as world:
        rules = LogRules()

        def started() -> list[str]:
            ceremony.record_boot(world.custodian)
            newest = select(LogEntry.leaf).where(LogEntry.type == LeafType.BOOT).order_by(LogEntry.index.desc())
            with world.custodian.database.reading() as session:
                written = session.scalars(newest).first()
            assert written is not None
            assert Leaf.model_validate_json(written).detail == {"build": ceremony.build_hash()}
            return [finding.kind for finding in rules.read(written).news]

        assert started() == []
        assert started() == [], "the same one, started again"
        monkeypatch.setattr(ceremony, "build_hash", lambda: "0" * 64)
        assert started() == ["boot"]


def test_row_30_the_lock_installs_nothing_but_what_it_names(tmp_path: Path) -> None:
    good, evil = wheel(tmp_path / "good", changed=False), wheel(tmp_path / "evil", changed=True)
    version = metadata.version(DEPENDENCY)
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"{DEPENDENCY}=={version} --hash=sha256:{hashlib.sha256(good.read_bytes()).hexdigest()}\n")
    for file, installs in ((good, True), (evil, False)):
        target = tmp_path / f"from-{file.parent.name}"
        done = install("--require-hashes", "--find-links", file.parent, "-r", lock, into=target)
        assert (done.returncode == 0) is installs, done.stderr
        assert target.exists() is installs
        assert installs or "DO NOT MATCH THE HASHES" in done.stderr


def test_row_30_everything_is_named_by_hash_and_installed_so() -> None:
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    pinned = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]
    by_hash = re.compile(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}")
    assert len(pinned) > 50
    assert [line for line in pinned if not by_hash.match(line)] == []
    for file in (ROOT / "Makefile", ROOT / "server" / "Dockerfile"):
        (line,) = re.findall(r"pip install.*-r requirements\.lock", file.read_text())
        assert "--require-hashes" in line, file.name
