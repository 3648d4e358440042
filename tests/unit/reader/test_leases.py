"""A lease counts only as it was signed, for this job, and in the witnessed log."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.reader.world import DAY, REQUEST, World

from assent.client.transport import AnswerInvalid
from assent.contracts.envelope import Envelope, read_unverified, sign
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Lease, OwnData, Ticket
from assent.contracts.wire import LeaseAnswer
from assent.reader.jobs import LeaseUnproved, open_lease
from assent.sealing.hpke import HybridPrivateKey


def tampering(change: Callable[[World, LeaseAnswer], dict[str, Any]], **options: Any) -> World:
    world = World(**options)
    world.session(segments=1)

    def tamper(path: str, body: bytes) -> bytes:
        if path != "/v1/leases":
            return body
        answer = LeaseAnswer.parse(body)
        return answer.model_copy(update=change(world, answer)).to_json()

    world.tamper = tamper
    return world


def resigned(world: World, answer: LeaseAnswer, **changes: Any) -> Envelope:
    return sign(read_unverified(answer.lease, Lease).model_copy(update=changes), world.statement)


def test_positive_control_an_honest_lease_is_accepted() -> None:
    job = tampering(lambda _world, _answer: {}).job()
    assert len(job.streams) == 4
    assert list(job.witnessed.cosigned_at) == ["w1"]
    assert "SigningKey" not in repr(job)


def test_own_data_has_a_lease_of_its_own_kind() -> None:
    world = World()
    world.session(segments=1)
    own = OwnData(from_day=DAY, to_day=DAY, modalities=tuple(Modality))
    job = open_lease(world.custodian(), world.trusted(), own=own, clock=world.clock)
    assert job.lease.mode == "own"


def test_a_lease_without_witnesses_is_refused_by_the_reader() -> None:
    with pytest.raises(LeaseUnproved, match="quorum"):
        tampering(lambda _world, _answer: {}, quorum_met=False).job()


def test_a_lease_needs_exactly_one_of_request_and_own() -> None:
    world = World()
    with pytest.raises(ValueError, match="exactly one"):
        open_lease(world.custodian(), world.trusted(), clock=world.clock)


UNPROVED: dict[str, Callable[[World, LeaseAnswer], dict[str, Any]]] = {
    "the proof of another leaf": lambda world, _answer: {"proof": world.proof(0).decode()},
    "no proof": lambda _world, _answer: {"proof": ""},
    "a leaf that is not in the log": lambda _world, answer: {
        "leaf": base64.b64encode(base64.b64decode(answer.leaf) + b" ").decode()
    },
    "a leaf of another lease": lambda world, answer: {
        "leaf": base64.b64encode(
            json.dumps({**json.loads(base64.b64decode(answer.leaf)), "request": "00" * 32}).encode()
        ).decode()
    },
    "no leaf at all": lambda _world, _answer: {"leaf": base64.b64encode(b"first").decode()},
}


@pytest.mark.parametrize("how", UNPROVED)
def test_a_lease_that_is_not_proved_is_refused(how: str) -> None:
    with pytest.raises(LeaseUnproved):
        tampering(UNPROVED[how]).job()


INVALID: dict[str, Callable[[World, LeaseAnswer], dict[str, Any]]] = {
    "signed by another key": lambda _world, answer: {
        "lease": sign(read_unverified(answer.lease, Lease), SigningKey.generate())
    },
    "for another job's signing key": lambda world, answer: {
        "lease": resigned(world, answer, job_signing_key=SigningKey.generate().public.text)
    },
    "for another job's receiving key": lambda world, answer: {
        "lease": resigned(world, answer, job_receiving_key=HybridPrivateKey.generate().public_key.to_text())
    },
    "for another request": lambda world, answer: {"lease": resigned(world, answer, request="00" * 32)},
    "as own data though it was a request": lambda world, answer: {"lease": resigned(world, answer, mode="own")},
    "longer than asked": lambda world, answer: {"lease": resigned(world, answer, until="2030-01-01T00:00:00Z")},
    "a stream more than leased": lambda _world, answer: {
        "streams": (*answer.streams, answer.streams[0].model_copy(update={"stream": "0" * 32}))
    },
    "a stream less than leased": lambda _world, answer: {"streams": answer.streams[1:]},
    "a stream twice": lambda _world, answer: {"streams": (*answer.streams, answer.streams[0])},
    "another salt": lambda _world, _answer: {"salt": base64.b64encode(b"other").decode()},
    "without tickets": lambda _world, _answer: {"tickets": ()},
    "the same ticket twice": lambda _world, answer: {"tickets": answer.tickets * 2},
    "a ticket of the collector's making": lambda world, answer: {
        "tickets": (sign(read_unverified(answer.tickets[0], Ticket), world.collector_key),)
    },
    "a ticket for another job": lambda world, answer: {
        "tickets": (
            sign(
                read_unverified(answer.tickets[0], Ticket).model_copy(
                    update={"job_signing_key": SigningKey.generate().public.text}
                ),
                world.statement,
            ),
        )
    },
    "a ticket for another day": lambda world, answer: {
        "tickets": (
            sign(read_unverified(answer.tickets[0], Ticket).model_copy(update={"day": "2026-11-19"}), world.statement),
        )
    },
}


@pytest.mark.parametrize("how", INVALID)
def test_a_lease_answer_that_is_not_what_was_asked_is_refused(how: str) -> None:
    with pytest.raises(AnswerInvalid):
        tampering(INVALID[how]).job()


def test_a_lease_replayed_from_an_earlier_job_is_refused() -> None:
    world = World()
    world.session(segments=1)
    kept: list[bytes] = []

    def replay(path: str, body: bytes) -> bytes:
        if path != "/v1/leases":
            return body
        kept.append(body)
        return kept[0]

    world.tamper = replay
    world.job()
    with pytest.raises(AnswerInvalid, match="another job"):
        world.job()


def test_a_release_for_another_job_does_not_open() -> None:
    world = World()
    world.session(segments=1)
    kept: list[bytes] = []

    def replay(path: str, body: bytes) -> bytes:
        if path == "/v1/leases/releases":
            kept.append(body)
            return kept[0]
        return body

    world.tamper = replay
    with world.data() as data:
        assert len(list(data.sessions())) == 1
    with world.data() as data, pytest.raises(AnswerInvalid, match="does not open"):
        list(data.sessions())


def test_a_release_that_leaves_segments_out_is_refused() -> None:
    world = World()
    world.session(segments=1)
    stream = next(iter(world.recordings))
    world.refuse = {stream: "erased"}

    def hide(path: str, body: bytes) -> bytes:
        if path != "/v1/leases/releases":
            return body
        return json.dumps({**json.loads(body), "refused": []}).encode()

    world.tamper = hide
    with world.data() as data, pytest.raises(AnswerInvalid, match="not about the segments"):
        list(data.sessions())


def test_requests_are_known_by_hash() -> None:
    assert len(REQUEST) == 64
