"""Laptops with a real agent each, in one thread: clocks that tests move, a network that tests cut, no desktop.

The agent's owner thread and its two workers are played by the test: `turn` handles what waits, and a job is done where
it is asked for. Everything else (state, spool, files, clients) is the agent's own. A crash is an agent that nobody
asks any more.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx2
from tests.unit.agent.parts import MemorySecrets

from assent.client.custodian import CustodianClient
from assent.client.directory import TrustedDirectory
from assent.contracts.events import Display, KeyboardMode, Rect
from assent.contracts.ids import Modality
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Mode, StreamCertificate
from assent_agent import app
from assent_agent.core.screens import Window, WindowView
from assent_agent.ports import Capture, Frame, InputHealth, InputSink, ScreenUnavailable, ViewSink
from assent_agent.runtime import network
from assent_agent.runtime.agent import Agent
from assent_agent.runtime.home import AgentHome, Identity, Switch
from assent_agent.runtime.network import Links
from assent_agent.settings import AgentSettings
from assent_agent.spool.spool import Spool

SECOND_NS = 10**9
RECT = Rect(0, 0, 800, 600)


@dataclass
class LaptopClock:
    """`true` is what really passes, for everybody; `off` how far this laptop's wall clock is from it."""

    true: Callable[[], datetime]
    off: timedelta = timedelta()

    def monotonic_ns(self) -> int:
        return int(self.true().timestamp() * SECOND_NS)

    def elapsed_ns(self) -> int:
        return self.monotonic_ns()

    def wall_ns(self) -> int:
        return int((self.true() + self.off).timestamp() * SECOND_NS)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall_ns() / SECOND_NS, UTC)


class QuietDesktop:
    """One window, in which nothing happens: silence is recorded, too."""

    def __init__(self, clock: LaptopClock) -> None:
        self._clock = clock
        self.observed: frozenset[str] = frozenset()

    def capture(self) -> Capture:
        return Capture(input=self, screen=_NoScreen(), windows=_Windows(self._clock), clock=self._clock)

    def start(self, _sink: InputSink, modalities: Collection[str], _mode: KeyboardMode) -> None:
        self.observed = frozenset(modalities)

    def stop(self) -> None:
        self.observed = frozenset()

    def health(self) -> InputHealth:
        return InputHealth(running=bool(self.observed))


class _Windows:
    def __init__(self, clock: LaptopClock) -> None:
        self._clock = clock

    def start(self, on_view: ViewSink) -> None:
        on_view(self.view())

    def view(self) -> WindowView:
        return WindowView(self._clock.monotonic_ns(), (Window(1, RECT, "editor", "Letter"),), 1)

    def stop(self) -> None:
        return


class _NoScreen:
    def grab(self, _display: Display) -> Frame:
        raise ScreenUnavailable("there is no screen")

    def close(self) -> None:
        return


@dataclass
class Line:
    """A laptop's way to both services. `lose`: so many answers are lost after the services have acted."""

    carry: Callable[[httpx2.Request], httpx2.Response]
    up: bool = True
    lose: int = 0

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._ask)

    def _ask(self, request: httpx2.Request) -> httpx2.Response:
        if not self.up:
            raise httpx2.ConnectError("offline")
        answer = self.carry(request)
        if self.lose > 0:
            self.lose -= 1
            raise httpx2.ReadError("the answer was lost")
        return answer


