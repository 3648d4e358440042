"""Every signed answer of the custodian is checked against its key and against the question."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.simulators.agents import PERSONAL_DATA, TERMS
from tests.unit.reader.world import DAY, World

from assent.client.custodian import CustodianClient
from assent.client.transport import AnswerInvalid, Refused, Stale
from assent.contracts.envelope import Envelope, Statement, read, sign
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import PublicKey, SigningKey
from assent.contracts.lists import person_leaf
from assent.contracts.problems import Code, Problem
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import (
    DPV_CONSENT,
    AgreedPurpose,
    CertificateAnswer,
    CertificateRequest,
    Choice,
    DataRequest,
    Decision,
    Erasure,
    ErasureReceipt,
    Mode,
    News,
    Notice,
    Order,
    OrderDone,
    Recall,
    RecallItem,
    Receipt,
    StreamCertificate,
    StreamWanted,
    Withdrawal,
    WithdrawalConfirmed,
)
from assent.contracts.times import moment
from assent.contracts.wire import (
    Accepted,
    CertificatesAnswer,
    ErasureAnswer,
    ErasuresView,
    ErasureView,
    LogEntries,
    Me,
    OrdersAnswer,
    RecallsView,
    RecallView,
    ReceiptAnswer,
    ReceiptsView,
    ReceiptView,
    RequestsView,
    RequestView,
    StatementWithLeaf,
    WithdrawalAnswer,
)
from assent.sealing.hpke import HybridPrivateKey


@pytest.fixture
def world() -> World:
    return World()


def raising(problem: Problem) -> Callable[[httpx2.Request], bytes]:
    def route(_request: httpx2.Request) -> bytes:
        raise problem

    return route


# --- questions --------------------------------------------------------------------------------------------------------


def test_a_question_is_signed_for_its_method_target_and_time(world: World) -> None:
    asks = []

    def entries(request: httpx2.Request) -> bytes:
        asks.append(world.asked_by(request, world.requester.public))
        return LogEntries(size=0, entries=()).to_json()

    world.routes["/v1/log/entries"] = entries
    client = world.custodian()
    client.log_entries(3, 10)
    client.log_entries(3, 10)
    assert asks[0].target == "/v1/log/entries?start=3&count=10"
    assert asks[0].at == moment(world.now)
    assert asks[0].nonce != asks[1].nonce


def test_without_a_credential_nothing_is_asked(world: World) -> None:
    key = PublicKey(world.statement.public.text)
    with pytest.raises(Refused) as raised:
        CustodianClient("http://custodian.test", key, transport=world.transport).me()
    assert raised.value.code is Code.NOT_SIGNED_IN
    assert world.requests == []


@pytest.mark.parametrize(("ahead_s", "skew"), [(600, 600.0), (-240, -240.0)])
def test_a_stale_question_reports_how_far_off_the_clock_is(world: World, ahead_s: int, skew: float) -> None:
    theirs = moment(world.now + timedelta(seconds=ahead_s))
    world.routes["/v1/me"] = raising(Problem(Code.STALE, "too old", now=theirs))
    with pytest.raises(Stale) as raised:
        world.custodian().me()
    assert raised.value.skew_s == skew


@pytest.mark.parametrize("now", [None, 5, "yesterday"])
def test_a_stale_question_without_a_readable_time_reports_none(world: World, now: object) -> None:
    world.routes["/v1/me"] = raising(Problem(Code.STALE, "used before", now=now))
    with pytest.raises(Stale) as raised:
        world.custodian().me()
    assert raised.value.skew_s is None


def test_an_answer_that_cannot_be_read_says_where_and_never_what(world: World) -> None:
    world.routes["/v1/me"] = lambda _request: b'{"person": "canary-person"}'
    with pytest.raises(AnswerInvalid) as raised:
        world.custodian().me()
    assert "canary" not in str(raised.value)
    good = Me(person=new_id(), name="Ada", roles=(), credentials=())
    world.routes["/v1/me"] = lambda _request: good.to_json()
    assert world.custodian().me() == good


# --- consent ----------------------------------------------------------------------------------------------------------


def receipt(**changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "record": new_id(),
        "person": new_id(),
        "at": "2026-11-23T12:00:00Z",
        "notice": Notice(version="1", locale="en", sha256="00" * 32),
        "choices": (Choice(modality=Modality.POINTER, purpose="https://example.test/p", purpose_version=1),),
        "keyboard_mode": KeyboardMode.SHAPE,
        "purposes": (AgreedPurpose(iri="https://example.test/p", version=1, sentence="Train.", terms=(DPV_CONSENT,)),),
        "personal_data": PERSONAL_DATA,
        "terms": TERMS,
        "recipients": ("research",),
        "modes": (Mode.READER,),
        "application_list": "1",
        "redaction_profile": "1",
        "agreement": "A-1",
        "dpia": "D-1",
        "statements": (),
        "valid_from": "2026-11-23T12:00:00Z",
        "valid_until": "2027-05-23T12:00:00Z",
    }
    return Receipt(**{**fields, **changes})


def test_a_receipt_comes_back_counter_signed(world: World) -> None:
    given = sign(receipt(), world.requester)

    def accept(request: httpx2.Request) -> bytes:
        body = StatementWithLeaf.parse(request.content)
        assert body.leaf == person_leaf(b"salt" * 4, body.statement.hash)
        return ReceiptAnswer(receipt=body.statement.signed_also_by(world.statement)).to_json()

    world.routes["/v1/receipts"] = accept
    back = world.custodian().deliver_receipt(given, b"salt" * 4)
    assert back.hash == given.hash
    read(back, Receipt, world.requester.public, world.statement.public)


@pytest.mark.parametrize("how", ["not counter-signed", "another receipt", "by another key"])
def test_a_receipt_that_was_not_counter_signed_is_not_given(world: World, how: str) -> None:
    given = sign(receipt(), world.requester)
    answer = {
        "not counter-signed": given,
        "another receipt": sign(receipt(), world.statement),
        "by another key": given.signed_also_by(SigningKey.generate()),
    }[how]
    world.routes["/v1/receipts"] = lambda _request: ReceiptAnswer(receipt=answer).to_json()
    with pytest.raises(AnswerInvalid):
        world.custodian().deliver_receipt(given, b"salt" * 4)


def test_a_withdrawal_is_confirmed_only_by_the_statement_key_for_exactly_it(world: World) -> None:
    withdrawal = sign(Withdrawal(person=new_id(), at="2026-11-23T12:00:00Z"), world.requester)

    def confirm(of: str, key: SigningKey) -> None:
        confirmed = sign(WithdrawalConfirmed(withdrawal=of, streams=3, erased_from="2026-11-30"), key)
        world.routes["/v1/withdrawals"] = lambda _request: WithdrawalAnswer(confirmation=confirmed).to_json()

    confirm(withdrawal.hash, world.statement)
    assert world.custodian().deliver_withdrawal(withdrawal, b"salt" * 4).streams == 3
    confirm("00" * 32, world.statement)
    with pytest.raises(AnswerInvalid, match="another withdrawal"):
        world.custodian().deliver_withdrawal(withdrawal, b"salt" * 4)
    confirm(withdrawal.hash, world.collector_key)
    with pytest.raises(AnswerInvalid, match="not from the custodian"):
        world.custodian().deliver_withdrawal(withdrawal, b"salt" * 4)


def erasure_receipt(**changes: Any) -> ErasureReceipt:
    content: dict[str, Any] = {
        "person": "ab" * 16, "of": "ab" * 32, "kind": "erasure", "state": "requested", "day": DAY, "streams": 3,
        "days": 1, "hours": 0, "erased_from": DAY, "backup_days": 35,
    }  # fmt: skip
    return ErasureReceipt(**{**content, **changes})


def test_an_erasure_counts_as_received_only_with_the_custodians_receipt_for_exactly_it(world: World) -> None:
    wish = sign(Erasure(person=new_id(), everything=True, at=moment(world.now)), world.requester)
    salt, sent = b"s" * 32, []

    def answer(envelope: Envelope) -> Callable[[httpx2.Request], bytes]:
        def route(request: httpx2.Request) -> bytes:
            sent.append(StatementWithLeaf.parse(request.content))
            return ErasureAnswer(receipt=envelope).to_json()

        return route

    good = sign(erasure_receipt(of=wish.hash), world.statement)
    world.routes["/v1/erasures"] = answer(good)
    with world.custodian() as client:
        assert client.deliver_erasure(wish, salt) == good
    assert (sent[0].statement, sent[0].leaf) == (wish, person_leaf(salt, wish.hash))
    for bad in (
        sign(erasure_receipt(of="cd" * 32), world.statement),
        sign(erasure_receipt(of=wish.hash, state="final"), world.statement),
        sign(erasure_receipt(of=wish.hash), SigningKey.generate()),
        sign(WithdrawalConfirmed(withdrawal=wish.hash, streams=1, erased_from=DAY), world.statement),
    ):
        world.routes["/v1/erasures"] = answer(bad)
        with world.custodian() as client, pytest.raises(AnswerInvalid):
            client.deliver_erasure(wish, salt)


def test_erasures_that_are_listed_are_the_custodians_and_about_their_rows(world: World) -> None:
    requested = sign(erasure_receipt(), world.statement)
    final = sign(erasure_receipt(state="final", deleted=DAY, backups_expired=DAY), world.statement)
    good = ErasureView(of="ab" * 32, requested=requested, final=final)
    others = sign(erasure_receipt(of="cd" * 32, state="final"), world.statement)
    forged = sign(erasure_receipt(state="final"), SigningKey.generate())
    for view, holds in (
        (good, True),
        (good.model_copy(update={"final": None}), True),
        (good.model_copy(update={"final": requested}), False),
        (good.model_copy(update={"final": others}), False),
        (good.model_copy(update={"final": forged}), False),
        (good.model_copy(update={"of": "cd" * 32}), False),
        (good.model_copy(update={"requested": final}), False),
    ):
        body = ErasuresView(erasures=(view,), fallen=()).to_json()
        world.routes["/v1/me/erasures"] = lambda _request, body=body: body  # type: ignore[misc]
        with world.custodian() as client:
            if holds:
                assert client.erasures().erasures == (view,)
            else:
                with pytest.raises(AnswerInvalid):
                    client.erasures()


def test_recalls_are_the_custodians(world: World) -> None:
    recall = Recall(request="ab" * 32, day=DAY, items=(RecallItem(stream=new_id()),))
    for key, holds in ((world.statement, True), (SigningKey.generate(), False)):
        envelope = sign(recall, key)
        body = RecallsView(recalls=(RecallView(recall=envelope),)).to_json()
        world.routes["/v1/recalls"] = lambda _request, body=body: body  # type: ignore[misc]
        with world.custodian() as client:
            if holds:
                assert client.recalls() == ((envelope, recall, None),)
            else:
                with pytest.raises(AnswerInvalid):
                    client.recalls()


def test_receipts_that_are_listed_are_counter_signed(world: World) -> None:
    mine = receipt()

    def listed(envelope: Envelope, record: str) -> None:
        view = ReceiptsView(receipts=(ReceiptView(record=record, state="given", receipt=envelope),))
        world.routes["/v1/me/receipts"] = lambda _request: view.to_json()

    listed(sign(mine, world.requester, world.statement), mine.record)
    assert len(world.custodian().receipts().receipts) == 1
    listed(sign(mine, world.requester), mine.record)
    with pytest.raises(AnswerInvalid):
        world.custodian().receipts()
    listed(sign(mine, world.requester, world.statement), new_id())
    with pytest.raises(AnswerInvalid):
        world.custodian().receipts()


# --- certificates and news --------------------------------------------------------------------------------------------


class Certifying:
    """A custodian that certifies, and may lie in one place."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.certificate_changes: dict[str, Any] = {}
        self.answer_changes: dict[str, Any] = {}
        self.key = world.statement
        self.replayed: bytes | None = None
        self.last: bytes = b""
        world.routes["/v1/certificates"] = self.route

    def route(self, request: httpx2.Request) -> bytes:
        if self.replayed is not None:
            return self.replayed
        asked = read(Envelope.from_json(request.content), CertificateRequest, self.world.requester.public)
        made = [self._certificate(want) for want in asked.streams]
        fields: dict[str, Any] = {
            "nonce": asked.nonce,
            "now": moment(self.world.now),
            "certificates": tuple(envelope.hash for envelope in made),
        }
        answer = sign(CertificateAnswer(**{**fields, **self.answer_changes}), self.key)
        self.last = CertificatesAnswer(answer=answer, certificates=tuple(made)).to_json()
        return self.last

    def _certificate(self, want: StreamWanted) -> Envelope:
        fields: dict[str, Any] = {
            "stream": want.stream or new_id(),
            "stream_key": want.stream_key,
            "modality": want.modality,
            "day": want.day,
            "vault_key": HybridPrivateKey.generate().public_key.to_text(),
            "record_until": f"{DAY}T23",
            "upload_until": "2026-12-04",
            "byte_budget": 1000,
        }
        return sign(StreamCertificate(**{**fields, **self.certificate_changes}), self.key)


