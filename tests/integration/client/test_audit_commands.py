"""What auditors are told: lists, one entry with its proof, whole requests, reports, and events for other systems; from
the custodian, who writes the look down, or from a copy, about which nobody hears."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.exposure.world import Answer, Ask, Populated
from tests.integration.client.conftest import Terminal
from tests.simulators.custodian import PURPOSE
from tests.unit.reader.ocsf_schema import faults
from tests.unit.reader.test_auditing import PROPER, files_of, saved
from tests.unit.reader.world import World

from assent.cli.output import CONTRADICTED
from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import LeaseRequest
from assent.contracts.times import moment
from assent.reader.log_copies import KEEP_AND_TELL
from assent.reader.monitoring import ADVICE
from assent.sealing.hpke import HybridPrivateKey
from assent_custodian.log import service as log_service
from assent_custodian.log.witnesses import sign_head, submit_head
from assent_custodian.night import run_night
from assent_custodian.notifications.models import NotificationRow


@pytest.fixture
def auditor(terminal: Terminal, populated: Populated) -> str:
    return terminal.is_("auditor", populated.staff.auditor)


@pytest.fixture
def used(terminal: Terminal, populated: Populated) -> Populated:
    """Somebody has read, was refused, and looked at their own recordings; a night has passed over it once."""
    requester = terminal.is_("requester", populated.staff.requester)
    if not hasattr(populated.installation, "used_before"):
        terminal.ok(requester, "data", "pull", populated.request, "--summary")
        assert terminal.run(requester, "data", "pull", "00" * 32, "--summary").code == 1
        person = terminal.is_("person", populated.people[0])
        terminal.ok(person, "me", "recordings")
        run_night(populated.world.custodian)
        populated.installation.used_before = True  # type: ignore[attr-defined]
    submit_head(populated.world.custodian)  # as the background does twice a minute
    return populated


@pytest.fixture
def copy(terminal: Terminal, auditor: str, used: Populated, tmp_path: Path) -> str:
    folder = tmp_path / "copy"
    terminal.ok(auditor, "audit", "export", str(folder))
    return str(folder)


def entries(terminal: Terminal, auditor: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = terminal.ok(auditor, "audit", "list", *arguments, "--json").json["entries"]
    return found


def size(populated: Populated) -> int:
    """Entries in the custodian's database, without a look."""
    world = populated.world
    with world.custodian.database.reading() as session:
        return log_service.size(session)


def stored(populated: Populated) -> list[bytes]:
    """The entries themselves, without a look."""
    with populated.world.custodian.database.reading() as session:
        return [data for _, data in log_service.entries(session, 0, log_service.size(session))]


# --- list -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("used")
def test_the_log_is_listed_in_plain_words_with_its_witnesses(terminal: Terminal, auditor: str) -> None:
    text = terminal.ok(auditor, "audit", "list", "--count", "500", "--tz", "UTC").out
    assert "lease.opened" in text
    assert "everyone whose recordings it names is told" in text
    assert "Compared with the head of" in text
    assert "ok  " in text
    listed = terminal.ok(auditor, "audit", "list", "--count", "3", "--json").json
    assert [entry["index"] for entry in listed["entries"]] == list(range(listed["size"] - 3, listed["size"]))
    assert set(listed["entries"][0]) >= {"index", "time", "text", "hash", "type", "at", "actor_name"}
    assert all(listed["witnessed"].values())


