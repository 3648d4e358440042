"""A whole drill in this process: the real runner against an installation of which only the network is replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from tests.exposure.world import Installation

from assent_collector.app import openapi as collector_openapi
from assent_custodian.app import describe
from assent_custodian.drills import service as drills
from assent_server.drill import surfaces
from assent_server.drill.identities import Folder, enrol
from assent_server.drill.results import Results
from assent_server.drill.running import Described, Drill


class Drilled:
    """The drill of one installation."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.folder = Folder(folder)
        self.waited = 0.0
        self.transport: httpx2.BaseTransport = installation.wire
        world = installation.world
        with world.custodian.database.transaction() as session:
            codes = drills.invite(session, world.custodian)
        with self.folder.alone():
            enrol(self.folder, codes, clock=world.clock, transport=self.transport)
        self.surfaces = [
            *surfaces.of_custodian(world.settings),
            *surfaces.of_collector(installation.collector_settings),
        ]

    def described(self) -> Described:
        return Described(describe(self.installation.world.client.app), collector_openapi())  # type: ignore[arg-type]

    def run(self, progress: Callable[[str], None] = lambda _text: None, **changes: Any) -> Results:
        world = self.installation.world

        def wait(seconds: float) -> None:
            self.waited += seconds
            world.clock.forward(seconds=seconds)

        options: dict[str, Any] = {
            "clock": world.clock, "transport": self.transport, "wait": wait, "progress": progress, **changes,
        }  # fmt: skip
        return Drill(self.folder, self.described(), self.surfaces, **options).run()