def wanted(**changes: Any) -> StreamWanted:
    fields: dict[str, Any] = {
        "stream_key": SigningKey.generate().public.text,
        "modality": Modality.POINTER,
        "day": DAY,
    }
    return StreamWanted(**{**fields, **changes})


def test_certificates_come_with_the_custodians_time(world: World) -> None:
    Certifying(world)
    answer = world.custodian().certificates([wanted(), wanted(stream=new_id())])
    assert answer.now == world.now
    assert all(certificate is not None for certificate in answer.certificates)


def test_a_refused_certificate_is_none_with_a_reason(world: World) -> None:
    def refuse(request: httpx2.Request) -> bytes:
        asked = read(Envelope.from_json(request.content), CertificateRequest, world.requester.public)
        said = CertificateAnswer(
            nonce=asked.nonce, now=moment(world.now), certificates=(None,), refusal="no live receipt"
        )
        return CertificatesAnswer(answer=sign(said, world.statement), certificates=(None,)).to_json()

    world.routes["/v1/certificates"] = refuse
    answer = world.custodian().certificates([wanted()])
    assert answer.certificates == (None,)
    assert answer.refusal == "no live receipt"


@pytest.mark.parametrize(
    "lie",
    [
        {"certificate_changes": {"stream_key": SigningKey.generate().public.text}},
        {"certificate_changes": {"modality": Modality.SCREEN}},
        {"certificate_changes": {"day": "2026-11-21"}},
        {"answer_changes": {"nonce": "00" * 16}},
        {"answer_changes": {"certificates": ("00" * 32,)}},
        {"answer_changes": {"certificates": ()}},
        {"answer_changes": {"certificates": (None,)}},
        {"answer_changes": {"now": "2026-13-45T99:00:00Z"}},
        {"key": SigningKey.generate()},
    ],
    ids=["stream key", "modality", "day", "nonce", "hash", "too few", "none", "time", "signer"],
)
def test_a_certificate_that_is_not_what_was_asked_is_refused(world: World, lie: dict[str, Any]) -> None:
    custodian = Certifying(world)
    for name, value in lie.items():
        setattr(custodian, name, value)
    with pytest.raises(AnswerInvalid):
        world.custodian().certificates([wanted()])


