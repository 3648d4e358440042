"""A socket in the agent's own folder, by which the command line talks to the running agent of the same account.

A Unix domain socket, mode 0600, in a folder of mode 0700. One question and one answer per connection, each a line of
JSON: `{"do": "pause", …}` and `{"ok": true, …}` or `{"ok": false, "error": "a sentence"}`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

Question = dict[str, Any]
Answer = dict[str, Any]

MAX_LINE: Final = 64 * 1024
TIMEOUT_S: Final = 30.0


class AgentNotRunning(Exception):
    """No agent listens in this folder."""


class ControlServer:
    """Answers questions with `answer`, which is called from threads of its own, one per connection."""

    def __init__(self, path: Path, answer: Callable[[Question], Answer]) -> None:
        self._path = path
        self._answer = answer
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            with _reachable(path) as address:
                self._socket.bind(address)
        finally:
            os.umask(old)
        self._socket.listen(8)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), name="control-answer", daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(TIMEOUT_S)
            try:
                question = json.loads(_line(connection))
                answer = self._answer(question) if isinstance(question, dict) else {"ok": False, "error": "no question"}
            except (ValueError, OSError):
                answer = {"ok": False, "error": "The question could not be read."}
            try:
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                return

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._path.unlink(missing_ok=True)


def ask(path: Path, question: Question, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask the running agent. Raises AgentNotRunning, also when it does not answer in time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            with _reachable(path) as address:
                connection.connect(address)
            connection.sendall(json.dumps(question).encode() + b"\n")
            answer = json.loads(_line(connection))
        except (OSError, ValueError) as error:
            raise AgentNotRunning("The agent does not run. Start it with 'assent-agent run'.") from error
    return answer if isinstance(answer, dict) else {"ok": False, "error": "no answer"}


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = connection.recv(4096)
        if not piece or len(data) > MAX_LINE:
            raise ValueError("not a line")
        data += piece
    return data


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Socket addresses hold about 100 bytes: in a deep folder, go through the descriptor of the folder."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
