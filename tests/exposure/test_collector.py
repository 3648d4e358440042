"""Rows 10, 12, 13 and 17: everything that the collector holds, and everything that it could do if it wanted harm."""

from __future__ import annotations

import base64
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import create_engine
from tests.exposure.canary import Marker, Named, Process, must_not_leak, search
from tests.exposure.world import Answer, Ask, Enemy, Populated, Recording, installed
from tests.simulators.answering import wait_until_it_answers
from tests.simulators.postgres import PostgresServer

from assent.client.transport import AnswerInvalid, ClientError, Refused
from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Order, OrderDone, Revocation, Stored, StreamCertificate, Tombstone
from assent.contracts.times import parse_day
from assent.contracts.wire import FetchAnswer, FetchedSegment, FetchedStream
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.padding import padded_length
from assent.sealing.segments import parse_header, seal_segment
from assent_custodian.night import run_night

# --- row 12: a dump of the database -----------------------------------------------------------------------------------


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in the order in which the database gives them."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {table: connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables}


def collector_database(populated: Populated) -> Path:
    return populated.installation.collector_settings.data_dir / "collector.db"


def words(populated: Populated) -> str:
    """All text in the dump, with envelopes opened."""
    found = []
    for rows in dump(collector_database(populated)).values():
        for row in rows:
            for value in row:
                text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                found.append(text)
                found += [base64.b64decode(part).decode("latin-1") for part in re.findall(r'"payload":"([^"]+)"', text)]
    return "\n".join(found)


def test_row_12_the_dump_holds_neither_text_nor_tile(populated: Populated) -> None:
    must_not_leak([populated.installation.collector_settings.data_dir], populated.marker)


def test_row_12_positive_control_the_same_search_finds_what_a_leak_would_leave(in_use: Populated) -> None:
    with closing(sqlite3.connect(collector_database(in_use))) as connection:
        connection.execute("UPDATE streams SET closed = ?", (in_use.marker.text[:10],))
        connection.execute("UPDATE items SET exact = exact || ?", (in_use.marker.text.encode(),))
        connection.commit()
    assert search([in_use.installation.collector_settings.data_dir], in_use.marker)


def test_row_12_neither_do_databases_on_postgresql(postgres_server: PostgresServer, tmp_path: Path) -> None:
    urls = (postgres_server.new_database(), postgres_server.new_database())
    engines = [create_engine(url) for url in urls]
    try:
        with installed(tmp_path, database_urls=urls) as installation:
            installation.world.add_purpose()
            member, marker = installation.world.add_participants(1)[0], Marker.new()
            (recording, *_) = installation.record(member, marker)
            installation.own_job(member)
            run_night(installation.world.custodian)
            must_not_leak([*engines, tmp_path], marker)
            assert search([engines[1]], Marker(recording.stream, marker.pattern)), "the positive control: it was read"
    finally:
        for engine in engines:
            engine.dispose()
        for url in urls:
            postgres_server.drop(url)


def test_row_12_the_dump_names_no_person_credential_receipt_or_request(populated: Populated) -> None:
    text = words(populated)
    assert populated.recordings[0].stream in text, "the positive control: what is there is found"
    secret = [populated.request, populated.job.lease.lease, populated.world.custodian.settings.data_dir.name + "/keys"]
    for member in populated.people:
        secret += [member.person, member.name, member.device.public.text, member.opening.public.text]
        secret += [member.device.public.id, member.opening.public.id]
        secret += [receipt.record for receipt in member.receipts]
    assert not [word for word in secret if word in text]