def test_an_extension_is_of_the_stream_that_was_named(world: World) -> None:
    custodian = Certifying(world)
    custodian.certificate_changes = {"stream": new_id()}
    with pytest.raises(AnswerInvalid, match="another stream"):
        world.custodian().certificates([wanted(stream=new_id())])


def test_a_replayed_answer_is_refused(world: World) -> None:
    custodian = Certifying(world)
    want = wanted()
    world.custodian().certificates([want])
    custodian.replayed = custodian.last
    with pytest.raises(AnswerInvalid, match="replay"):
        world.custodian().certificates([want])


def test_news_are_signed_and_answer_this_question(world: World) -> None:
    def tell(nonce: str | None, key: SigningKey) -> None:
        def route(request: httpx2.Request) -> bytes:
            asked = world.asked_by(request, world.requester.public)
            news = News(nonce=nonce or asked.nonce, now=moment(world.now), halted="a reason", live=(), notifications=())
            return sign(news, key).to_json()

        world.routes["/v1/me/news"] = route

    tell(None, world.statement)
    assert world.custodian().news().halted == "a reason"
    tell("00" * 16, world.statement)
    with pytest.raises(AnswerInvalid, match="replay"):
        world.custodian().news()
    tell(None, world.collector_key)
    with pytest.raises(AnswerInvalid, match="not from the custodian"):
        world.custodian().news()


