"""A person's agent and a log that ended: it follows an honest directory, and an operator who uses one to drop leaves of
which this agent has seen proof is found out, and not recorded for any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.exposure.test_new_log import Watcher
from tests.exposure.world import installed
from tests.integration.access.test_rotation import InUse, _known, _status
from tests.simulators.agents import running, wait_until
from tests.simulators.collector import serving

from assent.contracts.statements import WitnessEntry
from assent.transparency.checkpoint import Checkpoint
from assent.transparency.note import Note
from assent_agent.runtime.agent import Agent
from assent_custodian import backups, ceremony
from assent_custodian.consent.models import WithdrawalRow
from assent_custodian.restoring import databases, new_log
from assent_custodian.restoring.catching_up import catch_up
from assent_witness.app import verifier_key


class Lost(InUse):
    """The same with a real witness and a backup, from before a lease of which the agent sees the head."""

    def begin(self, folder: Path, stack: ExitStack) -> None:
        self.watcher = Watcher(self.world, folder / "witness", "council")
        url = stack.enter_context(serving(self.watcher.app))
        entry = WitnessEntry(url=url, vkey=verifier_key(self.watcher.settings))
        self.publish(
            witnesses=(entry,), policy=ceremony.policy_text(self.world.custodian.directory.directory.log_vkey, (entry,))
        )
        self.origin = self.world.custodian.log_signer.verifier.name
        self.backup = backups.back_up(self.world.custodian, folder / "backups")
        self.reopen()
        self.early = self.watcher.head(self.origin)
        self.reopen()

    def seen(self) -> int:
        """The size of the newest head that the agent has kept."""
        path = self.home.directory_path.with_suffix(".head")
        return Checkpoint.from_text(Note.from_bytes(path.read_bytes()).text).size if path.exists() else 0

    def lose_and_quote(self, head: Note) -> None:
        self.world.custodian.close()
        databases.restore(self.world.settings, self.backup, over=True, clock=self.world.clock)
        self.world.restart()
        assert catch_up(self.world.custodian) is not None
        unsigned = ceremony.next_directory(self.world.custodian, {}, heads=[head])
        ceremony.publish(self.world.custodian, ceremony.sign_offline(unsigned.to_bytes(), self.root_key))
        self.world.clock.forward(seconds=31)
        self.world.restart()
        catch_up(self.world.custodian)


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Lost]:
    with installed(tmp_path / "installation", witness_timeout_s=10) as installation, ExitStack() as stack:
        in_use = Lost(tmp_path, installation)
        in_use.begin(tmp_path, stack)
        yield in_use


def recording(agent: Agent) -> bool:
    return bool(_status(agent)["state"] == "recording")


def newest(lost: Lost) -> int:
    return Checkpoint.from_text(lost.watcher.head(lost.origin).text).size


def test_an_agent_that_has_seen_more_than_is_quoted_sounds_the_alarm_and_records_nothing(
    lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(lost.agent()) as agent:
        wait_until(lambda: recording(agent), "the agent records")
        wait_until(lambda: lost.seen() == newest(lost), "the agent keeps the newest head, with its news")
        assert newest(lost) > Checkpoint.from_text(lost.early.text).size
        monkeypatch.setattr(new_log, "_check_newest", lambda *_: None)  # what our own command would refuse
        lost.lose_and_quote(lost.early)
        wait_until(lambda: _status(agent)["why"] == "log", "the agent sounds the alarm")
        told = _status(agent)
        assert (told["state"], recording(agent)) == ("trouble", False)
        assert "ALARM" in told["sentence"] and "leaves were dropped" in told["log_trouble"]
        version = lost.world.custodian.directory.directory.version
        assert _known(agent) == version - 1, "the directory of before is used"
    with running(lost.agent()) as again:
        wait_until(lambda: _status(again)["why"] == "log", "and it does not forget it")
        again.ask({"do": "withdraw"})
        wait_until(lambda: withdrawn(lost), "withdrawing goes on")


def withdrawn(lost: Lost) -> bool:
    with lost.world.custodian.database.reading() as session:
        return bool(session.scalar(select(func.count()).select_from(WithdrawalRow)))


def test_an_agent_follows_an_honest_directory(lost: Lost) -> None:
    """The control: the same loss, and the head that the witness signed last."""
    with running(lost.agent()) as agent:
        wait_until(lambda: recording(agent), "the agent records")
        wait_until(lambda: lost.seen() == newest(lost), "the agent keeps the newest head, with its news")
        lost.lose_and_quote(lost.watcher.head(lost.origin))
        version = lost.world.custodian.directory.directory.version
        wait_until(lambda: _known(agent) == version, "the agent has the new directory")
        wait_until(lambda: _status(agent)["why"] == "halted", "and hears that the programme is halted")
        assert "leaves of the log are lost" in _status(agent)["sentence"]
        assert _status(agent)["log_trouble"] == ""
