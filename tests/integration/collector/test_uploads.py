"""Segments and records over real HTTP, on SQLite and on PostgreSQL."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.simulators.collector import (
    DAY,
    Issuer,
    Recording,
    World,
    client_of,
    preamble_of,
    serving_collector,
    upload,
    upload_record,
)

from assent.client.collector import CollectorClient
from assent.client.transport import OutOfOrder, Refused
from assent.contracts.envelope import Envelope, read, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code
from assent.contracts.statements import Stored, StreamCertificate
from assent.sealing.segments import SealedSegment, body_size, parse_header
from assent_service import web


def _refusal(call: Any, *arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value


def test_a_stream_is_stored_and_acknowledged_in_its_order(world: World, client: CollectorClient) -> None:
    recording = Recording()
    assert client.announce(world.issuer.certificate(recording)).next_sequence == 0
    for content in (b"", b"x" * 3_000_000, b"third"):
        segment = recording.segment(content)
        assert upload(client, segment).hash == segment.id
    assert upload_record(client, recording.skip(3)).kind == "skip"
    assert upload(client, recording.segment()).kind == "segment"
    assert upload_record(client, recording.end()).kind == "end"
    state = client.announce(world.issuer.certificate(recording))
    assert (state.next_sequence, state.previous, state.ended) == (7, recording.previous, True)
    assert len(world.kept()) == 4


def test_the_same_upload_again_gets_the_same_answer_and_is_stored_once(world: World, client: CollectorClient) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording))
    segment, skip = recording.segment(), recording.skip()
    assert upload(client, segment) == upload(client, segment)
    assert upload_record(client, skip) == upload_record(client, skip)
    end = recording.end()
    assert upload_record(client, end) == upload_record(client, end)
    assert upload(client, segment).hash == segment.id
    assert len(world.kept()) == 1


def test_another_segment_at_the_same_place_is_refused_and_the_first_stays(
    world: World, client: CollectorClient
) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording))
    first = recording.segment(b"first")
    upload(client, first)
    other = recording.segment(b"other", sequence=0, previous="0" * 64)
    assert _refusal(upload, client, other).code is Code.CONFLICT
    swapped = recording.segment(b"first", sequence=0, previous="0" * 64)  # same header, another data key and body
    assert swapped.id == first.id
    assert _refusal(upload, client, swapped).code is Code.CONFLICT
    assert upload(client, first).hash == first.id
    assert len(world.kept()) == 1


def test_a_segment_out_of_order_is_told_what_is_expected(world: World, client: CollectorClient) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording))
    first = recording.segment()
    upload(client, first)
    recording.segment()
    with pytest.raises(OutOfOrder) as caught:
        upload(client, recording.segment())
    assert (caught.value.expected, caught.value.previous) == (1, first.id)


def test_a_second_history_is_refused(world: World, client: CollectorClient) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording))
    upload(client, recording.segment())
    assert _refusal(upload, client, recording.segment(previous="f" * 64)).code is Code.CONFLICT


def test_nothing_follows_an_end_record(world: World, client: CollectorClient) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording))
    upload(client, recording.segment())
    upload_record(client, recording.end())
    assert _refusal(upload, client, recording.segment()).code is Code.CONFLICT


def test_a_stream_without_a_certificate_is_refused(world: World, client: CollectorClient) -> None:
    assert _refusal(upload, client, Recording().segment()).code is Code.CERTIFICATE_INVALID


def test_a_later_certificate_extends_the_stream(world: World, client: CollectorClient) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording, record_until=f"{DAY}T10"))
    upload(client, recording.segment())
    recording.hour = f"{DAY}T10"
    late = recording.segment()
    assert _refusal(upload, client, late).code is Code.CERTIFICATE_INVALID
    client.announce(world.issuer.certificate(recording, record_until=f"{DAY}T11"))
    client.announce(world.issuer.certificate(recording, record_until=f"{DAY}T10"))
    assert upload(client, late).hash == late.id


@pytest.mark.parametrize("changed", [{"day": "2026-11-24"}, {"modality": "screen"}, {"stream_key": None}])
def test_a_certificate_that_contradicts_an_earlier_one_is_refused(lite: World, changed: dict[str, Any]) -> None:
    recording = Recording()
    if "stream_key" in changed:
        changed = {"stream_key": Recording().public_key}
    with serving_collector(lite) as url, client_of(lite, url) as client:
        client.announce(lite.issuer.certificate(recording))
        fields = StreamCertificate.model_validate_json(lite.issuer.certificate(recording).payload_bytes).model_dump(
            mode="json", exclude={"v"}
        )
        other = StreamCertificate.model_validate(fields | changed, strict=False)
        envelope = sign(other, lite.issuer.statement_key)
        assert _refusal(client.announce, envelope).code is Code.CERTIFICATE_INVALID


# --- malicious ------------------------------------------------------------------------------------


@pytest.fixture
def attacked(lite: World) -> Iterator[tuple[World, CollectorClient, Recording]]:
    """A stream with one good segment, which must still be the only one stored afterwards."""
    recording = Recording()
    with serving_collector(lite) as url, client_of(lite, url) as client:
        client.announce(lite.issuer.certificate(recording))
        good = recording.segment(b"good")
        upload(client, good)
        yield lite, client, recording
        assert upload(client, good).hash == good.id
        following = recording.segment(b"following", sequence=1, previous=good.id)
        assert upload(client, following).hash == following.id  # the positive control: honest uploads go on
    assert len(lite.files()) == 2


Attacked = tuple[World, CollectorClient, Recording]


def test_a_segment_signed_by_another_key_is_refused(attacked: Attacked) -> None:
    _, client, recording = attacked
    forged = recording.segment(stream_key=Recording().key)
    assert _refusal(upload, client, forged).code is Code.SIGNATURE_INVALID


def test_a_swapped_sealed_key_is_refused(attacked: Attacked) -> None:
    _, client, recording = attacked
    one, other = recording.segment(), recording.segment()
    swapped = SealedSegment(one.header, other.sealed_key, one.body, one.body_sha256, one.signature)
    assert _refusal(upload, client, swapped).code is Code.SIGNATURE_INVALID


def test_a_body_that_was_not_announced_is_refused_and_not_kept(attacked: Attacked) -> None:
    world, client, recording = attacked
    one = recording.segment(b"x" * 2_000_000)
    damaged = SealedSegment(one.header, one.sealed_key, one.body[:-1] + b"\0", one.body_sha256, one.signature)
    assert _refusal(upload, client, damaged).code is Code.BODY_MISMATCH
    assert len(world.files()) == 1


def test_a_segment_under_the_address_of_another_stream_is_refused(attacked: Attacked) -> None:
    world, client, recording = attacked
    other = Recording()
    client.announce(world.issuer.certificate(other))
    segment = recording.segment()
    answer = _put(client, f"/v1/streams/{other.stream}/segments/1", segment)
    assert answer.json()["type"] == Code.MALFORMED.type


def test_a_certificate_of_another_stream_is_refused(attacked: Attacked) -> None:
    world, client, recording = attacked
    certificate = world.issuer.certificate(Recording())
    answer = httpx2.put(f"{client.transport.url}/v1/streams/{recording.stream}", content=certificate.to_json())
    assert answer.json()["type"] == Code.CERTIFICATE_INVALID.type


def test_a_certificate_of_another_custodian_is_refused(attacked: Attacked) -> None:
    _, client, _ = attacked
    assert _refusal(client.announce, Issuer().certificate(Recording())).code is Code.CERTIFICATE_INVALID


def test_an_expired_certificate_is_refused(attacked: Attacked) -> None:
    world, client, recording = attacked
    world.clock.forward(days=15)
    assert _refusal(upload_record, client, recording.skip()).code is Code.CERTIFICATE_INVALID
    assert _refusal(upload, client, recording.segment(sequence=1)).code is Code.CERTIFICATE_INVALID
    assert _refusal(client.announce, world.issuer.certificate(Recording())).code is Code.CERTIFICATE_INVALID
    world.clock.forward(days=-1)  # the last day of the deadline is still good


@pytest.mark.parametrize("hour", ["2026-11-22T23", "2026-11-24T00", f"{DAY}T23"])
def test_an_hour_outside_the_certificate_is_refused(attacked: Attacked, hour: str) -> None:
    _, client, recording = attacked
    assert _refusal(upload, client, recording.segment(hour=hour)).code is Code.CERTIFICATE_INVALID


def test_a_body_without_a_length_is_refused(attacked: Attacked) -> None:
    _, client, recording = attacked
    segment = recording.segment()
    answer = httpx2.put(
        f"{client.transport.url}/v1/streams/{recording.stream}/segments/1",
        content=iter([segment.body]),
        headers=preamble_of(segment),
    )
    assert (answer.status_code, answer.json()["type"]) == (411, Code.LENGTH_REQUIRED.type)


def test_a_length_that_is_not_the_announced_one_is_refused_before_the_body(attacked: Attacked) -> None:
    _, client, recording = attacked
    segment = recording.segment()
    longer = SealedSegment(
        segment.header, segment.sealed_key, segment.body + b"more", segment.body_sha256, segment.signature
    )
    refused = _refusal(upload, client, longer)
    assert refused.code is Code.BODY_MISMATCH
    assert refused.problem.members["expected_bytes"] == body_size(len(segment.body) - 72)


def test_a_segment_longer_than_the_limit_is_refused_before_the_body(attacked: Attacked) -> None:
    _, client, recording = attacked
    too_long = recording.segment(bytes(16 * 1024 * 1024))
    assert _refusal_without_body(client, too_long) == Code.TOO_LARGE.type


def test_a_spent_budget_is_refused_before_the_body(lite: World) -> None:
    recording = Recording()
    with serving_collector(lite) as url, client_of(lite, url) as client:
        client.announce(lite.issuer.certificate(recording, byte_budget=2_500_000))
        upload(client, recording.segment(b"x" * 2_000_000))
        over = recording.segment(b"x" * 1_000_000)
        refused = _refusal(upload, client, over)
        assert refused.code is Code.BUDGET_SPENT
        assert 0 < refused.problem.members["left_bytes"] < len(over.body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Assent-Header", None),
        ("Assent-Header", "!!"),
        ("Assent-Header", "e30"),
        ("Assent-Sealed-Key", "AAAA"),
        ("Assent-Signature", "AAAA"),
        ("Assent-Body-SHA256", "AB" * 32),
    ],
)
def test_a_malformed_field_is_named(attacked: Attacked, field: str, value: str | None) -> None:
    _, client, recording = attacked
    segment = recording.segment()
    fields = preamble_of(segment)
    if value is None:
        del fields[field]
    else:
        fields[field] = value
    url = f"{client.transport.url}/v1/streams/{recording.stream}/segments/1"
    answer = httpx2.put(url, content=segment.body, headers=fields)
    assert answer.json()["type"] == Code.MALFORMED.type
    assert field in answer.json()["detail"]


@contextmanager
def begun(url: str, segment: SealedSegment, more: str = "") -> Iterator[socket.socket]:
    """A connection on which the fields of an upload were sent, and nothing of its body."""
    host, port = url.removeprefix("http://").split(":")
    fields = "".join(f"{name}: {value}\r\n" for name, value in preamble_of(segment).items())
    claim = parse_header(segment.header)
    target = f"/v1/streams/{claim.stream}/segments/{claim.sequence}"
    start = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(segment.body)}\r\n{more}{fields}\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(start.encode())
        yield connection


def test_a_slow_body_is_dropped_and_leaves_nothing(tmp_path: Path) -> None:
    world = World.new(tmp_path, idle_timeout_s=0.2)
    recording = Recording()
    world.register(recording)
    segment = recording.segment(b"x" * 100_000)
    with serving_collector(world) as url:
        with begun(url, segment) as connection:
            connection.sendall(segment.body[:1000])
            answer = b""
            while piece := connection.recv(65536):  # the server answers and hangs up by itself
                answer += piece
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert world.files() == []
        with client_of(world, url) as client:
            assert upload(client, segment).hash == segment.id


def test_a_body_that_drips_is_dropped_although_it_never_stops(tmp_path: Path) -> None:
    world = World.new(tmp_path, idle_timeout_s=1, slowest_bytes_per_s=1_000_000)
    recording = Recording()
    world.register(recording)
    segment = recording.segment(b"x" * 100_000)
    with serving_collector(world) as url:
        with begun(url, segment) as connection:
            connection.settimeout(0.1)
            answer, sent = b"", 0
            while not answer and sent < len(segment.body):
                connection.sendall(segment.body[sent : sent + 10])
                sent += 10
                with suppress(TimeoutError):
                    answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert sent < 1000
        assert world.files() == []


@pytest.mark.parametrize("route", ["PUT /v1/streams/{stream}/records/0", "POST /v1/fetch/streams"])
def test_a_statement_that_stops_arriving_is_answered_and_let_go(
    lite: World, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setattr(web, "BODY_TIMEOUT_S", 0.5)
    recording = Recording()
    lite.register(recording)
    with serving_collector(lite) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            start = f"{route.format(stream=recording.stream)} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{"
            connection.sendall(start.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_hangs_up_leaves_nothing(lite: World) -> None:
    recording = Recording()
    lite.register(recording)
    segment = recording.segment(bytes(3_000_000))
    with serving_collector(lite) as url:
        with begun(url, segment) as connection:
            connection.sendall(segment.body[:2_500_000])
        with client_of(lite, url) as client:
            assert upload(client, segment).hash == segment.id
    assert lite.files() == lite.kept()
    assert len(lite.kept()) == 1


def test_uploads_of_one_stream_beyond_its_slots_are_told_to_wait(tmp_path: Path) -> None:
    world = World.new(tmp_path, max_uploads_per_stream=1)
    recording = Recording()
    world.register(recording)
    segment = recording.segment(bytes(100_000))
    with serving_collector(world) as url, client_of(world, url) as client:
        with begun(url, segment, "Expect: 100-continue\r\n") as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.1 100")  # it is being received now
            refused = _refusal(upload, client, segment)
            assert (refused.code, refused.retry_after_s) == (Code.TOO_MANY, 5)
            connection.sendall(segment.body)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert upload(client, segment).hash == segment.id


# --- what is kept ---------------------------------------------------------------------------------


def test_nothing_stored_tells_the_minute(world: World, client: CollectorClient) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording))
    for _ in range(3):
        upload(client, recording.segment())
    midnight = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    kept = world.kept()
    assert {path.stat().st_mtime for path in kept} == {midnight}
    assert {path.parent.stat().st_mtime for path in kept} == {midnight}
    assert {path.parent.name for path in kept} == {DAY}
    with world.collector.database.engine.connect() as connection:
        for table in ("streams", "certificates", "items", "marks", "orders"):
            names = set(connection.exec_driver_sql(f"SELECT * FROM {table}").keys())
            assert not {name for name in names if "at" in name.split("_") or "time" in name or "created" in name}
        if world.collector.database.is_sqlite:
            with pytest.raises(Exception, match="no such column"):
                connection.exec_driver_sql("SELECT rowid FROM items")


def test_the_answer_is_signed_by_the_collector_and_by_nobody_else(world: World, client: CollectorClient) -> None:
    recording = Recording()
    client.announce(world.issuer.certificate(recording))
    segment = recording.segment()
    answer = _put(client, f"/v1/streams/{recording.stream}/segments/0", segment)
    envelope = Envelope.from_json(answer.content)
    stored = read(envelope, Stored, world.issuer.collector_key.public)
    assert (stored.stream, stored.kind, stored.hash) == (recording.stream, "segment", segment.id)
    with pytest.raises(Exception, match="not signed"):
        read(envelope, Stored, SigningKey.generate().public)


def test_ready_only_with_a_directory_that_names_this_collector(lite: World) -> None:
    with serving_collector(lite) as url:
        assert httpx2.get(f"{url}/readyz").status_code == 200
        lite.book.current = lite.issuer.directory(2, collector_key=SigningKey.generate().public.text)
        lite.collector.trust.refresh()
        assert httpx2.get(f"{url}/readyz").json()["type"] == Code.CLOSED.type
        assert httpx2.get(f"{url}/healthz").status_code == 200


def test_a_rotated_statement_key_is_learnt_from_the_directory(lite: World) -> None:
    assert lite.collector.trust.directory.version == 1
    lite.issuer.statement_key = SigningKey.generate()
    lite.book.current = lite.issuer.directory(2)
    lite.clock.forward(minutes=1)
    lite.register(Recording())
    assert lite.collector.trust.directory.version == 2


def test_an_older_or_foreign_directory_is_not_believed(lite: World) -> None:
    lite.book.current = lite.issuer.directory(3)
    lite.collector.trust.refresh()
    for bad in (lite.issuer.directory(2), Issuer().directory(4)):
        lite.book.current = bad
        lite.collector.trust.refresh()
        assert lite.collector.trust.directory.version == 3
    lite.restart()
    lite.book.online = False
    assert lite.collector.trust.directory.version == 3


def test_without_any_directory_the_collector_is_closed(lite: World) -> None:
    lite.book.online = False
    with serving_collector(lite) as url:
        assert httpx2.get(f"{url}/readyz").status_code == 503
        with client_of(lite, url) as client:
            assert _refusal(client.announce, lite.issuer.certificate(Recording())).code is Code.CLOSED


def test_an_unknown_address_and_a_wrong_id_are_refused_without_detail(lite: World) -> None:
    with serving_collector(lite) as url:
        assert httpx2.get(f"{url}/v1/streams").json()["type"] == Code.NOT_FOUND.type
        assert httpx2.put(f"{url}/v1/streams/nonsense", content=b"{}").json()["type"] == Code.MALFORMED.type
        assert httpx2.put(f"{url}/v1/streams/{new_id()}", content=b"{}").json()["type"] == Code.MALFORMED.type
        big = httpx2.put(f"{url}/v1/streams/{new_id()}", content=bytes(300_000))
        assert big.json()["type"] == Code.TOO_LARGE.type


def _put(client: CollectorClient, target: str, segment: SealedSegment) -> httpx2.Response:
    return httpx2.put(client.transport.url + target, content=segment.body, headers=preamble_of(segment))


def _refusal_without_body(client: CollectorClient, segment: SealedSegment) -> str:
    """The problem type that is answered although not a byte of the body was sent."""
    with begun(client.transport.url, segment) as connection:
        answer = connection.recv(65536)
    return next(code.type for code in Code if f'"{code.type}"'.encode() in answer)