# --- requests and orders ----------------------------------------------------------------------------------------------


def request_statement() -> DataRequest:
    return DataRequest(
        purpose="https://example.test/p",
        purpose_version=1,
        modalities=(Modality.POINTER,),
        from_day=DAY,
        to_day=DAY,
        mode=Mode.READER,
        recipient="research",
        why="to learn",
        nonce=new_id(),
        at="2026-11-23T12:00:00Z",
        expires="2026-12-01T12:00:00Z",
    )


def view_of(envelope: Envelope, **changes: Any) -> RequestView:
    fields: dict[str, Any] = {
        "hash": envelope.hash,
        "state": "open",
        "requester": "Ada",
        "approvals": 0,
        "approvals_needed": 2,
        "statement": envelope,
        "decisions": (),
    }
    return RequestView(**{**fields, **changes})


def test_a_steward_is_shown_the_very_statement_whose_hash_is_signed(world: World) -> None:
    honest = sign(request_statement(), world.requester)
    other = sign(request_statement(), world.requester)
    path = f"/v1/requests/{honest.hash}"
    world.routes[path] = lambda _request: view_of(honest).to_json()
    assert world.custodian().request(honest.hash).hash == honest.hash
    for lie in (view_of(other), view_of(other, hash=honest.hash), view_of(sign(receipt(), world.requester))):
        world.routes[path] = lambda _request, lie=lie: lie.to_json()  # type: ignore[misc]
        with pytest.raises(AnswerInvalid):
            world.custodian().request(honest.hash)


