"""What is said beside the log about its witnesses: who signed this head, who did not, and who has been silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

from tests.unit.reader.leaves import LOG
from tests.unit.reader.test_auditing import copy_of, files_of
from tests.unit.reader.world import World

from assent.cli.log_sources import Source
from assent.client.directory import policy_of
from assent.reader.log_copies import Live
from assent.reader.log_entries import ProvenLog
from assent.transparency.policy import Witness


def test_a_witness_that_did_not_sign_or_has_been_silent_stands_out() -> None:
    world = World()
    copy = copy_of(files_of(world, list(LOG)))
    policy = policy_of(world.directory_statement)
    (signed,) = policy.witnesses
    absent = replace(policy, witnesses=(*policy.witnesses, Witness("absent", signed.key)))
    witnessed = policy.check(copy.checkpoint)
    of_copy = Source(ProvenLog(copy, witnessed), absent)
    live = replace(of_copy, served=cast(Live, object()))
    at = datetime.fromtimestamp(witnessed.cosigned_at[signed.name], UTC)
    assert live.witnessed == {signed.name: at, "absent": None}
    assert live.newest == at
    for hours, fresh in ((0, True), (2, True), (4, False), (1000, False)):
        now = at + timedelta(hours=hours)
        assert live.is_fresh(at, now) is fresh
        assert of_copy.is_fresh(at, now), "a copy is of its time"
        assert not live.is_fresh(None, now)
        assert not of_copy.is_fresh(None, now)
