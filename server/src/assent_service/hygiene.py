"""Keeps what a process holds out of core dumps, tracebacks and logs.

Logs are JSON lines of event names and numbers. Nothing here or in the services logs bodies, keys, receipts, names or
client addresses; uvicorn's access log is off, and what libraries say is cut down to who said it and where it failed.
"""

from __future__ import annotations

import ctypes
import json
import logging
import resource
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

from assent_service.problems import where

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Core size 0 and, on Linux, not dumpable: no core file, no ptrace and no /proc/<pid>/mem for the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


WITNESS = ("assent_witness.", "assent_server.witnessing")
"""Loggers of the witness, which sees heads of logs and nothing else: what it says is evidence, and is kept."""


class Discreet(logging.Formatter):
    """Logger, level and, for an exception, its type and place. Messages of libraries may quote what they handled; those
    of the witness are `said`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"event": "library", "kind": record.name, "level": record.levelname.lower()}
        if record.name.startswith(WITNESS):
            line |= {"event": "witness", "said": record.getMessage()}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line |= {"error": type(error).__name__, "at": where(error)}
        return json.dumps(line)


class Lossy:
    """A stream that loses what cannot be written, for instance on a full disk: a log must not fail what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def set_up_logging() -> None:
    """JSON lines on standard error, warnings and above from libraries. A line that cannot be written is lost."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Discreet())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Lossy(sys.stderr))),
        cache_logger_on_first_use=True,
    )
