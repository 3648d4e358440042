"""Memory does not grow with the size of a segment."""

from __future__ import annotations

from pathlib import Path

import psutil
from tests.integration.collector.test_crashes import hand_over, process
from tests.simulators.collector import Recording, World, client_of, upload

MIB = 1024 * 1024


def test_memory_does_not_grow_with_the_size_of_a_segment(lite: World) -> None:
    """Sixteen times the size: the difference stays under half of one large body (the client's share is elsewhere)."""
    small, large = Recording(), Recording()
    lite.register(small)
    lite.register(large)
    folder: Path = hand_over(lite)
    with process(folder, "none") as (running, url), client_of(lite, url) as client:
        server = psutil.Process(running.pid)
        for _ in range(6):
            upload(client, small.segment(bytes(MIB)))
        before = server.memory_info().rss
        for _ in range(3):
            upload(client, large.segment(bytes(15 * MIB)))
        assert server.memory_info().rss - before < 8 * MIB
