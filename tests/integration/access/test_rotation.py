"""Every key and address of the directory is changed while an agent records and sends, a reader holds a lease, and a
witness follows: all of them go on. The root key signs on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from tests.exposure.canary import Marker
from tests.exposure.world import CUSTODIAN, Answer, Ask, Installation, installed
from tests.simulators.agents import MovableClock, running, wait_until, write_replay
from tests.simulators.collector import serving
from tests.simulators.custodian import Member
from tests.unit.agent.parts import MemorySecrets

from assent.client.directory import DirectoryRefused, TrustedDirectory, kept_policy_of
from assent.client.receipts import ReceiptFile, check_receipt
from assent.contracts.envelope import Envelope
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey, fingerprint
from assent.contracts.statements import Choice, Directory, WitnessEntry
from assent.reader.jobs import Job
from assent.transparency.errors import TransparencyError
from assent.transparency.note import Signer
from assent.transparency.proof import LogProof
from assent_agent.adapters.replay import replay_capture
from assent_agent.runtime.agent import Agent
from assent_agent.runtime.home import AgentHome, Identity, StoredReceipt, Switch
from assent_agent.runtime.network import Links
from assent_agent.settings import AgentSettings
from assent_collector.app import application, open_collector
from assent_collector.custodian import HttpCustodian
from assent_custodian import ceremony
from assent_custodian.files import NotReady
from assent_custodian.night import run_night
from assent_witness.app import create_app, verifier_key
from assent_witness.keys import create_key
from assent_witness.settings import WitnessSettings

RECORDED = (Modality.POINTER, Modality.KEYBOARD, Modality.CONTEXT)


class InUse:
    """An installation with one person whose agent runs, and whose reader holds a lease."""

    def __init__(self, folder: Path, installation: Installation) -> None:
        self.folder, self.installation, self.world = folder, installation, installation.world
        self.root_key = folder / "elsewhere" / "root.key"
        self.root_key.parent.mkdir(mode=0o700)
        self.world.report.root_key_file.rename(self.root_key)
        self.world.add_purpose()
        self.kim: Member = self.world.add_person("Kim")
        self.clock = MovableClock(self.world.clock())
        offered = self.kim.offer().purposes[0]
        receipt = self.kim.consent(
            choices=tuple(
                Choice(modality=modality, purpose=offered.iri, purpose_version=offered.version) for modality in RECORDED
            )
        )
        self.marker = Marker.new()
        self.recorded = installation.record(self.kim, self.marker, RECORDED)
        self.job: Job = installation.own_job(self.kim)
        signed = Envelope.from_json(_json(self.kim.get("/v1/me/receipts").json()["receipts"][0]["receipt"]))
        self.receipt = ReceiptFile(receipt=signed, device_key=self.kim.device.public.text)
        self.home = AgentHome(folder / "home")
        identity = Identity(
            person=self.kim.person,
            name="Kim",
            custodian_url=CUSTODIAN,
            root_fingerprint=self.world.report.root_fingerprint,
            device_key_id=self.kim.device.public.id,
        )
        self.home.save_identity(identity)
        self.home.save_receipt(
            StoredReceipt(
                receipt=signed,
                salt="00" * 16,
                device_key=self.kim.device.public.text,
                application_list=self.kim.offer().application_list,
                notice=self.kim.offer().notice,
            )
        )
        self.home.save_switch(Switch(on=True))
        assert receipt.person == self.kim.person

    def agent(self) -> Agent:
        directory = TrustedDirectory(self.world.report.root_fingerprint, self.home.directory_path)
        wire = self.installation.wire
        links = Links(
            directory,
            CUSTODIAN,
            self.kim.device,
            self.clock.now,
            custodian_transport=wire,
            collector_transport=wire,
        )
        replay = write_replay(self.folder / "replay.jsonl", 120, application="xterm")
        return Agent(
            home=self.home,
            settings=AgentSettings(hold_s=0, reserve_bytes=0, news_interval_s=1),
            device=self.kim.device,
            secrets=MemorySecrets(),
            make_capture=lambda: replay_capture(replay, lead_in_s=0.05),
            indicator=None,
            clock=self.clock,
            links=links,
            random=Random(1),
        )

    def publish(self, **changes: Any) -> Directory:
        """The three steps: export, sign where the root key is, import."""
        custodian = self.world.custodian
        carried = ceremony.next_directory(custodian, changes).to_bytes()
        signed = ceremony.sign_offline(carried, self.root_key)
        return ceremony.publish(custodian, signed)

    def stored(self) -> int:
        """How many segments lie at the collector."""
        return len([path for path in (self.installation.folder / "collector").rglob("*") if path.is_file()])

    def all_go_on(self, agent: Agent) -> None:
        """The agent records and sends; the lease of before and a new one open; the receipt holds; orders are carried
        out; the log is witnessed.
        """
        self.world.clock.at = self.clock.now()
        version = self.world.custodian.directory.directory.version
        wait_until(lambda: _known(agent) >= version, "the agent has the new directory")
        wait_until(lambda: _status(agent)["state"] == "recording", "the agent records")
        _say(agent, "pause")
        _say(agent, "resume")
        before = self.stored()

        def sent() -> bool:
            _say(agent, "send")
            status = _status(agent)
            return bool(status["segments_waiting"] == 0 and not status["upload_trouble"])

        wait_until(sent, "what was recorded is stored, by the collector's word")
        assert not _status(agent)["custodian_trouble"]
        assert self.stored() > before
        installation = self.installation
        self.world.clock.at = self.clock.now()
        assert self.marker.text.encode() in installation.plaintext(self.reopen()), "a new lease, witnessed"
        assert self.marker.text.encode() in self.read_under_the_lease_of_before()
        trusted = installation.directory()
        checked = check_receipt(self.receipt, trusted.statement_key, self.kim.person, trusted.kept_policy)
        assert checked.device_key == self.kim.device.public.id
        self.an_order_is_carried_out()

    def reopen(self) -> Job:
        return self.installation.own_job(self.kim)

    def read_under_the_lease_of_before(self) -> bytes:
        with (
            self.installation.custodian_as(None) as custodian,
            self.installation.uploader() as collector,
        ):
            sealed = [one.sealed[0] for one in self.recorded if one.modality is Modality.KEYBOARD]
            answer, _ = custodian.release(
                self.job.lease.lease, self.job.signing_key, [(one.header, one.sealed_key) for one in sealed]
            )
            assert answer.sealed, answer.refused
            ticket = next(iter(self.job.tickets.values()))
            streams = collector.fetch_streams(ticket, self.job.signing_key).streams
            assert streams
        return self.installation.plaintext(self.reopen())

    def an_order_is_carried_out(self) -> None:
        lee = self.world.add_person("Lee")
        lee.consent()
        self.installation.record(lee, Marker.new(), (Modality.POINTER,))
        lee.withdraw()
        run_night(self.world.custodian)
        assert self.installation.collector.orders.pull_orders_once() >= 1


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


def _status(agent: Agent) -> dict[str, Any]:
    return agent.ask({"do": "status"})


def _say(agent: Agent, do: str) -> None:
    assert agent.ask({"do": do})["ok"]


def _known(agent: Agent) -> int:
    directory = agent._custodian._links._directory
    return directory.current.version if directory.known else 0


@pytest.fixture
def in_use(tmp_path: Path) -> Iterator[InUse]:
    with installed(tmp_path / "installation", witness_timeout_s=10) as installation:
        yield InUse(tmp_path, installation)


# --- one after the other ---


def change_statement_key(in_use: InUse) -> None:
    key = in_use.world.custodian.ring.add("statement")
    published = in_use.publish(statement_key=key.public.text)
    assert in_use.world.custodian.statement_key.public == key.public, "without a restart"
    assert len(published.former_keys) == 1


def change_log_key(in_use: InUse) -> None:
    custodian = in_use.world.custodian
    key = custodian.ring.add("log")
    vkey = str(Signer(custodian.log_signer.verifier.name, key.ed25519).verifier)
    in_use.publish(log_vkey=vkey)
    assert str(custodian.log_signer.verifier) == vkey


def change_collector_key(in_use: InUse) -> None:
    installation, world = in_use.installation, in_use.world
    world.collector_key = SigningKey.generate()
    (installation.folder / "collector" / "collector.pem").write_bytes(world.collector_key.to_pem())
    in_use.publish(collector_key=world.collector_key.public.text)
    from fastapi.testclient import TestClient

    from assent.client.transport import Transport

    asked = HttpCustodian(CUSTODIAN, world.collector_key, world.clock)
    asked._transport = Transport(CUSTODIAN, transport=installation.wire)
    installation.collector.close()
    installation.collector = open_collector(installation.collector_settings, world.clock, asked)
    installation.collector_client = TestClient(application(installation.collector), raise_server_exceptions=False)


def change_addresses(in_use: InUse) -> None:
    in_use.publish(custodian_url="http://localhost:8401", collector_url="http://localhost:8402")
    wait_until(lambda: in_use.installation.world.custodian.directory.directory.version > 1, "published")

    def old_addresses_are_gone(ask: Ask, deliver: Callable[[], Answer]) -> Answer:
        known = "collector" if ask.url.port == 8402 else "custodian"
        if ask.url.host == "127.0.0.1" and known == "collector":
            raise httpx2.ConnectError("nobody is there any more")
        return deliver()

    in_use.installation.enemy = old_addresses_are_gone


CHANGES = (change_statement_key, change_log_key, change_collector_key, change_addresses)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_key_is_changed_and_everybody_goes_on(in_use: InUse, change: Callable[[InUse], None]) -> None:
    agent = in_use.agent()
    with running(agent):
        in_use.all_go_on(agent)
        change(in_use)
        in_use.clock.skip(seconds=31)  # the collector looks for a newer directory every 30 s at most
        in_use.world.clock.at = in_use.clock.now()
        in_use.all_go_on(agent)


def test_witnesses_are_changed_and_a_log_key_under_the_eyes_of_a_real_one(in_use: InUse, tmp_path: Path) -> None:
    """The real witness, over HTTP, learns the log's new key from the directory, and sees that the same log goes on."""
    world = in_use.world
    key_path = tmp_path / "witness.pem"
    create_key(key_path)
    book = TrustedDirectory(world.report.root_fingerprint, tmp_path / "witness-directory.json")
    book.accept(world.custodian.directory.envelope)

    def log_keys_now() -> tuple[str, ...]:
        book.accept(world.custodian.directory.envelope)
        return (book.current.log_vkey,)

    settings = WitnessSettings(
        name="witness.example/two", key_path=key_path, state_dir=tmp_path / "heads", log_keys=log_keys_now()
    )
    app = create_app(settings, now=lambda: world.clock().timestamp(), log_keys_now=log_keys_now)
    with serving(app) as url:
        entry = WitnessEntry(url=url, vkey=verifier_key(settings))
        log_vkey = world.custodian.directory.directory.log_vkey
        in_use.publish(witnesses=(entry,), policy=ceremony.policy_text(log_vkey, (entry,)))
        asked = world.witness.asked
        assert in_use.marker.text.encode() in in_use.installation.plaintext(in_use.reopen())
        world.clock.forward(minutes=1)
        change_log_key(in_use)
        assert in_use.marker.text.encode() in in_use.installation.plaintext(in_use.reopen())
        assert world.witness.asked == asked, "the witness of before is asked no more"
        kept, now = LogProof.from_bytes(in_use.job.proof), in_use.installation.directory()
        with pytest.raises(TransparencyError):
            kept.verify(in_use.job.leaf, now.policy)
        assert kept.verify(in_use.job.leaf, now.kept_policy).checkpoint.size, "a proof of before still holds"
        (first, *_) = now.current.former_policies
        early = first.model_copy(update={"ended": "2026-11-23T08:59:59Z"})
        for former in ((), (early,)):
            changed = now.current.model_copy(update={"former_policies": former})
            with pytest.raises(TransparencyError):
                kept.verify(in_use.job.leaf, kept_policy_of(changed))
        head = world.client.get("/v1/log/checkpoint").text
        assert entry.vkey.split("+")[0] in head


