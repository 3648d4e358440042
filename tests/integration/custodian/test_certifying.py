"""Permission to record: only under a live receipt of this very device, and each stream with a vault key of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.simulators.custodian import PURPOSE, CustodianWorld, Member, custodian_world, payload_changed, problem

from assent.contracts.envelope import sign
from assent.contracts.events import KeyboardMode
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import CertificateAnswer, Choice, Role, StreamCertificate, StreamWanted
from assent.contracts.times import moment
from assent.contracts.wire import CertificatesAnswer
from assent.sealing.errors import SealInvalid
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import SealedSegment, seal_segment
from assent_custodian.keys import erasure, vault
from assent_custodian.keys.models import Stream, VaultKey
from assent_custodian.keys.wrapping import WrapInvalid


@pytest.fixture
def kim(world: CustodianWorld) -> Member:
    world.add_purpose()
    member = world.add_person("Kim")
    member.consent()
    return member


@pytest.fixture
def lee(lite: CustodianWorld) -> Member:
    """On SQLite only."""
    lite.add_purpose()
    member = lite.add_person("Lee")
    member.consent()
    return member


def wanted(member: Member, modality: Modality = Modality.POINTER, **fields: str) -> StreamWanted:
    content = {"stream_key": SigningKey.generate().public.text, "day": member.world.now[:10], **fields}
    return StreamWanted.model_validate({"modality": modality, **content})


def ask(member: Member, *streams: StreamWanted, key: SigningKey | None = None) -> tuple[CertificatesAnswer, str | None]:
    """The answer, and the signed reason for what was refused."""
    request, _ = member.certificate_request(streams)
    response = member.post("/v1/certificates", request, key=key or member.device)
    assert response.status_code == 200, response.text
    answer = CertificatesAnswer.parse(response.content)
    summary = member.world.read(answer.answer, CertificateAnswer)
    assert summary.nonce == request.nonce
    assert [envelope and envelope.hash for envelope in answer.certificates] == list(summary.certificates)
    return answer, summary.refusal


def segment(member: Member) -> tuple[SealedSegment, bytes, str]:
    """A sealed segment of a freshly certified stream, its data key and its stream."""
    ((certificate, key, _),) = member.certify((Modality.POINTER,))
    sealed, data_key = seal_segment(
        content=b"moves",
        stream=certificate.stream,
        sequence=0,
        previous=FIRST_PREVIOUS,
        hour=member.world.now[:13],
        vault_key=HybridPublicKey.from_text(certificate.vault_key),
        stream_key=key.ed25519,
    )
    return sealed, data_key.to_bytes(), certificate.stream


def test_each_modality_gets_a_stream_with_its_own_vault_key(kim: Member) -> None:
    certified = kim.certify()
    assert [certificate.modality for certificate, _, _ in certified] == list(Modality)
    assert len({certificate.vault_key for certificate, _, _ in certified}) == 4
    assert len({certificate.stream for certificate, _, _ in certified}) == 4
    for certificate, key, _ in certified:
        assert certificate.stream_key == key.public.text
        assert (certificate.day, certificate.record_until) == ("2026-11-23", "2026-11-24T00")
        assert certificate.upload_until == "2026-12-07"


def test_nothing_in_a_certificate_can_be_joined_with_person_receipt_or_time(kim: Member) -> None:
    for _, _, envelope in kim.certify():
        payload = envelope.payload_bytes.decode()
        receipt = kim.receipts[-1]
        for secret in (kim.person, receipt.record, sign(receipt, kim.device).hash, kim.device.public.id, "09:00"):
            assert secret not in payload


def test_without_a_receipt_there_is_no_certificate_and_no_vault_key(lite: CustodianWorld) -> None:
    lite.add_purpose()
    lee = lite.add_person("Lee")
    answer, refusal = ask(lee, wanted(lee))
    assert answer.certificates == (None,)
    assert refusal == "there is no valid receipt of this device"
    with lite.custodian.database.reading() as session:
        assert session.scalars(select(VaultKey)).all() == []


def test_a_modality_that_was_not_agreed_to_gets_none(kim: Member) -> None:
    kim.consent(choices=(Choice(modality=Modality.POINTER, purpose=PURPOSE, purpose_version=1),))
    answer, refusal = ask(kim, wanted(kim, Modality.POINTER), wanted(kim, Modality.SCREEN))
    assert [envelope is not None for envelope in answer.certificates] == [True, False]
    assert refusal == "the receipt does not cover screen"


def test_a_keyboard_that_is_off_gets_none(lee: Member) -> None:
    lee.consent(keyboard_mode=KeyboardMode.OFF)
    _, refusal = ask(lee, wanted(lee, Modality.KEYBOARD))
    assert refusal == "the receipt says that the keyboard is off"


def test_a_receipt_given_on_one_device_does_not_start_another(lee: Member) -> None:
    """The opening credential is no device, and a second device has no receipt of its own."""
    from assent_custodian.people.models import Credential

    second = SigningKey.generate()
    with lee.world.custodian.database.transaction() as session:
        session.add(
            Credential(
                key_id=second.public.id, person=lee.person, kind="device", key=second.public.text, since="2026-11-23"
            )
        )
    _, refusal = ask(lee, wanted(lee), key=second)
    assert refusal == "there is no valid receipt of this device"
    request, _ = lee.certificate_request()
    assert problem(lee.post("/v1/certificates", request, key=lee.opening)) == "forbidden"


def test_a_withdrawn_or_expired_receipt_certifies_nothing_more(lee: Member) -> None:
    lee.withdraw(modalities=(Modality.SCREEN,))
    assert ask(lee, wanted(lee, Modality.SCREEN))[1] == "the receipt does not cover screen"
    lee.world.clock.forward(days=185)
    assert ask(lee, wanted(lee))[1] == "there is no valid receipt of this device"


def test_a_certificate_ends_with_the_receipt(lee: Member) -> None:
    lee.consent(valid_until=moment(lee.world.clock() + timedelta(hours=3)))
    ((certificate, _, _), *_) = lee.certify()
    assert certificate.record_until == "2026-11-23T12"


def test_a_halted_programme_certifies_nothing_and_says_why(kim: Member) -> None:
    kim.world.halt("an incident")
    answer, refusal = ask(kim, wanted(kim))
    assert (answer.certificates, refusal) == ((None,), "the programme is halted: an incident")
    kim.world.resume()
    assert ask(kim, wanted(kim))[1] is None


@pytest.mark.parametrize("missing", [Role.ADMIN, Role.COUNCIL, Role.DPO])
def test_without_all_three_founders_nothing_is_certified(tmp_path: Path, missing: Role) -> None:
    with custodian_world(tmp_path, found=False) as world:
        someone = next(role for role in world.report.codes if role is not missing)
        member = world.join(world.report.codes[someone], "One")
        _, refusal = ask(member, wanted(member))
        assert refusal is not None
        assert "have not all enrolled" in refusal


# --- extending ---


def test_a_stream_is_extended_by_its_person_and_key_only(kim: Member) -> None:
    tomorrow = "2026-11-24"
    stream_key = SigningKey.generate().public.text
    first, _ = ask(kim, wanted(kim, stream_key=stream_key, day=tomorrow))
    assert first.certificates[0] is not None
    certificate = kim.world.read(first.certificates[0], StreamCertificate)
    assert certificate.record_until == "2026-11-24T09"
    kim.world.clock.forward(hours=2)
    again, refusal = ask(kim, wanted(kim, stream_key=stream_key, day=tomorrow, stream=certificate.stream))
    assert refusal is None
    assert again.certificates[0] is not None
    extended = kim.world.read(again.certificates[0], StreamCertificate)
    assert extended == certificate.model_copy(update={"record_until": "2026-11-24T11"})

    other = kim.world.add_person("Other")
    other.consent()
    for stream in (
        wanted(other, stream_key=stream_key, day=tomorrow, stream=certificate.stream),
        wanted(other, stream_key=stream_key, day=tomorrow),
        wanted(other, day=tomorrow, stream=certificate.stream),
        wanted(other, day=tomorrow, stream="0" * 32),
    ):
        answer, refusal = ask(other, stream)
        assert answer.certificates == (None,)
        assert refusal == "there is no such stream to extend, or the stream key is used already"
    for stream in (
        wanted(kim, day=tomorrow, stream=certificate.stream),
        wanted(kim, stream_key=stream_key, stream=certificate.stream),
        wanted(kim, Modality.SCREEN, stream_key=stream_key, day=tomorrow, stream=certificate.stream),
    ):
        assert ask(kim, stream)[0].certificates == (None,)


def test_a_lost_answer_is_asked_for_again_without_a_second_stream(lee: Member) -> None:
    stream = wanted(lee)
    first, second = ask(lee, stream)[0], ask(lee, stream)[0]
    assert first.certificates == second.certificates
    with lee.world.custodian.database.reading() as session:
        assert len(session.scalars(select(Stream)).all()) == 1


def test_a_closed_stream_is_not_extended_under_a_new_receipt(lee: Member) -> None:
    stream = wanted(lee)
    ask(lee, stream)
    lee.withdraw()
    lee.world.clock.forward(seconds=1)
    lee.consent()
    assert ask(lee, stream)[0].certificates == (None,)
    assert ask(lee, wanted(lee))[1] is None


@pytest.mark.parametrize("key", ["ed25519:" + "A" * 42 + "B", "p256:" + "A" * 44])
def test_a_stream_key_is_an_ed25519_key(lee: Member, key: str) -> None:
    _, refusal = ask(lee, wanted(lee, stream_key=key))
    assert refusal is not None
    assert "key" in refusal


# --- the evidence ---


def test_removed_swapped_stale_and_replayed_requests_are_refused(kim: Member) -> None:
    request, _ = kim.certificate_request()
    envelope = sign(request, kim.device)
    other, _ = kim.certificate_request()
    swapped = envelope.model_copy(update={"signatures": sign(other, kim.device).signatures})
    assert problem(kim.world.post("/v1/certificates", swapped.to_json())) == "signature-invalid"
    changed = payload_changed(envelope, b'"pointer"', b'"context"')
    assert problem(kim.world.post("/v1/certificates", changed.to_json())) == "signature-invalid"
    stranger = sign(request, SigningKey.generate())
    assert problem(kim.world.post("/v1/certificates", stranger.to_json())) == "not-signed-in"
    assert kim.world.post("/v1/certificates", envelope.to_json()).status_code == 200
    assert problem(kim.world.post("/v1/certificates", envelope.to_json())) == "stale"
    late = sign(other, kim.device)
    kim.world.clock.forward(seconds=121)
    assert problem(kim.world.post("/v1/certificates", late.to_json())) == "stale"


# --- the vault ---


def test_the_vault_opens_what_was_sealed_to_a_stream(kim: Member) -> None:
    sealed, data_key, stream = segment(kim)
    custodian = kim.world.custodian
    with custodian.database.reading() as session:
        door = vault.Vault(session, custodian.keks)
        assert door.take(stream) == set()
        opened = door.open_sealed(sealed.header, sealed.sealed_key, stream)
    assert opened.to_bytes() == data_key


def test_the_vault_opens_nothing_under_another_stream_or_header(lee: Member) -> None:
    (one, _, first), (two, _, second) = segment(lee), segment(lee)
    custodian = lee.world.custodian
    with custodian.database.reading() as session:
        door = vault.Vault(session, custodian.keks)
        door.take(first, second)
        for header, sealed_key, stream in (
            (one.header, one.sealed_key, second),
            (two.header, one.sealed_key, second),
            (one.header, two.sealed_key, first),
            (one.header, one.sealed_key[:-1] + bytes([one.sealed_key[-1] ^ 1]), first),
        ):
            with pytest.raises(SealInvalid):
                door.open_sealed(header, sealed_key, stream)
        door.open_sealed(one.header, one.sealed_key, first)


def test_a_wrapped_key_moved_to_another_row_does_not_unwrap(lee: Member) -> None:
    first, second = segment(lee)[2], segment(lee)[2]
    custodian = lee.world.custodian
    with custodian.database.transaction() as session:
        session.get_one(VaultKey, first).wrapped = session.get_one(VaultKey, second).wrapped
    with custodian.database.reading() as session, pytest.raises(WrapInvalid):
        vault.Vault(session, custodian.keks).take(second, first)


def test_a_destroyed_vault_key_opens_nothing_and_shows_nothing(lee: Member) -> None:
    sealed, _, stream = segment(lee)
    custodian = lee.world.custodian
    with custodian.database.transaction() as session:
        assert erasure.erase(session, custodian, [stream]) == 1
        assert erasure.erase(session, custodian, [stream]) == 0
    with custodian.database.reading() as session:
        door = vault.Vault(session, custodian.keks)
        assert door.take(stream) == {stream}
        with pytest.raises(KeyError):
            door.open_sealed(sealed.header, sealed.sealed_key, stream)
        assert repr(door) == "Vault()"


def test_tombstones_can_name_hours(lee: Member) -> None:
    _, _, stream = segment(lee)
    custodian = lee.world.custodian
    with custodian.database.transaction() as session:
        erasure.bury(session, custodian, {stream: ("2026-11-23T09",)})
        erasure.bury(session, custodian, {stream: ("2026-11-23T09",)})
        assert erasure.buried_hours(session, [stream]) == {stream: frozenset({"2026-11-23T09"})}
        erasure.bury(session, custodian, {stream: ()})
        assert erasure.buried_hours(session, [stream]) == {stream: None}


def test_hardware_held_device_keys_work_as_well(lite: CustodianWorld) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    lite.add_purpose()
    device = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    code, invitation = lite.invitation("Kim")
    lite.admin.post("/v1/invitations", invitation)
    answer = lite.post("/v1/enrolments", lite.enrolment(code.to_text(), [("device", device)]).to_json())
    assert answer.status_code == 200, answer.text
    assert lite.ask(device, "GET", "/v1/me").status_code == 200
    assert device.public.text.startswith("p256:")