def test_a_list_of_requests_is_checked_the_same_way(world: World) -> None:
    honest = sign(request_statement(), world.requester)
    world.routes["/v1/requests"] = lambda _request: RequestsView(requests=(view_of(honest, hash="00" * 32),)).to_json()
    with pytest.raises(AnswerInvalid):
        world.custodian().requests()


def test_accepted_is_believed_for_the_statement_that_was_sent(world: World) -> None:
    world.routes["/v1/requests"] = lambda request: Accepted(hash=Envelope.from_json(request.content).hash).to_json()
    assert len(world.custodian().ask_for_data(request_statement()).hash) == 64
    world.routes["/v1/requests"] = lambda _request: Accepted(hash="00" * 32).to_json()
    with pytest.raises(AnswerInvalid, match="another statement"):
        world.custodian().ask_for_data(request_statement())


def test_a_decision_names_the_request(world: World) -> None:
    honest = sign(request_statement(), world.requester)
    seen: list[Statement] = []

    def decide(request: httpx2.Request) -> bytes:
        seen.append(read(Envelope.from_json(request.content), Decision, world.requester.public))
        return view_of(honest, approvals=1).to_json()

    world.routes["/v1/decisions"] = decide
    decision = Decision(request=honest.hash, decision="approve", at="2026-11-23T12:00:00Z")
    assert world.custodian().decide(decision).approvals == 1
    assert seen == [decision]


def orders(world: World, *numbers: int, start: str = FIRST_PREVIOUS) -> list[Envelope]:
    made = []
    previous = start
    for number in numbers:
        envelope = sign(Order(number=number, previous=previous, day=DAY, items=()), world.statement)
        previous = envelope.hash
        made.append(envelope)
    return made


def test_orders_follow_each_other(world: World) -> None:
    first, second, third = orders(world, 1, 2, 3)

    def give(*envelopes: Envelope) -> None:
        world.routes["/v1/orders"] = lambda _request: OrdersAnswer(orders=envelopes).to_json()

    give(first, second)
    assert [order.number for _, order in world.custodian().orders(0)] == [1, 2]
    give(third)
    assert [order.number for _, order in world.custodian().orders(2, second.hash)] == [3]
    for lie in ((second,), (first, third), (first, first), (sign(receipt(), world.statement),)):
        give(*lie)
        with pytest.raises(AnswerInvalid):
            world.custodian().orders(0)


def test_an_order_that_was_done_is_said_so(world: World) -> None:
    world.routes["/v1/orders/done"] = lambda request: Accepted(hash=Envelope.from_json(request.content).hash).to_json()
    assert world.custodian().order_done(OrderDone(number=1, order="00" * 32)).hash


def test_a_problem_document_is_json_that_names_no_key() -> None:
    assert "key" not in json.dumps(Problem(Code.STALE, "too old").as_dict())
