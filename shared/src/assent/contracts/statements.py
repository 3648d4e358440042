"""Every signed statement of Assent, each with who signs it and what stops it from being used twice.

The class docstring names the signer and the replay rule. A statement that is not listed here does not exist.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from assent.contracts import limits
from assent.contracts.envelope import Envelope, Statement
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Hash, Modality, RandomId, Salt, StreamId
from assent.contracts.keys import KeyId, KeyText, VaultKeyText
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.times import Day, Hour, Moment

Line = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Text = Annotated[str, StringConstraints(max_length=4000)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/[^\s]*)?$", max_length=300)]
Iri = Annotated[str, StringConstraints(pattern=r"^(https?|urn):[^\s]+$", max_length=300)]


DRILL_PURPOSE: Final = "urn:assent:drill"
"""The one purpose of the canary drill. People are never asked for it."""

MAX_DRILL_RULES = 64
"""Expectations named in one drill's result; a drill that breaks more names the first ones."""

MAX_ROLE_KEYS = 32
"""Opening keys that a role can be countersigned for."""

DrillRule = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$", max_length=64)]

REFUSED: Final = ("refused_tickets", "refused_certificates", "refused_over_budget")
"""What a collector's report says of what it refused."""

MAX_FORMER = 32
"""Keys of before in one directory."""


class Role(StrEnum):
    """What somebody may do at the custodian besides being a person. The six exclude each other."""

    REQUESTER = "requester"
    STEWARD = "steward"
    AUDITOR = "auditor"
    ADMIN = "admin"
    COUNCIL = "council"
    DPO = "dpo"


class Mode(StrEnum):
    READER = "reader"
    EXPORT = "export"


class Part(BaseModel):
    """Base of what stands inside statements."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


# --- the directory, and joining -------------------------------------------------------------------------------------


class WitnessEntry(Part):
    url: Url
    vkey: Line
    """Verifier key of the witness (C2SP signed-note, type 0x04)."""


class FormerKey(Part):
    """A statement key of before. What it signed until `ended`, and what endures, still holds; nothing newer does."""

    key: KeyText
    ended: Moment


class FormerPolicy(Part):
    """Log key and witnesses of before: a proof that was witnessed until `ended` still holds under them."""

    log_vkey: Line
    policy: Text
    ended: Moment


class FormerLog(FormerPolicy):
    """A log that ended, since its newest leaves were lost everywhere. The next one begins with its first `kept` leaves.

    `heads`: the newest head of each witness (signed notes), which together have the quorum's signatures. `root`: over
    the leaves that were kept.
    """

    heads: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_FORMER)]
    kept: Annotated[int, Field(ge=0, lt=2**53)]
    root: Hash


class Directory(Statement):
    """Where everybody is, and their current keys. Signed by the root key; the version only rises.

    A key of before that is not among the former ones proves nothing any more: so a stolen one is left out. A log ends
    only by being named among the former ones, in the order in which they ended, and that is never taken back.
    """

    TYPE: ClassVar[str] = "directory"
    version: Annotated[int, Field(ge=1, lt=2**31)]
    issued: Moment
    organisation: Line
    root_key: KeyText
    custodian_url: Url
    collector_url: Url
    statement_key: KeyText
    collector_key: KeyText
    log_vkey: Line
    witnesses: tuple[WitnessEntry, ...]
    policy: Text
    """tlog-policy text: which cosignatures make a checkpoint good enough."""
    custody_level: Annotated[int, Field(ge=0, le=4)]
    former_keys: Annotated[tuple[FormerKey, ...], Field(max_length=MAX_FORMER)] = ()
    former_policies: Annotated[tuple[FormerPolicy, ...], Field(max_length=MAX_FORMER)] = ()
    former_logs: Annotated[tuple[FormerLog, ...], Field(max_length=MAX_FORMER)] = ()


class NewCredential(Part):
    """`device` records, consents, withdraws, erases; `opening` reads, requests, approves and adds others."""

    kind: Literal["device", "opening"]
    key: KeyText


class Invitation(Statement):
    """Signed by an admin's opening credential (founders: by the root key). The code works once, until `until`.

    `code` is `hash_of_secret`; the secret itself is made on the inviting side and handed over by the inviter.
    `role` proposes a role for the invited person, under the same rules as a role proposal.
    """

    TYPE: ClassVar[str] = "invitation"
    code: Hash
    name: Line
    role: Role | None = None
    at: Moment
    until: Moment


class Enrolment(Statement):
    """Signed by every key it introduces. `secret` proves the invitation; the directory hash says what was seen."""

    TYPE: ClassVar[str] = "enrolment"
    secret: RandomId
    credentials: Annotated[tuple[NewCredential, ...], Field(min_length=1, max_length=2)]
    directory: Hash
    at: Moment


class Enrolled(Statement):
    """The custodian's answer to an enrolment. Signed by the statement key."""

    TYPE: ClassVar[str] = "enrolled"
    person: RandomId
    name: Line
    credentials: tuple[KeyId, ...]
    roles: tuple[Role, ...]