# --- the root key, and versions ---


def test_the_root_key_is_nowhere_near_the_custodian(in_use: InUse) -> None:
    custodian = in_use.world.custodian
    root = SigningKey.from_pem(in_use.root_key.read_bytes())
    assert fingerprint(root.public.text) == in_use.world.report.root_fingerprint
    for path in in_use.installation.folder.rglob("*"):
        if path.is_file():
            assert b"root.key" not in path.name.encode()
    unsigned = ceremony.next_directory(custodian, {"organisation": "Example plc"})
    assert in_use.publish(organisation="Example plc").organisation == unsigned.organisation


def test_what_was_not_signed_by_the_root_or_is_not_the_next_version_is_not_imported(in_use: InUse) -> None:
    custodian = in_use.world.custodian
    stranger = in_use.folder / "stranger.key"
    stranger.write_bytes(SigningKey.generate().to_pem())
    stranger.chmod(0o600)
    first = ceremony.next_directory(custodian, {"organisation": "A"}).to_bytes()
    with pytest.raises(NotReady, match="not the root key"):
        ceremony.sign_offline(first, stranger)
    for damaged in (b"{}", first + b" ", first.replace(b'"v":1', b'"v":2')):
        with pytest.raises(NotReady, match="not an unsigned directory"):
            ceremony.sign_offline(damaged, in_use.root_key)
    one = ceremony.sign_offline(first, in_use.root_key)
    fork = ceremony.sign_offline(ceremony.next_directory(custodian, {"organisation": "B"}).to_bytes(), in_use.root_key)
    ceremony.publish(custodian, one)
    for envelope in (fork, one):
        with pytest.raises(NotReady, match="does not follow"):
            ceremony.publish(custodian, envelope)
    forged = fork.model_copy(update={"payload": one.payload})
    with pytest.raises(NotReady, match="not valid"):
        ceremony.publish(custodian, forged)
    assert custodian.directory.directory.organisation == "A"


