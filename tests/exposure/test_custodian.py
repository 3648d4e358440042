"""Rows 15, 16, 18 and 23: backups and the process of the custodian, one host that runs both, and what logs say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import logging
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing, redirect_stderr
from pathlib import Path

import httpx2
import pytest
from tests.exposure.canary import Named, Process, must_not_leak, search
from tests.exposure.test_collector import SHUT, running_collector
from tests.exposure.test_reading import refusals
from tests.exposure.world import Populated
from tests.simulators.custodian import with_leaf
from tests.simulators.softhsm import SoftToken, restart_module

from assent.client.transport import Refused
from assent.contracts.envelope import sign
from assent.contracts.ids import new_id
from assent.contracts.keys import b64url
from assent.contracts.lists import pack_batch
from assent.contracts.problems import Code
from assent.contracts.statements import ReleaseRequest, Withdrawal
from assent.contracts.wire import ReleaseBody
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import DataKey, open_body
from assent.transparency.checkpoint import Checkpoint, sign_checkpoint
from assent.transparency.witnessing import Submission
from assent_custodian.consent import service as consent
from assent_custodian.context import open_custodian
from assent_custodian.custody import assess, judge, look
from assent_custodian.files import NotReady
from assent_custodian.keys.keks import KekFolder
from assent_custodian.keys.vault import Vault
from assent_custodian.keys.wrapping import WrapInvalid
from assent_custodian.leases import service as leases
from assent_custodian.log import service as log
from assent_custodian.log import witnesses
from assent_custodian.night import run_night
from assent_custodian.people import service as people
from assent_service import problems
from assent_service.hygiene import Discreet
from assent_witness.heads import Heads
from assent_witness.keys import create_key, load_cosigner
from assent_witness.witness import OldSizeWrong, Witness

ROOT = Path(__file__).parents[2]
NO_TOKEN = {"pkcs11_module": None, "pkcs11_token": "", "pkcs11_pin_file": None}


def backup(populated: Populated, to: Path) -> Path:
    """A backup of the custodian's database, as a database makes it: the file without the folder of KEKs."""
    to.mkdir()
    copied = to / "custodian.db"
    with (
        closing(sqlite3.connect(populated.world.settings.data_dir / "custodian.db")) as live,
        closing(sqlite3.connect(copied)) as target,
    ):
        live.backup(target)
    return copied


def opener(populated: Populated, database: Path, keks: Path) -> Callable[[int], DataKey | None]:
    """What somebody with this database and this folder of KEKs can do: open the sealed key of recording number n.

    None where the vault key is gone."""
    settings = populated.world.settings.model_copy(update={"database_url": f"sqlite:///{database}", "kek_dir": keks})
    custodian = open_custodian(settings, populated.world.clock)

    def try_to_open(number: int) -> DataKey | None:
        recording = populated.recordings[number]
        segment = recording.sealed[0]
        with custodian.database.transaction() as session:
            vault = Vault(session, custodian.keks)
            if vault.take(recording.stream):
                return None
            return vault.open_sealed(segment.header, segment.sealed_key, recording.stream)

    return try_to_open


# --- row 15: backups --------------------------------------------------------------------------------------------------


def test_row_15_a_backup_without_the_kek_opens_nothing(in_use: Populated, tmp_path: Path) -> None:
    copied = backup(in_use, tmp_path / "backup")
    nothing = tmp_path / "no-kek"
    nothing.mkdir(mode=0o700)
    with pytest.raises(NotReady):
        opener(in_use, copied, nothing)(0)
    KekFolder(tmp_path / "other-kek").create(1)
    with pytest.raises(WrapInvalid):
        opener(in_use, copied, tmp_path / "other-kek")(0)


def test_row_15_positive_control_the_same_backup_with_the_kek_does_open(in_use: Populated, tmp_path: Path) -> None:
    copied = backup(in_use, tmp_path / "backup")
    key = opener(in_use, copied, in_use.world.settings.keks)(0)
    segment = in_use.recordings[0].sealed[0]
    assert open_body(segment.header, segment.body, key)


def test_row_15_neither_kek_nor_vault_key_nor_content_is_in_the_database(in_use: Populated, tmp_path: Path) -> None:
    run_night(in_use.world.custodian)
    copied = backup(in_use, tmp_path / "backup")
    data = copied.read_bytes()
    for kek in in_use.world.settings.keks.iterdir():
        raw = kek.read_bytes()
        assert len(raw) == 32
        for form in (raw, raw.hex().encode(), b64url(raw).encode()):
            assert form not in data
    must_not_leak([tmp_path / "backup", in_use.world.settings.data_dir], in_use.marker)


