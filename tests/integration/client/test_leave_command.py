"""`assent me leave` and `assent people end-account` at the terminal."""

from __future__ import annotations

from tests.exposure.world import Populated
from tests.integration.client.conftest import Terminal

from assent.contracts.statements import Role


def test_somebody_leaves_and_is_a_stranger_afterwards(terminal: Terminal, populated: Populated) -> None:
    somebody = populated.world.add_person("Lena Leaver")
    name = terminal.is_("lena", somebody)
    assert terminal.ok(name, "whoami", "--json").json["name"] == "Lena Leaver"
    said = terminal.ok(name, "me", "leave", "--yes").out
    assert "forgotten" in said
    gone = terminal.run(name, "whoami")
    assert gone.code == 1 and "enrolled" in gone.err


def test_the_dpo_ends_an_account_once_its_role_is_revoked(terminal: Terminal, populated: Populated) -> None:
    dpo, admin = terminal.is_("dpo", populated.world.dpo), terminal.is_("admin", populated.world.admin)
    leaver, steward = populated.world.add_person("Left Person"), populated.world.add_person("In Role", Role.STEWARD)
    refused = terminal.run(dpo, "people", "end-account", "In Role", "--yes")
    assert refused.code == 1 and "steward" in refused.err
    assert terminal.run(admin, "people", "end-account", leaver.person, "--yes").code == 1
    assert terminal.ok(dpo, "people", "end-account", "Left Person", "--yes", "--json").json["leaving"]
    assert leaver.get("/v1/me").status_code == 401
    assert steward.get("/v1/me").status_code == 200
