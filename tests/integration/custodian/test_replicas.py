"""Two custodian processes on one PostgreSQL: one log, one night, one door, whichever is asked, stopped or killed."""

from __future__ import annotations

import collections
import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import CustodianWorld, custodian_world, problem, unused_port
from tests.simulators.postgres import PostgresServer, client_programs
from tests.simulators.replicas import Replica, Spread, WallClock, really_witness, replicas_of
from typer.testing import CliRunner

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code
from assent.contracts.statements import Mode, OwnData, PurposeDraft, Role
from assent.contracts.times import add_days
from assent.contracts.wire import CertificatesAnswer
from assent.transparency import merkle
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.note import Note
from assent_custodian import backups, presence
from assent_custodian.log import service as log
from assent_custodian.log.models import Cosignature, LogEntry, SignedHead
from assent_custodian.night import NightLock, last_done
from assent_custodian.restoring import databases
from assent_server.cli import app
from assent_service import database
from assent_service.backing_up import BackupFailed
from assent_service.database import is_busy
from assent_service.migrating import check_migrated, migrate

DEADLINE_S = 60


@dataclass
class Cluster:
    """Two replicas, everybody who works with them, and what the witness answered."""

    access: AccessWorld
    one: Replica
    other: Replica
    spread: Spread
    witnessed: list[int]
    stopped: bool = False
    """Whether a replica stood still for a while: a call of its to the witness, under way just then, lasted too long."""

    @property
    def world(self) -> CustodianWorld:
        return self.access.custodian

    def leaves(self) -> list[bytes]:
        with self.world.custodian.database.reading() as session:
            found = log.entries(session, 0, 1_000_000)
        assert [index for index, _ in found] == list(range(len(found)))
        return [leaf for _, leaf in found]

    def count(self, type_: LeafType) -> int:
        with self.world.custodian.database.reading() as session:
            return len(session.scalars(select(LogEntry.index).where(LogEntry.type == type_.value)).all())

    def purpose(self, number: int) -> httpx2.Response:
        """A statement that appends one leaf."""
        draft = PurposeDraft(
            iri=f"urn:purpose:{number}-{new_id()}", version=1, sentence="Train.", recipients=("research",),
            modes=(Mode.READER,), at=self.world.now,
        )  # fmt: skip
        return self.world.admin.post("/v1/purposes", draft)

    def is_one_log(self) -> None:
        """Every head that was ever signed, and every hash, is that of the entries."""
        leaves = self.leaves()
        hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
        with self.world.custodian.database.reading() as session:
            assert log.size(session) == len(leaves)
            assert merkle.root(len(leaves), log.nodes(session)) == merkle.root_of_hashes(hashes)
            heads = [Note.from_bytes(note.encode()) for note in session.scalars(select(SignedHead.note))]
            cosigned = session.scalars(select(Cosignature.size)).all()
        assert heads and cosigned
        for head in heads:
            checkpoint = Checkpoint.from_text(head.text)
            assert merkle.root_of_hashes(hashes[: checkpoint.size]) == checkpoint.root
        assert set(self.witnessed) <= {200, 409}, "a fork would be answered 422"
        assert self.count(LeafType.WITNESS_UNREACHABLE) <= self.stopped, "said once an hour"