class CredentialCode(Statement):
    """Signed by an opening credential of a person: whoever holds the code's secret adds one key of this kind to them.

    The code works once, until `until` (24 h at most), and only while the credential that signed is not revoked.
    """

    TYPE: ClassVar[str] = "credential-code"
    code: Hash
    kind: Literal["device", "opening"]
    at: Moment
    until: Moment


class CredentialRevocation(Statement):
    """Signed by an opening credential of the person whose credential it ends, for good. Twice is once; 120 s.

    `even_last`: also when it is the last opening one, after which only recovery makes another.
    """

    TYPE: ClassVar[str] = "credential-revocation"
    credential: KeyId
    even_last: bool = False
    at: Moment


class Recovery(Statement):
    """Signed by council or dpo: the holder of this code shall get a new opening credential of this person, who has none
    left. Counts once the other of the two has countersigned. Known by its hash. Replay: nonce, 120 s; the code works
    once, until `until`.
    """

    TYPE: ClassVar[str] = "recovery"
    person: RandomId
    code: Hash
    nonce: RandomId
    at: Moment
    until: Moment


class RecoveryCountersignature(Statement):
    """Signed by the other of council and dpo, another person. From now on every credential is told, for 7 days."""

    TYPE: ClassVar[str] = "recovery-countersignature"
    recovery: Hash
    at: Moment


class RecoveryStopped(Statement):
    """Signed by any credential that the person had before: this recovery ends, and the key that came of it. Whenever it
    was signed, it counts if it arrives within the 7 days; twice is once.
    """

    TYPE: ClassVar[str] = "recovery-stopped"
    recovery: Hash
    at: Moment


class RoleProposal(Statement):
    """Signed by an admin's opening credential; known by its hash. Takes effect after a countersignature and a delay."""

    TYPE: ClassVar[str] = "role-proposal"
    person: RandomId
    role: Role
    action: Literal["grant", "revoke"]
    nonce: RandomId
    at: Moment


class RoleCountersignature(Statement):
    """Signed by council or dpo. `proposal` is the hash of a role proposal, or of an invitation that names a role.

    `keys`: of a role that is given, the fingerprints of all opening keys of the account, sorted: what is signed is that
    whoever holds these gets it. Of one that is taken away, none.
    """

    TYPE: ClassVar[str] = "role-countersignature"
    proposal: Hash
    keys: Annotated[tuple[Hash, ...], Field(max_length=MAX_ROLE_KEYS)] = ()
    at: Moment


class Leaving(Statement):
    """Signed by the opening credential of the person whose account ends for good, or by the dpo's for somebody who has
    left. Known by its hash. Replay: nonce, 120 s; an account ends once.
    """

    TYPE: ClassVar[str] = "leaving"
    person: RandomId
    nonce: RandomId
    at: Moment


# --- halting --------------------------------------------------------------------------------------


class Halt(Statement):
    """Signed by the opening credential of an admin, the council or the dpo, any of them alone; by the statement key
    when an operator halts at the custodian's own host. Known by its hash. Replay: nonce, 120 s.

    `reason` is what everybody is shown first.
    """

    TYPE: ClassVar[str] = "halt"
    reason: Line
    nonce: RandomId
    at: Moment


class Resume(Statement):
    """Signed by council and dpo, each for themselves, over the hash of one halt. Only both together end that halt.

    Replay: 120 s; it counts once for one halt, and a halt ends once.
    """

    TYPE: ClassVar[str] = "resume"
    halt: Hash
    at: Moment


# --- purposes -------------------------------------------------------------------------------------


