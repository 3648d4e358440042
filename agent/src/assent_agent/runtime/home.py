"""The agent's folder: who the person is, the receipt, the switch, the pause, and withdrawals on their way.

    identity.json     person, name, custodian, root fingerprint and device key id, as enrolled
    receipt.json      the receipt in force on this device, counter-signed, with its salt and the application list shown
    receipts/         every receipt given on this device, to keep
    erasures/         what the person signed to be erased, as long as a backup of the custodian may not know it
    erasure-receipts/ the custodian's receipts of what was or will be erased, to keep
    withdrawals/      each withdrawal, signed, until it is confirmed, and the confirmation afterwards
    narrowing.json    what the person took away from it: applications, hours, monitors; it never leaves this place
    switch.json       the switch of this device, and a pause
    invitation.json   whether and when the person was asked for consent, and what they said; it never leaves this place
    spool/            sealed recordings that are not stored elsewhere yet (`assent_agent.spool`)

Every file is replaced as a whole, synced, mode 0600. One process at a time works in the folder (`HomeLock`).
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from assent.client.files import sync, write_private
from assent.client.receipts import ReceiptFile, keep_erasures
from assent.contracts import limits
from assent.contracts.envelope import Envelope, Signed, StatementInvalid, read_unverified, sign
from assent.contracts.ids import Hash, Modality, RandomId, new_id
from assent.contracts.keys import KeyId, KeyText, SigningKey
from assent.contracts.lists import person_leaf
from assent.contracts.statements import Erasure, HeldWithdrawal, Receipt, Standing, Url, Withdrawal, WithdrawalConfirmed
from assent.contracts.times import Moment, moment, parse_moment
from assent.contracts.wire import ApplicationList, ErasuresView
from assent_agent.core.consent import HeldReceipt
from assent_agent.core.inviting import Answer, Inviting, InvitingEvent, step
from assent_agent.core.monitors import Chosen, Known
from assent_agent.core.narrowing import NARROWING_UNREADABLE, Narrowing, NarrowingInvalid, hours_of, hours_text
from assent_agent.runtime.paths import CONTROL_SOCKET, base_folder

S = TypeVar("S", bound=Signed)

DEVICE_KEY = "device"
SALT_BYTES = 16
ERASURES_KEPT = timedelta(days=60)
"""Longer than backups are kept that an order might not have overtaken."""


class NotEnrolled(Exception):
    """There is no enrolment in this folder."""


class HomeBusy(Exception):
    """Another agent works in this folder."""


class HomeDamaged(Exception):
    """A file of the agent's folder cannot be read. Nothing is recorded on its word."""


class Identity(Signed):
    person: RandomId
    name: str
    custodian_url: Url
    root_fingerprint: Hash
    device_key_id: KeyId


class StoredReceipt(ReceiptFile):
    """A receipt that was given here: nothing but the proof of the log can be missing in its file."""

    salt: str
    device_key: KeyText
    application_list: ApplicationList
    notice: str


class StoredWithdrawal(Signed):
    withdrawal: Envelope
    salt: str
    confirmation: WithdrawalConfirmed | None = None


class StoredMonitor(Signed):
    """`monitors.Known`, as it is kept."""

    name: str
    width: int
    height: int
    edid: str = ""


class StoredMonitors(Signed):
    """`monitors.Chosen`, as it is kept."""

    recorded: tuple[StoredMonitor, ...]
    never: tuple[str, ...] | None = None


class StoredNarrowing(Signed):
    applications: tuple[str, ...] = ()
    hours: str | None = None
    monitors: StoredMonitors | None = None


class Switch(Signed):
    """`paused_until` is used when `paused`; without it the pause lasts until the person resumes."""

    on: bool = False
    paused: bool = False
    paused_until: Moment | None = None


class StoredInvitation(Signed):
    """`inviting.Inviting`, as it is kept."""

    answer: Answer | None = None
    asked: Moment | None = None
    never: bool = False


@dataclass(frozen=True)
class QueuedWithdrawal:
    """A withdrawal of this device, and what became of it."""

    path: Path
    stored: StoredWithdrawal
    statement: Withdrawal


