"""Upload and fetch through the collector, against a bare server that does the same hashing, writing and fsyncing.

Both are real uvicorn processes on the same disk, measured in turns, by the same clients over HTTP/1.1. The bare server
streams a PUT to a file while it hashes it, fsyncs, renames and fsyncs the folder, and serves the same bytes back; it
checks no signature and has no database. `ratio` is throughput over baseline throughput, so more is better.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from assent.contracts.keys import SigningKey
from assent.sealing.segments import SealedSegment, parse_header
from assent_service.web import listening_socket
from tests.simulators.collector import Recording, World, ask, preamble_of

MIB = 1024 * 1024
CLIENTS = 4
ROUNDS = 7
PER_CLIENT = 8
"""Segments per client and round."""

UPLOAD_TARGET = 0.7
FETCH_TARGET = 0.7


def run() -> list[dict[str, Any]]:
    """Throughput of 1 MiB uploads and of fetching them, in MiB/s."""
    folder = Path(tempfile.mkdtemp(prefix="bench", dir=os.environ.get("ASSENT_BENCH_DIR")))
    try:
        return _run(folder)
    finally:
        shutil.rmtree(folder)


def _run(folder: Path) -> list[dict[str, Any]]:
    world = World.new(folder / "collector")
    recordings = [Recording() for _ in range(CLIENTS)]
    for recording in recordings:
        world.register(recording, byte_budget=1 << 40)
    content = os.urandom(MIB - 8)
    sealed = [[recording.segment(content) for _ in range((ROUNDS + 1) * PER_CLIENT)] for recording in recordings]
    job = SigningKey.generate()
    ticket = world.issuer.ticket(job, *(recording.stream for recording in recordings))
    world.collector.close()
    (folder / "collector" / "settings.json").write_text(world.settings.model_dump_json())

    collector = _start("tests.simulators.collector_process", str(folder / "collector"), "serve", "none", "PORT")
    bare = _start("tests.bench._bare_server", str(folder / "bare"), "PORT")
    try:
        up = _in_turns(
            lambda turn: _all(_put_segments, collector[1], [each[_slice(turn)] for each in sealed]),
            lambda turn: _all(_put_bare, bare[1], [each[_slice(turn)] for each in sealed]),
        )
        asked = [
            [ask(job, ticket, segments=tuple(s.id for s in each[_slice(turn)])).to_json() for each in sealed]
            for turn in range(ROUNDS + 1)
        ]
        down = _in_turns(
            lambda turn: _all(_post_fetch, collector[1], asked[turn]),
            lambda turn: _all(_get_bare, bare[1], [each[_slice(turn)] for each in sealed]),
        )
    finally:
        for process in (collector[0], bare[0]):
            process.terminate()
            process.wait(30)
    at = f"{CLIENTS} clients, 1 MiB segments, SQLite, {ROUNDS} rounds of {CLIENTS * PER_CLIENT}"
    return [
        _row("upload through the collector", up, UPLOAD_TARGET, at),
        _row("fetch through the collector", down, FETCH_TARGET, at),
    ]


def _row(name: str, seconds: tuple[float, float], target: float, at: str) -> dict[str, Any]:
    value, baseline = (CLIENTS * PER_CLIENT / each for each in seconds)
    return {
        "name": name,
        "value": round(value, 1),
        "unit": "MiB/s",
        "baseline": round(baseline, 1),
        "ratio": round(value / baseline, 2),
        "target": f"ratio >= {target}",
        "at": at,
    }


def _slice(turn: int) -> slice:
    return slice(turn * PER_CLIENT, (turn + 1) * PER_CLIENT)


def _in_turns(ours: Callable[[int], None], bare: Callable[[int], None]) -> tuple[float, float]:
    """Median seconds of a round of each; the first round warms up. Who goes first alternates."""
    times: dict[Callable[[int], None], list[float]] = {ours: [], bare: []}
    for turn in range(ROUNDS + 1):
        for operation in (ours, bare) if turn % 2 else (bare, ours):
            began = time.perf_counter()
            operation(turn)
            if turn:
                times[operation].append(time.perf_counter() - began)
    return statistics.median(times[ours]), statistics.median(times[bare])


def _all(work: Callable[[int, Any], None], port: int, shares: Sequence[Any]) -> None:
    """Every client does its share at the same time."""
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(lambda share: work(port, share), shares))


def _put_segments(port: int, segments: Sequence[SealedSegment]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for segment in segments:
        claim = parse_header(segment.header)
        target = f"/v1/streams/{claim.stream}/segments/{claim.sequence}"
        _expect(connection, "PUT", target, segment.body, preamble_of(segment))


def _put_bare(port: int, segments: Sequence[SealedSegment]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for segment in segments:
        answer = _expect(connection, "PUT", f"/{segment.id}", segment.body, preamble_of(segment))
        if answer.decode() != hashlib.sha256(segment.body).hexdigest():
            raise RuntimeError("the bare server got another body")


def _post_fetch(port: int, body: bytes) -> None:
    _expect(http.client.HTTPConnection("127.0.0.1", port), "POST", "/v1/fetch/bodies", body, {})


def _get_bare(port: int, segments: Sequence[SealedSegment]) -> None:
    names = ",".join(segment.id for segment in segments)
    _expect(http.client.HTTPConnection("127.0.0.1", port), "GET", f"/?names={names}", b"", {})


def _expect(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes, fields: dict[str, str]
) -> bytes:
    connection.request(method, target, body, fields)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method}: {answer.status}")
    return content


def _start(module: str, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server process on a free port; returns when it listens."""
    with listening_socket("127.0.0.1", 0) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", module, *(str(port) if a == "PORT" else a for a in arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None or process.stdout.readline() != "listening\n":
        raise RuntimeError(f"{module} did not start")
    return process, port


if __name__ == "__main__":
    for row in run():
        print(row)
