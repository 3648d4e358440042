"""One person with two devices, the custodian and the collector, under whatever happens, against a small model.

Consent is given, withdrawn (all of it, a modality, a purpose; at once or delivered days later), ended by the dpo and
by time; segments are sealed, sent at once or much later; nights run, services restart, the devices' clocks are wrong.
Nothing is certified, released or stored that the model does not allow; what was withdrawn never opens again; an end is
final.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select
from tests.exposure.world import Installation
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import PURPOSE, Member, problem, with_leaf

from assent.client.collector import StreamRevoked
from assent.contracts.envelope import Envelope, sign
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import Choice, ConsentEnding, StreamCertificate, Withdrawal
from assent.contracts.times import add_days, moment, parse_moment
from assent.contracts.wire import CertificatesAnswer
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import DataKey, SealedSegment, seal_segment
from assent_custodian.keys.models import Stream, VaultKey
from assent_custodian.night import run_night
from assent_custodian.people.models import Credential

STUDY = "urn:purpose:study"
BOTH = (PURPOSE, STUDY)
KINDS = (Modality.POINTER, Modality.KEYBOARD)
KIND_SETS = [frozenset(KINDS), *(frozenset({kind}) for kind in KINDS)]
PURPOSE_SETS = [frozenset(BOTH), *(frozenset({purpose}) for purpose in BOTH)]
NO_KINDS, NO_PURPOSES = frozenset[Modality](), frozenset[str]()
SKEW = timedelta(seconds=120)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Wish:
    """What somebody withdraws, with which device. `which`: of the receipts so far; None: all of them."""

    device: int
    which: int | None
    kinds: frozenset[Modality]
    purposes: frozenset[str]
    at_once: bool


WISHES = st.builds(
    Wish,
    device=st.integers(0, 1),
    which=st.one_of(st.none(), st.integers(0, 20)),
    kinds=st.sampled_from([NO_KINDS, *KIND_SETS]),
    purposes=st.sampled_from([NO_PURPOSES, *PURPOSE_SETS]),
    at_once=st.booleans(),
)


@dataclass
class Given:
    """A receipt, as the model knows it."""

    device: int
    record: str
    left: set[tuple[Modality, str]]
    until: datetime
    ended: bool = False


@dataclass
class Made:
    """A stream with one sealed segment."""

    receipt: Given
    certificate: StreamCertificate
    envelope: Envelope
    segment: SealedSegment
    data_key: DataKey
    closed: bool = False
    erased: bool = False
    collector_told: bool = False
    stored: bool = False

    @property
    def modality(self) -> Modality:
        return self.certificate.modality


@dataclass
class Taken:
    """Streams that a withdrawal or an ending closed, and the day from which they are erased."""

    streams: list[Made]
    erase_on: str


@dataclass
class Queued:
    """A withdrawal that was signed offline."""

    withdrawal: Withdrawal
    body: bytes


@dataclass
class Model:
    receipts: list[Given] = field(default_factory=list)
    streams: list[Made] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    barred: datetime = LONG_AGO

    def newest(self, device: int, now: datetime) -> Given | None:
        """The receipt under which this device may record now."""
        mine = [receipt for receipt in self.receipts if receipt.device == device]
        if not mine or not mine[-1].left or mine[-1].until <= now:
            return None
        return mine[-1]

    def take(self, receipts: list[Given], kinds: frozenset[Modality], purposes: frozenset[str]) -> list[Made]:
        """Take choices away; the streams that have none left are closed."""
        gone = []
        for receipt in receipts:
            receipt.left = {
                (kind, purpose)
                for kind, purpose in receipt.left
                if (kinds and kind not in kinds) or (purposes and purpose not in purposes)
            }
            for made in self.streams:
                named = not kinds or made.modality in kinds
                if made.receipt is receipt and named and not any(k is made.modality for k, _ in receipt.left):
                    made.closed = True
                    gone.append(made)
        return gone

    def opens(self, made: Made, now: datetime) -> bool:
        """Whether a job for PURPOSE may have this stream."""
        wanted = (made.modality, PURPOSE)
        live = [self.newest(device, now) for device in (0, 1)]
        covered = any(receipt is not None and wanted in receipt.left for receipt in live)
        return covered and wanted in made.receipt.left and not made.closed and not made.erased


class ConsentMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.installation = Installation.found(Path(self.folder.name))
        self.world = self.installation.world
        self.world.add_purpose(STUDY)
        self.access = AccessWorld(self.world, 10)
        kim = self.access.people[0]
        second = SigningKey.generate()
        with self.world.custodian.database.transaction() as session:
            id_, text = second.public.id, second.public.text
            session.add(Credential(key_id=id_, person=kim.person, kind="device", key=text, since="2026-11-23"))
        self.devices: list[Member] = [kim, replace(kim, device=second, previous=FIRST_PREVIOUS, receipts=[])]
        first = kim.receipts[0]
        self.model = Model()
        self.model.receipts.append(
            Given(
                0,
                first.record,
                {(choice.modality, choice.purpose) for choice in first.choices},
                parse_moment(first.valid_until),
            )
        )
        for one in self.access.recorded:
            if one.owner is kim:
                envelope = self._envelope(one.certificate.stream)
                made = Made(self.model.receipts[0], one.certificate, envelope, one.segment, one.data_key)
                self.model.streams.append(made)
        to_day = add_days(self.world.now[:10], 30)
        self.expires = self.world.clock() + timedelta(days=20)
        self.request = self.access.grant(to_day=to_day, expires=moment(self.expires))
        self.queued: list[Queued] = []
        self.delivered: list[Withdrawal] = []
        self.seen: dict[str, str] = {}

    def _envelope(self, stream: str) -> Envelope:
        with self.world.custodian.database.reading() as session:
            return Envelope.from_json(session.get_one(Stream, stream).certificate)

    def teardown(self) -> None:
        if hasattr(self, "installation"):
            self.installation.close()
            self.folder.cleanup()

    @property
    def now(self) -> datetime:
        return self.world.clock()

    # --- the person ---

    @rule(
        device=st.integers(0, 1),
        kinds=st.sampled_from(KIND_SETS),
        purposes=st.sampled_from(PURPOSE_SETS),
        days=st.integers(1, 20),
        wrong_s=st.sampled_from((0, 0, 0, -110, 110, 600)),
        send=st.booleans(),
    )
    def give(
        self,
        device: int,
        kinds: frozenset[Modality],
        purposes: frozenset[str],
        days: int,
        wrong_s: int,
        send: bool,
    ) -> None:
        """`wrong_s`: how far the device's clock is off."""
        member, at = self.devices[device], self.now + timedelta(seconds=wrong_s)
        until = self.now + timedelta(days=days)
        receipt = member.receipt(
            choices=tuple(
                Choice(modality=kind, purpose=purpose, purpose_version=1)
                for purpose in sorted(purposes)
                for kind in sorted(kinds)
            ),
            keyboard_mode=KeyboardMode.SHAPE,
            at=moment(at),
            valid_from=moment(min(at, self.now)),
            valid_until=moment(until),
        )
        answer = member.send_receipt(receipt)
        if abs(wrong_s) > SKEW.total_seconds():
            assert problem(answer) == "stale"
            return
        if at <= self.model.barred:
            assert problem(answer) == "refused", "a withdrawal overtook it"
            return
        assert answer.status_code == 200, answer.text
        member.previous = sign(receipt, member.device).hash
        left = {(kind, purpose) for kind in kinds for purpose in purposes}
        self.model.receipts.append(Given(device, receipt.record, left, parse_moment(receipt.valid_until)))
        for kind in sorted(kinds):
            self.record(device=device, kind=kind, send=send)

    @rule(wish=WISHES)
    def withdraw(self, wish: Wish) -> None:
        self._deliver(self._signed(wish))

    @rule(wish=WISHES)
    def withdraw_offline(self, wish: Wish) -> None:
        self.queued.append(self._signed(wish))

    def _signed(self, wish: Wish) -> Queued:
        receipts = self.model.receipts
        withdrawal = Withdrawal(
            person=self.devices[0].person,
            record=None if wish.which is None else receipts[wish.which % len(receipts)].record,
            modalities=tuple(sorted(wish.kinds)),
            purposes=tuple(sorted(wish.purposes)),
            erase="now" if wish.at_once else "after-7-days",
            at=self.world.now,
        )
        return Queued(withdrawal, with_leaf(sign(withdrawal, self.devices[wish.device].device)))

    def _deliver(self, queued: Queued) -> None:
        withdrawal = queued.withdrawal
        first = self.world.post("/v1/withdrawals", queued.body)
        assert first.status_code == 200, first.text
        assert self.world.post("/v1/withdrawals", queued.body).content == first.content, "twice is once"
        if withdrawal in self.delivered:  # signed in the same second with the same words, it is the same statement
            return
        self.delivered.append(withdrawal)
        receipts = self.model.receipts
        if withdrawal.record is None:
            named = list(receipts)
            self.model.barred = max(self.model.barred, min(parse_moment(withdrawal.at), self.now + SKEW))
        else:
            newest = next(one for one in receipts if one.record == withdrawal.record)
            position = receipts.index(newest)
            named = [one for one in receipts[: position + 1] if one.device == newest.device]
        gone = self.model.take(named, frozenset(withdrawal.modalities), frozenset(withdrawal.purposes))
        if withdrawal.erase == "now":
            for made in gone:
                made.erased = True
        else:
            self.model.taken.append(Taken(gone, add_days(self.world.now[:10], 7)))

    @precondition(lambda self: len(self.model.receipts) > 3)  # before, it would leave little to look at
    @rule(which=st.integers(0, 20), state=st.sampled_from(("terminated", "invalidated")))
    def the_dpo_ends_one(self, which: int, state: str) -> None:
        receipt = self.model.receipts[which % len(self.model.receipts)]
        statement = ConsentEnding(state=state, record=receipt.record, reason="x", nonce=new_id(), at=self.world.now)  # type: ignore[arg-type]
        assert self.world.dpo.post("/v1/consent/endings", statement).status_code == 200
        if receipt.left:
            gone = self.model.take([receipt], frozenset(), frozenset())
            self.model.taken.append(Taken(gone, add_days(self.world.now[:10], 7)))

    # --- recording and sending ---

    @rule(device=st.integers(0, 1), kind=st.sampled_from(KINDS), send=st.booleans())
    def record(self, device: int, kind: Modality, send: bool) -> None:
        member = self.devices[device]
        request, keys = member.certificate_request(modalities=(kind,))
        answer = CertificatesAnswer.parse(member.post("/v1/certificates", request, key=member.device).content)
        receipt = self.model.newest(device, self.now)
        allowed = receipt is not None and any(each is kind for each, _ in receipt.left) and self._hours_left(receipt)
        (envelope,) = answer.certificates
        assert (envelope is not None) == allowed
        if envelope is None or receipt is None:
            return
        certificate: StreamCertificate = self.world.read(envelope, StreamCertificate)
        assert certificate.record_until <= moment(receipt.until)[:13]
        segment, data_key = seal_segment(
            content=b"what was recorded",
            stream=certificate.stream,
            sequence=0,
            previous=FIRST_PREVIOUS,
            hour=self.world.now[:13],
            vault_key=HybridPublicKey.from_text(certificate.vault_key),
            stream_key=keys[0].ed25519,
        )
        self.model.streams.append(Made(receipt, certificate, envelope, segment, data_key))
        if send:
            self._send(self.model.streams[-1])

    def _hours_left(self, receipt: Given) -> bool:
        midnight = (self.now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return min(midnight, receipt.until).replace(minute=0, second=0, microsecond=0) > self.now

    @rule(which=st.integers(0, 100))
    def come_online(self, which: int) -> None:
        """What was signed or sealed offline is delivered: one of each."""
        if self.queued:
            self._deliver(self.queued.pop(which % len(self.queued)))
        waiting = [made for made in self.model.streams if not made.stored]
        if waiting:
            self._send(waiting[which % len(waiting)])

    def _send(self, made: Made) -> None:
        if self.world.now[:10] > made.certificate.upload_until:
            return
        stored = True
        with self.installation.uploader() as collector:
            try:
                collector.announce(made.envelope)
                collector.send_segment(
                    header=made.segment.header,
                    sealed_key=made.segment.sealed_key,
                    body=made.segment.body,
                    body_sha256=made.segment.body_sha256,
                    signature=made.segment.signature,
                )
            except StreamRevoked:
                stored = False
        assert stored == (not made.collector_told)
        made.stored = stored

    # --- the services ---

    @rule(hours=st.integers(1, 60), then=st.sampled_from(("nothing", "night", "night", "restart")))
    def time_passes(self, hours: int, then: str) -> None:
        self.world.clock.forward(hours=hours, seconds=1)
        if then == "night":
            self._night()
        elif then == "restart":
            self._restart()
        self._release()

    def _night(self) -> None:
        run_night(self.world.custodian)
        for taken in self.model.taken:
            if taken.erase_on <= self.world.now[:10]:
                for made in taken.streams:
                    made.erased = True
        while self.installation.collector.orders.pull_orders_once():
            pass
        for made in self.model.streams:
            made.collector_told = made.closed or made.erased
            made.stored = made.stored and not made.erased

    def _restart(self) -> None:
        self.world.restart()
        self.installation.collector.close()
        self.installation.open_collector()

    def _release(self) -> None:
        job = self.access.job()
        answer = job.open(self.access.requester, request=self.request)
        if self.now >= self.expires:
            assert answer.status_code in (403, 409), answer.text
            return
        assert answer.status_code == 200, answer.text
        assert job.answer is not None
        expected = {made.certificate.stream for made in self.model.streams if self.model.opens(made, self.now)}
        mine = {made.certificate.stream for made in self.model.streams}
        assert {one.stream for one in job.answer.streams} & mine == expected
        response, _ = job.ask_release([made.segment for made in self.model.streams])
        assert response.status_code == 200, response.text
        refused = {refusal["segment"] for refusal in response.json()["refused"]}
        assert refused == {made.segment.id for made in self.model.streams if made.certificate.stream not in expected}

    # --- what always holds ---

    @invariant()
    def an_end_is_final(self) -> None:
        if not hasattr(self, "seen"):
            return
        views = self.devices[0].get("/v1/me/receipts").json()["receipts"]
        for view in views:
            before = self.seen.get(view["record"], "given")
            assert before in ("given", view["state"])
            self.seen[view["record"]] = view["state"]
        assert len(views) == len(self.model.receipts)
        for receipt in self.model.receipts:
            if not receipt.left or receipt.until <= self.now:
                assert self.seen[receipt.record] != "given"
            else:
                assert self.seen[receipt.record] == "given"

    @invariant()
    def keys_of_what_was_erased_are_gone_and_the_others_are_there(self) -> None:
        if not hasattr(self, "seen"):
            return
        with self.world.custodian.database.reading() as session:
            held = set(session.scalars(select(VaultKey.stream)))
        for made in self.model.streams:
            where = f"{made.modality} of receipt {self.model.receipts.index(made.receipt)}: {made}"
            assert (made.certificate.stream in held) == (not made.erased), where


TestConsentMachine = ConsentMachine.TestCase
TestConsentMachine.settings = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would play hundreds of whole stories again
)
