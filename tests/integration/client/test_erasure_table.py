"""What happens when a person takes something back, row by row, with a real custodian and a real collector.

| what the person does | what happens |
|---|---|
| erases hours | never opened again, gone from the collector; the rest of the stream lives |
| erases days, or everything | keys destroyed, gone from the collector, and what comes late is not taken |
| withdraws | closed to all but the person, erased after 7 days; also what another device recorded afterwards |
| lets a receipt run out | no certificate, a shut door, until a new receipt covers it; retention runs on |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.exposure.world import Installation, Populated, Recording, Template, installed, populate, populated_copy
from tests.simulators.custodian import Member, with_leaf

from assent.client.collector import StreamRevoked
from assent.client.transport import Refused
from assent.contracts.envelope import sign
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.problems import Code
from assent.contracts.statements import CertificateAnswer, Erasure, Tombstone
from assent.contracts.times import hour_of, moment
from assent.contracts.wire import CertificatesAnswer
from assent_collector import store
from assent_custodian.keys.models import VaultKey
from assent_custodian.night import run_night
from assent_custodian.people.models import Credential


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Populated, Template]]:
    with installed(tmp_path_factory.mktemp("original"), backup_days=0, witness_timeout_s=30) as made:
        yield populate(made), Template(made)


@pytest.fixture
def in_use(original: tuple[Populated, Template], tmp_path: Path) -> Iterator[Populated]:
    """An installation in daily use that the test may spoil."""
    populated, template = original
    with template.copied(tmp_path / "installation") as copied:
        yield populated_copy(populated, copied)


def night(in_use: Populated) -> None:
    """The custodian's night, and the collector carrying out its orders."""
    run_night(in_use.world.custodian)
    in_use.installation.collector.orders.pull_orders_once()


def erase(member: Member, **fields: object) -> None:
    wish = Erasure.model_validate({"person": member.person, "at": member.world.now, **fields})
    answer = member.world.post("/v1/erasures", with_leaf(sign(wish, member.opening)))
    assert answer.status_code == 200, answer.text


def stored(installation: Installation, recording: Recording) -> int:
    """How many segments of this stream the collector has; -1 when it does not know the stream."""
    with installation.collector.database.reading() as session:
        if store.find_stream(session, recording.stream) is None:
            return -1
        return len(store.bodies_of(session, recording.stream, ()))


def has_key(in_use: Populated, recording: Recording) -> bool:
    with in_use.world.custodian.database.reading() as session:
        return session.get(VaultKey, recording.stream) is not None


def of(in_use: Populated, member: Member) -> list[Recording]:
    return [recording for recording in in_use.recordings if recording.member is member]


def opened_by_requester(in_use: Populated, recording: Recording) -> bool:
    """Whether a new lease of the grant names this stream."""
    job = in_use.installation.job(in_use.staff.requester, in_use.request)
    return recording.stream in {leased.stream for leased in job.streams}


# --- hours ---


def test_erased_hours_never_open_again_and_leave_the_collector_while_the_rest_stays(in_use: Populated) -> None:
    inst, world, kim = in_use.installation, in_use.world, in_use.people[0]
    ((certificate, key, envelope),) = kim.certify((Modality.POINTER,))
    recording = Recording(kim, certificate, envelope, key)
    first = hour_of(world.clock())
    recording.seal(inst.content(certificate, in_use.marker), first)
    world.clock.forward(hours=1)
    recording.seal(inst.content(certificate, in_use.marker, 1), hour_of(world.clock()))
    recording.finish()
    inst.upload([recording])
    job = inst.job(in_use.staff.requester, in_use.request)
    erase(kim, hours=(first,), modalities=(Modality.POINTER,))
    pairs = [(segment.header, segment.sealed_key) for segment in recording.sealed]
    with inst.custodian_as(None) as custodian:
        answer, _ = custodian.release(job.lease.lease, job.signing_key, pairs)
    assert [(one.segment, one.reason) for one in answer.refused] == [(recording.sealed[0].id, "erased")]
    assert answer.sealed != "", "the other hour opens"
    assert stored(inst, recording) == 2
    night(in_use)
    assert stored(inst, recording) == 1
    assert has_key(in_use, recording)
    with inst.reading(inst.own_job(kim)) as data:
        pointers = [
            stream
            for session in data.sessions()
            for stream in session.coverage().streams
            if stream.stream == recording.stream
        ]
    assert [(stream.segments, stream.opened, stream.complete) for stream in pointers] == [(1, 1, False)]


# --- days, everything ---


def test_everything_is_gone_from_both_and_nobody_elses(in_use: Populated) -> None:
    inst, kim = in_use.installation, in_use.people[0]
    erase(kim, everything=True)
    with pytest.raises(Refused) as refused:
        inst.own_job(kim)
    assert refused.value.code is Code.NOT_AVAILABLE, "not for its person either"
    night(in_use)
    for recording in in_use.recordings:
        mine = recording.member is kim
        assert (stored(inst, recording), has_key(in_use, recording)) == ((-1, False) if mine else (1, True))


def test_what_comes_after_the_order_is_not_taken_and_what_came_before_it_is_erased(in_use: Populated) -> None:
    inst, kim = in_use.installation, in_use.people[0]
    early, late = inst.record(kim, in_use.marker, (Modality.POINTER, Modality.KEYBOARD), upload=False)
    erase(kim, everything=True)
    inst.upload([early])
    assert stored(inst, early) == 1, "the collector does not know yet"
    night(in_use)
    assert (stored(inst, early), stored(inst, late)) == (-1, -1)
    for recording in (early, late):
        with pytest.raises(StreamRevoked) as caught:
            inst.upload([recording])
        assert in_use.world.read(caught.value.evidence, Tombstone).stream == recording.stream
    assert (stored(inst, early), stored(inst, late)) == (-1, -1)