def test_filters_find_what_they_name_and_nothing_else(terminal: Terminal, auditor: str, used: Populated) -> None:
    everything = entries(terminal, auditor, "--count", "5000")
    opened = [entry for entry in everything if entry["type"] == "lease.opened" and entry["mode"] != "own"]
    last = opened[-1]

    def found(*arguments: str) -> set[int]:
        return {entry["index"] for entry in entries(terminal, auditor, "--count", "5000", *arguments)}

    def expected(**wanted: object) -> set[int]:
        return {one["index"] for one in everything if all(one.get(name) == value for name, value in wanted.items())}

    assert found("--kind", "lease.opened") == expected(type="lease.opened")
    leases = {kind: expected(type=f"lease.{kind}") for kind in ("opened", "closed", "refused")}
    assert found("--kind", "lease") == set().union(*leases.values())
    assert found("--decision", "refused") == expected(decision="refused")
    assert leases["refused"] <= found("--decision", "refused")
    assert found("--actor", last["actor"][:10]) == expected(actor=last["actor"])
    of_lease = {one["index"] for one in everything if one.get("subject") == last["subject"]}
    assert found("--lease", last["subject"]) == of_lease
    assert found("--job", last["keys"][0][:12]) == of_lease
    assert len(of_lease) == 2
    of_request = expected(request=used.request)
    assert found("--request", used.request[:8]) == of_request
    assert len(of_request) >= 6
    assert found("--purpose", PURPOSE, "--kind", "lease.closed") == expected(request=used.request, type="lease.closed")
    assert found("--modality", "screen", "--kind", "grant") == expected(request=used.request, type="grant.approved")
    assert found("--role", "auditor") >= expected(type="audit.viewed")
    by_stewards = found("--role", "steward")
    assert expected(type="grant.approved") <= by_stewards
    assert not expected(type="lease.opened") & by_stewards


def test_a_lease_request_that_was_sent_again_is_found(terminal: Terminal, auditor: str, used: Populated) -> None:
    world = used.world
    wish = LeaseRequest(
        request="00" * 32, job_signing_key=SigningKey.generate().public.text,
        job_receiving_key=HybridPrivateKey.generate().public_key.to_text(), nonce=new_id(), at=world.now,
        until=moment(world.clock() + timedelta(hours=1)),
    )  # fmt: skip
    copy = sign(wish, used.staff.requester.opening).to_json()
    for _ in range(3):
        assert world.post("/v1/leases", copy).status_code in (401, 404)
    submit_head(world.custodian)
    (signed, *_) = entries(terminal, auditor, "--kind", "request.signed", "--request", used.request)
    found = entries(terminal, auditor, "--kind", "lease.refused", "--actor", signed["actor"], "--count", "5000")
    (replayed,) = [one for one in found if one["rule"] == "replayed"]
    assert (replayed["request"], replayed["actor"]) == ("00" * 32, signed["actor"])
    assert replayed["text"].startswith("A lease or release of request 00000000 was refused to ")


def test_times_are_read_and_shown_where_somebody_is(terminal: Terminal, auditor: str, used: Populated) -> None:
    (first, *_) = entries(terminal, auditor, "--start", "0", "--count", "1", "--tz", "Asia/Kathmandu")
    assert first["time"].endswith("+05:45")
    assert datetime.fromisoformat(first["time"]) == datetime.fromisoformat(first["at"])
    now = used.world.clock()
    for since, some in ((now - timedelta(days=1), True), (now + timedelta(hours=1), False)):
        for text in (since.isoformat(), since.astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")):
            assert bool(entries(terminal, auditor, "--from", text, "--kind", "lease")) is some
    day = now.strftime("%Y-%m-%d")
    assert entries(terminal, auditor, "--from", day, "--to", day, "--tz", "UTC", "--kind", "lease")
    assert not entries(terminal, auditor, "--to", "2020-01-01", "--kind", "lease")


@pytest.fixture
def in_auckland() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Auckland"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


@pytest.mark.usefixtures("in_auckland")
def test_the_zone_of_this_computer_is_the_default(terminal: Terminal, auditor: str) -> None:
    (first,) = entries(terminal, auditor, "--start", "0", "--count", "1")
    assert first["time"][-6:] in ("+12:00", "+13:00")


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--tz", "Nowhere/Land"),
        ("list", "--from", "yesterday"),
        ("list", "--kind", "gossip"),
        ("list", "--actor", "Rika"),
        ("list", "--decision", "maybe"),
        ("list", "--role", "king"),
        ("list", "--from", "2026-11-23", "--to", "2026-11-01"),
        ("show", "abc"),
        ("show", "person:abababab"),
        ("report",),
        ("report", "--since", "2026-11-23", "--until", "2026-11-01"),
        ("report", "--since", "2026-11-01", "--json", "--markdown"),
        ("export", "x", "--start", "3"),
        ("export", "x", "--copy", "y"),
    ],
)
def test_wrong_usage_is_exit_code_2(terminal: Terminal, auditor: str, arguments: tuple[str, ...]) -> None:
    assert terminal.run(auditor, "audit", *arguments).code == 2


