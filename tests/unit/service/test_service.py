"""What both services share: shared transactions, discreet failures, limits."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from tests.simulators.collector import serving

from assent.contracts.problems import Code
from assent_service.database import Database
from assent_service.hygiene import Discreet
from assent_service.web import new_app


@pytest.fixture
def database(tmp_path: Path) -> Database:
    (tmp_path / "one.db").touch()
    made = Database(f"sqlite:///{tmp_path / 'one.db'}")
    with made.transaction() as session:
        session.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    return made


def test_a_database_that_is_not_there_is_not_made_by_who_looks(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path / 'none.db'}", f"sqlite:///{tmp_path / 'no folder' / 'none.db'}"):
        absent = Database(url)
        for opened in (absent.reading, absent.transaction):
            with pytest.raises(OperationalError, match="unable to open database file"), opened() as session:
                session.execute(text("SELECT 1"))
        absent.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="forgets everything"):
        Database("sqlite://")


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "ä.db", "a:b.db"])
def test_a_database_is_found_under_its_very_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    made = Database(f"sqlite:///{tmp_path / name}")
    with made.transaction() as session:
        session.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    made.close()
    assert [(path.name, path.stat().st_size > 0) for path in tmp_path.iterdir()] == [(name, True)]


def _insert(number: int) -> Any:
    def work(session: Session) -> int:
        session.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
        if number < 0:
            raise ValueError("negative")
        return number

    return work


def _numbers(database: Database) -> set[int]:
    with database.reading() as session:
        return set(session.scalars(text("SELECT number FROM numbers")))


def _at_once(database: Database, numbers: list[int]) -> dict[int, object]:
    """Let all wait while the writer is busy, so that they share a transaction; returns result or error of each."""
    outcomes: dict[int, object] = {}

    def one(number: int) -> None:
        try:
            outcomes[number] = database.together(_insert(number))
        except Exception as error:
            outcomes[number] = error

    with database._one_writer:
        threads = [threading.Thread(target=one, args=(number,)) for number in numbers]
        for thread in threads:
            thread.start()
        while len(database._waiting) < len(numbers):
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(20)
    return outcomes


def test_works_that_wait_at_the_same_time_share_one_commit(database: Database) -> None:
    commits: list[int] = []
    event.listen(database.engine, "commit", lambda _connection: commits.append(1))
    assert _at_once(database, [1, 2, 3, 4]) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert _numbers(database) == {1, 2, 3, 4}
    assert len(commits) == 1


def test_one_that_fails_undoes_itself_only(database: Database) -> None:
    outcomes = _at_once(database, [1, -2, 3])
    assert isinstance(outcomes.pop(-2), ValueError)
    assert outcomes == {1: 1, 3: 3}
    assert _numbers(database) == {1, 3}
    with pytest.raises(ValueError, match="negative"):
        database.together(_insert(-4))
    assert _numbers(database) == {1, 3}


def test_a_commit_that_fails_fails_for_all_of_them(database: Database) -> None:
    def refuse(_connection: object) -> None:
        raise RuntimeError("the commit failed")

    event.listen(database.engine, "commit", refuse)
    outcomes = _at_once(database, [1, 2])
    event.remove(database.engine, "commit", refuse)
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes.values())
    assert _numbers(database) == set()


SECRET = "the-content-of-somebody"


def _app() -> FastAPI:
    app = new_app("Test", lambda: None, lambda _path: 1000)

    @app.get("/fails")
    def fails() -> None:
        raise RuntimeError(SECRET)

    @app.get("/fails-late")
    def fails_late() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError(SECRET)

        return StreamingResponse(pieces())

    @app.put("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    return app


def _ask(method: str, path: str, **options: Any) -> httpx2.Response:
    async def go() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=_app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(go())


def test_an_unexpected_failure_is_answered_without_its_message(capfd: pytest.CaptureFixture[str]) -> None:
    answer = _ask("GET", "/fails")
    assert (answer.status_code, answer.json()["type"]) == (500, Code.INTERNAL.type)
    said = capfd.readouterr()
    assert SECRET not in answer.text + said.out + said.err
    assert "RuntimeError" in said.out + said.err  # the positive control: it was logged


def test_a_failure_in_the_middle_of_an_answer_is_not_quoted_either(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(_app()) as url, pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(f"{url}/fails-late")  # the connection is dropped, so that nobody takes it for whole
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    assert "RuntimeError" in said.out + said.err


def test_bodies_beyond_the_limit_are_refused_with_and_without_a_length() -> None:
    assert _ask("PUT", "/body", content=bytes(1000)).json() == 1000
    assert _ask("PUT", "/body", content=bytes(1001)).json()["type"] == Code.TOO_LARGE.type

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield bytes(100)

    assert _ask("PUT", "/body", content=pieces()).json()["type"] == Code.TOO_LARGE.type


def test_answers_are_not_cached() -> None:
    assert _ask("GET", "/healthz").headers["cache-control"] == "no-store"
    assert _ask("GET", "/nowhere").headers["cache-control"] == "no-store"


def test_what_libraries_log_is_cut_down_to_who_and_where() -> None:
    try:
        raise RuntimeError(SECRET)
    except RuntimeError as error:
        info = (RuntimeError, error, error.__traceback__)
    record = logging.LogRecord("library", logging.ERROR, __file__, 1, SECRET, (), info)
    line = Discreet().format(record)
    assert SECRET not in line
    assert "RuntimeError" in line
    assert "test_service.py" in line


def test_a_log_line_that_cannot_be_written_fails_nothing() -> None:
    program = (
        "import sys, structlog; from assent_service.hygiene import set_up_logging; {} "
        "structlog.get_logger('x').warning('y'); print('went on')"
    )

    def ran(set_up: str) -> bool:
        with Path("/dev/full").open("w") as full:
            command = [sys.executable, "-c", program.format(set_up)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, check=False, timeout=60)
        return "went on" in done.stdout

    assert ran("set_up_logging();")
    assert not ran("structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr));"), "positive control"