class AgentHome:
    """Reads and writes the folder. Raises OSError, and HomeDamaged for files that are not what they should be."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = base / "agent"

    @classmethod
    def default(cls, environment: Mapping[str, str] | None = None) -> Self:
        return cls(base_folder(os.environ if environment is None else environment))

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def directory_path(self) -> Path:
        """Shared with the `assent` command."""
        return self.base / "directory.json"

    @property
    def accesses(self) -> Path:
        """Who opened the person's recordings, with proofs."""
        return self.folder / "accesses"

    @property
    def socket(self) -> Path:
        return self.folder / CONTROL_SOCKET

    @property
    def secret_file(self) -> Path:
        return self.folder / "secrets"

    # --- who --------------------------------------------------------------------------------------

    def identity(self) -> Identity:
        """Raises NotEnrolled."""
        data = self._read(self.folder / "identity.json")
        if data is None:
            raise NotEnrolled("This computer is not enrolled. Run 'assent-agent enrol CODE' with your invitation code.")
        return self._parse(Identity, data)

    def save_identity(self, identity: Identity) -> None:
        write_private(self.folder / "identity.json", identity.to_json())

    # --- consent ----------------------------------------------------------------------------------

    def receipt(self) -> StoredReceipt | None:
        data = self._read(self.folder / "receipt.json")
        return None if data is None else self._parse(StoredReceipt, data)

    def save_receipt(self, stored: StoredReceipt) -> Path:
        """Keep the receipt among all, and make it the one in force. Returns the file to keep."""
        record = read_unverified(stored.receipt, Receipt).record
        kept = self.kept_receipt(record)
        write_private(kept, stored.to_json())
        write_private(self.folder / "receipt.json", stored.to_json())
        return kept

    def kept_receipt(self, record: str) -> Path:
        """The person's own copy of a receipt."""
        return self.folder / "receipts" / f"{record}.json"

    def drop_receipt(self) -> None:
        """No receipt is in force here any more. The person's copy stays."""
        (self.folder / "receipt.json").unlink(missing_ok=True)
        sync(self.folder)

    def receipts(self) -> tuple[StoredReceipt, ...]:
        """Every receipt given on this device."""
        folder = self.folder / "receipts"
        paths = sorted(folder.glob("*.json")) if folder.exists() else []
        return tuple(self._parse(StoredReceipt, path.read_bytes()) for path in paths)

    def queue_withdrawal(self, withdrawal: Withdrawal, key: SigningKey) -> QueuedWithdrawal:
        """Sign a withdrawal and write it down; returns when it will survive a crash."""
        envelope = sign(withdrawal, key)
        stored = StoredWithdrawal(withdrawal=envelope, salt=secrets.token_hex(SALT_BYTES))
        path = self.folder / "withdrawals" / f"{envelope.hash}.json"
        write_private(path, stored.to_json())
        return QueuedWithdrawal(path, stored, withdrawal)

    def withdrawals(self) -> tuple[QueuedWithdrawal, ...]:
        """Every withdrawal of this device, confirmed or not. Raises HomeDamaged when one cannot be read: then it is not
        known what was withdrawn."""
        folder = self.folder / "withdrawals"
        found = []
        for path in sorted(folder.glob("*.json")) if folder.exists() else []:
            try:
                stored = StoredWithdrawal.parse(path.read_bytes())
            except StatementInvalid as error:
                raise HomeDamaged(
                    f"A withdrawal that was written down here cannot be read ({path}), so nothing is recorded. "
                    "Withdraw everything with 'assent-agent consent withdraw', and remove that file."
                ) from error
            found.append(QueuedWithdrawal(path, stored, read_unverified(stored.withdrawal, Withdrawal)))
        return tuple(sorted(found, key=lambda queued: queued.statement.at))

    def confirm_withdrawal(self, queued: QueuedWithdrawal, confirmation: WithdrawalConfirmed) -> None:
        stored = queued.stored.model_copy(update={"confirmation": confirmation})
        write_private(queued.path, stored.to_json())

    def held_receipt(self) -> HeldReceipt | None:
        """The receipt in force, less every withdrawal of this device that names it, delivered or not."""
        stored = self.receipt()
        if stored is None:
            return None
        receipt = read_unverified(stored.receipt, Receipt)
        held: HeldReceipt | None = held_of(receipt)
        for queued in self.withdrawals():
            named = queued.statement.record
            if held is not None and (named == receipt.record or (named is None and queued.statement.at >= receipt.at)):
                withdrawal = queued.statement
                held = held.without(frozenset(withdrawal.modalities), frozenset(withdrawal.purposes))
        return held

    def record(self) -> str | None:
        """The receipt that was in force here last, whatever was withdrawn of it; None when there is none, or it cannot
        be told."""
        try:
            stored = self.receipt()
            return None if stored is None else read_unverified(stored.receipt, Receipt).record
        except (HomeDamaged, StatementInvalid, OSError):
            return None

    def standing(self, person: str, at: datetime) -> tuple[Standing, tuple[QueuedWithdrawal, ...]]:
        """What a restored custodian is to know of this device; and older withdrawals, for which there is no room."""
        given = [(read_unverified(stored.receipt, Receipt), stored) for stored in self.receipts()]
        newest = max(given, key=lambda pair: (pair[0].at, pair[0].valid_until), default=None)
        held, withdrawals = self.held_receipt(), self.withdrawals()
        told = withdrawals[-limits.MAX_RESTATED :]
        standing = Standing(
            person=person,
            receipt=newest[1].receipt if newest else None,
            salt=newest[1].salt if newest else None,
            in_force=newest is not None and held is not None and held.record == newest[0].record,
            withdrawals=tuple(
                HeldWithdrawal(
                    statement=queued.stored.withdrawal,
                    leaf=person_leaf(bytes.fromhex(queued.stored.salt), queued.stored.withdrawal.hash),
                )
                for queued in told
            ),
            nonce=new_id(),
            at=moment(at.astimezone(UTC)),
        )
        return standing, withdrawals[: len(withdrawals) - len(told)]

    def keep_erasure_receipts(self, view: ErasuresView) -> None:
        """Keep the custodian's receipts of what was or will be erased. Raises OSError."""
        keep_erasures(view, self.folder / "erasure-receipts")

    def keep_erasures(self, signed: Sequence[Envelope]) -> None:
        """Keep erasures that the person signed, for a custodian that forgets them."""
        for envelope in signed:
            path = self.folder / "erasures" / f"{envelope.hash}.json"
            if not path.exists():
                write_private(path, envelope.to_json())

    def kept_erasures(self, now: datetime) -> tuple[Envelope, ...]:
        """Those that a backup may still be older than; the others are forgotten here. Damaged ones are passed over."""
        folder, kept = self.folder / "erasures", []
        for path in sorted(folder.glob("*.json")) if folder.exists() else []:
            try:
                envelope = Envelope.from_json(path.read_bytes())
                signed_at = parse_moment(read_unverified(envelope, Erasure).at)
            except (OSError, StatementInvalid, ValueError):
                continue
            if now - signed_at > ERASURES_KEPT:
                path.unlink(missing_ok=True)
            else:
                kept.append(envelope)
        return tuple(kept)

    # --- what the person took away ------------------------------------------------------------------

    def narrowing(self) -> Narrowing:
        """Nothing taken away, unless a readable file says so. Raises HomeDamaged: then nothing may be recorded."""
        data = self._read(self.folder / "narrowing.json")
        if data is None:
            return Narrowing()
        try:
            stored = StoredNarrowing.parse(data)
            hours = None if stored.hours is None else hours_of(stored.hours)
        except (StatementInvalid, NarrowingInvalid) as error:
            raise HomeDamaged(NARROWING_UNREADABLE) from error
        return Narrowing(frozenset(stored.applications), hours, _chosen(stored.monitors))

    def save_narrowing(self, narrowing: Narrowing) -> None:
        stored = StoredNarrowing(
            applications=tuple(sorted(narrowing.applications)),
            hours=None if narrowing.hours is None else hours_text(narrowing.hours),
            monitors=_stored(narrowing.monitors),
        )
        write_private(self.folder / "narrowing.json", stored.to_json())

    # --- switch -----------------------------------------------------------------------------------

    def switch(self) -> Switch:
        """Off, unless a readable file says otherwise."""
        data = self._read(self.folder / "switch.json")
        try:
            return Switch() if data is None else Switch.parse(data)
        except StatementInvalid:
            return Switch()

    def save_switch(self, switch: Switch) -> None:
        write_private(self.folder / "switch.json", switch.to_json())

    # --- being asked ------------------------------------------------------------------------------

    def inviting(self) -> Inviting:
        """What the person was asked, and said."""
        data = self._read(self.folder / "invitation.json")
        stored = StoredInvitation() if data is None else self._parse(StoredInvitation, data)
        asked = None if stored.asked is None else parse_moment(stored.asked)
        return Inviting(stored.answer, asked, stored.never)

    def note(self, event: InvitingEvent) -> None:
        """Keep what `inviting.step` makes of this."""
        after = step(self.inviting(), event)
        asked = None if after.asked is None else moment(after.asked.astimezone(UTC))
        stored = StoredInvitation(answer=after.answer, asked=asked, never=after.never)
        write_private(self.folder / "invitation.json", stored.to_json())

    # --- inside -----------------------------------------------------------------------------------

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _parse(self, kind: type[S], data: bytes) -> S:
        try:
            return kind.parse(data)
        except StatementInvalid as error:
            raise HomeDamaged(f"A file of the agent ({kind.__name__}) in {self.folder} is damaged: {error}") from error


