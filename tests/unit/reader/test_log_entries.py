"""Entries are handed out when they are what witnesses signed, and found by whatever somebody asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.reader import leaves
from tests.unit.reader.leaves import LOG
from tests.unit.reader.test_auditing import NOW, PURPOSE, REQUEST, boots, copy_of, files_of
from tests.unit.reader.world import World

from assent.client.directory import policy_of
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import Role
from assent.reader.log_copies import Contradiction, CopyInvalid, LogCopy
from assent.reader.log_entries import ROLE_ACTS, Entry, ProvenLog, Wanted, select
from assent.transparency.proof import LogProof
from assent_custodian.roles import BY_PERMISSION, Permission


def proven(data: list[bytes], world: World | None = None) -> ProvenLog:
    world = world or World()
    copy = copy_of(files_of(world, data))
    return ProvenLog(copy, policy_of(world.directory_statement).check(copy.checkpoint))


def entries_of(data: Iterable[bytes]) -> list[Entry]:
    return [Entry(index, one, Leaf.model_validate_json(one)) for index, one in enumerate(data)]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 511, 512, 513, 1100])
def test_every_entry_of_a_whole_log_is_handed_out_once_and_in_order(size: int) -> None:
    data = [*LOG, *boots(1100)][:size]
    log = proven(data)
    assert [entry.data for entry in log.forwards()] == data
    assert [entry.index for entry in log.backwards()] == list(range(size))[::-1]
    for start, stop in ((0, 1), (size // 2, size), (size - 1, size), (size // 3, size // 2)):
        assert [entry.index for entry in log.forwards(start, stop)] == list(range(start, stop))
        assert [entry.index for entry in log.backwards(start, stop)] == list(range(start, stop))[::-1]


@pytest.mark.parametrize("size", [1, 256, 300, 1100])
def test_the_proof_of_each_entry_holds_for_everybody(size: int) -> None:
    world = World()
    log = proven([*LOG, *boots(1100)][:size], world)
    policy = policy_of(world.directory_statement)
    for index in {0, size // 2, size - 1}:
        proof = LogProof.from_bytes(log.proof(index).to_bytes())
        assert proof.verify(log.entry(index).data, policy).checkpoint.size == size


@pytest.mark.parametrize("index", [-1, 57, 10**9])
def test_there_is_no_other_entry(index: int) -> None:
    assert len(LOG) == 57
    with pytest.raises(CopyInvalid, match="there is no entry"):
        proven(list(LOG)).entry(index)


def tampered(copy: LogCopy, path: str, data: bytes) -> LogCopy:
    return replace(copy, read=lambda wanted: data if wanted == path else copy.read(wanted), paths=None)


@pytest.mark.parametrize("size", [3, 256, 300, 600])
def test_an_entry_that_was_changed_is_not_handed_out(size: int) -> None:
    world = World()
    data = [*LOG, *boots(1100)][:size]
    copy = copy_of(files_of(world, data))
    witnessed = policy_of(world.directory_statement).check(copy.checkpoint)
    for index in {0, 1, size // 2, size - 1}:

        def read(start: int, stop: int, index: int = index) -> list[tuple[bytes, str | None]]:
            changed = [one if number != index else one[:-1] + b" }" for number, one in enumerate(data)]
            return [(one, None) for one in changed[start:stop]]

        log = ProvenLog(copy, witnessed, read)
        with pytest.raises(Contradiction, match=f"entry {index} is not the one that was signed"):
            log.entry(index)
        with pytest.raises(Contradiction):
            list(log.forwards())
        others = [number for number in (0, size - 1) if number != index]
        assert [log.entry(number).index for number in others] == others, "positive control"


@pytest.mark.parametrize("size", [3, 300, 600])
def test_hashes_that_were_changed_with_the_entry_do_not_help(size: int) -> None:
    """Whoever keeps the copy writes another entry, and all tiles as they would be with it."""
    world = World()
    data = [*LOG, *boots(1100)][:size]
    honest = copy_of(files_of(world, data))
    witnessed = policy_of(world.directory_statement).check(honest.checkpoint)
    for index in {0, size // 2, size - 1}:
        forged = [*data[:index], boots(1)[0] + b" ", *data[index + 1 :]]
        files = files_of(World(), forged)
        log = ProvenLog(replace(honest, read=files.get, paths=None), witnessed)
        with pytest.raises(Contradiction, match="not of the tree that was signed"):
            list(log.forwards())


def test_entries_that_are_withheld_are_missed() -> None:
    world = World()
    copy = copy_of(files_of(world, list(LOG)))
    witnessed = policy_of(world.directory_statement).check(copy.checkpoint)
    log = ProvenLog(copy, witnessed, lambda start, stop: [(one, None) for one in LOG[start : stop - 1]])
    with pytest.raises(Contradiction, match="not all of them came"):
        list(log.forwards())


@pytest.mark.parametrize("data", [b"{}", b"\xff\x00", b'{"v":1,"type":"boot","at":"yesterday"}'])
def test_an_entry_of_a_later_version_is_named_and_not_left_out(data: bytes) -> None:
    log = proven([*LOG[:3], data])
    with pytest.raises(CopyInvalid, match="entry 3 cannot be read by this version"):
        list(log.forwards())


# --- which ones -------------------------------------------------------------------------------------------------------


def found(wanted: Wanted, count: int | None = None, data: Iterable[bytes] = LOG) -> list[int]:
    return [entry.index for entry in select(reversed(entries_of(data)), wanted, count)]


def kinds(wanted: Wanted) -> list[str]:
    return [entry.leaf.type.value for entry in select(reversed(entries_of(LOG)), wanted)]


def numbers(*types: LeafType) -> list[int]:
    return [entry.index for entry in entries_of(LOG) if entry.leaf.type in types]


def test_everything_is_found_when_nothing_is_asked_for() -> None:
    assert found(Wanted()) == list(range(len(LOG)))
    assert found(Wanted(), 3) == list(range(len(LOG)))[-3:]


def test_by_kind_decision_and_actor() -> None:
    assert found(Wanted(kinds=frozenset({LeafType.LEASE_OPENED}))) == numbers(LeafType.LEASE_OPENED)
    assert set(kinds(Wanted(decision="refused"))) == {"lease.refused", "drill.failed", "recovery.stopped"}
    assert kinds(Wanted(actor=leaves.SAM[:8])) == ["grant.approved", "grant.refused"]
    assert found(Wanted(actor="ff")) == []


def test_by_request_lease_and_job() -> None:
    of_request = kinds(Wanted(request=REQUEST[:8]))
    assert of_request == [
        "request.signed", "grant.approved", "grant.approved", "lease.refused", "lease.opened", "lease.closed",
        "lease.opened", "recall.done", "grant.revoked",
    ]  # fmt: skip
    assert kinds(Wanted(lease=leaves.LEASE)) == ["lease.opened", "lease.closed"]
    assert kinds(Wanted(lease=leaves.SECOND_LEASE)) == ["lease.opened"]
    assert kinds(Wanted(job=leaves.JOB[1][:10])) == ["lease.opened", "lease.closed", "lease.opened"]


def test_by_purpose_and_modality_of_the_request_that_an_entry_is_about() -> None:
    assert kinds(Wanted(modality="keyboard")) == ["request.signed", "grant.refused", "grant.expired"]
    assert kinds(Wanted(modality="screen", kinds=frozenset({LeafType.LEASE_CLOSED}))) == ["lease.closed"]
    assert kinds(Wanted(purpose="urn:assent:drill")) == ["request.signed"]
    of_purpose = kinds(Wanted(purpose="PURPOSE:ONE"))
    assert of_purpose[:2] == ["purpose.drafted", "purpose.signed"]
    assert {"request.signed", "lease.closed", "recall.done", "grant.expired"} <= set(of_purpose)
    assert "lease.opened" in kinds(Wanted(purpose=PURPOSE, job=leaves.JOB[0]))


def test_ones_own_recordings_are_found_under_no_purpose_and_no_role() -> None:
    own = [entry.index for entry in entries_of(LOG) if entry.leaf.mode == "own"]
    assert len(own) == 2
    for wanted in (Wanted(purpose=PURPOSE), Wanted(modality="screen"), Wanted(role="requester")):
        assert not set(own) & set(found(wanted))


def test_by_role_what_only_the_role_does_and_how_it_is_got() -> None:
    assert set(kinds(Wanted(role="steward"))) == {
        "grant.approved", "grant.refused", "grant.revoked", "role.proposed", "role.changed"
    }  # fmt: skip
    assert set(kinds(Wanted(role="auditor"))) == {"audit.viewed", "audit.unmask-asked"}
    assert "role.changed" in kinds(Wanted(role="requester")), "an identity of the drill got it"
    assert kinds(Wanted(role="dpo")).count("account.ended") == 1, "who left by themselves is no dpo"


ACT_PERMISSIONS: dict[LeafType, Permission] = {
    LeafType.REQUEST_SIGNED: Permission.SIGN_REQUESTS,
    LeafType.RECALL_DONE: Permission.ACKNOWLEDGE_RECALLS,
    LeafType.AUDIT_VIEWED: Permission.READ_LOG,
    LeafType.AUDIT_UNMASK_ASKED: Permission.ASK_UNMASKING,
    LeafType.AUDIT_UNMASKED: Permission.COUNTERSIGN_UNMASKING,
    LeafType.ACCOUNT_ENDED: Permission.END_ACCOUNTS,
    LeafType.PURPOSE_DRAFTED: Permission.DRAFT_PURPOSES,
    LeafType.PURPOSE_SIGNED: Permission.SIGN_PURPOSES,
    LeafType.ROLE_PROPOSED: Permission.PROPOSE_ROLES,
    LeafType.ROLE_CHANGED: Permission.COUNTERSIGN_ROLES,
    LeafType.GRANT_REVOKED: Permission.DECIDE,
    LeafType.CONSENT_ENDED: Permission.END_CONSENT,
    LeafType.PROGRAMME_HALTED: Permission.HALT,
    LeafType.PROGRAMME_RESUME_SIGNED: Permission.RESUME,
    LeafType.RECOVERY_SIGNED: Permission.RECOVER,
    LeafType.RECOVERY_COUNTERSIGNED: Permission.RECOVER,
}
STEWARDS_ALONE = {LeafType.GRANT_APPROVED, LeafType.GRANT_REFUSED}
REQUESTERS_ALONE = {LeafType.LEASE_OPENED}
"""Decided where they are written, not by the permission table: revoking is others', too; own data is everybody's."""


def test_the_acts_of_each_role_are_those_of_the_custodians_table() -> None:
    assert set(ROLE_ACTS) == {role.value for role in Role}
    acts = {kind for kinds_ in ROLE_ACTS.values() for kind in kinds_}
    assert acts == {*ACT_PERMISSIONS, *STEWARDS_ALONE, *REQUESTERS_ALONE}
    for kind, permission in ACT_PERMISSIONS.items():
        may = {who.value for who in BY_PERMISSION[permission].who}
        assert {role for role, kinds_ in ROLE_ACTS.items() if kind in kinds_} == may, kind


def test_by_time_the_end_excluded_and_days_of_persons_whole() -> None:
    hour = NOW + timedelta(hours=1)
    during = found(Wanted(start=NOW + timedelta(minutes=10), end=hour))
    assert LOG[during[0]] == leaves.request(leaves.at(minutes=10))
    assert hour not in {entries_of(LOG)[index].at for index in during}
    persons = numbers(LeafType.PERSON)
    assert set(persons) <= set(during), "its day has this hour"
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    assert not set(persons) & set(found(Wanted(start=midnight)))
    assert not set(persons) & set(found(Wanted(end=midnight - timedelta(days=1))))


def test_a_look_back_stops_where_nothing_more_can_fit() -> None:
    """An old log is not read for the last hour, nor for a count that is met."""
    old = [leaves.made(LeafType.AUDIT_VIEWED, leaves.at(days=-100, minutes=number)) for number in range(500)]
    everything = entries_of([*old, *LOG])
    read: list[int] = []

    def backwards() -> Iterator[Entry]:
        for entry in reversed(everything):
            read.append(entry.index)
            yield entry

    select(backwards(), Wanted(start=NOW + timedelta(hours=10)))
    assert len(read) < len(LOG)
    for wanted in (Wanted(start=NOW, purpose=PURPOSE), Wanted(start=NOW, job=leaves.JOB[0])):
        read.clear()
        select(backwards(), wanted)
        assert len(read) == len(LOG) + 1, "31 days back, since a request may be as old"
    read.clear()
    assert len(select(backwards(), Wanted(kinds=frozenset({LeafType.PERSON})), 1)) == 1
    assert len(read) == 1


@st.composite
def wanteds(draw: st.DrawFn) -> Wanted:
    optional = lambda *values: st.sampled_from([None, *values])  # noqa: E731
    return Wanted(
        start=draw(optional(NOW, NOW + timedelta(minutes=30), NOW + timedelta(hours=6))),
        end=draw(optional(NOW + timedelta(minutes=45), NOW + timedelta(hours=7))),
        kinds=draw(st.sampled_from([frozenset(), frozenset({LeafType.LEASE_CLOSED})])),
        decision=draw(optional("allowed", "refused")),
        request=draw(optional(REQUEST[:8], leaves.OTHER_REQUEST)),
        job=draw(optional(leaves.JOB[0])),
        purpose=draw(optional("one", "drill")),
        modality=draw(optional("screen", "keyboard")),
    )


@given(wanteds(), st.none() | st.integers(1, 10))
def test_what_is_found_backwards_is_what_a_reader_of_everything_would_pick(wanted: Wanted, count: int | None) -> None:
    everything = entries_of(LOG)
    signed = {e.leaf.request: e.leaf for e in everything if e.leaf.type is LeafType.REQUEST_SIGNED}
    jobs = {e.leaf.subject for e in everything if wanted.job in e.leaf.keys}

    def picked(entry: Entry) -> bool:
        leaf = entry.leaf
        asked = signed.get(leaf.request)
        purpose = asked.purpose if asked else leaf.purpose
        fits = wanted.fits(entry)
        if wanted.purpose is not None:
            fits = fits and purpose is not None and wanted.purpose in purpose
        if wanted.modality is not None:
            fits = fits and asked is not None and wanted.modality in asked.detail["modalities"].split()
        if wanted.job is not None:
            fits = fits and leaf.type in (LeafType.LEASE_OPENED, LeafType.LEASE_CLOSED) and leaf.subject in jobs
        return fits

    expected = [entry.index for entry in everything if picked(entry)]
    assert found(wanted, count) == (expected if count is None else expected[-count:])
