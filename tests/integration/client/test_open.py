"""`assent.open`, as the documentation shows it, against a real custodian and collector, honest and not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from tests.exposure.world import Answer, Ask, Populated
from tests.integration.client.conftest import PASSPHRASE, Terminal

import assent
from assent.client.credentials import CredentialInvalid, CredentialMissing, CredentialStore
from assent.client.transport import AnswerInvalid, Refused
from assent.contracts.ids import Modality
from assent.contracts.problems import Code
from assent.contracts.statements import OwnData
from assent.contracts.wire import FetchAnswer
from assent.reader.jobs import LeaseUnproved


def options(terminal: Terminal, name: str) -> dict[str, object]:
    shell = terminal.shell(name)
    return {"store": shell.store, "clock": shell.clock, "transport": shell.transport, "passphrase": PASSPHRASE}


def test_sessions_events_frames_and_coverage(terminal: Terminal, populated: Populated) -> None:
    terminal.is_("requester", populated.staff.requester)
    with assent.open(populated.request, **options(terminal, "requester")) as data:
        sessions = list(data.sessions())
        assert len(sessions) == 10
        for session in sessions:
            typed = "".join(r.event.key for r in session.events(Modality.KEYBOARD) if r.event.pressed)  # type: ignore[union-attr]
            assert typed == populated.marker.text
            (picture,) = session.frames()
            assert picture.pixels.shape == (150, 200, 3)
            assert session.coverage().complete
    assert data.lease_closed


def test_own_data_opens_through_the_same_door(terminal: Terminal, populated: Populated) -> None:
    terminal.is_("person", populated.people[3])
    day = populated.world.now[:10]
    own = OwnData(from_day=day, to_day=day, modalities=(Modality.SCREEN,))
    with assent.open(own=own, **options(terminal, "person")) as data:
        (session,) = data.sessions()
        assert session.modalities == (Modality.SCREEN,)
        assert session.pseudonym == "you"


def test_another_persons_request_is_not_opened(terminal: Terminal, populated: Populated) -> None:
    terminal.is_("person", populated.people[3])
    with pytest.raises(Refused), assent.open(populated.request, **options(terminal, "person")):
        pass


def test_a_swapped_root_a_wrong_passphrase_and_no_credential(
    terminal: Terminal, populated: Populated, tmp_path: Path
) -> None:
    terminal.is_("requester", populated.staff.requester)
    with (
        pytest.raises(CredentialInvalid, match="passphrase is wrong"),
        assent.open(populated.request, **{**options(terminal, "requester"), "passphrase": "another one"}),
    ):
        pass
    with (
        pytest.raises(CredentialMissing),
        assent.open(populated.request, store=CredentialStore(tmp_path / "nobody")),
    ):
        pass


def test_without_a_witness_nothing_opens(terminal: Terminal, populated: Populated) -> None:
    terminal.is_("requester", populated.staff.requester)
    populated.world.witness.silent = True
    try:
        with pytest.raises(Refused) as refused, assent.open(populated.request, **options(terminal, "requester")):
            pass
    finally:
        populated.world.witness.silent = False
    assert refused.value.code is Code.NO_QUORUM


@pytest.mark.parametrize("attack", ["no proof", "withheld streams", "portal"])
def test_an_enemy_on_the_way_gets_nothing_opened(terminal: Terminal, populated: Populated, attack: str) -> None:
    terminal.is_("requester", populated.staff.requester)

    def enemy(request: Ask, ask: httpx2.Request) -> Answer:  # type: ignore[type-arg,unused-ignore]
        answer: Answer = ask()  # type: ignore[operator]
        if attack == "no proof" and request.url.path == "/v1/leases":
            start = answer.content.index(b'"proof":"')
            return Answer(
                200, headers={"content-type": "application/json"}, content=answer.content[:start] + b'"proof":""}'
            )
        if attack == "withheld streams" and request.url.path == "/v1/fetch/streams":
            empty = FetchAnswer(streams=()).to_json()
            return Answer(200, headers={"content-type": "application/json"}, content=empty)
        if attack == "portal" and request.url.path == "/v1/fetch/streams":
            return Answer(200, headers={"content-type": "text/html"}, content=b"<html>")
        return answer

    terminal.installation.enemy = enemy  # type: ignore[assignment]
    try:
        if attack == "no proof":
            with (
                pytest.raises((LeaseUnproved, AnswerInvalid)),
                assent.open(populated.request, **options(terminal, "requester")),
            ):
                pass
            return
        with assent.open(populated.request, **options(terminal, "requester")) as data:
            assert list(data.sessions()) == []
            assert len(data.missing) + len(data.dropped) == 40
            assert data.opened == 0
    finally:
        terminal.installation.enemy = None


def test_importing_the_package_loads_nothing_else() -> None:
    """It is on every laptop: neither the reader nor the HTTP client may come with it."""
    program = (
        "import sys, assent; print([m for m in sys.modules if m.split('.')[0] in ('numpy', 'httpx2', 'typer', 'PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