def _chosen(stored: StoredMonitors | None) -> Chosen | None:
    if stored is None:
        return None
    recorded = frozenset(Known(each.name, each.width, each.height, each.edid) for each in stored.recorded)
    return Chosen(recorded, None if stored.never is None else frozenset(stored.never))


def _stored(chosen: Chosen | None) -> StoredMonitors | None:
    if chosen is None:
        return None
    return StoredMonitors(
        recorded=tuple(
            StoredMonitor(name=each.name, width=each.width, height=each.height, edid=each.edid)
            for each in sorted(chosen.recorded)
        ),
        never=None if chosen.never is None else tuple(sorted(chosen.never)),
    )


class HomeLock:
    """Held while a process works in the folder. Released when it ends, however it ends."""

    def __init__(self, home: AgentHome) -> None:
        """Raises HomeBusy."""
        home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(home.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise HomeBusy("The agent already runs on this account.") from error

    def release(self) -> None:
        os.close(self._descriptor)


def held_of(receipt: Receipt) -> HeldReceipt:
    """What the agent must know of a receipt."""
    return HeldReceipt(
        record=receipt.record,
        choices=frozenset((choice.modality, choice.purpose) for choice in receipt.choices),
        keyboard_mode=receipt.keyboard_mode,
        valid_from=parse_moment(receipt.valid_from),
        valid_until=parse_moment(receipt.valid_until),
    )


def nothing_withdrawn(modalities: frozenset[Modality], purposes: frozenset[str]) -> str:
    """Why this withdrawal makes no sense."""
    named = ", ".join([*sorted(m.value for m in modalities), *sorted(purposes)])
    return (
        f"Nothing was withdrawn: your consent here does not cover {named}. 'assent-agent consent show' says what it "
        "covers; without options everything is withdrawn."
    )


def told_withdrawals(home: AgentHome) -> dict[str, Any]:
    """For status: every withdrawal of this device, and what became of it; or why that is not known."""
    try:
        withdrawals = home.withdrawals()
    except (HomeDamaged, OSError) as error:
        return {"withdrawals": [], "damaged": str(error)}
    told = []
    for queued in withdrawals:
        confirmation = queued.stored.confirmation
        told.append(
            {
                "at": queued.statement.at,
                "of": [*(m.value for m in queued.statement.modalities), *queued.statement.purposes],
                "confirmed": confirmation is not None,
                "erased_from": None if confirmation is None else confirmation.erased_from,
            }
        )
    return {"withdrawals": told}


def withdrawal_of(
    person: str,
    record: str | None,
    modalities: frozenset[Modality],
    purposes: frozenset[str],
    at: datetime,
    *,
    erase_now: bool = False,
) -> Withdrawal:
    return Withdrawal(
        person=person,
        record=record,
        modalities=tuple(sorted(modalities)),
        purposes=tuple(sorted(purposes)),
        erase="now" if erase_now else "after-7-days",
        at=moment(at.astimezone(UTC)),
    )
