"""Real services and real people's commands, without a story: for tests that kill processes."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from tests.demo import settings
from tests.demo.exposure import children
from tests.demo.people import BIN, Person, clean_environment, done
from tests.demo.processes import Programs, Running, StoryBroken, wait_for
from tests.demo.story import free_ports


class Installation:
    """`with Installation(folder) as made:` founds it and starts all services. Every process ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        for name in ("logs", "tmp", "people"):
            (folder / name).mkdir(mode=0o700)
        self.programs = Programs(folder / "logs")
        self.base = clean_environment(folder / "tmp", settings.environment("ASSENT_AGENT_"))
        self._services = self.base | settings.environment("ASSENT_C")
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.callback(self.programs.close)
        try:
            self._found()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def _found(self) -> None:
        init = (BIN / "assent-server", "init", "--data", self.data, "--port-base", free_ports(), "--json")
        references = ("--agreement", settings.AGREEMENT, "--dpia", settings.DPIA)
        codes = done(self.programs.run(*init, *references, env=self._services, log="server", quiet=True)).json["codes"]
        self.up = self._start()
        self.admin, self.council, self.dpo = (self.person(role, role) for role in ("admin", "council", "dpo"))
        for role, person in (("admin", self.admin), ("council", self.council), ("dpo", self.dpo)):
            done(person.assent("login", codes[role], "--json"))
        words = ("--iri", settings.PURPOSE, "--sentence", settings.SENTENCE, "--recipient", settings.RECIPIENT)
        draft = done(self.admin.assent("purposes", "draft", *words, "--json")).json["draft"]
        done(self.council.assent("purposes", "sign", draft, "--yes"))

    def _start(self) -> Running:
        ready = self.folder / "tmp" / "up.json"
        up = self.programs.start(
            *(BIN / "assent-server", "up", "--data", self.data, "--json"),
            env=self._services,
            log="services",
            out=ready,
            name="the services",
        )
        wait_for(lambda: up.ended or ready.read_text().endswith("\n"), "the services", 180, up.log)
        if up.ended:
            raise StoryBroken("the services did not start", up.log)
        self._urls = json.loads(ready.read_text())
        return up

    def kill(self, service: str) -> int:
        """Kill a service outright; the supervisor starts it again. Returns the id of the process that was killed."""
        pid = children(self.up.pid)[service]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_restart(self, service: str, killed: int) -> None:
        """Until another process does its work: one of the collector or the custodian."""
        wait_for(lambda: children(self.up.pid).get(service, killed) != killed, f"a new {service}", 90, self.up.log)

        def ready() -> bool:
            try:
                return httpx2.get(f"{self._urls[f'{service}_url']}/readyz", trust_env=False).status_code == 200
            except httpx2.HTTPError:
                return False

        wait_for(ready, f"the new {service} to be ready", 90, self.up.log)

    def restart_everything(self) -> None:
        """Stop all services, and start them again on the same folder."""
        self.up.end()
        self.up = self._start()

    def person(self, key: str, name: str, **environment: str) -> Person:
        return Person(name, self.folder / "people" / key, self.programs, {**self.base, **environment})

    def participant(self, key: str, **environment: str) -> Person:
        """Somebody who joined and agreed to everything."""
        person = self.person(key, key.title(), **environment)
        code = done(self.admin.assent("people", "invite", person.name, "--json")).json["code"]
        done(person.agent("enrol", code, "--json"))
        modalities = [word for modality in settings.MODALITIES for word in ("--modality", modality)]
        words = ("--purpose", settings.PURPOSE, *modalities, "--keyboard-mode", "text", "--yes", "--json")
        done(person.agent("consent", "give", *words))
        return person

    @staticmethod
    def status(person: Person) -> dict[str, Any]:
        told: dict[str, Any] = done(person.agent("status", "--json")).json
        return told

    def wait_for_status(self, person: Person, timeout_s: float = 120, **facts: Any) -> dict[str, Any]:
        """Ask until all these facts are so."""

        def probe() -> dict[str, Any] | None:
            told = self.status(person)
            return told if all(told.get(name) == value for name, value in facts.items()) else None

        return wait_for(probe, f"{person.name}'s agent to say {json.dumps(facts)}", timeout_s, person.programs.logs)

    @staticmethod
    def sealed(person: Person) -> dict[str, bytes]:
        """Every sealed segment in the spool: stream and number → bytes."""
        spool = person.home / "agent" / "spool"
        return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(spool.glob("*/*.segment"))}
