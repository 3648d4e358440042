"""A fresh recording of a marker, made, sealed and sent as an agent does it, and taken back in the end."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from assent.client.collector import CollectorClient
from assent.client.custodian import Certificate, Clock, CustodianClient
from assent.client.receipts import receipt_of
from assent.client.transport import Refused
from assent.codec.content import encode_content
from assent.contracts.envelope import Envelope, sign
from assent.contracts.events import (
    ClockAnchor,
    Event,
    KeyboardMode,
    KeyEvent,
    PointerMoved,
    Rect,
    SegmentContent,
    WindowActivated,
)
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code
from assent.contracts.segment import FIRST_PREVIOUS, EndRecord
from assent.contracts.statements import Directory, Mode, Receipt, StreamWanted, Withdrawal
from assent.contracts.times import day_of, hour_of, moment
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import SealedSegment, seal_segment, sign_record
from assent_server.drill.identities import Folder, Identity
from assent_server.drill.probes import Things

MARKER_LETTERS = 24


class NotCertified(Exception):
    """The custodian gives no certificate, and the message is what it says."""


def new_marker() -> str:
    """Letters that nobody else types."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(MARKER_LETTERS))


@dataclass
class Recording:
    """One stream that was recorded, sealed and sent."""

    certificate: Certificate
    key: SigningKey
    segment: SealedSegment

    @property
    def stream(self) -> str:
        return self.certificate.statement.stream

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """Header and sealed key, as a job asks to have them released."""
        return self.segment.header, self.segment.sealed_key


class Recorder:
    """One of the drill's people who records. Works with the device key, as an agent does."""

    def __init__(
        self, member: Identity, folder: Folder, directory: Directory, clock: Clock,
        transport: httpx2.BaseTransport | None,
    ) -> None:  # fmt: skip
        self.member = member
        self._folder = folder
        self._clock = clock
        self._device = member.keys["device"]
        self.custodian = CustodianClient.of(directory, self._device, clock=clock, transport=transport)
        self._collector = CollectorClient.of(directory, clock=clock, transport=transport)
        self.receipt: Receipt | None = None
        self.recordings: list[Recording] = []

    def close(self) -> None:
        self.custodian.close()
        self._collector.close()

    def record(self, marker: str, modalities: Sequence[Modality]) -> None:
        """Consent, get certificates, seal one segment of each modality with the marker in it, and send it.

        Raises NotCertified, ClientError.
        """
        self._consent(modalities)
        keys = [SigningKey.generate() for _ in modalities]
        today = day_of(self._clock())
        answer = self.custodian.certificates([
            StreamWanted(stream_key=key.public.text, modality=modality, day=today)
            for key, modality in zip(keys, modalities, strict=True)
        ])  # fmt: skip
        for key, certificate in zip(keys, answer.certificates, strict=True):
            if certificate is None:
                raise NotCertified(answer.refusal or "no reason was given")
            self._send(certificate, key, marker)

    def _consent(self, modalities: Sequence[Modality]) -> None:
        offer = self.custodian.offer()
        previous = self._folder.notes.receipts.get(self.member.name, FIRST_PREVIOUS)
        for _ in range(2):
            receipt = receipt_of(
                offer, person=self.member.person, previous=previous, at=self._clock(),
                pairs={(modality, purpose.iri) for modality in modalities for purpose in offer.purposes},
                keyboard_mode=KeyboardMode.TEXT, modes=(Mode.READER,),
            )  # fmt: skip
            envelope = sign(receipt, self._device)
            try:
                self.custodian.deliver_receipt(envelope, os.urandom(16))
            except Refused as refused:
                expected = refused.problem.members.get("expected")
                if refused.code is not Code.CONFLICT or not isinstance(expected, str) or expected == previous:
                    raise
                previous = expected  # a drill was interrupted after it had given one, or the custodian was restored
                continue
            notes = self._folder.notes
            kept = {**notes.receipts, self.member.name: envelope.hash}
            self._folder.notes = notes.model_copy(update={"receipts": kept})
            self.receipt = receipt
            return

    def _send(self, certificate: Certificate, key: SigningKey, marker: str) -> None:
        statement, now = certificate.statement, self._clock()
        content = SegmentContent(
            stream=statement.stream, sequence=0, modality=statement.modality.value,
            events=observed(statement.modality, marker), frames=b"",
            anchors=(ClockAnchor(t_ns=0, wall_ns=int(now.timestamp()) * 10**9),),
        )  # fmt: skip
        segment, _ = seal_segment(
            content=encode_content(content), stream=statement.stream, sequence=0, previous=FIRST_PREVIOUS,
            hour=hour_of(now), vault_key=HybridPublicKey.from_text(statement.vault_key), stream_key=key.ed25519,
        )  # fmt: skip
        self._collector.announce(certificate.envelope)
        self._collector.send_segment(
            header=segment.header, sealed_key=segment.sealed_key, body=segment.body, body_sha256=segment.body_sha256,
            signature=segment.signature,
        )  # fmt: skip
        self.recordings.append(Recording(certificate, key, segment))

    def end(self) -> None:
        """Say that the streams are complete."""
        for one in self.recordings:
            end = EndRecord(stream=one.stream, next_sequence=1, previous=one.segment.id, how="clean")
            signed = sign_record(end, one.key.ed25519)
            self._collector.send_record(record=signed.record, signature=signed.signature)

    def withdraw(self, *, erase: bool) -> None:
        """Withdraw the receipt; with `erase` what it covered is erased at once. Without a receipt it does nothing."""
        if self.receipt is None:
            return
        withdrawal = Withdrawal(
            person=self.member.person, record=self.receipt.record, erase="now" if erase else "after-7-days",
            at=moment(self._clock()),
        )  # fmt: skip
        self.custodian.withdraw(withdrawal, os.urandom(16))
        if erase:
            self.receipt = None

    def is_shut_out(self, certificate: Envelope) -> bool:
        """Whether the collector knows that the stream of this certificate is closed for good."""
        try:
            self._collector.announce(certificate)
        except Refused as refused:
            return refused.code is Code.REVOKED
        return False

    @property
    def things(self) -> Things:
        """What others are to ask about. Only after `record`."""
        if self.receipt is None:
            raise ValueError("nothing was recorded")
        first = self.recordings[0]
        return Things(
            person=self.member.person, record=self.receipt.record, notice=self.receipt.notice.sha256,
            receipt=self.receipt, stream=first.stream, stream_key=first.key.public.text,
            modality=first.certificate.statement.modality, sealed=first.pair,
        )  # fmt: skip


def observed(modality: Modality, marker: str) -> tuple[Event, ...]:
    """The marker as it is seen in this modality: typed, or in a title."""
    match modality:
        case Modality.KEYBOARD:
            keys = [(letter, pressed) for letter in marker for pressed in (True, False)]
            return tuple(KeyEvent(t_ns=n * 10**6, seq=n, key=key, pressed=down) for n, (key, down) in enumerate(keys))
        case Modality.CONTEXT:
            return (WindowActivated(t_ns=0, seq=0, rect=Rect(0, 0, 800, 600), application="drill", title=marker),)
        case Modality.POINTER | Modality.SCREEN:
            return (PointerMoved(t_ns=0, seq=0, x=1, y=1),)
