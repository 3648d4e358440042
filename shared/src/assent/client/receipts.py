"""A receipt: made of what was offered and chosen, kept as a file, and what the file proves without a network.

The file holds the counter-signed receipt; the public key of the device, which only that device is sure of; the salt
that hides the receipt in the log, made by the device and kept by the custodian for this person alone; the text that was
shown; and the entry of the log with its proof, once there is one.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from pydantic import ConfigDict

from assent.client.custodian import CustodianClient
from assent.client.files import write_private
from assent.contracts.envelope import Base64, Envelope, Signed, StatementInvalid, read_unverified
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality, Salt, new_id, sha256_hex
from assent.contracts.keys import KeyInvalid, KeyText, PublicKey
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.lists import person_leaf
from assent.contracts.rotation import StatementKey, read_lasting
from assent.contracts.statements import AgreedPurpose, Choice, ErasureReceipt, Mode, Notice, Receipt
from assent.contracts.times import moment
from assent.contracts.wire import ApplicationList, ErasuresView, Offer
from assent.transparency.errors import TransparencyError
from assent.transparency.policy import Policy
from assent.transparency.proof import LogProof

Pair = tuple[Modality, str]
"""One thing to agree to: this modality for this purpose (its IRI)."""


def receipt_of(
    offer: Offer,
    *,
    person: str,
    previous: str,
    at: datetime,
    pairs: Collection[Pair],
    keyboard_mode: KeyboardMode,
    modes: Sequence[Mode],
) -> Receipt:
    """The receipt for exactly these pairs, pinning everything that the person was shown.

    Its purposes, recipients and kinds of data are those of the pairs and no others. Raises ValueError when there is no
    pair, or one of a purpose that is not offered.
    """
    if not pairs or {purpose for _, purpose in pairs} - {shown.iri for shown in offer.purposes}:
        raise ValueError("a receipt is for pairs of a modality and an offered purpose, one at least")
    wanted = {modality for modality, _ in pairs}
    purposes = [shown for shown in offer.purposes if any(purpose == shown.iri for _, purpose in pairs)]
    return Receipt(
        record=new_id(),
        person=person,
        previous=previous,
        at=moment(at),
        notice=Notice(version=offer.notice_version, locale=offer.locale, sha256=sha256_hex(offer.notice.encode())),
        choices=tuple(
            Choice(modality=modality, purpose=purpose.iri, purpose_version=purpose.version)
            for purpose in purposes
            for modality in Modality
            if (modality, purpose.iri) in pairs
        ),
        purposes=tuple(
            AgreedPurpose(iri=shown.iri, version=shown.version, sentence=shown.sentence, terms=shown.terms)
            for shown in purposes
        ),
        personal_data=tuple(item for item in offer.personal_data if item.modality in wanted),
        terms=offer.terms,
        keyboard_mode=keyboard_mode if Modality.KEYBOARD in wanted else KeyboardMode.OFF,
        recipients=tuple(dict.fromkeys(recipient for purpose in purposes for recipient in purpose.recipients)),
        modes=tuple(dict.fromkeys(modes)),
        application_list=offer.application_list.version,
        redaction_profile=offer.redaction_profile,
        agreement=offer.agreement,
        dpia=offer.dpia,
        statements=offer.statements,
        valid_from=moment(at),
        valid_until=moment(at + timedelta(days=offer.valid_days)),
    )


def blocks(pairs: Iterable[Pair]) -> list[tuple[tuple[Modality, ...], tuple[str, ...]]]:
    """The same pairs as few blocks: each says that all these modalities are for all these purposes, and no more.

    When everything is for everything there is one block. Purposes stand in the order of their first pair.
    """
    by_purpose: dict[str, set[Modality]] = {}
    for modality, purpose in pairs:
        by_purpose.setdefault(purpose, set()).add(modality)
    found: dict[tuple[Modality, ...], tuple[str, ...]] = {}
    for purpose, of_it in by_purpose.items():
        modalities = tuple(modality for modality in Modality if modality in of_it)
        found[modalities] = (*found.get(modalities, ()), purpose)
    return list(found.items())


class ReceiptInvalid(Exception):
    """The receipt is damaged, not counter-signed by the custodian, or not this person's."""