def test_row_15_what_was_erased_does_not_come_back_with_an_old_backup(in_use: Populated, tmp_path: Path) -> None:
    leaver = in_use.people[0]
    number = next(n for n, one in enumerate(in_use.recordings) if one.member is leaver)
    stayer = next(n for n, one in enumerate(in_use.recordings) if one.member is not leaver)
    old = backup(in_use, tmp_path / "old")
    keks = in_use.world.settings.keks
    assert opener(in_use, old, keks)(number), "before"
    assert leaver.withdraw(erase="now").status_code == 200
    assert run_night(in_use.world.custodian)["generations_destroyed"] == [1]
    with pytest.raises(NotReady):
        opener(in_use, old, keks)(number)
    new = backup(in_use, tmp_path / "new")
    assert opener(in_use, new, keks)(number) is None
    assert opener(in_use, new, keks)(stayer), "and everybody else's is there"


def test_row_15_a_database_older_than_a_signed_head_keeps_the_door_shut(in_use: Populated, tmp_path: Path) -> None:
    old = backup(in_use, tmp_path / "old")
    in_use.installation.job(in_use.staff.requester, in_use.request)
    in_use.world.custodian.database.close()
    data = in_use.world.settings.data_dir
    for leftover in data.glob("custodian.db*"):
        leftover.unlink()
    shutil.copy(old, data / "custodian.db")
    with pytest.raises(Refused) as refused:
        in_use.installation.job(in_use.staff.requester, in_use.request)
    assert refused.value.code in (Code.CLOSED, Code.NO_QUORUM)


# --- row 16: one host -------------------------------------------------------------------------------------------------


def test_row_16_level_0_says_who_could_open_recordings_without_a_trace(populated: Populated) -> None:
    custody = assess(populated.world.custodian)
    assert custody.level == 0
    assert custody.sentence.startswith("These accounts could open recordings without a trace today: root on ")
    assert any("same host" in reason for reason in custody.reasons)
    assert populated.world.report.custody.level == 0, "the ceremony prints it"


def test_row_16_a_directory_cannot_claim_more_than_can_be_seen(populated: Populated) -> None:
    claimed = populated.world.custodian.directory.directory.model_copy(update={"custody_level": 4})
    seen = look(populated.world.custodian, claimed)
    assert judge(seen, claimed).level == 0
    apart = {"custodian_url": "https://custodian.example", "collector_url": "https://collector.example"}
    witnesses = tuple(
        populated.world.witness.entry.model_copy(update={"url": f"https://{name}.example"}) for name in ("one", "two")
    )
    elsewhere = claimed.model_copy(update={**apart, "witnesses": witnesses})
    alone = dataclasses.replace(seen, local=frozenset(), exposed=(), unusable=())
    assert judge(alone, elsewhere).level == 1, "the positive control: of hosts of their own it is believed"


def test_row_16_the_documents_say_it_in_plain_words() -> None:
    text = " ".join((ROOT / "docs" / "threat-model.md").read_text().split())
    assert "root on that host can open every recording without a trace" in text


# --- row 18: the custodian's process in enemy hands -------------------------------------------------------------------


def test_row_18_destroyed_keys_stay_destroyed_for_whoever_holds_the_custodian(in_use: Populated) -> None:
    leaver = in_use.people[0]
    number = next(n for n, one in enumerate(in_use.recordings) if one.member is leaver)
    assert leaver.withdraw(erase="now").status_code == 200
    run_night(in_use.world.custodian)
    take = opener(in_use, in_use.world.settings.data_dir / "custodian.db", in_use.world.settings.keks)
    assert take(number) is None
    other = next(n for n, one in enumerate(in_use.recordings) if one.member is not leaver)
    assert take(other), "what it can do, said plainly: open living streams' ciphertext, if it can obtain it"


def test_row_18_with_the_kek_in_a_token_a_copy_of_everything_else_opens_nothing_elsewhere(
    in_use: Populated, token: SoftToken, tmp_path: Path
) -> None:
    """Custody level 2: the files of the custodian's host, its old KEK folder and even the PIN, but not the token."""
    world = in_use.world
    world.settings = world.settings.model_copy(update=token.settings)
    world.restart()
    assert run_night(world.custodian)["generations_destroyed"]
    stolen = tmp_path / "stolen"
    shutil.copytree(world.settings.data_dir, stolen)
    shutil.copy(token.pin_file, stolen)
    copied, keks = backup(in_use, tmp_path / "copied"), stolen / "kek"
    here = opener(in_use, copied, keks)
    assert here(0), "the positive control, said plainly: root on this host can ask the token"
    token.take_away()
    restart_module()
    with pytest.raises(NotReady):
        here(0)
    world.settings = world.settings.model_copy(update=NO_TOKEN)
    with pytest.raises(NotReady):
        opener(in_use, copied, keks)(0)


