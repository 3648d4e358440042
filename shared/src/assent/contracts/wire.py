"""Bodies of HTTP requests and answers that are not statements themselves, shared by services and clients."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from assent.contracts.envelope import Base64, Envelope, Signed
from assent.contracts.ids import Hash, Modality, RandomId, Salt, StreamId
from assent.contracts.keys import KeyId
from assent.contracts.statements import DataItem, Mode, Notification, Role, Terms
from assent.contracts.times import Day, Moment

AUTHORIZATION_SCHEME = "Assent"
"""`Authorization: Assent <base64url of the envelope JSON>`: an Ask, wherever the body is no statement itself."""

HEADER_FIELD = "Assent-Header"
SEALED_KEY_FIELD = "Assent-Sealed-Key"
SIGNATURE_FIELD = "Assent-Signature"
BODY_SHA256_FIELD = "Assent-Body-SHA256"
"""The preamble of a segment travels in HTTP fields (base64url; digest in hexadecimal), so that it is checked before a
byte of the body is read."""

GONE = 2**64 - 1
"""In a stream of bodies: the length that says the body is no longer there."""


# --- custodian ------------------------------------------------------------------------------------


class StatementWithLeaf(Signed):
    """A receipt, withdrawal or erasure, and the salted hash that the log gets of it (`lists.person_leaf`).

    `salt`: of a receipt, kept for its person, so that each of their keys can prove that the log has it.
    """

    statement: Envelope
    leaf: Hash
    salt: Salt | None = None


class EnrolmentAnswer(Signed):
    enrolled: Envelope
    directory: Envelope


class CredentialView(Signed):
    key_id: KeyId
    kind: Literal["device", "opening"]
    since: Day


class AccountMessage(Signed):
    """What happened to one's keys."""

    day: Day
    text: str


class RecoveryView(Signed):
    """A recovery of an account. `ready`: when its delay is over, once it is countersigned. `name` is only for those who
    sign recoveries. State `open`: waits for a countersignature; `running`: can be stopped; `done`; `stopped`.
    """

    recovery: Hash
    state: Literal["open", "running", "done", "stopped"]
    ready: Moment | None = None
    person: RandomId | None = None
    name: str | None = None


class RecoveriesView(Signed):
    recoveries: tuple[RecoveryView, ...]


class Me(Signed):
    """`credentials`: those that are not revoked. `messages`: newest first. `recoveries`: those that can be stopped."""

    person: RandomId
    name: str
    roles: tuple[Role, ...]
    credentials: tuple[CredentialView, ...]
    messages: tuple[AccountMessage, ...] = ()
    recoveries: tuple[RecoveryView, ...] = ()


class PurposeView(Signed):
    iri: str
    version: int
    sentence: str
    recipients: tuple[str, ...]
    modes: tuple[Mode, ...]
    terms: tuple[str, ...]
    draft: Hash
    signed: bool


class PurposesView(Signed):
    purposes: tuple[PurposeView, ...]


class ApplicationList(Signed):
    """The employer's list: window classes (lower case). Deny wins over allow; an empty allow list allows nothing."""

    version: str
    allow: tuple[str, ...]
    deny: tuple[str, ...]


class Offer(Signed):
    """Everything that a person is shown before consent; the receipt pins it."""

    notice_version: str
    locale: str
    notice: str
    purposes: tuple[PurposeView, ...]
    application_list: ApplicationList
    redaction_profile: str
    agreement: str
    dpia: str
    statements: tuple[str, ...]
    personal_data: tuple[DataItem, ...]
    terms: Terms
    valid_days: int


class ReceiptAnswer(Signed):
    """The receipt with the custodian's counter-signature."""

    receipt: Envelope


class WithdrawalAnswer(Signed):
    confirmation: Envelope


ReceiptState = Literal["given", "withdrawn", "expired", "terminated", "invalidated"]


class ReceiptView(Signed):
    """`salt`: hides the receipt in the log. None when the device that gave it has not handed it in."""

    record: RandomId
    state: ReceiptState
    receipt: Envelope
    salt: Salt | None = None


class ReceiptsView(Signed):
    receipts: tuple[ReceiptView, ...]


