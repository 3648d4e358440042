"""Whatever the network does, what the agent was told is stored is stored, exactly once and in order.

A client over a network that drops requests, drops answers, duplicates and reorders, against a server that restarts.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.simulators.collector import Recording, World, put, put_record

from assent.contracts.envelope import Envelope, read
from assent.contracts.problems import Problem
from assent.contracts.statements import Stored
from assent.sealing.chain import examine
from assent.sealing.segments import SealedSegment, SignedRecord, body_size
from assent_collector import store

Upload = SealedSegment | SignedRecord


class LossyNetwork(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World.new(self.folder)
        self.recording = Recording()
        self.world.register(self.recording)
        self.made: list[Upload] = []
        self.delayed: list[Upload] = []
        self.acknowledged: list[Upload] = []
        self.answers: dict[int, Envelope] = {}
        self.ended = False

    def teardown(self) -> None:
        self.world.collector.close()
        shutil.rmtree(self.folder)

    def _deliver(self, upload: Upload) -> Envelope | None:
        """What the server answers, None for a refusal."""
        uploads = self.world.collector.uploads
        try:
            answer = put(uploads, upload) if isinstance(upload, SealedSegment) else put_record(uploads, upload)
        except Problem:
            return None
        number = self.made.index(upload)
        assert self.answers.setdefault(number, answer) == answer  # the same upload always gets the same answer
        return answer

    @property
    def _next(self) -> Upload:
        return self.made[len(self.acknowledged)]

    @precondition(lambda self: not self.ended and len(self.made) < 12)
    @rule(size=st.integers(0, 2000))
    def record_a_segment(self, size: int) -> None:
        self.made.append(self.recording.segment(bytes(size)))

    @precondition(lambda self: not self.ended and len(self.made) < 12)
    @rule(count=st.integers(1, 3))
    def forget(self, count: int) -> None:
        self.made.append(self.recording.skip(count))

    @precondition(lambda self: not self.ended and self.made)
    @rule()
    def end(self) -> None:
        self.made.append(self.recording.end())
        self.ended = True

    @precondition(lambda self: len(self.acknowledged) < len(self.made))
    @rule()
    def send(self) -> None:
        answer = self._deliver(self._next)
        assert answer is not None  # what comes next is never refused
        read(answer, Stored, self.world.issuer.collector_key.public)
        self.acknowledged.append(self._next)

    @precondition(lambda self: len(self.acknowledged) < len(self.made))
    @rule()
    def send_and_lose_the_answer(self) -> None:
        self._deliver(self._next)

    @precondition(lambda self: len(self.acknowledged) < len(self.made))
    @rule()
    def send_and_be_delayed(self) -> None:
        self.delayed.append(self._next)

    @precondition(lambda self: self.delayed)
    @rule(data=st.data())
    def a_delayed_one_arrives(self, data: st.DataObject) -> None:
        self._deliver(self.delayed.pop(data.draw(st.integers(0, len(self.delayed) - 1))))

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def any_one_arrives(self, data: st.DataObject) -> None:
        upload = data.draw(st.sampled_from(self.made))
        answer = self._deliver(upload)
        assert answer is not None or upload not in self.acknowledged

    @rule()
    def the_server_restarts(self) -> None:
        self.world.restart()

    @invariant()
    def what_was_acknowledged_is_there_once_and_in_order(self) -> None:
        with self.world.collector.database.reading() as session:
            items = list(store.items_of(session, self.recording.stream))
        assert len(items) >= len(self.acknowledged)
        expected = [u.header if isinstance(u, SealedSegment) else u.record for u in self.made]
        assert [item.exact for item in items] == expected[: len(items)]
        bodies = [item for item in items if item.kind == "segment"]
        assert len(self.world.files()) == len(bodies)
        links = [u.link if isinstance(u, SealedSegment) else u for u in self.made[: len(items)]]
        report = examine(links, self.recording.stream, self.recording.key.public_key())
        assert len(report.segments) == len(bodies)
        assert {body_size(header.length) for header in report.segments} == {item.body_length for item in bodies}


LossyNetwork.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestLossyNetwork = LossyNetwork.TestCase
