"""Erasing what is stored: at once, by its person alone, and followed until nobody can bring it back."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select
from tests.integration.custodian.test_nights import done, generations, leaves, orders_of
from tests.integration.custodian.test_recovery import recovered
from tests.simulators.custodian import CustodianWorld, Member, custodian_world, payload_changed, problem, with_leaf

from assent.contracts.envelope import Envelope, sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.lists import person_leaf
from assent.contracts.statements import ConsentEnding, Erasure, ErasureReceipt, News, RecoveryStopped, Tombstone
from assent.contracts.wire import ErasureAnswer, ErasuresView, ErasureView
from assent_custodian.erasures import service as erasures
from assent_custodian.erasures.models import ErasureRow, ErasureTombstone
from assent_custodian.keys.models import Stream, TombstoneRow, VaultKey
from assent_custodian.log.models import LogEntry
from assent_custodian.night import run_night
from assent_custodian.orders.models import QueuedItem
from assent_custodian.people.models import Credential

TODAY = "2026-11-23"


def wish(member: Member, **fields: Any) -> Erasure:
    return Erasure(**{"person": member.person, "at": member.world.now, **fields})


def send(member: Member, erasure: Erasure, key: SigningKey | None = None) -> Any:
    return member.world.post("/v1/erasures", with_leaf(sign(erasure, key or member.opening)))


def erase(member: Member, **fields: Any) -> ErasureReceipt:
    answer = send(member, wish(member, **fields))
    assert answer.status_code == 200, answer.text
    receipt: ErasureReceipt = member.world.read(ErasureAnswer.parse(answer.content).receipt, ErasureReceipt)
    return receipt


def followed(member: Member) -> tuple[ErasureView, ...]:
    answer = member.get("/v1/me/erasures")
    assert answer.status_code == 200, answer.text
    return ErasuresView.parse(answer.content).erasures


def final_of(member: Member) -> ErasureReceipt | None:
    (view,) = followed(member)
    if view.final is None:
        return None
    receipt: ErasureReceipt = member.world.read(view.final, ErasureReceipt)
    return receipt


def streams_of(member: Member, *, living: bool) -> set[str]:
    """Modalities of this person's streams that have, or have not, a vault key."""
    with member.world.custodian.database.reading() as session:
        keys = set(session.scalars(select(VaultKey.stream)))
        rows = session.scalars(select(Stream).where(Stream.person == member.person)).all()
        return {row.modality for row in rows if (row.id in keys) == living}


def acknowledge_all(world: CustodianWorld) -> None:
    for order, hash_ in orders_of(world):
        assert done(world, order.number, hash_).status_code == 200


# --- accepted at once ---


def test_everything_is_crypto_shredded_in_the_same_transaction_and_of_one_person_only(
    world: CustodianWorld, people: list[Member]
) -> None:
    kim, lee = people
    receipt = erase(kim, everything=True)
    assert (receipt.state, receipt.kind, receipt.streams, receipt.days, receipt.hours) == (
        "requested", "erasure", 2, 1, 0,
    )  # fmt: skip
    assert (receipt.first_day, receipt.last_day, receipt.erased_from, receipt.backup_days) == (TODAY, TODAY, TODAY, 35)
    assert (receipt.keys_destroyed, receipt.deleted, receipt.backups_expired) == (None, None, None)
    assert streams_of(kim, living=True) == set()
    assert streams_of(lee, living=True) == {"pointer", "screen"}, "the positive control: keys that live are found"
    run_night(world.custodian)
    ((order, _),) = orders_of(world)
    assert [item.action for item in order.items] == ["erase", "erase"]
    assert all(world.read(item.evidence, Tombstone).reason is None for item in order.items)


def test_a_modality_or_days_erase_those_alone(lite: CustodianWorld, few: list[Member]) -> None:
    kim = few[0]
    assert erase(kim, everything=True, modalities=(Modality.SCREEN,)).streams == 1
    assert streams_of(kim, living=True) == {"pointer"}
    assert erase(kim, from_day="2026-11-01", to_day="2026-11-22").streams == 0
    assert streams_of(kim, living=True) == {"pointer"}
    assert erase(kim, from_day="2026-11-01", to_day=TODAY).streams == 1
    assert streams_of(kim, living=True) == set()