DPV_CONSENT = "https://w3id.org/dpv#Consent"
DPV_RESEARCH = "https://w3id.org/dpv#ResearchAndDevelopment"


class PurposeDraft(Statement):
    """Signed by an admin. A purpose is (iri, version); a change is a new version, and asks everybody anew."""

    TYPE: ClassVar[str] = "purpose-draft"
    iri: Iri
    version: Annotated[int, Field(ge=1, lt=2**31)]
    sentence: Line
    """The purpose in one plain sentence, as people are shown it."""
    recipients: Annotated[tuple[Line, ...], Field(min_length=1)]
    """Recipient classes."""
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)]
    terms: Annotated[tuple[Iri, ...], Field(min_length=1)] = (DPV_RESEARCH,)
    """What kind of purpose it is, in terms of the Data Privacy Vocabulary (W3C DPV)."""
    at: Moment


class PurposeSignature(Statement):
    """Signed by the council. `draft` is the hash of the draft; from now on consent can be asked for it."""

    TYPE: ClassVar[str] = "purpose-signature"
    draft: Hash
    at: Moment


# --- consent --------------------------------------------------------------------------------------


EXPLICIT_CONSENT: Final = "https://w3id.org/dpv#ExplicitlyExpressedConsent"
CONSENT_GIVEN: Final = "https://w3id.org/dpv#ConsentGiven"
CONSENT_TERMS = frozenset({
    DPV_CONSENT,
    EXPLICIT_CONSENT,
    "https://w3id.org/dpv#ExpressedConsent",
    "https://w3id.org/dpv#ImpliedConsent",
    "https://w3id.org/dpv#InformedConsent",
    "https://w3id.org/dpv#UninformedConsent",
})  # fmt: skip
"""Terms of DPV that all mean consent."""


class Choice(Part):
    """One thing agreed to: this modality for this purpose."""

    modality: Modality
    purpose: Iri
    purpose_version: Annotated[int, Field(ge=1, lt=2**31)]


class Notice(Part):
    """Which text was shown: its version, locale and SHA-256 of its UTF-8 bytes."""

    version: Line
    locale: Line
    sha256: Hash


class AgreedPurpose(Part):
    """A purpose as it was shown: the version that the council signed, in one plain sentence."""

    iri: Iri
    version: Annotated[int, Field(ge=1, lt=2**31)]
    sentence: Line
    terms: Annotated[tuple[Iri, ...], Field(min_length=1)]


class DataItem(Part):
    """What is recorded of one modality, in words, and its kind as a DPV term. Each is optional for the person."""

    modality: Modality
    term: Iri
    words: Line


class LawfulBasis(Part):
    term: Iri
    words: Line


class PartyRole(StrEnum):
    """What a party is to the recordings: DPV terms."""

    CONTROLLER = "https://w3id.org/dpv#DataController"
    PROCESSOR = "https://w3id.org/dpv#DataProcessor"
    DPO = "https://w3id.org/dpv#DataProtectionOfficer"
    AUTHORITY = "https://w3id.org/dpv#DataProtectionAuthority"


class PartyNamed(Part):
    role: PartyRole
    name: Line
    address: Line
    contact: Line


