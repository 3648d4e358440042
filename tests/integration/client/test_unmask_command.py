"""`assent audit unmask` at the terminal: the auditor asks, the data-protection officer agrees, the person reads it."""

from __future__ import annotations

from tests.exposure.world import Populated
from tests.integration.client.conftest import Terminal

from assent.contracts.leaves import LeafType
from assent_custodian.log import witnesses

REASON = "recordings were opened in the night"


def test_an_auditor_asks_the_dpo_agrees_and_the_requester_is_told(terminal: Terminal, populated: Populated) -> None:
    world = populated.world
    auditor, dpo = terminal.is_("auditor", populated.staff.auditor), terminal.is_("dpo", world.dpo)
    requester = terminal.is_("requester", populated.staff.requester)
    entries = terminal.ok(auditor, "audit", "list", "--start", "0", "--count", "500", "--json").json["entries"]
    entry = next(one for one in entries if one["type"] == LeafType.LEASE_OPENED.value and one["mode"] == "reader")
    asked = terminal.ok(auditor, "audit", "unmask", str(entry["index"]), "--reason", REASON, "--yes", "--json").json
    unmasking = asked["unmasking"]
    assert REASON in terminal.ok(dpo, "audit", "unmask").out, "the dpo sees why"
    refused = terminal.run(auditor, "audit", "unmask", "--show", unmasking[:12])
    assert refused.code == 1 and "has not signed" in refused.err
    agreed = terminal.ok(dpo, "audit", "unmask", "--countersign", unmasking[:12], "--yes")
    assert "signed" in agreed.out and REASON in agreed.err
    witnesses.submit_head(world.custodian)
    found = terminal.ok(auditor, "audit", "unmask", "--show", unmasking[:12], "--json").json
    assert (found["name"], found["actor"]) == (populated.staff.requester.name, entry["actor"])
    assert populated.staff.requester.name in terminal.ok(auditor, "audit", "unmask", "--show", unmasking[:12]).out
    for command in (("whoami",), ("me", "accesses")):
        told = " ".join(terminal.ok(requester, *command).out.split())
        assert REASON in told and populated.staff.auditor.name in told, command
    assert terminal.ok(auditor, "audit", "verify").code == 0


def test_what_cannot_be_is_said(terminal: Terminal, populated: Populated) -> None:
    auditor, dpo = terminal.is_("auditor", populated.staff.auditor), terminal.is_("dpo", populated.world.dpo)
    for arguments in (("3",), ("--reason", "x"), ("3", "--show", "ab" * 32), ("3", "--reason", "x" * 501)):
        assert terminal.run(auditor, "audit", "unmask", *arguments).code == 2, arguments
    for arguments, said in (
        (("1000000", "--reason", "x", "--yes"), "no entry 1000000"),
        (("--show", "ab" * 32), "begins like that"),
    ):
        ran = terminal.run(auditor, "audit", "unmask", *arguments)
        assert ran.code == 1 and said in ran.err, (arguments, ran.err)
    assert terminal.run(dpo, "audit", "unmask", "3", "--reason", "x", "--yes").code == 1, "the dpo does not ask"
