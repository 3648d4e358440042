"""What the agent asks of the custodian and sends to the collector, each in a thread of its own.

The threads decide nothing about permission: they say what was answered (`Answer`), in messages to the agent's owner.
Whatever cannot be verified is not an answer. What the collector says is applied to the spool here, by the rules of
`core.uploads`: only signatures count.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from random import Random
from secrets import token_bytes
from typing import TypeVar

import httpx2

from assent.client.collector import CollectorClient, StreamRevoked
from assent.client.custodian import Certificates, CustodianClient
from assent.client.directory import LogContradicted, TrustedDirectory
from assent.client.transport import AnswerInvalid, ClientError, OutOfOrder, Refused, Transport, Unreachable
from assent.contracts.envelope import Envelope, StatementInvalid
from assent.contracts.keys import SigningKey
from assent.contracts.statements import News, Standing, StreamWanted, WithdrawalConfirmed
from assent.contracts.wire import ErasuresView
from assent.sealing.errors import SealingError
from assent.sealing.segments import SealedSegment
from assent.transparency.errors import NoteInvalid
from assent.transparency.note import Note
from assent.transparency.policy import Policy
from assent_agent.core.uploads import Outcome, overdue, shuffled
from assent_agent.runtime.accesses import AccessBook
from assent_agent.runtime.home import SALT_BYTES, QueuedWithdrawal
from assent_agent.spool.files import FileDamaged
from assent_agent.spool.spool import Item, Spool


@dataclass(frozen=True)
class NewsCame:
    """`asked`: which receipt was in force when it was asked, so that an answer about an older one does not count."""

    news: News
    asked: str | None


@dataclass(frozen=True)
class CertificatesCame:
    """What was asked (with the keys), and what was answered."""

    wanted: tuple[tuple[StreamWanted, SigningKey], ...]
    answer: Certificates
    asked: str | None


@dataclass(frozen=True)
class WithdrawalAnswered:
    queued: QueuedWithdrawal
    confirmation: WithdrawalConfirmed


@dataclass(frozen=True)
class AccessesHeard:
    """What was told of accesses is kept, with its proofs; or, not `complete`, is to be asked for again."""

    complete: bool


@dataclass(frozen=True)
class CustodianFailed:
    """The question was not answered. `sentence` says why, for the person."""

    what: str
    sentence: str


@dataclass(frozen=True)
class LogDoubted:
    """Somebody drops leaves of the log, or tells two histories. `sentence` says what was seen, for the person."""

    sentence: str


@dataclass(frozen=True)
class BatchDone:
    """`sent`: items stored; `revoked`: streams the custodian closed; `too_late`: streams past their upload deadline."""

    succeeded: bool
    sent: int
    sentence: str
    revoked: tuple[str, ...] = ()
    too_late: int = 0


@dataclass(frozen=True)
class Restated:
    """A custodian that was restored has heard from this device."""


Message = (
    NewsCame
    | CertificatesCame
    | WithdrawalAnswered
    | Restated
    | AccessesHeard
    | CustodianFailed
    | LogDoubted
    | BatchDone
)
Tell = Callable[[Message], None]
T = TypeVar("T")


class Links:
    """How to reach both services: addresses and keys are the directory's, and follow it when it changes."""

    def __init__(
        self,
        directory: TrustedDirectory,
        custodian_url: str,
        device: SigningKey,
        now: Callable[[], datetime],
        *,
        custodian_transport: httpx2.BaseTransport | None = None,
        collector_transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._directory = directory
        self._custodian_url = custodian_url
        self._device = device
        self._now = now
        self._custodian_transport = custodian_transport
        self._collector_transport = collector_transport

    def custodian(self) -> CustodianClient:
        """A client in the name of the device. Raises ClientError when no directory is known yet and none can be had."""
        if not self._directory.known:
            self.refresh()
        return CustodianClient.of(
            self._directory.current, self._device, clock=self._now, transport=self._custodian_transport
        )

    def collector(self) -> CollectorClient:
        """A client of nobody. Raises ClientError as `custodian`."""
        if not self._directory.known:
            self.refresh()
        return CollectorClient.of(self._directory.current, clock=self._now, transport=self._collector_transport)

    def refresh(self) -> None:
        """Fetch the newest directory, from where the one at hand says, else from the code's address.

        Raises ClientError.
        """
        known = (self._directory.current.custodian_url,) if self._directory.known else ()
        urls = tuple(dict.fromkeys((*known, self._custodian_url)))
        for url in urls:
            try:
                with Transport(url, transport=self._custodian_transport) as custodian:
                    self._directory.refresh(custodian)
                return
            except Unreachable:
                if url == urls[-1]:
                    raise

    def look_at_log(self, custodian: CustodianClient) -> None:
        """Keep the newest witnessed head, so that a log that is cut later is found out. A failure leaves the one at
        hand. Raises LogContradicted."""
        with suppress(Refused, Unreachable, AnswerInvalid, NoteInvalid):
            self._directory.saw(Note.from_bytes(custodian.checkpoint()))
        if self._directory.contradiction is not None:
            raise LogContradicted(self._directory.contradiction)

    def saw(self, heads: Iterable[Note]) -> None:
        """The same of heads that came with proofs. Raises LogContradicted."""
        for head in heads:
            self._directory.saw(head)

    @property
    def policy(self) -> Policy:
        """By which proofs are checked that people keep. Raises ClientError when no directory is known."""
        return self._directory.kept_policy

    @property
    def contradiction(self) -> str | None:
        """What was contradicted about the log, until a newer directory is accepted; or None."""
        return self._directory.contradiction

    @property
    def version(self) -> int:
        """Of the directory at hand; 0 when there is none."""
        return self._directory.current.version if self._directory.known else 0

    def refresh_to(self, version: int) -> bool:
        """Fetch the directory if the custodian's word is that there is a newer one; whether it changed. Raises as
        `refresh`."""
        if version <= self.version:
            return False
        self.refresh()
        return True


class _Worker:
    """A thread that does one job after the other."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def close(self, timeout_s: float = 2.0) -> None:
        """No more jobs; waits a little for the one under way."""
        self._jobs.put(None)
        self._thread.join(timeout_s)


class CustodianWorker(_Worker):
    """Asks the custodian. Each method returns at once; what comes of it is told."""

    def __init__(self, links: Links, tell: Tell) -> None:
        super().__init__("custodian")
        self._links = links
        self._tell = tell
        self._client: CustodianClient | None = None

    def ask_news(self, receipt: str | None) -> None:
        def news(client: CustodianClient) -> Message:
            came = NewsCame(client.news(), receipt)
            try:
                if self._links.refresh_to(came.news.directory):
                    self._forget_client()
                else:
                    self._links.look_at_log(client)
            except LogContradicted as error:
                self._tell(LogDoubted(str(error)))
            return came

        self._do(lambda: self._ask("news", news))

    def ask_certificates(self, wanted: Sequence[tuple[StreamWanted, SigningKey]], receipt: str | None) -> None:
        asked = tuple(wanted)
        self._do(
            lambda: self._ask(
                "certificates",
                lambda client: CertificatesCame(asked, client.certificates([want for want, _ in asked]), receipt),
            )
        )

    def deliver(self, queued: QueuedWithdrawal) -> None:
        def deliver(client: CustodianClient) -> Message:
            salt = bytes.fromhex(queued.stored.salt)
            return WithdrawalAnswered(queued, client.deliver_withdrawal(queued.stored.withdrawal, salt))

        self._do(lambda: self._ask("withdrawal", deliver))

    def restate(
        self,
        held: Callable[[], tuple[Standing, tuple[QueuedWithdrawal, ...]]],
        erasures: Callable[[], Sequence[Envelope]],
    ) -> None:
        """Say what this device holds; first, one by one, erasures, and withdrawals for which the statement has no room.

        An erasure that is refused (its key was revoked since) does not keep the rest from being said.
        """

        def restate(client: CustodianClient) -> Message:
            standing, older = held()
            for erasure in erasures():
                with suppress(Refused):
                    client.deliver_erasure(erasure, token_bytes(SALT_BYTES))
            for queued in older:
                client.deliver_withdrawal(queued.stored.withdrawal, bytes.fromhex(queued.stored.salt))
            client.restate(standing)
            return Restated()

        self._do(lambda: self._ask("restate", restate))

    def keep_erasures(self, keep: Callable[[ErasuresView], None]) -> None:
        """Fetch the signed receipts of what was or will be erased, and have them kept. Nothing depends on it: what
        fails is fetched the next time.
        """

        def fetch() -> None:
            try:
                keep(self._asked(CustodianClient.erasures))
            except Exception:  # as in `_ask`: this thread must not end
                self._forget_client()

        self._do(fetch)

    def hear_accesses(self, book: AccessBook, day: str) -> None:
        """Fetch what was told of accesses, up to this `day` (UTC), with the proofs, and keep it in the book."""

        def hear(client: CustodianClient) -> None:
            self._links.saw(book.keep(client.accesses(book.since()), self._links.policy, day))

        def fetch() -> None:
            complete = False
            try:
                self._asked(hear)
                complete = True
            except LogContradicted as error:
                self._tell(LogDoubted(str(error)))
            except Exception:  # as in `_ask`: this thread must not end
                self._forget_client()
            self._tell(AccessesHeard(complete))

        self._do(fetch)

    def _ask(self, what: str, question: Callable[[CustodianClient], Message]) -> None:
        try:
            self._tell(self._asked(question))
        except ClientError as error:
            self._forget_client()
            if isinstance(error, AnswerInvalid | Unreachable) and self._directory_changed():
                self._ask_again(what, question)
            else:
                self._tell(CustodianFailed(what, str(error)))
        except Exception as error:
            # Nobody would ask, hear of a halt or deliver a withdrawal any more if this thread ended here.
            self._forget_client()
            self._tell(CustodianFailed(what, f"The custodian could not be asked ({type(error).__name__})."))

    def _ask_again(self, what: str, question: Callable[[CustodianClient], Message]) -> None:
        """Once, by the new directory."""
        try:
            self._tell(self._asked(question))
        except Exception as error:  # as above
            self._forget_client()
            text = str(error) if isinstance(error, ClientError) else type(error).__name__
            self._tell(CustodianFailed(what, text))

    def _asked(self, question: Callable[[CustodianClient], T]) -> T:
        if self._client is None:
            self._client = self._links.custodian()
        return question(self._client)

    def _directory_changed(self) -> bool:
        """An answer that does not verify may be one under newer keys, and a silence one of an old address: look for a
        newer directory."""
        before = self._links.version
        try:
            self._links.refresh()
        except LogContradicted as error:
            self._tell(LogDoubted(str(error)))
        except (ClientError, OSError):
            pass
        return self._links.version != before

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class Uploader(_Worker):
    """Sends batches from the spool."""

    def __init__(self, spool: Spool, links: Links, tell: Tell, now: Callable[[], datetime], random: Random) -> None:
        super().__init__("uploader")
        self._spool = spool
        self._links = links
        self._tell = tell
        self._now = now
        self._random = random
        self._ended = threading.Event()

    def send(self) -> None:
        """Send what may be sent; returns at once."""
        self._do(lambda: self._tell(self.batch()))

    def close(self, timeout_s: float = 2.0) -> None:
        self._ended.set()
        super().close(timeout_s)

    def batch(self) -> BatchDone:
        """One batch: streams shuffled, each in order. Never raises for what networks, disks or services do."""
        sent, too_late, sentence, succeeded = 0, 0, "", True
        revoked: list[str] = []
        try:
            with self._links.collector() as collector:
                for view in shuffled(self._spool.streams(self._now()), self._random):
                    if overdue(view.upload_until, self._now().strftime("%Y-%m-%d")):
                        self._spool.destroy_stream(view.stream)
                        too_late += 1
                        sentence = "The time to send some recordings has passed; they were destroyed here."
                        continue
                    if view.ready == 0:
                        continue
                    outcome, count, why = self._send_stream(collector, view.stream, view.items[: view.ready])
                    sent += count
                    if outcome is Outcome.REVOKED:
                        revoked.append(view.stream)
                    elif outcome in (Outcome.LATER, Outcome.NOT_THE_COLLECTOR):
                        succeeded, sentence = False, why
                        self._look_for_directory()
                        break
                    elif outcome is Outcome.STUCK:
                        succeeded, sentence = False, why
        except (ClientError, OSError) as error:
            succeeded, sentence = False, str(error)
        except Exception as error:  # nothing would ever be sent again if this thread ended here
            succeeded, sentence = False, f"Sending failed ({type(error).__name__}); it is tried again."
        return BatchDone(succeeded, sent, sentence, tuple(revoked), too_late)

    def _look_for_directory(self) -> None:
        """The collector may have another key or address by now: the next batch knows."""
        with suppress(ClientError, OSError):
            self._links.refresh()

    def _send_stream(self, collector: CollectorClient, stream: str, items: Sequence[Item]) -> tuple[Outcome, int, str]:
        count = 0
        outcome, why = Outcome.STORED, ""
        certificate = self._spool.announcement(stream)
        if certificate is None:
            return outcome, count, why
        try:
            collector.announce(certificate)
        except ClientError as error:
            outcome, why = outcome_of(error), str(error)
        for item in items if outcome is Outcome.STORED else ():
            if self._ended.is_set():
                return Outcome.LATER, count, "The agent is ending."
            outcome, why = self._send(collector, item)
            if outcome is Outcome.ERASED:
                self._spool.forget_refused(item, self._now())
                return Outcome.LATER, count, why
            if outcome is not Outcome.STORED:
                break
            count += 1
        if outcome is Outcome.REVOKED:
            self._spool.destroy_stream(stream)
        return outcome, count, why

    def _send(self, collector: CollectorClient, item: Item) -> tuple[Outcome, str]:
        try:
            found = self._spool.take(item, self._now())
            if found is None:
                return Outcome.LATER, ""
            if isinstance(found, SealedSegment):
                collector.send_segment(
                    header=found.header,
                    sealed_key=found.sealed_key,
                    body=found.body,
                    body_sha256=found.body_sha256,
                    signature=found.signature,
                )
            else:
                collector.send_record(record=found.record, signature=found.signature)
            self._spool.stored(item, self._now())
        except ClientError as error:
            return outcome_of(error), str(error)
        except (OSError, FileDamaged, SealingError, StatementInvalid) as error:
            return Outcome.LATER, f"A recording could not be read from the disk: {error}"
        return Outcome.STORED, ""


def outcome_of(error: ClientError) -> Outcome:
    """What a failed call means for what was to be sent. Nothing here lets anything be deleted without a signature."""
    match error:
        case StreamRevoked():
            return Outcome.ERASED if error.hours else Outcome.REVOKED
        case Unreachable():
            return Outcome.LATER
        case OutOfOrder():
            return Outcome.STUCK
        case Refused():
            return Outcome.LATER if error.retryable else Outcome.STUCK
        case _:
            return Outcome.NOT_THE_COLLECTOR