def test_row_18_the_custodian_holds_no_ciphertext(in_use: Populated) -> None:
    data = b"".join(path.read_bytes() for path in in_use.world.settings.data_dir.rglob("*") if path.is_file())
    for recording in in_use.recordings:
        assert recording.sealed[0].body[:64] not in data
        assert recording.sealed[0].sealed_key[:64] not in data
    assert in_use.recordings[0].stream.encode() in data, "the positive control: what is there is found"


def test_row_18_a_witness_countersigns_no_second_history(in_use: Populated, tmp_path: Path) -> None:
    """With the log key in enemy hands: a head that forgets or changes an entry gets no cosignature."""
    create_key(tmp_path / "witness.key")
    custodian = in_use.world.custodian
    witness = Witness(
        load_cosigner(tmp_path / "witness.key", "council.example/witness"), Heads(tmp_path / "heads"),
        [custodian.log_signer.verifier], lambda: custodian.now().timestamp(),
    )  # fmt: skip
    origin = custodian.log_signer.verifier.name
    honest = sign_checkpoint(Checkpoint(origin, 5, os.urandom(32)), custodian.log_signer)
    assert witness.add_checkpoint(Submission(0, (), honest).to_bytes())
    for size, root in ((5, os.urandom(32)), (4, os.urandom(32)), (6, os.urandom(32))):
        rewritten = sign_checkpoint(Checkpoint(origin, size, root), custodian.log_signer)
        for old in range(size + 1):
            with pytest.raises(Exception) as refused:
                witness.add_checkpoint(Submission(old, (), rewritten).to_bytes())
            assert type(refused.value).__name__ in {OldSizeWrong.__name__, "ProofInvalid", "SubmissionInvalid"}


def test_row_18_readers_refuse_a_lease_that_no_witness_saw(in_use: Populated) -> None:
    """The custodian skips its witnesses and answers all the same: the reader does not read."""
    in_use.world.witness.silent = True
    original = witnesses.require_quorum

    def skip(custodian: object, index: int) -> object:
        with in_use.world.custodian.database.transaction() as session:
            return log.sign_head(session, in_use.world.custodian.log_signer, in_use.world.custodian.head_memory)

    witnesses.require_quorum = skip  # type: ignore[assignment]
    try:
        with pytest.raises(Exception, match="witness"):
            in_use.installation.job(in_use.staff.requester, in_use.request)
    finally:
        witnesses.require_quorum = original


# --- row 23: logs, tracebacks, cores ----------------------------------------------------------------------------------


def secrets_of(populated: Populated) -> list[str]:
    """What no log line may hold: names, ids, keys, tokens."""
    found = [populated.marker.text, populated.request, populated.job.lease.lease]
    for member in populated.people:
        found += [member.person, member.name, member.device.public.text, member.opening.public.id]
    return found