class Terms(Part):
    """Under what terms recordings are processed: the employer's policy, shown to the person, pinned by the receipt."""

    lawful_basis: Annotated[
        tuple[LawfulBasis, ...],
        Field(
            min_length=1,
            json_schema_extra={"contains": {"properties": {"term": {"not": {"enum": sorted(CONSENT_TERMS)}}}}},
        ),
    ]
    """Consent is a necessary gate, and never the only basis: another one stands beside it."""
    parties: Annotated[
        tuple[PartyNamed, ...],
        Field(
            min_length=1,
            json_schema_extra={"contains": {"properties": {"role": {"const": PartyRole.CONTROLLER.value}}}},
        ),
    ]
    collection_method: Line
    storage_locations: Annotated[tuple[Line, ...], Field(min_length=1)]
    retention_days: Annotated[int, Field(ge=1, lt=2**31)]
    """Recordings are erased at the latest so many days after the day they were made on."""
    withdrawal_method: Line
    rights: Annotated[tuple[Line, ...], Field(min_length=1)]
    jurisdiction: Annotated[tuple[Line, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not any(basis.term not in CONSENT_TERMS for basis in self.lawful_basis):
            raise ValueError("consent is never the only lawful basis: name the other one")
        if not any(party.role is PartyRole.CONTROLLER for party in self.parties):
            raise ValueError("a controller is missing among the parties")
        return self


class Receipt(Statement):
    """A person's consent. Signed by the device key, counter-signed by the custodian's statement key.

    The fields are those of ISO/IEC TS 27560:2023; `docs/formats/receipt.md` gives each its name there and its DPV term.
    `previous` is the hash of this credential's previous receipt (64 zeros for the first): a receipt that names
    another predecessor is refused. Giving again is a new receipt with a new `record`.
    """

    TYPE: ClassVar[str] = "receipt"
    schema_version: Literal["urn:assent:receipt:1"] = "urn:assent:receipt:1"
    record: RandomId
    person: RandomId
    previous: Hash = FIRST_PREVIOUS
    at: Moment
    event_type: Literal["https://w3id.org/dpv#ExplicitlyExpressedConsent"] = EXPLICIT_CONSENT
    event_state: Literal["https://w3id.org/dpv#ConsentGiven"] = CONSENT_GIVEN
    notice: Notice
    choices: Annotated[tuple[Choice, ...], Field(min_length=1)]
    purposes: Annotated[tuple[AgreedPurpose, ...], Field(min_length=1)]
    """The purposes of the choices, each once, as they were shown."""
    personal_data: Annotated[tuple[DataItem, ...], Field(min_length=1)]
    """What is recorded, of the modalities of the choices."""
    terms: Terms
    keyboard_mode: KeyboardMode = KeyboardMode.SHAPE
    recipients: Annotated[tuple[Line, ...], Field(min_length=1)]
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)]
    application_list: Line
    """Version of the employer's application list that was shown."""
    redaction_profile: Line
    agreement: Line
    """Reference of the works agreement."""
    dpia: Line
    """Reference of the data-protection impact assessment."""
    statements: tuple[Line, ...]
    """Sentences shown: third parties did not consent, models cannot unlearn, recognisable by content, no detriment."""
    valid_from: Moment
    valid_until: Moment


class Withdrawal(Statement):
    """Signed by a device key or an opening credential of the person. It names no predecessor, is always accepted,
    and wins.

    `record` None means every receipt of the person. Empty `modalities` and `purposes` mean all of them.
    """

    TYPE: ClassVar[str] = "withdrawal"
    person: RandomId
    record: RandomId | None = None
    modalities: tuple[Modality, ...] = ()
    purposes: tuple[Iri, ...] = ()
    erase: Literal["after-7-days", "now"] = "after-7-days"
    at: Moment


class WithdrawalConfirmed(Statement):
    """The custodian's answer, signed by the statement key: only this lets the agent say "confirmed"."""

    TYPE: ClassVar[str] = "withdrawal-confirmed"
    withdrawal: Hash
    streams: int
    """How many streams the withdrawal closed."""
    erased_from: Day


# --- erasing --------------------------------------------------------------------------------------


class Erasure(Statement):
    """Signed by an opening credential of the person: what is stored is to be erased at once, whoever agreed to what.

    Exactly one of: `hours`; `from_day` and `to_day` (both included); `everything`. Empty `modalities` mean all of them.
    Replay: as a withdrawal it names no predecessor and is accepted whenever it arrives; the same statement twice is
    once. It reaches no further than the day of `at`, so that one that was held back takes nothing recorded since.
    """

    TYPE: ClassVar[str] = "erasure"
    person: RandomId
    hours: Annotated[tuple[Hour, ...], Field(max_length=limits.MAX_HOURS_PER_ERASURE)] = ()
    from_day: Day | None = None
    to_day: Day | None = None
    everything: bool = False
    modalities: tuple[Modality, ...] = ()
    at: Moment


