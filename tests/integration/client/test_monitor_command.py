"""`assent audit monitor` as people and schedulers run it: exit status, words, JSON, figures; and killed at will."""

from __future__ import annotations

import functools
import http.server
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.exposure.world import Populated
from tests.integration.client.conftest import Terminal
from tests.unit.reader.test_auditing import OPENED, PROPER, boots, files_of, saved
from tests.unit.reader.world import World

from assent.client.directory import DirectoryRefused
from assent.client.files import write_private
from assent.contracts.keys import fingerprint
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.statements import WitnessEntry
from assent.reader.auditing import audit
from assent.reader.log_copies import Folder, load_copy
from assent.reader.monitoring import Monitor
from assent.transparency.note import Cosigner
from assent_custodian.log import service as log
from assent_custodian.log import witnesses

EARLY = ("--role-delay-hours", "0")
"""This installation was founded with a role delay of nothing."""


def test_once_is_0_without_an_alarm_and_1_with_one(terminal: Terminal, populated: Populated, tmp_path: Path) -> None:
    auditor = terminal.is_("auditor", populated.staff.auditor)
    custodian, folder, figures = populated.world.custodian, tmp_path / "log", tmp_path / "assent.prom"
    witnesses.submit_head(custodian)
    once = ("audit", "monitor", str(folder), "--once", "--metrics", str(figures), *EARLY)
    first = terminal.ok(auditor, *once)
    assert "the council signed the purpose" in first.out
    assert "No alarm." in first.out
    assert "ALARM" not in first.out
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC  ", first.out), "whose time it is"
    again = terminal.ok(auditor, *once)
    assert "new    leaf" not in again.out, "news is told once"
    values = dict(line.rsplit(" ", 1) for line in figures.read_text().splitlines())
    assert int(values["assent_monitor_log_size"]) > 20
    assert values['assent_monitor_alarms{kind="fork"}'] == "0"
    assert figures.stat().st_mode & 0o777 == 0o644, "node_exporter runs as somebody else"

    with custodian.database.transaction() as session:
        index = log.append(session, Leaf(type=LeafType.GRANT_APPROVED, at=populated.world.now, request="ab" * 32))
    witnesses.submit_head(custodian)
    found = terminal.run(auditor, *once)
    assert found.code == 1
    assert f"ALARM  leaf {index}: an approval of a request that nobody signed" in found.out
    assert "assent audit show" in found.out, "and what to do"
    assert 'assent_monitor_alarms{kind="approval"} 1' in figures.read_text()
    [line, look] = [json.loads(text) for text in terminal.run(auditor, *once, "--json").out.splitlines()]
    assert (line["event"], line["id"], line["stays"]) == ("alarm", f"approval:{index}", True)
    assert (look["event"], look["complete"], look["alarms"]) == ("look", True, 1)

    assert terminal.run(auditor, "audit", "monitor", str(folder), "--acknowledge", "approval:1").code == 1
    seen = terminal.ok(auditor, "audit", "monitor", str(folder), "--acknowledge", f"approval:{index}")
    assert "counts no more" in seen.out
    assert "No alarm." in terminal.ok(auditor, *once).out
    root = populated.world.report.root_fingerprint
    copied = terminal.run("stranger", "audit", "verify", str(folder), "--root", root)
    assert (copied.code, f"leaf {index}: an approval" in copied.out) == (1, True), "it keeps a copy, for everybody"


