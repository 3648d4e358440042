"""Routes about consent: what is offered, giving, withdrawing, and what the agent must know."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from assent.contracts.envelope import Envelope
from assent.contracts.ids import Hash, RandomId
from assent.contracts.problems import Code
from assent.contracts.statements import ConsentEnding, Receipt, Withdrawal
from assent.contracts.wire import (
    Accepted,
    NoticeView,
    Offer,
    ReceiptAnswer,
    ReceiptProof,
    ReceiptsView,
    StatementWithLeaf,
    WithdrawalAnswer,
)
from assent_custodian.auth import Stated
from assent_custodian.consent import service
from assent_custodian.guards import Asked, ByAsk, ByStatement, Running, Tx
from assent_custodian.purposes import service as purposes
from assent_custodian.roles import Permission
from assent_custodian.web import answer
from assent_service.describing import refuses

router = APIRouter()

_GIVES = ByStatement(Permission.GIVE_CONSENT, Receipt, fresh=False, within=StatementWithLeaf)
"""The receipt's time is checked by `service.give`, so that a receipt that is stored already gets its answer again."""

_WITHDRAWS = ByStatement(Permission.WITHDRAW, Withdrawal, fresh=False, within=StatementWithLeaf)
"""A withdrawal counts whenever it arrives, also from a device that was revoked meanwhile."""


_HEARS = ByAsk(Permission.HEAR_NEWS)
"""A revoked device must hear that it is, from a signature."""


@router.get("/v1/consent/offer", response_model=Offer)
def offer(custodian: Running, session: Tx, asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_OFFER))]) -> Response:
    """Everything that a person is shown before consent."""
    return answer(custodian.offer.offer(purposes.offered(session, drill=asked.asker.drill)))


@router.post("/v1/receipts", response_model=ReceiptAnswer, responses=refuses(Code.REFUSED, Code.CONFLICT))
def give(custodian: Running, session: Tx, stated: Annotated[Stated[Receipt], Depends(_GIVES)]) -> Response:
    """Give consent."""
    return answer(ReceiptAnswer(receipt=service.give(session, custodian, stated)))


@router.post("/v1/withdrawals", response_model=WithdrawalAnswer, responses=refuses(Code.REFUSED))
def withdraw(custodian: Running, session: Tx, stated: Annotated[Stated[Withdrawal], Depends(_WITHDRAWS)]) -> Response:
    """Withdraw consent."""
    return answer(WithdrawalAnswer(confirmation=service.withdraw(session, custodian, stated)))


@router.post("/v1/consent/endings", response_model=Accepted)
def end(
    custodian: Running,
    session: Tx,
    stated: Annotated[Stated[ConsentEnding], Depends(ByStatement(Permission.END_CONSENT, ConsentEnding))],
) -> Response:
    """End receipts, by the controller or since an authority declared them invalid."""
    service.end(session, custodian, stated.statement, stated.envelope, stated.asker)
    return answer(Accepted(hash=stated.envelope.hash))


@router.get("/v1/me/receipts", response_model=ReceiptsView)
def receipts(
    custodian: Running, session: Tx, asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_OWN_RECEIPTS))]
) -> Response:
    """One's own receipts and their states."""
    return answer(service.receipts(session, asked.asker.person, custodian.now()))


@router.get("/v1/me/receipts/{record}/proof", response_model=ReceiptProof, responses=refuses(Code.NOT_FOUND))
def proof(
    custodian: Running,
    session: Tx,
    asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_OWN_RECEIPTS))],
    record: RandomId,
    leaf: Hash,
) -> Response:
    """That one's own receipt is in the log. `leaf` is the salted hash that the device sent along with the receipt."""
    return answer(service.proof(session, custodian, asked.asker.person, record, leaf))


@router.get("/v1/consent/notices/{sha256}", response_model=NoticeView, responses=refuses(Code.NOT_FOUND))
def notice(session: Tx, asked: Annotated[Asked, Depends(ByAsk(Permission.SEE_OWN_RECEIPTS))], sha256: Hash) -> Response:
    """A text that one agreed to, by its SHA-256."""
    return answer(service.notice(session, asked.asker.person, sha256))


@router.get("/v1/me/news", response_model=Envelope)
def news(
    request: Request,
    custodian: Running,
    session: Tx,
    asked: Annotated[Asked, Depends(_HEARS)],
) -> Response:
    """What an agent asks every five minutes."""
    told = [tell(session, asked.asker.person, custodian.today()) for tell in request.app.state.notifiers]
    notifications = tuple(notification for some in told for notification in some)
    return answer(service.news(session, custodian, asked.asker, asked.ask.nonce, notifications))