class ErasureReceipt(Statement):
    """Signed by the statement key, for an Erasure, a Withdrawal or a ConsentEnding (`of` is its hash), or when
    recordings became too old (`retention`; `of` is random). Nothing in it names a stream.

    `requested`: it counts, and covers this much; `erased_from` is the day from which its keys are destroyed.
    `called-off`: it was asked for by a key that came of a recovery, which was stopped; nothing was erased for it.
    `final`: nobody can bring it back any more. Each of the three days in it is when the last part was reached:
    `keys_destroyed` (with the KEK generation that they were wrapped under; None when only hours were erased, whose
    streams live on), `deleted` (the collector's signed acknowledgement), `backups_expired`.
    """

    TYPE: ClassVar[str] = "erasure-receipt"
    person: RandomId
    of: Hash
    kind: Literal["erasure", "withdrawal", "ending", "retention"]
    state: Literal["requested", "final", "called-off"]
    day: Day
    """When this was signed."""
    streams: Annotated[int, Field(ge=0, lt=2**31)]
    days: Annotated[int, Field(ge=0, lt=2**31)]
    hours: Annotated[int, Field(ge=0, lt=2**31)]
    """0 when whole streams are erased."""
    first_day: Day | None = None
    last_day: Day | None = None
    erased_from: Day
    backup_days: Annotated[int, Field(ge=0, lt=2**31)]
    keys_destroyed: Day | None = None
    deleted: Day | None = None
    backups_expired: Day | None = None


class ConsentEnding(Statement):
    """Signed by the dpo's opening credential: these receipts have ended, by the controller (`terminated`) or since an
    authority declared them invalid. Replay: once, within 120 s. It can only end consent, for good.

    `notice`: those that agreed to the text of this hash, and nobody can agree to it any more. `record`: one that its
    person has named. Neither: every receipt there is.
    """

    TYPE: ClassVar[str] = "consent-ending"
    state: Literal["terminated", "invalidated"]
    notice: Hash | None = None
    record: RandomId | None = None
    reason: Line
    nonce: RandomId
    at: Moment


class HeldWithdrawal(Part):
    """A withdrawal as it was signed, and its salted leaf, as a device keeps them."""

    statement: Envelope
    leaf: Hash


class Standing(Statement):
    """Signed by the device key when a restored custodian asks (`News.restate`): what stands, by this device.

    `receipt`: the newest one given there, counter-signed; `salt`: hides it in the log. `in_force`: whether it still
    is. Replay: nonce, 120 s.
    """

    TYPE: ClassVar[str] = "standing"
    person: RandomId
    receipt: Envelope | None = None
    salt: Salt | None = None
    in_force: bool
    withdrawals: Annotated[tuple[HeldWithdrawal, ...], Field(max_length=limits.MAX_RESTATED)] = ()
    nonce: RandomId
    at: Moment


# --- permission to record ---------------------------------------------------------------------------------------------


class StreamWanted(Part):
    """Either a new stream (`stream_key`, `modality`, `day`), or the extension of one (`stream` as well)."""

    stream_key: KeyText
    modality: Modality
    day: Day
    stream: StreamId | None = None


class CertificateRequest(Statement):
    """Signed by the device key. Replay: nonce, 120 s."""

    TYPE: ClassVar[str] = "certificate-request"
    nonce: RandomId
    at: Moment
    streams: Annotated[tuple[StreamWanted, ...], Field(min_length=1, max_length=limits.MAX_STREAMS_PER_ASK)]


class StreamCertificate(Statement):
    """The permission to record at all, signed by the statement key. Nothing in it says whose stream it is.

    Recording must have ended when the hour `record_until` begins (24 h after the certificate was made at most).
    Segments are accepted through the day `upload_until`, and up to `byte_budget` bytes of bodies.
    """

    TYPE: ClassVar[str] = "stream-certificate"
    stream: StreamId
    stream_key: KeyText
    modality: Modality
    day: Day
    suite: Literal["A1-XW"] = "A1-XW"
    vault_key: VaultKeyText
    record_until: Hour
    upload_until: Day
    byte_budget: Annotated[int, Field(gt=0)]


class CertificateAnswer(Statement):
    """Signed by the statement key, bound to the request's nonce: the custodian's time, and why something was refused.

    The time is here and not in the certificate, so that certificates of one person cannot be joined by it.
    `certificates` are the statement hashes of the certificates handed out with it, in the order asked for;
    None for those refused, and `refusal` says why.
    """

    TYPE: ClassVar[str] = "certificate-answer"
    nonce: RandomId
    now: Moment
    certificates: tuple[Hash | None, ...]
    refusal: Line | None = None


class Revocation(Statement):
    """Signed by the statement key: this stream is closed for good. The agent believes "revoked" only with this."""

    TYPE: ClassVar[str] = "revocation"
    stream: StreamId


