"""The custodian's routes, one method each.

What the custodian signs is checked here before it is returned: by the statement key of the directory, and against the
question (nonce, hash, keys). A method that returns a statement returns a verified one. Errors are those of
`transport`: Unreachable, Refused (Stale when the clocks disagree), AnswerInvalid.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self, TypeVar
from urllib.parse import urlencode

import httpx2

from assent.client.transport import (
    BYTES,
    TEXT,
    AnswerInvalid,
    Refused,
    Stale,
    Transport,
    now_utc,
)
from assent.contracts import limits
from assent.contracts.envelope import Envelope, Signed, Statement, StatementInvalid, read_unverified, sign
from assent.contracts.ids import new_id, sha256_hex
from assent.contracts.keys import PublicKey, SigningKey, b64url
from assent.contracts.lists import pack_batch, person_leaf
from assent.contracts.problems import Code, Problem
from assent.contracts.rotation import read_lasting, statement_key_of
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import (
    Ask,
    CertificateAnswer,
    CertificateRequest,
    ConsentEnding,
    CredentialCode,
    CredentialRevocation,
    DataRequest,
    Decision,
    Directory,
    ErasureReceipt,
    Halt,
    Invitation,
    Lease,
    LeaseClosed,
    LeaseRequest,
    Leaving,
    News,
    Order,
    OrderDone,
    OwnData,
    PurposeDraft,
    PurposeSignature,
    Recall,
    RecallDone,
    Receipt,
    Recovery,
    RecoveryCountersignature,
    RecoveryStopped,
    ReleaseRequest,
    Resume,
    RoleCountersignature,
    RoleProposal,
    Standing,
    StreamCertificate,
    StreamWanted,
    Ticket,
    Unmasking,
    UnmaskingCountersignature,
    Withdrawal,
    WithdrawalConfirmed,
)
from assent.contracts.times import moment, parse_moment
from assent.contracts.wire import (
    AUTHORIZATION_SCHEME,
    Accepted,
    AccessesView,
    CatalogueView,
    CertificatesAnswer,
    EnrolmentAnswer,
    ErasureAnswer,
    ErasuresView,
    HaltsView,
    InvitationAnswer,
    LeaseAnswer,
    LogEntries,
    Me,
    NoticeView,
    Offer,
    OrdersAnswer,
    PeopleView,
    ProposalsView,
    PurposesView,
    RecallsView,
    ReceiptAnswer,
    ReceiptProof,
    ReceiptsView,
    RecoveriesView,
    ReleaseAnswer,
    ReleaseBody,
    RequestsView,
    RequestView,
    StatementWithLeaf,
    UnmaskedView,
    UnmaskingsView,
    WithdrawalAnswer,
)

Clock = Callable[[], datetime]
M = TypeVar("M", bound=Signed)
S = TypeVar("S", bound=Statement)


@dataclass(frozen=True)
class Certificate:
    """A verified stream certificate, and the envelope that the collector wants to see."""

    envelope: Envelope
    statement: StreamCertificate


@dataclass(frozen=True)
class Certificates:
    """The answer to a request for certificates: in the order asked for, None where refused; `refusal` says why.

    `now` is the custodian's signed time.
    """

    now: datetime
    certificates: tuple[Certificate | None, ...]
    refusal: str | None


@dataclass(frozen=True)
class OpenedLease:
    """A lease whose signature, keys and request were checked. Its log proof and stream list are the reader's to check.

    `tickets`: verified tickets with their envelopes.
    """

    envelope: Envelope
    lease: Lease
    answer: LeaseAnswer
    tickets: tuple[tuple[Envelope, Ticket], ...]


class CustodianClient:
    """Asks one custodian in the name of one credential, or of none."""

    def __init__(
        self,
        url: str,
        statement_key: PublicKey,
        signer: SigningKey | None = None,
        *,
        clock: Clock = now_utc,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`statement_key`: from the directory. `signer`: the credential that signs questions. `clock`: wall time."""
        self.transport = Transport(url, timeout_s=timeout_s, transport=transport)
        self._statement_key = statement_key
        self._signer = signer
        self._clock = clock

    @classmethod
    def of(
        cls,
        directory: Directory,
        signer: SigningKey | None = None,
        *,
        clock: Clock = now_utc,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> Self:
        """A client for the custodian that the directory names."""
        key = statement_key_of(directory)
        return cls(directory.custodian_url, key, signer, clock=clock, timeout_s=timeout_s, transport=transport)

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def signer(self) -> SigningKey:
        """Raises Refused (not-signed-in) when this client has no credential."""
        if self._signer is None:
            raise Refused(Problem(Code.NOT_SIGNED_IN, "there is no credential to sign with"))
        return self._signer

    def now(self) -> str:
        """The wall clock as a moment."""
        return moment(self._clock())

    # --- everybody ----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """`GET /v1/log/checkpoint`: the newest signed checkpoint with cosignatures. Check it with `Policy.check`."""
        return self._call("GET", "/v1/log/checkpoint", expect=TEXT)

    def enrol(self, enrolment: Envelope) -> EnrolmentAnswer:
        """`POST /v1/enrolments`. The caller (`joining.join`) checks what comes back."""
        return self._parse(EnrolmentAnswer, self._post("/v1/enrolments", enrolment.to_json()))

    # --- persons ------------------------------------------------------------------------------------------------------

    def me(self) -> Me:
        return self._parse(Me, self._get("/v1/me"))

    def add_credential(self, code: CredentialCode) -> InvitationAnswer:
        """Sign for a code that adds one key to one's own account."""
        return self._invited("/v1/me/credentials", code)

    def revoke_credential(self, revocation: CredentialRevocation) -> Accepted:
        """End a key of one's own."""
        return self._accepted("/v1/me/credentials/revocations", revocation)

    def leave(self, leaving: Leaving) -> Accepted:
        """End one's own account, for good."""
        return self._accepted("/v1/me/leaving", leaving)

    def end_account(self, leaving: Leaving) -> Accepted:
        """End the account of somebody who has left."""
        return self._accepted("/v1/leavings", leaving)

    def recoveries(self) -> RecoveriesView:
        return self._parse(RecoveriesView, self._get("/v1/recoveries"))

    def recover(self, recovery: Recovery) -> Accepted:
        """Sign a recovery, which the other of council and dpo must countersign."""
        return self._accepted("/v1/recoveries", recovery)

    def countersign_recovery(self, countersignature: RecoveryCountersignature) -> Accepted:
        return self._accepted("/v1/recoveries/countersignatures", countersignature)

    def stop_recovery(self, stopped: RecoveryStopped) -> Accepted:
        """Stop a recovery of one's own account."""
        return self._accepted("/v1/me/recoveries/stops", stopped)

    def offer(self) -> Offer:
        """What a person is shown before consent."""
        return self._parse(Offer, self._get("/v1/consent/offer"))

    def deliver_receipt(self, receipt: Envelope, salt: bytes) -> Envelope:
        """Hand in a signed `Receipt`; return it with the custodian's counter-signature, which is checked.

        `salt`: 16 random bytes of the device at least, kept with the receipt, that hide it in the log. The custodian
        keeps it for the person's other keys.
        """
        body = StatementWithLeaf(statement=receipt, leaf=person_leaf(salt, receipt.hash), salt=salt.hex())
        answer = self._parse(ReceiptAnswer, self._post("/v1/receipts", body.to_json()))
        self._read(answer.receipt, Receipt)
        if answer.receipt.hash != receipt.hash:
            raise AnswerInvalid("the custodian counter-signed another receipt")
        return answer.receipt

    def deliver_withdrawal(self, withdrawal: Envelope, salt: bytes) -> WithdrawalConfirmed:
        """Hand in a signed `Withdrawal`, any number of times. Only the return of this means "confirmed"."""
        body = StatementWithLeaf(statement=withdrawal, leaf=person_leaf(salt, withdrawal.hash))
        answer = self._parse(WithdrawalAnswer, self._post("/v1/withdrawals", body.to_json()))
        confirmed = self._read(answer.confirmation, WithdrawalConfirmed)
        if confirmed.withdrawal != withdrawal.hash:
            raise AnswerInvalid("the custodian confirmed another withdrawal")
        return confirmed

    def withdraw(self, withdrawal: Withdrawal, salt: bytes) -> WithdrawalConfirmed:
        """Sign a withdrawal with this client's credential and hand it in."""
        return self.deliver_withdrawal(sign(withdrawal, self.signer), salt)

    def restate(self, standing: Standing) -> None:
        """Say, signed by the device, what it holds of receipts and withdrawals: a restored custodian asked for it."""
        self._accepted("/v1/me/standing", standing)

    def deliver_erasure(self, erasure: Envelope, salt: bytes) -> Envelope:
        """Hand in a signed `Erasure`, any number of times; return the custodian's receipt, which is checked.

        `salt`: random bytes, kept with the statement, that hide it in the log.
        """
        body = StatementWithLeaf(statement=erasure, leaf=person_leaf(salt, erasure.hash))
        answer = self._parse(ErasureAnswer, self._post("/v1/erasures", body.to_json()))
        receipt = self._read(answer.receipt, ErasureReceipt)
        if receipt.of != erasure.hash or receipt.state != "requested":
            raise AnswerInvalid("the receipt is for another erasure")
        return answer.receipt

    def erasures(self) -> ErasuresView:
        """What was or will be erased of the person; every receipt is checked to be the one that its row names."""
        view = self._parse(ErasuresView, self._get("/v1/me/erasures"))
        for row in view.erasures:
            receipts = ((row.requested, "requested"), (row.final, "final"), (row.called_off, "called-off"))
            for envelope, state in receipts:
                if envelope is None:
                    continue
                receipt = self._read(envelope, ErasureReceipt)
                if receipt.of != row.of or receipt.state != state:
                    raise AnswerInvalid("a receipt is not the one that its row names")
        return view

    def certificates(self, wanted: Sequence[StreamWanted]) -> Certificates:
        """Ask for permission to record. Every certificate returned is signed, for the key, modality and day asked."""
        nonce = new_id()
        request = CertificateRequest(nonce=nonce, at=self.now(), streams=tuple(wanted))
        answer = self._parse(CertificatesAnswer, self._post_signed("/v1/certificates", request))
        said = self._read(answer.answer, CertificateAnswer)
        if said.nonce != nonce:
            raise AnswerInvalid("the answer is to another question: a replay")
        if not len(said.certificates) == len(answer.certificates) == len(wanted):
            raise AnswerInvalid("not as many answers as certificates asked for")
        checked = tuple(
            self._certificate(want, expected, envelope)
            for want, expected, envelope in zip(wanted, said.certificates, answer.certificates, strict=True)
        )
        return Certificates(self._moment(said.now), checked, said.refusal)

    def _certificate(self, want: StreamWanted, expected: str | None, envelope: Envelope | None) -> Certificate | None:
        if envelope is None and expected is None:
            return None
        if envelope is None or envelope.hash != expected:
            raise AnswerInvalid("a certificate is not the one that the custodian's answer names")
        certificate = self._read(envelope, StreamCertificate)
        asked = (want.stream_key, want.modality, want.day, want.stream or certificate.stream)
        if (certificate.stream_key, certificate.modality, certificate.day, certificate.stream) != asked:
            raise AnswerInvalid("a certificate is for another stream than the one asked for")
        return Certificate(envelope, certificate)

    def news(self) -> News:
        """The 5-minute question: is the programme halted, which receipts live, what was accessed."""
        nonce = new_id()
        envelope = self._envelope(self._get("/v1/me/news", nonce=nonce))
        news = self._read(envelope, News)
        if news.nonce != nonce:
            raise AnswerInvalid("the news answer another question: a replay")
        return news

    def receipts(self) -> ReceiptsView:
        """The person's receipts; each counter-signature is checked."""
        view = self._parse(ReceiptsView, self._get("/v1/me/receipts"))
        for receipt in view.receipts:
            if self._read(receipt.receipt, Receipt).record != receipt.record:
                raise AnswerInvalid("a receipt is not the one that its row names")
        return view

    def end_consent(self, ending: ConsentEnding) -> Accepted:
        """End receipts, in the name of the data-protection officer."""
        return self._parse(Accepted, self._post("/v1/consent/endings", sign(ending, self.signer).to_json()))

    def receipt_proof(self, record: str, leaf: str) -> ReceiptProof:
        """Where the person's receipt stands in the log. `leaf`: `lists.person_leaf` of its salt and hash."""
        return self._parse(ReceiptProof, self._get(f"/v1/me/receipts/{record}/proof", {"leaf": leaf}))

    def notice(self, sha256: str) -> str:
        """A text that people agreed to, by its hash, which is checked."""
        view = self._parse(NoticeView, self._get(f"/v1/consent/notices/{sha256}"))
        if sha256_hex(view.notice.encode()) != sha256:
            raise AnswerInvalid("the notice is not the one that was asked for")
        return view.notice

    def accesses(self, since: str | None = None) -> AccessesView:
        """Newest first. `since`: what was told from this day (UTC) on; None: everything."""
        query = None if since is None else {"since": since}
        return self._parse(AccessesView, self._get("/v1/me/accesses", query))

    # --- people, roles, purposes --------------------------------------------------------------------------------------

    def people(self) -> PeopleView:
        return self._parse(PeopleView, self._get("/v1/people"))

    def invite(self, invitation: Invitation) -> InvitationAnswer:
        return self._invited("/v1/invitations", invitation)

    def _invited(self, path: str, code: Invitation | CredentialCode) -> InvitationAnswer:
        envelope = sign(code, self.signer)
        answer = self._parse(InvitationAnswer, self._post(path, envelope.to_json()))
        if answer.invitation != envelope.hash:
            raise AnswerInvalid("the custodian accepted another invitation")
        return answer

    def proposals(self) -> ProposalsView:
        return self._parse(ProposalsView, self._get("/v1/roles"))

    def propose_role(self, proposal: RoleProposal) -> Accepted:
        return self._accepted("/v1/roles", proposal)

    def countersign_role(self, countersignature: RoleCountersignature) -> Accepted:
        return self._accepted("/v1/roles/countersignatures", countersignature)

    def halts(self) -> HaltsView:
        """Every halt in force, and who has signed that it may end."""
        return self._parse(HaltsView, self._get("/v1/halt"))

    def halt(self, halt: Halt) -> Accepted:
        """Sign a halt and hand it in: everything stops."""
        return self._accepted("/v1/halt", halt)

    def resume(self, resume: Resume) -> Accepted:
        """Sign that one halt may end, and hand it in."""
        return self._accepted("/v1/halt/resumptions", resume)

    def purposes(self) -> PurposesView:
        return self._parse(PurposesView, self._get("/v1/purposes"))

    def draft_purpose(self, draft: PurposeDraft) -> Accepted:
        return self._accepted("/v1/purposes", draft)

    def sign_purpose(self, signature: PurposeSignature) -> Accepted:
        return self._accepted("/v1/purposes/signatures", signature)

    # --- requests and leases ------------------------------------------------------------------------------------------

    def catalogue(self) -> CatalogueView:
        return self._parse(CatalogueView, self._get("/v1/catalogue"))

    def requests(self) -> RequestsView:
        """The requests one may see; each statement is checked to be the one that its hash names."""
        view = self._parse(RequestsView, self._get("/v1/requests"))
        for request in view.requests:
            _check_request(request)
        return view

    def request(self, request_hash: str) -> RequestView:
        view = self._parse(RequestView, self._get(f"/v1/requests/{request_hash}"))
        _check_request(view, request_hash)
        return view

    def ask_for_data(self, request: DataRequest) -> Accepted:
        """Sign and hand in a request. It is known by the returned hash."""
        return self._accepted("/v1/requests", request)

    def decide(self, decision: Decision) -> RequestView:
        """Sign and hand in an approval, refusal or revocation; returns the request as it stands now."""
        view = self._parse(RequestView, self._post_signed("/v1/decisions", decision))
        _check_request(view, decision.request)
        return view

    def open_lease(
        self,
        *,
        job_signing_key: PublicKey,
        job_receiving_key: str,
        until: datetime,
        request: str | None = None,
        own: OwnData | None = None,
    ) -> OpenedLease:
        """Ask for a lease for one job. Checked: who signed it, that it is for these keys, this request and this end."""
        asked = LeaseRequest(
            request=request,
            own=own,
            job_signing_key=job_signing_key.text,
            job_receiving_key=job_receiving_key,
            nonce=new_id(),
            at=self.now(),
            until=moment(until),
        )
        envelope = sign(asked, self.signer)
        answer = self._parse(LeaseAnswer, self._post("/v1/leases", envelope.to_json()))
        lease = self._read(answer.lease, Lease)
        if (lease.job_signing_key, lease.job_receiving_key) != (asked.job_signing_key, asked.job_receiving_key):
            raise AnswerInvalid("the lease is for the keys of another job")
        if lease.request != (envelope.hash if own is not None else request) or (lease.mode == "own") != (
            own is not None
        ):
            raise AnswerInvalid("the lease is for another request")
        if lease.until > asked.until:
            raise AnswerInvalid("the lease runs longer than was asked")
        tickets = tuple((ticket, self._read(ticket, Ticket)) for ticket in answer.tickets)
        if any(ticket.job_signing_key != asked.job_signing_key for _, ticket in tickets):
            raise AnswerInvalid("a ticket is for another job")
        return OpenedLease(answer.lease, lease, answer, tickets)

    def release(
        self, lease: str, job_key: SigningKey, pairs: Sequence[tuple[bytes, bytes]]
    ) -> tuple[ReleaseAnswer, bytes]:
        """Send (header, sealed key) pairs, up to 1,000; returns the answer and the batch's SHA-256.

        The answer opens with `sealing.open_release(…, lease hash, batch hash)` and nothing else.
        """
        batch = pack_batch(pairs)
        batch_hash = sha256_hex(batch)
        statement = sign(ReleaseRequest(lease=lease, batch=batch_hash, count=len(pairs)), job_key)
        body = ReleaseBody(statement=statement, batch=to_base64(batch))
        answer = self._parse(ReleaseAnswer, self._post("/v1/leases/releases", body.to_json()))
        return answer, bytes.fromhex(batch_hash)

    def unmaskings(self) -> UnmaskingsView:
        """What auditors asked to learn of the log, and whether the data-protection officer signed."""
        return self._parse(UnmaskingsView, self._get("/v1/unmaskings"))

    def ask_unmasking(self, unmasking: Unmasking) -> Accepted:
        """Ask who the actor of an entry is."""
        return self._accepted("/v1/unmaskings", unmasking)

    def countersign_unmasking(self, countersignature: UnmaskingCountersignature) -> Accepted:
        """Agree that the auditor who asked learns it."""
        return self._accepted("/v1/unmaskings/countersignatures", countersignature)

    def unmasked(self, unmasking: str) -> UnmaskedView:
        """Who it is: to the auditor who asked, once it was countersigned."""
        view = self._parse(UnmaskedView, self._get(f"/v1/unmaskings/{unmasking}/person"))
        if view.unmasking != unmasking:
            raise AnswerInvalid("this answers another wish")
        return view

    def close_lease(self, lease: str, job_key: SigningKey, opened: int) -> Accepted:
        envelope = sign(LeaseClosed(lease=lease, opened=opened), job_key)
        return self._parse(Accepted, self._post("/v1/leases/closures", envelope.to_json()))

    def recalls(self) -> tuple[tuple[Envelope, Recall, str | None], ...]:
        """What must be dropped of what was read under one's own grants: each verified, with the day it was done."""
        view = self._parse(RecallsView, self._get("/v1/recalls"))
        return tuple((row.recall, self._read(row.recall, Recall), row.done) for row in view.recalls)

    def recall_done(self, recall: str) -> Accepted:
        """Sign that everything which this recall (its hash) names was dropped."""
        return self._accepted("/v1/recalls/done", RecallDone(recall=recall, at=self.now()))

    # --- the log ------------------------------------------------------------------------------------------------------

    def log_entries(self, start: int, count: int) -> LogEntries:
        return self._parse(LogEntries, self._get("/v1/log/entries", {"start": start, "count": count}))

    def tile(self, path: str) -> bytes:
        """A tile or entry bundle; `path` as C2SP tlog-tiles has it, beginning with `tile/`."""
        return self._get(f"/v1/log/{path}", expect=BYTES)

    def log_proof(self, index: int) -> bytes:
        """The tlog-proof of one entry."""
        return self._get("/v1/log/proof", {"index": index}, expect=TEXT)

    # --- the collector's questions ------------------------------------------------------------------------------------

    def orders(self, after: int, previous: str = FIRST_PREVIOUS) -> tuple[tuple[Envelope, Order], ...]:
        """Orders after number `after`, whose hash is `previous`; each is checked to follow the one before."""
        answer = self._parse(OrdersAnswer, self._get("/v1/orders", {"after": after}))
        checked: list[tuple[Envelope, Order]] = []
        for envelope in answer.orders:
            order = self._read(envelope, Order)
            after += 1
            if order.number != after or order.previous != previous:
                raise AnswerInvalid(f"order {after} does not follow the one before")
            previous = envelope.hash
            checked.append((envelope, order))
        return tuple(checked)

    def order_done(self, done: OrderDone) -> Accepted:
        return self._accepted("/v1/orders/done", done)

    # --- how it is said -----------------------------------------------------------------------------------------------

    def _get(
        self,
        path: str,
        query: Mapping[str, int | str] | None = None,
        *,
        nonce: str | None = None,
        expect: str = "application/json",
    ) -> bytes:
        """A question that is signed as an `Ask` in the Authorization field."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._call("GET", target, headers=self._authorization("GET", target, nonce or new_id()), expect=expect)

    def _authorization(self, method: Literal["GET", "POST"], target: str, nonce: str) -> dict[str, str]:
        ask = sign(Ask(method=method, target=target, nonce=nonce, at=self.now()), self.signer)
        return {"Authorization": f"{AUTHORIZATION_SCHEME} {b64url(ask.to_json())}"}

    def _post(self, path: str, body: bytes) -> bytes:
        if len(body) > limits.MAX_RELEASE_BYTES:
            raise Refused(Problem(Code.TOO_LARGE, "the message is longer than any that the custodian takes"))
        return self._call("POST", path, body=body)

    def _post_signed(self, path: str, statement: Statement) -> bytes:
        return self._post(path, sign(statement, self.signer).to_json())

    def _accepted(self, path: str, statement: Statement) -> Accepted:
        """Sign and send; the hash that comes back must be the statement's."""
        envelope = sign(statement, self.signer)
        accepted = self._parse(Accepted, self._post(path, envelope.to_json()))
        if accepted.hash != envelope.hash:
            raise AnswerInvalid("the custodian accepted another statement")
        return accepted

    def _call(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        expect: str = "application/json",
    ) -> bytes:
        try:
            return self.transport.request(method, target, body=body, headers=headers, expect=expect)
        except Refused as refused:
            if refused.code is Code.STALE:
                raise Stale(refused.problem, refused.retry_after_s, self._skew(refused.problem)) from refused
            raise

    def _skew(self, problem: Problem) -> float | None:
        said = problem.members.get("now")
        try:
            return (parse_moment(said) - self._clock()).total_seconds() if isinstance(said, str) else None
        except ValueError:
            return None

    def _parse(self, kind: type[M], data: bytes) -> M:
        try:
            return kind.parse(data)
        except StatementInvalid as error:
            raise AnswerInvalid(f"the custodian's answer cannot be read: {error}") from error

    def _envelope(self, data: bytes) -> Envelope:
        try:
            return Envelope.from_json(data)
        except StatementInvalid as error:
            raise AnswerInvalid(f"the custodian's answer cannot be read: {error}") from error

    def _read(self, envelope: Envelope, kind: type[S]) -> S:
        try:
            return read_lasting(envelope, kind, self._statement_key)
        except StatementInvalid as error:
            raise AnswerInvalid(f"not from the custodian: {error}") from error

    def _moment(self, text: str) -> datetime:
        try:
            return parse_moment(text)
        except ValueError as error:
            raise AnswerInvalid("the custodian's time cannot be read") from error


def to_base64(data: bytes) -> str:
    """Standard base64, as `wire.Base64` has it."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Raises AnswerInvalid when it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AnswerInvalid("not base64") from error


def _check_request(view: RequestView, expected: str | None = None) -> None:
    """What is shown and signed must be the very statement that the hash names."""
    if view.statement.hash != view.hash or (expected is not None and view.hash != expected):
        raise AnswerInvalid("the custodian showed another request than the one named")
    try:
        read_unverified(view.statement, DataRequest)
    except StatementInvalid as error:
        raise AnswerInvalid(f"the request cannot be read: {error}") from error
