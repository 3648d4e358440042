"""Puts the agent together, and does what the command line asks when no agent runs. No decisions are made here."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from secrets import token_bytes
from typing import Any, Final

from assent.client.credentials import Credential, CredentialInvalid, CredentialStore, lock
from assent.client.custodian import CustodianClient
from assent.client.directory import TrustedDirectory
from assent.client.files import write_private
from assent.client.joining import Kind, join
from assent.client.receipts import Pair, receipt_of
from assent.client.transport import ClientError, Refused, Unreachable, now_utc
from assent.contracts.codes import CodeInvalid, InvitationCode
from assent.contracts.envelope import read_unverified, sign
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality, sha256_hex
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import Mode, Receipt, RecoveryStopped
from assent.contracts.times import moment, parse_moment
from assent.contracts.wire import Offer
from assent_agent.adapters.agent_clock import SystemAgentClock
from assent_agent.adapters.keyring_store import KeyringStore, system_keyring
from assent_agent.adapters.secret_file import SecretFile
from assent_agent.core.consent import HeldReceipt
from assent_agent.core.inviting import Declined, Gave, Invited, PutOff, TookBack
from assent_agent.ports import (
    Agreed,
    Capture,
    CaptureUnavailable,
    Chosen,
    DeskRefused,
    Indicator,
    Intention,
    SecretStore,
    SecretsUnavailable,
    Standing,
)
from assent_agent.runtime.agent import END_OF_TIME_NS, Agent
from assent_agent.runtime.control import Answer, ControlServer, Question
from assent_agent.runtime.home import (
    DEVICE_KEY,
    SALT_BYTES,
    AgentHome,
    HomeBusy,
    HomeDamaged,
    HomeLock,
    Identity,
    NotEnrolled,
    StoredReceipt,
    Switch,
    nothing_withdrawn,
    withdrawal_of,
)
from assent_agent.runtime.hygiene import forbid_core_dumps
from assent_agent.runtime.network import BatchDone, Links, Uploader
from assent_agent.settings import AgentSettings
from assent_agent.spool.spool import Forgotten, Spool

Prompt = Callable[[str], str]


class NotPossible(Exception):
    """It cannot be done; the message says why and what to do."""


EXPECTED: Final = (
    NotPossible,
    CaptureUnavailable,
    ClientError,
    CodeInvalid,
    CredentialInvalid,
    HomeBusy,
    HomeDamaged,
    NotEnrolled,
    SecretsUnavailable,
    OSError,
)
"""What may go wrong through no fault of the program; `explain` says it in a sentence."""


@dataclass(frozen=True)
class Parts:
    """What almost every command needs."""

    home: AgentHome
    settings: AgentSettings
    prompt: Prompt
    """Asks for a passphrase; raises NotPossible where nobody can be asked."""

    def secrets(self) -> SecretStore:
        """The keyring, or the key file. Raises SecretsUnavailable."""
        if self.settings.keyring and not self.home.secret_file.exists():
            backend = system_keyring()
            if backend is not None:
                return KeyringStore(backend, sha256_hex(str(self.home.folder.resolve()).encode())[:16])
        return SecretFile(self.home.secret_file, self._passphrase())

    def _passphrase(self) -> str:
        path = self.settings.passphrase_file
        if path is None:
            return self.prompt("Passphrase of the agent's key file: ")
        try:
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SecretsUnavailable(f"Others can read the passphrase file; run 'chmod 600 {path}'.")
            return path.read_text("utf-8").split("\n", 1)[0]
        except (OSError, UnicodeDecodeError) as error:
            raise SecretsUnavailable(f"The passphrase file {path} cannot be read.") from error

    def device(self, secrets: SecretStore) -> SigningKey:
        """The device key. Raises NotPossible, NotEnrolled, SecretsUnavailable."""
        self.home.identity()
        pem = secrets.get(DEVICE_KEY)
        if pem is None:
            raise NotPossible("The device key is not in the keyring any more. Enrol again with a new code.")
        return SigningKey.from_pem(pem)

    def directory(self, identity: Identity) -> TrustedDirectory:
        return TrustedDirectory(identity.root_fingerprint, self.home.directory_path)

    def links(self, device: SigningKey) -> Links:
        identity = self.home.identity()
        return Links(self.directory(identity), identity.custodian_url, device, now_utc)

    def custodian(self) -> CustodianClient:
        """A client in the name of the device."""
        return self.links(self.device(self.secrets())).custodian()

    def spool(self, secrets: SecretStore) -> Spool:
        return Spool(
            self.home.spool,
            secrets,
            now=datetime.now(UTC),
            hold=timedelta(seconds=self.settings.hold_s),
            reserve_bytes=self.settings.reserve_bytes,
        )


# --- enrolment ------------------------------------------------------------------------------------


def enrol(parts: Parts, code_text: str, passphrase: Callable[[], str]) -> Identity:
    """Use an invitation code: a device key for the agent and, unless there is one, an opening credential. Or a code
    that adds this device to an account: a device key alone.

    Raises CodeInvalid, ClientError, SecretsUnavailable, CredentialInvalid, NotPossible.
    """
    if (parts.home.folder / "identity.json").exists():
        raise NotPossible("This account is enrolled already. See 'assent-agent status'.")
    code = InvitationCode.from_text(code_text)
    if code.adds == "opening":
        raise NotPossible("This code adds an opening key and no device: use it with 'assent login CODE'.")
    store = CredentialStore(parts.home.base)
    kinds: set[Kind] = {"device"} if store.exists() or code.adds == "device" else {"device", "opening"}
    keys: dict[Kind, SigningKey] = {kind: SigningKey.generate() for kind in kinds}
    locked = lock(keys["opening"], passphrase()) if "opening" in keys else b""
    secrets = parts.secrets()
    secrets.put(DEVICE_KEY, keys["device"].to_pem())
    directory = TrustedDirectory(code.root_fingerprint, parts.home.directory_path)
    try:
        member = join(code_text, kinds, keys=keys, directory=directory)
    except Unreachable:
        # The code may have been used although no answer came: the same keys may ask again.
        member = join(code_text, kinds, keys=keys, directory=directory)
    if locked:
        store.save(
            Credential(member.person, member.name, code.url, code.root_fingerprint, keys["opening"].public.id, locked)
        )
    identity = Identity(
        person=member.person,
        name=member.name,
        custodian_url=code.url,
        root_fingerprint=code.root_fingerprint,
        device_key_id=keys["device"].public.id,
    )
    parts.home.save_identity(identity)
    return identity


def stop_recovery(parts: Parts) -> int:
    """Stop every recovery of the account, by the device key; returns how many. Raises as `Parts.custodian`."""
    with parts.custodian() as custodian:
        running = custodian.me().recoveries
        for entry in running:
            custodian.stop_recovery(RecoveryStopped(recovery=entry.recovery, at=custodian.now()))
    return len(running)


# --- consent --------------------------------------------------------------------------------------


def offer(parts: Parts, device: SigningKey | None = None) -> Offer:
    """What is to be shown before consent. `device`: its key, where it is at hand. Raises ClientError.

    Who is shown it has been asked: the agent does not come with the same question by itself.
    """
    with parts.links(device or parts.device(parts.secrets())).custodian() as custodian:
        found = custodian.offer()
    parts.home.note(Invited(datetime.now(UTC)))
    return found


def check_offered(shown: Offer, pairs: Collection[Pair], keyboard_mode: KeyboardMode, modes: Sequence[Mode]) -> None:
    """Raises NotPossible when nothing is chosen, or something that is not offered."""
    chosen = {purpose for _, purpose in pairs}
    unknown = sorted(chosen - {purpose.iri for purpose in shown.purposes})
    if unknown:
        raise NotPossible(f"Not offered: {', '.join(unknown)}. What is offered: 'assent-agent consent show'.")
    if not pairs:
        raise NotPossible("Nothing was chosen.")
    if keyboard_mode is KeyboardMode.OFF and any(modality is Modality.KEYBOARD for modality, _ in pairs):
        raise NotPossible("With 'keyboard', choose how much is recorded of it: --keyboard-mode shape or text.")
    if not set(modes) <= {mode for purpose in shown.purposes if purpose.iri in chosen for mode in purpose.modes}:
        raise NotPossible("These purposes do not offer that mode.")


def give(
    parts: Parts,
    shown: Offer,
    *,
    pairs: Collection[Pair],
    keyboard_mode: KeyboardMode,
    modes: Sequence[Mode],
    device: SigningKey | None = None,
) -> tuple[Receipt, Path]:
    """Sign a receipt for exactly these pairs, have it counter-signed, keep it, and switch this device on.

    `device`: its key, where it is at hand (a running agent asks for no passphrase twice).
    Raises NotPossible as `check_offered` does, ClientError.
    """
    check_offered(shown, pairs, keyboard_mode, modes)
    identity = parts.home.identity()
    device = device or parts.device(parts.secrets())
    with parts.links(device).custodian() as custodian:
        receipt = receipt_of(
            shown,
            person=identity.person,
            previous=_previous_receipt(custodian, device),
            at=datetime.now(UTC),
            pairs=pairs,
            keyboard_mode=keyboard_mode,
            modes=modes,
        )
        salt = token_bytes(SALT_BYTES)
        signed = custodian.deliver_receipt(sign(receipt, device), salt)
    stored = StoredReceipt(
        receipt=signed,
        salt=salt.hex(),
        device_key=device.public.text,
        application_list=shown.application_list,
        notice=shown.notice,
    )
    path = parts.home.save_receipt(stored)
    parts.home.note(Gave(datetime.now(UTC)))
    parts.home.save_switch(parts.home.switch().model_copy(update={"on": True}))
    return receipt, path


def save_receipts(parts: Parts, folder: Path) -> tuple[int, int]:
    """Write every receipt given on this device into `folder`, each with its proof of the log where there is one (the
    custodian is asked for those that are missing). Returns how many, and how many of them are proved. Works offline.
    """
    receipts = list(parts.home.receipts())
    if any(stored.proof is None for stored in receipts):
        with suppress(ClientError), parts.custodian() as custodian:
            receipts = [stored.completed(custodian) for stored in receipts]
    for stored in receipts:
        record = read_unverified(stored.receipt, Receipt).record
        write_private(parts.home.kept_receipt(record), stored.to_json())
        write_private(folder / f"{record}.receipt.json", stored.to_json())
    return len(receipts), sum(stored.proof is not None for stored in receipts)


def _previous_receipt(custodian: CustodianClient, device: SigningKey) -> str:
    """The hash of this device key's newest receipt: the one that no other names."""
    mine = {
        view.receipt.hash: read_unverified(view.receipt, Receipt).previous
        for view in custodian.receipts().receipts
        if any(signature.keyid == device.public.id for signature in view.receipt.signatures)
    }
    newest = mine.keys() - set(mine.values())
    return next(iter(newest), FIRST_PREVIOUS)