# --- withdrawal ---


def second_device(in_use: Populated, member: Member) -> Member:
    """The same person with another device key, which gave consent of its own."""
    device = SigningKey.generate()
    with in_use.world.custodian.database.transaction() as session:
        session.add(
            Credential(
                key_id=device.public.id, person=member.person, kind="device", key=device.public.text,
                since=in_use.world.now[:10], revoked=None,
            )
        )  # fmt: skip
    second = replace(member, device=device, previous="0" * 64, receipts=[])
    second.consent()
    return second


def test_what_a_second_device_recorded_after_the_withdrawal_is_never_opened_and_always_erased(
    in_use: Populated,
) -> None:
    inst, world, kim = in_use.installation, in_use.world, in_use.people[0]
    second = second_device(in_use, kim)
    recordings = []
    for certificate, key, envelope in second.certify((Modality.POINTER, Modality.KEYBOARD)):
        recordings.append(Recording(second, certificate, envelope, key))
    before, after = recordings
    assert opened_by_requester(in_use, after), "the positive control: a stream of this device is in a lease"
    assert kim.withdraw().status_code == 200, "on the first device; the second is offline and goes on"
    world.clock.forward(minutes=20)
    for recording in (before, after):
        recording.seal(inst.content(recording.certificate, in_use.marker), hour_of(world.clock()))
        recording.finish()
    inst.upload([before])
    assert not opened_by_requester(in_use, before)
    with inst.custodian_as(None) as custodian:
        pair = (before.sealed[0].header, before.sealed[0].sealed_key)
        answer, _ = custodian.release(in_use.job.lease.lease, in_use.job.signing_key, [pair])
    assert answer.sealed == ""
    night(in_use)
    with pytest.raises(StreamRevoked):
        inst.upload([after])
    assert (stored(inst, before), stored(inst, after)) == (1, -1)
    assert not opened_by_requester(in_use, before)
    world.clock.forward(days=7)
    night(in_use)
    assert (stored(inst, before), stored(inst, after)) == (-1, -1)
    assert not (has_key(in_use, before) or has_key(in_use, after))
    request, _ = second.certificate_request(modalities=(Modality.POINTER,))
    answered = CertificatesAnswer.parse(second.post("/v1/certificates", request, key=second.device).content)
    assert answered.certificates == (None,), "and it gets no permission to go on"


def test_until_it_is_erased_what_was_withdrawn_opens_for_its_person_alone(in_use: Populated) -> None:
    inst, kim = in_use.installation, in_use.people[0]
    mine = of(in_use, kim)
    kim.withdraw()
    night(in_use)
    assert in_use.marker.text.encode() in inst.plaintext(inst.own_job(kim))
    assert not any(opened_by_requester(in_use, recording) for recording in mine)
    in_use.world.clock.forward(days=7)
    night(in_use)
    assert [stored(inst, recording) for recording in mine] == [-1] * 4
    assert not any(has_key(in_use, recording) for recording in mine)


# --- expiry ---


def test_expiry_stops_recording_and_shuts_the_door_until_a_new_receipt_covers_it(in_use: Populated) -> None:
    inst, world, kim, lee = in_use.installation, in_use.world, *in_use.people[:2]
    for member in (kim, lee):
        member.consent(valid_until=moment(world.clock() + timedelta(hours=3)))
    (mine,) = inst.record(kim, in_use.marker, (Modality.POINTER,))
    (theirs,) = inst.record(lee, in_use.marker, (Modality.POINTER,))
    job = inst.job(in_use.staff.requester, in_use.request)
    assert {mine.stream, theirs.stream} <= {leased.stream for leased in job.streams}
    world.clock.forward(hours=4)
    request, _ = kim.certificate_request(modalities=(Modality.POINTER,))
    answered = CertificatesAnswer.parse(kim.post("/v1/certificates", request, key=kim.device).content)
    assert answered.certificates == (None,)
    assert "no valid receipt" in (world.read(answered.answer, CertificateAnswer).refusal or "")
    pairs = [(one.sealed[0].header, one.sealed[0].sealed_key) for one in (mine, theirs)]
    with inst.custodian_as(None) as custodian:
        answer, _ = custodian.release(job.lease.lease, job.signing_key, pairs)
    assert answer.sealed == "" and {one.reason for one in answer.refused} == {"expired"}
    assert not opened_by_requester(in_use, mine)
    night(in_use)
    assert (stored(inst, mine), has_key(in_use, mine)) == (1, True), "expiry erases nothing"

    lee.withdraw()
    world.clock.forward(minutes=1)
    for member in (kim, lee):
        member.consent()
    assert opened_by_requester(in_use, mine), "renewed"
    assert not opened_by_requester(in_use, theirs), "withdrawn never"
    with inst.custodian_as(None) as custodian:
        answer, _ = custodian.release(job.lease.lease, job.signing_key, pairs)
    assert [(one.segment, one.reason) for one in answer.refused] == [(theirs.sealed[0].id, "withdrawn")]
    assert answer.sealed != ""


def test_retention_runs_on_and_erases_at_the_collector_too(in_use: Populated) -> None:
    in_use.world.clock.forward(days=181)
    night(in_use)
    for recording in in_use.recordings:
        assert (stored(in_use.installation, recording), has_key(in_use, recording)) == (-1, False)
