"""The spool against a model, in any order of events, with crashes and full disks in between."""

from __future__ import annotations

from datetime import timedelta

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.simulators.disk import Crashed, SimulatedDisk, no_space
from tests.unit.agent.parts import NOON, MemorySecrets, certificate, draft, ns
from tests.unit.agent.test_spool import FOLDER, Collector

from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent_agent.spool.spool import Spool, SpoolFull, StreamClosed

MINUTE = timedelta(minutes=1)
SURVIVES = st.sampled_from(["synced", "names", "all"])


class SpoolModel(RuleBasedStateMachine):
    """`sealed`: what must be there (or stored); `maybe`: what a crash left undecided."""

    @initialize()
    def start(self) -> None:
        self.disk = SimulatedDisk()
        self.secrets = MemorySecrets(self.disk.tick)
        self.collector = Collector()
        self.now = NOON
        self.sealed: dict[str, tuple[str, int]] = {}
        self.given_up: set[str] = set()
        self.open: list[str] = []
        self.spool = self._new()

    def _new(self) -> Spool:
        return Spool(FOLDER, self.secrets, now=self.now, disk=self.disk, reserve_bytes=0)

    def _restart(self, survives: str) -> None:
        self.disk.crash(survives)  # type: ignore[arg-type]
        self.open.clear()
        self.spool = self._new()

    @rule(modality=st.sampled_from(list(Modality)))
    def open_stream(self, modality: Modality) -> None:
        if len(self.open) < 4:
            key = SigningKey.generate()
            self.open.append(self.spool.open_stream(certificate(key, modality, self.now), key, self.now))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 3))
    def seal(self, which: int) -> None:
        stream = self.open[which % len(self.open)]
        self.now += 5 * MINUTE
        segment = self.spool.seal(stream, draft(self.now), self.now)
        self.sealed[segment] = (stream, len(self.sealed))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 3), operation=st.integers(0, 7), stays=st.booleans())
    def seal_on_a_failing_disk(self, which: int, operation: int, stays: bool) -> None:
        stream = self.open[which % len(self.open)]
        self.disk.fail_at(operation, no_space, stays)
        try:
            self.sealed[self.spool.seal(stream, draft(self.now), self.now)] = (stream, 0)
        except SpoolFull:
            pass
        finally:
            self.disk.fail_at(None)
        try:
            self.sealed[self.spool.seal(stream, draft(self.now), self.now)] = (stream, 0)
        except StreamClosed:
            self.open.remove(stream)
            self.spool.end(stream, self.now)

    @rule(minutes=st.integers(0, 40))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes * MINUTE

    @rule(limit=st.integers(1, 5))
    def send(self, limit: int) -> None:
        self.collector.take(self.spool, self.now, limit)

    @rule(limit=st.integers(1, 5), operation=st.integers(0, 12), survives=SURVIVES)
    def crash_while_sending(self, limit: int, operation: int, survives: str) -> None:
        self.disk.fail_at(operation)
        try:
            self.collector.take(self.spool, self.now, limit)
        except Crashed:
            self._restart(survives)
        self.disk.fail_at(None)

    @rule(minutes=st.integers(0, 60), operation=st.integers(0, 20), survives=SURVIVES)
    def crash_while_forgetting(self, minutes: int, operation: int, survives: str) -> None:
        # After a restart whole hours go: everything unsent may be concerned.
        self.given_up |= set(self.sealed)
        self.disk.fail_at(operation)
        try:
            self.spool.forget(ns(self.now - minutes * MINUTE), ns(self.now), self.now)
        except Crashed:
            self._restart(survives)
        self.disk.fail_at(None)

    @precondition(lambda self: self.open)
    @rule(operation=st.integers(0, 9), survives=SURVIVES)
    def crash_while_sealing(self, operation: int, survives: str) -> None:
        self.disk.fail_at(operation)
        try:
            self.sealed[self.spool.seal(self.open[0], draft(self.now), self.now)] = (self.open[0], 0)
        except Crashed:
            self._restart(survives)
        self.disk.fail_at(None)

    @precondition(lambda self: self.open)
    @rule()
    def end(self) -> None:
        self.spool.end(self.open.pop(), self.now)

    @rule(survives=SURVIVES)
    def power_cut(self, survives: str) -> None:
        self._restart(survives)

    @invariant()
    def everything_sealed_is_here_or_stored_or_given_up(self) -> None:
        here = {
            self.spool.read_segment(item).id
            for view in self.spool.streams(self.now)
            for item in view.items
            if item.name.kind in ("segment", "sending")
        }
        stored = set(self.collector.segments.values())
        assert set(self.sealed) <= here | stored | self.given_up

    def teardown(self) -> None:
        if not hasattr(self, "spool"):
            return
        for stream in self.open:
            self.spool.end(stream, self.now)
        self.now += timedelta(hours=1)
        self.collector.take(self.spool, self.now)
        assert self.spool.streams(self.now) == ()
        assert list(self.disk.files()) == []
        assert self.secrets.kept == {}
        assert all(checker.state.closed != "not closed" for checker in self.collector.checkers.values())


SpoolModel.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestSpoolModel = SpoolModel.TestCase
