"""The witness against C2SP tlog-witness: every answer, every crash, every race. It is spoken to over HTTP only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient
from tests.unit.transparency.logs import ORIGIN, TIME, log_signer, signed, witness_cosigner
from tests.unit.transparency.trees import StoredTree, numbered_leaves

from assent.contracts.keys import KeyInvalid
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint, sign_checkpoint
from assent.transparency.errors import VerifierKeyInvalid
from assent.transparency.note import Note, Signature, VerifierKey
from assent.transparency.policy import Policy
from assent.transparency.succession import ending_of
from assent.transparency.witnessing import Submission, read_cosignatures, read_size
from assent_custodian.files import NotReady
from assent_server import witnessing
from assent_witness.app import MAX_BODY_BYTES, create_app, verifier_key
from assent_witness.heads import Heads
from assent_witness.keys import KeyFileUnsafe, create_key, load_cosigner
from assent_witness.settings import WitnessSettings

OTHER_ORIGIN = "other.example/log"
TREE = StoredTree(numbered_leaves(40))
FORK = StoredTree([*numbered_leaves(5), *(f"forged {number}".encode() for number in range(35))])


@pytest.fixture
def config(tmp_path: Path) -> WitnessSettings:
    create_key(tmp_path / "key.pem")
    return WitnessSettings(
        name="witness.example/council",
        key_path=tmp_path / "key.pem",
        state_dir=tmp_path / "state",
        log_keys=(str(log_signer().verifier), str(log_signer(OTHER_ORIGIN, "other").verifier)),
    )


@pytest.fixture
def witness(config: WitnessSettings) -> TestClient:
    return client_of(config)


def client_of(config: WitnessSettings, now: float = TIME) -> TestClient:
    return TestClient(create_app(config, now=lambda: now), raise_server_exceptions=False)


def head(size: int, tree: StoredTree = TREE, origin: str = ORIGIN) -> Note:
    return signed(Checkpoint(origin, size, tree.root(size))) if origin == ORIGIN else other_head(size, tree)


def other_head(size: int, tree: StoredTree) -> Note:
    return sign_checkpoint(Checkpoint(OTHER_ORIGIN, size, tree.root(size)), log_signer(OTHER_ORIGIN, "other"))


def request(old: int, new: int, tree: StoredTree = TREE, origin: str = ORIGIN) -> bytes:
    proof = merkle.consistency_proof(old, new, tree.nodes) if old <= new else []
    return Submission(old, tuple(proof), head(new, tree, origin)).to_bytes()


def raw_request(old: int, proof: Sequence[bytes], note: Note) -> bytes:
    return Submission(old, tuple(proof), note).to_bytes()


def send(witness: TestClient | httpx2.Client, body: bytes) -> tuple[int, bytes]:
    answer = witness.post("/add-checkpoint", content=body)
    return answer.status_code, answer.content


def assert_cosigned(config: WitnessSettings, body: bytes, note: Note) -> None:
    policy = Policy.from_bytes(f"log {log_signer().verifier}\nwitness w {verifier_key(config)}\nquorum w\n".encode())
    lines = read_cosignatures(body, note, [VerifierKey.from_text(verifier_key(config))])
    policy.check(note.signed_also_by(*lines))


def assert_size_is(witness: TestClient | httpx2.Client, size: int, origin: str = ORIGIN) -> None:
    """Ask the way a log without a memory does: with an old size that cannot be right."""
    other = size + 1
    status, body = send(witness, request(other, other + 1, origin=origin))
    assert (status, read_size(body)) == (409, size)


def test_a_log_that_grows_is_cosigned_head_after_head(witness: TestClient, config: WitnessSettings) -> None:
    for old, new in ((0, 0), (0, 1), (1, 5), (5, 5), (5, 8), (8, 37)):
        answer = witness.post("/add-checkpoint", content=request(old, new))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert_cosigned(config, answer.content, head(new))
    assert_size_is(witness, 37)


def test_the_cosignature_says_when(config: WitnessSettings) -> None:
    witness = client_of(config, now=TIME + 0.9)
    key = VerifierKey.from_text(verifier_key(config))
    (line,) = read_cosignatures(send(witness, request(0, 3))[1], head(3), [key])
    assert key.verify(head(3).text, line) == TIME


def test_the_answer_is_signature_lines_and_nothing_else(witness: TestClient) -> None:
    _, body = send(witness, request(0, 3))
    assert body.startswith("— witness.example/council ".encode())
    assert body.endswith(b"\n")
    assert body.count(b"\n") == 1


def test_the_same_head_is_cosigned_again(witness: TestClient, config: WitnessSettings) -> None:
    assert send(witness, request(0, 7))[0] == 200
    status, body = send(witness, request(7, 7))
    assert status == 200
    assert_cosigned(config, body, head(7))


def test_a_wrong_old_size_is_answered_with_the_right_one(witness: TestClient) -> None:
    assert_size_is(witness, 0)
    send(witness, request(0, 7))
    for old in (0, 1, 6, 8):
        answer = witness.post("/add-checkpoint", content=request(old, 9))
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "text/x.tlog.size"
        assert answer.content == b"7\n"
    assert send(witness, request(7, 9))[0] == 200


def test_a_rollback_is_refused(witness: TestClient) -> None:
    send(witness, request(0, 9))
    assert send(witness, request(0, 7)) == (409, b"9\n")
    assert send(witness, request(7, 7)) == (409, b"9\n")
    assert send(witness, raw_request(9, [], head(7)))[0] == 400
    assert_size_is(witness, 9)


def test_a_rewritten_past_is_refused_and_kept_as_evidence(
    witness: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    send(witness, request(0, 7))
    with caplog.at_level(logging.WARNING):
        assert send(witness, request(7, 9, FORK))[0] == 422
    assert FORK.root(9) != TREE.root(9)
    assert head(9, FORK).signatures[0].to_line().split()[-1] in caplog.text
    assert send(witness, request(7, 9))[0] == 200


def test_two_roots_of_one_size_are_refused(witness: TestClient) -> None:
    send(witness, request(0, 7))
    assert send(witness, raw_request(7, [], head(7, FORK)))[0] == 422
    assert send(witness, request(7, 7))[0] == 200


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (7, 9, []),
        (7, 9, [bytes(32)]),
        (7, 9, [*merkle.consistency_proof(7, 9, TREE.nodes), bytes(32)]),
        (7, 9, merkle.consistency_proof(7, 9, TREE.nodes)[:-1]),
        (7, 9, merkle.consistency_proof(6, 9, TREE.nodes)),
        (7, 7, [bytes(32)]),
    ],
)
def test_a_wrong_proof_is_refused_and_changes_nothing(
    witness: TestClient, old: int, new: int, proof: list[bytes]
) -> None:
    send(witness, request(0, 7))
    assert send(witness, raw_request(old, proof, head(new)))[0] == 422
    assert_size_is(witness, 7)


def test_from_size_zero_the_proof_is_empty(witness: TestClient) -> None:
    assert send(witness, raw_request(0, [bytes(32)], head(7)))[0] == 422
    assert send(witness, raw_request(0, [TREE.root(7)], head(7)))[0] == 422
    assert_size_is(witness, 0)
    assert send(witness, raw_request(0, [], head(7)))[0] == 200


def test_an_empty_log_has_the_empty_root(witness: TestClient, config: WitnessSettings) -> None:
    assert send(witness, raw_request(0, [], signed(Checkpoint(ORIGIN, 0, bytes(32)))))[0] == 422
    status, body = send(witness, raw_request(0, [], head(0)))
    assert status == 200
    assert_cosigned(config, body, head(0))
    assert send(witness, request(0, 4))[0] == 200
    assert send(witness, request(0, 0)) == (409, b"4\n")


def test_an_unknown_origin_is_not_found(witness: TestClient) -> None:
    note = sign_checkpoint(Checkpoint("stranger.example", 7, TREE.root(7)), log_signer("stranger.example"))
    assert send(witness, raw_request(0, [], note))[0] == 404


def test_only_the_logs_own_key_counts(witness: TestClient, config: WitnessSettings) -> None:
    text = head(7).text
    right, other = head(7).signatures[0], log_signer(OTHER_ORIGIN, "other").sign(text)
    stranger = log_signer(seed="stranger").sign(text)
    false = Signature(right.name, right.key_id, bytes(64))
    cosigned = witness_cosigner(1).cosign(text, TIME)
    for lines in ((other,), (stranger,), (false,), (false, right), (right, false), (cosigned,)):
        assert send(witness, raw_request(0, [], Note(text, lines)))[0] == 403
    assert_size_is(witness, 0)
    status, body = send(witness, raw_request(0, [], Note(text, (stranger, other, cosigned, right))))
    assert status == 200
    assert_cosigned(config, body, head(7))


def test_an_old_size_beyond_the_checkpoint_is_malformed(witness: TestClient) -> None:
    assert send(witness, raw_request(8, [], head(7)))[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old x\n\n" + head(7).to_bytes(),
        b"old 00\n\n" + head(7).to_bytes(),
        b"old 0\nAAAA\n\n" + head(7).to_bytes(),
        b"old 0\n\n" + head(7).to_bytes()[:-1],
        b"old 0\n\n" + head(7).text.encode(),
        raw_request(0, [bytes(32)] * 64, head(7)),
        b"\xff" * 100,
    ],
)
def test_malformed_requests_are_refused(witness: TestClient, body: bytes) -> None:
    assert send(witness, body)[0] == 400


def test_a_note_that_is_no_checkpoint_is_malformed(witness: TestClient) -> None:
    text = f"{ORIGIN}\nseven\n\n"
    assert send(witness, raw_request(0, [], Note(text, (log_signer().sign(text),))))[0] == 400


def test_a_request_of_more_than_64_kib_is_refused(witness: TestClient) -> None:
    body = request(0, 7)
    line = Signature("padding.example", b"1234", bytes(700)).to_line().encode()
    body += line * ((MAX_BODY_BYTES - len(body)) // len(line))
    assert send(witness, body)[0] == 200
    assert send(witness, request(7, 9) + line * 100)[0] == 413
    assert send(witness, b"x" * (MAX_BODY_BYTES + 1))[0] == 413
    assert_size_is(witness, 7)


@pytest.mark.parametrize("rest", ["never comes", "is broken off"])
def test_a_body_that_does_not_arrive_is_given_up(
    config: WitnessSettings, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    monkeypatch.setattr("assent_witness.app.BODY_TIMEOUT_S", 0.05 if rest == "never comes" else 60)
    app, sent = create_app(config), []
    arriving = iter([{"type": "http.request", "body": b"old 0\n", "more_body": True}])

    async def receive() -> dict[str, object]:
        for message in arriving:
            return message
        if rest == "never comes":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send_back(message: MutableMapping[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/add-checkpoint", "query_string": b"", "headers": []}
    asyncio.run(app(scope, receive, send_back))
    assert sent[0]["status"] == 408


def test_strangers_lines_are_not_kept(witness: TestClient, config: WitnessSettings) -> None:
    padding = "".join(Signature(f"s{number}.example", b"1234", b"5").to_line() for number in range(99))
    assert send(witness, request(0, 7) + padding.encode())[0] == 200
    stored = [path.read_bytes() for path in config.state_dir.iterdir() if path.suffix == ".checkpoint"]
    assert len(stored) == 1
    names = [line.name for line in Note.from_bytes(stored[0]).signatures]
    assert names == [ORIGIN, "witness.example/council"]
    assert send(witness, request(7, 9))[0] == 200


def test_each_log_has_a_head_of_its_own(witness: TestClient) -> None:
    assert send(witness, request(0, 7))[0] == 200
    assert send(witness, request(0, 3, FORK, OTHER_ORIGIN))[0] == 200
    assert_size_is(witness, 7)
    assert_size_is(witness, 3, OTHER_ORIGIN)


def test_both_keys_of_a_rotating_log_are_trusted(config: WitnessSettings) -> None:
    following = log_signer(seed="next")
    witness = client_of(config.model_copy(update={"log_keys": (*config.log_keys, str(following.verifier))}))
    assert send(witness, request(0, 7))[0] == 200
    note = sign_checkpoint(Checkpoint(ORIGIN, 9, TREE.root(9)), following)
    assert send(witness, raw_request(7, merkle.consistency_proof(7, 9, TREE.nodes), note))[0] == 200


def test_health_and_nothing_else(witness: TestClient) -> None:
    assert witness.get("/healthz").text == "ok\n"
    assert witness.get("/add-checkpoint").status_code == 405
    for path in ("/", "/docs", "/redoc", "/openapi.json", "/metrics", "/state", "/v1/key"):
        assert witness.get(path).status_code == 404


def shown(witness: TestClient, origin: str = ORIGIN) -> httpx2.Response:
    return witness.get(f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint")


def test_the_newest_head_of_each_log_is_shown_to_monitors(witness: TestClient, config: WitnessSettings) -> None:
    assert shown(witness).status_code == 404, "nothing is signed yet"
    send(witness, request(0, 7))
    send(witness, request(7, 9, FORK))
    send(witness, request(0, 3, FORK, OTHER_ORIGIN))
    answer = shown(witness)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    note = Note.from_bytes(answer.content)
    assert note.text == head(7).text
    assert [line.name for line in note.signatures] == [ORIGIN, config.name]
    policy = Policy.from_bytes(f"log {log_signer().verifier}\nwitness w {verifier_key(config)}\nquorum w\n".encode())
    assert policy.check(note).cosigned_at == {"w": TIME}
    assert Note.from_bytes(shown(witness, OTHER_ORIGIN).content).text == other_head(3, FORK).text
    assert shown(client_of(config)).content == answer.content, "also after a restart"


def test_no_other_file_is_shown_and_a_damaged_head_is_none(witness: TestClient, config: WitnessSettings) -> None:
    send(witness, request(0, 7))
    (path,) = config.state_dir.glob("*.checkpoint")
    shutil.copy(config.key_path, config.state_dir / "key.checkpoint")
    for name in ("key", "..%2Fkey", path.stem.upper(), path.stem[:-1], "0" * 64, ".."):
        assert witness.get(f"/{name}/checkpoint").status_code == 404, name
    for damage in (b"nonsense", other_head(3, TREE).to_bytes()):
        path.write_bytes(damage)
        answer = shown(witness)
        assert (answer.status_code, answer.content) == (500, b"the witness cannot read its state\n")


def test_heads_survive_a_restart(config: WitnessSettings) -> None:
    send(client_of(config), request(0, 7))
    restarted = client_of(config)
    assert_size_is(restarted, 7)
    assert send(restarted, request(7, 9))[0] == 200


@pytest.mark.parametrize("damage", [b"", b"garbage", "cut", "other log"])
def test_a_damaged_head_stops_the_witness_for_that_log_and_never_counts_as_none(
    config: WitnessSettings, damage: bytes | str
) -> None:
    witness = client_of(config)
    send(witness, request(0, 7))
    (path,) = config.state_dir.glob("*.checkpoint")
    whole = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "other log":
            path.write_bytes(other_head(3, TREE).to_bytes())
        case _:
            assert isinstance(damage, bytes)
            path.write_bytes(damage)
    for body in (request(0, 7), request(7, 9), request(7, 7)):
        assert send(witness, body) == (500, b"the witness cannot keep its state\n")
    assert send(witness, request(0, 3, origin=OTHER_ORIGIN))[0] == 200
    path.write_bytes(whole)
    assert send(witness, request(7, 9))[0] == 200


def test_a_head_that_cannot_be_stored_is_not_cosigned(config: WitnessSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = client_of(config)
    send(witness, request(0, 7))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", _fail)
        status, body = send(witness, request(7, 9))
    assert (status, body) == (500, b"the witness cannot keep its state\n")
    assert_size_is(witness, 7)
    assert send(witness, request(7, 9))[0] == 200


def test_a_head_that_was_stored_but_reported_lost_is_cosigned_on_the_next_attempt(
    config: WitnessSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = client_of(config)
    send(witness, request(0, 7))
    with monkeypatch.context() as broken:
        broken.setattr("assent_witness.heads.sync", _fail)
        assert send(witness, request(7, 9))[0] == 500
    assert send(witness, request(7, 9)) == (409, b"9\n")
    assert send(witness, request(9, 9))[0] == 200


def _fail(*_: object) -> None:
    raise OSError("no space left on device")


def test_of_concurrent_conflicting_heads_exactly_one_wins(config: WitnessSettings) -> None:
    """Two services on one state folder, eight requests at once for two histories that part after leaf 5."""
    services = [client_of(config), client_of(config)]
    send(services[0], request(0, 5))
    for start in range(4):
        bodies = [(tree, request(5, 20 + start + extra, tree)) for extra in range(4) for tree in (TREE, FORK)]
        barrier = threading.Barrier(len(bodies))

        def submit(
            number: int, bodies: list[tuple[StoredTree, bytes]] = bodies, barrier: threading.Barrier = barrier
        ) -> int:
            barrier.wait()
            return send(services[number % 2], bodies[number][1])[0]

        with ThreadPoolExecutor(len(bodies)) as pool:
            statuses = list(pool.map(submit, range(len(bodies))))
        assert sorted(statuses) == [200] + [409] * 7
        (state,) = config.state_dir.glob("*.checkpoint")
        winner = Checkpoint.from_text(Note.from_bytes(state.read_bytes()).text)
        assert winner.root == bodies[statuses.index(200)][0].root(winner.size)
        state.unlink()
        send(services[0], request(0, 5))


# What follows runs the service as it is run: a process of its own, over TCP, killed without warning.

SERVE = """
import os, signal, sys
from pathlib import Path
from assent_witness import app, heads, witness
from assent_witness.settings import WitnessSettings

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

