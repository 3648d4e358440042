"""One person with several devices, the custodian and the collector, under whatever happens, against a small model.

Consent is given, withdrawn (all of it, a modality, a purpose; delivered at once, or days later and in any order), ended
by the data-protection officer and by time; hours, days and everything are erased; devices are added and revoked;
recordings are sealed with and without a network, sent at once or much later; jobs hold leases and ask at any time;
nights run, the programme is halted, services restart, clocks step, and the custodian is restored from a backup.

Nothing is certified, released or stored that the model does not allow; what was withdrawn or erased never opens again;
an end is final; what the person is shown is what is so; and at rest the collector has done what it was told.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.exposure.test_restoring import copy_log
from tests.exposure.world import Installation, Template, of
from tests.simulators.access import AccessWorld, Job
from tests.simulators.consent_model import Given, Made, Model, Sealed, day, hour, take_here
from tests.simulators.custodian import PURPOSE, Member, TestClock, problem, with_leaf
from tests.simulators.inline import InlineClient, witness_beside
from tests.simulators.stories import stories

from assent.client.collector import StreamRevoked
from assent.contracts.envelope import Envelope, sign
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.lists import person_leaf
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import (
    CertificateRequest,
    Choice,
    ConsentEnding,
    Erasure,
    ErasureReceipt,
    HeldWithdrawal,
    News,
    OwnData,
    Standing,
    StreamCertificate,
    StreamWanted,
    Withdrawal,
    WithdrawalConfirmed,
)
from assent.contracts.times import moment, parse_moment
from assent.contracts.wire import (
    CertificatesAnswer,
    ErasureAnswer,
    ErasuresView,
    Offer,
    ReceiptAnswer,
    WithdrawalAnswer,
)
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import DataKey, SealedSegment, parse_header, seal_segment
from assent_custodian import backups
from assent_custodian.keys.models import Stream
from assent_custodian.night import run_night
from assent_custodian.restoring import databases, logs
from assent_custodian.restoring.catching_up import catch_up

STUDY = "urn:purpose:study"
BOTH = (PURPOSE, STUDY)
KINDS = (Modality.POINTER, Modality.KEYBOARD)
NO_KINDS, NO_PURPOSES = frozenset[Modality](), frozenset[str]()
KIND_SETS = [frozenset(KINDS), *(frozenset({kind}) for kind in KINDS)]
PURPOSE_SETS = [frozenset(BOTH), *(frozenset({purpose}) for purpose in BOTH)]
SKEW_S = 120
BACKUP_DAYS, RETENTION_DAYS = 2, 12
GRANT_DAYS = 29
MOST_DEVICES = 4

DEVICE = st.integers(0, MOST_DEVICES - 1)
ANY = st.integers(0, 1000)
SELDOM = st.sampled_from((False, False, False, True))


@dataclass(frozen=True)
class Wish:
    """What somebody withdraws, with which key: a device's, or `opening`. `which`: of the receipts so far; None: all."""

    device: int
    opening: bool
    which: int | None
    kinds: frozenset[Modality]
    purposes: frozenset[str]
    at_once: bool


WISHES = st.builds(
    Wish,
    device=DEVICE,
    opening=SELDOM,
    which=st.one_of(st.none(), ANY),
    kinds=st.sampled_from([NO_KINDS, NO_KINDS, *KIND_SETS]),
    purposes=st.sampled_from([NO_PURPOSES, NO_PURPOSES, *PURPOSE_SETS]),
    at_once=SELDOM,
)


@dataclass
class Device:
    """`off_s`: how far its clock is ahead. `held`: the withdrawals that it signed and that were delivered."""

    member: Member
    off_s: int = 0
    held: list[HeldWithdrawal] = field(default_factory=list)
    newest: Envelope | None = None


@dataclass
class Signed:
    """A withdrawal or an erasure, and the leaf beside it."""

    statement: Withdrawal | Erasure
    envelope: Envelope
    leaf: str
    device: int | None

    @property
    def body(self) -> bytes:
        return with_leaf(self.envelope, self.leaf)


@dataclass
class Reading:
    """A job with a lease, of the grant or of the person."""

    job: Job
    own: bool
    until: datetime
    streams: set[str]
    ended: bool = False


@dataclass(frozen=True)
class Original:
    """What every story begins with: eleven people who take part, one of whom it is about, and a granted request."""

    template: Template
    access: AccessWorld
    request: str
    expires: datetime
    second: SigningKey
    offer: Offer


pytestmark = pytest.mark.timeout(1800)  # of which most would be shrinking, and nights are long

ORIGINALS: list[Original] = []