class Tombstone(Statement):
    """Signed by the statement key: the stream, or the hours listed, never opens again.

    `reason` is given only where the day of the stream says it anyway.
    """

    TYPE: ClassVar[str] = "tombstone"
    stream: StreamId
    hours: tuple[Hour, ...] = ()
    reason: Literal["retention"] | None = None


# --- custodian and collector ------------------------------------------------------------------------------------------


class OrderItem(Part):
    """`revoke`: accept nothing more. `erase`: delete, all or the hours listed.

    `evidence` is the Revocation or Tombstone.
    """

    action: Literal["revoke", "erase"]
    stream: StreamId
    hours: tuple[Hour, ...] = ()
    evidence: Envelope


class Order(Statement):
    """Signed by the statement key, numbered from 1, each with the hash of the one before. Twice is once."""

    TYPE: ClassVar[str] = "order"
    number: Annotated[int, Field(ge=1, lt=2**31)]
    previous: Hash
    day: Day
    items: tuple[OrderItem, ...]


class OrderDone(Statement):
    """Signed by the collector key: this order was carried out, and so was every one before it."""

    TYPE: ClassVar[str] = "order-done"
    number: Annotated[int, Field(ge=1, lt=2**31)]
    order: Hash


def _is_magnitude(count: int) -> int:
    if str(count).strip("0") not in ("", "1"):
        raise ValueError("say 0 or a power of ten: nothing that moves with one person")
    return count


Magnitude = Annotated[int, Field(ge=0, lt=2**53), AfterValidator(_is_magnitude)]
"""How many, rounded down to a power of ten; 0 is none."""


class CollectorReport(Statement):
    """Signed by the collector key: what it did in the hours from `since` until before `until`. Replay: numbered from 1,
    each begins where the one before it ended; the same one twice is once.

    `listings`: streams whose headers and sealed keys were handed out; `bodies`: sealed bodies that were. Refused:
    tickets, stream certificates, and uploads beyond a stream's budget; fewer than ten are none. `orders`: the number of
    the last order carried out. `resumed`: this report does not follow the last one that the collector remembers. What
    came in is not counted: that would count people at work.
    """

    TYPE: ClassVar[str] = "collector-report"
    number: Annotated[int, Field(ge=1, lt=2**31)]
    since: Hour
    until: Hour
    listings: Magnitude
    bodies: Magnitude
    refused_tickets: Magnitude
    refused_certificates: Magnitude
    refused_over_budget: Magnitude
    orders: Annotated[int, Field(ge=0, lt=2**31)]
    resumed: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """What the entry of the log says in its `counts`."""
        fields = ("number", "listings", "bodies", *REFUSED, "orders")
        return {name: getattr(self, name) for name in fields}

    @model_validator(mode="after")
    def _says_little(self) -> Self:
        if any(getattr(self, name) == 1 for name in REFUSED):
            raise ValueError("fewer than ten refusals are none")
        if self.since >= self.until:
            raise ValueError("a report is about one whole hour at least")
        return self


class BackupFile(Part):
    """A file of a backup. `name` is relative to its folder."""

    name: Line
    sha256: Hash
    size_bytes: Annotated[int, Field(ge=0, lt=2**53)]


class BackupManifest(Statement):
    """What a backup holds. Signed by whose it is: the statement key, or the collector key. It permits nothing.

    `head_size`: leaves of the custodian's log. `generations`: the KEK generations without which its vault keys do not
    open; none of them is in the backup. `last_order`: the last order made (custodian) or carried out (collector).
    """

    TYPE: ClassVar[str] = "backup-manifest"
    service: Literal["collector", "custodian"]
    day: Day
    files: Annotated[tuple[BackupFile, ...], Field(min_length=1)]
    head_size: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    generations: tuple[int, ...] = ()
    last_order: Annotated[int, Field(ge=0, lt=2**31)]


class OrderReturned(Statement):
    """Signed by the collector key: an order that the custodian signed and no longer has. Twice is once; what counts is
    the custodian's own signature inside.
    """

    TYPE: ClassVar[str] = "order-returned"
    order: Envelope


class Stored(Statement):
    """Signed by the collector key, over the segment's id or the record's hash.

    The agent deletes on this and on nothing else.
    """

    TYPE: ClassVar[str] = "stored"
    stream: StreamId
    kind: Literal["segment", "skip", "end"]
    hash: Hash


# --- requests -------------------------------------------------------------------------------------