@pytest.mark.parametrize("role", ["requester", "steward", "admin", "dpo"])
def test_only_auditors_and_council_are_told(terminal: Terminal, used: Populated, tmp_path: Path, role: str) -> None:
    member = terminal.is_(role, getattr(used.staff, role, None) or getattr(used.world, role))
    for command in (("list",), ("show", "0"), ("report", "--since", "2026-01-01")):
        refused = terminal.run(member, "audit", *command)
        assert (refused.code, "your role does not include" in refused.err) == (1, True)
    file = tmp_path / "events.jsonl"
    assert terminal.run(member, "audit", "export", "--format", "ocsf", str(file)).code == 1
    assert not file.exists()
    council = terminal.is_("council", used.world.council)
    assert terminal.ok(council, "audit", "show", "0").code == 0, "positive control"


# --- who looks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("list", "--kind", "lease"),
        ("show", "0"),
        ("show", "request:{request}"),
        ("report", "--since", "2026-01-01"),
        ("export", "--format", "ocsf", "{file}"),
    ],
    ids=str,
)
def test_every_look_at_the_custodians_log_is_in_the_log(
    terminal: Terminal, auditor: str, used: Populated, tmp_path: Path, command: tuple[str, ...]
) -> None:
    filled = [part.format(request=used.request, file=tmp_path / "events.jsonl") for part in command]
    before = size(used)
    terminal.ok(auditor, "audit", *filled)
    after = size(used)
    assert after > before
    new = entries(terminal, auditor, "--start", str(before), "--count", str(after - before))
    assert {entry["type"] for entry in new} == {"audit.viewed"}
    assert len({entry["actor"] for entry in new}) == 1
    assert all(entry["counts"]["entries"] > 0 for entry in new)


@pytest.mark.parametrize("command", [("export", "{folder}"), ("export", "--format", "ocsf", "{folder}")], ids=str)
def test_the_looks_of_an_export_name_all_that_it_fetched(
    terminal: Terminal, auditor: str, used: Populated, tmp_path: Path, command: tuple[str, ...]
) -> None:
    before = size(used)
    terminal.ok(auditor, "audit", *(part.format(folder=tmp_path / "made") for part in command))
    looks = [
        Leaf.model_validate_json(data)
        for data in stored(used)[before:]
        if json.loads(data)["type"] == LeafType.AUDIT_VIEWED
    ]
    seen: set[int] = set()
    for look in looks:
        seen |= set(range(look.counts["start"], look.counts["start"] + look.counts["entries"]))
    assert before > 20 and seen >= set(range(before))
    assert len({look.actor for look in looks}) == 1


def test_an_entry_that_no_witness_has_seen_yet_is_shown_as_such(
    terminal: Terminal, auditor: str, used: Populated, tmp_path: Path
) -> None:
    terminal.ok(auditor, "audit", "show", "0")
    last = entries(terminal, auditor, "--count", "1")[0]
    assert (last["type"], last["witnessed"]) == ("audit.viewed", False)
    text = terminal.ok(auditor, "audit", "list").out
    assert "no witness has seen it yet" in text
    index = str(last["index"])
    assert "the custodian's word alone" in terminal.ok(auditor, "audit", "show", index).out
    assert terminal.ok(auditor, "audit", "show", index, "--json").json["proof"] is None
    refused = terminal.run(auditor, "audit", "show", index, "--save", str(tmp_path / "proof"))
    assert (refused.code, "There is no proof of it" in refused.err) == (1, True)
    submit_head(used.world.custodian)
    assert terminal.ok(auditor, "audit", "show", index, "--json").json["proof"]["verified"], "positive control"


def test_the_log_can_be_read_while_a_witness_is_silent_for_long(
    terminal: Terminal, auditor: str, used: Populated
) -> None:
    witnessed = terminal.ok(auditor, "audit", "list", "--count", "1", "--json").json["witnessed"]
    custodian = used.world.custodian
    for _ in range(log_service.LOOK_BACK + 5):
        with custodian.database.transaction() as session:
            log_service.append(session, Leaf(type=LeafType.BOOT, at=custodian.moment(), detail={"build": "b1"}))
        sign_head(custodian)
    assert terminal.ok(auditor, "audit", "list", "--count", "1", "--json").json["witnessed"] == witnessed


