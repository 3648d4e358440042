"""The documents promise what the tests try, and nothing else; and they use no word that says more than is true."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THREATS = (ROOT / "docs" / "threat-model.md").read_text()
PROMISE = (
    "No account, role, database, bucket or backup of the server can reveal a recording. "
    "It opens only for a purpose its author agreed to, only after named people signed, "
    "only after an independent witness recorded it, and its author is told each time."
)
NOT_CLAIMED = re.compile(
    r"end[- ]to[- ]end|zero[- ]knowledge|\banonym(?:ous|ously|ity|ised|ized)\b|deleted instantly|instantly deleted"
    r"|\bunbreakable\b|\b100 ?% (?:safe|secure)\b|military[- ]grade",
    re.IGNORECASE,
)
ROWS = range(1, 34)


@dataclass(frozen=True)
class Written:
    """A test of this folder. `calls`: the functions that it calls by their plain names."""

    file: str
    source: str
    calls: frozenset[str]


@cache
def written_tests() -> dict[str, Written]:
    """Every test of this folder by name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                called = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
                calls = frozenset(function.id for function in called if isinstance(function, ast.Name))
                found[node.name] = Written(path.name, "\n".join(lines[node.lineno - 1 : node.end_lineno]), calls)
    return found


def named_tests() -> dict[str, str]:
    """Every test of a row: its name and its file."""
    return {name: test.file for name, test in written_tests().items() if name.startswith("test_row_")}


def surfaces() -> list[tuple[str, str, str]]:
    """The table of the canary method: surface, the test that searches it, and the positive control."""
    return re.findall(r"^\| ([^|]+) \| `(test_\w+)` \| `(test_\w+)` \|$", THREATS, flags=re.MULTILINE)


def rows() -> dict[int, str]:
    """The paragraphs of the threat model by number."""
    parts = re.split(r"^\*\*(\d+)\. ", THREATS, flags=re.MULTILINE)
    return {int(number): " ".join(text.split()) for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def shipped_text() -> list[Path]:
    """README, documents, and every source file whose words people may be shown."""
    sources = [path for top in ("shared", "agent", "server") for path in (ROOT / top / "src").rglob("*.py")]
    pages = [path for top in ("agent", "server") for path in (ROOT / top / "src").rglob("*.html")]
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(sources), *sorted(pages)]


def test_every_row_is_in_the_threat_model() -> None:
    assert sorted(rows()) == list(ROWS)


@pytest.mark.parametrize("number", ROWS)
def test_each_row_names_a_test_that_exists_or_says_that_there_is_none_yet(number: int) -> None:
    text = rows()[number]
    named = re.search(r"Tested by `(test_\w+\.py)`, `(test_row_(\d\d)_\w+)`", text)
    of_this_row = {name for name in named_tests() if name.startswith(f"test_row_{number:02}_")}
    if named is None:
        assert "Not tested in this version." in text
        assert not of_this_row, "there are tests: say so"
        return
    assert "Not tested in this version." not in text
    file, name, row = named.groups()
    assert named_tests().get(name) == file
    assert int(row) == number


def test_every_test_of_a_row_has_its_row_in_the_threat_model() -> None:
    for name in named_tests():
        assert int(name.split("_")[2]) in rows()


def test_each_row_that_is_tested_has_a_positive_control() -> None:
    """A test that something is impossible shows that it would notice: the same, done as it should be, succeeds."""
    without = set(ROWS) - {
        int(name.split("_")[2])
        for name, test in written_tests().items()
        if name.startswith("test_row_") and re.search(r"(positive|the)[ _]control", test.source)
    }
    assert {number for number in without if "Not tested in this version." not in rows()[number]} == set()


def test_each_surface_is_searched_for_the_canary_and_has_a_positive_control() -> None:
    tests = written_tests()
    assert len(surfaces()) >= 10
    for surface, searched, control in surfaces():
        assert "must_not_leak" in tests[searched].calls, surface
        assert "search" in tests[control].calls, surface
        assert re.search(r"assert (search\(|hits|any\(|\{hit)", tests[control].source), f"{surface}: and it is found"


def test_no_test_searches_a_surface_that_the_page_does_not_name() -> None:
    searching = {name for name, test in written_tests().items() if "must_not_leak" in test.calls}
    about_the_search = {name for name in searching if written_tests()[name].file == "test_canary.py"}
    assert searching - about_the_search == {searched for _, searched, _ in surfaces()}


def test_a_test_name_stands_for_one_test() -> None:
    names = [
        node.name
        for path in Path(__file__).parent.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_row_")
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("document", ["README.md", "docs/threat-model.md", "docs/privacy.md"])
def test_the_promise_stands_word_for_word_and_beside_its_condition(document: str) -> None:
    text = " ".join((ROOT / document).read_text().replace("> ", "").split())
    assert PROMISE in text
    before = text[max(0, text.index(PROMISE) - 400) : text.index(PROMISE)]
    assert re.search(r"level 1", before), "it holds from custody level 1 on, and that is said before it"


def test_no_word_claims_more_than_is_true() -> None:
    for path in shipped_text():
        text = path.read_text()
        if path.name == "threat-model.md":
            text = text.partition("## Words that we do not use")[0]
        for found in NOT_CLAIMED.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            pytest.fail(f"{path.relative_to(ROOT)}:{line} says {found.group()!r}")


def test_positive_control_the_search_for_such_words_finds_them() -> None:
    for word in ("End-to-end encrypted", "zero knowledge", "your anonymous data", "deleted instantly everywhere"):
        assert NOT_CLAIMED.search(word)
    assert not NOT_CLAIMED.search("under pseudonyms, from one end of the day to the other")


def test_the_threat_model_says_the_unflattering_parts() -> None:
    text = " ".join(THREATS.replace("*", "").split())
    for fact in (
        "root on that host can open every recording without a trace",
        "ctime",
        "when its person works, can be read from traffic",
        "determined copier in reader mode",
        "come from one address one after the other, which links them",
        "A trained model cannot unlearn",
        "The custodian is trusted for what is alive",
        "Nobody can prove that a recording is true",
    ):
        assert fact in text, fact


def test_the_privacy_page_is_short_and_says_what_people_can_do() -> None:
    text = (ROOT / "docs" / "privacy.md").read_text()
    assert len(text.split()) < 1300
    for word in ("Refuse", "Pause", "forget", "Withdraw", "See", "Erase", "Follow", "Open", "take", "keep", "Complain"):
        assert f"**{word}**" in text