class DataRequest(Statement):
    """Signed by a requester's opening credential, and known by its hash from then on. No person can be named in it.

    `people` None means everybody whose consent covers it; otherwise a random choice of that many.
    """

    TYPE: ClassVar[str] = "data-request"
    purpose: Iri
    purpose_version: Annotated[int, Field(ge=1, lt=2**31)]
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]
    from_day: Day
    to_day: Day
    mode: Mode
    recipient: Line
    people: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    storage: Line | None = None
    destroy_by: Day | None = None
    why: Line
    nonce: RandomId
    at: Moment
    expires: Moment


class Decision(Statement):
    """Signed by a steward (revocation: also council or dpo) over the request's hash. A refusal needs a reason."""

    TYPE: ClassVar[str] = "decision"
    request: Hash
    decision: Literal["approve", "refuse", "revoke"]
    reason: Text = ""
    at: Moment


class OwnData(Part):
    """The wish to read one's own recordings."""

    from_day: Day
    to_day: Day
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]


class LeaseRequest(Statement):
    """Signed by the opening credential of the requester (or of the person, for own data). Replay: nonce, 120 s.

    Exactly one of `request` (the hash of a granted request) and `own` is given.
    """

    TYPE: ClassVar[str] = "lease-request"
    request: Hash | None = None
    own: OwnData | None = None
    job_signing_key: KeyText
    job_receiving_key: VaultKeyText
    nonce: RandomId
    at: Moment
    until: Moment


class Lease(Statement):
    """One job's right to read, signed by the statement key after witnesses signed. Its hash binds releases."""

    TYPE: ClassVar[str] = "lease"
    lease: RandomId
    request: Hash
    """The request's hash; for own data the hash of the lease request itself."""
    mode: Literal["reader", "export", "own"]
    purpose: Iri | None = None
    job_signing_key: KeyText
    job_receiving_key: VaultKeyText
    streams: Hash
    """`list_root(salt, streams)`, as in the log leaf."""
    opened: Moment
    until: Moment


class Ticket(Statement):
    """Signed by the statement key: this job may fetch these streams of one day. Carries no lease, request or person."""

    TYPE: ClassVar[str] = "ticket"
    ticket: RandomId
    day: Day
    streams: Annotated[tuple[StreamId, ...], Field(min_length=1, max_length=limits.MAX_STREAMS_PER_TICKET)]
    job_signing_key: KeyText
    until: Moment


class FetchRequest(Statement):
    """Signed by the job's signing key. What it brings is ciphertext, so a replay brings ciphertext.

    Without `segments`: list the streams. With: send these bodies (all of streams in the ticket).
    """

    TYPE: ClassVar[str] = "fetch-request"
    ticket: RandomId
    streams: tuple[StreamId, ...] = ()
    segments: Annotated[tuple[Hash, ...], Field(max_length=limits.MAX_SEGMENTS_PER_FETCH)] = ()
    at: Moment


class ReleaseRequest(Statement):
    """Signed by the job's signing key. `batch`: SHA-256 of the batch bytes (`lists.pack_batch`)."""

    TYPE: ClassVar[str] = "release-request"
    lease: RandomId
    batch: Hash
    count: Annotated[int, Field(ge=1, le=limits.MAX_RELEASE_BATCH)]


class LeaseClosed(Statement):
    """Signed by the job's signing key: done, after opening `opened` segments.

    A lease without it counts as read in full.
    """

    TYPE: ClassVar[str] = "lease-closed"
    lease: RandomId
    opened: Annotated[int, Field(ge=0, lt=2**31)]


# --- recall ---------------------------------------------------------------------------------------


class RecallItem(Part):
    """What must go of one stream: all of it, or the hours listed. Why is not said."""

    stream: StreamId
    hours: tuple[Hour, ...] = ()


class Recall(Statement):
    """Signed by the statement key, to the requester of a grant: what was read of these streams must be dropped.

    Known by its hash. The stream ids are those of the grant's leases.
    """

    TYPE: ClassVar[str] = "recall"
    request: Hash
    day: Day
    items: Annotated[tuple[RecallItem, ...], Field(min_length=1, max_length=limits.MAX_ITEMS_PER_RECALL)]


class RecallDone(Statement):
    """Signed by the requester's opening credential: everything that `recall` (its hash) names was dropped, with all
    copies and everything derived stream by stream. Twice is once.
    """

    TYPE: ClassVar[str] = "recall-done"
    recall: Hash
    at: Moment