@dataclass(frozen=True)
class WithdrawnHere:
    """`confirmed`: the custodian has signed for it; otherwise it is written down and will be delivered. `left`: what is
    still agreed to."""

    confirmed: bool
    erased_from: str | None
    why_not: str
    left: tuple[str, ...] = ()


def withdraw(parts: Parts, modalities: frozenset[Modality], purposes: frozenset[str]) -> WithdrawnHere:
    """Withdraw while no agent runs: written down, then destroyed, then delivered if that is possible now.

    Works offline. Raises NotPossible when nothing was given here, SecretsUnavailable when the device key cannot be
    read, OSError.
    """
    try:
        before = parts.home.held_receipt()
    except HomeDamaged:
        # In doubt about what stands, all of it goes.
        return _withdraw(parts, parts.home.record(), None, frozenset(), frozenset())
    if before is None:
        raise NotPossible("There is no consent on this device, and nothing is recorded.")
    if not before.covers_any(modalities, purposes):
        raise NotPossible(nothing_withdrawn(modalities, purposes))
    return _withdraw(parts, before.record, before, modalities, purposes)


def _withdraw(
    parts: Parts,
    record: str | None,
    before: HeldReceipt | None,
    modalities: frozenset[Modality],
    purposes: frozenset[str],
) -> WithdrawnHere:
    secrets = parts.secrets()
    device = parts.device(secrets)
    queued = parts.home.queue_withdrawal(
        withdrawal_of(
            parts.home.identity().person,
            record,
            modalities,
            purposes,
            datetime.now(UTC),
        ),
        device,
    )
    rest = None if before is None else before.without(modalities, purposes)
    gone = None if rest is None or before is None else before.modalities - rest.modalities
    parts.spool(secrets).destroy(gone)
    if rest is None:
        parts.home.note(TookBack(datetime.now(UTC)))
        parts.home.drop_receipt()
        parts.home.save_switch(Switch())
    left = tuple(sorted(f"{m.value} for {p}" for m, p in rest.choices)) if rest else ()
    try:
        with parts.links(device).custodian() as custodian:
            confirmation = custodian.deliver_withdrawal(queued.stored.withdrawal, bytes.fromhex(queued.stored.salt))
    except ClientError as error:
        return WithdrawnHere(False, None, str(error), left)
    parts.home.confirm_withdrawal(queued, confirmation)
    return WithdrawnHere(True, confirmation.erased_from, "", left)


