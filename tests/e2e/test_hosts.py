"""Custody levels 1 and 2 on hosts of their own, set up by the commands and the files of docs/operations/custody.md."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.demo import settings
from tests.demo.people import BIN, Person, clean_environment, done
from tests.demo.processes import Running, wait_for
from tests.demo.replays import write_replays
from tests.demo.story import ROOT, today
from tests.simulators import hosts, softhsm
from tests.simulators.hosts import Host, Network

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(1200)]

GUIDE = ROOT / "docs" / "operations" / "custody.md"
FILES = ROOT / "docs" / "operations" / "custody"
SECONDS = 6.0
PORTS = {"custodian": 8401, "collector": 8402, "witness": 8403}


@dataclass
class Company:
    """Four hosts of services and one of people, set up as the guide says. `typed`: what operators typed."""

    folder: Path
    keys: Host
    store: Host
    council: Host
    security: Host
    people: Host
    root: str = ""
    typed: list[str] = field(default_factory=list)
    running: dict[str, Running] = field(default_factory=dict)
    persons: dict[str, Person] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "tmp").mkdir()
        self.base = clean_environment(self.folder / "tmp")

    @property
    def offline(self) -> Path:
        """Where the root key is when nobody needs it."""
        return self.folder / "root.key"

    def put(self, host: Host, name: str, to: str = "") -> str:
        """Copy a configuration file of the guide onto a host, as it is."""
        host.file(f"/srv/{to or name}").write_bytes((FILES / name).read_bytes())
        return f"/srv/{to or name}"

    def server(self, host: Host, *words: str, **environment: str) -> str:
        """`assent-server …` on a host, to its end; what it printed."""
        self.typed.append(" ".join(words))
        env = {**self.base, **environment}
        return done(host.programs.run(BIN / "assent-server", *words, env=env, log="server")).out.strip()

    def start(self, host: Host, service: str, config: str, **environment: str) -> None:
        """`assent-server SERVICE` on a host, left running, once it answers."""
        self.typed.append(f"{service} --config {config}")
        env = {**self.base, **settings.environment("ASSENT_C"), **environment}
        command = (BIN / "assent-server", service, "--config", config)
        running = host.programs.start(*command, env=env, log=service, name=service)
        url = f"http://{host.address}:{PORTS[service]}/{'healthz' if service == 'witness' else 'readyz'}"
        ask = f"{BIN / 'python'} -c 'import urllib.request as r; r.urlopen(\"{url}\", timeout=2)'"
        wait_for(
            lambda: running.ended or self.people.shell(ask).returncode == 0, service, 120, running.log, every_s=0.3
        )
        assert not running.ended, running.log.read_text()
        self.running[f"{service} on {host.name}"] = running

    def person(self, key: str) -> Person:
        if key not in self.persons:
            home = self.folder / "people" / key
            self.persons[key] = Person(key.title(), home, self.people.programs, self.base)
        return self.persons[key]

    def doctor(self, **environment: str) -> dict[str, Any]:
        words = ("doctor", "--custodian-config", "/srv/custodian.toml", "--json")
        told: dict[str, Any] = json.loads(self.server(self.keys, *words, **environment))
        return told


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    if reason := hosts.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "logs").mkdir()
    with Network(folder / "logs") as network:
        made = Company(
            folder,
            keys=network.host("keys.example", "192.0.2.11"),
            store=network.host("store.example", "192.0.2.12"),
            council=network.host("council.example", "192.0.2.13"),
            security=network.host("security.example", "192.0.2.14"),
            people=network.host("people.example", "192.0.2.20"),
        )
        set_up(made)
        yield made


def set_up(made: Company) -> None:
    """What the guide says for level 1."""
    collector = made.put(made.store, "collector.toml")
    collector_key = made.server(made.store, "collector", "--config", collector, "--key")
    witnesses: list[str] = []
    for host, name in ((made.council, "witness-council.toml"), (made.security, "witness-security.toml")):
        config = made.put(host, name, "witness.toml")
        vkey = made.server(host, "witness", "--config", config, "--key")
        witnesses += ["--witness", f"http://{host.address}:8403={vkey}"]
    custodian = made.put(made.keys, "custodian.toml")
    report = json.loads(
        made.server(
            made.keys,
            *("init", "--config", custodian, "--organisation", settings.ORGANISATION),
            *("--agreement", settings.AGREEMENT, "--dpia", settings.DPIA),
            *("--custodian-url", "http://192.0.2.11:8401", "--collector-url", "http://192.0.2.12:8402"),
            *("--collector-key", collector_key, *witnesses, "--custody-level", "1", "--json"),
        )
    )
    made.root = report["root_fingerprint"]
    root_key = made.keys.file(report["root_key_file"])
    made.offline.touch(mode=0o600)
    made.offline.write_bytes(root_key.read_bytes())
    root_key.unlink()
    root = {"ASSENT_ROOT_FINGERPRINT": made.root}
    made.start(made.keys, "custodian", custodian)
    for host in (made.council, made.security):
        made.start(host, "witness", "/srv/witness.toml", **root)
    made.start(made.store, "collector", collector, **root)
    for role in ("admin", "council", "dpo"):
        done(made.person(role).assent("login", report["codes"][role], "--json"))


@dataclass(frozen=True)
class Ada:
    person: Person
    day: str


@pytest.fixture(scope="module")
def ada(company: Company) -> Ada:
    """Somebody who agreed, recorded for a few seconds and sent everything."""
    admin, council, ada = (company.person(key) for key in ("admin", "council", "ada"))
    words = ("--iri", settings.PURPOSE, "--sentence", settings.SENTENCE, "--recipient", settings.RECIPIENT)
    draft = done(admin.assent("purposes", "draft", *words, "--json")).json["draft"]
    done(council.assent("purposes", "sign", draft, "--yes"))
    done(ada.agent("enrol", done(admin.assent("people", "invite", "Ada", "--json")).json["code"], "--json"))
    modalities = [word for modality in settings.MODALITIES for word in ("--modality", modality)]
    done(ada.agent("consent", "give", "--purpose", settings.PURPOSE, *modalities, "--keyboard-mode", "text", "--yes"))
    day = today()
    replay = write_replays(company.folder / "replays", 1, SECONDS)[0]
    agent = ada.start_agent("--source", f"replay:{replay}", "--exit-when-done", env={"ASSENT_AGENT_HOLD_S": "0"})
    assert agent.wait(SECONDS + 180) == 0, agent.log.read_text()
    return Ada(ada, day)


def own_recordings(person: Person, day: str) -> dict[str, Any]:
    """What comes back when somebody opens their own recordings: lease, witnesses, release, decryption."""
    words = ("me", "recordings", "--day", day, "--to", person.home / "mine.png", "--json")
    told: dict[str, Any] = done(person.assent(*words)).json
    return told


def test_the_doctor_says_level_one_and_who_could_still_open_recordings(company: Company) -> None:
    told = company.doctor()
    assert (told["custody_level"], told["faults"]) == (1, [])
    assert "root on keys.example" in told["custody_sentence"]
    assert [note.split(":")[1].strip() for note in told["notes"]] == [
        "no canary drill has been set up yet; `assent-server drill` does, and runs it",
        *(
            f"one single key signs as {role}; whoever holds it should add a second one "
            "(`assent me add-device --kind opening`) before it is lost"
            for role in ("council", "dpo")
        ),
        "the KEK can be copied",
        "the directory claims level 1",
    ]


def test_a_recording_goes_the_whole_way_over_the_network(company: Company, ada: Ada) -> None:
    blobs = [path for path in company.store.file("/srv/assent/blobs").rglob("*") if path.is_file()]
    assert blobs, "it is stored on the collector's host"
    told = own_recordings(ada.person, ada.day)
    assert set(told["events"]) == set(settings.MODALITIES)
    assert all(told["events"].values())
    lease = told["lease"]
    assert (len(lease["witnesses"]), lease["same_host_only"], lease["closed"]) == (2, False, True)


def test_the_collectors_host_has_no_way_to_the_custodians_files_processes_or_database(
    company: Company, ada: Ada
) -> None:
    private = ("/srv/assent/custodian.db", "/srv/assent/keys/statement.pem", "/srv/kek/000001.kek")
    assert all(company.keys.sees(path) for path in private), "the positive control"
    assert not any(company.store.sees(path) for path in private)
    assert company.store.sees("/srv/assent/collector.db")
    assert not company.keys.sees("/srv/assent/collector.db")

    search = "find /srv /proc/[0-9]*/roo?/srv -name '*.kek' -o -name custodian.db"
    assert "000001.kek" in company.keys.shell(search).stdout
    assert company.store.shell(search).stdout == ""

    programs = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert "assent-server custodian" in company.keys.shell(programs).stdout
    seen = company.store.shell(programs).stdout
    assert "assent-server collector" in seen
    assert "assent-server custodian" not in seen

    scan = (
        "import socket\n"
        "for port in range(1, 65536):\n"
        "    with socket.socket() as one:\n"
        "        if one.connect_ex(('192.0.2.11', port)) == 0: print(port)\n"
    )
    scanned = company.store.programs.run(BIN / "python", "-c", scan, env=company.base, log="scan", timeout_s=300)
    found = done(scanned).out.split()
    assert found == ["8401"], "the custodian's guarded service, and no database"

    kek = company.keys.file("/srv/kek/000001.kek").read_bytes()
    stored = [path for path in company.store.file("/srv").rglob("*") if path.is_file()]
    assert not [path for path in stored if kek in path.read_bytes()]


def test_a_kek_moved_beside_the_database_costs_the_level(company: Company) -> None:
    """The doctor looks at what is, not at what the directory claims."""
    beside = {"ASSENT_CUSTODIAN_KEK_DIR": "/srv/assent/kek"}
    company.keys.shell("cp -a /srv/kek /srv/assent/kek")
    told = company.doctor(**beside)
    company.keys.shell("rm -r /srv/assent/kek")
    assert told["custody_level"] == 0
    assert any("beside the database" in note for note in told["notes"])
    assert company.doctor()["custody_level"] == 1


def test_the_installation_moves_into_a_token_and_the_doctor_says_level_two(company: Company, ada: Ada) -> None:
    if not softhsm.installed():
        pytest.skip(softhsm.MISSING)
    before = own_recordings(ada.person, ada.day)["events"]
    keys = company.keys
    token = {"SOFTHSM2_CONF": "/srv/kek/softhsm2.conf"}
    pin = secrets.token_hex(8)
    prepared = keys.shell(
        "umask 077; mkdir /srv/kek/tokens; echo 'directories.tokendir = /srv/kek/tokens' > /srv/kek/softhsm2.conf;"
        f"echo {pin} > /srv/kek/pin; SOFTHSM2_CONF=/srv/kek/softhsm2.conf "
        f"softhsm2-util --init-token --free --label assent --so-pin {pin} --pin {pin}"
    )
    assert prepared.returncode == 0, prepared.stderr
    company.running.pop("custodian on keys.example").end()
    company.put(keys, "custodian-token.toml", "custodian.toml")
    config = ("--config", "/srv/custodian.toml")
    night = json.loads(company.server(keys, "rotate", *config, "--json", **token))
    assert night["generations_destroyed"] == [1]
    assert not keys.sees("/srv/kek/000001.kek")
    root_key = ("--root-key", str(company.offline))
    company.server(keys, "directory", "sign", *config, *root_key, "--custody-level", "2", **token)
    company.start(keys, "custodian", "/srv/custodian.toml", **token)
    told = company.doctor(**token)
    assert (told["custody_level"], told["faults"]) == (2, [])
    assert "root on keys.example" in told["custody_sentence"]
    assert "ask the token" in told["custody_sentence"]
    assert any("software" in note for note in told["notes"])
    assert own_recordings(ada.person, ada.day)["events"] == before, "and everything opens as before"


def test_the_guide_has_every_command_that_was_typed_here(company: Company) -> None:
    guide = GUIDE.read_text()
    for line in company.typed:
        command = re.match(r"(directory sign|\w+)", line)
        assert command is not None
        assert f"assent-server {command[1]}" in guide
        for option in re.findall(r"--[a-z-]+", line):
            assert option in guide, f"{option} of assent-server {command[1]}"
    for path in FILES.iterdir():
        assert f"custody/{path.name}" in guide