def test_a_role_that_counts_at_once_is_an_alarm_unless_that_was_agreed(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    auditor = terminal.is_("auditor", populated.staff.auditor)
    witnesses.submit_head(populated.world.custodian)
    ran = terminal.run(auditor, "audit", "monitor", str(tmp_path / "log"), "--once")
    assert ran.code == 1
    assert "counts after 0 hours, and not after 24" in ran.out


def test_its_copy_verifies_also_while_a_new_directory_waits_for_its_witnesses(tmp_path: Path) -> None:
    world, there, folder = World(), tmp_path / "there", tmp_path / "log"
    root, old = fingerprint(world.root.public.text), str(world.witness.verifier)
    saved(there, files_of(world, PROPER))
    with Monitor(folder, root) as monitor:
        assert monitor.look(Folder(there), world.now).complete
    new = str(Cosigner("other.test", Ed25519PrivateKey.generate()).verifier)
    policy = world.directory_statement.policy.replace(old, new)
    second = world.directory(2, policy=policy, witnesses=(WitnessEntry(url="http://other.test", vkey=new),))
    (there / "directory.json").write_bytes(second.to_json())
    (there / "policy").write_text(policy)
    with Monitor(folder, root) as monitor:
        look = monitor.look(Folder(there), world.now)
        assert "not-witnessed" in {alarm.kind for alarm in look.alarms}
    assert audit(load_copy(folder), root).passed
    with Monitor(folder, root) as monitor:
        assert monitor.trusted.current.version == 2, "and an older one is taken no more"


def test_a_folder_of_before_keeps_the_directory_that_it_knows(tmp_path: Path) -> None:
    world, folder = World(), tmp_path / "log"
    saved(folder, files_of(world, PROPER))
    with Monitor(folder, fingerprint(world.root.public.text)) as monitor:
        assert monitor.trusted.current.version == 1
    write_private(folder / "directory.json", world.directory(3).to_json())
    with Monitor(folder, fingerprint(world.root.public.text)) as monitor:
        assert monitor.trusted.current.version == 3, "brought up to date by an export"
    with pytest.raises(DirectoryRefused):
        Monitor(folder, fingerprint(World().root.public.text))


# --- as a process -----------------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path, asked: threading.Event | None = None, wait_s: float = 0.0) -> Iterator[str]:
    """A slow web server, so that there is time to be killed in. `asked` is set when somebody does."""

    class Slow(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.set()
            time.sleep(wait_s)
            super().do_GET()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Slow, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


RUN = "from assent.cli.app import main; main()"


def started(folder: Path, url: str, root: str, *more: str, code: str = RUN) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-c", code, "audit", "monitor", str(folder), "--from", url,
        "--root", root, "--every", "1", "--stale-hours", "1000000", "--json", *more,
    ]  # fmt: skip
    environment = {**os.environ, "ASSENT_HOME": str(folder.parent / "nobody")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_it_goes_on_after_being_killed_at_any_moment_and_forgets_no_alarm(tmp_path: Path) -> None:
    """kill -9, a dozen times, while the log grows; then everything is there, and what was found was found once."""
    world, random_ = World(), random.Random(7)
    root = fingerprint(world.root.public.text)
    unasked = OPENED.replace(b'"abab', b'"cdcd', 1).replace(b'"1e1e', b'"3e3e')
    leaves = [*PROPER, OPENED.replace(b'"1e1e', b'"2e2e'), unasked, *boots(8000)]
    there, folder = tmp_path / "there", tmp_path / "log"
    sizes, heads = [8, 2000, 2100, 4000, 6000, 6001, 8000], []
    for size in sizes:
        saved(there, files_of(world, leaves[:size]))
        with served(there, asked := threading.Event(), wait_s=0.01) as url:
            process = started(folder, url, root)
            asked.wait(60)
            time.sleep(random_.uniform(0.0, 1.0))
            process.kill()
            process.communicate()
        if (folder / "checkpoint").exists():
            with Monitor(folder, root) as monitor:
                heads.append(monitor.copy.size)
                assert monitor.state.memory.size <= monitor.copy.size
    assert heads == sorted(heads), "never back to a smaller head"
    assert len(set(heads)) >= 2, "some of the time it had come to the end of a look"
    with served(there) as url:
        process = started(folder, url, root, "--once")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    alarms = [json.loads(line) for line in out.splitlines() if '"event": "alarm"' in line]
    assert [alarm["id"] for alarm in alarms if alarm["kind"] == "lease-unapproved"] == ["lease-unapproved:7"]
    assert load_copy(folder).leaves() == tuple(leaves[:8000])
    assert [check.text for check in audit(load_copy(folder), root).checks if not check.passed] == [
        "leaf 7: a lease with 0 of 2 approvals"
    ]


def test_it_ends_with_1_when_it_cannot_keep_what_it_saw(tmp_path: Path) -> None:
    """The disk is full (here: no file may grow beyond 3,000 bytes) in the middle of a look: nothing is forgotten."""
    world = World()
    root = fingerprint(world.root.public.text)
    there, folder = saved(tmp_path / "there", files_of(world, PROPER)), tmp_path / "log"
    with served(there) as url:
        started(folder, url, root, "--once").communicate(timeout=60)
        saved(there, files_of(world, [*PROPER, *boots(200)]))
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); {RUN}"
        process = started(folder, url, root, code=code)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, "Not done." in out) == (1, True), out
        assert load_copy(folder).leaves() == tuple(PROPER)
        started(folder, url, root, "--once").communicate(timeout=60)
    assert len(load_copy(folder).leaves()) == len(PROPER) + 200


def test_it_looks_until_it_is_told_to_stop_and_says_what_changes(tmp_path: Path) -> None:
    world = World()
    root = fingerprint(world.root.public.text)
    there, folder = saved(tmp_path / "there", files_of(world, PROPER)), tmp_path / "log"
    with served(there) as url:
        process = started(folder, url, root)
        assert process.stdout is not None

        def wait_for(event: str) -> dict[str, Any]:
            assert process.stdout is not None
            for line in process.stdout:
                found: dict[str, Any] = json.loads(line)
                if found["event"] == event:
                    return found
            raise AssertionError(f"it ended without {event}")

        assert wait_for("look")["size"] == 6
        second = started(folder, url, root)
        said, _ = second.communicate(timeout=60)
        assert (second.returncode, "Another process" in said) == (1, True)
        saved(there, files_of(world, [*PROPER, OPENED.replace(b'"abab', b'"cdcd', 1)]))
        while wait_for("alarm")["kind"] != "lease-unapproved":
            pass
        saved(there, files_of(world, PROPER[:5]))
        while wait_for("alarm")["kind"] != "rolled-back":
            pass
        assert wait_for("look")["size"] == 7, "what was seen is not forgotten"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