def test_hours_get_tombstones_and_the_rest_of_the_stream_lives(world: CustodianWorld, people: list[Member]) -> None:
    kim = people[0]
    receipt = erase(kim, hours=("2026-11-23T09", "2026-11-23T08"), modalities=(Modality.SCREEN,))
    assert (receipt.streams, receipt.hours) == (1, 2)
    assert streams_of(kim, living=False) == set()
    with world.custodian.database.reading() as session:
        (row,) = session.scalars(select(TombstoneRow))
    tombstone = world.read(Envelope.from_json(row.envelope), Tombstone)
    assert tombstone.hours == ("2026-11-23T08", "2026-11-23T09")
    run_night(world.custodian)
    ((order, _),) = orders_of(world)
    assert [item.hours for item in order.items] == [tombstone.hours]
    assert generations(world) == {1: True}, "no key was destroyed, so no generation has to go"


def test_the_same_erasure_twice_is_once_and_counts_whenever_it_arrives(
    world: CustodianWorld, people: list[Member]
) -> None:
    kim = people[0]
    statement = wish(kim, everything=True)
    body = with_leaf(sign(statement, kim.opening))
    world.clock.forward(hours=3)
    first = world.post("/v1/erasures", body)
    assert first.status_code == 200, "however late"
    kim.certify((Modality.CONTEXT,))
    world.clock.forward(minutes=10)
    assert world.post("/v1/erasures", body).content == first.content
    assert streams_of(kim, living=True) == {"context"}, "a replay takes nothing that was recorded since"
    with world.custodian.database.reading() as session:
        assert len(session.scalars(select(QueuedItem)).all()) == 2


def test_one_that_was_held_back_takes_nothing_of_later_days(lite: CustodianWorld, few: list[Member]) -> None:
    kim = few[0]
    held_back = wish(kim, everything=True)
    lite.clock.forward(days=1)
    kim.certify((Modality.CONTEXT,))
    assert send(kim, held_back).status_code == 200
    assert streams_of(kim, living=True) == {"context"}


def test_it_needs_no_witness_and_no_running_programme(lite: CustodianWorld, few: list[Member]) -> None:
    lite.halt("a reason")
    lite.witness.silent = True
    assert erase(few[0], everything=True).streams == 2


# --- and from nobody else ---


def test_a_device_key_does_not_erase_what_is_stored(lite: CustodianWorld, few: list[Member]) -> None:
    kim, lee = few
    assert problem(send(kim, wish(kim, everything=True), kim.device)) == "forbidden"
    assert problem(send(kim, wish(kim, everything=True), lee.opening)) == "refused"
    assert problem(send(kim, wish(lee, everything=True), kim.opening)) == "refused"
    assert problem(send(kim, wish(kim, everything=True), SigningKey.generate())) == "not-signed-in"
    assert streams_of(kim, living=False) | streams_of(lee, living=False) == set()
    assert send(kim, wish(kim, everything=True)).status_code == 200, "the positive control"


def test_a_stolen_opening_credential_that_was_revoked_erases_nothing(lite: CustodianWorld, few: list[Member]) -> None:
    kim = few[0]
    with lite.custodian.database.transaction() as session:
        session.get_one(Credential, kim.opening.public.id).revoked = TODAY
    assert problem(send(kim, wish(kim, everything=True))) == "not-signed-in"
    assert streams_of(kim, living=False) == set()


def test_a_key_that_came_of_a_recovery_erases_only_when_it_can_no_longer_be_stopped(
    lite: CustodianWorld, few: list[Member]
) -> None:
    kim = few[0]
    _, key = recovered(kim)
    assert problem(send(kim, wish(kim, everything=True), key)) == "forbidden"
    assert streams_of(kim, living=False) == set()
    lite.clock.forward(days=7, minutes=1)
    assert send(kim, wish(kim, everything=True), key).status_code == 200
    assert streams_of(kim, living=True) == set()


def test_removed_swapped_and_changed_evidence_is_refused(lite: CustodianWorld, few: list[Member]) -> None:
    kim, lee = few
    envelope = sign(wish(kim, hours=("2026-11-23T09",)), kim.opening)
    widened = payload_changed(envelope, b'"everything":false', b'"everything":true')
    later = payload_changed(envelope, b"2026-11-23T09:", b"2026-11-24T09:")
    anothers = payload_changed(envelope, kim.person.encode(), lee.person.encode())
    forged = envelope.model_copy(
        update={"signatures": (envelope.signatures[0].model_copy(update={"keyid": lee.opening.public.id}),)}
    )
    for bad in (widened, later, anothers, forged):
        assert problem(lite.post("/v1/erasures", with_leaf(bad))) == "signature-invalid"
    unsigned = b'{"statement":{"payloadType":"' + envelope.payloadType.encode() + b'","payload":"'
    unsigned += envelope.payload.encode() + b'","signatures":[]},"leaf":"' + b"0" * 64 + b'"}'
    assert problem(lite.post("/v1/erasures", unsigned)) == "malformed"
    assert problem(lite.post("/v1/erasures", envelope.to_json())) == "malformed", "without its salted hash"
    assert followed(kim) == ()


