"""Results and modes of files, without a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from assent_collector.settings import CollectorSettings
from assent_custodian.settings import Settings
from assent_server.drill.results import Results
from assent_server.drill.surfaces import Surface, look, of_collector, of_custodian


def test_what_is_wrong_is_named_and_counted_by_part() -> None:
    results = Results()
    results.begin("one")
    assert results.expect("a.b", True, "not said")
    results.begin("two")
    assert not results.expect("c.d", False, "somebody could")
    results.expect("c.d", False, "somebody else could")
    assert (results.tried, results.passed, results.failed) == (3, False, ("c.d",))
    text = results.as_text()
    assert "WRONG c.d: somebody could" in text
    assert "not said" not in text
    assert results.as_dict()["parts"] == {"one": 1, "two": 2}
    assert len(results.as_dict()["wrong"]) == 2


def test_no_more_rules_are_named_than_a_statement_takes() -> None:
    results = Results()
    for number in range(100):
        results.expect(f"rule-{number}", False, "x")
    assert len(results.failed) == 64
    assert len(results.wrong) == 100


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602, 0o610])
def test_a_file_that_others_could_use_is_named(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "database"
    file.write_bytes(b"x")
    for allowed, chosen in ((True, 0o600), (True, 0o400), (False, mode)):
        file.chmod(chosen)
        results = Results()
        look([Surface("surface.database", file, "rows")], results)
        assert results.passed is allowed
    assert f"mode {mode:04o}" in results.wrong[0].text


def test_a_folder_is_looked_into_only_where_that_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "key").write_bytes(b"x")
    (tmp_path / "key").chmod(0o644)
    for deep in (False, True):
        results = Results()
        look([Surface("surface.keys", tmp_path, "keys", deep)], results)
        assert results.passed is not deep


def test_what_is_not_there_is_no_outcome(tmp_path: Path) -> None:
    results = Results()
    look([Surface("surface.keys", tmp_path / "nothing", "keys")], results)
    assert results.tried == 0


def test_databases_of_a_server_have_no_file_here(tmp_path: Path) -> None:
    for url, files in (("", 4), ("postgresql+psycopg://somewhere/x", 0)):
        custodian = Settings(data_dir=tmp_path, database_url=url)
        collector = CollectorSettings(
            root_fingerprint="0" * 64, custodian_url="http://x", data_dir=tmp_path, database_url=url
        )
        found = [*of_custodian(custodian), *of_collector(collector)]
        assert len([one for one in found if one.rule.endswith("-database")]) == 2 * files