def test_a_witness_that_answers_again_is_not_said_to_be_out_of_reach(
    terminal: Terminal, auditor: str, used: Populated
) -> None:
    world = used.world
    world.witness.silent = True
    try:
        with world.custodian.database.transaction() as session:
            log_service.append(session, Leaf(type=LeafType.BOOT, at=world.now, detail={"build": "b1"}))
        submit_head(world.custodian)
    finally:
        world.witness.silent = False
    assert entries(terminal, auditor, "--kind", "witness"), "positive control: the custodian said so"
    submit_head(world.custodian)
    alarms = terminal.ok(auditor, "audit", "report", "--since", "2026-01-01", "--json").json["alarms"]
    assert not any("could not reach" in row["text"] for row in alarms)
    assert "could not reach" not in terminal.run(auditor, "audit", "verify").out


def test_a_copy_is_looked_at_without_a_network_and_without_a_trace(
    terminal: Terminal, auditor: str, used: Populated, copy: str, tmp_path: Path
) -> None:
    root = used.world.report.root_fingerprint
    heard, before = len(terminal.installation.heard), size(used)
    of_copy = ("--copy", copy, "--root", root)
    assert entries(terminal, "stranger", *of_copy, "--kind", "lease")
    assert terminal.ok("stranger", "audit", "show", "0", *of_copy).code == 0
    assert terminal.ok("stranger", "audit", "report", "--since", "2026-01-01", *of_copy).code == 0
    file = str(tmp_path / "events.jsonl")
    assert terminal.ok("stranger", "audit", "export", "--format", "ocsf", file, *of_copy).code == 0
    assert len(terminal.installation.heard) == heard
    assert size(used) == before
    assert terminal.run("stranger", "audit", "list", "--copy", copy).code == 1, "whose log is it? nobody said"
    assert terminal.run("stranger", "audit", "list", "--copy", copy, "--root", "ab" * 32).code == 1
    assert entries(terminal, auditor, "--copy", copy, "--kind", "lease"), "one's credential knows the root key"


def test_a_copy_of_which_an_entry_was_changed_shows_nothing(terminal: Terminal, auditor: str, copy: str) -> None:
    bundle = next((Path(copy) / "tile" / "entries").rglob("*.p/*"))
    bundle.write_bytes(bundle.read_bytes().replace(b'"allowed"', b'"refused"', 1))
    for command in (("list", "--count", "5000"), ("report", "--since", "2026-01-01")):
        ran = terminal.run(auditor, "audit", *command, "--copy", copy)
        assert (ran.code, "is not the one that was signed" in ran.err) == (1, True)
        assert "tell the council and the witnesses" in ran.err, "what to do"


def test_a_log_that_is_shorter_than_it_was_seen_here_is_not_shown(
    terminal: Terminal, auditor: str, used: Populated, tmp_path: Path
) -> None:
    installation = used.installation
    with installation.custodian_as(None) as custodian:
        older = custodian.checkpoint()
    entries(terminal, auditor)
    submit_head(used.world.custodian)
    entries(terminal, auditor)

    def roll_back(request: Ask, ask: Callable[[], Answer]) -> Answer:
        return (
            Answer(200, content=older, headers={"Content-Type": "text/plain"})
            if request.url.path == "/v1/log/checkpoint"
            else ask()
        )

    installation.enemy = roll_back
    try:
        for command in (
            ("list",), ("show", "0"), ("report", "--since", "2026-01-01"), ("verify",), ("export", str(tmp_path / "c")),
            ("export", "--format", "ocsf", str(tmp_path / "e")),
        ):  # fmt: skip
            ran = terminal.run(auditor, "audit", *command)
            assert (ran.code, "entries were taken away" in ran.err) == (1, True), (command, ran.err)
            assert "tell the council and the witnesses" in ran.err, "what to do"
        other = terminal.is_("another-computer", used.staff.auditor)
        assert entries(terminal, other), "positive control: who has not seen more is shown what was signed"
    finally:
        installation.enemy = None
    assert entries(terminal, auditor)