@pytest.mark.parametrize("fields", [{}, {"from_day": "2026-02-30", "to_day": TODAY}, {"hours": ("2026-11-23T24",)}])
def test_one_that_makes_no_sense_changes_nothing(
    lite: CustodianWorld, few: list[Member], fields: dict[str, Any]
) -> None:
    assert problem(send(few[0], wish(few[0], **fields))) == "malformed"
    assert followed(few[0]) == ()


# --- final ---


def test_final_comes_when_generation_collector_and_backups_are_through(
    world: CustodianWorld, people: list[Member]
) -> None:
    kim = people[0]
    requested = erase(kim, everything=True)
    assert run_night(world.custodian)["generations_destroyed"] == [1]
    world.clock.forward(days=1)
    run_night(world.custodian)
    assert final_of(kim) is None, "the collector has not acknowledged"
    acknowledge_all(world)
    world.clock.forward(days=34)
    assert run_night(world.custodian)["erasures_final"] == 0, "a backup may hold it still"
    world.clock.forward(days=1)
    assert run_night(world.custodian)["erasures_final"] == 1
    assert run_night(world.custodian)["erasures_final"] == 0
    final = final_of(kim)
    assert final is not None
    assert (final.keys_destroyed, final.deleted, final.backups_expired) == (TODAY, "2026-11-24", "2026-12-29")
    assert (final.of, final.streams, final.day) == (requested.of, 2, "2026-12-29")