def test_row_23_exceptions_at_every_route_say_type_and_place_and_nothing_they_choked_on(
    in_use: Populated, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    member, world = in_use.people[0], in_use.world

    def explode(*_: object, **__: object) -> None:
        raise RuntimeError(f"{in_use.marker.text} {member.person} {member.name} {member.device.public.text}")

    monkeypatch.setattr(people, "me", explode)
    monkeypatch.setattr(consent, "withdraw", explode)
    monkeypatch.setattr(leases, "release", explode)
    withdrawal = sign(Withdrawal(person=member.person, record=new_id(), at=world.now), member.device)
    answers = [member.get("/v1/me"), world.post("/v1/withdrawals", with_leaf(withdrawal))]
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["type"] == Code.INTERNAL.type
        assert not [word for word in secrets_of(in_use) if word in answer.text]
    with pytest.raises(Refused):
        refusals(in_use.installation, in_use.job, in_use.recordings)
    out, err = capfd.readouterr()
    assert "RuntimeError" in out + err, "the positive control: the failure was logged"
    assert not [word for word in secrets_of(in_use) if word in out + err]


def test_row_23_positive_control_a_handler_that_quotes_messages_is_caught(
    in_use: Populated, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError(in_use.people[0].name)

    monkeypatch.setattr(people, "me", explode)
    monkeypatch.setattr(problems, "where", lambda error: [str(error)])
    in_use.people[0].get("/v1/me")
    logged = "".join(capfd.readouterr())
    assert [word for word in secrets_of(in_use) if word in logged]


def test_row_23_what_libraries_log_is_cut_down_to_type_and_place(in_use: Populated) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Discreet())
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    try:
        try:
            raise ValueError(f"cannot parse {in_use.marker.text}")
        except ValueError:
            logger.exception("while handling %s of %s", in_use.marker.text, in_use.people[0].name)
    finally:
        logger.removeHandler(handler)
    line = json.loads(stream.getvalue())
    assert line["error"] == "ValueError", "the positive control"
    assert not [word for word in secrets_of(in_use) if word in stream.getvalue()]


def test_row_23_a_broken_database_tells_nothing_of_what_was_written(
    in_use: Populated, capfd: pytest.CaptureFixture[str]
) -> None:
    """SQLAlchemy quotes statements and their values in its errors; ours never reach a log or an answer."""
    with closing(sqlite3.connect(in_use.world.settings.data_dir / "custodian.db")) as connection:
        connection.execute("DROP TABLE withdrawals")
        connection.commit()
    answer = in_use.people[0].withdraw()
    assert answer.status_code == 500
    out, err = capfd.readouterr()
    assert "OperationalError" in out + err, "the positive control"
    for text in (answer.text, out, err):
        assert not [word for word in secrets_of(in_use) if word in text]


def test_row_23_keys_and_plaintext_show_nothing_when_printed(in_use: Populated) -> None:
    data_key = DataKey.generate()
    vault = HybridPrivateKey.generate()
    raw = (data_key.to_bytes(), vault.to_private_bytes(), in_use.people[0].device.ed25519.private_bytes_raw())
    shown = [
        repr(thing) + str(thing)
        for thing in (
            data_key, vault, in_use.people[0].device, in_use.world.custodian, in_use.job,
            in_use.world.custodian.keks, in_use.installation.collector, in_use.recordings[0].sealed[0],
        )
    ]  # fmt: skip
    for key in raw:
        for text in shown:
            for form in (key.hex(), b64url(key), repr(key)[2:-1]):
                assert form not in text
    error = ""
    try:
        in_use.world.custodian.keks.check(99)
    except NotReady:
        error = traceback.format_exc()
    assert "99" in error
    with redirect_stderr(io.StringIO()) as stderr:
        print(in_use.job, file=sys.stderr)
    assert in_use.marker.text not in stderr.getvalue()


def test_row_23_requests_leave_no_line_in_the_log_of_a_live_collector(in_use: Populated) -> None:
    with running_collector(in_use) as (pid, address, log):
        for _ in range(3):
            httpx2.get(f"{address}/v1/streams/{in_use.recordings[0].stream}", trust_env=False)
        text = log.read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0", limits)
    assert "127.0.0.1" not in text and in_use.recordings[0].stream not in text and "GET" not in text


def test_row_23_no_core_is_written_when_a_service_dies(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from assent_service.hygiene import forbid_core_dumps\n"
        "forbid_core_dumps()\n"
        "os.kill(os.getpid(), signal.SIGABRT)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2) if _may() else None,
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def _may() -> bool:
    return resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY


def test_row_23_memory_of_a_live_custodian_never_sees_content(in_use: Populated) -> None:
    """In this process it would prove nothing, so the door opens a thousand things in one of its own."""
    code = (
        "import json, sys\n"
        "from assent_custodian.context import open_custodian\n"
        "from assent_custodian.leases import service\n"
        "from assent_custodian.settings import Settings\n"
        "from assent.contracts.wire import ReleaseBody\n"
        "from datetime import datetime\n"
        f"{SHUT}\n"
        "now = datetime.fromisoformat(sys.argv[2])\n"
        "custodian = open_custodian(Settings.model_validate_json(sys.argv[1]), lambda: now)\n"
        "answer = service.release(custodian, ReleaseBody.parse(sys.stdin.buffer.readline()))\n"
        "print(len(answer.sealed), flush=True)\n"
        "sys.stdin.read()\n"
    )
    pairs = [(segment.header, segment.sealed_key) for one in in_use.recordings for segment in one.sealed]
    batch = pack_batch(pairs)
    statement = ReleaseRequest(
        lease=in_use.job.lease.lease, batch=hashlib.sha256(batch).hexdigest(), count=len(pairs)
    )  # fmt: skip
    body = ReleaseBody(statement=sign(statement, in_use.job.signing_key), batch=base64.b64encode(batch).decode())
    arguments = [in_use.world.settings.model_dump_json(), in_use.world.clock().isoformat()]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(body.to_json() + b"\n")
        process.stdin.flush()
        assert int(process.stdout.readline()) > 1000, "it did open them"
        must_not_leak([Process(process.pid)], in_use.marker)
    finally:
        process.communicate(timeout=20)
    assert search([Named("plain", in_use.installation.plaintext(in_use.job))], in_use.marker)