class ErasureAnswer(Signed):
    """`receipt`: an ErasureReceipt whose state is `requested`."""

    receipt: Envelope


class ErasureView(Signed):
    """What was or will be erased of the person, for one statement or because it was too old.

    `requested`, `final` and `called_off`: ErasureReceipts; of the last two it has one at most. `salt`:
    `lists.person_leaf(salt, hash of that one)` stands in the log; None for a retention, whose receipts do not.
    """

    of: Hash
    requested: Envelope
    final: Envelope | None = None
    called_off: Envelope | None = None
    salt: Base64 | None = None


class FallenView(Signed):
    """What fell on `erased` without the person's wish, and of which there is no erasure receipt here: `retention`, it
    had been kept for as long as was agreed; `ended`, the receipt that covered it was ended by the controller or an
    authority.
    """

    reason: Literal["retention", "ended"]
    erased: Day
    streams: int
    first_day: Day
    last_day: Day


class ErasuresView(Signed):
    """Newest first."""

    erasures: tuple[ErasureView, ...]
    fallen: tuple[FallenView, ...]


class ReceiptProof(Signed):
    """The receipt's entry in the log (base64) and its tlog-proof; None until the entry is there and witnessed."""

    leaf: Base64 | None = None
    proof: str | None = None


class NoticeView(Signed):
    """A notice that was shown, as it was shown."""

    version: str
    locale: str
    notice: str


class CertificatesAnswer(Signed):
    """`answer`: a CertificateAnswer. `certificates`: in the order asked for, None where refused."""

    answer: Envelope
    certificates: tuple[Envelope | None, ...]


class InvitationAnswer(Signed):
    invitation: Hash
    until: Moment


class PersonView(Signed):
    """For admins: who has an account. Nothing here says who takes part."""

    person: RandomId
    name: str
    roles: tuple[Role, ...]


class PeopleView(Signed):
    people: tuple[PersonView, ...]


class ProposalView(Signed):
    """`keys`: of a role that waits to be given, the fingerprints of the account's opening keys now, sorted; none before
    who was invited has joined. `void`: it waits, and cannot be countersigned any more, since who proposed it has lost
    that role, or revoked the key that signed it.
    """

    proposal: Hash
    person: RandomId | None = None
    name: str
    role: Role
    action: Literal["grant", "revoke"]
    countersigned: bool
    effective: Moment | None = None
    keys: tuple[Hash, ...] = ()
    void: Literal[True] | None = None


class ProposalsView(Signed):
    proposals: tuple[ProposalView, ...]


class HaltView(Signed):
    """A halt that has not ended. `halted_by`: a name, or `the operator`. `resume_signed`: the roles, of council and
    dpo, whose signature counts now; the halt ends when both have signed.
    """

    hash: Hash
    reason: str
    at: Moment
    halted_by: str
    resume_signed: tuple[Role, ...]


class HaltsView(Signed):
    """Every halt that has not ended, oldest first. Empty: the programme runs."""

    halts: tuple[HaltView, ...]


class CatalogueEntry(Signed):
    """`people` is 0 below ten, otherwise rounded down to tens, and refreshed weekly."""

    purpose: str
    version: int
    sentence: str
    recipients: tuple[str, ...]
    modes: tuple[Mode, ...]
    modality: Modality
    people: int
    from_day: Day | None = None
    to_day: Day | None = None


class CatalogueView(Signed):
    counted: Day
    entries: tuple[CatalogueEntry, ...]


RequestState = Literal["open", "granted", "refused", "revoked", "expired", "not-available"]


class DecisionView(Signed):
    """Who decided, as the people concerned may see it: the name of the account."""

    name: str
    decision: Literal["approve", "refuse", "revoke"]
    reason: str
    day: Day


class RequestView(Signed):
    hash: Hash
    state: RequestState
    requester: str
    approvals: int
    approvals_needed: int
    statement: Envelope
    decisions: tuple[DecisionView, ...]


class RequestsView(Signed):
    requests: tuple[RequestView, ...]