@pytest.fixture(scope="module", autouse=True)
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    installation = Installation.found(
        tmp_path_factory.mktemp("original"), client_for=InlineClient, backup_days=BACKUP_DAYS,
        retention_days=RETENTION_DAYS,
    )  # fmt: skip
    world = installation.world
    with witness_beside(world.witness, world.clock):
        world.add_purpose(STUDY)
        access = AccessWorld(world, 11)
        second = access.people[0].add_key()
        installation.collector.trust.refresh()  # from here on it asks nobody while it answers
        offer, expires = access.people[0].offer(), world.clock() + timedelta(days=GRANT_DAYS)
        request = access.grant(to_day=day(expires + timedelta(days=60)), expires=moment(expires))
        world.clock.forward(hours=3)  # so that it may step back
        ORIGINALS.append(Original(Template(installation), access, request, expires, second, offer))
        yield
    ORIGINALS.clear()
    installation.close()


class ConsentMachine(RuleBasedStateMachine):
    @initialize(backup=SELDOM)
    def begin(self, backup: bool) -> None:
        (original,) = ORIGINALS
        self.stack = ExitStack()
        self.installation, self.folder = self.stack.enter_context(original.template.copied_into_memory())
        self.world = self.installation.world
        self.collector = self.installation.uploader()
        self.stack.callback(self.collector.close)
        self.database = sqlite3.connect(self.folder / "custodian" / "custodian.db")
        self.stack.callback(lambda: self.database.close())  # noqa: PLW0108 - a restore opens another one
        self.clock: TestClock = self.world.clock
        self.earliest = self.now - timedelta(hours=2)  # before, nobody had a role
        self.offer, self.request, self.expires = original.offer, original.request, original.expires
        self.kim, *self.others = [of(member, self.world) for member in original.access.people]
        self.requester = of(original.access.requester, self.world)
        self.devices = [Device(self.kim, newest=self.kim.countersigned), Device(self.kim.on(original.second))]
        self.model = Model(BACKUP_DAYS, RETENTION_DAYS, others_since=self.today)
        self.sealed: dict[str, tuple[SealedSegment, DataKey]] = {}
        self.keys: dict[str, tuple[SigningKey, Envelope, StreamCertificate]] = {}
        self.queued: list[Signed] = []
        self.delivered: dict[str, bytes] = {}
        self.erasures: dict[str, Erasure] = {}
        self.since_backup: list[Signed] = []
        self.readings: list[Reading] = []
        self.backup: Path | None = None
        self.at_backup: tuple[int, set[int], bool] = (0, set(), False)
        self.seen: dict[str, str] = {}
        self._remember_beginning(original)
        if backup:
            self.a_backup_is_made()

    def _remember_beginning(self, original: Original) -> None:
        first = self.kim.receipts[0]
        left = {(choice.modality, choice.purpose) for choice in first.choices}
        at, until = parse_moment(first.at), parse_moment(first.valid_until)
        given = Given(0, first.record, at, set(left), set(left), until)
        self.model.give(given)
        with self.world.custodian.database.reading() as session:
            for one, (certificate, key) in zip(original.access.recorded, original.access.certified, strict=True):
                if one.owner.person != self.kim.person:
                    continue
                envelope = Envelope.from_json(session.get_one(Stream, certificate.stream).certificate)
                made = self._made(0, given, certificate, key, envelope)
                made.segments.append(Sealed(one.segment.id, parse_header(one.segment.header).hour))
                self.sealed[one.segment.id] = (one.segment, one.data_key)

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @property
    def now(self) -> datetime:
        return self.clock()

    @property
    def today(self) -> str:
        return day(self.now)

    def _time_of(self, device: int | None) -> datetime:
        return self.now + timedelta(seconds=0 if device is None else self.devices[device].off_s)

    def _one(self, number: int) -> int:
        """One of the devices there are."""
        return number % len(self.devices)

    # --- the person ---------------------------------------------------------------------------------------------------

    @rule(
        number=DEVICE,
        kinds=st.sampled_from(KIND_SETS),
        purposes=st.sampled_from(PURPOSE_SETS),
        hours=st.integers(1, 400),
        record=st.booleans(),
        send=st.booleans(),
    )
    def give(
        self, number: int, kinds: frozenset[Modality], purposes: frozenset[str], hours: int, record: bool, send: bool
    ) -> None:
        number = self._one(number)
        device, at = self.devices[number], self._time_of(number)
        receipt = replace(device.member, world=_Offers(self.world, self.offer)).receipt(  # type: ignore[arg-type]
            choices=tuple(
                Choice(modality=kind, purpose=purpose, purpose_version=1)
                for purpose in sorted(purposes)
                for kind in sorted(kinds)
            ),
            keyboard_mode=KeyboardMode.SHAPE,
            at=moment(at),
            valid_from=moment(min(at, self.now)),
            valid_until=moment(self.now + timedelta(hours=hours)),
        )
        answer = device.member.send_receipt(receipt)
        if number in self.model.revoked | self.model.lost:
            assert problem(answer) == "not-signed-in"
        elif abs(device.off_s) > SKEW_S:
            assert problem(answer) == "stale"
        elif at <= self.model.barred:
            assert problem(answer) == "refused", "a withdrawal overtook it"
        elif number in self.model.unheard:
            assert answer.status_code in (200, 409), answer.text
            if answer.status_code == 200:
                self._given(number, receipt.record, answer.content, kinds, purposes, hours, at)
        else:
            assert answer.status_code == 200, answer.text
            self._given(number, receipt.record, answer.content, kinds, purposes, hours, at)
            if record:
                self._certify(number, sorted(kinds), self.today, send=send)

    def _given(
        self, number: int, record: str, answer: bytes, kinds: frozenset[Modality], purposes: frozenset[str],
        hours: int, at: datetime,
    ) -> None:  # fmt: skip
        device = self.devices[number]
        device.newest = ReceiptAnswer.parse(answer).receipt
        device.member.previous = device.newest.hash
        left = {(kind, purpose) for kind in kinds for purpose in purposes}
        self.model.give(Given(number, record, at, left, set(left), self.now + timedelta(hours=hours)))

    @rule(wish=WISHES)
    def withdraw(self, wish: Wish) -> None:
        self._deliver(self._withdrawal(wish))

    @rule(wish=WISHES)
    def withdraw_offline(self, wish: Wish) -> None:
        self.queued.append(self._withdrawal(wish))

    def _withdrawal(self, wish: Wish) -> Signed:
        receipts = self.model.receipts
        device = None if wish.opening else self._one(wish.device)
        withdrawal = Withdrawal(
            person=self.kim.person,
            record=None if wish.which is None else receipts[wish.which % len(receipts)].record,
            modalities=tuple(sorted(wish.kinds)),
            purposes=tuple(sorted(wish.purposes)),
            erase="now" if wish.at_once else "after-7-days",
            at=moment(self._time_of(device)),
        )
        return self._signed(withdrawal, device)

    def _signed(self, statement: Withdrawal | Erasure, device: int | None) -> Signed:
        key = self.kim.opening if device is None else self.devices[device].member.device
        envelope = sign(statement, key)
        signed = Signed(statement, envelope, person_leaf(bytes(16), envelope.hash), device)
        if device is not None and isinstance(statement, Withdrawal):
            self.devices[device].held.append(HeldWithdrawal(statement=envelope, leaf=signed.leaf))
            for receipt in self.model.receipts:
                named = receipt.record == statement.record or (
                    statement.record is None and parse_moment(statement.at) >= receipt.at
                )
                if named and receipt.device == device:
                    take_here(receipt, frozenset(statement.modalities), frozenset(statement.purposes))
        return signed

    def _deliver(self, signed: Signed) -> None:
        answer = self._hand_in(signed)
        if signed.device in self.model.lost:
            assert problem(answer) == "not-signed-in"
            return
        assert answer.status_code == 200, answer.text
        first = self.delivered.setdefault(signed.envelope.hash, answer.content)
        if first is not answer.content:  # signed in the same second with the same words, it is the same statement
            assert first == answer.content or self.model.restored, "twice is once"
            return
        self.since_backup.append(signed)
        if isinstance(signed.statement, Withdrawal):
            self._withdrawn(signed.statement, signed.envelope.hash, answer.content)
        else:
            self._erased(signed.statement, signed.envelope.hash, answer.content)

    def _hand_in(self, signed: Signed) -> Response:
        target = "/v1/withdrawals" if isinstance(signed.statement, Withdrawal) else "/v1/erasures"
        return self.world.post(target, signed.body)

    def _withdrawn(self, withdrawal: Withdrawal, of_: str, answer: bytes) -> None:
        named: list[Given] | None = None
        if withdrawal.record is not None:
            newest = next(one for one in self.model.receipts if one.record == withdrawal.record)
            named = self.model.up_to(newest)
        before = {made for made in self.model.streams if made.closed not in (None, "revoked")}
        followed = self.model.withdraw(
            named, frozenset(withdrawal.modalities), frozenset(withdrawal.purposes),
            at=parse_moment(withdrawal.at), now=self.now, of=of_, at_once=withdrawal.erase == "now",
        )  # fmt: skip
        envelope = WithdrawalAnswer.parse(answer).confirmation
        confirmed: WithdrawalConfirmed = self.world.read(envelope, WithdrawalConfirmed)
        assert confirmed.erased_from == followed.erase_on
        if not self.model.restored:
            assert confirmed.streams == len(set(followed.streams) - before)

    @rule(
        number=DEVICE,
        by_the_device=SELDOM,
        what=st.sampled_from(("hours", "hours", "hours", "day", "days", "everything")),
        which=ANY,
        more=st.integers(0, 2),
        kinds=st.sampled_from([NO_KINDS, NO_KINDS, *KIND_SETS]),
        offline=st.booleans(),
    )
    def erase(
        self, number: int, by_the_device: bool, what: str, which: int, more: int, kinds: frozenset[Modality],
        offline: bool,
    ) -> None:  # fmt: skip
        """`which`: of the hours in which something was recorded; `more`: so many after it."""
        number = self._one(number)
        hours = sorted({segment.hour for made in self.model.streams for segment in made.segments})
        first = datetime.fromisoformat(hours[which % len(hours)] + ":00:00+00:00")
        reach: dict[str, Any] = {"everything": True}
        if what == "hours":
            reach = {"hours": tuple(hour(first + timedelta(hours=after)) for after in range(more + 1))}
        elif what != "everything":
            last = first if what == "day" else first + timedelta(days=more)
            reach = {"from_day": day(first), "to_day": day(last)}
        wish = Erasure(
            person=self.kim.person, modalities=tuple(sorted(kinds)), at=moment(self._time_of(number)), **reach
        )
        signed = self._signed(wish, number if by_the_device else None)
        if by_the_device:
            answer = self.world.post("/v1/erasures", signed.body)
            assert problem(answer) in ("forbidden", "not-signed-in"), "only an opening key erases"
        elif offline:
            self.queued.append(signed)
        else:
            self._deliver(signed)

    def _erased(self, wish: Erasure, of_: str, answer: bytes) -> None:
        signed_on, hours = wish.at[:10], None
        first, last = wish.from_day or "0000-00-00", min(wish.to_day or signed_on, signed_on)
        streams = self.model.reached(first, last, frozenset(wish.modalities))
        if wish.hours:
            hours = {}
            for one in wish.hours:
                if one[:10] <= signed_on:
                    hours.setdefault(one[:10], set()).add(one)
            streams = [made for made in streams if made.day in hours]
        self.erasures[of_] = wish
        self.model.erase(streams, hours, of_, self.now)
        requested: ErasureReceipt = self.world.read(ErasureAnswer.parse(answer).receipt, ErasureReceipt)
        if not self.model.restored:
            assert (requested.state, requested.streams) == ("requested", len(streams))

    @precondition(lambda self: self.queued)
    @rule(which=ANY, all_of_them=st.booleans())
    def what_was_signed_offline_arrives(self, which: int, all_of_them: bool) -> None:
        for _ in range(len(self.queued) if all_of_them else 1):
            self._deliver(self.queued.pop(which % len(self.queued)))

    @precondition(lambda self: len(self.model.receipts) > 2)  # before, it would leave little to look at
    @rule(which=ANY, state=st.sampled_from(("terminated", "invalidated")))
    def the_dpo_ends_one(self, which: int, state: str) -> None:
        receipt = self.model.receipts[which % len(self.model.receipts)]
        statement = ConsentEnding(state=state, record=receipt.record, reason="x", nonce=new_id(), at=moment(self.now))  # type: ignore[arg-type]
        assert self.world.dpo.post("/v1/consent/endings", statement).status_code == 200
        self.model.end(receipt, state, self.now, sign(statement, self.world.dpo.opening).hash)  # type: ignore[arg-type]

    @rule(number=st.integers(0, MOST_DEVICES - 1))
    def add_or_revoke_a_device(self, number: int) -> None:
        if number >= len(self.devices):
            self.devices.append(Device(self.kim.on(self.kim.add_key())))
        elif number not in self.model.lost:
            if number in self.model.unheard:  # it will not say again what it holds, and the person hands it in
                for held in self.devices[number].held:
                    body = with_leaf(held.statement, held.leaf)
                    assert self.world.post("/v1/withdrawals", body).status_code == 200
            assert self.kim.revoke(self.devices[number].member.device).status_code == 200
            if number not in self.model.revoked:
                self.model.revoke(number, self.now)

    # --- recording and sending ----------------------------------------------------------------------------------------

    @rule(number=DEVICE, kinds=st.sampled_from(KIND_SETS), tomorrow=SELDOM, send=st.booleans())
    def record(self, number: int, kinds: frozenset[Modality], tomorrow: bool, send: bool) -> None:
        on = day(self.now + timedelta(days=1)) if tomorrow else self.today
        self._certify(self._one(number), sorted(kinds), on, send=send)

    def _certify(self, number: int, kinds: list[Modality], on: str, *, send: bool) -> None:
        keys = [SigningKey.generate() for _ in kinds]
        wanted = [
            StreamWanted(stream_key=key.public.text, modality=kind, day=on)
            for key, kind in zip(keys, kinds, strict=True)
        ]
        envelopes = self._ask_certificates(number, wanted)
        if envelopes is None:
            return
        for kind, key, envelope in zip(kinds, keys, envelopes, strict=True):
            receipt = self.model.may_record(number, kind, on, self.now)
            if envelope is None:
                assert receipt is None or self.model.restored
                continue
            assert receipt is not None, "certified without consent"
            certificate: StreamCertificate = self.world.read(envelope, StreamCertificate)
            assert certificate.record_until <= min(hour(receipt.until), hour(self.now + timedelta(hours=24)))
            made = self._made(number, receipt, certificate, key, envelope)
            self._seal(made)
            if send:
                self._send(made)

    def _ask_certificates(self, number: int, wanted: list[StreamWanted]) -> tuple[Envelope | None, ...] | None:
        device = self.devices[number]
        request = CertificateRequest(nonce=new_id(), at=moment(self._time_of(number)), streams=tuple(wanted))
        answer = self.world.post("/v1/certificates", sign(request, device.member.device).to_json())
        if number in self.model.revoked | self.model.lost:
            assert problem(answer) == "not-signed-in"
            return None
        if abs(device.off_s) > SKEW_S:
            assert problem(answer) == "stale"
            return None
        assert answer.status_code == 200, answer.text
        return CertificatesAnswer.parse(answer.content).certificates

    def _made(
        self, number: int, receipt: Given, certificate: StreamCertificate, key: SigningKey, envelope: Envelope
    ) -> Made:
        made = Made(
            certificate.stream, receipt, number, certificate.modality, certificate.day, certificate.record_until,
            certificate.upload_until,
        )  # fmt: skip
        self.model.streams.append(made)
        self.keys[made.stream] = (key, envelope, certificate)
        return made

    @rule(which=ANY)
    def ask_for_longer(self, which: int) -> None:
        """A later certificate of a stream that there is."""
        made = self.model.streams[which % len(self.model.streams)]
        key, _, _ = self.keys[made.stream]
        wanted = StreamWanted(stream_key=key.public.text, modality=made.modality, day=made.day, stream=made.stream)
        allowed = self.model.may_extend(made, self.now)
        envelopes = self._ask_certificates(made.device, [wanted])
        if envelopes is None:
            return
        assert (envelopes[0] is not None) == allowed or (envelopes[0] is None and self.model.restored)
        if envelopes[0] is not None:
            certificate: StreamCertificate = self.world.read(envelopes[0], StreamCertificate)
            made.record_until = certificate.record_until
            self.keys[made.stream] = (key, envelopes[0], certificate)

    @rule(which=ANY, send=st.booleans())
    def record_more_offline(self, which: int, send: bool) -> None:
        """A device that has heard of nothing goes on until its certificate ends."""
        able = [made for made in self.model.streams if made.day == self.today and hour(self.now) < made.record_until]
        if able:
            made = able[which % len(able)]
            self._seal(made)
            if send:
                self._send(made)

    def _seal(self, made: Made) -> None:
        if made.day != self.today or hour(self.now) >= made.record_until:
            return
        key, _, certificate = self.keys[made.stream]
        segment, data_key = seal_segment(
            content=b"what was recorded",
            stream=made.stream,
            sequence=len(made.segments),
            previous=made.segments[-1].id if made.segments else FIRST_PREVIOUS,
            hour=hour(self.now),
            vault_key=HybridPublicKey.from_text(certificate.vault_key),
            stream_key=key.ed25519,
        )
        made.segments.append(Sealed(segment.id, hour(self.now)))
        self.sealed[segment.id] = (segment, data_key)

    @rule(which=ANY)
    def send_what_waits(self, which: int) -> None:
        waiting = [made for made in self.model.streams if any(not (one.stored or one.gone) for one in made.segments)]
        if waiting:
            self._send(waiting[which % len(waiting)])

    def _send(self, made: Made) -> None:
        if self.today > made.upload_until:
            return
        try:
            self.collector.announce(self.keys[made.stream][1])
        except StreamRevoked:
            assert self.model.restored or not self.model.takes(made, None)
            return
        assert self.model.takes(made, None)
        for one in made.segments:
            if one.stored or one.gone:
                continue
            segment, _ = self.sealed[one.id]
            try:
                self.collector.send_segment(
                    header=segment.header,
                    sealed_key=segment.sealed_key,
                    body=segment.body,
                    body_sha256=segment.body_sha256,
                    signature=segment.signature,
                )
            except StreamRevoked:
                assert self.model.restored or not self.model.takes(made, one.hour)
                return
            assert self.model.takes(made, one.hour)
            one.stored = True

    # --- jobs ---------------------------------------------------------------------------------------------------------

    @rule(own=SELDOM, hours=st.integers(1, 24))
    def open_a_lease(self, own: bool, hours: int) -> None:
        job, until = Job(self.world), self.now + timedelta(hours=hours)
        if own:
            first, last = day(self.now - timedelta(days=60)), day(self.now + timedelta(days=2))
            wish: dict[str, Any] = {"own": OwnData(from_day=first, to_day=last, modalities=tuple(Modality))}
            answer = job.open(self.kim, until=moment(until), **wish)
            expected = {made.stream for made in self.model.streams if not made.erased}
        else:
            answer = job.open(self.requester, until=moment(until), request=self.request)
            expected = {
                made.stream
                for made in self.model.streams
                if self.model.released(made, PURPOSE, self.now) and made.day <= self.today
            }
        why = self._why_no_lease(own, expected)
        if why is not None:
            assert problem(answer) in why, answer.text
            return
        if self.model.restored and answer.status_code != 200:
            assert problem(answer) != "closed", "who was heard, or is not waited for, keeps the door shut for nobody"
            return
        assert answer.status_code == 200, answer.text
        assert job.answer is not None
        named = {one.stream for one in job.answer.streams} & {made.stream for made in self.model.streams}
        assert named == expected or (self.model.restored and named < expected), (named, expected)
        self.readings.append(Reading(job, own, until, named))
        self._release(self.readings[-1])

    def _why_no_lease(self, own: bool, expected: set[str]) -> tuple[str, ...] | None:
        """The names of the problem that must be the answer, or None when there is none."""
        if self.model.halted or (own and self.model.waited_for):
            return ("closed",)
        if not own and self.now >= self.expires:
            return ("refused",)
        if not expected and (own or self.model.others_since is None):
            return ("not-available",)
        return ("no-quorum", "not-available") if self.world.witness.silent else None

    @precondition(lambda self: self.readings)
    @rule(which=ANY)
    def ask_for_a_release(self, which: int) -> None:
        self._release(self.readings[which % len(self.readings)])

    def _release(self, reading: Reading) -> None:
        segments = {
            one.id: (self._why_shut(reading, made, one), *self.sealed[one.id])
            for made in self.model.streams
            for one in made.segments
        }
        over = reading.ended or self.now >= reading.until or (not reading.own and self.now >= self.expires)
        if over or self.model.halted:
            response, _ = reading.job.ask_release([segment for _, segment, _ in segments.values()])
            unknown = ("signature-invalid",) if self.model.restored else ()  # a lease that was lost, so its job's key
            assert problem(response) in ("refused", "closed", *unknown)
            assert over or problem(response) == "closed"
            return
        opened, refused = reading.job.release([_Wanted(segment) for _, segment, _ in segments.values()])  # type: ignore[misc]
        for id_, (why, _, data_key) in segments.items():
            if id_ in opened:
                assert why is None, f"opened, though {why}"
                assert opened[id_] == data_key.to_bytes()
            else:
                assert refused[id_] == why or self.model.restored, f"refused as {refused[id_]}, not as {why}"

    def _why_shut(self, reading: Reading, made: Made, one: Sealed) -> str | None:
        if made.stream not in reading.streams:
            return "not-leased"
        if made.erased or one.hour in made.hours:
            return "erased"
        if reading.own or self.model.released(made, PURPOSE, self.now):
            return None
        return self.model.why_not(made, PURPOSE, self.now)

    # --- the services -------------------------------------------------------------------------------------------------

    @rule(
        hours=st.sampled_from((0, 1, 1, 3, 8, 20, 26, 60, 170)),
        minutes=st.sampled_from((0, 7, 59)),
        then=st.sampled_from(("nothing", "nothing", "orders", "night", "night", "rest")),
    )
    def time_passes(self, hours: int, minutes: int, then: str) -> None:
        self.clock.forward(hours=hours, minutes=minutes, seconds=1)
        if then == "orders":
            self._pull()
        elif then == "night":
            self._night()
        elif then == "rest":
            self._come_to_rest()

    def _night(self) -> None:
        assert run_night(self.world.custodian)["ran"]
        self.model.night(self.now)

    def _pull(self) -> None:
        while self.installation.collector.orders.pull_orders_once():
            pass
        if not self.model.restored:
            self.model.pull(self.now)

    def _come_to_rest(self) -> None:
        """Custodian and collector agree."""
        self._night()
        self._pull()
        self._look()
        (unknown,) = self.database.execute("SELECT count(*) FROM orders WHERE done IS NULL").fetchone()
        assert unknown == 0 or self.model.restored  # one that a backup does not know to be done is known with the next
        with closing(sqlite3.connect(self.folder / "collector" / "collector.db")) as collector:
            held = {id_ for (id_,) in collector.execute("SELECT id FROM items WHERE kind = 'segment'")}
        stored = {one.id for made in self.model.streams for one in made.segments if one.stored}
        assert held == stored or (self.model.restored and held < stored)

    @rule(number=DEVICE, off_s=st.sampled_from((0, 0, -110, 110, 600, -172_800, 172_800)))
    def the_clock_of_a_device_steps(self, number: int, off_s: int) -> None:
        self.devices[self._one(number)].off_s = off_s

    @rule(
        what=st.sampled_from(("custodian", "collector", "witness", "witness", "halt", "resume", "clock")),
        minutes=st.sampled_from((-90, -10, -1, 1, 45)),
    )
    def something_happens(self, what: str, minutes: int) -> None:
        """A service restarts, the witness falls silent or answers again, the programme is halted or resumed, the
        custodian's clock steps (the devices' clocks stay).
        """
        if what == "custodian":
            self.world.restart()
        elif what == "collector":
            self.installation.collector.close()
            self.installation.open_collector()
        elif what == "witness":
            self.world.witness.silent = not self.world.witness.silent
        elif what == "halt" and not self.model.halted:
            self.world.halt("an incident")
            self.model.halted = True
        elif what == "resume" and self.model.halted:
            self.world.resume()
            self.model.halted = False
        elif what == "clock" and self.now + timedelta(minutes=minutes) > self.earliest:
            self.clock.forward(minutes=minutes)
            for device in self.devices:
                device.off_s -= minutes * 60

    # --- a restore ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.backup is None)
    @rule()
    def a_backup_is_made(self) -> None:
        self.backup = backups.back_up(self.world.custodian, self.folder / "backups")
        giving = {receipt.device for receipt in self.model.receipts}
        self.at_backup = (len(self.devices), giving, self.model.halted)
        self.since_backup.clear()

    @precondition(lambda self: self.backup is not None and not self.model.restored)
    @rule(night=st.booleans(), heard=st.integers(0, MOST_DEVICES))
    def the_custodian_is_restored(self, night: bool, heard: int) -> None:
        """From the backup, with a copy of the log, and orders. So many devices say at once what stands."""
        self.world.witness.silent = False
        if night:
            self._night()
        self._pull()  # an order that nobody has but a lost database never comes back, and the door stays shut
        assert self.backup is not None
        copy = self._export()
        self.world.custodian.close()
        self.database.close()
        databases.restore(self.world.settings, self.backup, over=True, clock=self.clock)
        self.world.restart()
        self.database = sqlite3.connect(self.folder / "custodian" / "custodian.db")
        answer = Job(self.world).open(self.requester, request=self.request)
        assert problem(answer) in ("closed", "refused", "forbidden"), "shut before anything has come back"
        logs.restore_log(self.world.custodian, copy)
        catch_up(self.world.custodian)
        while self.installation.collector.orders.pull_orders_once():
            pass
        assert catch_up(self.world.custodian) is None
        self._what_a_restore_does_to_the_model()
        for member in self.others:
            assert member.restate().status_code == 200
        for number in sorted(self.model.unheard)[:heard]:
            self._restate(number)

    def _what_a_restore_does_to_the_model(self) -> None:
        model = self.model
        known, giving, halted = self.at_backup
        model.restored = True
        model.halted |= halted  # whoever resumed since the backup signs once more
        model.lost = set(range(known, len(self.devices)))
        model.unheard, model.gave_before = set(range(known)) - model.revoked, giving
        for followed in model.followed:
            followed.erase_on = max(followed.erase_on, day(self.now + timedelta(days=7)))
        for reading in self.readings:
            reading.ended = True
        for signed in self.since_backup:  # what no device says again, the person hands in again
            if signed.device not in model.waited_for:
                by_hand = signed.device if signed.device not in model.lost else None
                assert self._hand_in(self._signed(signed.statement, by_hand)).status_code == 200

    def _restate(self, number: int) -> None:
        device, receipt = self.devices[number], self.model.newest(number)
        standing = Standing(
            person=self.kim.person, receipt=device.newest, in_force=receipt is not None and bool(receipt.here),
            withdrawals=tuple(device.held[-32:]), nonce=new_id(), at=moment(self.now),
        )  # fmt: skip
        for held in device.held[:-32]:
            assert self.world.post("/v1/withdrawals", with_leaf(held.statement, held.leaf)).status_code == 200
        answer = self.world.post("/v1/me/standing", sign(standing, device.member.device).to_json())
        assert answer.status_code == 200, answer.text
        self.model.unheard.discard(number)

    @precondition(lambda self: self.model.unheard)
    @rule(which=ANY)
    def a_device_is_heard(self, which: int) -> None:
        self._restate(sorted(self.model.unheard)[which % len(self.model.unheard)])

    def _export(self) -> Path:
        """A copy of the log, as an auditor saves it."""
        return copy_log(self.installation, self.world.council, self.folder / "copy")

    # --- what the person sees -----------------------------------------------------------------------------------------

    @rule(number=DEVICE)
    def look(self, number: int) -> None:
        """At one's receipts and erasures, and at what a device hears."""
        self._look()
        self._hear(self._one(number))

    def _look(self) -> None:
        views = self.kim.get("/v1/me/receipts").json()["receipts"]
        model, now = self.model, self.now
        states = {view["record"]: view["state"] for view in views}
        if not model.restored:
            assert states == {receipt.record: receipt.state(now) for receipt in model.receipts}
        shown = ErasuresView.parse(self.kim.get("/v1/me/erasures").content)
        if model.restored:
            return
        told = []
        for view in shown.erasures:
            requested: ErasureReceipt = self.world.read(view.requested, ErasureReceipt)
            ended: tuple[str | None, str | None] = (None, None)
            if view.final is not None:
                final: ErasureReceipt = self.world.read(view.final, ErasureReceipt)
                ended = (final.day, final.keys_destroyed)
            of_ = "" if requested.kind == "retention" else view.of
            told.append((of_, requested.kind, requested.streams, requested.erased_from, ended))
        assert Counter(told) == Counter(
            (one.of, one.kind, len(one.streams), one.erase_on, (one.final, one.final and one.keys_gone))
            for one in model.followed
        )

    def _hear(self, number: int) -> None:
        device, model = self.devices[number], self.model
        if device.off_s or number in model.lost:
            return
        answer = device.member.get("/v1/me/news", key=device.member.device)
        assert answer.status_code == 200, answer.text
        news: News = self.world.read(Envelope.from_json(answer.content), News)
        assert (news.halted is not None) == model.halted
        assert news.revoked == (number in model.revoked)
        assert bool(news.restate) == (number in model.unheard)
        told = {live.record: {(choice.modality, choice.purpose) for choice in live.left} for live in news.live}
        lives = [model.live(other, self.now) for other in range(len(self.devices))]
        live = {receipt.record: receipt.left for receipt in lives if receipt is not None and receipt.left}
        if news.revoked or model.waited_for:
            assert told == {}
        elif model.restored:
            assert all(left <= live.get(record, set()) for record, left in told.items())
        else:
            assert told == live
            ended = {
                receipt.record
                for receipt in model.receipts
                if receipt.device == number and (not receipt.left or receipt.end not in (None, "expired"))
            }
            assert set(news.ended) == ended
            waiting = {
                one.of
                for one in model.followed
                if one.kind == "erasure" and any(mark.ordered is None for mark in one.marks)
            }
            assert {envelope.hash for envelope in news.erasures} == waiting

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def the_custodian_holds_what_the_model_does(self) -> None:
        if not hasattr(self, "seen"):
            return
        person = (self.kim.person,)
        receipts = self.database.execute("SELECT record, state, left FROM receipts WHERE person = ?", person).fetchall()
        streams = self.database.execute(
            "SELECT s.id, s.closed, s.erased IS NOT NULL, v.stream IS NOT NULL FROM streams s"
            " LEFT JOIN vault_keys v ON v.stream = s.id WHERE s.person = ?",
            person,
        ).fetchall()
        for record, state, _ in receipts:
            before = self.seen.get(record, "given")
            assert before in ("given", state) or self.model.restored, "an end is final"
            self.seen[record] = state
        theirs = {made.stream: made for made in self.model.streams}
        if self.model.restored:
            self._knows_no_more(receipts, streams, theirs)
            return
        assert {record: state for record, state, _ in receipts} == {
            receipt.record: receipt.end or "given" for receipt in self.model.receipts
        }
        assert {(id_, closed, bool(erased), bool(held)) for id_, closed, erased, held in streams} == {
            (made.stream, made.closed, made.erased, not made.erased) for made in self.model.streams
        }

    def _knows_no_more(self, receipts: list[Any], streams: list[Any], theirs: dict[str, Made]) -> None:
        if self.model.waited_for:
            return
        states = {receipt.record: receipt.end for receipt in self.model.receipts}
        for record, state, _ in receipts:
            assert state != "given" or states[record] in (None, "expired"), "an end is final"
        for id_, closed, _, held in streams:
            made = theirs[id_]
            assert closed is not None or made.closed is None, "what was withdrawn stays closed"
            assert not held or not made.erased, "what was erased stays erased"


@dataclass
class _Wanted:
    segment: SealedSegment


@dataclass
class _Offers:
    """The world as far as a member needs it to write a receipt, with the offer at hand."""

    world: Any
    offer: Offer

    @property
    def clock(self) -> Any:
        return self.world.clock

    def ask(self, _key: SigningKey, _method: str, _target: str) -> Any:
        return type("Answer", (), {"content": self.offer.to_json()})


TestConsentMachine = ConsentMachine.TestCase
TestConsentMachine.settings = stories(60, 40)
