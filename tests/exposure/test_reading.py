"""Rows 4 to 6 and 24: what somebody who reads for a living can get: before a grant, inside it, and after it ended."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.exposure.canary import Marker, Named, search
from tests.exposure.world import Installation, Populated, Recording, Staff, Template, installed, of
from tests.simulators.custodian import PURPOSE, RECIPIENT, Member

from assent.client.transport import Refused
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.limits import COHORT_FLOOR
from assent.contracts.problems import Code
from assent.contracts.statements import Choice, DataRequest, Receipt, Role
from assent.contracts.times import hour_of, moment
from assent.contracts.wire import ReceiptsView
from assent.reader.jobs import Job
from assent.sealing.errors import SealInvalid
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import open_body, open_release
from assent_custodian.consent import domain

OTHER_PURPOSE = "urn:purpose:study-clicks"
OTHER_RECIPIENT = "partner laboratory"


# --- row 4: without a grant -------------------------------------------------------------------------------------------


def test_row_04_the_catalogue_speaks_of_people_in_tens_and_says_nothing_below_ten(installation: Installation) -> None:
    world = installation.world
    staff = installation.staff()
    members = world.add_participants(COHORT_FLOOR - 1)
    for member in members:
        member.certify()

    def shown() -> list[dict[str, object]]:
        return [dict(entry) for entry in staff.requester.get("/v1/catalogue").json()["entries"]]

    assert {entry["people"] for entry in shown()} == {0}
    assert not any(entry.get("from_day") or entry.get("to_day") for entry in shown()), "not even days"
    for _ in range(14):
        world.add_person().consent()
    for member in [world.add_person() for _ in range(14)]:
        member.consent()
        member.certify()
    assert {entry["people"] for entry in shown()} == {0}, "and nobody can watch it change: it is counted weekly"
    world.clock.forward(days=7)
    assert {entry["people"] for entry in shown()} == {20}, "23 people are shown as 20"


def test_row_04_a_request_has_no_place_for_a_person(populated: Populated) -> None:
    person = populated.people[0].person
    for field_name in ("person", "persons", "names", "pseudonym", "streams", "credential"):
        with pytest.raises(ValidationError):
            DataRequest.model_validate({**populated.installation.request().model_dump(), field_name: person})
    for count in range(1, COHORT_FLOOR):
        response = populated.staff.requester.post("/v1/requests", populated.installation.request(people=count))
        assert response.status_code == 409, "fewer than ten people cannot be asked for"


@pytest.mark.parametrize("participants", [0, 1, COHORT_FLOOR - 1])
def test_row_04_a_request_that_too_few_people_cover_answers_the_same_whoever_takes_part(
    participants: int, installation: Installation
) -> None:
    world = installation.world
    staff = installation.staff()
    for member in world.add_participants(participants):
        member.certify()
    hash_ = installation.grant(staff)
    view = staff.requester.get(f"/v1/requests/{hash_}").json()
    assert view["state"] == "not-available"
    told = {name: value for name, value in view.items() if name not in ("hash", "statement", "decisions")}
    assert told == {"state": "not-available", "requester": "Rika Requester", "approvals": 2, "approvals_needed": 2}
    with pytest.raises(Refused):
        installation.job(staff.requester, hash_)


def test_row_04_requester_and_approvers_are_never_in_the_cohort(installation: Installation) -> None:
    """Otherwise somebody who knows what they themselves recorded could count the others."""
    world = installation.world
    staff = installation.staff()
    insiders = (staff.requester, *staff.stewards)
    members = world.add_participants(COHORT_FLOOR)
    for member in (*members, *insiders):
        if member in insiders:
            member.consent()
        member.certify()
    job = installation.job(staff.requester, installation.grant(staff))
    assert len({leased.pseudonym for leased in job.streams}) == COHORT_FLOOR


@pytest.mark.parametrize("approvals", [0, 1])
def test_row_04_no_ciphertext_and_no_lease_before_two_stewards_signed(approvals: int, populated: Populated) -> None:
    installation, staff = populated.installation, populated.staff
    with installation.custodian_as(staff.requester.opening) as custodian:
        hash_ = custodian.ask_for_data(installation.request()).hash
    for steward in staff.stewards[:approvals]:
        installation.decide(steward, hash_, "approve")
    with pytest.raises(Refused) as refused:
        installation.job(staff.requester, hash_)
    assert refused.value.code is Code.REFUSED


# --- row 5: with a grant ----------------------------------------------------------------------------------------------


def test_row_05_positive_control_a_grant_reads_what_was_granted(in_use: Populated) -> None:
    plain = in_use.installation.plaintext(in_use.job)
    hits = search([Named("what the job read", plain)], in_use.marker)
    assert {hit.what for hit in hits} == {"text", "tile"}


def test_row_05_nobody_who_came_later_is_in_the_grant(in_use: Populated) -> None:
    late = in_use.world.add_participants(1)[0]
    recordings = in_use.installation.record(late, in_use.marker)
    job = in_use.installation.job(in_use.staff.requester, in_use.request)
    assert not {leased.stream for leased in job.streams} & {recording.stream for recording in recordings}
    assert refusals(in_use.installation, job, recordings) == {"not-leased"}


def test_row_05_no_other_day_and_no_other_modality(in_use: Populated) -> None:
    installation, member = in_use.installation, in_use.people[0]
    hash_ = installation.grant(in_use.staff, modalities=(Modality.POINTER,))
    job = installation.job(in_use.staff.requester, hash_)
    assert {leased.modality for leased in job.streams} == {Modality.POINTER}
    keyboards = [one for one in in_use.recordings if one.modality is Modality.KEYBOARD]
    assert refusals(installation, job, keyboards) == {"not-leased"}
    in_use.world.clock.forward(days=1)
    tomorrow = installation.record(member, in_use.marker, (Modality.POINTER,))
    again = installation.job(in_use.staff.requester, hash_)
    assert {leased.day for leased in again.streams} == {in_use.recordings[0].certificate.day}
    assert refusals(installation, again, tomorrow) == {"not-leased"}


def test_row_05_what_was_agreed_to_for_another_purpose_never_opens(installation: Installation) -> None:
    """Everybody agreed to the pointer for one purpose and to the keyboard for the other: neither grant gets both."""
    world, marker = installation.world, Marker.new()
    world.add_purpose(OTHER_PURPOSE)
    staff = installation.staff()
    pointer, keyboard = (Modality.POINTER, PURPOSE), (Modality.KEYBOARD, OTHER_PURPOSE)
    members = [world.add_person(f"Person {number}") for number in range(COHORT_FLOOR + 1)]
    for member in members:
        member.consent(choices=choices_of(pointer, keyboard))
    recordings = [one for m in members for one in installation.record(m, marker, (Modality.POINTER, Modality.KEYBOARD))]

    def opens(job: Job) -> dict[Modality, set[str]]:
        of = {one: [r for r in recordings if r.modality is one] for one in (Modality.POINTER, Modality.KEYBOARD)}
        return {modality: refusals(installation, job, some) for modality, some in of.items()}

    shown = [dict(entry) for entry in staff.requester.get("/v1/catalogue").json()["entries"]]
    counted = {(entry["modality"], entry["purpose"]) for entry in shown if entry["people"]}
    assert counted == {pointer, keyboard}
    for purpose in (PURPOSE, OTHER_PURPOSE):
        hash_ = installation.grant(staff, purpose=purpose, modalities=(Modality.POINTER, Modality.KEYBOARD))
        assert staff.requester.get(f"/v1/requests/{hash_}").json()["state"] == "not-available", "nobody agreed to both"
    first, second = (installation.grant(staff, purpose=each, modalities=(one,)) for one, each in (pointer, keyboard))

    def leases() -> tuple[Job, Job]:
        return installation.job(staff.requester, first), installation.job(staff.requester, second)

    one, other = leases()
    assert opens(one) == {Modality.POINTER: set(), Modality.KEYBOARD: {"not-leased"}}
    assert opens(other) == {Modality.KEYBOARD: set(), Modality.POINTER: {"not-leased"}}
    assert marker.text.encode() not in installation.plaintext(one)
    assert marker.text.encode() in installation.plaintext(other), "the control"
    for crossed in ((PURPOSE, Modality.KEYBOARD), (OTHER_PURPOSE, Modality.POINTER)):
        hash_ = installation.grant(staff, purpose=crossed[0], modalities=(crossed[1],))
        assert staff.requester.get(f"/v1/requests/{hash_}").json()["state"] == "not-available", "nobody agreed to it"

    one, other = leases()
    leaver, second_device = members[:2]
    assert leaver.withdraw(modalities=(Modality.POINTER,), purposes=(OTHER_PURPOSE,)).status_code == 200
    assert opens(one)[Modality.POINTER] == opens(other)[Modality.KEYBOARD] == set(), "that pair was never given"
    assert leaver.withdraw(modalities=(Modality.KEYBOARD,), purposes=(OTHER_PURPOSE,)).status_code == 200
    own = [r for r in recordings if r.member is leaver]
    by_modality = {r.modality: r for r in own}
    assert refusals(installation, other, [by_modality[Modality.KEYBOARD]]) == {"withdrawn"}
    assert refusals(installation, one, [by_modality[Modality.POINTER]]) == set(), "the other pair stays"

    world.clock.forward(seconds=1)
    everything = choices_of(*itertools.product((Modality.POINTER, Modality.KEYBOARD), (PURPOSE, OTHER_PURPOSE)))
    fresh = []
    for member in members:
        device = member.on(member.add_key()) if member is second_device else member
        device.consent(choices=everything)
        fresh += installation.record(device, marker, (Modality.POINTER, Modality.KEYBOARD))
    world.clock.forward(minutes=1)
    for purpose, elsewhere in ((PURPOSE, Modality.KEYBOARD), (OTHER_PURPOSE, Modality.POINTER)):
        hash_ = installation.grant(staff, purpose=purpose, modalities=(Modality.POINTER, Modality.KEYBOARD))
        job = installation.job(staff.requester, hash_)
        assert refusals(installation, job, fresh) == set(), "the control"
        for old in (r for r in recordings if r.modality is elsewhere):
            assert refusals(installation, job, [old]) != set(), "what was made for one purpose is not for another"


def choices_of(*pairs: tuple[Modality, str]) -> tuple[Choice, ...]:
    return tuple(Choice(modality=modality, purpose=purpose, purpose_version=1) for modality, purpose in pairs)


def test_row_05_what_was_released_is_of_no_use_in_another_lease_or_batch(in_use: Populated) -> None:
    installation = in_use.installation
    sealed = in_use.recordings[0].sealed[0]
    pairs = [(sealed.header, sealed.sealed_key)]
    with installation.custodian_as(None) as custodian:
        answer, batch = custodian.release(in_use.job.lease.lease, in_use.job.signing_key, pairs)
    message = _bytes(answer.sealed)
    lease = bytes.fromhex(in_use.job.envelope.hash)
    keys = open_release(message, in_use.job.receiving_key, lease, batch)
    assert open_body(sealed.header, sealed.body, keys[bytes.fromhex(sealed.id)])
    other = installation.job(in_use.staff.requester, in_use.request)
    for key, lease_hash, batch_hash in (
        (other.receiving_key, lease, batch),
        (in_use.job.receiving_key, bytes.fromhex(other.envelope.hash), batch),
        (in_use.job.receiving_key, lease, bytes(32)),
    ):
        with pytest.raises(SealInvalid):
            open_release(message, key, lease_hash, batch_hash)


def test_row_05_pseudonyms_and_tickets_of_two_grants_cannot_be_joined(in_use: Populated) -> None:
    installation = in_use.installation
    other = installation.job(in_use.staff.requester, installation.grant(in_use.staff))
    assert not {one.pseudonym for one in in_use.job.streams} & {one.pseudonym for one in other.streams}
    for job in (in_use.job, other):
        for ticket in job.tickets.values():
            assert in_use.request.encode() not in ticket.payload_bytes
            assert job.lease.lease.encode() not in ticket.payload_bytes
            assert not re.search(rb"p-[0-9a-f]{8}", ticket.payload_bytes), "keys may hold a p- of their own"


def test_row_05_a_lease_asked_for_longer_than_a_day_is_refused(in_use: Populated) -> None:
    with (
        pytest.raises(Refused),
        in_use.installation.custodian_as(in_use.staff.requester.opening) as custodian,
    ):
        custodian.open_lease(
            job_signing_key=SigningKey.generate().public,
            job_receiving_key=HybridPrivateKey.generate().public_key.to_text(),
            until=in_use.world.clock() + timedelta(hours=25),
            request=in_use.request,
        )


# --- row 5: released ⊆ granted ∩ consented ∩ now ----------------------------------------------------------------------

MODALITIES = (Modality.POINTER, Modality.KEYBOARD)
PURPOSES = (PURPOSE, OTHER_PURPOSE)
RECIPIENTS = (RECIPIENT, OTHER_RECIPIENT)
PEOPLE = 13
EVERYTHING = frozenset((modality, purpose) for modality in MODALITIES for purpose in PURPOSES)

choices = st.frozensets(st.sampled_from(sorted(EVERYTHING)), min_size=1)


@dataclass(frozen=True)
class Consent:
    """What somebody agrees to, at the beginning or again."""

    choices: frozenset[tuple[Modality, str]] = EVERYTHING
    recipients: tuple[str, ...] = RECIPIENTS
    hours: int = 24


@dataclass(frozen=True)
class Withdraws:
    modalities: frozenset[Modality]
    purposes: frozenset[str]
    erase: str


@dataclass(frozen=True)
class Passes:
    hours: int


Step = tuple[int, Consent | Withdraws] | Passes | str

consents = st.builds(
    Consent, choices, st.sampled_from([RECIPIENTS, (RECIPIENT,), (OTHER_RECIPIENT,)]), st.sampled_from([2, 24])
)
withdrawals = st.builds(
    Withdraws,
    st.frozensets(st.sampled_from(MODALITIES)),
    st.frozensets(st.sampled_from(PURPOSES)),
    st.sampled_from(["now", "after-7-days"]),
)
persons = st.integers(0, PEOPLE - 1)
steps = st.lists(
    st.one_of(
        st.tuples(persons, withdrawals), st.tuples(persons, withdrawals), st.tuples(persons, consents),
        st.builds(Passes, st.integers(1, 5)), st.sampled_from(["revoke", "steward-leaves", "halt"]),
    ),
    max_size=5,
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A random history: who agreed to what, what was asked for, and what happened before and during the reading."""

    unusual: dict[int, Consent]
    modalities: tuple[Modality, ...]
    purpose: str
    recipient: str
    before: list[Step]
    during: list[Step]