def decline(parts: Parts, *, never: bool) -> None:
    """Say no, or (`never`) that nobody shall ask again. It is kept here and told to nobody. Raises OSError."""
    now = datetime.now(UTC)
    parts.home.note(Declined(now, never=True) if never else PutOff(now))


def deliver_withdrawals(parts: Parts) -> int:
    """Deliver what is queued; returns how many are still not confirmed."""
    pending = [queued for queued in parts.home.withdrawals() if queued.stored.confirmation is None]
    left = len(pending)
    if pending:
        try:
            with parts.custodian() as custodian:
                for queued in pending:
                    salt = bytes.fromhex(queued.stored.salt)
                    confirmed = custodian.deliver_withdrawal(queued.stored.withdrawal, salt)
                    parts.home.confirm_withdrawal(queued, confirmed)
                    left -= 1
        except ClientError:
            return left
    return left


class AgentDesk:
    """The consent page's desk (`ports.ConsentDesk`): the command line's own functions, beside a running agent.

    `ask` asks that agent. The device key is at hand, so that nobody is asked for a passphrase in the background.
    """

    def __init__(self, parts: Parts, device: SigningKey, ask: Callable[[Question], Answer]) -> None:
        self._parts = parts
        self._device = device
        self._ask = ask

    def standing(self) -> Standing:
        with _refusing():
            home = self._parts.home
            stored, held = home.receipt(), home.held_receipt()
            withdrawals = home.withdrawals()
            unconfirmed = sum(queued.stored.confirmation is None for queued in withdrawals)
            confirmation = withdrawals[-1].stored.confirmation if withdrawals else None
            erased_from = "" if confirmation is None else confirmation.erased_from
            if stored is None or held is None or held.valid_until <= datetime.now(UTC):
                return Standing(None, unconfirmed, erased_from)
            receipt = read_unverified(stored.receipt, Receipt)
            agreed = Agreed(
                at=parse_moment(receipt.at),
                valid_until=held.valid_until,
                pairs=tuple(
                    (choice.modality, choice.purpose)
                    for choice in receipt.choices
                    if (choice.modality, choice.purpose) in held.choices and choice.modality in held.modalities
                ),
                sentences={purpose.iri: purpose.sentence for purpose in receipt.purposes},
                keyboard_mode=held.keyboard_mode,
                export=Mode.EXPORT in receipt.modes,
                file=str(home.kept_receipt(receipt.record)),
            )
            changed = tuple(str(name) for name in self._ask({"do": "status"}).get("asks_anew", ()))
            return Standing(agreed, unconfirmed, erased_from, changed)

    def offer(self) -> Offer:
        with _refusing():
            return offer(self._parts, self._device)

    def give(self, shown: Offer, chosen: Chosen) -> Standing:
        with _refusing():
            give(
                self._parts,
                shown,
                pairs=chosen.pairs,
                keyboard_mode=chosen.keyboard_mode,
                modes=(Mode.READER, Mode.EXPORT) if chosen.export else (Mode.READER,),
                device=self._device,
            )
        self._wish({"do": "given"})
        return self.standing()

    def decline(self, *, never: bool) -> None:
        with _refusing():
            decline(self._parts, never=never)

    def withdraw(self) -> Standing:
        self._wish({"do": "withdraw"})
        return self.standing()

    def _wish(self, question: Question) -> None:
        answer = self._ask(question)
        if not answer.get("ok"):
            raise DeskRefused(str(answer.get("error", "The agent refused.")))