class LeasedStream(Signed):
    """`pseudonym` names one person within this grant and nowhere else."""

    stream: StreamId
    pseudonym: str
    modality: Modality
    day: Day


class LeaseAnswer(Signed):
    """`leaf` and `proof`: the `lease.opened` entry (base64), its witnessed tlog-proof. `salt` opens `lease.streams`."""

    lease: Envelope
    streams: tuple[LeasedStream, ...]
    salt: Base64
    tickets: tuple[Envelope, ...]
    leaf: Base64
    proof: str
    dropped: tuple[StreamId, ...] = ()
    """Streams that an earlier lease of this grant had and this one has not; no reason is given."""


class ReleaseBody(Signed):
    """A ReleaseRequest and the batch it names (`lists.pack_batch`, base64)."""

    statement: Envelope
    batch: Base64


RefusalReason = Literal["not-leased", "erased", "withdrawn", "expired", "suite", "damaged", "too-early"]


class ReleaseRefusal(Signed):
    segment: Hash
    reason: RefusalReason


class ReleaseAnswer(Signed):
    """`sealed`: one HPKE message to the job, of (segment id ‖ data key)* in the order asked, without those refused."""

    sealed: Base64
    refused: tuple[ReleaseRefusal, ...]


class RecallView(Signed):
    """`recall`: a Recall. `done`: the day on which its requester signed that it was carried out."""

    recall: Envelope
    done: Day | None = None


class RecallsView(Signed):
    """Open ones first, then by day."""

    recalls: tuple[RecallView, ...]


class Access(Signed):
    """`proof`: tlog-proof of the entry, with the entry itself."""

    notification: Notification
    leaf: Base64 | None = None
    proof: str | None = None


class AccessesView(Signed):
    accesses: tuple[Access, ...]


class LogEntry(Signed):
    index: Annotated[int, Field(ge=0)]
    leaf: Base64
    actor_name: str | None = None


class LogEntries(Signed):
    size: int
    entries: tuple[LogEntry, ...]


class UnmaskingView(Signed):
    """`name`: the auditor who asked. `until`: until when it can be signed, or, once it was, is answered."""

    unmasking: Hash
    index: Annotated[int, Field(ge=0)]
    actor: Hash
    name: str
    reason: str
    state: Literal["open", "signed", "expired"]
    until: Moment


class UnmaskingsView(Signed):
    """The newest first."""

    unmaskings: tuple[UnmaskingView, ...]


class UnmaskedView(Signed):
    """Who the actor of entry `index` is, and of every other entry with the same actor. `until`: no answer after it."""

    unmasking: Hash
    index: Annotated[int, Field(ge=0)]
    actor: Hash
    person: RandomId
    name: str
    until: Moment


class OrdersAnswer(Signed):
    """`missing_after`: the custodian lacks its own orders above this number; the collector returns them."""

    orders: tuple[Envelope, ...]
    missing_after: Annotated[int, Field(ge=0)] | None = None


class Accepted(Signed):
    """A statement was accepted under this hash."""

    hash: Hash


# --- collector ------------------------------------------------------------------------------------


class StreamState(Signed):
    """Where the collector is in a stream: what comes next, and the hash it must name."""

    next_sequence: int
    previous: Hash
    ended: bool


class RecordBody(Signed):
    """A skip or end record (exact bytes) and the stream key's signature, both base64."""

    record: Base64
    signature: Base64


class FetchBody(Signed):
    ticket: Envelope
    request: Envelope


class FetchedSegment(Signed):
    kind: Literal["segment"] = "segment"
    header: Base64
    sealed_key: Base64
    body_sha256: Hash
    body_length: int
    signature: Base64


class FetchedRecord(Signed):
    kind: Literal["record"] = "record"
    record: Base64
    signature: Base64


class FetchedStream(Signed):
    """Everything but the bodies, in order of sequence. `certificates`: the first and its extensions."""

    stream: StreamId
    certificates: tuple[Envelope, ...]
    items: tuple[Annotated[FetchedSegment | FetchedRecord, Field(discriminator="kind")], ...]


class FetchAnswer(Signed):
    """Streams that the collector does not have are simply absent."""

    streams: tuple[FetchedStream, ...]