plans = st.builds(
    Plan,
    st.dictionaries(persons, consents, max_size=4),
    st.sampled_from([MODALITIES, (Modality.POINTER,), (Modality.KEYBOARD,)]),
    st.sampled_from(PURPOSES),
    st.sampled_from(RECIPIENTS),
    steps,
    steps,
)


@dataclass
class Given:
    """The model of one receipt."""

    left: set[tuple[Modality, str]]
    recipients: tuple[str, ...]
    until: datetime
    withdrawn: bool = False


@dataclass
class Model:
    """What may be opened, by the words of the rules and none of the code: granted, consented then, consented now."""

    receipts: dict[int, list[Given]] = field(default_factory=dict)
    recordings: dict[str, tuple[int, Given, Modality]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    cohort: set[int] = field(default_factory=set)
    ended: bool = False

    def covered(self, stream: str, plan: Plan, now: datetime) -> bool:
        person, under, modality = self.recordings[stream]
        wanted = (modality, plan.purpose)
        newest = self.receipts[person][-1]
        return (
            stream not in self.closed
            and not under.withdrawn
            and wanted in under.left
            and plan.recipient in under.recipients
            and not newest.withdrawn
            and now < newest.until
            and wanted in newest.left
            and plan.recipient in newest.recipients
        )

    def may_open(self, plan: Plan, now: datetime) -> set[str]:
        return {
            stream
            for stream, (person, _, modality) in self.recordings.items()
            if not self.ended
            and person in self.cohort
            and modality in plan.modalities
            and self.covered(stream, plan, now)
        }

    def withdraw(self, person: int, event: Withdraws) -> None:
        for receipt in self.receipts[person]:
            taken = {
                (modality, purpose)
                for modality, purpose in receipt.left
                if (not event.modalities or modality in event.modalities)
                and (not event.purposes or purpose in event.purposes)
            }
            receipt.left -= taken
            receipt.withdrawn = receipt.withdrawn or not receipt.left
            self.closed |= {
                stream
                for stream, (owner, under, modality) in self.recordings.items()
                if owner == person
                and under is receipt
                and (not event.modalities or modality in event.modalities)
                and not any(left is modality for left, _ in receipt.left)
            }


@dataclass(frozen=True)
class Crew:
    """Twelve people and the staff, enrolled once and copied into every play."""

    template: Template
    staff: Staff
    people: list[Member]

    @classmethod
    def enrol(cls, installation: Installation) -> Crew:
        for purpose in PURPOSES:
            installation.world.add_purpose(purpose, recipients=RECIPIENTS)
        staff = installation.staff()
        people = [installation.world.add_person(f"Person {number}") for number in range(PEOPLE)]
        return cls(Template(installation), staff, people)

    def in_copy(self, installation: Installation) -> tuple[Staff, list[Member]]:
        world = installation.world
        staff = Staff(*(of(getattr(self.staff, each.name), world) for each in fields(Staff)))
        return staff, [of(member, world) for member in self.people]


class Play:
    """Plays a plan on the real custodian and on the model side by side."""

    def __init__(self, crew: Crew, installation: Installation, plan: Plan) -> None:
        self.installation, self.plan, self.model = installation, plan, Model()
        self.staff, self.people = crew.in_copy(installation)
        self.recorded: dict[str, Recording] = {}
        for number in range(PEOPLE):
            self.consent(number, plan.unusual.get(number, Consent()))
            self.record(number)

    def consent(self, number: int, consent: Consent) -> None:
        until = self.installation.world.clock() + timedelta(hours=consent.hours)
        self.people[number].consent(
            choices=tuple(
                Choice(modality=modality, purpose=purpose, purpose_version=1)
                for modality, purpose in sorted(consent.choices)
            ),
            recipients=consent.recipients,
            valid_until=moment(until),
        )
        self.model.receipts.setdefault(number, []).append(Given(set(consent.choices), consent.recipients, until))

    def record(self, number: int) -> None:
        under = self.model.receipts[number][-1]
        modalities = tuple(sorted({modality for modality, _ in under.left}))
        for certificate, key, envelope in self.people[number].certify(modalities):
            recording = Recording(self.people[number], certificate, envelope, key)
            recording.seal(b"content", hour_of(self.installation.world.clock()))
            self.recorded[recording.stream] = recording
            self.model.recordings[recording.stream] = (number, under, recording.modality)

    def freeze(self, request: str) -> bool:
        """Compare the grant with the model's cohort. Returns whether there is a grant."""
        now = self.installation.world.clock()
        covered: dict[int, set[Modality]] = defaultdict(set)
        for stream, (person, _, modality) in self.model.recordings.items():
            if self.model.covered(stream, self.plan, now):
                covered[person].add(modality)
        self.model.cohort = {person for person, have in covered.items() if have >= set(self.plan.modalities)}
        state = self.staff.requester.get(f"/v1/requests/{request}").json()["state"]
        assert (state == "granted") == (len(self.model.cohort) >= COHORT_FLOOR), state
        return bool(state == "granted")

    def happen(self, step: Step, request: str) -> None:
        world = self.installation.world
        match step:
            case Passes(hours=hours):
                world.clock.forward(hours=hours)
            case (int() as number, Consent() as consent):
                self.consent(number, consent)
            case (int() as number, Withdraws() as event):
                answer = self.people[number].withdraw(
                    modalities=tuple(sorted(event.modalities)), purposes=tuple(sorted(event.purposes)),
                    erase=event.erase,
                )  # fmt: skip
                assert answer.status_code == 200, answer.text
                self.model.withdraw(number, event)
                world.clock.forward(seconds=1)
            case "revoke":
                if not self.model.ended:
                    self.installation.decide(self.staff.steward, request, "revoke")
                self.model.ended = True
            case "steward-leaves":
                if not self.model.ended:
                    self.installation.world.end_role(self.staff.steward, Role.STEWARD)
                self.model.ended = True
            case "halt":
                world.halt("something is wrong")
                self.model.ended = True

    def release_everything(self, job: Job) -> set[str]:
        """Ask for every segment of everybody; which streams opened."""
        pairs = {one.sealed[0].id: one for one in self.recorded.values()}
        batch = [(one.sealed[0].header, one.sealed[0].sealed_key) for one in pairs.values()]
        with self.installation.custodian_as(None) as custodian:
            try:
                answer, batch_hash = custodian.release(job.lease.lease, job.signing_key, batch)
            except Refused:
                return set()
        refused = {refusal.segment for refusal in answer.refused}
        if answer.sealed:
            lease = bytes.fromhex(job.envelope.hash)
            keys = open_release(_bytes(answer.sealed), job.receiving_key, lease, batch_hash)
            opened = {segment.hex() for segment in keys}
        else:
            opened = set()
        assert not opened & refused
        assert opened | refused == pairs.keys()
        return {pairs[segment].stream for segment in opened}


def test_row_05_released_is_within_granted_and_consented_and_now(tmp_path: Path) -> None:
    seen: list[str] = []
    with installed(tmp_path) as original:
        crew = Crew.enrol(original)

        @settings(
            max_examples=15, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
        )
        @given(plans)
        def check(plan: Plan) -> None:
            seen.extend(_play(crew, plan).split())

        check()
    assert {"granted", "opened", "refused"} <= set(seen), "nothing was tried"


def test_row_05_positive_control_a_door_that_forgets_one_rule_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it forgets recipient classes: somebody agreed to another recipient only, and would be read all the same."""
    honest = domain.permits

    def forgetful(receipt: Receipt, consent: domain.Consent, modality: Modality, use: domain.Use) -> bool:
        return honest(receipt, consent, modality, dataclasses.replace(use, recipient=receipt.recipients[0]))

    plan = Plan({0: Consent(recipients=(OTHER_RECIPIENT,))}, MODALITIES, PURPOSE, RECIPIENT, [], [])
    with installed(tmp_path) as original:
        crew = Crew.enrol(original)
        assert "opened" in _play(crew, plan)
        monkeypatch.setattr(domain, "permits", forgetful)
        with pytest.raises(AssertionError):
            _play(crew, plan)


def _play(crew: Crew, plan: Plan) -> str:
    with tempfile.TemporaryDirectory() as folder, crew.template.copied(Path(folder) / "copy") as installation:
        play = Play(crew, installation, plan)
        clock = installation.world.clock
        request = installation.grant(
            play.staff, purpose=plan.purpose, modalities=plan.modalities, recipient=plan.recipient
        )
        if not play.freeze(request):
            return "not-available"
        for step in plan.before:
            play.happen(step, request)
        expected = play.model.may_open(plan, clock())
        try:
            job = installation.job(play.staff.requester, request)
        except Refused:
            assert not expected, "a lease was refused although there is something to read"
            return "granted refused"
        assert {leased.stream for leased in job.streams} == expected
        assert play.release_everything(job) == expected
        leased = expected
        for step in plan.during:
            play.happen(step, request)
        now_expected = leased & play.model.may_open(plan, clock())
        if clock() >= datetime.fromisoformat(job.lease.until):
            now_expected = set()
        assert play.release_everything(job) == now_expected
        return "granted opened" + (" refused" if now_expected != leased else "")


# --- row 6: afterwards ------------------------------------------------------------------------------------------------


def test_row_06_a_withdrawal_in_the_middle_of_a_pull_ends_what_it_concerns(in_use: Populated) -> None:
    installation, leaver = in_use.installation, in_use.people[3]
    theirs = [one for one in in_use.recordings if one.member is leaver]
    others = [one for one in in_use.recordings if one.member is not leaver]
    assert refusals(installation, in_use.job, theirs) == set(), "the positive control: before"
    with installation.reading(in_use.job) as data:
        sessions = data.sessions()
        next(sessions)
        assert leaver.withdraw().status_code == 200
        rest = list(sessions)
        opened = {stream.stream for one in rest for stream in one.coverage().streams if stream.opened}
        assert refusals(installation, in_use.job, theirs) == {"withdrawn"}
        assert refusals(installation, in_use.job, others) == set(), "nobody else is concerned"
    read_before = {stream.stream for stream in theirs} - opened
    assert read_before in (set(), {stream.stream for stream in theirs}), "all or nothing of a day"
    again = installation.job(in_use.staff.requester, in_use.request)
    assert {one.stream for one in again.streams} == {one.stream for one in others}


def test_row_06_everybody_concerned_was_told_what_was_read_and_by_whom(in_use: Populated) -> None:
    for member in in_use.people:
        (access,) = member.get("/v1/me/accesses", key=member.device).json()["accesses"]
        text = access["notification"]["text"]
        assert "Rika Requester" in text
        assert "Sam Steward" in text and "Stef Steward" in text
        assert access["proof"] and access["leaf"]


@pytest.mark.parametrize("who", ["steward", "council", "dpo"])
def test_row_06_revocation_ends_open_leases_and_new_ones(who: str, in_use: Populated) -> None:
    by = in_use.staff.steward if who == "steward" else in_use.world.founders[Role(who)]
    assert refusals(in_use.installation, in_use.job, in_use.recordings) == set()
    in_use.installation.decide(by, in_use.request, "revoke")
    assert_shut(in_use)


def test_row_06_expiry_of_lease_and_request(in_use: Populated) -> None:
    in_use.world.clock.forward(hours=24)
    with pytest.raises(Refused):
        refusals(in_use.installation, in_use.job, in_use.recordings)
    renewed = in_use.installation.job(in_use.staff.requester, in_use.request)
    assert renewed.streams, "a lease can be renewed while the grant lives"
    in_use.world.clock.forward(days=20)
    assert_shut(in_use)


@pytest.mark.parametrize("who", ["requester", "steward"])
def test_row_06_whoever_loses_the_role_takes_the_lease_along(who: str, in_use: Populated) -> None:
    member = in_use.staff.requester if who == "requester" else in_use.staff.steward
    in_use.installation.world.end_role(member, Role(who))
    assert_shut(in_use)


def test_row_06_halting_shuts_the_door_for_everybody(in_use: Populated) -> None:
    world = in_use.world
    world.halt("we saw something odd")
    assert_shut(in_use)
    request, _ = in_use.people[0].certificate_request()
    answer = in_use.people[0].post("/v1/certificates", request, key=in_use.people[0].device)
    assert answer.status_code != 200 or set(answer.json()["certificates"]) == {None}
    with pytest.raises(Refused):
        in_use.installation.own_job(in_use.people[0])
    assert in_use.people[0].withdraw().status_code == 200, "withdrawing never waits"
    world.resume()
    assert refusals(in_use.installation, in_use.job, in_use.recordings) == {"withdrawn"}, "the rest opens again"


def test_row_06_what_was_withdrawn_does_not_reopen_under_a_new_receipt(in_use: Populated) -> None:
    member = in_use.people[0]
    theirs = [one for one in in_use.recordings if one.member is member]
    assert member.withdraw().status_code == 200
    in_use.world.clock.forward(minutes=1)
    member.consent()
    assert refusals(in_use.installation, in_use.job, theirs) == {"withdrawn"}
    view = ReceiptsView.parse(member.get("/v1/me/receipts").content)
    assert sorted(row.state for row in view.receipts) == ["given", "withdrawn"]


# --- row 24: the reading host -----------------------------------------------------------------------------------------


def test_row_24_keys_taken_from_a_job_serve_that_lease_only(in_use: Populated) -> None:
    installation, stolen = in_use.installation, in_use.job
    later = installation.job(in_use.staff.requester, in_use.request)
    sealed = in_use.recordings[0].sealed[0]
    assert refusals(installation, stolen, in_use.recordings) == set(), "the positive control: that lease they do serve"
    with installation.custodian_as(None) as custodian, pytest.raises(Refused) as refused:
        custodian.release(later.lease.lease, stolen.signing_key, [(sealed.header, sealed.sealed_key)])
    assert refused.value.code is Code.SIGNATURE_INVALID
    with installation.custodian_as(stolen.signing_key) as custodian, pytest.raises(Refused):
        custodian.me()
    with installation.custodian_as(stolen.signing_key) as custodian, pytest.raises(Refused):
        custodian.open_lease(
            job_signing_key=SigningKey.generate().public,
            job_receiving_key=HybridPrivateKey.generate().public_key.to_text(),
            until=in_use.world.clock() + timedelta(hours=1),
            request=in_use.request,
        )
    in_use.world.clock.forward(hours=24)
    with pytest.raises(Refused):
        refusals(installation, stolen, in_use.recordings)
    with installation.uploader() as collector, pytest.raises(Refused):
        collector.fetch_streams(next(iter(stolen.tickets.values())), stolen.signing_key)


def test_row_24_a_closed_lease_stays_closed(in_use: Populated) -> None:
    with in_use.installation.custodian_as(None) as custodian:
        custodian.close_lease(in_use.job.lease.lease, in_use.job.signing_key, 0)
    with pytest.raises(Refused):
        refusals(in_use.installation, in_use.job, in_use.recordings)


# --- helpers ----------------------------------------------------------------------------------------------------------


def refusals(installation: Installation, job: Job, recordings: list[Recording]) -> set[str]:
    """Ask for these recordings' keys; the reasons of those refused. Raises Refused when the door answers nothing."""
    pairs = [(segment.header, segment.sealed_key) for one in recordings for segment in one.sealed]
    with installation.custodian_as(None) as custodian:
        answer, _ = custodian.release(job.lease.lease, job.signing_key, pairs)
    return {refusal.reason for refusal in answer.refused}


def assert_shut(populated: Populated) -> None:
    """Neither the open lease nor a new one gives anything."""
    with pytest.raises(Refused):
        refusals(populated.installation, populated.job, populated.recordings)
    with pytest.raises(Refused):
        populated.installation.job(populated.staff.requester, populated.request)


def _bytes(text: str) -> bytes:
    import base64

    return base64.b64decode(text)