class ReceiptFile(Signed):
    """A receipt to keep. What is not known is absent, and is then not checked.

    `salt`: hexadecimal; with the receipt's hash it makes the hash in the log (`lists.person_leaf`). `device_key`: the
    public key that signed. `notice`: the text shown. `leaf`, `proof`: the entry of the log (base64), its tlog-proof.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    receipt: Envelope
    salt: Salt | None = None
    device_key: KeyText | None = None
    application_list: ApplicationList | None = None
    notice: str | None = None
    leaf: Base64 | None = None
    proof: str | None = None

    def completed(self, custodian: CustodianClient) -> Self:
        """With the text shown and the proof of the log, as far as the custodian has them. Raises ClientError."""
        receipt = read_unverified(self.receipt, Receipt)
        found: dict[str, str | None] = {}
        if self.notice is None:
            found["notice"] = custodian.notice(receipt.notice.sha256)
        if self.proof is None and self.salt is not None:
            leaf = person_leaf(bytes.fromhex(self.salt), self.receipt.hash)
            proved = custodian.receipt_proof(receipt.record, leaf)
            found |= {"leaf": proved.leaf, "proof": proved.proof}
        return self.model_copy(update=found)

    @classmethod
    def read(cls, data: bytes) -> ReceiptFile:
        """Read a receipt file, or a bare envelope. Raises ReceiptInvalid."""
        try:
            return cls.parse(data)
        except StatementInvalid:
            try:
                return cls(receipt=Envelope.from_json(data))
            except StatementInvalid as error:
                raise ReceiptInvalid("this is not a receipt file") from error


@dataclass(frozen=True)
class CheckedReceipt:
    """`device_key`: id of the key that signed. What the file did not hold could not be checked: `device_key_checked`
    (that key's signature), `notice_checked` (the text shown), `log_index` (where the log has it; None: not proved).
    """

    statement: Receipt
    hash: str
    device_key: str
    device_key_checked: bool
    notice_checked: bool
    log_index: int | None


def check_receipt(file: ReceiptFile, statement_key: PublicKey, person: str, policy: Policy) -> CheckedReceipt:
    """Check, without a network, the counter-signature and the person; and, as far as the file holds them, the device
    key's signature, the text shown, and that witnesses saw the receipt in the log (`policy`: the directory's).

    Raises ReceiptInvalid.
    """
    device = () if file.device_key is None else (PublicKey(file.device_key),)
    try:
        statement = read_lasting(file.receipt, Receipt, statement_key, *device)
    except (StatementInvalid, KeyInvalid) as error:
        raise ReceiptInvalid(str(error)) from error
    if statement.person != person:
        raise ReceiptInvalid("it is another person's")
    custodian = statement_key.ids if isinstance(statement_key, StatementKey) else {statement_key.id}
    signers = [signature.keyid for signature in file.receipt.signatures if signature.keyid not in custodian]
    if not signers:
        raise ReceiptInvalid("only the custodian signed it; a receipt is signed by its person first")
    if len(signers) > 1:  # the custodian counter-signs what one device key signed: the others were added later
        raise ReceiptInvalid("more than one key besides the custodian's signed it; a receipt has one, the device key's")
    if file.notice is not None and sha256_hex(file.notice.encode()) != statement.notice.sha256:
        raise ReceiptInvalid("the text in the file is not the one that was shown: its SHA-256 differs")
    return CheckedReceipt(
        statement,
        file.receipt.hash,
        signers[0],
        device_key_checked=file.device_key is not None,
        notice_checked=file.notice is not None,
        log_index=_logged(file, policy),
    )


def _logged(file: ReceiptFile, policy: Policy) -> int | None:
    """At which index the witnessed log has the salted hash of the receipt; None when the file does not say."""
    if file.leaf is None and file.proof is None:
        return None
    if file.leaf is None or file.proof is None or file.salt is None:
        raise ReceiptInvalid("the proof of the log is not whole: entry, proof and salt belong together")
    try:
        entry = base64.b64decode(file.leaf, validate=True)
        leaf = Leaf.model_validate_json(entry)
        if leaf.type is not LeafType.PERSON or leaf.subject != person_leaf(bytes.fromhex(file.salt), file.receipt.hash):
            raise ReceiptInvalid("the entry of the log is about another statement")
        proof = LogProof.from_bytes(file.proof.encode())
        proof.verify(entry, policy)
    except (TransparencyError, ValueError) as error:
        raise ReceiptInvalid(f"the proof of the log does not hold: {error}") from error
    return proof.index


class ErasureFile(Signed):
    """An erasure receipt as a file. `salt` (base64): the log has `lists.person_leaf` of it and the final receipt."""

    receipt: Envelope
    salt: str | None = None


def erasure_files(view: ErasuresView) -> Iterator[tuple[str, ErasureFile]]:
    """File name and content of every erasure receipt."""
    for row in view.erasures:
        yield f"{row.of[:16]}.requested.json", ErasureFile(receipt=row.requested)
        if row.final is not None:
            yield f"{row.of[:16]}.final.json", ErasureFile(receipt=row.final, salt=row.salt)
        if row.called_off is not None:
            yield f"{row.of[:16]}.called-off.json", ErasureFile(receipt=row.called_off, salt=row.salt)


def keep_erasures(view: ErasuresView, folder: Path) -> None:
    """Write those that are not there yet: a receipt that is kept is never replaced by another one. Raises OSError."""
    for name, file in erasure_files(view):
        if not (folder / name).exists():
            write_private(folder / name, file.to_json())


def check_erasure(data: bytes, statement_key: PublicKey, person: str) -> tuple[ErasureReceipt, str]:
    """The receipt in an erasure file (or a bare envelope), and its hash. Raises ReceiptInvalid."""
    try:
        envelope = ErasureFile.parse(data).receipt
    except StatementInvalid:
        try:
            envelope = Envelope.from_json(data)
        except StatementInvalid as error:
            raise ReceiptInvalid("this is not the file of an erasure receipt") from error
    try:
        statement = read_lasting(envelope, ErasureReceipt, statement_key)
    except StatementInvalid as error:
        raise ReceiptInvalid(str(error)) from error
    if statement.person != person:
        raise ReceiptInvalid("it is another person's")
    return statement, envelope.hash
