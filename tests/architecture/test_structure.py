"""The walls: who may import whom, strict types, lint, what an installation brings, and what a commit must not name."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from assent.contracts.leaves import LeafType

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def _passes(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_nobody_imports_what_they_must_not() -> None:
    _passes(str(BIN / "lint-imports"))


def test_the_types_are_strict() -> None:
    _passes(str(BIN / "mypy"))


def test_the_code_is_linted_and_formatted() -> None:
    _passes(str(BIN / "ruff"), "check", ".")
    _passes(str(BIN / "ruff"), "format", "--check", ".")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three distributions, built as a release would be."""
    out = tmp_path_factory.mktemp("wheels")
    for folder in ("shared", "agent", "server"):
        _passes(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT / folder))
    return {wheel.name.split("-")[0]: wheel for wheel in out.glob("*.whl")}


def _packages(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as content:
        tops = {name.split("/")[0] for name in content.namelist()}
    return {top for top in tops if not top.endswith(".dist-info")}


def test_an_agent_install_brings_the_shared_package_and_the_agent_only(wheels: dict[str, Path]) -> None:
    assert _packages(wheels["assent"]) == {"assent"}
    assert _packages(wheels["assent_agent"]) == {"assent_agent"}
    with zipfile.ZipFile(wheels["assent_agent"]) as content:
        metadata = content.read(next(n for n in content.namelist() if n.endswith("METADATA"))).decode()
    ours = re.findall(r"^Requires-Dist: (assent[\w-]*)", metadata, re.MULTILINE)
    assert ours == ["assent"]


def test_a_server_install_brings_its_migrations(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["assent_server"]) as content:
        names = content.namelist()
    for service in ("collector", "custodian"):
        assert any(re.fullmatch(rf"assent_migrations/{service}/versions/\w+\.py", name) for name in names)
        assert f"assent_migrations/{service}/env.py" in names


def test_every_kind_of_entry_of_the_log_is_written_by_the_custodian() -> None:
    written = {
        kind
        for path in (ROOT / "server" / "src" / "assent_custodian").rglob("*.py")
        for kind in re.findall(r"\bLeafType\.(\w+)", path.read_text())
    }
    assert {kind.name for kind in LeafType} - written == set()


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


# Written in two halves, so that this file does not name them either.
FORBIDDEN = re.compile(
    "|".join(["/" + "work/", "/" + "root/", "/" + r"home/\w", "/" + "opt/", r"pypi\." + "org", "registry" + r"\.npm"])
)


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    checked = 0
    for path in _tracked():
        if path.is_symlink() or path.suffix in {".png", ".npy"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found = FORBIDDEN.search(text)
        assert found is None, f"{path.relative_to(ROOT)} names {found.group(0) if found else ''}"
        checked += 1
    assert checked > 50


def test_the_search_would_find_a_machines_path() -> None:
    """Positive control of the test above."""
    assert FORBIDDEN.search("see /" + "root/assent")


def test_the_top_level_is_the_agreed_one() -> None:
    tops = {path.relative_to(ROOT).parts[0] for path in _tracked()}
    agreed = {
        "agent", "server", "shared", "migrations", "tests", "docs", "pyproject.toml", "README.md", "docker-compose.yml",
        "Makefile", "requirements.lock", "LICENSE",
    }  # fmt: skip
    assert {top for top in tops if not top.startswith(".")} <= agreed