def test_a_log_that_does_not_continue_the_copy_is_kept_and_everybody_is_told_the_same(
    terminal: Terminal, auditor: str, tmp_path: Path
) -> None:
    other = saved(tmp_path / "other", files_of(World(), PROPER))
    refused = " ".join(terminal.run(auditor, "audit", "export", str(other)).err.split())
    (evidence,) = (other / "evidence").iterdir()
    assert "This is the log" in refused
    assert refused.endswith(f"What was served is kept in {evidence.parent}. {CONTRADICTED}")
    assert KEEP_AND_TELL in CONTRADICTED and KEEP_AND_TELL in ADVICE["fork"], "the monitor says it, too"


# --- show -------------------------------------------------------------------------------------------------------------


def test_one_entry_with_its_proof_which_others_can_check(
    terminal: Terminal, auditor: str, used: Populated, copy: str, tmp_path: Path
) -> None:
    opened = entries(terminal, auditor, "--kind", "lease.opened", "--request", used.request)[-1]
    index = opened["index"]
    proof = tmp_path / "entry.tlog-proof"
    text = terminal.ok(auditor, "audit", "show", str(index), "--save", str(proof)).out
    for part in (
        "opened lease",
        f"{index} of ",
        opened["subject"],
        opened["actor"],
        opened["hash"],
        "It is in the log",
    ):
        assert part in text
    assert f"assent audit show request:{used.request[:8]}" in text
    shown = terminal.ok(auditor, "audit", "show", str(index), "--json").json
    assert (shown["entry"]["hash"], shown["proof"]["verified"]) == (opened["hash"], True)
    assert terminal.ok(auditor, "audit", "show", opened["hash"][:12], "--json").json["entry"]["index"] == index
    verified = terminal.ok(auditor, "audit", "verify", "--proof", str(proof), "--json").json
    assert any(f"leaf {index} is in this log" in check["text"] for check in verified["checks"])
    leaf = proof.with_suffix(".leaf")
    leaf.write_bytes(leaf.read_bytes().replace(b"lease.opened", b"lease.closed"))
    blames_the_log = "This log is not what it should be"
    refused = terminal.run(auditor, "audit", "verify", copy, "--proof", str(proof))
    assert (refused.code, blames_the_log in refused.out) == (1, False)
    assert "is whole and as it was witnessed" in refused.out
    assert "What FAILED is a file that was compared with it" in refused.out
    told = json.loads(terminal.run(auditor, "audit", "verify", copy, "--proof", str(proof), "--json").out)
    assert (told["passed"], told["log_passed"]) == (False, True)
    for unreadable, why in ((tmp_path, "Is a directory"), (tmp_path / "nowhere", "No such file")):
        refused = terminal.run(auditor, "audit", "verify", copy, "--proof", str(unreadable))
        assert (refused.code, blames_the_log in refused.out + refused.err) == (1, False)
        assert f"The proof cannot be read, and nothing was checked: {why}" in refused.err
    entry = next(path for path in (Path(copy) / "tile" / "entries").rglob("*") if path.is_file())
    entry.write_bytes(entry.read_bytes().replace(b"lease.opened", b"lease.closed", 1))
    assert blames_the_log in terminal.run(auditor, "audit", "verify", copy).out, "positive control"
    assert "There is no entry" in terminal.run(auditor, "audit", "show", "999999").err
    assert "Nothing in the log" in terminal.run(auditor, "audit", "show", "ffffffffffff").err


def test_from_a_request_to_approvals_leases_and_who_was_told(terminal: Terminal, auditor: str, used: Populated) -> None:
    told = terminal.ok(auditor, "audit", "show", f"request:{used.request[:8]}", "--json").json
    assert (told["request"], told["state"], len(told["approvals"])) == (used.request, "granted", 2)
    first, *later = told["leases"]
    assert "told at once" in first["told"]
    assert later
    assert all("digest" in lease["told"] for lease in later)
    pulled = later[-1]
    assert pulled["keys"] > 0
    by_lease = terminal.ok(auditor, "audit", "show", f"lease:{pulled['lease'][:10]}", "--json").json
    assert by_lease == told | {"witnessed": by_lease["witnessed"]}
    text = terminal.ok(auditor, "audit", "show", used.request).out
    for part in ("granted", "approved request", "keys opened", "who was told", str(pulled["keys"])):
        assert part in text
    with used.world.custodian.database.reading() as session:
        kinds = {row.kind for row in session.query(NotificationRow).filter_by(leaf_index=first["opened"])}
    assert kinds == {"lease"}, "the first lease is told at once, as is said"


