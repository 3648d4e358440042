"""`assent-server` with the KEK in a PKCS#11 token (SoftHSM 2): founding, faults in a sentence, and moving there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.simulators.softhsm import SoftToken, hsm, token

__all__ = ["hsm", "token"]

FOUNDING = (
    *("--agreement", "WA-7", "--dpia", "DPIA-3", "--custodian-url", "http://keys.test"),
    *("--collector-url", "http://store.test", "--custody-level", "2", "--json"),
)


@dataclass(frozen=True)
class Operator:
    """Types commands in processes of their own, on one custodian's host."""

    folder: Path
    environment: dict[str, str]

    def types(self, *words: str, code: int = 0, **environment: str) -> str:
        """What it printed. Fails the test when it ends otherwise."""
        done = subprocess.run(
            [sys.executable, "-m", "assent_server", *words],
            env={**os.environ, **self.environment, **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 or done.stdout else done.stderr

    def founds(self, **environment: str) -> str:
        made = {
            "ASSENT_COLLECTOR_CUSTODIAN_URL": "http://keys.test",
            "ASSENT_COLLECTOR_DATA_DIR": str(self.folder / "collector"),
        }
        collector = self.types("collector", "--key", **made).strip()
        witnesses: list[str] = []
        for name in ("one", "two"):
            place = {
                "ASSENT_WITNESS_KEY_PATH": str(self.folder / name / "witness.pem"),
                "ASSENT_WITNESS_STATE_DIR": str(self.folder / name / "state"),
                "ASSENT_WITNESS_NAME": f"witness.test/{name}",
            }
            witnesses += ["--witness", f"http://{name}.test={self.types('witness', '--key', **place).strip()}"]
        return self.types("init", "--collector-key", collector, *witnesses, *FOUNDING, **environment)

    def finds(self, code: int = 0, **environment: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(
            self.types("doctor", "--custodian-config", os.devnull, "--json", code=code, **environment)
        )
        return found


def named(token: SoftToken) -> dict[str, str]:
    return {f"ASSENT_CUSTODIAN_{name.upper()}": str(value) for name, value in token.settings.items()}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path, {"ASSENT_CUSTODIAN_DATA_DIR": str(tmp_path / "custodian")})


def test_an_installation_is_founded_in_a_token_and_the_doctor_says_level_two(
    operator: Operator, token: SoftToken
) -> None:
    report = json.loads(operator.founds(**named(token)))
    assert report["custody_level"] == 2
    found = operator.finds(**named(token))
    assert (found["custody_level"], found["faults"]) == (2, [])
    assert "ask the token" in str(found["custody_sentence"])
    assert not list((operator.folder / "custodian").rglob("*.kek"))
    assert token.pin_file.read_text().strip() not in json.dumps(found)


def test_each_fault_of_a_token_is_said_in_a_sentence_and_ends_with_one(operator: Operator, token: SoftToken) -> None:
    operator.founds(**named(token))
    right = token.pin_file.read_text()
    elsewhere = operator.folder / "elsewhere"
    for change, says in (
        ({"ASSENT_CUSTODIAN_PKCS11_TOKEN": "another"}, "the token another cannot be used"),
        ({"ASSENT_CUSTODIAN_PKCS11_MODULE": str(elsewhere)}, "cannot be loaded"),
        ({"ASSENT_CUSTODIAN_PKCS11_PIN_FILE": str(elsewhere)}, "is missing"),
        ({"ASSENT_CUSTODIAN_PKCS11_TOKEN": ""}, "all three"),
    ):
        found = operator.finds(code=1, **{**named(token), **change})
        assert says in str(found["faults"]), found["faults"]
    token.pin_file.write_text("00000000")
    assert "refuses the PIN" in str(operator.finds(code=1, **named(token))["faults"])
    token.pin_file.write_text(right)
    token.pin_file.chmod(0o644)
    assert "0600" in str(operator.finds(code=1, **named(token))["faults"])
    token.pin_file.chmod(0o600)
    assert operator.finds(**named(token))["faults"] == []


def test_founding_without_a_usable_token_says_why_and_leaves_nothing(operator: Operator, token: SoftToken) -> None:
    with pytest.raises(AssertionError, match="cannot be used"):
        operator.founds(**{**named(token), "ASSENT_CUSTODIAN_PKCS11_TOKEN": "another"})
    assert not (operator.folder / "custodian").exists()


def test_a_founded_installation_moves_with_rotate_and_an_unreachable_token_changes_nothing(
    operator: Operator, token: SoftToken
) -> None:
    operator.founds()
    kek = operator.folder / "custodian" / "kek" / "000001.kek"
    assert operator.finds()["custody_level"] == 0
    missing = {**named(token), "ASSENT_CUSTODIAN_PKCS11_TOKEN": "another"}
    assert "cannot be used" in operator.types("rotate", "--json", code=1, **missing)
    assert kek.exists()
    night = json.loads(operator.types("rotate", "--json", **named(token)))
    assert night["generations_destroyed"] == [1]
    assert not kek.exists()
    assert operator.finds(**named(token))["custody_level"] == 2