@contextmanager
def _refusing() -> Iterator[None]:
    """What is expected to go wrong becomes a sentence."""
    try:
        yield
    except EXPECTED as error:
        raise DeskRefused(explain(error)) from error


# --- without an agent -------------------------------------------------------------------------------


def pause(parts: Parts, seconds: int | None) -> None:
    """Pause, so that the agent starts paused."""
    until = None if seconds is None else moment(datetime.now(UTC) + timedelta(seconds=seconds))
    parts.home.save_switch(Switch(on=parts.home.switch().on, paused=True, paused_until=until))


def resume(parts: Parts) -> None:
    parts.home.save_switch(Switch(on=parts.home.switch().on))


def forget(parts: Parts, last: timedelta) -> Forgotten:
    now = datetime.now(UTC)
    spool = parts.spool(parts.secrets())
    return spool.forget(int((now - last).timestamp() * 1e9), END_OF_TIME_NS, now)


def send(parts: Parts) -> BatchDone:
    """Send everything that is here, now."""
    secrets = parts.secrets()
    spool = parts.spool(secrets)
    spool.release_hold()
    uploader = Uploader(spool, parts.links(parts.device(secrets)), lambda _: None, now_utc, SystemRandom())
    try:
        return uploader.batch()
    finally:
        uploader.close()