def test_row_12_the_dump_knows_days_and_hours_and_no_moments(populated: Populated) -> None:
    text = words(populated)
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d", text), "hours are there"
    assert not re.search(r"T\d\d:\d\d", text), "minutes are not"
    epoch = int(populated.world.clock().timestamp())
    for rows in dump(collector_database(populated)).values():
        for row in rows:
            numbers = [value for value in row if isinstance(value, int)]
            assert not [n for n in numbers if abs(n - epoch) < 10**8 or abs(n // 1000 - epoch) < 10**8]


def test_row_12_the_dump_does_not_say_what_came_together_or_in_which_order(populated: Populated) -> None:
    tables = dump(collector_database(populated))
    for table in ("streams", "certificates", "items", "marks"):
        rows = tables[table]
        assert rows == sorted(rows, key=lambda row: row[:2]) or not rows, "rows lie in the order of their random ids"
        with closing(sqlite3.connect(collector_database(populated))) as connection, pytest.raises(sqlite3.Error):
            connection.execute(f"SELECT rowid FROM {table}")
    certificates = [one.certificate for one in populated.recordings]
    for name in ("record_until", "upload_until", "byte_budget", "day"):
        assert len({getattr(certificate, name) for certificate in certificates}) == 1, (
            f"{name} is the same for all who recorded at that time, so it joins nobody's streams"
        )


def test_row_12_certificates_of_one_person_share_nothing(populated: Populated) -> None:
    mine = [one.certificate for one in populated.recordings if one.member is populated.people[0]]
    assert len(mine) > 1
    for name in ("stream", "stream_key", "vault_key"):
        assert len({getattr(certificate, name) for certificate in mine}) == len(mine)
    assert set(StreamCertificate.model_fields) == {
        "v", "stream", "stream_key", "modality", "day", "suite", "vault_key", "record_until", "upload_until",
        "byte_budget",
    }  # fmt: skip


# --- row 13: a dump of the object store -------------------------------------------------------------------------------


def blobs(populated: Populated) -> list[Path]:
    root = populated.installation.collector_settings.blobs / "days"
    return [path for path in root.rglob("*") if path.is_file()]


def test_row_13_the_objects_hold_neither_text_nor_tile(populated: Populated) -> None:
    assert len(blobs(populated)) >= len(populated.recordings)
    must_not_leak([populated.installation.collector_settings.blobs], populated.marker)


def test_row_13_positive_control_a_body_that_was_not_encrypted_would_be_found(in_use: Populated) -> None:
    screen = next(one for one in in_use.recordings if one.modality.value == "screen")
    blobs(in_use)[0].write_bytes(in_use.installation.content(screen.certificate, in_use.marker))
    assert {hit.what for hit in search([in_use.installation.collector_settings.blobs], in_use.marker)} == {"tile"}


def test_row_13_names_times_and_sizes_of_objects_say_nothing_more_than_a_day(populated: Populated) -> None:
    known = " ".join(one.stream for one in populated.recordings)
    for path in blobs(populated):
        assert re.fullmatch(r"[0-9a-f]{32}", path.name) and path.name not in known
        midnight = datetime.combine(parse_day(path.parent.name), datetime.min.time(), UTC).timestamp()
        assert path.stat().st_mtime == midnight
    for recording in populated.recordings:
        for segment in recording.sealed:
            length = parse_header(segment.header).length
            assert length == padded_length(length - 8) or length == padded_length(length), "padded, not exact"


# --- rows 10 and 17: a collector in enemy hands -----------------------------------------------------------------------


def opened(populated: Populated) -> tuple[dict[str, int], list[str]]:
    """Read everything under a new lease, through the enemy: what was opened by stream, and why anything was not."""
    job = populated.installation.job(populated.staff.requester, populated.request)
    with populated.installation.reading(job) as data:
        counts: dict[str, int] = {}
        reasons: list[str] = []
        for session in data.sessions():
            for _ in session.events():
                pass
            for stream in session.coverage().streams:
                counts[stream.stream] = stream.opened
                reasons += [*stream.not_opened, *(finding.fault.value for finding in stream.findings)]
                if stream.closed == "not closed":
                    reasons.append("not closed")
        reasons += ["missing" for _ in data.missing]
        reasons += [reason for stream in data.empty for reason in stream.not_opened]
        reasons += [dropped.reason for dropped in data.dropped]
        return counts, reasons


def listing(change: Callable[[list[FetchedStream]], list[FetchedStream]]) -> Enemy:
    """An enemy who changes every list of streams."""

    def enemy(ask: Ask, real: Callable[[], Answer]) -> Answer:
        answer = real()
        if ask.url.path != "/v1/fetch/streams" or answer.status_code != 200:
            return answer
        streams = change(list(FetchAnswer.parse(answer.content).streams))
        changed = FetchAnswer(streams=tuple(streams)).to_json()
        return Answer(200, headers={"content-type": "application/json"}, content=changed)

    return enemy


def _items(stream: FetchedStream, items: list[Any]) -> FetchedStream:
    return stream.model_copy(update={"items": tuple(items)})


def _with_first(stream: FetchedStream, **changes: Any) -> FetchedStream:
    first, *rest = stream.items
    assert isinstance(first, FetchedSegment)
    return _items(stream, [first.model_copy(update=changes), *rest])


def _each(change: Callable[[FetchedStream], FetchedStream]) -> Callable[[list[FetchedStream]], list[FetchedStream]]:
    return lambda streams: [change(stream) for stream in streams]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def forged(stream: FetchedStream) -> FetchedStream:
    """A segment of the enemy's own making, with keys of its own, under the certificate of somebody else's stream."""
    key, vault = SigningKey.generate(), HybridPrivateKey.generate()
    first = stream.items[0]
    assert isinstance(first, FetchedSegment)
    header = parse_header(base64.b64decode(first.header))
    segment, _ = seal_segment(
        content=b"injected", stream=stream.stream, sequence=0, previous=header.previous, hour=header.hour,
        vault_key=vault.public_key, stream_key=key.ed25519,
    )  # fmt: skip
    return _with_first(
        stream, header=_b64(segment.header), sealed_key=_b64(segment.sealed_key), signature=_b64(segment.signature),
        body_sha256=segment.body_sha256.hex(), body_length=len(segment.body),
    )  # fmt: skip


def own_certificate(stream: FetchedStream) -> FetchedStream:
    """The whole stream replaced: certificate signed by the enemy, and everything that follows from it."""
    certificate = StreamCertificate.model_validate_json(stream.certificates[0].payload_bytes)
    key = SigningKey.generate()
    envelope = sign(certificate.model_copy(update={"stream_key": key.public.text}), SigningKey.generate())
    return forged(stream).model_copy(update={"certificates": (envelope,)})


def rotated(field: str) -> Callable[[list[FetchedStream]], list[FetchedStream]]:
    """Each stream gets this part of its neighbour's first segment."""

    def change(streams: list[FetchedStream]) -> list[FetchedStream]:
        firsts = [stream.items[0] for stream in streams]
        return [
            _with_first(stream, **{field: getattr(firsts[(n + 1) % len(streams)], field)})
            for n, stream in enumerate(streams)
        ]

    return change


def swapped_certificates(streams: list[FetchedStream]) -> list[FetchedStream]:
    others = streams[1:] + streams[:1]
    return [
        stream.model_copy(update={"certificates": other.certificates})
        for stream, other in zip(streams, others, strict=True)
    ]


NOTHING_OPENS: dict[str, Callable[[list[FetchedStream]], list[FetchedStream]]] = {
    "exchanges sealed keys": rotated("sealed_key"),
    "exchanges headers": rotated("header"),
    "exchanges signatures": rotated("signature"),
    "exchanges digests": rotated("body_sha256"),
    "exchanges certificates": swapped_certificates,
    "signs certificates itself": _each(own_certificate),
    "puts in a segment of its own": _each(forged),
    "repeats an item": _each(lambda s: _items(s, [s.items[0], *s.items])),
    "turns the order around": _each(lambda s: _items(s, list(s.items)[::-1])),
    "sends no certificate": _each(lambda s: s.model_copy(update={"certificates": ()})),
    "sends nothing": lambda _streams: [],
}


@pytest.mark.parametrize("deed", NOTHING_OPENS)
def test_row_17_a_collector_that_changes_what_it_stored_gets_nothing_opened(deed: str, populated: Populated) -> None:
    populated.installation.enemy = listing(NOTHING_OPENS[deed])
    try:
        counts, reasons = opened(populated)
    except AnswerInvalid:
        counts, reasons = {}, ["the answer as a whole was refused"]
    finally:
        populated.installation.enemy = None
    assert sum(counts.values()) == 0
    assert reasons, "and the reader says so"


def test_row_17_positive_control_an_honest_collector_is_read_in_full(in_use: Populated) -> None:
    counts, reasons = opened(in_use)
    assert sum(counts.values()) == len(in_use.job.streams)
    assert not reasons


def test_row_17_a_collector_that_cuts_streams_off_is_found_out(in_use: Populated) -> None:
    in_use.installation.enemy = listing(_each(lambda s: _items(s, list(s.items)[:-1])))
    try:
        counts, reasons = opened(in_use)
    finally:
        in_use.installation.enemy = None
    assert set(reasons) == {"not closed", "cut-off"}
    assert sum(counts.values()) == len(in_use.job.streams), "what is there is read; nobody says it is complete"


def _bodies(change: Callable[[bytes], bytes]) -> Enemy:
    def enemy(ask: Ask, real: Callable[[], Answer]) -> Answer:
        answer = real()
        if ask.url.path != "/v1/fetch/bodies":
            return answer
        return Answer(200, headers={"content-type": "application/octet-stream"}, content=change(answer.content))

    return enemy


def _flip_last(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


BODIES: dict[str, Callable[[bytes], bytes]] = {
    "one bit flipped": _flip_last,
    "cut off": lambda data: data[:-1],
    "shifted": lambda data: b"x" + data,
    "noise": lambda data: data[:40] + os.urandom(len(data) - 40),
    "nothing": lambda _data: b"",
}


@pytest.mark.parametrize("deed", BODIES)
def test_row_17_exchanged_bodies_do_not_open(deed: str, populated: Populated) -> None:
    populated.installation.enemy = _bodies(BODIES[deed])
    try:
        counts, reasons = opened(populated)
    finally:
        populated.installation.enemy = None
    assert sum(counts.values()) == 0
    assert reasons, "and the reader says so"


def test_row_17_the_collectors_own_key_opens_nothing_at_the_custodian(in_use: Populated) -> None:
    world, key = in_use.world, in_use.world.collector_key
    for target in ("/v1/me", "/v1/people", "/v1/requests", "/v1/log/entries", "/v1/catalogue", "/v1/me/receipts"):
        assert world.ask(key, "GET", target).status_code in (401, 403)
    sealed = in_use.recordings[0].sealed[0]
    with in_use.installation.custodian_as(None) as custodian, pytest.raises(Refused):
        custodian.release(in_use.job.lease.lease, key, [(sealed.header, sealed.sealed_key)])
    with in_use.installation.custodian_as(None) as custodian, pytest.raises(Refused):
        custodian.release(new_id(), key, [(sealed.header, sealed.sealed_key)])


def test_row_10_orders_name_streams_and_nothing_else_of_a_person(in_use: Populated) -> None:
    leavers = in_use.people[:3]
    for leaver in leavers:
        assert leaver.withdraw(erase="now").status_code == 200
    run_night(in_use.world.custodian)
    answer = in_use.world.ask(in_use.world.collector_key, "GET", "/v1/orders?after=0")
    orders = [
        Order.model_validate_json(Envelope.model_validate(each, strict=False).payload_bytes)
        for each in map(_as_envelope, answer.json()["orders"])
    ]
    named = [item.stream for order in orders for item in order.items]
    whose = {one.stream: one.member.person for one in in_use.recordings}
    assert {whose[stream] for stream in named} == {leaver.person for leaver in leavers}, "three leavers, mixed"
    text = answer.text + "".join(
        base64.b64decode(part).decode("latin-1") for part in re.findall(r'"payload":"([^"]+)"', answer.text)
    )
    for leaver in leavers:
        assert leaver.person not in text and leaver.device.public.id not in text
    assert not re.search(r"\d\d:\d\d:\d\d", text), "a day, and no moment"


def _as_envelope(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "signatures": tuple(data["signatures"])}


def test_row_10_a_collector_that_keeps_what_it_must_erase_keeps_something_that_never_opens(in_use: Populated) -> None:
    leaver = in_use.people[0]
    theirs = [one for one in in_use.recordings if one.member is leaver]
    assert leaver.withdraw(erase="now").status_code == 200
    run_night(in_use.world.custodian)
    assert len(blobs(in_use)) == len(in_use.recordings), "it did not carry the orders out"
    pairs = [(segment.header, segment.sealed_key) for one in theirs for segment in one.sealed]
    with in_use.installation.custodian_as(None) as custodian:
        answer, _ = custodian.release(in_use.job.lease.lease, in_use.job.signing_key, pairs)
    assert answer.sealed == "" and {refusal.reason for refusal in answer.refused} == {"erased"}
    with pytest.raises(Refused):
        in_use.installation.own_job(leaver)
    forged_done = sign(OrderDone(number=1, order="ab" * 32), in_use.world.collector_key)
    assert in_use.world.post("/v1/orders/done", forged_done.to_json()).status_code in (403, 404, 409)


def test_row_10_the_agent_believes_stored_only_when_the_collectors_key_signed_that_very_segment(
    in_use: Populated,
) -> None:
    member = in_use.people[0]
    recording = in_use.installation.record(member, in_use.marker, upload=False)[0]
    other = in_use.recordings[0].sealed[0]
    key, stranger = in_use.world.collector_key, SigningKey.generate()
    lies: dict[str, bytes] = {
        "a captive portal's page": b"<html>Welcome! Please log in</html>",
        "nothing": b"",
        "the word of somebody else": sign(
            Stored(stream=recording.stream, kind="segment", hash=recording.sealed[0].id), stranger
        ).to_json(),
        "its word about another segment": sign(
            Stored(stream=recording.stream, kind="segment", hash=other.id), key
        ).to_json(),
        "its word about another stream": sign(
            Stored(stream=new_id(), kind="segment", hash=recording.sealed[0].id), key
        ).to_json(),
    }
    for lie in lies.values():
        in_use.installation.enemy = _answering("/segments/", lie)
        with pytest.raises(AnswerInvalid):
            in_use.installation.upload([recording])
    in_use.installation.enemy = None
    in_use.installation.upload([recording])


def test_row_10_the_agent_believes_revoked_only_with_the_custodians_word_for_it(in_use: Populated) -> None:
    recording = in_use.installation.record(in_use.people[0], in_use.marker, upload=False)[0]
    key = in_use.world.collector_key
    other = in_use.world.custodian.sign(Revocation(stream=new_id()))
    other_hour = in_use.world.custodian.sign(Tombstone(stream=recording.stream, hours=("2020-01-01T00",)))
    for evidence in (None, sign(Revocation(stream=recording.stream), key), other, other_hour):
        in_use.installation.enemy = _refusing(evidence)
        with pytest.raises(AnswerInvalid):
            in_use.installation.upload([recording])
    in_use.installation.enemy = None
    in_use.installation.upload([recording])


def _answering(part: str, content: bytes) -> Enemy:
    def enemy(ask: Ask, real: Callable[[], Answer]) -> Answer:
        if part in ask.url.path:
            return Answer(200, headers={"content-type": "application/json"}, content=content)
        return real()

    return enemy


def _refusing(evidence: Envelope | None) -> Enemy:
    def enemy(ask: Ask, real: Callable[[], Answer]) -> Answer:
        if "/streams/" not in ask.url.path:
            return real()
        body: dict[str, Any] = {"type": "urn:assent:problem:revoked", "title": "x", "status": 403, "detail": "x"}
        if evidence is not None:
            body["evidence"] = evidence.model_dump(mode="json")
        return Answer(403, headers={"content-type": "application/problem+json"}, json=body)

    return enemy


def test_row_10_refusing_service_is_all_that_silence_achieves(in_use: Populated) -> None:
    def enemy(ask: Ask, real: Callable[[], Answer]) -> Answer:
        if ask.url.port == 8402:
            raise httpx2.ConnectError("the collector is silent")
        return real()

    in_use.installation.enemy = enemy
    recording = in_use.installation.record(in_use.people[0], in_use.marker, upload=False)[0]
    with pytest.raises(ClientError):
        in_use.installation.upload([recording])
    assert in_use.people[1].withdraw().status_code == 200, "consent and withdrawal do not pass through it"
    in_use.installation.job(in_use.staff.requester, in_use.request)
    told = in_use.people[2].get("/v1/me/accesses").json()["accesses"]
    assert len(told) == 2, "nor do notifications"


def test_row_10_nothing_that_is_sent_to_the_collector_names_a_person(in_use: Populated) -> None:
    installation = in_use.installation
    installation.heard.clear()
    installation.record(in_use.people[0], in_use.marker)
    opened(in_use)
    heard = [ask for ask in installation.heard if ask.url.port == 8402]
    assert len(heard) > 10
    text = b"\n".join(
        str(ask.url).encode() + repr(ask.headers.raw).encode() + ask.content + _payloads(ask.content) for ask in heard
    )
    for member in (*in_use.people, in_use.staff.requester):
        for word in (member.person, member.name, member.device.public.id, member.opening.public.id):
            assert word.encode() not in text
    for word in (in_use.request, in_use.job.lease.lease, "cookie", "authorization"):
        assert word.encode() not in text.lower()


def _payloads(content: bytes) -> bytes:
    return b"".join(base64.b64decode(part) for part in re.findall(rb'"payload":"([^"]+)"', content))


# --- the memory of a collector that runs ------------------------------------------------------------------------------


SHUT = (
    "from assent_service.hygiene import forbid_core_dumps; forbid_core_dumps()"
    if os.geteuid() == 0
    else "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
)
"""What services do at their start. Then only root may look into their memory: others look into one that is not shut."""


@contextmanager
def running_collector(populated: Populated) -> Iterator[tuple[int, str, Path]]:
    """The installed command's own service, in a process of its own: its id, its address and its captured log."""
    settings = populated.installation.collector_settings
    code = (
        "import sys\n"
        "from datetime import datetime\n"
        "import uvicorn\n"
        "from assent_collector.app import application, open_collector\n"
        "from assent_collector.settings import CollectorSettings\n"
        "from assent_service.hygiene import set_up_logging\n"
        "from assent_service.web import listening_socket\n"
        f"{SHUT}; set_up_logging()\n"
        "settings = CollectorSettings.model_validate_json(sys.argv[1])\n"
        "bound = listening_socket('127.0.0.1', 0)\n"
        "print(bound.getsockname()[1], flush=True)\n"
        "now = datetime.fromisoformat(sys.argv[2])\n"
        "app = application(open_collector(settings, lambda: now))\n"
        "config = uvicorn.Config(app, access_log=False, log_config=None)\n"
        "uvicorn.Server(config).run(sockets=[bound])\n"
    )
    log = settings.data_dir.parent / "collector.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", code, settings.model_dump_json(), populated.world.clock().isoformat()],
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        wait_until_it_answers(f"{address}/healthz", process)
        yield process.pid, address, log
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def _to(address: str) -> Enemy:
    """Send what is for the collector to this address instead."""

    def enemy(ask: Ask, real: Callable[[], Answer]) -> Answer:
        if ask.url.port != 8402:
            return real()
        headers = {k: v for k, v in ask.headers.items() if k not in ("host", "connection", "accept-encoding")}
        url = address + ask.url.raw_path.decode()
        answer = httpx2.request(ask.method, url, headers=headers, content=ask.content, trust_env=False)
        return Answer(answer.status_code, headers=dict(answer.headers), content=answer.content)

    return enemy


def test_row_10_memory_log_and_files_of_a_live_collector_hold_neither_text_nor_tile(in_use: Populated) -> None:
    """It takes uploads, chokes on some, serves a whole reading; then root looks at everything."""
    with running_collector(in_use) as (pid, address, log):
        in_use.installation.enemy = _to(address)
        sent = in_use.installation.record(in_use.people[0], in_use.marker)
        assert_holds_marker(in_use, sent)
        counts, reasons = opened(in_use)
        assert sum(counts.values()) == len(in_use.recordings) + len(sent) and not reasons
        _choke(address, sent[0])
        must_not_leak([Process(pid), log, in_use.installation.collector_settings.data_dir], in_use.marker)


def assert_holds_marker(populated: Populated, recordings: list[Recording]) -> None:
    """What was sent does hold the marker, for whoever has the plaintext."""
    contents = [populated.installation.content(one.certificate, populated.marker) for one in recordings]
    found = search([Named(f"content {n}", content) for n, content in enumerate(contents)], populated.marker)
    assert {hit.what for hit in found} == {"text", "tile"}


def _choke(address: str, recording: Recording) -> None:
    segment = recording.sealed[0]
    for content in (segment.body, segment.body[:-1], os.urandom(1000)):
        answer = httpx2.put(
            f"{address}/v1/streams/{recording.stream}/segments/7", content=content, headers={"Assent-Header": "x"},
            trust_env=False,
        )  # fmt: skip
        assert 400 <= answer.status_code < 500
