"""The threads that speak for the agent outlive whatever goes wrong in one question or batch."""

from __future__ import annotations

import errno
import queue
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

import pytest

from assent.client.collector import CollectorClient
from assent.client.custodian import CustodianClient
from assent_agent.ports import SecretsUnavailable
from assent_agent.runtime.network import BatchDone, CustodianFailed, CustodianWorker, Links, Message, Uploader
from assent_agent.spool.spool import Spool

FAILURES = [OSError(errno.ENOSPC, "the directory cannot be kept"), SecretsUnavailable("locked"), ValueError("odd")]


class BrokenLinks(Links):
    """Whatever is asked fails outside of what a client may raise."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def custodian(self) -> CustodianClient:
        raise self._failure

    def collector(self) -> CollectorClient:
        raise self._failure


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_the_custodian_is_asked_again_after_any_failure(failure: Exception) -> None:
    told: queue.SimpleQueue[Message] = queue.SimpleQueue()
    worker = CustodianWorker(BrokenLinks(failure), told.put)
    for _ in range(2):
        worker.ask_news(None)
        answer = told.get(timeout=5)
        assert isinstance(answer, CustodianFailed)
        assert (answer.what, str(failure) in answer.sentence) == ("news", False)
    worker.close()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_batch_is_tried_again_after_any_failure(failure: Exception) -> None:
    told: queue.SimpleQueue[Message] = queue.SimpleQueue()
    now: Callable[[], datetime] = lambda: datetime(2026, 11, 23, 9, tzinfo=UTC)  # noqa: E731
    uploader = Uploader(cast(Spool, cast(Any, None)), BrokenLinks(failure), told.put, now, Random(1))
    for _ in range(2):
        uploader.send()
        answer = told.get(timeout=5)
        assert isinstance(answer, BatchDone)
        assert not answer.succeeded
    uploader.close()