@pytest.fixture(scope="module")
def cluster(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("replicas")
    url = postgres_server.new_database()
    with custodian_world(folder, url, clock=WallClock()) as world:
        statuses = really_witness(world, folder / "witness")
        access = AccessWorld(world, people=11)  # one of them withdraws
        replicas = replicas_of(world.settings, [unused_port(), unused_port()], folder)
        for replica in replicas:  # at the same moment
            replica.start()
        spread = Spread(replicas)
        world.client = spread
        try:
            for replica in replicas:
                replica.wait_until_it_answers()
            yield Cluster(access, *replicas, spread, statuses)
        finally:
            spread.close()
            for replica in replicas:
                replica.end()
            world.custodian.close()
            postgres_server.drop(url)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_replicas_that_start_at_once_write_a_changed_configuration_down_once(cluster: Cluster) -> None:
    boots = cluster.count(LeafType.BOOT)
    assert boots == 2
    with cluster.world.custodian.database.reading() as session:
        changes = [
            Leaf.model_validate_json(leaf) for _, leaf in log.newest_of_type(session, LeafType.CONFIG_CHANGED, 9)
        ]
    assert collections.Counter(change.rule for change in changes) == {"config.policy": 1, "config.settings": 1}


def test_a_replica_on_a_copy_of_the_folder_does_not_start(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations" / "replicas.md").read_text()
    assert f"it waits for {presence.GONE_WITHIN_S:.0f} seconds, says that another custodian works on this" in page
    settings = cluster.world.settings
    copy = shutil.copytree(settings.data_dir, tmp_path / "copy")
    before = len(cluster.leaves())
    (refused,) = replicas_of(settings.model_copy(update={"data_dir": copy}), [unused_port()], tmp_path)
    refused.start(subprocess.PIPE)
    assert refused.process is not None
    _, said = refused.process.communicate(timeout=60)
    assert refused.process.returncode == 1
    assert b"error: another custodian works on this database, and nobody else in " in said
    monkeypatch.setattr(presence, "GONE_WITHIN_S", 0.5)
    nothing = tmp_path / "custodian.toml"
    nothing.touch()
    night = CliRunner().invoke(app, ["rotate", "--config", str(nothing)], env=refused.environment)
    assert (night.exit_code, "another custodian works on this database" in night.stderr) == (1, True)
    assert len(cluster.leaves()) == before
    (third,) = replicas_of(settings, [unused_port()], tmp_path)
    third.start()
    try:
        third.wait_until_it_answers()
    finally:
        third.end(signal.SIGTERM)
    assert len(cluster.leaves()) > before, "the positive control: its start is in the log"


# --- many at once -----------------------------------------------------------------------------------------------------


def test_of_many_appends_at_once_none_is_lost_and_none_forks_though_a_replica_is_killed(cluster: Cluster) -> None:
    access, world = cluster.access, cluster.world
    before, heads, killed = len(cluster.leaves()), list[Note](), threading.Event()
    answered: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    grant = access.grant()

    def requests(_: int) -> tuple[str, httpx2.Response]:
        return "request.signed", access.requester.post("/v1/requests", access.wish(nonce=new_id()))

    def purposes(number: int) -> tuple[str, httpx2.Response]:
        return "purpose.drafted", cluster.purpose(number)

    def looks(number: int) -> tuple[str, httpx2.Response]:
        return "audit.viewed", access.auditor.get(f"/v1/log/entries?start={number}&count=2")

    def leases(_: int) -> tuple[str, httpx2.Response]:
        return "lease.opened", access.job().open(access.requester, request=grant)

    def own(number: int) -> tuple[str, httpx2.Response]:
        today = world.now[:10]
        return "lease.opened", access.job().open(
            access.people[number % 10], own=OwnData(from_day=today, to_day=today, modalities=(Modality.POINTER,))
        )

    def certificates(number: int) -> tuple[str, httpx2.Response]:
        member = access.people[number % 10]
        request, _ = member.certificate_request(modalities=(Modality.POINTER,))
        return "", world.post("/v1/certificates", sign(request, member.device).to_json())

    def work(act: Callable[[int], tuple[str, httpx2.Response]], times: int) -> None:
        for number in range(times):
            if number == times // 3 and act is purposes:
                cluster.one.send(signal.SIGKILL)
                killed.set()
            for _attempt in range(100):
                try:
                    kind, response = act(number)
                except httpx2.TransportError:  # it was killed; whether this one was written down is not known
                    continue
                if response.status_code == 200:
                    answered[kind] += 1
                elif response.status_code != 503:
                    wrong.append(f"{kind}: {response.text}")
                break

    def watch() -> None:
        """Somebody outside, who keeps every checkpoint that either of them shows."""
        while not done.wait(0.02):
            for replica in (cluster.one, cluster.other):
                try:
                    answer = outside.get(f"{replica.url}/v1/log/checkpoint")
                except httpx2.TransportError:
                    continue
                if answer.status_code == 200:
                    heads.append(Note.from_bytes(answer.content))

    done = threading.Event()
    acts = ((requests, 12), (purposes, 30), (looks, 10), (leases, 5), (own, 8), (certificates, 10), (purposes, 15))
    with ThreadPoolExecutor(len(acts) + 1) as pool, httpx2.Client(timeout=5, trust_env=False) as outside:
        watching = pool.submit(watch)
        try:
            for running in [pool.submit(work, act, times) for act, times in acts]:
                running.result(timeout=120)
        finally:
            done.set()
        watching.result(timeout=30)
    assert killed.is_set() and cluster.one.process is not None
    cluster.one.process.wait(timeout=10)
    cluster.one.start()
    cluster.one.wait_until_it_answers()

    assert wrong == []
    assert answered["request.signed"] >= 10 and answered["purpose.drafted"] >= 40 and answered["lease.opened"] >= 10
    cluster.is_one_log()
    leaves = cluster.leaves()
    written = collections.Counter(json.loads(leaf)["type"] for leaf in leaves[before:])
    for kind, count in answered.items():
        assert not kind or written[kind] >= count, f"{kind}: what was answered is written down"
    assert len({Checkpoint.from_text(head.text).size for head in heads}) > 5
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    for head in heads:
        checkpoint = Checkpoint.from_text(head.text)
        assert merkle.root_of_hashes(hashes[: checkpoint.size]) == checkpoint.root, "one history, whoever showed it"


# --- killed and stopped -----------------------------------------------------------------------------------------------


def test_what_a_replica_was_writing_when_it_was_killed_is_not_there_and_the_other_goes_on(cluster: Cluster) -> None:
    drafted = cluster.count(LeafType.PURPOSE_DRAFTED)
    cluster.one.in_the_next_append(signal.SIGKILL)
    with cluster.spread.to(cluster.one), pytest.raises(httpx2.TransportError):
        cluster.purpose(1)
    with cluster.spread.to(cluster.other):
        began = time.monotonic()
        assert cluster.purpose(2).status_code == 200
        assert time.monotonic() - began < 5, "PostgreSQL lets go of the head when a process is gone"
    assert cluster.count(LeafType.PURPOSE_DRAFTED) == drafted + 1
    cluster.one.start()
    cluster.one.wait_until_it_answers()
    with cluster.spread.to(cluster.one):
        assert cluster.purpose(3).status_code == 200
    cluster.is_one_log()


def test_a_replica_that_stops_while_it_holds_the_head_holds_nobody_up_for_long(cluster: Cluster) -> None:
    drafted = cluster.count(LeafType.PURPOSE_DRAFTED)
    kim = cluster.access.people[0]
    cluster.one.in_the_next_append(signal.SIGSTOP)
    cluster.stopped = True
    stuck: list[httpx2.Response] = []

    def ask_the_one_that_stops() -> None:
        draft = PurposeDraft(
            iri="urn:purpose:stopped", version=1, sentence="Train.", recipients=("research",), modes=(Mode.READER,),
            at=cluster.world.now,
        )  # fmt: skip
        body = sign(draft, cluster.world.admin.opening).to_json()
        stuck.append(httpx2.post(f"{cluster.one.url}/v1/purposes", content=body, timeout=90, trust_env=False))

    thread = threading.Thread(target=ask_the_one_that_stops)
    thread.start()
    until(lambda: not cluster.one.armed.exists(), "it did not come so far")
    try:
        with cluster.spread.to(cluster.other):
            refused = cluster.purpose(4)
            assert (refused.status_code, problem(refused)) == (503, Code.BUSY.wire), "said, and not hung"
            assert refused.headers["retry-after"]
            kim.certify((Modality.POINTER,))  # what needs no entry goes on meanwhile
            until(lambda: cluster.purpose(5).status_code == 200, "the transaction that stands still is not ended")
    finally:
        cluster.one.send(signal.SIGCONT)
        thread.join(timeout=60)
    assert stuck[0].status_code == 503, "what it had begun was undone, and it says so"
    assert cluster.count(LeafType.PURPOSE_DRAFTED) == drafted + 1
    with cluster.spread.to(cluster.one):
        assert cluster.purpose(6).status_code == 200
    cluster.is_one_log()


# --- what one knows, the other knows ----------------------------------------------------------------------------------


def test_a_message_that_one_replica_took_is_not_taken_by_the_other(cluster: Cluster) -> None:
    header = {"Authorization": cluster.world.authorization(cluster.world.admin.opening, "GET", "/v1/me")}
    for replica, status in ((cluster.one, 200), (cluster.other, 401), (cluster.one, 401)):
        with cluster.spread.to(replica):
            assert cluster.spread.get("/v1/me", headers=header).status_code == status
    header = {"Authorization": cluster.world.authorization(cluster.world.admin.opening, "GET", "/v1/me")}
    with ThreadPoolExecutor(8) as pool:
        statuses = pool.map(lambda _: cluster.spread.get("/v1/me", headers=header).status_code, range(8))
    assert sorted(statuses) == [200] + [401] * 7


def test_a_halt_at_one_replica_shuts_the_door_of_the_other_at_once(cluster: Cluster) -> None:
    access, world = cluster.access, cluster.world
    job, recorded = access.job(), access.recorded[:1]
    with cluster.spread.to(cluster.other):
        opened = job.open(access.requester, request=access.grant())
        assert opened.status_code == 200, opened.text
        assert len(job.release(recorded)[0]) == 1, "the control"
    with cluster.spread.to(cluster.one):
        world.halt("a suspicion")
    with cluster.spread.to(cluster.other):
        response, _ = job.ask_release([recorded[0].segment])
        assert (response.status_code, problem(response)) == (503, Code.CLOSED.wire)
        request, _ = access.people[0].certificate_request(modalities=(Modality.POINTER,))
        answer = world.post("/v1/certificates", sign(request, access.people[0].device).to_json())
        assert CertificatesAnswer.parse(answer.content).certificates == (None,)
        world.resume()
    with cluster.spread.to(cluster.one):
        assert len(job.release(recorded)[0]) == 1


def test_a_withdrawal_and_a_revoked_key_at_one_replica_count_at_the_other_at_once(cluster: Cluster) -> None:
    access = cluster.access
    job, mine = access.job(), [one for one in access.recorded if one.owner is access.people[10]][:1]
    lost = access.people[8].add_key("opening")
    with cluster.spread.to(cluster.other):
        opened = job.open(access.requester, request=access.grant())
        assert opened.status_code == 200, opened.text
        assert len(job.release(mine)[0]) == 1, "the control"
        assert access.people[8].get("/v1/me", key=lost).status_code == 200, "the control"
    with cluster.spread.to(cluster.one):
        assert access.people[10].withdraw().status_code == 200
        assert access.people[8].revoke(lost).status_code == 200
    with cluster.spread.to(cluster.other):
        assert job.release(mine) == ({}, {mine[0].segment.id: "withdrawn"})
        assert access.people[8].get("/v1/me", key=lost).status_code in (401, 403)


def test_the_night_is_run_by_one_of_them(cluster: Cluster) -> None:
    custodian = cluster.world.custodian
    people, destroyed = cluster.count(LeafType.PERSON), cluster.count(LeafType.GENERATION_DESTROYED)
    with custodian.database.transaction() as session:
        session.execute(update(NightLock).values(done=add_days(custodian.today(), -1)))

    def is_done() -> bool:
        with custodian.database.reading() as session:
            lock = session.get_one(NightLock, 1)
            return last_done(session) == custodian.today() and lock.until.startswith("0000")

    until(is_done, "no night")
    time.sleep(1)  # several turns of both
    assert cluster.count(LeafType.PERSON) == people + 64
    assert cluster.count(LeafType.GENERATION_DESTROYED) == destroyed
    cluster.is_one_log()


def test_a_database_that_a_replica_uses_is_not_restored(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing answers at the port of these settings; it is the other replicas that are in the way."""
    client_programs(monkeypatch)
    custodian = cluster.world.custodian
    folder = backups.back_up(custodian, tmp_path / "backups")
    custodian.database.close()
    with pytest.raises(BackupFailed, match="stop every replica"):
        databases.restore(custodian.settings, folder, over=True, clock=cluster.world.clock)
    cluster.is_one_log()


def test_replicas_that_find_an_old_database_at_once_bring_it_up_to_date_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate("custodian", postgres_url), range(4)))
    check_migrated("custodian", postgres_url)


# --- limits, in one process -------------------------------------------------------------------------------------------


@pytest.fixture
def limited(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CustodianWorld]:
    """A custodian on PostgreSQL that waits for half a second, and whose transactions may stand still for a second."""
    limits = {"lock_timeout": "500", "idle_in_transaction_session_timeout": "1000"}
    monkeypatch.setattr(database, "_LIMITS", {**database._LIMITS, **limits})
    with custodian_world(tmp_path, postgres_url) as world:
        yield world


def test_whoever_waits_for_the_head_in_vain_is_told_to_ask_again(limited: CustodianWorld) -> None:
    code, invitation = limited.invitation("Kim")
    with limited.custodian.database.transaction() as session:
        log.hold(session)
        response = limited.admin.post("/v1/invitations", limited.invitation("Lee", Role.AUDITOR)[1])
        assert (response.status_code, problem(response)) == (503, Code.BUSY.wire)
    assert limited.admin.post("/v1/invitations", invitation).status_code == 200
    assert code.to_text()


def test_a_transaction_that_stands_still_is_ended_unless_it_says_that_it_is_slow(limited: CustodianWorld) -> None:
    with limited.custodian.database.transaction(slow=True) as session:
        log.hold(session)
        time.sleep(1.5)
        log.size(session)
    with pytest.raises(DBAPIError) as caught, limited.custodian.database.transaction() as session:
        log.hold(session)
        time.sleep(1.5)
        log.size(session)
    assert is_busy(caught.value)


def test_a_database_that_is_gone_is_busy_and_a_fault_of_ours_is_not(limited: CustodianWorld) -> None:
    gone = database.Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(Exception) as caught, gone.reading() as session:
        session.execute(text("SELECT 1"))
    assert is_busy(caught.value)
    with pytest.raises(Exception) as caught, limited.custodian.database.reading() as session:
        session.execute(text("SELECT nonsense"))
    assert not is_busy(caught.value)