# --- unmasking ------------------------------------------------------------------------------------


class Unmasking(Statement):
    """Signed by an auditor's opening credential: who is behind `actor`, the pseudonym in entry `index` of the log?
    Known by its hash; counts once the dpo has countersigned. Replay: nonce, 120 s. The person is told the reason.
    """

    TYPE: ClassVar[str] = "unmasking"
    index: Annotated[int, Field(ge=0, lt=2**31)]
    actor: Hash
    reason: Line
    nonce: RandomId
    at: Moment


class UnmaskingCountersignature(Statement):
    """Signed by the dpo's opening credential, over the hash of an Unmasking. Replay: 120 s; it counts once."""

    TYPE: ClassVar[str] = "unmasking-countersignature"
    unmasking: Hash
    at: Moment


# --- the drill ------------------------------------------------------------------------------------


class DrillResult(Statement):
    """Signed by the opening credential of an identity of the canary drill: how a drill ended. Replay: nonce, 120 s.

    `tried`: how many outcomes were compared with what is promised; `wrong`: how many were others. `failed`: the names
    of the expectations that they broke, each once; none means that the drill passed.
    """

    TYPE: ClassVar[str] = "drill-result"
    tried: Annotated[int, Field(ge=1, lt=2**31)]
    wrong: Annotated[int, Field(ge=0, lt=2**31)]
    failed: Annotated[tuple[DrillRule, ...], Field(max_length=MAX_DRILL_RULES)] = ()
    nonce: RandomId
    at: Moment

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.wrong) != bool(self.failed) or len(self.failed) > self.wrong:
            raise ValueError("a drill that failed names what failed, and one that passed names nothing")
        return self


# --- asking ---------------------------------------------------------------------------------------


class Ask(Statement):
    """A question to the custodian that changes nothing (or only marks as read). Signed by a credential of the asker
    (the collector's key for orders). Replay: nonce, 120 s. `target` is path and query.
    """

    TYPE: ClassVar[str] = "ask"
    method: Literal["GET", "POST"]
    target: Annotated[str, StringConstraints(max_length=1000)]
    nonce: RandomId
    at: Moment


class Notification(Part):
    """An access to one's own data (`purpose` is None for one's own opening); or, `account`, a change of one's keys; or,
    `unmasked`, that an auditor may learn whose a pseudonym of the log is (`request`: the wish).
    """

    id: RandomId
    day: Day
    kind: Literal["lease", "digest", "own", "account", "unmasked"]
    text: Text
    request: Hash | None = None
    purpose: Iri | None = None
    approvals: Annotated[int, Field(ge=0, lt=2**31)] = 0
    leaf_index: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class LiveReceipt(Part):
    """A receipt that allows recording now, and the choices of it that were not withdrawn."""

    record: RandomId
    left: Annotated[tuple[Choice, ...], Field(min_length=1)]


class News(Statement):
    """Signed by the statement key, bound to the ask's nonce: what the agent must know every 5 minutes.

    `live` are the person's receipts that allow recording now. `ended` are the records of the receipts of the asking
    credential that were withdrawn, terminated or invalidated: for ever, and what they covered is destroyed where it
    is. One that is in neither was replaced or has expired, or is not known. `asks_anew`: what has changed of what this
    device's newest receipt agreed to; nothing is recorded under that any more. A `halted` reason stops every agent.
    `restate`: the custodian was restored; the device is to send a Standing. `erasures`: what the person signed to be
    erased and no order has carried yet; the device keeps them for a custodian that a restore makes forget them.
    `revoked`: the credential that asked is revoked; it hears nothing else, and nothing more is recorded with it.
    `directory`: the version in force, so that an agent fetches a newer one before the old addresses and keys are gone.
    """

    TYPE: ClassVar[str] = "news"
    nonce: RandomId
    now: Moment
    halted: Text | None = None
    live: tuple[LiveReceipt, ...]
    ended: tuple[RandomId, ...] = ()
    asks_anew: tuple[Line, ...] = ()
    restate: Literal[True] | None = None
    erasures: Annotated[tuple[Envelope, ...], Field(max_length=limits.MAX_RESTATED)] = ()
    notifications: tuple[Notification, ...]
    revoked: bool = False
    directory: Annotated[int, Field(ge=1, lt=2**31)] = 1
