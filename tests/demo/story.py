"""The story, chapter by chapter. Every step is a public command; every promise is tried, and what came is recorded."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tests.demo import exposure, settings
from tests.demo.desk import SIZE, Desk, ThisDesktop, compose, missing_programs, write_planted
from tests.demo.display import Display
from tests.demo.outcomes import Outcomes
from tests.demo.people import BIN, Person, clean_environment, done
from tests.demo.processes import Done, Programs, Running, StoryBroken, wait_for
from tests.demo.replays import write_replays
from tests.exposure.canary import Marker
from tests.simulators.desktop import Desktop, DesktopFailed

T = TypeVar("T")
U = TypeVar("U")

SURNAME = "Thorvaldsen"
"""Ada's: so long that no ciphertext holds it by chance, as any does some name of three letters."""
NAMES = ("Bo", "Cem", "Dana", "Edi", "Femke", "Goran", "Hana", "Ivo", "Jun")
ROOT = Path(__file__).parents[2]
CLK_TCK = os.sysconf("SC_CLK_TCK")
TRAY_S = 15.0
"""How long the tray icon may take to show what is so."""


class Story:
    """One run of the demo in `folder`. Use `tell`; `close` ends everything that was started."""

    def __init__(self, folder: Path, display: Display, outcomes: Outcomes, *, this_desktop: bool) -> None:
        self.folder = folder
        self.show = display
        self.outcomes = outcomes
        self._this_desktop = this_desktop
        self.logs = folder / "logs"
        self.data = folder / "data"
        self.pictures = folder / "pictures"
        for made in (self.logs, self.pictures, folder / "tmp", folder / "people"):
            made.mkdir(mode=0o700)
        self.programs = Programs(self.logs)
        self.base = clean_environment(folder / "tmp", settings.environment("ASSENT_AGENT_"))
        self.markers = {"marker": Marker.new(), "secret": Marker.new()}
        self.people: dict[str, Person] = {}
        self.others: list[Person] = []
        self.up: Running
        self.port_base = 0
        self.agent: Running | None = None
        self.desk: Desk | None = None
        self.request = ""
        self.day = ""
        self._open = ExitStack()
        self._pool = self._open.enter_context(ThreadPoolExecutor(settings.TOGETHER))
        self._background = self._open.enter_context(ThreadPoolExecutor(settings.TOGETHER))

    # --- the whole ------------------------------------------------------------------------------------

    def tell(self) -> None:
        """All chapters, in order. Raises StoryBroken when it cannot go on."""
        chapters: list[tuple[str, Callable[[], None]]] = [
            ("Three services that trust each other as little as possible", self.start_services),
            ("Founders, a purpose, and people with roles", self.found),
            ("Ada opts in, and works for half a minute", self.record),
            ("Nine more people take part", self.wait_for_the_others),
            ("What was sealed is sent", self.upload),
            ("Somebody asks for data; two people must agree", self.ask),
            ("Reading, in memory only", self.read),
            ("Ada sees who read, and looks at her own recordings", self.look_back),
            ("What everybody else could obtain", self.try_everything),
            ("Ada takes it back, in the middle of a running job", self.withdraw),
        ]
        for number, (title, chapter) in enumerate(chapters, 1):
            self.outcomes.chapter = title
            begun = time.monotonic()
            with self.show.chapter(number, title):
                chapter()
            lasted = self.outcomes.figures.setdefault("seconds_per_chapter", {})
            lasted[title] = round(time.monotonic() - begun, 1)

    def close(self, *, keep: bool = False) -> None:
        """End everything; with `keep` the services run on."""
        if keep and hasattr(self, "up"):
            self.programs.forget(self.up)
        self.programs.close()
        self._open.close()

    def expect(self, name: str, expected: str, obtained: object, ok: bool, text: str = "") -> None:
        """Record an outcome and show it as a tick."""
        self.outcomes.expect(name, expected, obtained, ok)
        self.show.tick(text or expected, ok)
        if not ok:
            self.show.note(f"obtained: {obtained}", "red")

    def each(self, act: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """Do the same for several, a few at a time; the first failure is raised."""
        return list(self._pool.map(act, items))

    # --- 1 --------------------------------------------------------------------------------------------

    def start_services(self) -> None:
        self._replays = self._background.submit(
            write_replays, self.folder / "replays", settings.PEOPLE, settings.REPLAY_S
        )
        self._desktop_ready = self._background.submit(self._start_desktop)
        self.show.doing("making keys, databases and the first directory")
        self.port_base = free_ports()
        environment = self.base | settings.environment("ASSENT_C")
        made = done(
            self.programs.run(
                *(BIN / "assent-server", "init", "--data", self.data, "--port-base", self.port_base),
                *("--organisation", settings.ORGANISATION, "--agreement", settings.AGREEMENT, "--dpia", settings.DPIA),
                "--json",
                env=environment,
                log="server",
                quiet=True,
            )
        ).json
        self._codes: dict[str, str] = made["codes"]
        self._allow("sketch")
        self.show.doing("starting custodian, collector and witness")
        ready = self.folder / "tmp" / "up.json"
        self.up = self.programs.start(
            *(BIN / "assent-server", "up", "--data", self.data, "--json"),
            env=environment,
            log="services",
            out=ready,
            name="the services",
        )
        wait_for(lambda: self.up.ended or ready.read_text().endswith("\n"), "the services", 90, self.up.log)
        if self.up.ended:
            raise StoryBroken("the services did not start", self.up.log)
        self.facts = json.loads(ready.read_text())
        self.pids = exposure.children(self.up.pid)
        self.expect(
            "services",
            "custodian, collector and witness run as processes of their own",
            sorted(self.pids),
            set(self.pids) == {"custodian", "collector", "witness"},
            f"custodian, collector and witness run as processes of their own, on ports {self.port_base + 1} to "
            f"{self.port_base + 3}",
        )
        level, sentence = self.facts["custody_level"], self.facts["custody_sentence"]
        self.outcomes.custody = {"level": level, "sentence": sentence, "notes": self.facts["notes"]}
        self.expect(
            "custody-level-is-said",
            "the product says that one host is custody level 0",
            f"level {level}: {sentence}",
            level == 0 and "root on" in sentence,
            f"custody level {level}: all on one host, a demo. {sentence}",
        )

    def _allow(self, application: str) -> None:
        """What an operator does: put one more program on the employer's list, before the custodian starts."""
        policy = self.data / "custodian" / "policy.json"
        content = json.loads(policy.read_text())
        content["application_list"]["allow"].append(application)
        policy.write_text(json.dumps(content, indent=2))

    def _start_desktop(self) -> Desktop | None:
        """Ada's display, or None when it cannot be had (the reason is in `skipped`)."""
        if not self._this_desktop and (missing := missing_programs()):
            self.outcomes.skipped.append(f"Ada's real desktop: {', '.join(missing)} not installed; she is replayed")
            return None
        try:
            desktop = (ThisDesktop if self._this_desktop else Desktop)(SIZE, tray=True)
            return self._open.enter_context(desktop)
        except (DesktopFailed, OSError) as error:
            self.outcomes.skipped.append(f"Ada's real desktop: {error}; she is replayed")
            return None

    # --- 2 --------------------------------------------------------------------------------------------

    def person(self, key: str, name: str, base: dict[str, str] | None = None) -> Person:
        made = Person(name, self.folder / "people" / key, self.programs, self.base if base is None else base)
        self.people[key] = made
        return made

    def found(self) -> None:
        self.show.doing("the founders join with the codes of the ceremony")
        founders = {"admin": "Admin", "council": "Works council", "dpo": "Data-protection officer"}
        for key, name in founders.items():
            self.person(key, name)
        self.each(lambda key: done(self.people[key].assent("login", self._codes[key], "--json")), founders)
        self.show.tick("admin, works council and data-protection officer joined with their codes")
        self.show.doing("a purpose is drafted and signed")
        admin, council, dpo = (self.people[key] for key in founders)
        draft = done(
            admin.assent(
                *("purposes", "draft", "--iri", settings.PURPOSE, "--sentence", settings.SENTENCE),
                *("--recipient", settings.RECIPIENT, "--mode", "reader", "--json"),
            )
        ).json["draft"]
        done(council.assent("purposes", "sign", draft, "--yes", "--json"))
        self.show.tick(f'the admin drafted a purpose, the council signed it: "{settings.SENTENCE}"')
        self.show.doing("people are invited")
        roles = {
            "requester": ("Rosa (ML team)", "requester"),
            "steward-1": ("Sam", "steward"),
            "steward-2": ("Stella", "steward"),
            "auditor": ("Axel", "auditor"),
        }
        names = {"ada": (f"Ada {SURNAME}", None), **{name.lower(): (name, None) for name in NAMES}}
        invited = self.each(lambda item: (item[0], self._invite(admin, *item[1])), {**roles, **names}.items())
        self._invitations = dict(invited)
        for key, (name, _) in roles.items():
            self.person(key, name)
        logins = self.each(
            lambda key: (key, done(self.people[key].assent("login", self._invitations[key]["code"], "--json")).json),
            roles,
        )
        signed = self.each(
            lambda key: (
                key,
                done(dpo.assent("people", "countersign", self._invitations[key]["invitation"], "--yes", "--json")).json[
                    "keys"
                ],
            ),
            roles,
        )
        told = {key: [login["key_fingerprint"]] for key, login in logins}
        accounts = done(admin.assent("people", "list", "--json")).json["people"]
        held = {account["name"]: account["roles"] for account in accounts}
        self.expect(
            "roles-countersigned",
            "a requester, two stewards and an auditor have their roles after a second signature",
            {name: held.get(name) for name, _ in roles.values()},
            all(held.get(name) == [role] for name, role in roles.values()) and dict(signed) == told,
            "a requester, two stewards and an auditor, each role countersigned by the data-protection officer for the "
            "very key that its holder named",
        )

    def _invite(self, admin: Person, name: str, role: str | None) -> dict[str, str]:
        words = ("--role", role) if role else ()
        invitation: dict[str, str] = done(admin.assent("people", "invite", name, *words, "--json")).json
        return invitation

    # --- 3 --------------------------------------------------------------------------------------------

    def record(self) -> None:
        desktop = self._desktop_ready.result()
        ada = self._join("ada", "Ada", None if desktop is None else {**self.base, "DISPLAY": desktop.display})
        done(ada.agent("consent", "show"))
        if desktop is None:
            self._replay_ada(ada)
            return
        if isinstance(desktop, ThisDesktop):
            ada.env = {**desktop.env, **ada.env}
        self.desk = Desk(desktop, self.folder / "ada-documents", **self.markers)
        if not isinstance(desktop, ThisDesktop):
            self.desk.paint_background()
        self.show.doing("Ada starts her agent; she has agreed to nothing yet")
        self.agent = ada.start_agent()
        off = self._wait_for_state(ada, "off")
        wait_for(self.desk.icon_is_shown, "the tray icon", 90, self.agent.log)
        self.expect(
            "off-by-default",
            "without consent the agent is off and holds nothing",
            f"{off['state']}, {off['segments_waiting']} segments",
            off["state"] == "off" and off["segments_waiting"] == 0,
            "the agent is off until she agrees, and its tray icon says so",
        )
        tray = [self._tray("off")]
        menus = [("off, before consent", self._menu("off"))]
        self._invite_the_others_to_begin()
        self.desk.open_programs()
        self.day = today()
        self._give(ada)
        self._wait_for_state(ada, "recording")
        tray.append(self._tray("recording"))
        self.show.tick("she agreed to pointer, keyboard (text), screen and context, for that purpose: recording")
        self.show.doing("Ada works: she writes, scrolls, draws, and looks up a password")
        before = cpu_seconds(self.agent.pid), time.monotonic()
        self.desk.work()
        used, lasted = cpu_seconds(self.agent.pid) - before[0], time.monotonic() - before[1]
        self.desk.screenshot(self.pictures / "desktop.png")
        menus.append(("recording", self._menu("recording")))
        status = done(ada.agent("status", "--json")).json
        done(ada.agent("pause", "--json"))
        self._wait_for_state(ada, "paused")
        tray.append(self._tray("paused"))
        menus.append(("paused", self._menu("paused")))
        self.outcomes.figures["agent"] = {
            "cpu_percent_of_one_core": round(100 * used / lasted, 1),
            "worked_s": round(lasted, 1),
            "memory_mb": memory_mb(self.agent.pid),
        }
        self.expect(
            "recorded-while-she-worked",
            "the agent recorded all four modalities while Ada worked",
            status["recording"],
            set(status["recording"]) == set(settings.MODALITIES),
            f"she worked for {lasted:.0f} s with real programs; the agent used {100 * used / lasted:.0f} % of one core",
        )
        if pictures := [(caption, path) for caption, path in menus if path is not None]:
            compose(pictures, self.pictures / "tray.png")
            for _, path in pictures:
                path.unlink()
        self.expect(
            "tray-says-what-is",
            "the tray icon on her screen showed off, recording and paused, each when it was so",
            ", ".join(map(str, tray)),
            tray == ["off", "recording", "paused"],
            "paused: the tray says so, and what was open is sealed",
        )

    def _tray(self, expected: str) -> str | None:
        """What the tray icon shows: as soon as it shows what is expected, or when it never does."""
        assert self.desk is not None
        until = time.monotonic() + TRAY_S
        while (seen := self.desk.icon_state(self.pictures / "icon.png")) != expected and time.monotonic() < until:
            time.sleep(0.1)
        return seen

    def _menu(self, name: str) -> Path | None:
        path = self.pictures / f"menu-{name}.png"
        assert self.desk is not None
        return None if self._this_desktop or not self.desk.photograph_menu(path) else path

    def _join(self, key: str, name: str, base: dict[str, str] | None = None) -> Person:
        person = self.person(key, name, base)
        done(person.agent("enrol", self._invitations[key]["code"], "--json"))
        return person

    def _give(self, person: Person, keyboard: str = "text") -> None:
        modalities = [word for modality in settings.MODALITIES for word in ("--modality", modality)]
        done(
            person.agent(
                *("consent", "give", "--purpose", settings.PURPOSE, *modalities),
                *("--keyboard-mode", keyboard, "--yes", "--json"),
            )
        )

    def _wait_for_state(self, person: Person, state: str, timeout_s: float = 90) -> dict[str, Any]:
        """Ask until the agent observes that state."""

        def probe() -> dict[str, Any] | None:
            if self.agent is not None and self.agent.ended:
                raise StoryBroken("the agent ended", self.agent.log)
            asked = person.agent("status", "--json")
            told: dict[str, Any] = asked.json if asked.ok else {}
            return told if told.get("state") == state and "next_batch" in told else None

        return wait_for(probe, f"Ada's agent to be {state}", timeout_s, self.logs / f"{person.log}.log")

    def _replay_ada(self, ada: Person) -> None:
        """Without a desktop Ada is replayed like the others."""
        for reason in self.outcomes.skipped:
            self.show.note(f"skipped: {reason}", "yellow")
        self._invite_the_others_to_begin()
        self.day = today()
        self._give(ada)
        text = self.markers["marker"].text
        replay = write_replays(self.folder / "ada-documents", 1, settings.REPLAY_S, planted=text)[0]
        for name, planted in self.markers.items():
            write_planted(replay.parent, name, planted)
        self.agent = ada.start_agent("--source", f"replay:{replay}")
        self._wait_for_state(ada, "recording")
        time.sleep(settings.REPLAY_S + 6)
        done(ada.agent("pause", "--json"))
        self.show.tick("Ada agreed, and a replay of somebody's work was recorded instead of a desktop")

    # --- 4 --------------------------------------------------------------------------------------------

    def _invite_the_others_to_begin(self) -> None:
        """Nine people join, agree and replay, a few at a time, while Ada works."""
        replays = self._replays.result()
        self._others_done: list[Future[int]] = [
            self._background.submit(self._take_part, name, replay) for name, replay in zip(NAMES, replays, strict=True)
        ]

    def _take_part(self, name: str, replay: Path) -> int:
        person = self._join(name.lower(), name)
        self._give(person, "text" if len(name) % 2 else "shape")
        agent = person.start_agent(
            *("--source", f"replay:{replay}", "--exit-when-done"), env={"ASSENT_AGENT_HOLD_S": "0"}
        )
        if status := agent.wait(settings.REPLAY_S + 180):
            raise StoryBroken(f"{name}'s agent ended with {status}", agent.log)
        return len([path for path in (person.home / "agent" / "spool").glob("*/*") if path.suffix == ".segment"])

    def wait_for_the_others(self) -> None:
        self.show.doing("nine agents replay recordings")
        left = [future.result() for future in self._others_done]
        self.others = [self.people[name.lower()] for name in NAMES]
        self.expect(
            "nine-more",
            "nine more people recorded and sent everything",
            f"{len(left)} people, {sum(left)} segments not sent",
            len(left) == settings.PEOPLE and not sum(left),
            "nine agents, in processes of their own, replayed, sealed and sent; with Ada that makes ten",
        )

    # --- 5 --------------------------------------------------------------------------------------------

    def upload(self) -> None:
        ada = self.people["ada"]
        spool = ada.home / "agent" / "spool"
        self._ada_streams = sorted(path.name for path in spool.iterdir() if re.fullmatch(r"[0-9a-f]{32}", path.name))
        self.show.doing("looking for the marker on the laptop's disk, as a thief would")
        laptop = exposure.look_through([ada.home], self.markers)
        self.outcomes.tried(
            "19-stolen-laptop",
            "19 a stolen laptop, switched off",
            may="hours and padded sizes of what is still in the spool",
            tried="searched Ada's whole agent folder, with her recordings sealed in it",
            obtained=laptop.text,
            ok=laptop.clean,
        )
        self.expect(
            "spool-is-sealed",
            "nothing readable lies on the laptop's disk",
            laptop.text,
            laptop.clean,
            f"what waits on her disk is sealed: the marker is not in it ({laptop.text})",
        )
        self._sealed_bytes = exposure.sizes_by_modality(spool)
        size = sum(self._sealed_bytes.values())
        begun = time.monotonic()
        done(ada.agent("send", "--json"))
        left = wait_for(
            lambda: self._sent(ada), "Ada's segments to be sent", 120, self.logs / "ada-agent.log", every_s=0.1
        )
        seconds = time.monotonic() - begun
        self._captured: dict[str, int] = left["events_sealed"]
        self.outcomes.figures["upload"] = {
            "bytes": size,
            "seconds": round(seconds, 2),
        }
        self.show.tick(
            f"Ada sent {size / 1e6:.2f} MB, sealed; her agent deleted each segment on the collector's signature"
        )

    def _sent(self, person: Person) -> dict[str, Any] | None:
        told: dict[str, Any] = done(person.agent("status", "--json")).json
        return told if told["segments_waiting"] == 0 else None

    # --- 6 --------------------------------------------------------------------------------------------

    def ask(self) -> None:
        requester, stewards = self.people["requester"], [self.people["steward-1"], self.people["steward-2"]]
        self.show.doing("the requester looks at the catalogue and signs a request")
        entries = done(requester.assent("data", "catalogue", "--json")).json["entries"]
        counts = sorted({entry["people"] for entry in entries})
        self.expect(
            "catalogue-in-tens",
            "the catalogue counts people in tens and names nobody",
            counts,
            counts == [10],
            "the catalogue says '10 people' and names nobody",
        )
        self.request = done(self._sign_request(requester)).json["request"]
        self.show.tick(f"{requester.name} signed a request, known by its hash {self.request[:8]}…; it names no person")
        before = requester.assent("data", "pull", self.request, "--summary", "--json")
        own = requester.assent("data", "approve", self.request, "--yes", "--json")
        self.expect(
            "no-self-approval",
            "a requester cannot approve their own request",
            own.said[:200],
            own.status == 1,
            "she cannot approve it herself: refused",
        )
        done(stewards[0].assent("data", "approve", self.request, "--yes", "--json"))
        early = requester.assent("data", "pull", self.request, "--summary", "--json")
        self.expect(
            "one-approval-is-not-enough",
            "nothing opens before the second approval",
            early.said[:200],
            before.status == 1 and early.status == 1,
            f"{stewards[0].name} approved; one approval is not enough: a lease is refused",
        )
        again = stewards[0].assent("data", "approve", self.request, "--yes", "--json")
        view = done(stewards[1].assent("data", "view", self.request, "--json")).json
        self.expect(
            "nobody-approves-twice",
            "the same steward's second approval does not count",
            f"{again.status}, {view['approvals']} of {view['approvals_needed']}",
            view["approvals"] == 1 and view["state"] == "open",
            "approving twice does not count twice",
        )
        granted = done(stewards[1].assent("data", "approve", self.request, "--yes", "--json")).json
        self.expect(
            "granted-by-two",
            "the second steward's approval grants it",
            granted["state"],
            granted["state"] == "granted",
            f"{stewards[1].name} approved too: granted, for the ten people whose consent covers it now",
        )
        self.show.doing("a request that would single somebody out")
        few = self._sign_request(requester, people=3)
        self._singled_out = few.err.split("\n")[0].removeprefix("Not done. ") if few.status == 1 else "accepted"
        self.expect(
            "floor-of-ten",
            "a request for three people is not available",
            self._singled_out,
            "Not available" in self._singled_out,
            "a request for three people is 'not available', before anybody could approve it",
        )

    def _sign_request(self, requester: Person, people: int | None = None) -> Done:
        modalities = [word for modality in settings.MODALITIES for word in ("--modality", modality)]
        few = ("--people", people) if people else ()
        return requester.assent(
            *("data", "request", "--purpose", settings.PURPOSE, *modalities, "--from", self.day, "--to", today()),
            *("--recipient", settings.RECIPIENT, *few, "--why", "Baseline for our desktop agent.", "--json"),
        )

    # --- 7 --------------------------------------------------------------------------------------------

    def read(self) -> None:
        requester = self.people["requester"]
        self.show.doing("a lease is written into the log, witnessed, and read from")
        pulled = done(requester.assent("data", "pull", self.request, "--summary", "--json", timeout_s=120))
        facts = pulled.json
        self._first_pull = facts
        lease, summary = facts["lease"], facts["summary"]
        self.expect(
            "lease-in-the-witnessed-log",
            "the lease is in the log, cosigned by the witness, before anything opened",
            f"log size {lease['log_size']}, witnesses {lease['witnesses']}",
            bool(lease["witnesses"]) and lease["log_size"] > 0,
            "the lease was in the witnessed log before a key was released",
        )
        self.expect(
            "ten-people-read",
            "the pull brings ten pseudonyms, four modalities each",
            f"{len(summary['sessions'])} pseudonyms, {lease['streams']} streams",
            len(summary["sessions"]) == 10 and lease["streams"] >= 40,
            f"{len(summary['sessions'])} pseudonyms, {summary['events_total']:,} events, {summary['frames']} pictures",
        )
        counts, text = self.folder / "tmp" / "counts.json", self.folder / "ada-documents" / "marker.txt"
        command = f"'{sys.executable}' -m tests.demo.receiver '{counts}' '{text}'"
        begun = time.monotonic()
        done(requester.assent("data", "pull", self.request, "--to-command", command, timeout_s=180))
        seconds = time.monotonic() - begun
        received = json.loads(counts.read_text())
        self._who_is_ada = next(iter(received["found"]["typed"]), "")
        self.outcomes.figures["read"] = {
            "events": received["lines"],
            "seconds": round(seconds, 2),
        }
        self.expect(
            "pull-to-a-program",
            "a program gets every event through a pipe",
            f"{received['lines']} of {summary['events_total']}",
            received["lines"] == summary["events_total"],
            f"streamed into a program of the ML team: {received['lines']:,} events, nothing written to disk",
        )
        found = received["found"]
        self.expect(
            "marker-was-recorded",
            "the planted marker was typed and titled by exactly one pseudonym (so the searches look for the truth)",
            found,
            len(found["typed"]) == 1 and found["typed"] == found["title"],
            "what Ada typed is there for the permitted program, under one pseudonym: the marker is real",
        )

    # --- 8 --------------------------------------------------------------------------------------------

    def look_back(self) -> None:
        ada = self.people["ada"]
        self.show.doing("Ada asks who read her recordings")
        accesses = done(ada.assent("me", "accesses", "--json")).json["accesses"]
        leases = [access for access in accesses if access["kind"] in ("lease", "digest")]
        proved = [access for access in leases if access["proved"] == "in the witnessed log"]
        self.expect(
            "accesses-are-told",
            "Ada is told of the access: who, for which purpose, with how many approvals, and the proof holds",
            [f"{a['kind']}, {a['approvals']} approvals, {a['proved']}" for a in leases],
            bool(leases)
            and len(proved) == len(leases)
            and all(a["purpose"] == settings.PURPOSE and a["approvals"] == 2 for a in leases),
            f"she was told: {leases[0]['text'] if leases else 'nothing'}",
        )
        sheet = self.pictures / "contact-sheet.png"
        mine = done(ada.assent("me", "recordings", "--day", self.day, "--to", sheet, "--json", timeout_s=120)).json
        self.expect(
            "own-recordings",
            "Ada opens her own recordings through the same door and gets a page of her pictures",
            f"{mine['pictures_shown']} pictures",
            sheet.exists() and mine["pictures_shown"] > 0,
            f"her own page of {mine['pictures_shown']} pictures: {relative(sheet)}",
        )
        self._own_look(ada)
        self._take_along(ada)

    def _own_look(self, ada: Person) -> None:
        self.show.doing("Ada looks for the marker and for her password in her own recordings")
        documents = self.folder / "ada-documents"
        look = done(
            ada.python("tests.demo.own_look", self.day, documents / "marker.json", documents / "secret.json")
        ).json
        marker, secret, pictures = look["found"]["marker"], look["found"]["secret"], look["pictures"]
        if self.desk is None:
            self._figures_of_modalities(look["modalities"])
            return
        self.expect(
            "marker-in-own-recordings",
            "typed keys, title and tile of the marker are in Ada's recordings",
            marker,
            all(marker.values()),
            "what she typed, the window's title and the picture's tile are in her recordings",
        )
        self.expect(
            "excluded-window-is-not-recorded",
            "nothing of the password store was recorded, and its place is masked in the pictures",
            f"{secret}, {pictures['masked']} of {pictures['count']} pictures masked",
            not any(secret.values()) and pictures["masked"] > 0,
            "of the password store there is nothing, not even for her: no key, no title, no pixel; its place is masked",
        )
        self._figures_of_modalities(look["modalities"])

    def _take_along(self, ada: Person) -> None:
        self.show.doing("Ada takes everything that is hers along")
        archive = self.folder / "ada-documents" / "everything.zip"
        took = done(ada.assent("me", "export", "--to", archive, "--json", timeout_s=180)).json
        with zipfile.ZipFile(archive) as opened:
            names, damaged = opened.namelist(), opened.testzip()
        kinds = {kind: sum(name.startswith(f"{kind}/") for name in names) for kind in ("receipts", "accesses")}
        private = archive.stat().st_mode & 0o077 == 0
        self.expect(
            "own-export",
            "Ada exports everything of hers as a ZIP that only she can read: events, pictures, receipts, accesses",
            f"{took['events']}, {took['frames']} pictures, {kinds}, damaged: {damaged}, private: {private}",
            set(took["events"]) == set(self._captured) and took["frames"] > 0 and all(kinds.values())
            and damaged is None and private,
            f"{relative(archive)}: {sum(took['events'].values()):,} events, {took['frames']} pictures, "
            f"{took['receipts']} receipt, {took['accesses']} accesses, readable by her alone",
        )  # fmt: skip

    def _figures_of_modalities(self, modalities: dict[str, dict[str, Any]]) -> None:
        longest = max(m["seconds"] for m in modalities.values())
        worked = self.outcomes.figures.get("agent", {}).get("worked_s", longest)
        events = sum(m["events"] for name, m in modalities.items() if name != "screen")
        size = sum(count for name, count in self._sealed_bytes.items() if name != "screen")
        pictures, all_pictures = modalities["screen"]["frames"], self._sealed_bytes.get("screen", 0)
        self.outcomes.figures["ada"] = {
            "modalities": {name: {**m, "sealed_bytes": self._sealed_bytes.get(name)} for name, m in modalities.items()},
            "bytes_per_event_without_screen": round(size / max(1, events), 1),
            "mb_per_hour_without_screen": round(size / 1e6 / worked * 3600, 2),
            "mb_per_hour_with_screen": round((size + all_pictures) / 1e6 / worked * 3600, 1),
            "kib_per_picture": round(all_pictures / 1024 / max(1, pictures), 1),
        }
        received = {name: m["events"] for name, m in modalities.items()}
        captured = self._captured
        self.outcomes.figures["events"] = {"captured": captured, "received": received}
        self.expect(
            "captured-equals-received",
            "every event that the agent kept arrived",
            f"captured {captured}, received {received}",
            captured == received,
            f"captured {sum(captured.values()):,} events, received {sum(received.values()):,}: nothing was lost",
        )

    # --- 9 --------------------------------------------------------------------------------------------

    def try_everything(self) -> None:
        self.show.doing("a stranger knocks at every route; every role tries everything")
        services = {}
        for name in ("custodian", "collector"):
            described = self.programs.run(
                BIN / "assent-server", "openapi", name, env=self.base, log="server", quiet=True
            )
            services[name] = (self.facts[f"{name}_url"], done(described).json)
        knocked = exposure.knock(services)
        row = self.outcomes.tried
        row(
            "1-stranger",
            "1 somebody on the network, without credentials",
            may="the directory and the head of the log",
            tried=f"all {knocked.tried} routes of custodian and collector",
            obtained=f"{len(knocked.answered)} answered: {', '.join(knocked.answered) or 'none'}",
            ok=knocked.ok,
        )
        self._try_roles()
        self._try_dumps()
        self._try_memory()
        self._try_join()
        row(
            "16-root-on-one-host",
            "16 root on a host that runs everything",
            may="recordings; the product says so",
            tried="what 'assent-server up' says",
            obtained=self.facts["custody_sentence"],
            ok=self.facts["custody_level"] == 0,
        )
        self.expect(
            "exposure-table",
            "every position obtained at most what it may",
            [e.name for e in self.outcomes.exposure if not e.ok] or "nothing beyond",
            all(e.ok for e in self.outcomes.exposure),
            f"{len(self.outcomes.exposure)} positions tried; the table is at the end",
        )

    def _try_roles(self) -> None:
        row = self.outcomes.tried
        who = {
            "requester": ("5 the requester, under the grant", "recordings inside the grant, until consent ends"),
            "steward-1": ("7 one steward", "requests, not what is read"),
            "auditor": ("9 the auditor", "the log"),
            "admin": ("11 the admin", "accounts; not who takes part"),
            "council": ("the works council", "policy, requests and log"),
            "dpo": ("the data-protection officer", "accounts (to help recover one), requests, role proposals"),
            "bo": ("2 another person", "their own recordings"),
        }
        outcomes = self.each(lambda key: exposure.try_role(self.people[key], self.request), who)
        for (key, (position, may)), outcome in zip(who.items(), outcomes, strict=True):
            role = {"bo": "nobody in particular", "steward-1": "steward"}.get(key, key)
            got = {what for what, answer in outcome.items() if answer == "allowed"}
            row(
                f"{position.split(' ')[0]}-{key}".removeprefix("the-"),
                position,
                may=may,
                tried=f"{len(outcome)} things that only some may: {', '.join(outcome)}",
                obtained=", ".join(sorted(got)) or "nothing",
                ok=got == exposure.ROLE_MAY[role],
            )
        theirs = exposure.own_streams(self.people["bo"], self.day)
        row(
            "2-others-recordings",
            "2 another person, asking for their own data",
            may="their own streams only",
            tried="a lease for own data",
            obtained=f"{len(theirs)} streams, {len(theirs & set(self._ada_streams))} of them Ada's",
            ok=bool(theirs) and not theirs & set(self._ada_streams),
        )
        row(
            "4-singling-out",
            "4 a requester who wants to single somebody out",
            may="people in tens",
            tried="a request for three people",
            obtained=self._singled_out,
            ok="Not available" in self._singled_out,
        )
        row(
            "8-steward-and-requester",
            "8 stewards and requester together",
            may="consenting people's recordings, and they are told",
            tried="read under the grant; then looked at what Ada was told",
            obtained="Ada had the notification with a proof",
            ok=any(o.name == "accesses-are-told" and o.ok for o in self.outcomes.outcomes),
        )

    def _try_dumps(self) -> None:
        self.show.doing("searching every dump, folder and log for the marker")
        row, markers = self.outcomes.tried, self.markers
        picture = self.pictures / "desktop.png"
        planted = exposure.plant_controls(
            self.folder / "control", markers["marker"], picture if picture.exists() else None
        )
        missed = exposure.not_found(planted, markers["marker"])
        self.expect(
            "search-finds-leaks",
            "the search finds every leak that was planted on purpose",
            f"missed: {missed}" if missed else f"found all of: {', '.join(planted)}",
            not missed,
            f"positive control: the search finds all {len(planted)} leaks planted for it ({', '.join(planted)})",
        )
        people = self.folder / "people"
        places: dict[str, tuple[str, str, list[Path]]] = {
            "12-collector-database": ("12 a dump of the collector's database", "random ids, days, padded sizes", []),
            "13-object-store": ("13 a dump of the object store", "ciphertext, padded sizes", []),
            "15-custodian-database": (
                "15 a dump of the custodian's database and keys",
                "people and consent; no recording ever reaches it",
                [self.data / "custodian"],
            ),
            "25-witness": ("25 the witness's folder", "heads of the log", [self.data / "witness"]),
            "23-logs": ("23 logs, and temporary files", "error codes, request ids", [self.logs, self.folder / "tmp"]),
            "24-ml-host": (
                "24 the ML host's disk, after the job",
                "nothing: reading is in memory",
                [people / "requester"],
            ),
        }
        collector = self.data / "collector"
        places["12-collector-database"][2].extend(sorted(collector.glob("collector.db*")))
        places["13-object-store"][2].append(collector / "blobs")
        for name, (position, may, folders) in places.items():
            searched = exposure.look_through(folders, markers)
            row(name, position, may=may, tried="the marker and the password, in every encoding", obtained=searched.text,
                ok=searched.clean)  # fmt: skip
        ids = [self.people[key].credential().person for key in ("ada", *(n.lower() for n in NAMES))]
        wanted = [*ids, SURNAME, *self._device_keys()]
        known = exposure.names_in(self.data / "custodian", wanted)
        named = exposure.names_in(collector, wanted)
        blobs = exposure.blob_files(collector / "blobs")
        odd = exposure.odd_times(path for path in blobs if path.stat().st_size)
        row(
            "10-collector-admin",
            "10 root on the collector's host",
            may="random stream ids, hours, sizes; no person, no minute",
            tried="everybody's ids, names and keys in all its files; the times of the files",
            obtained=f"{len(named)} ids or names (the custodian holds {len(known)}); {odd} of {len(blobs)} files "
            "tell more than the day",
            ok=not named and not odd and set(known) >= {SURNAME, *ids},
        )
        told = self._told_by_logs(ids)
        row(
            "23-names-in-logs",
            "23 the services' logs",
            may="error codes, request ids",
            tried="everybody's ids and names",
            obtained=f"{len(told)} ids or names",
            ok=not told,
        )

    def _device_keys(self) -> list[str]:
        keys = []
        for key in ("ada", *(name.lower() for name in NAMES)):
            identity = json.loads((self.people[key].home / "agent" / "identity.json").read_text())
            keys.append(identity["device_key_id"])
        return keys

    def _told_by_logs(self, ids: list[str]) -> list[str]:
        """Which ids, names and addresses the services' own log tells; the services' addresses are no secret."""
        text = (self.logs / "services.log").read_text(errors="replace")
        for url in (self.facts["custodian_url"], self.facts["collector_url"], *self.facts["witness_urls"]):
            text = text.replace(url, "")
        wanted = [*ids, "Ada", SURNAME, *NAMES, "127.0.0.1"]
        return [one for one in wanted if re.search(rf"\b{re.escape(one)}\b", text)]

    def _try_memory(self) -> None:
        self.show.doing("searching the memory of the running services")
        searched = exposure.look_through(list(self.pids.values()), self.markers)
        if searched.not_searched and not exposure.is_root():
            self.outcomes.skipped.append("17 the memory of the services: the kernel lets only root read it")
            return
        self.outcomes.tried(
            "17-memory-of-the-services",
            "17 the collector (custodian, witness) in enemy hands, live",
            may="ciphertext, random ids",
            tried="the marker and the password in /proc/PID/mem of all three",
            obtained=searched.text,
            ok=searched.clean,
        )

    def _try_join(self) -> None:
        copy = self.folder / "log-copy"
        done(self.people["auditor"].assent("audit", "export", copy, "--json"))
        found = exposure.joined(copy, self.data / "collector" / "collector.db")
        self.outcomes.tried(
            "31-auditor-and-dump",
            "31 an auditor with the collector's dump",
            may="no join of streams and people",
            tried="every id and hash of both, against each other",
            obtained=f"{len(found)} in common",
            ok=not found,
        )

    # --- 10 -------------------------------------------------------------------------------------------

    def withdraw(self) -> None:
        ada, requester = self.people["ada"], self.people["requester"]
        blobs_before = len(exposure.blob_files(self.data / "collector" / "blobs"))
        if self.desk is not None:
            done(ada.agent("resume", "--json"))
            self._wait_for_state(ada, "recording")
            self.show.doing("Ada records again; a job of the ML team begins to read")
            self.desk.play(3)
        job, results, go_on = self._start_slow_job(requester)
        began = datetime.now(UTC)
        zero = time.monotonic()
        done(ada.agent("consent", "withdraw", "--json"))
        stopped_s = time.monotonic() - zero
        status = done(ada.agent("status", "--json")).json
        left = list((ada.home / "agent" / "spool").rglob("*.segment"))
        self.expect(
            "capture-stops",
            "withdrawing stops capture at once and destroys what was not sent",
            f"{status['state']}, {len(left)} segments left, after {stopped_s:.1f} s",
            status["state"] == "off" and not status["recording"] and not left,
            f"Ada withdrew: capture stopped and her spool was destroyed within {stopped_s:.1f} s",
        )
        confirmed = done(ada.assent("me", "withdraw", "--now", "--yes", "--json")).json
        confirmed_s = time.monotonic() - zero
        self.expect(
            "withdrawal-confirmed",
            "the custodian confirmed, with a signature, that her streams are closed and erased at once",
            confirmed,
            confirmed["erased_from"] == began.strftime("%Y-%m-%d") or confirmed["erased_from"] == today(),
            f"and had it erased at once: confirmed with the custodian's signature after {confirmed_s:.1f} s",
        )
        go_on.touch()
        job.wait(120)
        lost_s = time.monotonic() - zero
        self._check_slow_job(job, results)
        self.show.doing("a new lease; then the night run")
        again = done(requester.assent("data", "pull", self.request, "--summary", "--json", timeout_s=120)).json
        closed_s = time.monotonic() - zero
        people = again["summary"]["sessions"]
        was = self._first_pull["summary"]["sessions"]
        gone = again["lease"]["no_longer_available"]
        self.expect(
            "door-closed",
            "a new lease of the same grant goes on without Ada",
            f"{len(people)} pseudonyms, {len(gone)} streams no longer available",
            len(people) == 9 and set(people) < set(was) and len(gone) >= 4,
            "the door is closed: a new lease of the same grant has nine people, and gives no reason",
        )
        self._night(zero, blobs_before, again)
        self.outcomes.figures["seconds_from_withdrawal_until"] = {
            **self.outcomes.figures.get("seconds_from_withdrawal_until", {}),
            "capture stopped, spool destroyed": round(stopped_s, 2),
            "confirmed by the custodian, keys marked as destroyed": round(confirmed_s, 2),
            "the running job had lost her streams": round(lost_s, 2),
            "a new lease was without her": round(closed_s, 2),
        }
        self._check_log()

    def _start_slow_job(self, requester: Person) -> tuple[Running, Path, Path]:
        """A job with a lease that includes Ada, which waits before it comes to her."""
        tmp = self.folder / "tmp"
        results, begun, go_on = tmp / "slow-job.json", tmp / "slow-job-began", tmp / "slow-job-go-on"
        job = self.programs.start(
            *(sys.executable, "-m", "tests.demo.slow_job", self.request, self._who_is_ada, begun, go_on),
            env=requester.env,
            log="slow-job",
            out=results,
            name="the running job",
        )
        wait_for(lambda: begun.exists() or job.ended, "the job to begin reading", 120, job.log)
        return job, results, go_on

    def _check_slow_job(self, job: Running, results: Path) -> None:
        if job.process.returncode != 0:
            raise StoryBroken("the running job failed", job.log)
        told = json.loads(results.read_text())
        leased, came = set(told["leased"]), set(told["events"])
        reasons = sorted({reason for pseudonym, reason in told["lost"] if pseudonym == self._who_is_ada})
        self.expect(
            "running-job-loses-her",
            "the job that was reading when Ada withdrew goes on without her streams",
            f"leased {len(leased)} pseudonyms, {len(came)} came; hers: {', '.join(reasons)}",
            len(leased) == 10 and came == leased - {self._who_is_ada} and bool({"erased", "withdrawn"} & set(reasons)),
            f"the running job lost her streams ({', '.join(reasons)}) and went on with the other {len(came)} people's",
        )

    def _night(self, zero: float, blobs_before: int, after: dict[str, Any]) -> None:
        environment = self.base | settings.environment("ASSENT_C")
        night = done(
            self.programs.run(
                BIN / "assent-server", "rotate", "--data", self.data, "--json", env=environment, log="server"
            )
        ).json
        night_s = time.monotonic() - zero
        self.expect(
            "vault-keys-destroyed",
            "the night run destroys the generation of keys under which Ada's vault keys were wrapped",
            night,
            bool(night["generations_destroyed"]),
            f"the night run re-wrapped everybody else's keys and destroyed the old generation ({night_s:.0f} s after)",
        )
        expected = after["summary"]["segments"]
        blobs = self.data / "collector" / "blobs"
        wait_for(
            lambda: len([p for p in exposure.blob_files(blobs) if p.stat().st_size]) <= expected,
            "the collector to carry out the order",
            90,
            self.logs / "services.log",
        )
        gone_s = time.monotonic() - zero
        left = len([p for p in exposure.blob_files(blobs) if p.stat().st_size])
        self.expect(
            "collector-erased",
            "the collector erased her segments on the custodian's order, and nobody else's",
            f"{blobs_before} files before, {left} now, {expected} expected",
            left == expected,
            f"the collector carried out the order: her segments are gone ({gone_s:.0f} s after), everybody else's stay",
        )
        empty = self.people["ada"].assent(
            *("me", "recordings", "--day", self.day, "--to", self.folder / "tmp" / "after.png", "--json")
        )
        shown = empty.json["pictures_shown"] if empty.ok else 0
        self.expect(
            "erased-for-herself-too",
            "what is erased opens for nobody, not for Ada either",
            f"exit status {empty.status}, {shown} pictures",
            shown == 0,
            "what is erased opens for nobody, not even for her",
        )
        self._papers_of_the_withdrawal()
        self.outcomes.tried(
            "6-after-withdrawal",
            "6 the requester, after the withdrawal",
            may="what was read before",
            tried="the running job, a new lease, the collector's disk after the night",
            obtained="nine people; no key, no ciphertext of Ada's",
            ok=left == expected and len(after["summary"]["sessions"]) == 9,
        )
        self.outcomes.figures["seconds_from_withdrawal_until"] = {
            "the night run destroyed the old keys": round(night_s, 2),
            "the collector had erased her segments": round(gone_s, 2),
        }

    def _papers_of_the_withdrawal(self) -> None:
        """What Ada holds in her hands afterwards, and what the ML team is told."""
        ada, requester = self.people["ada"], self.people["requester"]
        papers = self.folder / "ada-documents" / "papers"
        erased = done(ada.assent("me", "erasures", "--save", papers, "--json")).json["erasures"]
        done(ada.assent("me", "receipts", "--save", papers, "--json"))
        held = {
            "erasures": [
                ada.assent("me", "erasures", "--verify", path, "--json") for path in papers.glob("*.requested.json")
            ],
            "receipts": [
                ada.assent("me", "receipts", "--verify", path, "--json") for path in papers.glob("*.receipt.json")
            ],
        }
        entries = [checked.json["log_index"] for checked in held["receipts"] if checked.ok]
        self.expect(
            "receipts-hold-offline",
            "her receipt and the erasure's are signed, hold without a network, and the receipt is in the witnessed log",
            f"{[(one['kind'], one['state']) for one in erased]}, entries {entries}",
            {(one["kind"], one["state"]) for one in erased} == {("withdrawal", "requested")}
            and all(held.values())
            and all(checked.ok and checked.json["valid"] for some in held.values() for checked in some)
            and None not in entries,
            f"her receipt is entry {entries[0] if entries else '?'} of the log; the erasure is signed as requested, "
            f"and will be final when the last backup that could hold a key is {erased[0]['backup_days']} days old",
        )
        recalled = done(requester.assent("data", "recall", "--done", "--yes", "--json")).json["recalls"]
        streams = {item["stream"] for recall in recalled for item in recall["items"]}
        again = done(requester.assent("data", "recall", "--json")).json["recalls"]
        self.expect(
            "recalled",
            "the requester is told which of the streams that were read fell, and signs that they were dropped",
            f"{len(streams)} streams, done: {[recall['done'] for recall in again]}",
            len(streams) >= len(self._captured) and all(recall["done"] for recall in again),
            f"the ML team was told to drop the {len(streams)} streams of hers that it had read, and signed that it did",
        )

    def _check_log(self) -> None:
        auditor = self.people["auditor"]
        self.show.doing("the auditor verifies the log, and a copy that was tampered with")
        entries = done(auditor.assent("audit", "list", "--count", 500, "--json")).json["entries"]
        kinds = {entry["type"] for entry in entries}
        needed = {
            *("request.signed", "grant.approved", "lease.opened", "lease.closed"),
            *("generation.destroyed", "recall.done", "person"),
        }
        self.expect(
            "log-shows-it",
            "the log shows request, approvals, leases, the night's person entries and the destroyed keys",
            sorted(kinds),
            needed <= kinds,
            f"the log has {len(entries)} entries: requests, approvals, leases, destroyed keys; no person is in it",
        )
        verified = auditor.assent("audit", "verify", "--json")
        self.expect(
            "log-verifies",
            "the log is whole, signed, witnessed, and every lease was approved before",
            [c["text"] for c in verified.json["checks"] if not c["passed"]] or f"{len(verified.json['checks'])} checks",
            verified.ok and verified.json["passed"],
            f"the auditor verified the log: {len(verified.json['checks'])} checks passed",
        )
        copy = self.folder / "log-copy"
        honest = auditor.assent("audit", "verify", copy, "--json")
        exposure.tamper(copy)
        tampered = auditor.assent("audit", "verify", copy, "--json")
        self.expect(
            "tampered-log-fails",
            "a copy of the log passes, and fails after one letter of it was changed",
            f"exit status {honest.status} before, {tampered.status} after",
            honest.status == 0 and tampered.status == 1,
            "positive control: with one letter changed, the copy of the log does not verify any more",
        )


# --- small things -----------------------------------------------------------------------------------------------------


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def free_ports() -> int:
    """A number whose next three ports on the loopback are free. They lie below those that Linux gives to whoever
    connects (from 32768 on), or one of them could be gone before a service binds it.
    """
    for number in range(1_000):
        base = 20_000 + (os.getpid() + 7 * number) % 12_000
        try:
            with ExitStack() as held:
                for step in (1, 2, 3):
                    one = held.enter_context(socket.socket())
                    one.bind(("127.0.0.1", base + step))
            return base
        except OSError:
            continue
    raise StoryBroken("no three free ports in a row on the loopback")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLK_TCK


def memory_mb(pid: int) -> float:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return round(int(match[1]) / 1024, 1) if match else 0.0


def relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
