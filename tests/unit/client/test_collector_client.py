"""The collector's word: "stored" only with its signature over exactly this, "revoked" only with the custodian's."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.unit.reader.world import HOUR, Recording, World

from assent.client.collector import CollectorClient, StreamRevoked, body_digest
from assent.client.transport import AnswerInvalid, OutOfOrder, Refused, Unreachable
from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey, b64url_bytes
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import header_hash, record_hash
from assent.contracts.statements import Revocation, Stored, Tombstone
from assent.contracts.wire import FetchedRecord, FetchedSegment, StreamState


class Sent:
    """One recorded segment and a collector whose answers the test decides."""

    def __init__(self) -> None:
        self.world = World()
        self.recording: Recording = self.world.begin(Modality.POINTER)
        self.world.segment(self.recording, ())
        self.world.end(self.recording)
        self.requests: list[tuple[httpx2.Request, bytes]] = []
        self.answer: Callable[[], Envelope | Problem | bytes] = lambda: b""

    @property
    def stream(self) -> str:
        return self.recording.id

    @property
    def segment(self) -> dict[str, Any]:
        item = self.recording.items[0]
        assert isinstance(item, FetchedSegment)
        return {
            "header": base64.b64decode(item.header),
            "sealed_key": base64.b64decode(item.sealed_key),
            "body": self.recording.bodies[self.recording.ids()[0]],
            "body_sha256": bytes.fromhex(item.body_sha256),
            "signature": base64.b64decode(item.signature),
        }

    @property
    def record(self) -> dict[str, bytes]:
        item = self.recording.items[-1]
        assert isinstance(item, FetchedRecord)
        return {"record": base64.b64decode(item.record), "signature": base64.b64decode(item.signature)}

    def client(self) -> CollectorClient:
        def handle(request: httpx2.Request) -> httpx2.Response:
            self.requests.append((request, request.read()))
            answer = self.answer()
            if isinstance(answer, Problem):
                return httpx2.Response(
                    answer.code.status,
                    headers={"content-type": "application/problem+json"},
                    content=json.dumps(answer.as_dict()).encode(),
                )
            content = answer if isinstance(answer, bytes) else answer.to_json()
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=content)

        return CollectorClient.of(self.world.directory_statement, transport=httpx2.MockTransport(handle))

    def stored(self, *, by: SigningKey | None = None, **changes: Any) -> Envelope:
        fields = {"stream": self.stream, "kind": "segment", "hash": header_hash(self.segment["header"]).hex()}
        return sign(Stored.model_validate({**fields, **changes}), by or self.world.collector_key)

    def revoked(self, evidence: Envelope | None) -> Problem:
        members = {} if evidence is None else {"evidence": json.loads(evidence.to_json())}
        return Problem(Code.REVOKED, "closed", **members)


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_a_segment_is_sent_with_its_preamble_in_fields_and_the_answer_checked(sent: Sent) -> None:
    sent.answer = sent.stored
    assert sent.client().send_segment(**sent.segment).kind == "segment"
    request, body = sent.requests[0]
    assert request.method == "PUT"
    assert request.url.path == f"/v1/streams/{sent.stream}/segments/0"
    assert b64url_bytes(request.headers["assent-header"]) == sent.segment["header"]
    assert b64url_bytes(request.headers["assent-sealed-key"]) == sent.segment["sealed_key"]
    assert b64url_bytes(request.headers["assent-signature"]) == sent.segment["signature"]
    assert request.headers["assent-body-sha256"] == sent.segment["body_sha256"].hex()
    assert int(request.headers["content-length"]) == len(body) == len(sent.segment["body"])
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers


def test_a_body_is_sent_from_a_file_without_reading_it_whole(sent: Sent) -> None:
    sent.answer = sent.stored
    file = io.BytesIO(b"before" + sent.segment["body"])
    file.seek(6)
    assert body_digest(file) == sent.segment["body_sha256"]
    sent.client().send_segment(**{**sent.segment, "body": file})
    assert sent.requests[0][1] == sent.segment["body"]
    assert "transfer-encoding" not in sent.requests[0][0].headers


@pytest.mark.parametrize(
    "lie",
    [
        lambda sent: sent.stored(by=SigningKey.generate()),
        lambda sent: sent.stored(by=sent.world.statement),
        lambda sent: sent.stored(hash="00" * 32),
        lambda sent: sent.stored(stream=new_id()),
        lambda sent: sent.stored(kind="end"),
        lambda _sent: b"{}",
        lambda _sent: b"<html>",
    ],
    ids=["another key", "the custodian's key", "another hash", "another stream", "another kind", "nothing", "html"],
)
def test_stored_is_believed_only_with_the_collectors_signature_over_exactly_this(
    sent: Sent, lie: Callable[[Sent], Envelope | bytes]
) -> None:
    sent.answer = lambda: lie(sent)
    with pytest.raises(AnswerInvalid):
        sent.client().send_segment(**sent.segment)


def test_a_record_is_sent_under_its_number_and_confirmed(sent: Sent) -> None:
    sent.answer = lambda: sent.stored(kind="end", hash=record_hash(sent.record["record"]).hex())
    assert sent.client().send_record(**sent.record).kind == "end"
    assert sent.requests[0][0].url.path == f"/v1/streams/{sent.stream}/records/1"


def test_announcing_returns_where_the_collector_is(sent: Sent) -> None:
    state = StreamState(next_sequence=3, previous="ab" * 32, ended=False)
    sent.answer = state.to_json
    assert sent.client().announce(sent.recording.certificate) == state
    assert sent.requests[0][0].url.path == f"/v1/streams/{sent.stream}"


def test_revoked_with_the_custodians_word_is_believed(sent: Sent) -> None:
    evidence = sign(Revocation(stream=sent.stream), sent.world.statement)
    sent.answer = lambda: sent.revoked(evidence)
    with pytest.raises(StreamRevoked) as raised:
        sent.client().send_segment(**sent.segment)
    assert raised.value.evidence.hash == evidence.hash
    assert raised.value.hours == ()


@pytest.mark.parametrize("hours", [(), (HOUR,)])
def test_a_tombstone_of_the_stream_or_of_this_hour_is_believed(sent: Sent, hours: tuple[str, ...]) -> None:
    evidence = sign(Tombstone(stream=sent.stream, hours=hours), sent.world.statement)
    sent.answer = lambda: sent.revoked(evidence)
    with pytest.raises(StreamRevoked) as raised:
        sent.client().send_segment(**sent.segment)
    assert raised.value.hours == hours


@pytest.mark.parametrize(
    "lie",
    [
        lambda _sent: None,
        lambda sent: sign(Revocation(stream=sent.stream), sent.world.collector_key),
        lambda sent: sign(Revocation(stream=new_id()), sent.world.statement),
        lambda sent: sign(Tombstone(stream=sent.stream, hours=("2026-11-20T23",)), sent.world.statement),
        lambda sent: sent.recording.certificate,
    ],
    ids=["no evidence", "the collector's own word", "another stream", "another hour", "another statement"],
)
def test_revoked_without_the_custodians_word_counts_for_nothing(
    sent: Sent, lie: Callable[[Sent], Envelope | None]
) -> None:
    sent.answer = lambda: sent.revoked(lie(sent))
    for call in (
        lambda: sent.client().send_segment(**sent.segment),
        lambda: sent.client().send_record(**sent.record),
        lambda: sent.client().announce(sent.recording.certificate),
    ):
        with pytest.raises(AnswerInvalid):
            call()


def test_other_refusals_are_what_they_are(sent: Sent) -> None:
    sent.answer = lambda: Problem(Code.OUT_OF_ORDER, "no", expected=0, previous="0" * 64)
    with pytest.raises(OutOfOrder):
        sent.client().send_segment(**sent.segment)
    sent.answer = lambda: Problem(Code.CONFLICT, "no")
    with pytest.raises(Refused) as raised:
        sent.client().send_segment(**sent.segment)
    assert not raised.value.retryable
    sent.answer = lambda: Problem(Code.STORAGE_FULL, "no")
    with pytest.raises(Refused) as raised:
        sent.client().send_segment(**sent.segment)
    assert raised.value.retryable


def test_a_connection_that_breaks_is_unreachable() -> None:
    def broken(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("too slow")

    sent = Sent()
    client = CollectorClient.of(sent.world.directory_statement, transport=httpx2.MockTransport(broken))
    with pytest.raises(Unreachable):
        client.send_segment(**sent.segment)