@dataclass
class Laptop:
    """A device of a person. `agent` None: it does not run."""

    folder: Path
    person: str
    device: SigningKey
    root_fingerprint: str
    clock: LaptopClock
    line: Line
    settings: AgentSettings = field(default_factory=lambda: AgentSettings(hold_s=0, reserve_bytes=0))
    secrets_: MemorySecrets = field(default_factory=MemorySecrets)
    agent: Agent | None = None

    def __post_init__(self) -> None:
        self.home = AgentHome(self.folder)
        self.desktop = QuietDesktop(self.clock)
        self.home.save_identity(
            Identity(
                person=self.person, name="Kim", custodian_url="http://127.0.0.1:8401",
                root_fingerprint=self.root_fingerprint, device_key_id=self.device.public.id,
            )
        )  # fmt: skip

    # --- as the agent's commands see it (`app.Parts`) ---

    def secrets(self) -> MemorySecrets:
        return self.secrets_

    def links(self, device: SigningKey) -> Links:
        return Links(
            TrustedDirectory(self.root_fingerprint, self.home.directory_path), "http://127.0.0.1:8401", device,
            self.clock.now, custodian_transport=self.line.transport, collector_transport=self.line.transport,
        )  # fmt: skip

    def custodian(self) -> CustodianClient:
        return self.links(self.device_key()).custodian()

    def device_key(self, _secrets: object = None) -> SigningKey:
        return self.device

    def spool(self, _secrets: object = None) -> Spool:
        return Spool(self.home.spool, self.secrets_, now=self.clock.now(), hold=timedelta(), reserve_bytes=0)

    # --- what the person does ---

    def start(self) -> None:
        self.agent = Agent(
            home=self.home, settings=self.settings, device=self.device, secrets=self.secrets_,
            make_capture=self.desktop.capture, indicator=None, clock=self.clock, links=self.links(self.device),
            random=Random(1),
        )  # fmt: skip
        self.agent._begin()

    def stop(self, *, crash: bool) -> None:
        if self.agent is not None and not crash:
            self.agent._end()
        self.agent = None
        self.desktop.observed = frozenset()

    def turn(self) -> None:
        """What the owner thread does in one cycle."""
        if self.agent is None:
            return
        while True:
            try:
                self.agent._handle(self.agent._inbox.get_nowait())
            except queue.Empty:
                break
        self.agent._cycle()

    def say(self, do: str, **more: Any) -> None:
        assert self.agent is not None
        answer = self.agent._answer({"do": do, **more})
        assert answer["ok"], answer

    def give(self, modalities: Collection[Modality], purposes: Collection[str]) -> str:
        """As the command or the window; returns the record. Raises ClientError."""
        with self._at():
            with self.links(self.device).custodian() as custodian:
                shown = custodian.offer()
            receipt, _ = app.give(
                self._parts, shown, pairs=[(m, p) for m in sorted(modalities) for p in sorted(purposes)],
                keyboard_mode=KeyboardMode.SHAPE, modes=(Mode.READER,), device=self.device,
            )  # fmt: skip
        if self.agent is not None:
            self.say("given")
        return receipt.record

    def withdraw(self, modalities: frozenset[Modality], purposes: frozenset[str]) -> None:
        """With the running agent, or by the command without it. What is not agreed to is said to be so."""
        held = self.home.held_receipt()
        assert held is not None
        if self.agent is not None:
            asked = {"do": "withdraw", "modalities": [m.value for m in modalities], "purposes": sorted(purposes)}
            answer = self.agent._answer(asked)
            assert answer["ok"] or not held.covers_any(modalities, purposes), answer
            return
        with self._at():
            try:
                app.withdraw(self._parts, modalities, purposes)
            except app.NotPossible:
                assert not held.covers_any(modalities, purposes)

    @property
    def _parts(self) -> Any:
        return SimpleNamespace(
            home=self.home, secrets=self.secrets, links=self.links, device=self.device_key, custodian=self.custodian,
            spool=self.spool,
        )  # fmt: skip

    @contextmanager
    def _at(self) -> Iterator[None]:
        """The commands read this laptop's clock."""

        class Moment(datetime):
            @classmethod
            def now(cls, _zone: Any = None) -> datetime:  # type: ignore[override]
                return self.clock.now()

        with patch.object(app, "datetime", Moment):
            yield

    # --- what is seen ---

    @property
    def recording(self) -> frozenset[Modality]:
        """What is really recorded: what runs, and goes into which streams."""
        if self.agent is None or self.agent._session is None or self.agent._run is None:
            return frozenset()
        return frozenset(self.agent._state.capturing)

    def spooled(self) -> list[StreamCertificate]:
        """The streams of which something is still here, as the files say."""
        agent = self.agent
        if agent is None:
            return []
        found = [agent.spool.certificate(view.stream) for view in agent.spool.streams(self.clock.now())]
        return [certificate for certificate in found if certificate is not None]

    def unconfirmed(self) -> int:
        return sum(queued.stored.confirmation is None for queued in self.home.withdrawals())

    def switched_on(self) -> bool:
        return self.home.switch() != Switch() and self.home.switch().on


@contextmanager
def workers_in_this_thread() -> Iterator[None]:
    """Until the end, agents made here have no threads: a job is done where it is asked for."""

    def make(_worker: Any, _name: str) -> None:
        return

    def do(_worker: Any, job: Callable[[], None]) -> None:
        job()

    def close(_worker: Any, timeout_s: float = 2.0) -> None:
        return

    with (
        patch.object(network._Worker, "__init__", make),
        patch.object(network._Worker, "_do", do),
        patch.object(network._Worker, "close", close),
    ):
        yield
