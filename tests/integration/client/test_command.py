"""The `assent` command as people use it, against a real custodian and a real collector."""

from __future__ import annotations

import functools
import http.server
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image
from tests.exposure.world import CUSTODIAN, Answer, Ask, Populated
from tests.integration.client.conftest import PASSPHRASE, Terminal
from tests.simulators.custodian import PURPOSE, RECIPIENT

from assent.cli.app import main
from assent.client.files import write_private
from assent.client.receipts import ReceiptFile
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.lists import person_leaf
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Choice, Role, RoleProposal
from assent.contracts.wire import ReceiptAnswer, StatementWithLeaf
from assent.reader import patience
from assent_custodian.night import run_night


def test_from_an_invitation_to_numbers(terminal: Terminal, populated: Populated) -> None:
    """Log in, look into the catalogue, ask, have it approved, read."""
    day = populated.world.now[:10]
    joined = terminal.ok("rika", "login", terminal.code_for("Rika", Role.REQUESTER))
    assert populated.world.report.root_fingerprint in joined.out
    assert "custody level" in joined.out
    terminal.countersign("Rika")
    assert terminal.ok("rika", "whoami", "--json").json["roles"] == ["requester"]
    assert PURPOSE in terminal.ok("rika", "data", "catalogue").out
    modalities = {entry["modality"] for entry in terminal.ok("rika", "data", "catalogue", "--json").json["entries"]}
    assert modalities == set(Modality)

    asked = terminal.ok(
        "rika", "data", "request", "--purpose", PURPOSE, "--modality", "pointer", "--modality", "screen",
        "--from", day, "--to", day, "--recipient", RECIPIENT, "--why", "to learn clicking", "--json",
    ).json["request"]  # fmt: skip
    refused = terminal.run("rika", "data", "pull", asked[:8], "--summary")
    assert (refused.code, "not granted" in refused.err) == (1, True)
    for name in ("sam", "stef"):
        terminal.ok(name, "login", terminal.code_for(name.capitalize(), Role.STEWARD))
        terminal.countersign(name.capitalize())
        shown = terminal.ok(name, "data", "approve", asked[:8], "--yes").out
        assert "to learn clicking" in shown
        assert '"why":"to learn clicking"' in shown, "the very bytes that are signed"
    assert "granted" in terminal.ok("rika", "data", "list").out
    viewed = terminal.ok("sam", "data", "view", asked, "--json").json
    assert (viewed["state"], viewed["request"]["why"]) == ("granted", "to learn clicking")

    pulled = terminal.ok("rika", "data", "pull", asked[:8], "--summary", "--json").json
    assert pulled["session_count"] == 10
    assert pulled["summary"]["frames"] == 10
    assert pulled["summary"]["events"]["move"] == 500
    assert "key" not in pulled["summary"]["events"], "the keyboard was not asked for"
    assert pulled["lease"]["closed"]
    assert pulled["lease"]["same_host_only"]
    text = terminal.ok("rika", "data", "pull", asked[:8], "--summary")
    assert "What came" in text.out
    assert "witnessed by the same host only" in text.err


def test_events_are_streamed_to_a_program_and_nothing_is_written(
    terminal: Terminal, populated: Populated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requester = terminal.is_("requester", populated.staff.requester)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    ran = terminal.ok(requester, "data", "pull", populated.request, "--to-command", "cat")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert len({line["pseudonym"] for line in lines}) == 10
    typed = "".join(
        line["event"]["key"]
        for line in lines
        if line["session"] == 1 and line["modality"] == "keyboard" and line["event"]["pressed"]
    )
    assert populated.marker.text in typed
    assert set(lines[0]) == {"session", "pseudonym", "day", "modality", "at_ns", "event"}
    assert list(empty.iterdir()) == []

    reported = terminal.ok(requester, "data", "pull", populated.request, "--to-command", "wc -l", "--json")
    assert int(reported.out) == len(lines)
    report = json.loads(reported.err)
    assert report["lease"]["closed"]
    assert "summary" not in report


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("false", "failed with exit status 1"),
        ("head -c 1", "stopped reading"),
        ("no-such-program-here", "No lease was opened"),
    ],
)
def test_a_program_that_fails_is_a_failure(terminal: Terminal, populated: Populated, program: str, says: str) -> None:
    requester = terminal.is_("requester", populated.staff.requester)
    heard = len(terminal.installation.heard)
    ran = terminal.run(requester, "data", "pull", populated.request, "--to-command", program)
    assert ran.code == 1
    leased = [asked for asked in terminal.installation.heard[heard:] if asked.url.path == "/v1/leases"]
    assert len(leased) == (0 if program.startswith("no-such") else 1)
    assert says in ran.err or "stopped reading" in ran.err


