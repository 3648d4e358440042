"""Joining: the root is checked before the secret leaves this computer."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.unit.reader.world import CUSTODIAN, World

from assent.client.directory import DirectoryRefused
from assent.client.joining import join, look_up
from assent.client.transport import AnswerInvalid
from assent.contracts.codes import CodeInvalid, InvitationCode
from assent.contracts.envelope import Envelope, read, read_unverified, sign
from assent.contracts.ids import new_id
from assent.contracts.keys import PublicKey, SigningKey, fingerprint
from assent.contracts.statements import Enrolled, Enrolment
from assent.contracts.wire import EnrolmentAnswer


class Enrolling:
    def __init__(self) -> None:
        self.world = World()
        self.enrolments: list[Enrolment] = []
        self.changes: dict[str, Any] = {}
        self.key = self.world.statement
        self.directory = self.world.directory_envelope
        self.code = InvitationCode.new(CUSTODIAN, fingerprint(self.world.root.public.text))
        self.world.routes["/v1/enrolments"] = self.route

    def route(self, request: httpx2.Request) -> bytes:
        envelope = Envelope.from_json(request.content)
        claimed = read_unverified(envelope, Enrolment)
        enrolment = read(envelope, Enrolment, *(PublicKey(new.key) for new in claimed.credentials))
        self.enrolments.append(enrolment)
        fields: dict[str, Any] = {
            "person": new_id(),
            "name": "Ada",
            "credentials": tuple(PublicKey(new.key).id for new in enrolment.credentials),
            "roles": (),
        }
        enrolled = sign(Enrolled(**{**fields, **self.changes}), self.key)
        return EnrolmentAnswer(enrolled=enrolled, directory=self.directory).to_json()

    def secret_left(self) -> bool:
        return any(self.code.secret_hex.encode() in request.content for request in self.world.requests)


@pytest.fixture
def enrolling() -> Enrolling:
    return Enrolling()


def test_both_keys_sign_and_the_membership_names_them(enrolling: Enrolling) -> None:
    membership = join(
        enrolling.code.to_text(),
        {"device", "opening"},
        clock=enrolling.world.clock,
        transport=enrolling.world.transport,
    )
    (enrolment,) = enrolling.enrolments
    assert set(membership.keys) == {"device", "opening"}
    assert [new.kind for new in enrolment.credentials] == ["device", "opening"]
    assert enrolment.directory == enrolling.world.directory_envelope.hash
    assert membership.name == "Ada"
    assert membership.directory == enrolling.world.directory_statement


def test_an_opening_key_alone_can_join_and_keys_can_be_given(enrolling: Enrolling) -> None:
    key = SigningKey.generate()
    membership = join(enrolling.code.to_text(), {"opening"}, keys={"opening": key}, transport=enrolling.world.transport)
    assert dict(membership.keys) == {"opening": key}


def test_a_swapped_root_is_refused_before_the_secret_is_sent(enrolling: Enrolling) -> None:
    enrolling.world.directory_envelope = World().directory_envelope
    with pytest.raises(DirectoryRefused, match="another root"):
        join(enrolling.code.to_text(), {"device", "opening"}, transport=enrolling.world.transport)
    assert not enrolling.secret_left()
    assert enrolling.enrolments == []


def test_a_captive_portal_does_not_get_the_secret(enrolling: Enrolling) -> None:
    sent: list[bytes] = []

    def portal(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.read())
        return httpx2.Response(200, headers={"content-type": "text/html"}, content=b"<html>")

    with pytest.raises(AnswerInvalid):
        join(enrolling.code.to_text(), {"device"}, transport=httpx2.MockTransport(portal))
    assert sent == [b""]


def test_positive_control_an_honest_join_does_send_the_secret(enrolling: Enrolling) -> None:
    join(enrolling.code.to_text(), {"device"}, transport=enrolling.world.transport)
    assert len(enrolling.enrolments) == 1
    assert enrolling.enrolments[0].secret == enrolling.code.secret_hex


def test_a_swapped_statement_key_is_refused(enrolling: Enrolling) -> None:
    enrolling.key = SigningKey.generate()
    with pytest.raises(AnswerInvalid, match="not from the custodian"):
        join(enrolling.code.to_text(), {"device"}, transport=enrolling.world.transport)


def test_other_keys_than_ours_are_refused(enrolling: Enrolling) -> None:
    enrolling.changes = {"credentials": (SigningKey.generate().public.id,)}
    with pytest.raises(AnswerInvalid, match="other keys"):
        join(enrolling.code.to_text(), {"device"}, transport=enrolling.world.transport)


def test_another_directory_in_the_answer_is_refused(enrolling: Enrolling) -> None:
    enrolling.directory = World().directory_envelope
    with pytest.raises(DirectoryRefused):
        join(enrolling.code.to_text(), {"device"}, transport=enrolling.world.transport)


def test_a_mistyped_code_is_refused_without_asking_anybody(enrolling: Enrolling) -> None:
    text = enrolling.code.to_text()
    mistyped = f"{text[:20]}{'b' if text[20] == 'a' else 'a'}{text[21:]}"
    with pytest.raises(CodeInvalid):
        join(mistyped, {"device"}, transport=enrolling.world.transport)
    assert enrolling.world.requests == []


def test_looking_up_asks_for_the_directory_only(enrolling: Enrolling) -> None:
    assert look_up(enrolling.code, transport=enrolling.world.transport).current.version == 1
    assert [request.url.path for request in enrolling.world.requests] == ["/v1/directory"]


def test_joining_nothing_is_a_mistake(enrolling: Enrolling) -> None:
    with pytest.raises(ValueError, match="at least one"):
        join(enrolling.code.to_text(), set(), transport=enrolling.world.transport)