def test_a_fork_or_an_older_directory_is_refused_by_everybody(in_use: InUse) -> None:
    """Agent, reader and witness keep it by `TrustedDirectory`, the collector by its `Trust`."""
    custodian = in_use.world.custodian
    old = custodian.directory.envelope
    fork = ceremony.sign_offline(
        ceremony.next_directory(custodian, {"organisation": "Fork"}).to_bytes(), in_use.root_key
    )
    in_use.publish(organisation="Next")
    current = custodian.directory.envelope
    trusted = TrustedDirectory(in_use.world.report.root_fingerprint)
    trusted.accept(current)
    trust = in_use.installation.collector.trust
    trust.refresh()
    assert trust.directory.organisation == "Next"
    for bad in (old, fork):
        with pytest.raises(DirectoryRefused):
            trusted.accept(bad)
        in_use.installation.enemy = lambda ask, deliver, bad=bad: (
            httpx2.Response(200, content=bad.to_json(), headers={"content-type": "application/json"})
            if ask.url.path == "/v1/directory"
            else deliver()
        )
        trust.refresh()
        assert trust.directory.organisation == "Next"


def test_a_stolen_key_that_is_distrusted_proves_nothing_any_more(in_use: InUse) -> None:
    custodian = in_use.world.custodian
    key = custodian.ring.add("statement")
    trusted = in_use.installation.directory()
    assert check_receipt(in_use.receipt, trusted.statement_key, in_use.kim.person, trusted.kept_policy), (
        "positive control"
    )
    unsigned = ceremony.next_directory(custodian, {"statement_key": key.public.text}, distrust=True)
    assert unsigned.former_keys == ()
    ceremony.publish(custodian, ceremony.sign_offline(unsigned.to_bytes(), in_use.root_key))
    from assent.client.receipts import ReceiptInvalid

    with pytest.raises(ReceiptInvalid):
        now = in_use.installation.directory()
        check_receipt(in_use.receipt, now.statement_key, in_use.kim.person, now.kept_policy)


def test_keys_that_are_not_in_the_folder_or_rename_the_log_are_not_proposed(in_use: InUse) -> None:
    custodian = in_use.world.custodian
    stranger = SigningKey.generate()
    renamed = str(Signer("another.example/log", custodian.ring.add("log").ed25519).verifier)
    for changes, says in (
        ({"statement_key": stranger.public.text}, "another statement key"),
        ({"log_vkey": str(Signer(custodian.log_signer.verifier.name, stranger.ed25519).verifier)}, "another log"),
        ({"log_vkey": renamed}, "keeps the log's name"),
        ({"former_keys": ()}, "cannot be changed"),
    ):
        with pytest.raises(NotReady, match=says):
            ceremony.next_directory(custodian, changes)
