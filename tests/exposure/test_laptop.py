"""Rows 19 to 22: a stolen laptop, malware in the person's name, a modified agent, and the network in between."""

from __future__ import annotations

import base64
import json
import secrets
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from tests.exposure.canary import Named, must_not_leak, search
from tests.exposure.test_reading import refusals
from tests.exposure.world import Answer, Ask, Populated, Recording
from tests.simulators.custodian import PURPOSE, Member

from assent.client.custodian import CustodianClient
from assent.client.directory import DirectoryRefused, TrustedDirectory
from assent.client.joining import join, look_up
from assent.client.transport import AnswerInvalid, ClientError, Refused
from assent.codec.content import decode_content, pictures
from assent.codec.events import encode_events
from assent.codec.limits import ContentInvalid
from assent.contracts.codes import CodeInvalid, InvitationCode
from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey, b64url, fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.segment import EndRecord, SkipRecord
from assent.contracts.statements import Choice, StreamCertificate, StreamWanted
from assent.contracts.times import hour_of
from assent.contracts.wire import BODY_SHA256_FIELD, HEADER_FIELD, SEALED_KEY_FIELD, SIGNATURE_FIELD
from assent.sealing.errors import BodyInvalid, SealInvalid
from assent.sealing.hpke import HybridPrivateKey, HybridPublicKey
from assent.sealing.segments import (
    DataKey,
    SealedSegment,
    open_body,
    open_sealed_key,
    seal_segment,
    sign_record,
)
from assent_agent.adapters.secret_file import SecretFile
from assent_agent.core.recorder import Draft
from assent_agent.spool import spool as module
from assent_agent.spool.spool import Spool
from assent_custodian.log.service import newest_of_type


def rules_of_refusals(populated: Populated) -> list[str | None]:
    """By which rules leases were refused, in the order of the log."""
    with populated.world.custodian.database.reading() as session:
        found = newest_of_type(session, LeafType.LEASE_REFUSED, 500)
    return [Leaf.model_validate_json(data).rule for _, data in reversed(found)]


# --- row 19: a stolen laptop, off -------------------------------------------------------------------------------------


def drafts(populated: Populated, recording_of: StreamCertificate) -> Draft:
    content = decode_content(populated.installation.content(recording_of, populated.marker))
    now = populated.world.clock()
    return Draft(
        modality=recording_of.modality, hour=hour_of(now), from_ns=0, until_ns=1, events=content.events,
        anchors=content.anchors, gaps=(), frames=content.frames, resolution_ns=1_000_000,
    )  # fmt: skip


def laptop(populated: Populated, member: Member, folder: Path) -> tuple[Spool, list[StreamCertificate]]:
    """The disk of a laptop in mid-recording: held segments in the spool, stream keys and device key in key files."""
    folder.mkdir()
    store = SecretFile(folder / "secrets", "correct horse battery")
    store.put("device", member.device.to_pem())
    spool = Spool(folder / "spool", store, now=populated.world.clock(), reserve_bytes=0)
    certificates = []
    for certificate, key, envelope in member.certify():
        stream = spool.open_stream(envelope, key, populated.world.clock())
        spool.seal(stream, drafts(populated, certificate), populated.world.clock())
        certificates.append(certificate)
    return spool, certificates


def test_row_19_the_disk_of_a_stolen_laptop_holds_neither_text_nor_tile(in_use: Populated, tmp_path: Path) -> None:
    spool, certificates = laptop(in_use, in_use.people[0], tmp_path / "disk")
    held = spool.held.all()
    assert len(held) == 4, "the agent itself can still show them"
    must_not_leak([tmp_path / "disk"], in_use.marker)
    plain = [in_use.installation.content(certificate, in_use.marker) for certificate in certificates]
    assert search([Named("what was sealed", b"".join(plain))], in_use.marker), "the positive control"