def test_the_collectors_word_alone_is_not_final_while_the_old_generation_lives(
    lite: CustodianWorld, few: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    kim = few[0]
    erase(kim, everything=True)
    with monkeypatch.context() as patched:
        patched.setattr("assent_custodian.night.rotation.rotate", lambda *_: [])
        run_night(lite.custodian)
        acknowledge_all(lite)
        lite.clock.forward(days=60)
        run_night(lite.custodian)
        assert final_of(kim) is None
    run_night(lite.custodian)
    lite.clock.forward(days=35)
    run_night(lite.custodian)
    assert final_of(kim) is not None


def test_a_withdrawal_is_followed_to_its_end_as_well(tmp_path: Path) -> None:
    with custodian_world(tmp_path, backup_days=0) as world:
        world.add_purpose()
        (kim,) = world.add_participants(1)
        kim.certify((Modality.POINTER,))
        assert kim.withdraw().status_code == 200
        (view,) = followed(kim)
        requested = world.read(view.requested, ErasureReceipt)
        assert (requested.kind, requested.streams, requested.erased_from) == ("withdrawal", 1, "2026-11-30")
        run_night(world.custodian)
        acknowledge_all(world)
        world.clock.forward(days=6)
        run_night(world.custodian)
        assert final_of(kim) is None, "the revocation was carried out, and nothing is erased yet"
        world.clock.forward(days=1)
        run_night(world.custodian)
        run_night(world.custodian)
        assert final_of(kim) is None
        acknowledge_all(world)
        run_night(world.custodian)
        final = final_of(kim)
        assert final is not None
        assert (final.kind, final.keys_destroyed, final.backups_expired) == ("withdrawal", "2026-11-30", "2026-11-30")


def test_an_erasure_before_a_withdrawal_is_due_ends_both(tmp_path: Path) -> None:
    with custodian_world(tmp_path, backup_days=0) as world:
        world.add_purpose()
        (kim,) = world.add_participants(1)
        kim.certify((Modality.POINTER,))
        kim.withdraw()
        assert erase(kim, everything=True).streams == 1
        run_night(world.custodian)
        acknowledge_all(world)
        run_night(world.custodian)
        assert [bool(view.final) for view in followed(kim)].count(True) == 1
        world.clock.forward(days=7)
        run_night(world.custodian)
        run_night(world.custodian)
        assert all(view.final for view in followed(kim))


def test_receipts_stand_in_the_log_as_salted_hashes_among_others(tmp_path: Path) -> None:
    with custodian_world(tmp_path, backup_days=0) as world:
        world.add_purpose()
        (kim,) = world.add_participants(1)
        erase(kim, everything=True)
        assert run_night(world.custodian)["erasures_final"] == 1, "it reached nothing, so nothing is outstanding"
        (view,) = followed(kim)
        assert view.final is not None and view.salt is not None
        leaf = person_leaf(base64.b64decode(view.salt), view.final.hash)
        entries = leaves(world, "person")
        assert [entry["subject"] for entry in entries].count(leaf) == 1
        assert len(entries) % 64 == 0
        assert all(set(entry) == {"v", "type", "at", "subject"} for entry in entries)
        with world.custodian.database.reading() as session:
            everything = b"".join(session.scalars(select(LogEntry.leaf)))
        assert view.of.encode() not in everything
        assert kim.person.encode() not in everything


# --- retention ---


def test_retention_uses_the_same_orders_and_says_so(world: CustodianWorld, people: list[Member]) -> None:
    kim = people[0]
    world.clock.forward(days=181)
    run_night(world.custodian)
    ((order, _),) = orders_of(world)
    assert {world.read(item.evidence, Tombstone).reason for item in order.items} == {"retention"}
    view = ErasuresView.parse(kim.get("/v1/me/erasures").content)
    assert view.fallen == (), "nothing fell without a receipt"
    (row,) = view.erasures
    receipt = world.read(row.requested, ErasureReceipt)
    assert (receipt.kind, receipt.state, receipt.person) == ("retention", "requested", kim.person)
    assert (receipt.erased_from, receipt.streams, receipt.first_day, receipt.last_day) == (
        world.now[:10], 2, TODAY, TODAY,
    )  # fmt: skip
    assert not leaves(world, "person") or row.salt is None


def test_two_nights_of_one_day_can_each_find_something_that_is_too_old(lite: CustodianWorld, few: list[Member]) -> None:
    """The retention was shortened in between, for instance."""
    lite.clock.forward(days=100)
    few[0].consent()
    few[0].certify((Modality.POINTER,))
    lite.clock.forward(days=100)
    run_night(lite.custodian)
    lite.custodian = replace(lite.custodian, settings=lite.settings.model_copy(update={"retention_days": 30}))
    run_night(lite.custodian)
    assert [len(followed(member)) for member in few] == [2, 1]


def test_what_fell_with_a_receipt_that_was_ended_has_receipts_and_the_collector_is_not_told_why(
    lite: CustodianWorld, few: list[Member]
) -> None:
    nobody = lite.add_person("Takes no part")
    ending = ConsentEnding(state="terminated", reason="the programme ends", nonce=new_id(), at=lite.now)
    assert lite.dpo.post("/v1/consent/endings", ending).status_code == 200
    day = lite.now[:10]
    lite.clock.forward(days=7)
    run_night(lite.custodian)
    items = [item for order, _ in orders_of(lite) for item in order.items if item.action == "erase"]
    assert len(items) == 4
    assert all(lite.read(item.evidence, Tombstone).reason is None for item in items)
    hash_ = sign(ending, lite.dpo.opening).hash
    for member in few:
        view = ErasuresView.parse(member.get("/v1/me/erasures").content)
        (row,) = view.erasures
        receipt = lite.read(row.requested, ErasureReceipt)
        assert (receipt.kind, receipt.of, receipt.person, receipt.streams) == ("ending", hash_, member.person, 2)
        assert (receipt.day, receipt.erased_from, row.final) == (day, "2026-11-30", None)
        assert view.fallen == ()
    assert followed(nobody) == ()
    told = [len(one.get("/v1/me").json()["messages"]) for one in (*few, nobody)]
    assert told == [1, 1, 0], "and they are told"
    news = lite.read(Envelope.from_json(few[0].get("/v1/me/news", key=few[0].device).content), News)
    (message,) = (one.text for one in news.notifications if one.kind == "account")
    assert "ended for you, by the data-protection officer" in message and "erased from 2026-11-30 on" in message
    assert "the programme ends" not in message, "the reason is for those who keep it"
    acknowledge_all(lite)
    lite.clock.forward(days=35)
    assert run_night(lite.custodian)["erasures_final"] == 2
    finals = [final_of(member) for member in few]
    assert [final and (final.kind, final.keys_destroyed) for final in finals] == [("ending", "2026-11-30")] * 2


def test_one_persons_ending_is_final_though_anothers_order_is_outstanding(
    lite: CustodianWorld, few: list[Member]
) -> None:
    """An order each, of one item, and only the first is acknowledged."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("assent_custodian.orders.service.MAX_ITEMS", 2)
        ending = ConsentEnding(state="terminated", reason="the programme ends", nonce=new_id(), at=lite.now)
        erase(few[0], everything=True)
        run_night(lite.custodian)
        acknowledge_all(lite)
        assert lite.dpo.post("/v1/consent/endings", ending).status_code == 200
        lite.clock.forward(days=7)
        run_night(lite.custodian)
        lite.clock.forward(days=35)
        run_night(lite.custodian)
    states = [{lite.read(row.requested, ErasureReceipt).kind: bool(row.final) for row in followed(one)} for one in few]
    assert states == [{"erasure": True, "ending": True}, {"ending": False}]


def test_what_fell_before_there_were_receipts_of_it_is_shown_all_the_same(
    lite: CustodianWorld, few: list[Member]
) -> None:
    lite.clock.forward(days=181)
    run_night(lite.custodian)
    with lite.custodian.database.transaction() as session:
        session.execute(delete(ErasureRow))
        session.execute(delete(ErasureTombstone))
    view = ErasuresView.parse(few[0].get("/v1/me/erasures").content)
    assert view.erasures == ()
    (fallen,) = view.fallen
    assert (fallen.reason, fallen.erased, fallen.streams) == ("retention", lite.now[:10], 2)
    assert (fallen.first_day, fallen.last_day) == (TODAY, TODAY)


# --- called off ---


def stop_recovery(member: Member, recovery: str) -> None:
    stopped = RecoveryStopped(recovery=recovery, at=member.world.now)
    assert member.post("/v1/me/recoveries/stops", stopped, key=member.device).status_code == 200


def test_a_called_off_erasure_is_signed_as_such_and_stands_in_the_log(
    world: CustodianWorld, people: list[Member]
) -> None:
    kim = people[0]
    recovery, new = recovered(kim)
    assert kim.withdraw(key=new, erase="now").status_code == 200
    world.clock.forward(days=3)
    stop_recovery(kim, recovery)
    stop_recovery(kim, recovery)
    (view,) = followed(kim)
    assert view.final is None and view.called_off is not None and view.salt is not None
    requested, off = world.read(view.requested, ErasureReceipt), world.read(view.called_off, ErasureReceipt)
    assert off == requested.model_copy(update={"state": "called-off", "day": "2026-11-26"})
    run_night(world.custodian)
    leaf = person_leaf(base64.b64decode(view.salt), view.called_off.hash)
    assert [entry["subject"] for entry in leaves(world, "person")].count(leaf) == 1
    world.clock.forward(days=60)
    run_night(world.custodian)
    acknowledge_all(world)
    run_night(world.custodian)
    assert followed(kim) == (view,), "nothing changes it any more"
    assert streams_of(kim, living=True) == {"pointer", "screen"}


def test_what_the_person_withdrew_themselves_is_not_called_off_with_it(lite: CustodianWorld, few: list[Member]) -> None:
    kim = few[0]
    recovery, new = recovered(kim)
    assert kim.withdraw(key=new).status_code == 200
    lite.clock.forward(seconds=5)
    assert kim.withdraw(key=kim.opening).status_code == 200
    stop_recovery(kim, recovery)
    assert sorted(bool(view.called_off) for view in followed(kim)) == [False, True]
    lite.clock.forward(days=7)
    run_night(lite.custodian)
    acknowledge_all(lite)
    lite.clock.forward(days=35)
    run_night(lite.custodian)
    assert sorted((bool(view.called_off), bool(view.final)) for view in followed(kim)) == [(False, True), (True, False)]


def test_what_is_destroyed_is_not_called_off(lite: CustodianWorld, few: list[Member]) -> None:
    kim = few[0]
    of = erase(kim, everything=True).of
    with lite.custodian.database.transaction() as session:
        assert not erasures.call_off(session, lite.custodian, of, kim.person)
    (view,) = followed(kim)
    assert view.called_off is None


def test_nobody_sees_the_erasures_of_another(lite: CustodianWorld, few: list[Member]) -> None:
    kim, lee = few
    erase(kim, everything=True)
    assert len(followed(kim)) == 1
    assert followed(lee) == ()