def uninstall(parts: Parts) -> None:
    """Remove what is not sent, the keys of this device, and the agent's folder. Receipts are kept."""
    secrets = parts.secrets()
    parts.spool(secrets).destroy()
    secrets.delete(DEVICE_KEY)
    for name in ("identity.json", "receipt.json", "switch.json", "invitation.json", "narrowing.json", "secrets"):
        (parts.home.folder / name).unlink(missing_ok=True)
    for name in ("withdrawals", "erasures", "spool"):
        folder = parts.home.folder / name
        for path in folder.glob("*") if folder.exists() else ():
            path.unlink()
        if folder.exists():
            folder.rmdir()


# --- running ----------------------------------------------------------------------------------------


def run_replay(parts: Parts, file: Path, *, exit_when_done: bool) -> None:
    """Run on a replay until stopped. Nothing of this desktop is captured, so no indicator is needed.

    Raises CaptureUnavailable (the file is no replay), NotEnrolled, HomeBusy, SecretsUnavailable, OSError.
    """
    from assent_agent.adapters.replay import Replay, replay_capture  # noqa: PLC0415 - only here

    capture = replay_capture(file)
    with _Running(parts, lambda: capture, None) as running:
        if exit_when_done and isinstance(capture.screen, Replay):
            replay = capture.screen
            threading.Thread(target=_stop_when_done, args=(replay, running.agent), daemon=True).start()
        running.agent.run()
    if exit_when_done:
        send_ready(parts)


def send_ready(parts: Parts) -> BatchDone:
    """Send what may be sent now; what is held stays held."""
    secrets = parts.secrets()
    uploader = Uploader(
        parts.spool(secrets), parts.links(parts.device(secrets)), lambda _: None, now_utc, SystemRandom()
    )
    try:
        return uploader.batch()
    finally:
        uploader.close()


def _stop_when_done(replay: Any, agent: Agent) -> None:
    while not replay.wait_finished(3600):
        continue
    threading.Event().wait(1.0)
    agent.stop()


def run_desktop(parts: Parts) -> int:
    """Run on this desktop until stopped; returns the exit code. The indicator lives in this, the main thread.

    Raises CaptureUnavailable (with the reason), NotEnrolled, HomeBusy, SecretsUnavailable, OSError.
    """
    from assent_agent.adapters.platforms import desktop_capture  # noqa: PLC0415 - needs a display

    capture = desktop_capture(os.environ)
    from PySide6.QtWidgets import QApplication  # noqa: PLC0415 - half a second

    from assent_agent.ui.tray import TrayIndicator  # noqa: PLC0415
    from assent_agent.ui.windows import Windows  # noqa: PLC0415

    application = QApplication(["assent-agent"])
    agents: list[Agent] = []

    def tell(intention: Intention) -> None:
        if agents:
            agents[0].intend(intention)

    windows = Windows(tell)
    indicator = TrayIndicator(application, tell, windows)
    failed: list[BaseException] = []
    with _Running(parts, lambda: capture, indicator) as running:
        agents.append(running.agent)
        windows.use(AgentDesk(parts, running.device, running.agent.ask))

        def own() -> None:
            try:
                running.agent.run()
            except BaseException as error:  # the thread must not end unnoticed
                failed.append(error)
                indicator.remove()

        owner = threading.Thread(target=own, name="agent")
        owner.start()
        code = indicator.run()
        running.agent.stop()
        owner.join()
    if failed:
        raise failed[0]
    return code


class _Running:
    """Lock, keys, control socket and signals around one agent."""

    def __init__(self, parts: Parts, make_capture: Callable[[], Capture], indicator: Indicator | None) -> None:
        forbid_core_dumps()
        parts.home.identity()
        self._lock = HomeLock(parts.home)
        try:
            secrets = parts.secrets()
            self.device = parts.device(secrets)
            self.agent = Agent(
                home=parts.home,
                settings=parts.settings,
                device=self.device,
                secrets=secrets,
                make_capture=make_capture,
                indicator=indicator,
                clock=SystemAgentClock(),
                links=parts.links(self.device),
                random=SystemRandom(),
            )
            self._control = ControlServer(parts.home.socket, self.agent.ask)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> _Running:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.agent.stop())
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._lock.release()


def explain(error: Exception) -> str:
    """One sentence for the person."""
    if isinstance(error, Refused) and error.code is Code.NOT_SIGNED_IN:
        return (
            "The custodian does not take this device's key (any more): perhaps you revoked it; 'assent me devices' "
            "lists yours. To record here again, enrol with a new code ('assent me add-device')."
        )
    if isinstance(error, Refused):
        return str(error.problem.detail or error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error)