config, port, killed = WitnessSettings.model_validate_json(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if killed == "after storing":
    witness.build_cosignatures = die
elif killed == "before storing":
    heads.Path.replace = die
app.serve(config, "127.0.0.1", port)
"""


@contextmanager
def running(config: WitnessSettings, killed: str = "never") -> Iterator[tuple[httpx2.Client, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, config.model_dump_json(), str(port), killed],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            deadline = time.monotonic() + 60
            while not _answers(client):
                assert process.poll() is None, "the witness did not start"
                assert time.monotonic() < deadline, "the witness did not start in time"
                time.sleep(0.05)
            yield client, process
    finally:
        process.kill()
        process.wait()


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx2.TransportError:
        return False


def test_the_process_prints_the_evidence_and_what_is_wrong_with_its_state(
    config: WitnessSettings, tmp_path: Path
) -> None:
    """As operators run it: its log goes through the formatter that cuts down what libraries say."""
    said = tmp_path / "said"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    toml = tmp_path / "witness.toml"
    toml.write_text(
        f'name = "{config.name}"\nkey_path = "{config.key_path}"\nstate_dir = "{config.state_dir}"\n'
        f"log_keys = {list(config.log_keys)!r}\nport = {port}\n"
    )
    with said.open("wb") as out, httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        command = [sys.executable, "-m", "assent_server.run_witness", str(toml)]
        with subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
            try:
                deadline = time.monotonic() + 60
                while not _answers(client):
                    assert process.poll() is None and time.monotonic() < deadline, said.read_text()
                    time.sleep(0.05)
                answers = [client.post("/add-checkpoint", content=request(0, 7)).status_code]
                answers.append(client.post("/add-checkpoint", content=request(7, 9, FORK)).status_code)
                state = config.state_dir / f"{hashlib.sha256(ORIGIN.encode()).hexdigest()}.checkpoint"
                state.write_text("damaged")
                answers.append(client.post("/add-checkpoint", content=request(7, 9)).status_code)
            finally:
                process.terminate()
                process.wait(30)
    assert answers == [200, 422, 500]
    lines = [json.loads(line) for line in said.read_text().splitlines()]
    evidence, fault = [line["said"] for line in lines if line["event"] == "witness"]
    assert head(9, FORK).signatures[0].to_line().split()[-1] in evidence
    assert head(9, FORK).text.encode("unicode_escape").decode() in evidence
    assert state.name in fault, "which file it is"


@pytest.mark.parametrize(("killed", "stored"), [("before storing", 7), ("after storing", 9)])
def test_a_witness_killed_around_the_moment_of_storing_never_forgets_what_it_signed(
    config: WitnessSettings, killed: str, stored: int
) -> None:
    send(client_of(config), request(0, 7))
    with running(config, killed) as (client, process):
        with pytest.raises(httpx2.TransportError):
            send(client, request(7, 9))
        assert process.wait(timeout=30) == -signal.SIGKILL
    restarted = client_of(config)
    assert_size_is(restarted, stored)
    assert send(restarted, request(stored, 9))[0] == 200
    assert send(restarted, request(9, 12, FORK))[0] == 422


def test_two_processes_on_one_state_folder_let_one_history_win(config: WitnessSettings) -> None:
    send(client_of(config), request(0, 5))
    with running(config) as (one, first), running(config) as (two, second):
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(
                lambda number: send((one, two)[number % 2], request(5, 20 + number // 2, (TREE, FORK)[number % 2]))[0],
                range(8),
            )
            assert sorted(answers) == [200] + [409] * 7
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
            assert b"127.0.0.1" not in output, "no addresses in what a witness prints"


def test_a_new_key_is_private_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    old_mask = os.umask(0)
    try:
        create_key(path)
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        create_key(path)
    assert path.read_bytes() == before


def test_a_witness_does_not_start_with_an_unsafe_or_damaged_key_or_an_unknown_log_key(config: WitnessSettings) -> None:
    create_app(config)
    with pytest.raises(VerifierKeyInvalid):
        create_app(config.model_copy(update={"log_keys": ("nonsense",)}))
    with pytest.raises(VerifierKeyInvalid):
        create_app(config.model_copy(update={"name": "with space"}))
    config.key_path.chmod(0o640)
    with pytest.raises(KeyFileUnsafe):
        create_app(config)
    config.key_path.chmod(0o600)
    config.key_path.write_bytes(b"damaged")
    with pytest.raises(KeyInvalid):
        create_app(config)
    config.key_path.unlink()
    with pytest.raises(FileNotFoundError):
        create_app(config)


def test_the_key_shows_nowhere(config: WitnessSettings) -> None:
    secret = config.key_path.read_text().split("\n")[1]
    assert secret not in repr(config)
    assert secret not in verifier_key(config)
    assert verifier_key(config).startswith("witness.example/council+")


# --- a log that ended, and the one that begins after it ---

NEXT_ORIGIN = f"{ORIGIN}/2"


def next_head(size: int, tree: StoredTree) -> Note:
    return sign_checkpoint(Checkpoint(NEXT_ORIGIN, size, tree.root(size)), log_signer(NEXT_ORIGIN, "next"))


def next_request(old: int, new: int, tree: StoredTree) -> bytes:
    return Submission(old, tuple(merkle.consistency_proof(old, new, tree.nodes)), next_head(new, tree)).to_bytes()


def after(kept: int) -> StoredTree:
    """The next log: it begins with what was kept."""
    return StoredTree([*numbered_leaves(kept), b"opened", b"more"])


def following(config: WitnessSettings, kept: int, quoted: Note | None = None) -> TestClient:
    """The witness, after its directory says how the log ended: at `quoted`, by default what it signed last itself."""
    with Heads(config.state_dir).locked(ORIGIN) as own:
        note = quoted or own.note()
    assert note is not None
    key = verifier_key(config)
    policy = Policy.from_bytes(f"log {log_signer().verifier}\nwitness w {key}\nquorum w\n".encode())
    ending = ending_of(policy, [note], kept, TREE.root(kept) if kept else merkle.EMPTY_ROOT)
    next_key = str(log_signer(NEXT_ORIGIN, "next").verifier)
    app = create_app(config, lambda: TIME, lambda: (next_key,), lambda: (ending,))
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("kept", [0, 1, 16, 29])
def test_a_new_log_goes_on_from_what_was_kept(witness: TestClient, config: WitnessSettings, kept: int) -> None:
    send(witness, request(0, 30))
    follower = following(config, kept)
    tree = after(kept)
    status, body = send(follower, next_request(kept, kept + 1, tree))
    assert status == 200, body
    assert send(follower, next_request(kept + 1, kept + 2, tree))[0] == 200
    assert send(follower, request(30, 31))[0] == 404, "the former log is not followed any more"


def test_a_new_log_that_does_not_begin_with_what_was_kept_is_refused(
    witness: TestClient, config: WitnessSettings
) -> None:
    send(witness, request(0, 30))
    follower = following(config, 16)
    changed = StoredTree([b"changed", *numbered_leaves(16)[1:], b"opened"])
    assert send(follower, next_request(16, 17, changed))[0] == 422
    assert send(follower, next_request(0, 17, after(16))) == (409, b"16\n"), "nor one that begins with nothing"
    assert send(follower, next_request(16, 17, after(16)))[0] == 200, "the control"


@pytest.mark.parametrize("attack", ["an older head of its own", "a head that it never signed", "it has forgotten"])
def test_a_witness_follows_only_where_the_head_that_it_signed_last_is_quoted(
    witness: TestClient, config: WitnessSettings, caplog: pytest.LogCaptureFixture, attack: str
) -> None:
    send(witness, request(0, 20))
    with Heads(config.state_dir).locked(ORIGIN) as own:
        older = own.note()
    send(witness, request(20, 30))
    with Heads(config.state_dir).locked(ORIGIN) as own:
        newest = own.note()
    assert older is not None and newest is not None
    quoted = older
    if attack == "a head that it never signed":
        forged = head(35, FORK)
        key_of_its_own = load_cosigner(config.key_path, config.name)  # as if its key were used elsewhere
        quoted = forged.signed_also_by(key_of_its_own.cosign(forged.text, int(TIME)))
    if attack == "it has forgotten":
        quoted = newest
        for file in config.state_dir.glob("*.checkpoint"):
            file.unlink()
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            status, body = send(following(config, 10, quoted), next_request(10, 11, after(10)))
        assert status == 422
        assert body.startswith(b"leaves were dropped")
    assert next_head(11, after(10)).text.encode("unicode_escape").decode() in caplog.text, "and kept as evidence"
    with Heads(config.state_dir).locked(NEXT_ORIGIN) as following_head:
        assert following_head.read().size == 0


def test_a_new_log_must_contain_what_a_witness_signed_of_the_former_one(
    witness: TestClient, config: WitnessSettings
) -> None:
    """A witness that was behind: all that it signed was kept, so it asks for a proof from there."""
    send(witness, request(0, 7))
    with Heads(config.state_dir).locked(ORIGIN) as own:
        behind = own.note()
    assert behind is not None
    policy = Policy.from_bytes(
        f"log {log_signer().verifier}\nwitness w {verifier_key(config)}\n"
        f"witness v {witness_cosigner(1).verifier}\ngroup g any w v\nquorum g\n".encode()
    )
    ending = ending_of(policy, [behind, signed(Checkpoint(ORIGIN, 30, TREE.root(30)), 1)], 16, TREE.root(16))
    next_key = str(log_signer(NEXT_ORIGIN, "next").verifier)
    follower = TestClient(create_app(config, lambda: TIME, lambda: (next_key,), lambda: (ending,)))
    assert send(follower, next_request(16, 17, after(16))) == (409, b"7\n")
    assert send(follower, next_request(7, 17, after(16)))[0] == 200


def test_the_newest_head_is_printed_for_a_directory_to_quote(witness: TestClient, config: WitnessSettings) -> None:
    prepared = witnessing.WitnessConfig(
        name=config.name, key_path=config.key_path, state_dir=config.state_dir, log_keys=config.log_keys[:1]
    )
    with pytest.raises(NotReady, match="signed no head"):
        witnessing.newest_head(prepared)
    send(witness, request(0, 9))
    note = witnessing.newest_head(prepared)
    policy = Policy.from_bytes(f"log {log_signer().verifier}\nwitness w {verifier_key(config)}\nquorum w\n".encode())
    assert policy.check(note).checkpoint.size == 9