# --- report -----------------------------------------------------------------------------------------------------------


def test_a_report_as_tables_markdown_and_json(terminal: Terminal, auditor: str, used: Populated, copy: str) -> None:
    since = "2020-01-01"
    arguments = ("audit", "report", "--since", since, "--tz", "UTC", "--copy", copy)
    found = terminal.ok(auditor, *arguments, "--json").json
    pulled = found["reads"][-1]
    assert pulled["purpose"].startswith(PURPOSE)
    assert pulled["approved_by"].count(",") == 1
    assert pulled["keys"] > 0
    assert found["reads"][0]["request"] == used.request[:8]
    assert any(row["rule"] for row in found["refused"])
    assert found["first_uses"]
    assert {row["type"] for row in found["accounts"]} >= {"role.proposed", "role.changed"}
    assert {row["type"] for row in found["changes"]} >= {"directory.changed", "purpose.signed"}
    assert found["looks"]
    assert {row["what"] for row in found["volume"]} >= {
        "leases opened",
        "sealed keys opened",
        "entries of the log seen",
    }
    assert not [row for row in found["alarms"] if row["state"] == "wrong"]
    text = terminal.ok(auditor, *arguments).out
    for title in ("What was read, by whom, under which approvals", "What was refused", "Who looked at the log"):
        assert title in text
        assert title in terminal.ok(auditor, *arguments, "--markdown").out
    printed = terminal.ok(auditor, *arguments, "--markdown").out
    assert printed.startswith("# Report of the audit log\n")
    assert f"| {pulled['lease']} |" in printed
    later = (used.world.clock() + timedelta(days=1)).isoformat()
    empty = terminal.ok(auditor, "audit", "report", "--since", later, "--until", "2100-01-01", "--copy", copy, "--json")
    assert empty.json["reads"] == empty.json["refused"] == []


def test_a_report_names_nobody_and_nothing_of_their_own(
    terminal: Terminal, auditor: str, used: Populated, copy: str
) -> None:
    found = terminal.ok(auditor, "audit", "report", "--since", "2026-01-01", "--copy", copy).out
    own = [one for one in entries(terminal, auditor, "--copy", copy, "--count", "5000") if one.get("mode") == "own"]
    assert own, "positive control"
    assert not any(one["actor"][:8] in found for one in own if "actor" in one)
    for member in (*used.people, used.staff.requester, used.staff.auditor):
        assert member.name not in found
        assert member.person not in found


# --- events -----------------------------------------------------------------------------------------------------------


def test_every_entry_of_a_real_log_is_a_valid_event_and_a_second_run_goes_on(
    terminal: Terminal, auditor: str, used: Populated, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    first = terminal.ok(auditor, "audit", "export", "--format", "ocsf", str(file), "--json").json
    lines = file.read_text().splitlines()
    assert first["added"] == first["next"] == len(lines)
    assert [fault for line in lines for fault in faults(json.loads(line))] == []
    file.write_bytes(file.read_bytes()[:-30])
    terminal.ok(terminal.is_("requester", used.staff.requester), "data", "pull", used.request, "--summary")
    submit_head(used.world.custodian)
    second = terminal.run(auditor, "audit", "export", "--format", "ocsf", str(file))
    assert "A line that was cut off" in second.out
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [event["unmapped"]["tlog"]["index"] for event in events] == list(range(len(events)))
    assert len(events) > len(lines)
    assert [event["class_uid"] for event in events[len(lines) :]].count(6005) == 1, "the lease of the pull"
    for member in (*used.people, used.staff.requester, used.staff.auditor):
        assert member.name not in file.read_text()


def test_a_run_with_nothing_new_but_ones_own_look_leaves_no_trace(
    terminal: Terminal, auditor: str, used: Populated, tmp_path: Path
) -> None:
    """Else a scheduler that exports every minute would fill the log with its own looks for ever."""
    file = str(tmp_path / "events.jsonl")
    for _ in range(2):
        terminal.ok(auditor, "audit", "export", "--format", "ocsf", file)
        submit_head(used.world.custodian)
    before = size(used)
    for _ in range(3):
        submit_head(used.world.custodian)
        assert terminal.ok(auditor, "audit", "export", "--format", "ocsf", file, "--json").json["added"] <= 1
    assert size(used) == before
