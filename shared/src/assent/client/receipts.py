"""A receipt: made of what was offered and chosen, kept as a file, and what the file proves without a network.

The file holds the counter-signed receipt and, if known, the public device key that signed it. Whatever else a device
keeps in it (the salt that hides the receipt in the log, the application list that was shown) is not looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ConfigDict

from assent.contracts.envelope import Envelope, Signed, StatementInvalid, read
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.keys import KeyInvalid, KeyText, PublicKey
from assent.contracts.statements import AgreedPurpose, Choice, ErasureReceipt, Mode, Notice, Receipt
from assent.contracts.times import moment
from assent.contracts.wire import Offer, PurposeView


def receipt_of(
    offer: Offer,
    *,
    person: str,
    previous: str,
    at: datetime,
    modalities: Sequence[Modality],
    purposes: Sequence[PurposeView],
    keyboard_mode: KeyboardMode,
    modes: Sequence[Mode],
) -> Receipt:
    """The receipt for exactly these choices, pinning everything that the person was shown."""
    wanted = tuple(dict.fromkeys(modalities))
    return Receipt(
        record=new_id(),
        person=person,
        previous=previous,
        at=moment(at),
        notice=Notice(version=offer.notice_version, locale=offer.locale, sha256=sha256_hex(offer.notice.encode())),
        choices=tuple(
            Choice(modality=modality, purpose=purpose.iri, purpose_version=purpose.version)
            for purpose in purposes
            for modality in wanted
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


class ReceiptInvalid(Exception):
    """The receipt is damaged, not counter-signed by the custodian, or not this person's."""


class ReceiptFile(Signed):
    """What is read of a receipt file."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    receipt: Envelope
    device_key: KeyText | None = None

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
    """`device_key`: id of the key that signed; `device_key_checked`: whether its signature could be checked, too."""

    statement: Receipt
    hash: str
    device_key: str
    device_key_checked: bool


def check_receipt(file: ReceiptFile, statement_key: PublicKey, person: str) -> CheckedReceipt:
    """Check the counter-signature, the person, and the device key's signature where the file names the key.

    Raises ReceiptInvalid.
    """
    keys = [statement_key]
    if file.device_key is not None:
        keys.append(PublicKey(file.device_key))
    try:
        statement = read(file.receipt, Receipt, *keys)
    except (StatementInvalid, KeyInvalid) as error:
        raise ReceiptInvalid(str(error)) from error
    if statement.person != person:
        raise ReceiptInvalid("it is another person's")
    signers = [signature.keyid for signature in file.receipt.signatures if signature.keyid != statement_key.id]
    if not signers:
        raise ReceiptInvalid("only the custodian signed it; a receipt is signed by its person first")
    return CheckedReceipt(statement, file.receipt.hash, signers[0], file.device_key is not None)


class ErasureFile(Signed):
    """An erasure receipt as a file. `salt` (base64): the log has `lists.person_leaf` of it and the final receipt."""

    receipt: Envelope
    salt: str | None = None


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
        statement = read(envelope, ErasureReceipt, statement_key)
    except StatementInvalid as error:
        raise ReceiptInvalid(str(error)) from error
    if statement.person != person:
        raise ReceiptInvalid("it is another person's")
    return statement, envelope.hash
