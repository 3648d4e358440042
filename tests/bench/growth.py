"""Release and certificates beside more and more streams of others, and the door on one core and on several.

The baseline of a release is the bare HPKE opens of the same sealed keys. `certificates` are whole HTTP requests of
agents who ask for four new streams each; what is shown is how many agents one core serves in an hour.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assent.contracts.envelope import sign
from assent.contracts.segment import SEAL_TAG, header_hash
from assent.contracts.wire import ReleaseBody
from assent.sealing import hpke
from assent_custodian.context import open_custodian
from assent_custodian.leases import service
from assent_custodian.settings import Settings
from tests.bench._population import populate
from tests.bench._timing import interleaved_ms
from tests.bench.release import KEYS, batch_body, sealed_segments, vault_keys_of
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import CustodianWorld

POPULATIONS = (1_000, 10_000, 100_000, 1_000_000)
BATCHES = 100
"""Of 1,000 sealed keys each, by one job."""

ASKS = 40
AGENTS_AN_HOUR = 10_000
PEOPLE = 40


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("ASSENT_BENCH_DIR")) as folder:
        world = CustodianWorld(Path(folder))
        try:
            return _run(world)
        finally:
            world.close()


def _run(world: CustodianWorld) -> list[dict[str, Any]]:
    access = AccessWorld(world, PEOPLE)
    request = access.grant()
    bodies = []
    for _ in range(max(2, _cores())):
        job = access.job()
        assert job.open(access.requester, request=request).status_code == 200
        segments = sealed_segments(access)
        bodies.append(batch_body(job, segments))
    vault_keys = vault_keys_of(world, {stream for stream, _ in segments})
    opens = [(one.sealed_key, vault_keys[stream], SEAL_TAG + header_hash(one.header)) for stream, one in segments]

    def bare() -> None:
        for sealed_key, key, info in opens:
            hpke.open_(sealed_key, key, info)

    rows = [_many(world, bodies[0], bare), _over_cores(world, bodies)]
    there = 0
    for population in POPULATIONS:
        populate(world.custodian, population - there)
        there = population
        at = f"{population:,} streams in the database"
        bare_ms, release_ms = interleaved_ms(1, bare, lambda: _release(world, bodies[0]))
        rows.append(_row("release of 1,000 keys / bare HPKE opens", release_ms, bare_ms, at))
        rows.append(_certificates(access, at))
    return rows


def _release(world: CustodianWorld, body: bytes) -> bytes:
    return service.release(world.custodian, ReleaseBody.parse(body)).to_json()


def _row(name: str, value_ms: float, baseline_ms: float, at: str) -> dict[str, Any]:
    return {
        "name": name, "value": round(value_ms, 1), "unit": "ms", "baseline": round(baseline_ms, 1),
        "ratio": round(value_ms / baseline_ms, 2), "target": "ratio <= 1.7", "at": at,
    }  # fmt: skip


def _many(world: CustodianWorld, body: bytes, bare: Callable[[], None]) -> dict[str, Any]:
    """A long job: batches and their baseline in turns, all counted."""
    spent = {"bare": 0.0, "release": 0.0}
    for _ in range(BATCHES):
        for name, operation in (("bare", bare), ("release", lambda: _release(world, body))):
            began = time.perf_counter()
            operation()
            spent[name] += time.perf_counter() - began
    at = f"{BATCHES * KEYS:,} sealed keys, in batches of {KEYS:,}"
    return _row("release through the door / bare HPKE opens", spent["release"] * 1000, spent["bare"] * 1000, at)


def _over_cores(world: CustodianWorld, bodies: list[bytes]) -> dict[str, Any]:
    """As many processes as there are cores, each with a job of its own; the baseline is one of them alone."""
    cores = max(2, _cores())
    settings = world.settings.model_dump_json()
    work = [(_release_batches, (settings, body, world.now)) for body in bodies[:cores]]
    one, many = _together(work[:1]), _together(work)
    return {
        "name": "release, a process per core / one process",
        "value": round(cores * ROUND * KEYS / many), "unit": "keys/s",
        "baseline": round(ROUND * KEYS / one), "ratio": round(cores * one / many, 2),
        "target": f"ratio >= {0.8 * cores:.1f}", "at": f"{cores} processes",
    }  # fmt: skip


ROUND = 10
"""Batches per process."""


def _together(work: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> float:
    """Seconds from the moment at which every process is ready until the last one is done."""
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(len(work) + 1)
    processes = [context.Process(target=_at_the_gate, args=(gate, do, arguments)) for do, arguments in work]
    for process in processes:
        process.start()
    gate.wait(60)
    began = time.perf_counter()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError("a process of the benchmark failed")
    return time.perf_counter() - began


def _at_the_gate(gate: Any, do: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    do(*arguments, gate)


def _release_batches(settings: str, body: bytes, now: str, gate: Any) -> None:
    from assent.contracts.times import parse_moment

    custodian = open_custodian(Settings.model_validate_json(settings), lambda: parse_moment(now))
    service.release(custodian, ReleaseBody.parse(body))
    gate.wait(60)
    for _ in range(ROUND):
        service.release(custodian, ReleaseBody.parse(body)).to_json()


def _certificates(access: AccessWorld, at: str) -> dict[str, Any]:
    """Whole requests, one after the other, of agents who each ask for a stream per modality."""
    world = access.custodian
    bodies = []
    for number in range(ASKS + 2):
        member = access.people[number % len(access.people)]
        request, _ = member.certificate_request()
        bodies.append(sign(request, member.device).to_json())
    for body in bodies[:2]:
        assert world.post("/v1/certificates", body).status_code == 200
    began = time.perf_counter()
    for body in bodies[2:]:
        assert world.post("/v1/certificates", body).status_code == 200
    seconds = (time.perf_counter() - began) / ASKS
    return {
        "name": "certificates for four streams, agents served per hour and core", "value": round(3600 / seconds),
        "unit": "agents/h", "target": f"figure >= {AGENTS_AN_HOUR}", "at": f"{at}; {seconds * 1000:.1f} ms each",
    }  # fmt: skip


def _cores() -> int:
    return os.cpu_count() or 1


if __name__ == "__main__":
    for row in run():
        print(row)