def test_row_19_positive_control_a_spool_that_leaks_is_caught(
    in_use: Populated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that writes what it is about to seal beside the segment, as a careless debugging line would."""
    honest = module.seal_segment

    def leaking(**fields: Any) -> Any:
        (tmp_path / "disk" / "spool" / "debug.tmp").write_bytes(fields["content"])
        return honest(**fields)

    monkeypatch.setattr(module, "seal_segment", leaking)
    laptop(in_use, in_use.people[0], tmp_path / "disk")
    assert search([tmp_path / "disk"], in_use.marker)


def test_row_19_neither_data_keys_nor_vault_keys_are_on_the_disk(in_use: Populated, tmp_path: Path) -> None:
    spool, certificates = laptop(in_use, in_use.people[0], tmp_path / "disk")
    disk = b"\n".join(path.read_bytes() for path in (tmp_path / "disk").rglob("*") if path.is_file())
    for held in spool.held.all():
        raw = held.key.to_bytes()
        for form in (raw, raw.hex().encode(), b64url(raw).encode()):
            assert form not in disk
        assert repr(raw)[2:-1] not in repr(held) and raw.hex() not in repr(held)
    assert in_use.people[0].device.ed25519.private_bytes_raw() not in disk, "the key file is encrypted, too"
    assert in_use.people[0].device.to_pem() not in disk
    assert certificates[0].stream.encode() in disk, "the positive control: what is there is found"


def test_row_19_times_of_spooled_files_are_whole_hours(in_use: Populated, tmp_path: Path) -> None:
    """What a program can set. The file system's own change time (ctime) stays, and the documents say so."""
    laptop(in_use, in_use.people[0], tmp_path / "disk")
    files = [path for path in (tmp_path / "disk" / "spool").rglob("*") if path.is_file()]
    assert files
    assert {path.stat().st_mtime % 3600 for path in files} == {0}


def test_row_19_every_key_on_the_laptop_together_opens_nothing(in_use: Populated, tmp_path: Path) -> None:
    member = in_use.people[0]
    spool, _ = laptop(in_use, member, tmp_path / "disk")
    segments = [spool.read_segment(item) for view in spool.streams(in_use.world.clock()) for item in view.items]
    keys = [member.device, *(spool.stream_key(view.stream) for view in spool.streams(in_use.world.clock()))]
    for segment in segments:
        for key in keys:
            assert key is not None
            seed = key.ed25519.private_bytes_raw()
            with pytest.raises(BodyInvalid):
                open_body(segment.header, segment.body, DataKey(seed))
            with pytest.raises(SealInvalid):
                open_sealed_key(segment.sealed_key, segment.header, HybridPrivateKey.from_private_bytes(seed * 3))


def test_row_19_the_keys_of_a_revoked_laptop_serve_nothing(in_use: Populated) -> None:
    """Whoever has the disk and its passphrases, after the person revoked it from elsewhere."""
    member = in_use.people[0]
    inst = in_use.installation
    certified = member.certify((Modality.POINTER,))
    stolen = member.add_key("opening")
    job = inst.own_job(member, key=stolen)
    theirs = [one for one in in_use.recordings if one.member is member]
    assert refusals(inst, job, theirs) == set(), "the positive control: before, the thief's lease opens"
    recording = Recording(member, *(certified[0][n] for n in (0, 2, 1)))
    inst.upload([recording])
    assert member.revoke(member.device).status_code == 200
    assert member.revoke(stolen).status_code == 200
    with pytest.raises(Refused) as refused:
        refusals(inst, job, theirs)
    assert refused.value.problem.members["rule"] == "credential-revoked"
    for key in (member.device, stolen):
        assert member.get("/v1/me", key=key).status_code == 401
    with pytest.raises(Refused):
        inst.own_job(member, key=stolen)
    assert rules_of_refusals(in_use)[-1] == "credential-revoked", "and the log says that it was tried"
    assert inst.collector.orders.pull_orders_once() == 1, "at once, not in the night"
    sealed = recording.seal(inst.content(recording.certificate, in_use.marker), hour_of(in_use.world.clock()))
    assert put(in_use, recording, sealed, 0).json()["type"].endswith("revoked"), "the spool cannot be sent"


# --- row 20: malware as the person ------------------------------------------------------------------------------------


def test_row_20_the_device_key_opens_nothing_at_the_door(in_use: Populated) -> None:
    member = in_use.people[0]
    with pytest.raises(Refused) as refused:
        in_use.installation.own_job(member, key=member.device)
    assert refused.value.code.status == 403
    assert in_use.installation.own_job(member).streams, "the positive control: the opening credential does"


def test_row_20_malware_may_stop_and_erase_and_learn_what_the_agent_knows(in_use: Populated) -> None:
    """What remains for it, said plainly: the open and the held segments, and harm that the person is told of."""
    member = in_use.people[0]
    assert member.get("/v1/me/receipts", key=member.device).status_code == 200
    for target in ("/v1/people", "/v1/requests", "/v1/log/entries", "/v1/catalogue"):
        assert member.get(target, key=member.device).status_code == 403
    assert member.withdraw().status_code == 200


def test_row_20_an_unlocked_session_of_the_reader_leaves_nothing_of_others(in_use: Populated) -> None:
    job = in_use.installation.own_job(in_use.people[0])
    others = [one for one in in_use.recordings if one.member is not in_use.people[0]]
    assert refusals(in_use.installation, job, others) == {"not-leased"}


# --- row 21: a modified agent -----------------------------------------------------------------------------------------


def put(populated: Populated, recording: Recording, segment: SealedSegment, sequence: int | None = None) -> Any:
    fields = {
        HEADER_FIELD: b64url(segment.header), SEALED_KEY_FIELD: b64url(segment.sealed_key),
        BODY_SHA256_FIELD: segment.body_sha256.hex(), SIGNATURE_FIELD: b64url(segment.signature),
    }  # fmt: skip
    number = len(recording.sealed) if sequence is None else sequence
    return populated.installation.collector_client.put(
        f"/v1/streams/{recording.stream}/segments/{number}", content=segment.body, headers=fields
    )


def test_row_21_an_agent_writes_into_no_stream_but_its_own(in_use: Populated) -> None:
    mine = in_use.installation.record(in_use.people[0], in_use.marker, (Modality.POINTER,), upload=False)[0]
    theirs = next(one for one in in_use.recordings if one.member is not in_use.people[0])
    injected, _ = seal_segment(
        content=b"injected", stream=theirs.stream, sequence=0, previous="0" * 64, hour=hour_of(in_use.world.clock()),
        vault_key=HybridPrivateKey.generate().public_key, stream_key=mine.key.ed25519,
    )  # fmt: skip
    assert put(in_use, theirs, injected, 0).status_code in (401, 409)
    claim = sign(theirs.certificate.model_copy(update={"stream_key": mine.key.public.text}), mine.key)
    answer = in_use.installation.collector_client.put(f"/v1/streams/{theirs.stream}", content=claim.to_json())
    assert answer.status_code == 403
    end = sign_record(
        EndRecord(stream=theirs.stream, next_sequence=1, previous=theirs.previous, how="clean"), mine.key.ed25519
    )
    with in_use.installation.uploader() as collector, pytest.raises(Refused):
        collector.send_record(record=end.record, signature=end.signature)


def test_row_21_nothing_that_was_stored_is_ever_replaced(in_use: Populated) -> None:
    mine = in_use.recordings[0]
    second, _ = seal_segment(
        content=b"another past", stream=mine.stream, sequence=0, previous="0" * 64, hour=mine_hour(mine),
        vault_key=vault_key(mine), stream_key=mine.key.ed25519,
    )  # fmt: skip
    assert put(in_use, mine, second, 0).status_code == 409
    skip = SkipRecord(
        stream=mine.stream, from_sequence=0, to_sequence=0, previous="0" * 64, last_skipped="0" * 64, reason="forgotten"
    )
    signed = sign_record(skip, mine.key.ed25519)
    with in_use.installation.uploader() as collector, pytest.raises(Refused):
        collector.send_record(record=signed.record, signature=signed.signature)
    assert refusals(in_use.installation, in_use.job, [mine]) == set()


@pytest.mark.parametrize("when", ["yesterday", "after the certificate", "another day"])
def test_row_21_an_agent_records_at_no_other_time_than_it_may(when: str, in_use: Populated) -> None:
    mine = in_use.installation.record(in_use.people[0], in_use.marker, (Modality.POINTER,), upload=False)[0]
    now = in_use.world.clock()
    until = datetime.fromisoformat(f"{mine.certificate.record_until}:00:00+00:00")
    at = {
        "yesterday": now - timedelta(days=1), "after the certificate": until, "another day": now + timedelta(days=3),
    }[when]  # fmt: skip
    mine.sealed.clear()
    mine.seal(b"x", hour_of(at))
    mine.end = None
    with pytest.raises(Refused):
        in_use.installation.upload([mine])


def test_row_21_what_does_not_open_harms_only_itself(in_use: Populated) -> None:
    """Sealed to a key of its own: the door says damaged for this one, and answers the rest."""
    mine, other = in_use.recordings[0], in_use.recordings[1]
    hostile, _ = seal_segment(
        content=b"x", stream=mine.stream, sequence=1, previous=mine.previous, hour=mine_hour(mine),
        vault_key=HybridPrivateKey.generate().public_key, stream_key=mine.key.ed25519,
    )  # fmt: skip
    pairs = [(hostile.header, hostile.sealed_key), (other.sealed[0].header, other.sealed[0].sealed_key)]
    with in_use.installation.custodian_as(None) as custodian:
        answer, _ = custodian.release(in_use.job.lease.lease, in_use.job.signing_key, pairs)
    assert [refusal.reason for refusal in answer.refused] == ["damaged"]
    assert answer.sealed


def test_row_21_there_are_no_two_plaintexts_for_one_ciphertext(in_use: Populated) -> None:
    """The body commits to its key: whoever holds another key opens nothing, instead of something else."""
    certificate = in_use.recordings[0].certificate
    segment, key = seal_segment(
        content=b"what the person saw in the review", stream=certificate.stream, sequence=0, previous="0" * 64,
        hour=hour_of(in_use.world.clock()), vault_key=vault_key(in_use.recordings[0]),
        stream_key=in_use.recordings[0].key.ed25519,
    )  # fmt: skip
    assert open_body(segment.header, segment.body, key) == b"what the person saw in the review"
    for _ in range(50):
        with pytest.raises(BodyInvalid):
            open_body(segment.header, segment.body, DataKey(secrets.token_bytes(32)))


def _bomb(events: bytes, frames: bytes = b"") -> bytes:
    """An envelope of content with this block of events and these pictures."""
    return msgspec.msgpack.encode(
        {
            "v": 1, "stream": "0" * 32, "sequence": 0, "modality": "screen", "resolution_ns": 1, "events": events,
            "anchors": [(0, 0, False)], "gaps": [], "frames": frames,
        }
    )  # fmt: skip


def _undeclared(size: int) -> bytes:
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    return b"".join(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)) + compressor.flush()


