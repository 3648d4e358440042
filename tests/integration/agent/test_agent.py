"""A whole agent on a replay, against the real collector: records, holds, sends, and stops when it must."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.simulators.agents import (
    PURPOSE,
    Desk,
    Surroundings,
    captive_portal,
    json_portal,
    opened,
    running,
    wait_until,
    world_bodies,
    write_replay,
)
from tests.simulators.collector import World, serving_collector
from tests.simulators.disk import no_space

from assent.client.receipts import check_erasure
from assent.codec.content import decode_content
from assent.contracts.envelope import read, sign
from assent.contracts.events import DisplaysChanged, GapReason, KeyEvent, PointerButton, PointerMoved, WindowActivated
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Erasure, ErasureReceipt, Notification, Receipt, Withdrawal
from assent.contracts.times import moment, parse_moment
from assent.contracts.wire import ErasuresView, ErasureView
from assent.sealing.segments import open_body, open_sealed_key
from assent_agent.core.consent import Why
from assent_agent.core.inviting import Declined
from assent_agent.core.monitors import Chosen, Known
from assent_agent.core.narrowing import NARROWING_UNREADABLE, Narrowing
from assent_agent.ports import ConsentSwitched, ForgetAsked, IndicatorState, PauseAsked, StatusFacts
from assent_agent.runtime.agent import Agent
from assent_agent.settings import AgentSettings
from assent_agent.spool.disk import RealDisk


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World.new(tmp_path / "collector")
    yield made
    made.collector.close()


@pytest.fixture
def around(tmp_path: Path, world: World) -> Iterator[Surroundings]:
    with serving_collector(world) as url:
        yield Surroundings(tmp_path / "home", Desk(world.issuer, url))


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    return write_replay(tmp_path / "replay.jsonl", 60)


def status(agent: Agent) -> dict[str, Any]:
    answer = agent.ask({"do": "status"})
    assert answer["ok"], answer
    return answer


def recording(agent: Agent) -> bool:
    return bool(status(agent)["state"] == "recording" and status(agent)["arrived_s"].get("pointer") is not None)


def say(agent: Agent, do: str, **more: Any) -> dict[str, Any]:
    answer = agent.ask({"do": do, **more})
    assert answer["ok"], answer
    return answer


def test_what_is_recorded_reaches_the_collector_and_opens_only_with_the_vault_key(
    around: Surroundings, world: World, replay: Path
) -> None:
    around.give(Modality.POINTER, Modality.KEYBOARD, Modality.CONTEXT)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        wait_until(lambda: status(agent)["arrived_s"].get("keyboard") is not None, "keys")
        say(agent, "pause")
        assert status(agent)["state"] == "paused"
        assert status(agent)["segments_waiting"] == 3
        say(agent, "send")
        wait_until(lambda: status(agent)["segments_waiting"] == 0, "everything sent")
    assert len(world.kept()) == 3
    contents = []
    for stream, vault in around.desk.certificates.items():
        for number, body in world_bodies(world, stream):
            segment = body
            key = open_sealed_key(segment["sealed_key"], segment["header"], vault)
            content = decode_content(open_body(segment["header"], segment["body"], key))
            assert (content.stream, content.sequence) == (stream, number)
            contents.append(content)
    events = [event for content in contents for event in content.events]
    assert any(isinstance(event, PointerMoved) for event in events)
    assert any(isinstance(event, KeyEvent) and event.key == "a" for event in events)
    for content in contents:
        assert [event.seq for event in content.events] == list(range(len(content.events)))
        assert content.anchors


def test_without_a_receipt_nothing_is_recorded(around: Surroundings, replay: Path) -> None:
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: "/v1/me/news" in around.desk.asked, "the custodian was asked")
        assert status(agent)["why"] == Why.NO_RECEIPT
    assert "/v1/certificates" not in around.desk.asked
    assert list(around.home.spool.iterdir()) == []


def test_without_the_switch_of_this_device_nothing_is_recorded(around: Surroundings, replay: Path) -> None:
    around.give(on=False)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: "/v1/me/news" in around.desk.asked, "the custodian was asked")
        assert status(agent)["why"] == Why.SWITCHED_OFF


def test_withdrawing_offline_stops_destroys_queues_and_is_confirmed_later(
    around: Surroundings, world: World, replay: Path
) -> None:
    receipt = around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
        say(agent, "resume")
        assert status(agent)["segments_waiting"] == 1
        around.desk.online = False
        after = say(agent, "withdraw")
        assert after["recording"] == []
        assert after["segments_waiting"] == 0
        assert [w["confirmed"] for w in after["withdrawals"]] == [False]
        assert after["receipt"] is None
    assert list(around.home.spool.iterdir()) == []
    assert around.secrets.kept.keys() == {"device"}
    assert around.home.receipt() is None
    assert world.kept() == []
    around.desk.online = True
    again = around.agent(replay)
    with running(again):
        wait_until(lambda: status(again)["withdrawals"][0]["confirmed"], "confirmed")
        assert status(again)["why"] == Why.NO_RECEIPT
    assert [w.record for w in around.desk.withdrawals] == [receipt.record]


def test_a_withdrawal_that_was_written_down_is_carried_out_at_the_next_start(
    around: Surroundings, replay: Path
) -> None:
    """As after a crash between writing it down and destroying the spool."""
    from assent_agent.runtime.home import withdrawal_of

    receipt = around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
    assert len(list(around.home.spool.iterdir())) == 1
    around.desk.online = False
    around.home.queue_withdrawal(
        withdrawal_of(around.desk.person, receipt.record, frozenset(), frozenset(), around.clock.now()), around.device
    )
    again = around.agent(replay)
    with running(again):
        assert status(again)["why"] == Why.NO_RECEIPT
    assert list(around.home.spool.iterdir()) == []
    assert around.home.receipt() is None


def test_withdrawing_one_modality_leaves_the_others_recording(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER, Modality.KEYBOARD)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        after = say(agent, "withdraw", modalities=["keyboard"])
        assert after["recording"] == ["pointer"]
        wait_until(lambda: around.desk.withdrawals, "delivered")
    assert around.desk.withdrawals[0].modalities == (Modality.KEYBOARD,)
    held = around.home.held_receipt()
    assert held is not None and held.modalities == {Modality.POINTER}


def test_a_restored_custodian_hears_again_what_this_device_holds(around: Surroundings, replay: Path) -> None:
    first = around.give(Modality.POINTER, Modality.KEYBOARD)
    around.settings = AgentSettings(news_interval_s=1, reserve_bytes=0)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "withdraw", modalities=["keyboard"])
        wait_until(lambda: status(agent)["withdrawals"][0]["confirmed"], "confirmed")
        around.desk.restored = True
        wait_until(lambda: around.desk.standings, "said again")
        wait_until(lambda: recording(agent), "recording again")
    (standing,) = around.desk.standings
    assert standing.in_force
    assert standing.receipt is not None
    assert read(standing.receipt, Receipt, around.desk.issuer.statement_key.public).record == first.record
    (kept,) = around.home.receipts()
    assert standing.salt == kept.salt
    (held,) = standing.withdrawals
    assert read(held.statement, Withdrawal, around.device.public).modalities == (Modality.KEYBOARD,)


def erasure_receipt(around: Surroundings) -> ErasureReceipt:
    return ErasureReceipt(
        person=around.desk.person, of="ab" * 32, kind="ending", state="requested", day="2026-11-23", streams=1, days=1,
        hours=0, erased_from="2026-11-30", backup_days=0,
    )  # fmt: skip


def test_receipts_of_what_is_erased_are_kept_here_without_anybodys_doing(around: Surroundings, replay: Path) -> None:
    """At the start, and when consent is ended by somebody else."""
    given = around.give(Modality.POINTER)
    around.settings = AgentSettings(news_interval_s=1, reserve_bytes=0)
    key, folder = around.desk.issuer.statement_key, around.home.folder / "erasure-receipts"
    requested = erasure_receipt(around)
    final = requested.model_copy(update={"state": "final"})
    before = ErasureView(of=requested.of, requested=sign(requested, key))
    around.desk.erasures_view = ErasuresView(erasures=(before,), fallen=())
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        wait_until((folder / "abababababababab.requested.json").exists, "kept")
        after = before.model_copy(update={"final": sign(final, key), "salt": "aaaa"})
        around.desk.erasures_view = ErasuresView(erasures=(after,), fallen=())
        around.desk.live.discard(given.record)
        around.desk.ended.add(given.record)
        wait_until((folder / "abababababababab.final.json").exists, "kept when consent was ended")
    kept, _ = check_erasure((folder / "abababababababab.final.json").read_bytes(), key.public, around.desk.person)
    assert kept == final


def test_a_forged_erasure_receipt_is_not_kept_and_recording_goes_on(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    forged = erasure_receipt(around)
    view = ErasureView(of=forged.of, requested=sign(forged, SigningKey.generate()))
    around.desk.erasures_view = ErasuresView(erasures=(view,), fallen=())
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: "/v1/me/erasures" in around.desk.asked, "asked")
        wait_until(lambda: recording(agent), "recording all the same")
    assert not (around.home.folder / "erasure-receipts").exists()


def test_what_was_erased_is_kept_here_and_handed_in_again_after_a_restore(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(news_interval_s=1, reserve_bytes=0)
    opening, now = SigningKey.generate(), around.clock.now()
    recent, old = (
        sign(Erasure(person=around.desk.person, everything=True, at=moment(now - timedelta(days=days))), opening)
        for days in (0, 61)
    )
    around.desk.erasures = (recent, old)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: around.home.kept_erasures(now) == (recent,), "kept, and the old one forgotten")
        around.desk.restored = True
        wait_until(lambda: around.desk.standings, "said again")
    assert around.desk.erasures_again == [recent.hash], "before the device said what stands"


def test_a_device_that_withdrew_says_that_nothing_is_in_force(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(news_interval_s=1, reserve_bytes=0)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "withdraw")
        wait_until(lambda: status(agent)["withdrawals"][0]["confirmed"], "confirmed")
        around.desk.restored = True
        wait_until(lambda: around.desk.standings, "said again")
    (standing,) = around.desk.standings
    assert not standing.in_force
    assert len(standing.withdrawals) == 1


@pytest.mark.parametrize("portal", [captive_portal, json_portal])
def test_a_captive_portal_that_answers_200_gets_nothing_deleted(
    around: Surroundings, world: World, replay: Path, portal: Any
) -> None:
    around.give(Modality.POINTER)
    around.collector_transport = portal()
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
        say(agent, "send")
        wait_until(lambda: status(agent)["upload_trouble"], "the failure is told")
        assert status(agent)["segments_waiting"] == 1
    around.collector_transport = None
    again = around.agent(replay)
    with running(again):
        say(again, "send")
        wait_until(lambda: status(again)["segments_waiting"] == 0, "sent after the portal")
    assert len(world.kept()) == 1


def test_a_custodian_behind_a_captive_portal_permits_nothing(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.custodian_transport = captive_portal()
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: status(agent)["custodian_trouble"], "the failure is told")
        assert status(agent)["recording"] == []
        assert status(agent)["why"] == Why.CLOCK


def test_a_halt_stops_recording_and_shows_its_reason(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=0, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        around.desk.halted = "An incident is being looked into."
        wait_until(lambda: status(agent)["why"] == Why.HALTED, "halted")
        assert "An incident" in status(agent)["sentence"]
        around.desk.halted = None
        wait_until(lambda: status(agent)["recording"] == ["pointer"], "recording again")


def test_an_agent_without_consent_shows_the_reason_of_a_halt_first(around: Surroundings, replay: Path) -> None:
    around.desk.halted = "An incident is being looked into."
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: "An incident" in status(agent)["sentence"], "the reason, before anything else")


def test_an_agent_that_is_cut_off_stops_by_itself_when_its_certificate_ends(around: Surroundings, replay: Path) -> None:
    """Nobody can tell it of a halt: it records on, no longer than its certificate says, and then seals nothing more."""
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        around.desk.online = False
        around.desk.halted = "An incident is being looked into."
        around.clock.skip(hours=11)
        wait_until(lambda: status(agent)["custodian_trouble"], "cut off")
        assert status(agent)["recording"] == ["pointer"], "its certificate is good until midnight"
        around.clock.skip(hours=1)
        wait_until(lambda: status(agent)["recording"] == [], "stopped by itself")
        assert status(agent)["why"] == Why.NO_CERTIFICATE
        sealed = status(agent)["events_sealed"]
        time.sleep(1)
        assert status(agent)["events_sealed"] == sealed
        around.desk.online = True
        around.clock.skip(minutes=1)
        wait_until(lambda: status(agent)["why"] == Why.HALTED, "told when it is back")


def test_a_revoked_device_stops_at_its_next_question_and_destroys_nothing(around: Surroundings, replay: Path) -> None:
    receipt = around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        around.desk.revoked = True
        wait_until(lambda: status(agent)["why"] == Why.REVOKED, "told by a signature")
        told = status(agent)
        assert told["recording"] == []
        assert "cannot be sent" in told["sentence"]
        assert told["segments_waiting"] == 1, "what was recorded until then is sealed, and stays"
        asked = around.desk.asked.count("/v1/certificates")
        time.sleep(1.5)
        assert around.desk.asked.count("/v1/certificates") == asked
    kept = around.home.held_receipt()
    assert kept is not None
    assert kept.record == receipt.record


def test_what_happened_to_ones_keys_is_told_and_is_no_access(around: Surroundings, replay: Path) -> None:
    told = Notification(id=new_id(), day="2026-11-23", kind="account", text="A new device was added.")
    around.desk.notifications = (told,)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: status(agent)["messages"] == ["A new device was added."], "told")
        assert status(agent)["accesses"] == 0


def test_a_receipt_that_ended_elsewhere_destroys_what_is_here(around: Surroundings, replay: Path) -> None:
    receipt = around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        seal_one(agent)
        around.desk.ended.add(receipt.record)
        around.desk.live.clear()
        wait_until(lambda: status(agent)["why"] == Why.NO_RECEIPT, "stopped")
        wait_until(lambda: status(agent)["segments_waiting"] == 0, "destroyed")
        wait_until(lambda: around.home.receipt() is None, "dropped")


def test_a_receipt_that_ended_while_the_agent_did_not_run_destroys_what_is_here(
    around: Surroundings, replay: Path
) -> None:
    receipt = around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        seal_one(agent)
    around.clock.skip(days=181)
    around.desk.ended.add(receipt.record)
    around.desk.live.clear()
    again = around.agent(replay)
    with running(again):
        wait_until(lambda: around.home.receipt() is None, "dropped, although it had expired as well")
        assert status(again)["segments_waiting"] == 0


def test_a_change_asks_anew_says_so_and_keeps_what_was_recorded(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        seal_one(agent)
        around.desk.asks_anew = ("notice",)
        around.desk.live.clear()
        wait_until(lambda: status(agent)["asks_anew"] == ["notice"], "asked anew")
        assert status(agent)["why"] == Why.NO_RECEIPT
        assert "asked anew" in status(agent)["sentence"]
        assert status(agent)["segments_waiting"] >= 1
        around.desk.asks_anew = ()
        around.give(Modality.POINTER)
        say(agent, "given")
        assert status(agent)["asks_anew"] == []
        wait_until(lambda: recording(agent), "recording again")


def test_a_modality_that_was_withdrawn_elsewhere_stops_and_what_is_here_of_it_is_destroyed(
    around: Surroundings, replay: Path
) -> None:
    around.give(Modality.POINTER, Modality.KEYBOARD)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: status(agent)["recording"] == ["keyboard", "pointer"], "recording")
        wait_until(lambda: status(agent)["arrived_s"].get("keyboard") is not None, "keys")
        say(agent, "pause")
        say(agent, "resume")
        assert status(agent)["segments_waiting"] == 2
        around.desk.narrowed = frozenset({Modality.KEYBOARD})
        wait_until(lambda: status(agent)["recording"] == ["pointer"], "only the pointer")
        kinds = {agent.spool.certificate(view.stream).modality for view in agent.spool.streams(around.clock.now())}  # type: ignore[union-attr]
        assert kinds == {Modality.POINTER}


def seal_one(agent: Agent) -> None:
    wait_until(lambda: recording(agent), "recording")
    say(agent, "pause")
    say(agent, "resume")
    assert status(agent)["segments_waiting"] == 1


def asked_again(around: Surroundings, path: str) -> None:
    """Wait for an answer that was asked for from now on (the one under way may be older), and its being heard."""
    seen = around.desk.asked.count(path)
    wait_until(lambda: around.desk.asked.count(path) >= seen + 2, f"asked {path}")


def test_renewing_stops_recording_for_a_moment_and_destroys_nothing(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        seal_one(agent)
        newer = around.deliver(Modality.POINTER)
        wait_until(lambda: status(agent)["why"] == Why.NO_RECEIPT, "news came before the receipt was saved here")
        asked_again(around, "/v1/me/news")
        waiting = status(agent)["segments_waiting"]
        assert waiting >= 1
        receipt = around.keep(newer)
        say(agent, "given")
        wait_until(lambda: recording(agent), "recording under the newer one")
        assert status(agent)["receipt"] == receipt.record
        assert status(agent)["segments_waiting"] >= waiting
    assert around.home.receipt() is not None


def test_a_receipt_that_was_saved_meanwhile_is_adopted_and_not_dropped(around: Surroundings, replay: Path) -> None:
    older = around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        seal_one(agent)
        around.desk.ended.add(older.record)
        newer = around.give(Modality.POINTER)
        wait_until(lambda: status(agent)["receipt"] == newer.record, "adopted without being told")
        wait_until(lambda: recording(agent), "recording")
        assert status(agent)["segments_waiting"] >= 1


def test_what_is_sealed_stays_while_nobody_signed_that_its_receipt_ended(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        seal_one(agent)
        around.desk.live.clear()
        wait_until(lambda: status(agent)["why"] == Why.NO_RECEIPT, "stopped")
        asked_again(around, "/v1/me/news")
        assert status(agent)["segments_waiting"] >= 1
        assert "/v1/me/receipts" not in around.desk.asked, "what is not signed is not asked for"
        say(agent, "withdraw")
        assert status(agent)["segments_waiting"] == 0
        wait_until(lambda: around.desk.withdrawals, "delivered")


def test_withdrawing_names_a_receipt_that_was_saved_a_moment_ago_as_well(around: Surroundings, replay: Path) -> None:
    older = around.give(Modality.POINTER)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        newer = around.give(Modality.POINTER)
        say(agent, "withdraw")
        wait_until(lambda: len(around.desk.withdrawals) == 2, "delivered")
        assert {one.record for one in around.desk.withdrawals} == {older.record, newer.record}
        assert around.home.receipt() is None


@pytest.mark.parametrize("minutes", [-60, 10])
def test_a_wall_clock_that_jumps_stops_recording_until_the_custodian_agrees_again(
    around: Surroundings, replay: Path, minutes: int
) -> None:
    around.give(Modality.POINTER)
    agent = around.agent(replay)
    desk_now = around.desk.now
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        offset = minutes
        around.clock.step(minutes=minutes)
        from datetime import timedelta

        around.desk.now = lambda: desk_now() - timedelta(minutes=offset)
        wait_until(lambda: status(agent)["why"] == Why.CLOCK, "the step is noticed")
        around.clock.step(minutes=-minutes)
        around.desk.now = desk_now
        wait_until(lambda: status(agent)["recording"] == ["pointer"], "recording again")


def test_forgetting_takes_what_is_sealed_and_what_is_not(around: Surroundings, world: World, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
        say(agent, "resume")
        wait_until(lambda: recording(agent), "recording again")
        done = say(agent, "forget", seconds=600)
        assert done["forgotten"] == 1
        assert status(agent)["segments_waiting"] == 0
        wait_until(lambda: recording(agent), "recording goes on")
    around.settings = AgentSettings(hold_s=0, reserve_bytes=0)
    again = around.agent(replay)
    with running(again):
        say(again, "send")
        wait_until(lambda: list(around.home.spool.iterdir()) == [] or status(again)["segments_waiting"] == 0, "sent")
    assert len(world.kept()) == 1


def test_an_application_that_is_not_on_the_list_leaves_only_a_count(
    around: Surroundings, world: World, tmp_path: Path
) -> None:
    around.give(Modality.POINTER, Modality.KEYBOARD, Modality.CONTEXT)
    replay = write_replay(tmp_path / "bank.jsonl", 3, application="banking")
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: status(agent)["recording"], "recording")
        wait_until(lambda: agent._capture is not None and agent._capture.screen.wait_finished(10), "played")  # type: ignore[attr-defined]
        say(agent, "pause")
        say(agent, "send")
        wait_until(lambda: status(agent)["segments_waiting"] == 0, "sent")
    excluded = 0
    for stream, vault in around.desk.certificates.items():
        for _, segment in world_bodies(world, stream):
            key = open_sealed_key(segment["sealed_key"], segment["header"], vault)
            content = decode_content(open_body(segment["header"], segment["body"], key))
            assert not any(isinstance(event, PointerMoved | KeyEvent) for event in content.events)
            excluded += sum(gap.count for gap in content.gaps)
    assert excluded > 100


@pytest.mark.parametrize("taken_away", [False, True])
def test_an_application_that_the_person_took_away_is_not_recorded_and_nobody_hears_of_it(
    around: Surroundings, world: World, tmp_path: Path, taken_away: bool
) -> None:
    around.desk.application = "payroll"
    around.give(Modality.POINTER, Modality.CONTEXT)
    if taken_away:
        around.home.save_narrowing(Narrowing(frozenset({"Payroll"})))
    agent = around.agent(write_replay(tmp_path / "payroll.jsonl", 3, application="payroll"))
    with running(agent):
        wait_until(lambda: status(agent)["recording"], "recording")
        wait_until(lambda: agent._capture is not None and agent._capture.screen.wait_finished(10), "played")  # type: ignore[attr-defined]
        say(agent, "pause")
        say(agent, "send")
        wait_until(lambda: status(agent)["segments_waiting"] == 0, "sent")
    sent = b"".join(around.desk.heard)
    moves = 0
    for stream, vault in around.desk.certificates.items():
        for _, segment in world_bodies(world, stream):
            key = open_sealed_key(segment["sealed_key"], segment["header"], vault)
            plain = open_body(segment["header"], segment["body"], key)
            content = decode_content(plain)
            moves += sum(isinstance(event, PointerMoved) for event in content.events)
            sent += segment["header"] + repr(content).encode()
    assert (moves > 0) is not taken_away
    assert (b"payroll" in sent.lower()) is not taken_away


def test_hours_that_the_person_took_away_are_off_and_a_change_counts_at_once(
    around: Surroundings, replay: Path
) -> None:
    later = around.clock.now().astimezone() + timedelta(hours=2)
    hours = (later.time().replace(microsecond=0), (later + timedelta(hours=1)).time().replace(microsecond=0))
    around.home.save_narrowing(Narrowing(hours=hours))
    around.give(Modality.POINTER)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: status(agent)["why"] == Why.HOURS, "not now")
        assert status(agent)["state"] == "off"
        around.home.save_narrowing(Narrowing())
        say(agent, "narrowed")
        wait_until(lambda: recording(agent), "recording")
        (around.home.folder / "narrowing.json").write_text("{damaged")
        say(agent, "narrowed")
        assert status(agent)["recording"] == [], "in doubt, nothing"
        time.sleep(2.5)
        assert status(agent)["recording"] == [], "and time does not dispel the doubt"
        told = status(agent)
        assert (told["state"], told["why"], told["sentence"]) == ("trouble", Why.NARROWING, NARROWING_UNREADABLE)
        assert "narrow --clear" in told["sentence"], "it says what to do"
        assert told["custodian_trouble"] == "", "and blames nobody else"
        around.home.save_narrowing(Narrowing())
        wait_until(lambda: recording(agent), "recording again, since it can be read")
    heard = b"".join(around.desk.heard)
    assert b'"modality":"pointer"' in heard, "the control: what is signed is read, too"
    assert not any(word in heard for word in (b"hours", b"narrow"))


@pytest.mark.parametrize(
    ("display", "recorded"), [("eDP-1", True), ("HDMI-1", False), ("DP-2", False), ("", False)], ids=str
)
def test_a_replay_is_narrowed_by_the_names_of_its_displays(
    around: Surroundings, world: World, tmp_path: Path, display: str, recorded: bool
) -> None:
    chosen = Chosen(frozenset({Known("eDP-1", 800, 600)}), frozenset({"HDMI-1"}))
    around.home.save_narrowing(Narrowing(monitors=chosen))
    assert around.home.narrowing().monitors == chosen
    around.give(Modality.POINTER, Modality.KEYBOARD, Modality.CONTEXT)
    agent = around.agent(write_replay(tmp_path / "named.jsonl", 3, display=display))
    with running(agent):
        wait_until(lambda: agent._capture is not None and agent._capture.screen.wait_finished(10), "played")  # type: ignore[attr-defined]
        told = status(agent)
        assert (told["state"] == "recording") is recorded and told["narrowed"]
        assert ("have not said" in told["sentence"]) is (display == "DP-2")
        assert ("cannot be told" in told["sentence"]) is (display == "")
        say(agent, "pause")
        say(agent, "send")
        wait_until(lambda: status(agent)["segments_waiting"] == 0, "sent")
    contents = list(opened(around.desk, world))
    events = [event for content in contents for event in content.events]
    observed = [event for event in events if not isinstance(event, WindowActivated | DisplaysChanged)]
    assert (len(observed) > 50) is recorded and bool(observed) is recorded
    assert any(event.displays for event in events if isinstance(event, DisplaysChanged)) is recorded
    missing = sum(gap.count for content in contents for gap in content.gaps if gap.reason is GapReason.EXCLUDED)
    assert (missing > 50) is not recorded
    sent = b"".join(around.desk.heard) + repr(contents).encode()
    assert not any(word in sent for word in (b"eDP-1", b"HDMI", b"DP-2", b"narrow"))


def test_withdrawing_what_was_never_agreed_to_is_no_withdrawal_and_says_so(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER, Modality.KEYBOARD)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        told = agent.ask({"do": "withdraw", "modalities": [], "purposes": ["urn:slip"]})
        assert not told["ok"] and "Nothing was withdrawn" in told["error"] and "urn:slip" in told["error"]
        assert recording(agent)
        assert around.home.withdrawals() == () and around.desk.withdrawals == []
        part = say(agent, "withdraw", modalities=["keyboard"], purposes=[])
        assert part["withdrawn"] and part["left"] == [f"pointer for {PURPOSE}"] and part["written_down"]
        rest = say(agent, "withdraw", modalities=[], purposes=[])
        assert rest["withdrawn"] and rest["left"] == []
        assert say(agent, "withdraw", modalities=[], purposes=[])["withdrawn"] is False, "there was nothing any more"
        assert sorted(told["of"] for told in status(agent)["withdrawals"]) == [[], ["keyboard"]]


def test_a_withdrawal_that_cannot_be_read_stops_recording_and_ends_nothing_else(
    around: Surroundings, replay: Path
) -> None:
    around.give(Modality.POINTER, Modality.KEYBOARD)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0)
    with running(around.agent(replay)) as agent:
        wait_until(lambda: recording(agent), "recording")
        say(agent, "withdraw", modalities=["keyboard"], purposes=[])
        wait_until(lambda: status(agent)["withdrawals"][0]["confirmed"], "confirmed")
    (path,) = (around.home.folder / "withdrawals").iterdir()
    path.write_text("{")
    with running(around.agent(replay)) as agent:
        wait_until(lambda: "/v1/me/news" in around.desk.asked, "the custodian was asked")
        told = status(agent)
        assert told["recording"] == [] and str(path) in told["damaged"] and str(path) in told["own_trouble"]
        assert status(agent)["ok"], "and asking again is answered, too"
        say(agent, "withdraw", modalities=[], purposes=[])
        wait_until(lambda: len(around.desk.withdrawals) == 2, "all of it withdrawn")
        assert around.desk.withdrawals[-1].modalities == ()
        assert list(around.home.spool.iterdir()) == []
    assert around.home.receipt() is None


def test_a_pause_that_cannot_be_written_down_still_pauses_and_is_written_down_later(
    around: Surroundings, replay: Path
) -> None:
    around.give(Modality.POINTER)
    agent = around.agent(replay)
    switch = around.home.folder / "switch.json"
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        switch.unlink()
        switch.mkdir()
        agent.intend(PauseAsked(None))
        wait_until(lambda: status(agent)["why"] == Why.PAUSED, "paused, and alive")
        assert "restart" in status(agent)["own_trouble"]
        agent.intend(ForgetAsked(10))
        agent.intend(ConsentSwitched(True))
        wait_until(lambda: "could not be done" in status(agent)["own_trouble"], "that it fails to be told")
        switch.rmdir()
        wait_until(switch.is_file, "written down after all")
        wait_until(lambda: status(agent)["own_trouble"] == "", "the trouble to be over")
    assert around.home.switch().paused


@pytest.mark.parametrize("hours", [-2, 2], ids=["back", "forward"])
def test_when_the_clock_on_the_wall_is_put_right_a_pause_and_forgetting_mean_the_time_that_passed(
    around: Surroundings, replay: Path, hours: int
) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=90_000, reserve_bytes=0, news_interval_s=1)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause", seconds=3600)
        say(agent, "send")
        wait_until(lambda: status(agent)["segments_waiting"] == 0, "sent")
        until = around.home.switch().paused_until
        around.clock.step(hours=hours)
        asked_again(around, "/v1/me/news")
        assert status(agent)["why"] == Why.PAUSED
        moved = around.home.switch().paused_until
        assert until is not None and moved is not None
        assert abs(parse_moment(moved) - parse_moment(until) - timedelta(hours=hours)) < timedelta(seconds=5)
        around.clock.skip(minutes=61)
        wait_until(lambda: recording(agent), "recording again")
        say(agent, "pause")
        say(agent, "resume")
        wait_until(lambda: status(agent)["segments_waiting"] >= 1 and recording(agent), "one held")
        around.clock.step(hours=-hours)
        wait_until(lambda: recording(agent), "recording again by the other clock")
        assert say(agent, "forget", seconds=600)["forgotten"] >= 1
        assert status(agent)["segments_waiting"] == 0


class FailingDisk(RealDisk):
    full = False

    def write(self, path: Path, data: bytes) -> None:
        if self.full and path.name.endswith(".segment.tmp"):
            raise no_space()
        super().write(path, data)


def test_a_full_disk_stops_recording_and_what_is_spooled_stays(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0)
    disk = FailingDisk()
    agent = around.agent(replay, disk=disk)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
        say(agent, "resume")
        wait_until(lambda: recording(agent), "recording again")
        disk.full = True
        say(agent, "pause")
        say(agent, "resume")
        assert status(agent)["why"] == Why.DISK
        assert status(agent)["state"] == "trouble"
        assert status(agent)["segments_waiting"] == 1


def test_a_revoked_stream_is_destroyed_only_with_the_custodians_word(
    around: Surroundings, world: World, replay: Path
) -> None:
    around.give(Modality.POINTER)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
        (stream,) = around.desk.certificates
        world.book.order(world.issuer.revoke(stream))
        world.collector.orders.pull_orders_once()
        say(agent, "send")
        wait_until(lambda: list(around.home.spool.iterdir()) == [], "destroyed")
    assert world.kept() == []


class FakeIndicator:
    """An indicator without a screen: a test says whether it can be seen, and reads what it was told."""

    seen = False
    removed = False
    facts = StatusFacts(IndicatorState.OFF)

    def show(self, facts: StatusFacts) -> None:
        self.facts = facts

    def shown(self) -> bool:
        return self.seen

    def open(self, view: object) -> None:
        self.view = view

    def remove(self) -> None:
        self.removed = True


def test_no_indicator_no_recording(around: Surroundings, replay: Path) -> None:
    indicator = FakeIndicator()
    around.give(Modality.POINTER)
    agent = around.agent(replay, indicator=indicator)
    with running(agent):
        wait_until(lambda: status(agent)["why"] == Why.NO_INDICATOR, "refused")
        indicator.seen = True
        wait_until(lambda: recording(agent), "recording")
        indicator.seen = False
        wait_until(lambda: status(agent)["why"] == Why.NO_INDICATOR, "stopped")
    assert indicator.removed


def test_who_was_never_asked_is_asked_once_in_ninety_days_and_never_again_after_never(
    around: Surroundings, replay: Path
) -> None:
    def asked(wanted: bool, **passed: float) -> bool:
        """Whether an agent asks: as soon as it does what is `wanted`, or when it has run for a while."""
        around.clock.skip(**passed)
        indicator = FakeIndicator()
        indicator.seen = True
        agent = around.agent(replay, indicator=indicator)
        with running(agent):
            wait_until(lambda: status(agent)["custodian_asked"], "news")
            if wanted:
                wait_until(lambda: hasattr(indicator, "view"), "the question")
            time.sleep(1.5)
        return hasattr(indicator, "view")

    around.settings = AgentSettings(hold_s=900, reserve_bytes=0, news_interval_s=1)
    assert asked(True)
    assert not asked(False), "a restart forgets nothing"
    assert not asked(False, days=89)
    assert asked(True, days=2)
    around.home.note(Declined(around.clock.now(), never=True))
    assert not asked(False, days=1000)


def test_who_takes_part_is_not_asked(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    indicator = FakeIndicator()
    indicator.seen = True
    agent = around.agent(replay, indicator=indicator)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        time.sleep(1.5)
    assert not hasattr(indicator, "view")


def test_the_indicator_is_told_of_a_change_before_the_next_second(around: Surroundings, replay: Path) -> None:
    indicator = FakeIndicator()
    indicator.seen = True
    around.give(Modality.POINTER)
    agent = around.agent(replay, indicator=indicator)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        for _ in range(8):  # by luck alone it would be shown in time once or twice, not sixteen times
            say(agent, "pause")
            wait_until(lambda: indicator.facts.state is IndicatorState.PAUSED, "paused", timeout_s=0.6)
            say(agent, "resume")
            wait_until(lambda: indicator.facts.state is not IndicatorState.PAUSED, "resumed", timeout_s=0.6)


def test_a_pause_until_i_resume_survives_a_restart(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
    again = around.agent(replay)
    with running(again):
        assert status(again)["why"] == Why.PAUSED
        say(again, "resume")
        wait_until(lambda: recording(again), "recording")


def test_a_question_that_makes_no_sense_gets_a_sentence(around: Surroundings, replay: Path) -> None:
    agent = around.agent(replay)
    with running(agent):
        assert not agent.ask({"do": "dance"})["ok"]
        assert not agent.ask({"say": "status"})["ok"]
        assert not agent.ask({"do": "forget", "seconds": "soon"})["ok"]


def screens_replay(folder: Path) -> Path:
    """A small display that changes after each of three clicks, with a mail window that must not be seen at the end."""
    import json

    import numpy as np

    area = {"x": 0, "y": 0, "width": 320, "height": 200}
    lines: list[dict[str, Any]] = [
        {"t_ns": 0, "type": "displays", "displays": [{"id": 0, "rect": area, "scale": 1.0}]},
        {"t_ns": 0, "type": "window", "rect": area, "application": "editor", "title": "Letter"},
    ]
    for i in range(5):
        picture = np.full((200, 320, 4), 40 * (i + 1), dtype=np.uint8)
        np.save(folder / f"{i}.npy", picture)
        t_ns = int(i * 2e9)
        lines.append({"t_ns": t_ns, "type": "frame", "image": f"{i}.npy", "display": 0})
        if i < 3:
            for pressed, at_ns in ((True, t_ns + 1_950_000_000), (False, t_ns + 1_960_000_000)):
                lines.append({"t_ns": at_ns, "type": "button", "x": 5, "y": 5, "button": 1, "pressed": pressed})
    mail = {"x": 100, "y": 50, "width": 60, "height": 40}
    windows = [
        {"rect": area, "application": "editor", "title": "Letter", "active": True},
        {"rect": mail, "application": "thunderbird", "title": "Inbox"},
    ]
    lines.append({"t_ns": int(8.2e9), "type": "windows", "windows": windows})
    lines.append({"t_ns": int(12e9), "type": "move", "x": 6, "y": 6})
    path = folder / "screens.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_pictures_are_bound_to_what_was_done_and_excluded_windows_are_painted_over(
    around: Surroundings, world: World, tmp_path: Path
) -> None:
    from assent.codec.content import pictures
    from assent.contracts.events import Rect

    around.give(Modality.POINTER, Modality.SCREEN)
    around.settings = AgentSettings(
        hold_s=0, reserve_bytes=0, frame_interval_ms=60, idle_frame_interval_ms=200, periodic_frame_s=0.5
    )
    agent = around.agent(screens_replay(tmp_path))
    with running(agent):
        wait_until(lambda: status(agent)["recording"] == ["pointer", "screen"], "recording")
        wait_until(lambda: agent._capture is not None and agent._capture.screen.wait_finished(20), "played")  # type: ignore[attr-defined]
        say(agent, "pause")
        say(agent, "send")
        wait_until(lambda: status(agent)["segments_waiting"] == 0, "sent")
    presses: set[tuple[str, int]] = set()
    shown = []
    for stream, vault in around.desk.certificates.items():
        for _, segment in world_bodies(world, stream):
            key = open_sealed_key(segment["sealed_key"], segment["header"], vault)
            content = decode_content(open_body(segment["header"], segment["body"], key))
            presses |= {("pointer", e.seq) for e in content.events if isinstance(e, PointerButton) and e.pressed}
            shown += [(frame, int(pixels[0, 0, 0]), pixels) for frame, pixels in pictures(content)]
    assert len(presses) == 3
    before = {frame.action: value for frame, value, _ in shown if frame.binding == "before"}
    after = {frame.action: value for frame, value, _ in shown if frame.binding == "after"}
    assert before.keys() == after.keys() == presses
    assert list(before.values()) == [40, 80, 120]
    assert list(after.values()) == [80, 120, 160]
    assert all(0 <= frame.lag_ns <= 2_500_000_000 for frame, _, _ in shown)
    masked = [(frame, pixels) for frame, _, pixels in shown if frame.masked]
    assert masked
    for frame, pixels in masked:
        assert frame.masked == (Rect(100, 50, 60, 40),)
        assert (pixels[60, 120] != pixels[0, 0]).any()


def test_at_midnight_new_streams_begin_and_the_old_ones_are_complete(
    around: Surroundings, world: World, replay: Path
) -> None:

    from tests.simulators.agents import MovableClock

    around.clock = MovableClock(datetime(2026, 11, 23, 23, 59, 54, tzinfo=UTC))
    around.desk.now = around.clock.now
    around.give(Modality.POINTER)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        assert around.clock.now().day == 23
        wait_until(lambda: status(agent)["segments_waiting"] == 1, "the last segment of the day is sealed")
        assert status(agent)["recording"] == ["pointer"]
        wait_until(lambda: len(list(around.home.spool.glob("*/*.segment"))) == 1, "sealed")
    names = sorted(path.name for path in around.home.spool.glob("*/*") if path.suffix in (".segment", ".end"))
    assert names == ["0000000000.segment", "0000000000.segment", "0000000001.end", "0000000001.end"]
    days = {agent.spool.certificate(view.stream).day for view in agent.spool.streams(around.clock.now())}  # type: ignore[union-attr]
    assert days == {"2026-11-23", "2026-11-24"}


def test_a_byte_budget_that_is_spent_stops_only_that_modality(around: Surroundings, replay: Path) -> None:
    around.give(Modality.POINTER, Modality.KEYBOARD)
    around.desk.budget = 1000
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: around.desk.certificates, "certificates")
        wait_until(lambda: status(agent)["why"] == Why.NO_CERTIFICATE, "no budget, no recording")


def test_withdrawing_after_the_receipt_expired_is_delivered_too(around: Surroundings, replay: Path) -> None:
    receipt = around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
    around.clock.skip(days=181)
    again = around.agent(replay)
    with running(again):
        assert status(again)["why"] == Why.NO_RECEIPT
        assert status(again)["segments_waiting"] == 1
        say(again, "withdraw")
        wait_until(lambda: around.desk.withdrawals, "delivered")
        assert status(again)["segments_waiting"] == 0
    assert around.desk.withdrawals[0].record == receipt.record


def test_what_was_asked_to_be_forgotten_is_forgotten_even_while_the_agent_is_being_ended(
    around: Surroundings, replay: Path
) -> None:
    from assent_agent.ports import ForgetAsked

    around.give(Modality.POINTER)
    around.settings = AgentSettings(hold_s=900, reserve_bytes=0)
    agent = around.agent(replay)
    with running(agent):
        wait_until(lambda: recording(agent), "recording")
        say(agent, "pause")
        say(agent, "resume")
        assert status(agent)["segments_waiting"] == 1
        agent.stop()
        agent.intend(ForgetAsked(minutes=60))
    left = sorted(path.suffix for path in around.home.spool.glob("*/*"))
    assert ".segment" not in left and ".skip" in left and ".end" in left
    ended = {"ok": False, "error": "The agent has ended.", "ended": True}
    assert agent.ask({"do": "forget", "seconds": 60}) == ended
