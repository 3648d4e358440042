"""What the collector accepts, without database or network."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.simulators.collector import NOON, Issuer, Recording, ask

from assent.contracts.envelope import read_unverified
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import FetchRequest, StreamCertificate, Ticket
from assent.contracts.times import moment
from assent.sealing.chain import ChainState
from assent_collector import rules
from assent_collector.app import Collector
from assent_collector.endpoints import Slots
from assent_collector.rules import Mark, Stream


def _stream(recording: Recording, chain: ChainState | None = None) -> Stream:
    return Stream(
        stream=recording.stream,
        stream_key=recording.public_key,
        modality="pointer",
        day="2026-11-23",
        record_until="2026-11-23T12",
        upload_until="2026-11-25",
        byte_budget=1000,
        bytes_stored=400,
        chain=chain or ChainState(),
    )


def _code(call: object, *arguments: object) -> Code:
    with pytest.raises(Problem) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def test_the_budget_may_be_used_up_exactly() -> None:
    stream = _stream(Recording())
    rules.check_budget(stream, 600)
    assert _code(rules.check_budget, stream, 601) is Code.BUDGET_SPENT


@pytest.mark.parametrize(("days", "fine"), [(0, True), (2, True), (3, False)])
def test_the_last_day_of_the_deadline_is_good(days: int, fine: bool) -> None:
    now = NOON + timedelta(days=days)
    if fine:
        rules.check_deadline("2026-11-25", now)
    else:
        assert _code(rules.check_deadline, "2026-11-25", now) is Code.CERTIFICATE_INVALID


def test_a_mark_of_hours_closes_these_hours_only() -> None:
    marks = [Mark(True, ("2026-11-23T09",), "{}")]
    rules.check_open(marks)
    rules.check_open(marks, "2026-11-23T10")
    assert _code(rules.check_open, marks, "2026-11-23T09") is Code.REVOKED
    assert _code(rules.check_open, [Mark(False, (), "{}")]) is Code.REVOKED


@pytest.mark.parametrize(
    "changed",
    [
        {"day": "2026-02-30"},
        {"upload_until": "2026-13-01"},
        {"record_until": "2026-11-23T24"},
        {"stream_key": "p256:" + "A" * 44},
        {"stream": "0" * 32},
    ],
)
def test_a_certificate_that_makes_no_sense_is_refused_though_it_is_signed(changed: dict[str, str]) -> None:
    recording = Recording()
    envelope = Issuer().certificate(recording, **changed)
    certificate = read_unverified(envelope, StreamCertificate)
    assert _code(rules.check_certificate, certificate, recording.stream, NOON) is Code.CERTIFICATE_INVALID


def test_following_needs_the_signature_even_where_the_place_is_taken() -> None:
    recording = Recording()
    segment = recording.segment()
    taken = _stream(recording, ChainState(1, segment.id))
    assert rules.follow(_stream(recording), segment.link) == ChainState(1, segment.id)
    assert rules.follow(taken, segment.link) is None
    forged = Recording(recording.stream).segment()
    assert _code(rules.follow, taken, forged.link) is Code.SIGNATURE_INVALID


def test_a_ticket_serves_until_it_ends_and_not_after() -> None:
    issuer, job = Issuer(), SigningKey.generate()
    body = ask(job, issuer.ticket(job, "1" * 32, until=moment(NOON + timedelta(seconds=1))))
    ticket, request = read_unverified(body.ticket, Ticket), read_unverified(body.request, FetchRequest)
    rules.check_ticket(ticket, request, NOON)
    assert _code(rules.check_ticket, ticket, request, NOON + timedelta(seconds=1)) is Code.TICKET_INVALID


def test_slots_are_given_back_and_counted_per_stream() -> None:
    slots = Slots(2, 1)
    with slots.one("a"):
        with pytest.raises(Problem), slots.one("a"):
            pass
        with slots.one("b"), pytest.raises(Problem), slots.one("c"):
            pass
    with slots.one("a"), slots.one("c"):
        pass


def test_keys_do_not_show_themselves() -> None:
    assert "key" not in {name for name, f in Collector.__dataclass_fields__.items() if f.repr}