BOMBS: dict[str, bytes] = {
    "a gigabyte of events": _bomb(zstandard.compress(bytes(1 << 30), 1)),
    "a gigabyte that does not say so": _bomb(_undeclared(1 << 30)),
    "a gigabyte of pictures": _bomb(encode_events(()), _undeclared(1 << 30)),
    "nesting": b"\x91" * 200_000,
    "noise": secrets.token_bytes(5000),
    "nothing": b"",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_row_21_bombs_are_refused_before_they_take_memory(bomb: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ContentInvalid):
            list(pictures(decode_content(BOMBS[bomb])))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * 1024 * 1024


def test_row_21_the_collector_outlives_every_hostile_segment(in_use: Populated) -> None:
    mine = in_use.installation.record(in_use.people[0], in_use.marker, (Modality.POINTER,), upload=False)[0]
    with in_use.installation.uploader() as collector:
        collector.announce(mine.envelope)
    good = mine.sealed[0]
    hostile = [
        SealedSegment(b"", good.sealed_key, good.body, good.body_sha256, good.signature),
        SealedSegment(good.header, b"", good.body, good.body_sha256, good.signature),
        SealedSegment(good.header, good.sealed_key, good.body + b"x", good.body_sha256, good.signature),
        SealedSegment(good.header, good.sealed_key, bytes(len(good.body)), good.body_sha256, good.signature),
        SealedSegment(good.header, good.sealed_key, good.body, good.body_sha256, bytes(64)),
        SealedSegment(good.header[:-1] + b" }", good.sealed_key, good.body, good.body_sha256, good.signature),
        SealedSegment(
            good.header.replace(b'"length":', b'"length":9'), good.sealed_key, good.body, bytes(32), bytes(64)
        ),
    ]
    for segment in hostile:
        answer = put(in_use, mine, segment, 0)
        assert 400 <= answer.status_code < 500, answer.text
    in_use.installation.upload([mine])


def test_row_21_a_modified_agent_gets_no_certificate_for_what_was_not_agreed_to(in_use: Populated) -> None:
    member = in_use.world.add_person("Careful")
    member.consent(choices=(Choice(modality=Modality.POINTER, purpose=PURPOSE, purpose_version=1),))
    request, _ = member.certificate_request()
    answer = member.post("/v1/certificates", request, key=member.device).json()
    got = [certificate is not None for certificate in answer["certificates"]]
    assert got == [modality is Modality.POINTER for modality in Modality]
    key, now = SigningKey.generate(), in_use.world.clock()
    for day in (now - timedelta(days=1), now + timedelta(days=2)):
        wanted = [StreamWanted(stream_key=key.public.text, modality=Modality.POINTER, day=day.date().isoformat())]
        request, _ = member.certificate_request(streams=wanted)
        assert member.post("/v1/certificates", request, key=member.device).json()["certificates"] == [None]


# --- row 22: the network in the middle --------------------------------------------------------------------------------


def test_row_22_tls_inspection_sees_neither_text_nor_tile(in_use: Populated) -> None:
    installation = in_use.installation
    carried: list[bytes] = []

    def tap(ask: Ask, real: Callable[[], Answer]) -> Answer:
        answer = real()
        carried.extend((ask.content, repr(ask.headers.raw).encode(), answer.content))
        return answer

    installation.enemy = tap
    installation.record(in_use.people[0], in_use.marker)
    job = installation.job(in_use.staff.requester, in_use.request)
    plain = installation.plaintext(job)
    assert search([Named("in the reader's memory", plain)], in_use.marker), "the positive control: it was read"
    assert len(carried) > 30
    must_not_leak([Named(f"message {n}", data) for n, data in enumerate(carried)], in_use.marker)


def test_row_22_positive_control_a_message_in_the_clear_is_caught(in_use: Populated) -> None:
    installation = in_use.installation
    installation.heard.clear()
    recording = installation.record(in_use.people[0], in_use.marker, (Modality.CONTEXT,), upload=False)[0]
    plain = installation.content(recording.certificate, in_use.marker)
    with installation.uploader() as collector, pytest.raises(Refused):
        collector.transport.request("PUT", f"/v1/streams/{recording.stream}", body=plain)
    assert search([Named(str(ask.url), ask.content) for ask in installation.heard], in_use.marker)


def test_row_22_a_swapped_root_ends_enrolment_before_the_secret_leaves(in_use: Populated) -> None:
    world, installation = in_use.world, in_use.installation
    code, invitation = world.invitation("Kim")
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    enemy_root = SigningKey.generate()
    false = world.custodian.directory.directory.model_copy(update={"root_key": enemy_root.public.text})

    def swap(ask: Ask, real: Callable[[], Answer]) -> Answer:
        if ask.url.path == "/v1/directory":
            return Answer(200, headers={"content-type": "application/json"}, content=sign(false, enemy_root).to_json())
        return real()

    installation.enemy = swap
    installation.heard.clear()
    with pytest.raises(DirectoryRefused):
        join(code.to_text(), {"device", "opening"}, clock=world.clock, transport=installation.wire)
    assert [ask.url.path for ask in installation.heard] == ["/v1/directory"]
    assert code.secret_hex.encode() not in b"".join(ask.content for ask in installation.heard)
    installation.enemy = None
    member = join(code.to_text(), {"device", "opening"}, clock=world.clock, transport=installation.wire)
    assert member.name == "Kim", "the positive control: the honest way works, with the same code"


def test_row_22_a_mistyped_code_goes_nowhere(in_use: Populated) -> None:
    code = InvitationCode.new("http://127.0.0.1:8401", in_use.world.report.root_fingerprint).to_text()
    other = "b" if code[-1] != "b" else "c"
    in_use.installation.heard.clear()
    with pytest.raises(CodeInvalid):
        join(code[:-1] + other, {"device"}, transport=in_use.installation.wire)
    assert in_use.installation.heard == []


def test_row_22_a_captive_portal_is_nobody(in_use: Populated) -> None:
    installation = in_use.installation

    def portal(_ask: Ask, _real: Callable[[], Answer]) -> Answer:
        return Answer(200, headers={"content-type": "text/html"}, content=b"<h1>Accept our terms</h1>")

    recording = installation.record(in_use.people[0], in_use.marker, (Modality.POINTER,), upload=False)[0]
    code = InvitationCode.new("http://127.0.0.1:8401", in_use.world.report.root_fingerprint)
    installation.enemy = portal
    with pytest.raises(ClientError):
        installation.upload([recording])
    with pytest.raises(ClientError):
        look_up(code, transport=installation.wire)
    with installation.custodian_as(in_use.people[0].device) as custodian:
        for ask in (custodian.news, custodian.receipts, custodian.me):
            with pytest.raises(ClientError):
                ask()


def test_row_22_answers_of_another_time_are_not_believed(in_use: Populated) -> None:
    """Replay of news (halted no more), of certificates, and of an older directory."""
    installation, member = in_use.installation, in_use.people[0]
    recorded: dict[str, Answer] = {}

    def replay(ask: Ask, real: Callable[[], Answer]) -> Answer:
        path = ask.url.path
        if path in recorded:
            return recorded[path]
        recorded[path] = real()
        return recorded[path]

    installation.enemy = replay
    wanted = [
        StreamWanted(
            stream_key=SigningKey.generate().public.text, modality=Modality.POINTER, day=in_use.world.now[:10]
        )
    ]  # fmt: skip
    calls: list[Callable[[CustodianClient], object]] = [lambda c: c.news(), lambda c: c.certificates(wanted)]
    for call in calls:
        with installation.custodian_as(member.device) as custodian:
            call(custodian)
            with pytest.raises(AnswerInvalid):
                call(custodian)


def test_row_22_an_older_directory_is_refused(in_use: Populated) -> None:
    world = in_use.world
    root = SigningKey.from_pem((world.settings.data_dir / "root" / "root.key").read_bytes())
    current = world.custodian.directory.directory
    newer = sign(current.model_copy(update={"version": current.version + 1}), root)
    trusted = TrustedDirectory(fingerprint(root.public.text))
    trusted.accept(newer)
    with pytest.raises(DirectoryRefused):
        trusted.accept(world.custodian.directory.envelope)
    with pytest.raises(DirectoryRefused):
        trusted.accept(sign(current.model_copy(update={"version": 9}), SigningKey.generate()))


def test_row_22_a_message_that_was_overheard_is_of_no_use(in_use: Populated) -> None:
    """Every request that changes something, sent a second time by somebody else."""
    installation, member = in_use.installation, in_use.people[0]
    installation.heard.clear()
    installation.own_job(member)
    installation.record(member, in_use.marker, (Modality.POINTER,))
    with installation.custodian_as(member.opening) as custodian:
        custodian.me()
    overheard = list(installation.heard)
    streams = installation.own_job(member).streams
    refused = rules_of_refusals(in_use)
    for ask in [one for one in overheard for _ in range(3)]:
        if ask.url.port == 8401 and ask.url.path in ("/v1/leases", "/v1/me", "/v1/certificates"):
            answer = installation._deliver(ask)
            assert answer.status_code == 401, ask.url.path
    assert rules_of_refusals(in_use) == [*refused, "replayed"], "the log says it, once"
    assert {one.stream for one in installation.own_job(member).streams} == {one.stream for one in streams}


def test_row_22_keys_in_a_lease_cannot_be_exchanged_on_the_way(in_use: Populated) -> None:
    enemy_job = SigningKey.generate()

    def exchange(ask: Ask, real: Callable[[], Answer]) -> Answer:
        if ask.url.path != "/v1/leases":
            return real()
        envelope = Envelope.from_json(ask.content)
        payload = json.loads(envelope.payload_bytes)
        payload["job_signing_key"] = enemy_job.public.text
        changed = envelope.model_copy(update={"payload": base64.b64encode(json.dumps(payload).encode()).decode()})
        answer = in_use.world.post("/v1/leases", changed.to_json())
        return Answer(answer.status_code, headers=dict(answer.headers), content=answer.content)

    in_use.installation.enemy = exchange
    with pytest.raises(Refused) as refused:
        in_use.installation.job(in_use.staff.requester, in_use.request)
    assert refused.value.code.status == 401


def mine_hour(recording: Recording) -> str:
    header = json.loads(recording.sealed[0].header)
    return str(header["hour"])


def vault_key(recording: Recording) -> HybridPublicKey:
    return HybridPublicKey.from_text(recording.certificate.vault_key)
