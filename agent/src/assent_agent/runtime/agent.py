"""The agent: one thread that owns all state, and does what `core.consent` decides.

Everything else only leaves messages: source threads their observations, the custodian's and the uploader's threads
what was answered, the command line and the tray what the person wants. So there is one order of things, and a
withdrawal that was taken from the queue is over before anything else happens.

On the way out (`stop`, SIGTERM) capture ends and what was observed is sealed; then every message that is still there is
handled: what was asked to be forgotten is forgotten even then. At last the streams are ended.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, Protocol, assert_never

from assent.contracts import limits
from assent.contracts.envelope import Envelope, StatementInvalid, read_unverified
from assent.contracts.events import GapReason
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.statements import News, Notification, Receipt, StreamWanted
from assent.contracts.times import add_days, day_of, moment, parse_hour, parse_moment
from assent_agent.core import consent, uploads
from assent_agent.core.consent import ConsentEvent, ConsentState, Trouble, Why
from assent_agent.core.exclusion import policy
from assent_agent.core.inviting import Invited, TookBack, may_invite
from assent_agent.core.narrowing import Narrowing
from assent_agent.core.recorder import SECOND_NS, Draft, Instant, Recorder
from assent_agent.core.status import SENTENCES, tell
from assent_agent.core.telling import Told, due
from assent_agent.ports import (
    Access,
    AccessesView,
    AgentClock,
    Capture,
    CaptureUnavailable,
    ConsentSwitched,
    ConsentView,
    ForgetAsked,
    Indicator,
    IndicatorState,
    Intention,
    Page,
    PageAsked,
    PauseAsked,
    QuitAsked,
    RecordingsView,
    ResumeAsked,
    SecretStore,
    SecretsUnavailable,
    Seen,
    StatusFacts,
    ToldView,
)
from assent_agent.runtime.accesses import AccessBook
from assent_agent.runtime.control import Answer, Question
from assent_agent.runtime.home import (
    AgentHome,
    HomeDamaged,
    QueuedWithdrawal,
    Switch,
    nothing_withdrawn,
    told_withdrawals,
    withdrawal_of,
)
from assent_agent.runtime.network import (
    AccessesHeard,
    BatchDone,
    CertificatesCame,
    CustodianFailed,
    CustodianWorker,
    Links,
    LogDoubted,
    Message,
    NewsCame,
    Restated,
    Uploader,
    WithdrawalAnswered,
)
from assent_agent.runtime.session import Session
from assent_agent.settings import AgentSettings
from assent_agent.spool.disk import Disk
from assent_agent.spool.spool import Spool, SpoolFull, StreamClosed

CYCLE_S: Final = 0.2
IDLE_CYCLE_S: Final = 0.5
ASK_S: Final = 25
INVITE_LOOK_NS: Final = 60 * SECOND_NS
RETRY_SOURCE_NS: Final = 10 * SECOND_NS
RETRY_DISK_NS: Final = 60 * SECOND_NS
RETRY_CUSTODIAN_NS: Final = 30 * SECOND_NS
KEEP_ERASURES_NS: Final = 6 * 3600 * SECOND_NS
RENEW_BEFORE: Final = timedelta(hours=12)
TOMORROW_BEFORE: Final = timedelta(hours=6)
BUDGET_RESERVE: Final = 32 * 1024 * 1024
ACCESSES_SHOWN: Final = 200

GAP_REASONS: Final[Mapping[Why, GapReason]] = {
    Why.PAUSED: GapReason.PAUSED,
    Why.HOURS: GapReason.PAUSED,
    Why.NARROWING: GapReason.PAUSED,
    Why.LOCKED: GapReason.LOCKED,
    Why.CLOCK: GapReason.CLOCK,
    Why.LOG: GapReason.PERMISSION,
    Why.DISK: GapReason.DROPPED,
    Why.SOURCE: GapReason.PERMISSION,
}


FAILURES: Final = (OSError, SecretsUnavailable, HomeDamaged)
"""What may go wrong with a wish through no fault of the program."""

WRONG_PROOF: Final = (
    "What the custodian gave as proof of an access to your recordings is none. 'Who accessed' in the menu says which; "
    "tell the works council."
)

END_OF_TIME_NS: Final = 2**63 - 1


class NothingDone(Exception):
    """The wish makes no sense as things stand; the message says why."""


class CaptureMaker(Protocol):
    def __call__(self) -> Capture:
        """The sources of this desktop, or of a replay. Raises CaptureUnavailable."""


@dataclass(frozen=True)
class _Asked:
    question: Question
    answer: Future[Answer] = dataclass_field(repr=False)


@dataclass(frozen=True)
class _Stop:
    pass


_Inbox = Message | _Asked | Intention | _Stop


@dataclass
class _Run:
    """The streams of one receipt, while this process lives."""

    record: str
    recorder: Recorder
    streams: dict[tuple[Modality, str], str] = dataclass_field(default_factory=dict)


class Agent:
    """One agent of one person on one device. `run` blocks until `stop`.

    `indicator` None: nothing of a desktop is captured (a replay), so there is nothing to indicate.
    """

    def __init__(
        self,
        *,
        home: AgentHome,
        settings: AgentSettings,
        device: SigningKey,
        secrets: SecretStore,
        make_capture: CaptureMaker,
        indicator: Indicator | None,
        clock: AgentClock,
        links: Links,
        random: Random,
        disk: Disk | None = None,
        on_quit: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens the spool, which recovers what an earlier run left. Raises OSError, SecretsUnavailable, NotEnrolled."""
        self._home = home
        self._settings = settings
        self._device = device
        self._person = home.identity().person
        self._make_capture = make_capture
        self._indicator = indicator
        self._clock = clock
        self._random = random
        self._on_quit = on_quit
        self._inbox: queue.SimpleQueue[_Inbox] = queue.SimpleQueue()
        self._later: deque[ConsentEvent] = deque()
        self._state = ConsentState()
        self._shown = ConsentState()
        self._narrowing: Narrowing | None = None
        """What the person took away; None: not known, and then nothing is recorded."""
        self._capture: Capture | None = None
        now = self._now()
        self.spool = Spool(
            home.spool,
            secrets,
            now=now.wall,
            hold=timedelta(seconds=settings.hold_s),
            disk=disk,
            reserve_bytes=settings.reserve_bytes,
        )
        self._links = links
        self._custodian = CustodianWorker(links, self._inbox.put)
        self._uploader = Uploader(self.spool, links, self._inbox.put, self._wall, random)
        self._run: _Run | None = None
        self._session: Session | None = None
        self._schedule = uploads.first(timedelta(seconds=settings.upload_interval_s), now.wall, random)
        self._sending = False
        self._clocks = (now.wall_ns, clock.elapsed_ns())
        self._stepped = False
        self._next: dict[str, int] = {}
        self._asking: set[str] = set()
        self._capture_began_ns = now.t_ns
        self._news_at: str | None = None
        self._custodian_trouble = ""
        self._upload_trouble = ""
        self._log_trouble = ""
        self._notifications: tuple[Notification, ...] = ()
        self._book = AccessBook(home.accesses)
        self._hearing: tuple[Notification, ...] | None = None
        self._heard: tuple[Notification, ...] | None = None
        self._showing: tuple[Told, ...] = ()
        self._asks_anew: tuple[str, ...] = ()
        self._unqueued: list[consent.QueueWithdrawal] = []
        self._unsaved_pause = False
        self._own_trouble = ""
        self._steps: list[tuple[int, int]] = []
        self._sealed: Counter[Modality] = Counter()
        self._ended = threading.Event()

    # --- from other threads -----------------------------------------------------------------------

    def stop(self) -> None:
        """End in good order; returns at once."""
        self._inbox.put(_Stop())

    def intend(self, intention: Intention) -> None:
        """What the person wants, from the tray; returns at once."""
        self._inbox.put(intention)

    def ask(self, question: Question) -> Answer:
        """What the person wants, from the command line; returns when it was done."""
        asked = _Asked(question, Future())
        self._inbox.put(asked)
        for _ in range(ASK_S * 2):
            try:
                return asked.answer.result(timeout=0.5)
            except TimeoutError:
                if self._ended.is_set() and not asked.answer.done():
                    return {"ok": False, "error": "The agent has ended.", "ended": True}
        return {"ok": False, "error": "The agent is busy; it will still do it."}

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Own the state until stopped. Whatever goes wrong, capture is over when this returns or raises."""
        try:
            self._begin()
            stopping = False
            while not stopping:
                cycle_s = CYCLE_S if self._session is not None else IDLE_CYCLE_S
                try:
                    stopping = self._handle(self._inbox.get(timeout=cycle_s))
                    while not stopping:
                        stopping = self._handle(self._inbox.get_nowait())
                except queue.Empty:
                    pass
                if not stopping:
                    self._cycle()
        finally:
            self._later.clear()
            self._end()

    def _begin(self) -> None:
        if self._indicator is None:
            self._step(consent.IndicatorShown())
        try:
            self._finish_withdrawals()
            receipt = self._home.held_receipt()
            switch = self._home.switch()
        except HomeDamaged as error:
            self._own_trouble = str(error)
            receipt, switch = None, self._home.switch()
        if self._links.contradiction is not None:
            self._doubt_log(self._links.contradiction)
        self._step(consent.HourTold(self._hour_allowed(self._wall())))
        if switch.paused:
            until = None if switch.paused_until is None else parse_moment(switch.paused_until)
            self._step(consent.Paused(until))
        if receipt is not None:
            self._give(receipt)
        if switch.on:
            self._step(consent.SwitchedOn())

    def _finish_withdrawals(self) -> None:
        """A withdrawal that was written down is carried out, whatever interrupted it."""
        stored = self._home.receipt()
        pending = [queued for queued in self._home.withdrawals() if queued.stored.confirmation is None]
        for queued in pending:
            self._custodian.deliver(queued)
        self._hurry("withdrawal", RETRY_CUSTODIAN_NS)
        if stored is None:
            return
        held = self._home.held_receipt()
        if held is None:
            self.spool.destroy()
            self._home.drop_receipt()
        else:
            self.spool.destroy(frozenset(Modality) - held.modalities)

    def _end(self) -> None:
        self._step(consent.Ended())
        self._handle_the_rest()
        if self._run is not None:
            self._end_streams(self._run, before=None)
        if self._capture is not None:
            self._capture.close()
        self._uploader.close()
        self._custodian.close()
        if self._indicator is not None:
            self._indicator.remove()
        self._handle_the_rest()
        self._ended.set()

    def _handle_the_rest(self) -> None:
        """Capture is over; what the person still asked for is done."""
        while True:
            try:
                self._handle(self._inbox.get_nowait())
            except queue.Empty:
                return

    def _cycle(self) -> None:
        now = self._now()
        self._watch_clock(now)
        if self._session is not None and self._run is not None:
            self._session.pump(self._run.recorder)
            self._seal(self._run.recorder.tick(now))
            if self._session.refused is not None:
                self._capture_began_ns = now.t_ns  # pictures are missed only from when there may be some
            self._watch_session(self._session)
        if self._state != self._shown:
            self._show(now)
        if not self._due("second", SECOND_NS):
            return
        self._step(consent.Ticked(now.wall))
        self._step(consent.HourTold(self._hour_allowed(now.wall)))
        if self._indicator is not None:
            self._step(consent.IndicatorShown() if self._indicator.shown() else consent.IndicatorLost())
        self._retry_troubles()
        self._turn_of_day(now)
        self._renew(now)
        if self._due("news", self._settings.news_interval_s * SECOND_NS):
            self._ask_news()
        if self._due("erasures", KEEP_ERASURES_NS):
            self._custodian.keep_erasures(self._home.keep_erasure_receipts)
        if not self._sending and now.wall >= self._schedule.due:
            self._sending = True
            self._uploader.send()
        self._invite(now)
        self._tell_person(now)
        if self._unsaved_pause:
            self._save_pause()
        for unqueued in list(self._unqueued):
            self._unqueued.remove(unqueued)
            self._queue_withdrawal(unqueued)
        self._show(now)

    def _handle(self, message: _Inbox) -> bool:
        """Handle one message; True means stop."""
        match message:
            case _Stop() | QuitAsked():
                if isinstance(message, QuitAsked):
                    self._on_quit()
                return True
            case _Asked():
                message.answer.set_result(self._answer(message.question))
            case NewsCame():
                self._told_news(message.news, message.asked)
            case CertificatesCame():
                self._told_certificates(message)
            case WithdrawalAnswered():
                self._told_confirmed(message)
            case Restated():
                self._asking.discard("restate")
                self._hurry("news", 0)
            case AccessesHeard():
                self._asking.discard("accesses")
                self._heard = self._hearing if message.complete else None
            case CustodianFailed():
                self._asking.discard(message.what)
                self._custodian_trouble = message.sentence
                self._hurry(message.what, RETRY_CUSTODIAN_NS)
            case LogDoubted():
                self._doubt_log(message.sentence)
            case BatchDone():
                self._told_batch(message)
            case PauseAsked() | ResumeAsked() | ForgetAsked() | ConsentSwitched() | PageAsked() | Seen():
                self._wanted(message)
            case _:
                assert_never(message)
        return False

    def _wanted(self, message: PauseAsked | ResumeAsked | ForgetAsked | ConsentSwitched | PageAsked | Seen) -> None:
        """What was clicked. What fails is told, and ends nothing."""
        self._own_trouble = ""
        try:
            match message:
                case PauseAsked():
                    self._pause(message.seconds)
                case ResumeAsked():
                    self._resume()
                case ForgetAsked():
                    self._forget(timedelta(minutes=message.minutes))
                case ConsentSwitched():
                    if message.on:
                        self._switch_on()
                    else:
                        self._withdraw(frozenset(), frozenset())
                case PageAsked():
                    self._open(message.page)
                case Seen():
                    self._book.saw(message.ids)
                case _:
                    assert_never(message)
        except FAILURES as error:
            self._own_trouble = f"It could not be done: {error}"

    # --- what consent decides -----------------------------------------------------------------------

    def _step(self, event: ConsentEvent) -> None:
        """Take the event to the state machine, and do what it says, in its order."""
        self._later.append(event)
        if len(self._later) > 1:
            return
        failed: list[Exception] = []
        while self._later:
            self._state, effects = consent.step(self._state, self._later[0])
            for effect in effects:
                try:
                    self._perform(effect)
                except Exception as error:  # what must be destroyed is destroyed, whatever fails before it
                    failed.append(error)
            self._later.popleft()
        if failed:
            raise failed[0]

    def _perform(self, effect: consent.Effect) -> None:
        match effect:
            case consent.StopCapture():
                self._stop_capture(effect.why, effect.discard)
            case consent.StartCapture():
                self._start_capture(effect)
            case consent.QueueWithdrawal():
                self._queue_withdrawal(effect)
            case consent.DestroySpool():
                self._destroy(effect.modalities)
            case consent.WantCertificates():
                self._hurry("certificates", 0)
                self._hurry("news", 0)
            case _:
                assert_never(effect)

    def _start_capture(self, effect: consent.StartCapture) -> None:
        if self._run is None or self._state.receipt is None:
            return
        try:
            if self._capture is None:
                self._capture = self._make_capture()
            session = Session(self._capture, self._rules(), self._settings)
            self._run.recorder.only(effect.modalities)
            self._run.recorder.start(self._now(), stepped=self._stepped)
            self._stepped = False
            session.start(effect.modalities, effect.keyboard_mode, self._run.recorder)
        except CaptureUnavailable as error:
            self._seal(self._run.recorder.stop(self._now(), GapReason.PERMISSION))
            self._custodian_trouble = str(error)
            self._later.append(consent.TroubleBegan(Trouble.SOURCE))
            self._hurry("source", RETRY_SOURCE_NS)
            return
        self._session = session
        self._capture_began_ns = self._now().t_ns

    def _stop_capture(self, why: Why, discard: frozenset[Modality] | None) -> None:
        session, self._session = self._session, None
        if self._run is None:
            return
        recorder = self._run.recorder
        if session is not None:
            session.stop(None if discard is None else recorder)
        drafts = recorder.stop(self._now(), GAP_REASONS.get(why, GapReason.PERMISSION))
        if discard is not None:
            self._seal([draft for draft in drafts if draft.modality not in discard])

    def _queue_withdrawal(self, effect: consent.QueueWithdrawal) -> None:
        withdrawal = withdrawal_of(self._person, effect.record, effect.modalities, effect.purposes, self._wall())
        try:
            queued = self._home.queue_withdrawal(withdrawal, self._device)
        except OSError:
            # No room even for this: destroying makes some. It is tried again every second, and nothing is recorded.
            self._unqueued.append(effect)
            return
        self._custodian.deliver(queued)

    def _destroy(self, modalities: frozenset[Modality] | None) -> None:
        try:
            self.spool.destroy(modalities)
            if self._state.receipt is None and not self._unqueued:
                self._home.note(TookBack(self._wall()))
                self._home.drop_receipt()
                self._home.save_switch(Switch())
        except (OSError, SecretsUnavailable):
            # What remains is tried again at the next start: a queued withdrawal is carried out before anything else.
            self._later.append(consent.TroubleBegan(Trouble.DISK))
        if self._run is not None:
            for key in [k for k in self._run.streams if modalities is None or k[0] in modalities]:
                del self._run.streams[key]
            if modalities is None:
                self._run = None

    # --- receipts and certificates -------------------------------------------------------------------

    def _give(self, receipt: consent.HeldReceipt) -> None:
        if receipt.record != self._record():
            self._asks_anew = ()
        if self._run is not None and self._run.record != receipt.record:
            self._step(consent.SwitchedOff())
            self._end_streams(self._run, before=None)
            self._run = None
            if self._home.switch().on:
                self._step(consent.SwitchedOn())
        if self._run is None:
            self._run = _Run(receipt.record, Recorder(receipt.modalities))
        self._step(consent.ReceiptGiven(receipt, self._wall()))

    def _rules(self) -> Any:
        stored = self._home.receipt()
        if stored is None or self._narrowing is None:
            return policy(())
        own = self._narrowing.applications
        return policy(
            stored.application_list.allow,
            denied={*stored.application_list.deny, *own},
            taken_away=own,
            monitors=self._narrowing.monitors,
        )

    def _record(self) -> str | None:
        return None if self._state.receipt is None else self._state.receipt.record

    def _renew(self, now: Instant) -> None:
        """Ask for the certificates that are missing, or end within twelve hours."""
        receipt, run = self._state.receipt, self._run
        if receipt is None or run is None or not self._state.switched_on or self._state.halted is not None:
            return
        if self._state.revoked:
            return
        if "certificates" in self._asking or not self._due("certificates", RETRY_CUSTODIAN_NS):
            return
        today = day_of(now.wall)
        days = [today]
        if day_of(now.wall + TOMORROW_BEFORE) != today:
            days.append(add_days(today, 1))
        wanted: list[tuple[StreamWanted, SigningKey]] = []
        for day in days:
            for modality in sorted(receipt.modalities):
                stream = run.streams.get((modality, day))
                certificate = None if stream is None else self.spool.certificate(stream)
                key = None if stream is None else self.spool.stream_key(stream)
                if stream is None or certificate is None or key is None:
                    key = SigningKey.generate()
                    wanted.append((StreamWanted(stream_key=key.public.text, modality=modality, day=day), key))
                    continue
                ends = parse_hour(certificate.record_until)
                if ends - now.wall < RENEW_BEFORE and ends < _midnight_after(day):
                    want = StreamWanted(stream_key=key.public.text, modality=modality, day=day, stream=stream)
                    wanted.append((want, key))
        if wanted:
            self._asking.add("certificates")
            self._custodian.ask_certificates(wanted[: limits.MAX_STREAMS_PER_ASK], receipt.record)

    def _told_certificates(self, message: CertificatesCame) -> None:
        self._asking.discard("certificates")
        self._custodian_trouble = message.answer.refusal or ""
        self._compare_clock(message.answer.now)
        run = self._run
        if run is None or message.asked != run.record or self._record() != run.record:
            return
        now = self._wall()
        for (want, key), certificate in zip(message.wanted, message.answer.certificates, strict=True):
            if certificate is None:
                continue
            try:
                if want.stream is None:
                    run.streams[want.modality, want.day] = self.spool.open_stream(certificate.envelope, key, now)
                else:
                    self.spool.extend(certificate.envelope, now)
            except (OSError, SecretsUnavailable, StreamClosed, StatementInvalid):
                self._later_trouble(Trouble.DISK, RETRY_DISK_NS)
        self._hold_certificates()

    def _hold_certificates(self) -> None:
        """Tell the state machine until when each modality may be recorded, by the certificates that are here."""
        now, run = self._wall(), self._run
        until: list[tuple[Modality, datetime]] = []
        today = day_of(now)
        for modality in sorted(Modality) if run is not None else ():
            end = self._stream_end(modality, today)
            if end is not None and end >= _midnight_after(today):
                end = max(end, self._stream_end(modality, add_days(today, 1)) or end)
            if end is not None:
                until.append((modality, end))
        self._step(consent.CertificatesHeld(tuple(until), now))

    def _stream_end(self, modality: Modality, day: str) -> datetime | None:
        """When recording into the stream of that day must have ended."""
        stream = None if self._run is None else self._run.streams.get((modality, day))
        certificate = None if stream is None else self.spool.certificate(stream)
        if stream is None or certificate is None or self.spool.budget_left(stream) < BUDGET_RESERVE:
            return None
        return min(parse_hour(certificate.record_until), _midnight_after(day))

    def _turn_of_day(self, now: Instant) -> None:
        """After midnight (UTC) the streams of the day before are complete."""
        if self._run is not None:
            yesterday = day_of(now.wall - timedelta(minutes=1))
            self._end_streams(self._run, before=yesterday)
        if self._state.certificates:
            self._hold_certificates()

    def _end_streams(self, run: _Run, before: str | None) -> None:
        for key in [k for k in run.streams if before is None or k[1] < before]:
            self._end_stream(run, key)

    def _end_stream(self, run: _Run, key: tuple[Modality, str]) -> None:
        try:
            self.spool.end(run.streams.pop(key), self._wall())
        except (OSError, SecretsUnavailable):
            # It is ended as `crashed` at the next start.
            return

    def _seal(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            run = self._run
            stream = None if run is None else run.streams.get((draft.modality, draft.hour[:10]))
            try:
                if stream is None:
                    raise StreamClosed(draft.modality.value)
                self.spool.seal(stream, draft, self._wall())
                self._sealed[draft.modality] += len(draft.events)
            except (SpoolFull, StreamClosed, OSError) as error:
                if run is not None:
                    now_ns = self._now().t_ns
                    count = len(draft.events)
                    run.recorder.missed(draft.modality, GapReason.DROPPED, now_ns, now_ns, count)
                if not isinstance(error, StreamClosed):
                    self._later_trouble(Trouble.DISK, RETRY_DISK_NS)
                elif run is not None and stream is not None:
                    # Its files were in doubt after a failed write: it is complete as it is, and a new one begins.
                    self._end_stream(run, (draft.modality, draft.hour[:10]))

    # --- what was answered --------------------------------------------------------------------------

    def _ask_news(self) -> None:
        if "news" not in self._asking:
            self._asking.add("news")
            self._custodian.ask_news(self._record())

    def _told_news(self, news: News, asked: str | None) -> None:
        self._asking.discard("news")
        self._custodian_trouble = ""
        self._news_at = news.now
        self._notifications = news.notifications
        self._asks_anew = news.asks_anew
        now = parse_moment(news.now)
        if news.revoked:
            self._step(consent.DeviceRevoked())
        self._step(consent.HaltLifted() if news.halted is None else consent.HaltTold(news.halted))
        self._told_ended(frozenset(news.ended))
        self._keep_erasures(news.erasures)
        if not news.revoked:
            self._hear_of_accesses(news)
        # One that was restored and asks this device does not know itself what is live.
        if asked is not None and asked == self._record() and not news.restate and not news.revoked:
            left = {live.record: frozenset((c.modality, c.purpose) for c in live.left) for live in news.live}
            self._step(consent.LiveReceiptsTold(left))
        self._compare_clock(now)
        if news.restate and "restate" not in self._asking:
            self._asking.add("restate")
            self._custodian.restate(
                lambda: self._home.standing(self._person, self._wall()),
                lambda: self._home.kept_erasures(self._wall()),
            )

    def _hear_of_accesses(self, news: News) -> None:
        """Keep what the news tells, at once; what it leaves out, and the proofs, are fetched, until they are here."""
        try:
            self._book.note(news.notifications)
        except OSError as error:
            self._custodian_trouble = f"What you are told of accesses could not be kept here: {error.strerror}"
        if "accesses" not in self._asking and (news.notifications != self._heard or self._book.awaits_proof()):
            self._asking.add("accesses")
            self._hearing = news.notifications
            self._custodian.hear_accesses(self._book, news.now[:10])

    def _doubt_log(self, sentence: str) -> None:
        """Nothing is recorded where somebody may be hiding who reads it. Withdrawing goes on."""
        self._log_trouble = sentence
        self._step(consent.TroubleBegan(Trouble.LOG))

    def _keep_erasures(self, signed: tuple[Envelope, ...]) -> None:
        try:
            self._home.keep_erasures(signed)
        except OSError as error:
            self._custodian_trouble = f"What you had erased could not be noted here: {error.strerror}"

    def _told_ended(self, ended: frozenset[str]) -> None:
        """The custodian signed that these ended; an end is for ever, so it does not matter when it was asked.

        Nothing is destroyed while a receipt that has not ended is saved here: it was given meanwhile, and what is here
        may be its own.
        """
        try:
            stored = self._home.receipt()
        except HomeDamaged as error:
            self._custodian_trouble = str(error)
            return
        saved = None if stored is None else read_unverified(stored.receipt, Receipt).record
        held = self._record() or saved
        if held is None or held not in ended:
            return
        if saved is not None and saved not in ended:
            self._adopt_receipt()
            return
        self._step(consent.ReceiptEnded(held))
        self._hurry("erasures", 0)

    def _compare_clock(self, custodian: datetime) -> None:
        self._step(consent.ClockCompared((custodian - self._wall()).total_seconds()))

    def _told_confirmed(self, message: WithdrawalAnswered) -> None:
        self._asking.discard("withdrawal")
        try:
            self._home.confirm_withdrawal(message.queued, message.confirmation)
            self._hurry("erasures", 0)
        except OSError:
            self._hurry("withdrawal", RETRY_CUSTODIAN_NS)

    def _told_batch(self, message: BatchDone) -> None:
        self._sending = False
        now = self._wall()
        self._schedule = uploads.after_batch(self._schedule, now, self._random, succeeded=message.succeeded)
        self._upload_trouble = message.sentence
        if message.revoked and self._run is not None:
            gone = set(message.revoked)
            for key in [k for k, stream in self._run.streams.items() if stream in gone]:
                del self._run.streams[key]
            self._hold_certificates()

    # --- watching -------------------------------------------------------------------------------------

    def _watch_clock(self, now: Instant) -> None:
        """Compare the wall clock with the one that nobody can set (and that counts sleep)."""
        elapsed_ns = self._clock.elapsed_ns()
        step_ns = (now.wall_ns - self._clocks[0]) - (elapsed_ns - self._clocks[1])
        self._clocks = (now.wall_ns, elapsed_ns)
        if abs(step_ns) > SECOND_NS:
            self._stepped = True
            self._steps.append((elapsed_ns, step_ns))
            timed = self._state.pause
            self._step(consent.ClockStepped(step_ns / SECOND_NS))
            if timed != self._state.pause:
                self._save_pause()
            self._hurry("news", 0)

    def _watch_session(self, session: Session) -> None:
        if session.locked and not self._state.locked:
            self._step(consent.Locked())
            self._hurry("unlock", 0)
            return
        failure = session.capture.input.health().failure
        if failure:
            self._custodian_trouble = failure
            self._step(consent.TroubleBegan(Trouble.SOURCE))
            self._hurry("source", RETRY_SOURCE_NS)

    def _retry_troubles(self) -> None:
        if Trouble.LOG in self._state.troubles and self._links.contradiction is None:
            self._log_trouble = ""
            self._step(consent.TroubleEnded(Trouble.LOG))
        if Trouble.SOURCE in self._state.troubles and self._due("source", RETRY_SOURCE_NS):
            self._step(consent.TroubleEnded(Trouble.SOURCE))
        if Trouble.DISK in self._state.troubles and self._due("disk", RETRY_DISK_NS) and self.spool.has_room():
            self._step(consent.TroubleEnded(Trouble.DISK))
        if self._state.locked and self._due("unlock", 2 * SECOND_NS):
            self._look_for_unlock()
        if "withdrawal" not in self._asking and self._due("withdrawal", RETRY_CUSTODIAN_NS):
            for queued in self._pending_withdrawals()[:1]:
                self._asking.add("withdrawal")
                self._custodian.deliver(queued)

    def _look_for_unlock(self) -> None:
        """While locked nothing runs but this question."""
        if self._capture is None:
            return
        views: list[bool] = []
        try:
            self._capture.windows.start(lambda view: views.append(view.locked))
            locked = self._capture.windows.view().locked
        except CaptureUnavailable:
            return
        finally:
            self._capture.windows.stop()
        if not locked:
            self._step(consent.Unlocked())

    def _pending_withdrawals(self) -> list[QueuedWithdrawal]:
        try:
            return [queued for queued in self._home.withdrawals() if queued.stored.confirmation is None]
        except HomeDamaged:
            return []

    # --- what the person wants ------------------------------------------------------------------------

    def _answer(self, question: Question) -> Answer:
        try:
            wish = _wish(question)
        except (ValueError, KeyError, TypeError):
            return {"ok": False, "error": "The agent does not understand this question."}
        try:
            return {"ok": True, **wish(self)}
        except NothingDone as error:
            return {"ok": False, "error": str(error)}
        except FAILURES as error:
            return {"ok": False, "error": f"It could not be done: {error}"}

    def _send_now(self) -> None:
        self.spool.release_hold()
        self._schedule = uploads.asked_for(self._schedule, self._wall())

    def _adopt_receipt(self) -> None:
        """Consent was given on this device: the receipt that is saved here is the one in force."""
        receipt = self._home.held_receipt()
        if receipt is not None:
            self._give(receipt)
        if self._home.switch().on:
            self._step(consent.SwitchedOn())

    def _switch_on(self) -> None:
        """With consent, this device's switch; without, the page where it is given."""
        if self._state.receipt is None:
            self._open(Page.CONSENT)
            return
        self._home.save_switch(self._home.switch().model_copy(update={"on": True}))
        self._step(consent.SwitchedOn())

    def _invite(self, now: Instant) -> None:
        """Show the offer to somebody who was never asked, or not for long. Offline, halted or in doubt: not now."""
        asks = self._indicator is not None and self._state.indicator and self._state.clock_sane
        if not asks or self._news_at is None or self._state.halted is not None or self._state.receipt is not None:
            return
        if not self._due("invitation", INVITE_LOOK_NS):
            return
        try:
            if self._home.receipt() is not None or not may_invite(self._home.inviting(), now.wall):
                return
            self._home.note(Invited(now.wall))  # before it is shown: who was not told twice is not asked twice
        except (OSError, HomeDamaged):
            return
        if self._indicator is not None:
            self._indicator.open(ConsentView(by_itself=True))

    def _withdraw(self, modalities: frozenset[Modality], purposes: frozenset[str]) -> None:
        """Withdraw; also from a receipt that has expired, since what it covered is still there, and from one that was
        saved here a moment ago."""
        try:
            saved = self._home.held_receipt()
        except HomeDamaged:
            # In doubt about what stands, all of it goes.
            if self._record() is None:
                self._queue_withdrawal(consent.QueueWithdrawal(self._home.record()))
            self._step(consent.Withdrawn())
            return
        standing = [held for held in (self._state.receipt, saved) if held is not None]
        if standing and not any(held.covers_any(modalities, purposes) for held in standing):
            raise NothingDone(nothing_withdrawn(modalities, purposes))
        if saved is not None and saved.record != self._record():
            self._queue_withdrawal(consent.QueueWithdrawal(saved.record, modalities, purposes))
        self._step(consent.Withdrawn(modalities, purposes))

    def _withdrawn(self, modalities: frozenset[Modality], purposes: frozenset[str]) -> Answer:
        """Withdraw, and tell what is left, and whether anything was there."""
        before = self._state.receipt is not None or self._home.record() is not None
        self._withdraw(modalities, purposes)
        left = sorted(f"{m.value} for {p}" for m, p in self._state.receipt.choices) if self._state.receipt else []
        return {**self._status(self._now()), "withdrawn": before, "left": left, "written_down": not self._unqueued}

    def _pause(self, seconds: int | None) -> None:
        until = None if seconds is None else self._wall() + timedelta(seconds=max(1, seconds))
        self._step(consent.Paused(until))
        self._save_pause()

    def _hour_allowed(self, wall: datetime) -> bool | None:
        """None while it is unknown what the person took away: the file is looked at again until it can be read."""
        if self._narrowing is None:
            try:
                self._narrowing = self._home.narrowing()
            except (OSError, HomeDamaged):
                return None
        return self._narrowing.within(wall.astimezone())

    def _narrow(self) -> None:
        """What the person took away was changed here: capture begins anew under it."""
        self._narrowing = None
        self._step(consent.HourTold(allowed=False))
        self._step(consent.HourTold(self._hour_allowed(self._wall())))

    def _resume(self) -> None:
        self._step(consent.Resumed())
        self._save_pause()

    def _save_pause(self) -> None:
        """Keep the pause for the next start; where that cannot be done, it is tried again every second."""
        pause = self._state.pause
        until = None if pause is None or pause.until is None else moment(pause.until.astimezone(UTC))
        try:
            on = self._home.switch().on
            self._home.save_switch(Switch(on=on, paused=pause is not None, paused_until=until))
        except OSError as error:
            self._unsaved_pause = True
            self._own_trouble = f"It is done, but cannot be written down, and would not survive a restart: {error}"
            return
        if self._unsaved_pause:
            self._unsaved_pause, self._own_trouble = False, ""

    def _forget(self, last: timedelta) -> tuple[int, int]:
        """Destroy what was recorded in the last while: what is not sealed yet, and what is held.

        Whatever is stamped later goes, too: the clock was ahead then. What was stamped by a clock that was behind goes
        when it was put right in that while.
        """
        now = self._now()
        run, session = self._run, self._session
        if run is not None and session is not None:
            session.stop(None)
            run.recorder.stop(now, GapReason.PAUSED)
            self._session = None
        last_ns = int(last.total_seconds() * SECOND_NS)
        steps = sum(step_ns for at_ns, step_ns in self._steps if self._clock.elapsed_ns() - at_ns <= last_ns)
        result = self.spool.forget(now.wall_ns - last_ns - max(0, steps), END_OF_TIME_NS, now.wall)
        if run is not None and session is not None and self._state.receipt is not None:
            self._start_capture(consent.StartCapture(self._state.capturing, self._state.receipt.keyboard_mode))
            self._drain_later()
        return result.segments, result.out_of_reach

    # --- what the person sees -------------------------------------------------------------------------

    def _open(self, page: Page) -> None:
        if self._indicator is None:
            return
        match page:
            case Page.CONSENT:
                self._indicator.open(ConsentView())
            case Page.RECORDINGS:
                self._indicator.open(RecordingsView(self._held_minutes()))
            case Page.ACCESSES:
                as_of = None if self._news_at is None else parse_moment(self._news_at)
                told = self._book.told()[:ACCESSES_SHOWN]
                self._indicator.open(AccessesView(_accesses(told), as_of, str(self._book.folder)))
                self._book.saw([one.id for one in told])
            case _:
                assert_never(page)

    def _tell_person(self, now: Instant) -> None:
        """Show what they are to be told now, until they have seen it."""
        if self._indicator is None:
            return
        told = due(self._book.told(), day_of(now.wall))
        if told != self._showing:
            self._showing = told
            self._indicator.open(ToldView(_accesses(told), tuple(one.id for one in told)))

    def _show(self, now: Instant) -> None:
        """Tell the indicator: every second, since facts grow old, and at once when something changed."""
        self._shown = self._state
        if self._indicator is None:
            return
        told = self._tell(now)
        session = self._session
        pause = self._state.pause
        self._indicator.show(
            StatusFacts(
                state=IndicatorState(told.state),
                consented=self._state.receipt is not None,
                modalities=tuple(sorted(m.value for m in self._state.permitted)),
                arrived_s=self._arrived(now),
                paused_until="" if pause is None or pause.until is None else pause.until.astimezone().strftime("%H:%M"),
                excluded_now=session is not None and session.excluded_now,
                because="" if told.state == "recording" else told.sentence,
                locked=self._state.why is Why.LOCKED,
                notice=self._own_trouble,
                held_minutes=self._held_minutes(),
                switched_off=self._state.receipt is not None and not self._state.switched_on,
            )
        )

    def _held_minutes(self) -> int:
        return len({held.from_ns for held in self.spool.held.all()}) * (limits.SEGMENT_RHYTHM_S // 60)

    def _tell(self, now: Instant) -> Any:
        session = self._session
        return tell(
            self._state,
            arrived_ns={} if session is None else session.arrived_ns,
            failure="" if session is None else session.failure,
            asking=bool(self._asking & {"news", "certificates"}) and not self._custodian_trouble,
            started_ns=self._capture_began_ns,
            now_ns=now.t_ns,
            asked_anew=bool(self._asks_anew),
            monitors=None if session is None else session.refused,
        )

    def _arrived(self, now: Instant) -> dict[str, float]:
        arrived = {} if self._session is None else self._session.arrived_ns
        return {m.value: round((now.t_ns - t_ns) / SECOND_NS, 1) for m, t_ns in arrived.items()}

    def _status(self, now: Instant) -> Answer:
        """Facts for the command line. Nothing of what was recorded is in it."""
        told = self._tell(now)
        accesses = self._book.told()
        views = self.spool.streams(now.wall)
        items = [(view, number, item) for view in views for number, item in enumerate(view.items)]
        segments = [(v, n) for v, n, item in items if item.name.kind in ("segment", "sending")]
        why = self._state.why
        return {
            "state": told.state,
            "sentence": told.sentence,
            "why": None if why is None else why.value,
            "because": None if why is None else SENTENCES[why],
            "recording": sorted(m.value for m in self._state.capturing),
            "arrived_s": self._arrived(now),
            "receipt": self._record(),
            "valid_until": None if self._state.receipt is None else moment(self._state.receipt.valid_until),
            "asks_anew": list(self._asks_anew),
            "narrowed": [] if self._narrowing is None else list(self._narrowing.words()),
            "paused_until": self._paused_until(),
            "segments_waiting": len(segments),
            "segments_held": sum(n >= view.ready for view, n in segments),
            "next_batch": moment(self._schedule.due.astimezone(UTC)),
            "custodian_asked": self._news_at,
            "custodian_trouble": self._custodian_trouble,
            "upload_trouble": self._upload_trouble,
            "own_trouble": self._own_trouble,
            "log_trouble": self._log_trouble or (WRONG_PROOF if any(one.proof == "wrong" for one in accesses) else ""),
            "events_sealed": {modality.value: count for modality, count in sorted(self._sealed.items())},
            "accesses": sum(one.kind not in ("account", "unmasked") and not one.seen for one in accesses),
            "messages": [n.text for n in self._notifications if n.kind == "account"],
            **told_withdrawals(self._home),
        }

    def _paused_until(self) -> str | None:
        pause = self._state.pause
        if pause is None:
            return None
        return "you resume" if pause.until is None else moment(pause.until)

    # --- small things ---------------------------------------------------------------------------------

    def _now(self) -> Instant:
        """Both clocks; the monotonic one is that which stamps observations."""
        source = self._clock if self._capture is None else self._capture.clock
        return Instant(source.monotonic_ns(), self._clock.wall_ns())

    def _wall(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_ns() / SECOND_NS, UTC)

    def _due(self, what: str, every_ns: int) -> bool:
        """Whether it is time for `what`; if so, the next time is `every_ns` from now."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next.get(what, 0):
            return False
        self._next[what] = now_ns + every_ns
        return True

    def _hurry(self, what: str, in_ns: int) -> None:
        self._next[what] = self._clock.monotonic_ns() + in_ns

    def _later_trouble(self, what: Trouble, retry_ns: int) -> None:
        if what not in self._state.troubles:
            self._hurry(what.value, retry_ns)
            self._later.append(consent.TroubleBegan(what))
            self._drain_later()

    def _drain_later(self) -> None:
        """Outside of `_step`, carry out what was left for later; inside, it will be."""
        if len(self._later) == 1:
            self._step(self._later.popleft())


def _wish(question: Question) -> Callable[[Agent], Answer]:
    """What a question from the command line asks for. Raises ValueError, KeyError or TypeError for anything else."""

    def then_status(act: Callable[[Agent], object]) -> Callable[[Agent], Answer]:
        def do(agent: Agent) -> Answer:
            act(agent)
            return agent._status(agent._now())

        return do

    match question["do"]:
        case "status":
            return then_status(lambda agent: None)
        case "pause":
            seconds = question.get("seconds")
            whole = None if seconds is None else int(seconds)
            return then_status(lambda agent: agent._pause(whole))
        case "resume":
            return then_status(lambda agent: agent._resume())
        case "forget":
            last = timedelta(seconds=float(question["seconds"]))
            return lambda agent: dict(zip(("forgotten", "out_of_reach"), agent._forget(last), strict=True))
        case "send":
            return then_status(lambda agent: agent._send_now())
        case "withdraw":
            modalities = frozenset(Modality(each) for each in question.get("modalities", ()))
            purposes = frozenset(str(each) for each in question.get("purposes", ()))
            return lambda agent: agent._withdrawn(modalities, purposes)
        case "narrowed":
            return then_status(lambda agent: agent._narrow())
        case "given":
            return then_status(lambda agent: agent._adopt_receipt())
        case "stop":
            return then_status(lambda agent: agent.stop())
        case _:
            raise ValueError("unknown question")


def _accesses(told: Sequence[Told]) -> tuple[Access, ...]:
    """As they are shown."""
    return tuple(Access(one.day, one.text, one.approvals, one.kind, one.proof) for one in told)


def _midnight_after(day: str) -> datetime:
    return datetime.fromisoformat(add_days(day, 1)).replace(tzinfo=UTC)