def test_every_refusal_says_what_to_do(terminal: Terminal, populated: Populated) -> None:
    requester = terminal.is_("requester", populated.staff.requester)
    steward = terminal.is_("steward", populated.staff.steward)
    auditor = terminal.is_("auditor", populated.staff.auditor)
    for name, arguments, says in (
        (requester, ("data", "approve", populated.request, "--yes"), "assent whoami"),
        (steward, ("data", "pull", populated.request, "--summary"), "list command"),
        (auditor, ("data", "catalogue"), "assent whoami"),
        (steward, ("audit", "list"), "assent whoami"),
        (requester, ("data", "view", "00" * 32), "list command"),
        (requester, ("data", "view", "00000000"), "assent data list"),
        (requester, ("data", "view", "00"), "at least 8 digits"),
        (steward, ("people", "list"), "assent whoami"),
        ("nobody", ("whoami",), "assent login CODE"),
        ("nobody", ("login", "assent1-abc"), "copy the whole line"),
    ):
        ran = terminal.run(name, *arguments)
        assert ran.code == 1, arguments
        assert ran.err.startswith("Not done. ")
        assert says in ran.err, arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "pull", "00" * 32),
        ("data", "pull", "00" * 32, "--summary", "--to-command", "cat"),
        ("data", "pull", "00" * 32, "--to-command", ""),
        ("data", "pull", "00" * 32, "--to-command", "cat 'x"),
        ("data", "refuse", "00" * 32),
        ("data", "request", "--purpose", PURPOSE),
        ("me", "recordings", "--day", "yesterday"),
        ("me", "erase", "--yes"),
        ("me", "erase", "--everything", "--day", "2026-11-23", "--yes"),
        ("me", "erase", "--from", "2026-11-23", "--yes"),
        ("me", "erase", "--hour", "14", "--yes"),
        ("me", "erase", "--day", "2026-11-23", "--hour", "2026-11-24T14", "--yes"),
        ("people", "roles", "--grant", "steward"),
        ("people", "roles", "--grant", "king"),
        ("audit", "verify", "--root", "12"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_exit_code_2(terminal: Terminal, populated: Populated, arguments: tuple[str, ...]) -> None:
    steward = terminal.is_("steward", populated.staff.steward)
    assert terminal.run(steward, *arguments).code == 2


def test_a_code_works_once_and_a_second_login_is_refused(terminal: Terminal) -> None:
    code = terminal.code_for("Uma")
    terminal.ok("uma", "login", code)
    again = terminal.run("uma", "login", code)
    assert (again.code, "--replace" in again.err) == (1, True)
    stolen = terminal.run("thief", "login", code)
    assert (stolen.code, "new code" in stolen.err) == (1, True)
    assert not terminal.shell("thief").store.exists()


def test_a_swapped_root_is_refused_at_login_and_leaves_nothing_behind(terminal: Terminal) -> None:
    code = InvitationCode.from_text(terminal.code_for("Uma"))
    forged = InvitationCode(code.url, "ab" * 32, code.secret).to_text()
    ran = terminal.run("uma", "login", forged)
    assert ran.code == 1
    assert "another root key" in ran.err
    assert not terminal.shell("uma").store.exists()
    assert not any(code.secret_hex.encode() in heard.content for heard in terminal.installation.heard)


def test_the_passphrase_is_asked_for_twice_and_never_shown(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def prompt(_text: str, **options: object) -> str:
        asked.append(options)
        return PASSPHRASE if len(asked) > 1 else "short"

    monkeypatch.setattr("typer.prompt", prompt)
    shell = terminal.shell("uma")
    shell.environment = {}
    assert shell.new_passphrase() == PASSPHRASE
    assert [(options["hide_input"], bool(options["confirmation_prompt"])) for options in asked] == [(True, True)] * 2
    assert "at least 8 characters" in terminal._capture()[1], "a short one is asked for again"


def test_own_accesses_receipts_devices_and_pictures(terminal: Terminal, populated: Populated, tmp_path: Path) -> None:
    person = terminal.is_("person", populated.people[0])
    requester = terminal.is_("requester", populated.staff.requester)
    terminal.ok(requester, "data", "pull", populated.request, "--summary")

    accesses = terminal.ok(person, "me", "accesses", "--json").json["accesses"]
    assert accesses[0]["purpose"] == PURPOSE
    assert {access["proved"] for access in accesses} == {"in the witnessed log"}
    saved = tmp_path / "proofs"
    terminal.ok(person, "me", "accesses", "--save", str(saved))

    heard = len(terminal.installation.heard)
    for file in saved.glob("*.tlog-proof"):
        found = terminal.ok(person, "me", "accesses", "--verify", str(file), "--json").json
        assert (found["valid"], found["entry"]["type"]) == (True, "lease.opened")
        assert found["log_index"] in {access["leaf_index"] for access in accesses}
        assert "This proof holds" in terminal.ok(person, "me", "accesses", "--verify", str(file)).out
    leaf = file.with_suffix(".leaf")
    leaf.write_bytes(leaf.read_bytes().replace(b"lease.opened", b"lease.closed"))
    assert "does not hold" in terminal.run(person, "me", "accesses", "--verify", str(file)).err
    leaf.write_bytes(leaf.read_bytes().replace(b"lease.closed", b"lease.opened"))
    file.write_bytes(b"".join(line for line in file.read_bytes().splitlines(True) if b"witness" not in line))
    assert terminal.run(person, "me", "accesses", "--verify", str(file)).code == 1, "no witness saw it"
    assert len(terminal.installation.heard) == heard, "offline, and it needs no role"
    terminal.ok(person, "me", "accesses", "--save", str(saved))

    receipts = terminal.ok(person, "me", "receipts", "--json").json["receipts"]
    assert receipts[0]["state"] == "given"
    told = terminal.ok(person, "me", "receipts", "--save", str(tmp_path / "receipts")).out
    assert f"1 receipt saved in {tmp_path / 'receipts'}, 0 with the proof" in told
    (file,) = (tmp_path / "receipts").iterdir()
    assert "This receipt holds" in terminal.ok(person, "me", "receipts", "--verify", str(file)).out

    other = terminal.is_("other", populated.people[1])
    terminal.ok(other, "whoami")
    not_theirs = terminal.run(other, "me", "receipts", "--verify", str(file))
    assert (not_theirs.code, "another person's" in not_theirs.err) == (1, True)
    file.write_bytes(file.read_bytes().replace(b"payload", b"payloud"))
    assert terminal.run(person, "me", "receipts", "--verify", str(file)).code == 1

    devices = terminal.ok(person, "me", "devices", "--json").json
    assert [(device["kind"], device["here"]) for device in devices] == [("device", False), ("opening", True)]

    picture = tmp_path / "mine.png"
    opened = terminal.ok(person, "me", "recordings", "--to", str(picture), "--json").json
    assert opened["pictures_shown"] == 1
    assert opened["events"]["keyboard"] == 2 * len(populated.marker.text)
    assert picture.stat().st_mode & 0o777 == 0o600
    with Image.open(picture) as image:
        assert image.width == 1600
    nothing = terminal.run(person, "me", "recordings", "--day", "2026-01-01", "--to", str(tmp_path / "none.png"))
    assert (nothing.code, "Nothing of yours" in nothing.err) == (1, True)
    assert not (tmp_path / "none.png").exists()
    assert any(a["kind"] == "own" for a in terminal.ok(person, "me", "accesses", "--json").json["accesses"])

    auditor = terminal.is_("auditor", populated.staff.auditor)
    proof = next(saved.glob("*.tlog-proof"))
    verified = terminal.ok(auditor, "audit", "verify", "--proof", str(proof), "--json").json
    assert any("is in this log" in check["text"] for check in verified["checks"])


def test_where_nobody_answers_a_question_nothing_is_done(
    terminal: Terminal, populated: Populated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    person = terminal.is_("person", populated.people[0])
    asked = terminal.run(person, "me", "withdraw")
    assert (asked.code, "nobody answered" in asked.err) == (1, True)
    assert populated.people[0].get("/v1/me/receipts").json()["receipts"][0]["state"] == "given"


def test_a_withdrawal_is_confirmed_and_bites(terminal: Terminal, populated: Populated) -> None:
    person = terminal.is_("person", populated.people[9])
    requester = terminal.is_("requester", populated.staff.requester)
    terminal.ok(requester, "data", "pull", populated.request, "--summary")
    confirmed = terminal.ok(person, "me", "withdraw", "--yes", "--json").json
    assert confirmed["streams"] == 4
    (kept,) = (terminal.shell("person").store.folder / "withdrawals").iterdir()
    assert set(json.loads(kept.read_text())) == {"statement", "salt"}
    after = terminal.ok(requester, "data", "pull", populated.request, "--summary", "--json").json
    assert after["session_count"] == 9
    assert len(after["lease"]["no_longer_available"]) == 4
    run_night(populated.world.custodian)
    recalled = terminal.ok(requester, "data", "recall", populated.request[:8], "--json").json["recalls"]
    mine = {one.stream for one in populated.recordings if one.member is populated.people[9]}
    assert mine <= {item["stream"] for recall in recalled for item in recall["items"]}
    assert {recall["done"] for recall in recalled} == {None}
    assert "OPEN" in terminal.ok(requester, "data", "recall").out
    signed = terminal.ok(requester, "data", "recall", "--done", "--yes", "--json").json["recalls"]
    assert None not in {recall["done"] for recall in signed}
    assert "OPEN" not in terminal.ok(requester, "data", "recall").out
    steward = terminal.is_("steward", populated.staff.steward)
    assert terminal.run(steward, "data", "recall").code == 1
    assert terminal.ok(person, "me", "receipts", "--json").json["receipts"][0]["state"] == "withdrawn"


def test_a_person_erases_an_hour_a_day_and_everything_with_receipts_that_verify(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    person = terminal.is_("person", populated.people[8])
    hour = populated.world.now[:13]
    asked = terminal.ok(person, "me", "erase", "--hour", hour, "--modality", "screen", "--yes", "--json").json
    assert (asked["state"], asked["streams"], asked["hours"]) == ("requested", 1, 1)
    picture = str(tmp_path / "mine.png")
    opened = terminal.ok(person, "me", "recordings", "--to", picture, "--json").json
    assert opened["pictures_shown"] == 0
    assert opened["events"]["keyboard"] == 2 * len(populated.marker.text), "the rest is there"

    whole = terminal.ok(person, "me", "erase", "--day", hour[:10], "--yes")
    assert "from this moment it opens for nobody" in whole.out
    gone = terminal.run(person, "me", "recordings", "--to", picture)
    assert (gone.code, "Nothing of yours" in gone.err) == (1, True)

    run_night(populated.world.custodian)
    terminal.installation.collector.orders.pull_orders_once()
    run_night(populated.world.custodian)
    saved = tmp_path / "receipts"
    found = terminal.ok(person, "me", "erasures", "--save", str(saved), "--json").json["erasures"]
    assert {row["state"] for row in found} == {"final"}
    assert len(list(saved.iterdir())) == 4
    assert "final" in terminal.ok(person, "me", "erasures").out
    heard = len(terminal.installation.heard)
    (file,) = (
        one for one in saved.glob("*.final.json") if b"salt" in one.read_bytes() and asked["of"][:16] in one.name
    )
    verified = terminal.ok(person, "me", "erasures", "--verify", str(file), "--json").json
    assert (verified["valid"], verified["receipt"]["keys_destroyed"]) == (True, None)
    assert len(terminal.installation.heard) == heard, "offline"

    other = terminal.is_("other", populated.people[7])
    terminal.ok(other, "whoami")
    not_theirs = terminal.run(other, "me", "erasures", "--verify", str(file))
    assert (not_theirs.code, "another person's" in not_theirs.err) == (1, True)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    file.write_bytes(damaged)
    assert terminal.run(person, "me", "erasures", "--verify", str(file)).code == 1


def test_people_roles_and_purposes(terminal: Terminal, populated: Populated) -> None:
    admin = terminal.is_("admin", populated.world.admin)
    council = terminal.is_("council", populated.world.council)
    invited = terminal.ok(admin, "people", "invite", "Bo", "--role", "auditor", "--json").json
    assert InvitationCode.from_text(invited["code"]).root_fingerprint == populated.world.report.root_fingerprint
    too_early = terminal.run(council, "people", "countersign", invited["invitation"], "--yes")
    assert (too_early.code, "Bo has not joined yet" in too_early.err) == (1, True)
    assert "Bo" in terminal.ok(admin, "people", "roles").out
    key = terminal.ok("bo", "login", invited["code"], "--json").json["key_fingerprint"]
    assert key in terminal.ok("bo", "whoami").out.replace("\n", "")
    assert terminal.ok("bo", "whoami", "--json").json["roles"] == []
    asked = terminal.ok(council, "people", "countersign", invited["invitation"], "--yes")
    assert key in asked.out and "face to face or by telephone" in asked.out, "to be compared by people"
    assert terminal.ok("bo", "whoami", "--json").json["roles"] == ["auditor"]
    assert "Bo" in terminal.ok(admin, "people", "list").out

    plain = terminal.ok(admin, "people", "invite", "Kim", "--json").json
    terminal.ok("kim", "login", plain["code"])
    stolen = populated.world.admin.add_key("opening")
    kim = terminal.ok("kim", "whoami", "--json").json["person"]
    statement = RoleProposal(person=kim, role=Role.AUDITOR, action="grant", nonce=new_id(), at=populated.world.now)
    theirs = populated.world.admin.post("/v1/roles", statement, key=stolen).json()["hash"]
    assert "void" not in terminal.ok(council, "people", "roles").out, "the positive control"
    assert populated.world.admin.revoke(stolen).status_code == 200
    assert "void" in terminal.ok(council, "people", "roles").out
    void = terminal.run(council, "people", "countersign", theirs, "--yes")
    assert (void.code, "This proposal is void" in void.err) == (1, True)
    proposed = terminal.ok(admin, "people", "roles", "--person", "Kim", "--grant", "steward", "--json").json
    signed = terminal.ok(council, "people", "countersign", proposed["proposal"], "--yes", "--json").json
    assert signed["keys"] == [terminal.ok("kim", "whoami", "--json").json["key_fingerprint"]]
    assert terminal.ok("kim", "whoami", "--json").json["roles"] == ["steward"]
    assert terminal.run(admin, "people", "roles", "--person", "Nobody", "--grant", "steward").code == 1
    assert terminal.run(council, "people", "countersign", "00" * 32).code == 1

    draft = terminal.ok(
        admin, "purposes", "draft", "--iri", "urn:purpose:two", "--sentence", "Another one.",
        "--recipient", "research", "--json",
    ).json["draft"]  # fmt: skip
    assert draft[:8] in terminal.ok(council, "purposes", "list").out
    terminal.ok(council, "purposes", "sign", draft[:8], "--yes")
    signed = {p["iri"]: p["signed"] for p in terminal.ok(council, "purposes", "list", "--json").json["purposes"]}
    assert signed["urn:purpose:two"]


def test_a_steward_can_refuse_and_revoke_with_a_reason(terminal: Terminal, populated: Populated) -> None:
    day = populated.world.now[:10]
    requester = terminal.is_("requester", populated.staff.requester)
    steward = terminal.is_("steward", populated.staff.steward)
    asked = terminal.ok(
        requester, "data", "request", "--purpose", PURPOSE, "--modality", "pointer", "--from", day, "--to", day,
        "--recipient", RECIPIENT, "--why", "twice", "--json",
    ).json["request"]  # fmt: skip
    assert terminal.run(steward, "data", "refuse", asked, "--reason", " ", "--yes").code == 2
    refused = terminal.ok(steward, "data", "refuse", asked, "--reason", "too broad", "--yes", "--json").json
    assert refused["state"] == "refused"
    assert "too broad" in terminal.ok(requester, "data", "view", asked).out


def test_a_request_that_too_few_people_cover_says_what_to_ask_for(terminal: Terminal, populated: Populated) -> None:
    day = populated.world.now[:10]
    requester = terminal.is_("requester", populated.staff.requester)
    stewards = [terminal.is_(f"steward{n}", each) for n, each in enumerate(populated.staff.stewards)]
    asked = terminal.ok(
        requester, "data", "request", "--purpose", PURPOSE, "--modality", "pointer", "--from", day, "--to", day,
        "--recipient", RECIPIENT, "--why", "to learn clicking", "--people", "1000", "--json",
    ).json["request"]  # fmt: skip
    assert "fewer modalities" not in terminal.ok(requester, "data", "view", asked).out, "the control"
    for steward in stewards:
        terminal.ok(steward, "data", "approve", asked, "--yes")
    view = terminal.ok(requester, "data", "view", asked).out
    assert "not-available, 2 of 2 approvals" in view and "Ask for more days or fewer modalities." in view


def test_the_log_is_exported_and_verified_offline(terminal: Terminal, populated: Populated, tmp_path: Path) -> None:
    auditor = terminal.is_("auditor", populated.staff.auditor)
    assert "lease.opened" in terminal.ok(auditor, "audit", "list", "--start", "0", "--count", "500").out
    copy = tmp_path / "copy"
    terminal.ok(auditor, "audit", "export", str(copy))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert terminal.run(auditor, "audit", "export", str(tmp_path / "other")).code == 1, "nothing else is written over"
    terminal.ok(auditor, "audit", "export", str(copy))
    for _ in range(2):
        again = terminal.ok(auditor, "audit", "export", str(copy), "--json").json
    assert again["added"] == 0, "it has the trace of its own last look, and looking at that leaves none"

    heard = len(terminal.installation.heard)
    root = populated.world.report.root_fingerprint
    verified = terminal.ok("stranger", "audit", "verify", str(copy), "--root", root, "--json").json
    assert verified["passed"]
    assert verified["warnings"] == ["witnessed by the same host only"]
    assert len(terminal.installation.heard) == heard, "offline"
    assert terminal.ok(auditor, "audit", "verify", str(copy)).code == 0
    assert terminal.ok(auditor, "audit", "verify").code == 0
    assert terminal.run("stranger", "audit", "verify", str(copy)).code == 1
    assert terminal.run("stranger", "audit", "verify", str(copy), "--root", "ab" * 32).code == 1

    assert terminal.ok(auditor, "audit", "verify", CUSTODIAN + "/").code == 0, "the custodian's own address: live"
    assert terminal.run("stranger", "audit", "verify", CUSTODIAN, "--root", root).code == 1

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(copy))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        shell = terminal.shell("stranger")
        shell.transport = None
        with pytest.raises(SystemExit) as ended:
            main(("audit", "verify", address, "--root", root), shell)
        server.shutdown()
    assert ended.value.code == 0, "any web server that serves these files will do"

    bundle = next((copy / "tile" / "entries").rglob("*.p/*"))
    bundle.write_bytes(bundle.read_bytes().replace(b'"allowed"', b'"refused"', 1))
    tampered = terminal.run(auditor, "audit", "verify", str(copy))
    assert tampered.code == 1
    assert "is not the one that was signed" in tampered.out


def test_a_clock_that_is_off_is_named(terminal: Terminal, populated: Populated) -> None:
    person = terminal.is_("person", populated.people[2])
    shell = terminal.shell("person")
    shell.clock = lambda: populated.world.clock() - timedelta(minutes=10)
    terminal._capture()
    with pytest.raises(SystemExit):
        main(["whoami"], shell)
    _, err = terminal._capture()
    assert "600 seconds behind" in err
    assert terminal.ok(person, "whoami").code == 0


def test_the_dpo_ends_the_consent_of_somebody_who_asked_for_it(terminal: Terminal, populated: Populated) -> None:
    dpo, council = terminal.is_("dpo", populated.world.dpo), terminal.is_("council", populated.world.council)
    somebody = populated.world.add_person("Somebody")
    receipt = somebody.consent()
    words = ("people", "end-consent", "--state", "invalidated", "--reason", "an authority said so", "--yes")
    assert terminal.run(dpo, *words).code == 2, "which is not said"
    assert terminal.run(dpo, *words, "--everybody", "--record", receipt.record).code == 2
    assert terminal.run(dpo, *words, "--record", "abc").code == 2
    assert terminal.run(council, *words, "--record", receipt.record).code == 1
    assert terminal.ok(dpo, *words, "--record", receipt.record, "--json").json["ending"]
    mine = terminal.is_("somebody", somebody)
    assert [one["state"] for one in terminal.ok(mine, "me", "receipts", "--json").json["receipts"]] == ["invalidated"]


def test_a_receipt_is_saved_with_its_proof_and_verified_offline(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    """As the agent on the same computer left it: with the salt, which was never handed in, and the key."""
    world = populated.world
    somebody = world.add_person("Sam")
    envelope, salt = sign(somebody.receipt(), somebody.device), "5a" * 16
    body = StatementWithLeaf(statement=envelope, leaf=person_leaf(bytes.fromhex(salt), envelope.hash))
    signed = ReceiptAnswer.parse(world.post("/v1/receipts", body.to_json()).content).receipt
    kept = ReceiptFile(receipt=signed, salt=salt, device_key=somebody.device.public.text)
    record = json.loads(signed.payload_bytes)["record"]
    mine = terminal.is_("sam", somebody)
    write_private(terminal.folder / "sam" / "agent" / "receipts" / f"{record}.json", kept.to_json())

    def saved(name: str) -> Path:
        terminal.ok(mine, "me", "receipts", "--save", str(tmp_path / name))
        return tmp_path / name / f"{record}.receipt.json"

    early = terminal.ok(mine, "me", "receipts", "--verify", str(saved("early")), "--json").json
    assert (early["device_key_checked"], early["notice_checked"], early["log_index"]) == (True, True, None)
    run_night(world.custodian)
    proved = saved("proved")
    assert terminal.ok(mine, "me", "receipts", "--verify", str(proved), "--json").json["log_index"] > 0
    assert "seen by the witnesses" in terminal.ok(mine, "me", "receipts", "--verify", str(proved)).out
    proved.write_text(proved.read_text().replace("asks whether", "demands that"))
    assert "does not hold" in terminal.run(mine, "me", "receipts", "--verify", str(proved)).err


def test_receipts_are_shown_as_pairs_where_not_everything_is_for_everything(
    terminal: Terminal, populated: Populated
) -> None:
    world, other = populated.world, "urn:purpose:forms"
    world.add_purpose(other)
    member = world.add_person("Pat")
    mine = terminal.is_("pat", member)
    pairs = ((Modality.POINTER, PURPOSE), (Modality.KEYBOARD, other))
    member.consent(choices=tuple(Choice(modality=m, purpose=p, purpose_version=1) for m, p in pairs))

    def lines() -> list[list[str]]:
        told = terminal.ok(mine, "me", "receipts").out.splitlines()
        return [[word for word in line.split() if word.isascii()] for line in told if "urn:" in line]

    first, second = lines()
    assert (first[1], first[-2:]) == ("given", ["pointer", PURPOSE])
    assert second == ["keyboard", other]
    whole = tuple(Choice(modality=m, purpose=p, purpose_version=1) for p in (PURPOSE, other) for m, _ in pairs)
    member.consent(choices=whole)
    assert len(lines()) == 3, "one line is enough where everything is for everything"


def test_receipts_of_another_device_are_completed_and_verified_offline_too(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    """On a computer with nothing but an opening key: of two devices, one of which gave twice; and in the export."""
    world = populated.world
    somebody = world.add_person("Ola")
    mine = terminal.is_("ola", somebody)
    second = somebody.on(somebody.add_key())
    records = []
    for member, salt in ((somebody, b"1" * 16), (second, b"2" * 16), (somebody, b"3" * 64)):
        receipt = member.receipt()
        with terminal.installation.custodian_as(member.device) as custodian:
            custodian.deliver_receipt(sign(receipt, member.device), salt)
        member.previous = sign(receipt, member.device).hash
        records.append(receipt.record)
    run_night(world.custodian)
    folder = tmp_path / "saved"
    terminal.ok(mine, "me", "receipts", "--save", str(folder))
    terminal.ok(mine, "me", "export", "--to", str(tmp_path / "mine.zip"))
    with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
        archive.extractall(tmp_path / "export")
    heard = len(terminal.installation.heard)
    for place in (folder, tmp_path / "export" / "receipts"):
        indexes = set()
        for record in records:
            file = place / f"{record}.receipt.json"
            found = terminal.ok(mine, "me", "receipts", "--verify", str(file), "--json").json
            assert (found["receipt"]["record"], found["notice_checked"]) == (record, True)
            assert not found["device_key_checked"], "whose key it is, only that device knows for sure"
            indexes.add(found["log_index"])
        assert len(indexes) == 3 and None not in indexes
    assert len(terminal.installation.heard) == heard, "offline"
    file.write_text(file.read_text().replace('"salt":"33', '"salt":"34'))
    assert "does not hold" in terminal.run(mine, "me", "receipts", "--verify", str(file)).err


def test_halting_and_resuming_by_command(terminal: Terminal, populated: Populated) -> None:
    dpo = terminal.is_("dpo", populated.world.dpo)
    council = terminal.is_("council", populated.world.council)
    steward = terminal.is_("steward", populated.staff.steward)
    assert terminal.run(dpo, "people", "halt").code == 2
    assert terminal.run(dpo, "people", "halt", "--reason", " ", "--yes").code == 2
    assert terminal.run(steward, "people", "halt", "--reason", "an incident", "--yes").code == 1
    try:
        halted = terminal.ok(dpo, "people", "halt", "--reason", "an incident", "--yes", "--json").json["halt"]
        shown = terminal.ok(council, "people", "resume", "--show", "--json").json["halts"]
        assert [(entry["hash"], entry["reason"]) for entry in shown] == [(halted, "an incident")]
        refused = terminal.run("requester", "data", "pull", populated.request, "--summary")
        assert refused.code == 1
        own = terminal.run(terminal.is_("kim", populated.people[0]), "me", "recordings")
        assert (own.code, "an incident" in own.err) == (1, True), "own data shuts too"
        assert "stays halted" in terminal.ok(council, "people", "resume", "--yes").out
        assert terminal.ok(dpo, "people", "resume", "--yes", "--json").json == {"halted": False, "halts": []}
    finally:
        populated.world.resume()


def test_a_second_key_is_added_and_revoked_by_command(terminal: Terminal, populated: Populated) -> None:
    kim = terminal.is_("kim", populated.people[8])
    made = terminal.ok(kim, "me", "add-device", "--kind", "opening", "--json").json
    assert InvitationCode.from_text(made["code"]).adds == "opening"
    terminal.ok("second", "login", made["code"])
    keys = terminal.ok("second", "me", "devices", "--json").json
    assert [(key["kind"], key["here"]) for key in keys if key["here"]] == [("opening", True)]
    agents = {"device_key_id": populated.people[8].device.public.id}
    write_private(terminal.folder / "second" / "agent" / "identity.json", json.dumps(agents).encode())
    shown = terminal.ok("second", "me", "devices", "--json").json
    assert [key["kind"] for key in shown if key["here"]] == ["device", "opening"]
    assert "was added to your account" in terminal.ok(kim, "me", "devices").out
    assert terminal.run("third", "login", made["code"]).code == 1, "a code works once"

    device = terminal.ok(kim, "me", "add-device").out
    code = next(line for line in device.splitlines() if line.startswith("assent1d-"))
    refused = terminal.run("third", "login", code)
    assert (refused.code, "assent-agent enrol" in refused.err) == (1, True)

    (here,) = [key["key_id"] for key in keys if key["here"]]
    assert terminal.run(kim, "me", "devices", "--revoke", here[:4], "--yes").code == 1, "too few digits"
    assert terminal.ok(kim, "me", "devices", "--revoke", here[:8], "--yes", "--json").json["revoked"] == here
    assert terminal.run("second", "whoami").code == 1
    own = next(key["key_id"] for key in terminal.ok(kim, "me", "devices", "--json").json if key["here"])
    assert terminal.run(kim, "me", "devices", "--revoke", own, "--yes").code == 1, "the last one: --yes is not enough"
    assert terminal.ok(kim, "whoami", "--json").json["name"]


def test_a_recovery_by_command(terminal: Terminal, populated: Populated) -> None:
    dpo, council = terminal.is_("dpo", populated.world.dpo), terminal.is_("council", populated.world.council)
    lost = populated.people[7]
    kim = terminal.is_("kim", lost)
    without_a_key = terminal.run("nobody", "me", "recover")
    assert (without_a_key.code, "data-protection officer" in without_a_key.err) == (1, True)
    made = terminal.ok(dpo, "people", "recover", lost.person, "--yes", "--json").json
    assert terminal.run("new", "login", made["code"]).code == 1, "one signature is not enough"
    rows = terminal.ok(council, "people", "recover", "--countersign", made["recovery"], "--yes", "--json").json
    assert [row["state"] for row in rows["recoveries"] if row["recovery"] == made["recovery"]] == ["running"]
    terminal.ok("new", "login", made["code"])
    refused = terminal.run("new", "me", "receipts")
    assert (refused.code, "came of a recovery" in refused.err) == (1, True)
    assert "--stop" in terminal.ok(kim, "me", "recover").out
    assert terminal.ok(kim, "me", "recover", "--stop", "--json").json["stopped"]
    assert terminal.run("new", "whoami").code == 1
    assert "Nobody is recovering" in terminal.ok(kim, "me", "recover").out


def test_words_that_cannot_stand_in_a_statement_are_named_and_not_repeated(
    terminal: Terminal, populated: Populated
) -> None:
    world = populated.world
    admin, council = terminal.is_("admin", world.admin), terminal.is_("council", world.council)
    for who, words, name in (
        (admin, ("purposes", "draft", "--iri", "agents", "--sentence", "Zebra.", "--recipient", "r"), "iri"),
        (admin, ("purposes", "draft", "--iri", "urn:x", "--sentence", "zebra" * 101, "--recipient", "r"), "sentence"),
        (admin, ("people", "invite", " "), "name"),
        (council, ("people", "halt", "--yes", "--reason", "zebra" * 101), "reason"),
    ):
        ran = terminal.run(who, *words)
        assert (ran.code, ran.out) == (2, ""), ran.err
        assert name in ran.err
        assert "zebra" not in ran.err.lower() and "agents" not in ran.err and "pydantic" not in ran.err


@pytest.mark.parametrize("retry_after", ["", "3600"])
def test_a_pull_that_had_to_stop_says_where_to_go_on_and_the_next_one_does(
    terminal: Terminal, populated: Populated, monkeypatch: pytest.MonkeyPatch, retry_after: str
) -> None:
    """The collector is busy after some bodies, and stays so."""
    monkeypatch.setattr(patience, "PATIENCE_S", 2.0)
    requester = terminal.is_("requester", populated.staff.requester)
    pull = ("data", "pull", populated.request, "--to-command", "cat")
    whole = [json.loads(line) | {"session": 0} for line in terminal.ok(requester, *pull).out.splitlines()]
    bodies = 0

    def busy(request: Ask, ask: Callable[[], Answer]) -> Answer:
        nonlocal bodies
        if request.url.path != "/v1/fetch/bodies":
            return ask()
        bodies += 1
        if bodies <= 25:
            return ask()
        return Answer(
            429,
            headers={"content-type": "application/problem+json", "retry-after": retry_after},
            json=Problem(Code.TOO_MANY, "too much is under way").as_dict(),
        )

    terminal.installation.enemy = busy
    try:
        ran = terminal.run(requester, *pull)
        report = terminal.run(requester, *pull, "--json")
        own = terminal.folder / "mine.zip"
        person = terminal.is_("person", populated.people[0])
        exported = terminal.run(person, "me", "export", "--to", str(own))
    finally:
        terminal.installation.enemy = None
    assert (ran.code, report.code, exported.code) == (1, 1, 1)
    assert ("left alone for 3600 seconds" if retry_after else "nothing came from the collector") in ran.err
    assert "Try again when the collector is reached again" in ran.err
    place = re.search(r"--after (\S+)\.", ran.err)
    assert place is not None
    assert list(terminal.folder.glob("mine.zip*")) == [], "no archive that looks whole"
    first = [json.loads(line) | {"session": 0} for line in ran.out.splitlines()]
    goes_on = terminal.ok(requester, *pull, "--after", place[1])
    rest = [json.loads(line) | {"session": 0} for line in goes_on.out.splitlines()]
    kept = [line for line in first if (line["pseudonym"], line["day"]) <= tuple(place[1].split("/"))]
    assert kept and rest and kept + rest == whole, "each event once, in the same order"
    assert terminal.run(requester, *pull, "--after", "nothing").code == 2
