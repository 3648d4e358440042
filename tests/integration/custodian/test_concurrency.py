"""Several workers at once: one code, one nonce, one withdrawal in the middle of a release, and many agents."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from tests.simulators.access import AccessWorld
from tests.simulators.collector import serving
from tests.simulators.custodian import PURPOSE, RECIPIENT, CustodianWorld, custodian_world, problem, with_leaf

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.keys import SigningKey, fingerprint
from assent.contracts.problems import Code
from assent.contracts.statements import (
    Erasure,
    Mode,
    Role,
    RoleCountersignature,
    RoleProposal,
    StreamCertificate,
    Withdrawal,
)
from assent.contracts.wire import CertificatesAnswer
from assent_custodian.app import app_for
from assent_custodian.auth import Asker, Stated
from assent_custodian.consent.domain import Use
from assent_custodian.consent.service import ConsentNow, withdraw
from assent_custodian.guards import MAX_CONCURRENT_TRANSACTIONS
from assent_custodian.keys import erasure
from assent_custodian.keys.certifying import certify
from assent_custodian.keys.models import Stream, TombstoneRow, VaultKey
from assent_custodian.keys.vault import Vault
from assent_custodian.night import run_night
from assent_custodian.orders.models import QueuedItem
from assent_custodian.people.service import countersign
from assent_service import web

Call = tuple[str, str, bytes | None, dict[str, str]]
"""Method, target, body, header fields."""


def at_once(world: CustodianWorld, requests: list[Call]) -> list[httpx2.Response]:
    """All of them in one event loop, as a server gets them."""

    async def everything() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=app_for(world.custodian))
        async with httpx2.AsyncClient(transport=transport, base_url="http://custodian", timeout=120) as client:
            calls = [client.request(way, to, content=body, headers=fields) for way, to, body, fields in requests]
            return list(await asyncio.gather(*calls))

    return asyncio.run(everything())


def test_bodies_that_never_arrive_hold_nobody_up(world: CustodianWorld) -> None:
    """Anybody can begin a request and stop. Neither the one writer nor a place among the transactions waits for it."""
    app = app_for(world.custodian)
    header = {"Authorization": world.authorization(world.admin.opening, "GET", "/v1/me")}

    async def unfinished(path: str) -> None:
        never = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await never.wait()
            return {}

        async def send(_message: Any) -> None:
            return

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "headers": [(b"host", b"custodian"), (b"content-length", b"100")], "server": ("custodian", 80),
        }  # fmt: skip
        await app(scope, receive, send)

    async def everything() -> int:
        paths = ("/v1/enrolments", "/v1/withdrawals", "/v1/leases/closures", "/v1/orders/done", "/v1/certificates")
        slow = [asyncio.create_task(unfinished(path)) for path in paths for _ in range(MAX_CONCURRENT_TRANSACTIONS)]
        await asyncio.sleep(0.2)  # so that each of them stands where it will wait
        transport = httpx2.ASGITransport(app=app)
        try:
            async with httpx2.AsyncClient(transport=transport, base_url="http://custodian") as client:
                async with asyncio.timeout(20):
                    return (await client.get("/v1/me", headers=header)).status_code
        finally:
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    assert asyncio.run(everything()) == 200


def test_stalled_bodies_on_every_connection_do_not_keep_a_withdrawal_from_being_answered(
    lite: CustodianWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "BODY_TIMEOUT_S", 1)
    lite.add_purpose()
    (kim,) = lite.add_participants(1)
    body = with_leaf(sign(Withdrawal(person=kim.person, at=lite.now), kim.device))
    stalled = b"POST /v1/withdrawals HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with serving(app_for(lite.custodian), most_connections=8) as url, ExitStack() as open_ones:
        host, port = url.removeprefix("http://").split(":")
        connections = []
        for _ in range(8):
            connection = open_ones.enter_context(socket.create_connection((host, int(port)), timeout=20))
            connection.sendall(stalled)
            connections.append(connection)
        assert httpx2.post(f"{url}/v1/withdrawals", content=body).status_code == 503, "every connection is taken"
        for connection in connections:
            assert connection.recv(4096)[:12] in (b"HTTP/1.1 408", b"HTTP/1.1 503"), "each is answered, and let go"
        assert httpx2.post(f"{url}/v1/withdrawals", content=body).status_code == 200


def test_a_code_makes_one_person_however_many_use_it_at_once(world: CustodianWorld) -> None:
    code, invitation = world.invitation("Kim")
    assert world.admin.post("/v1/invitations", invitation).status_code == 200
    bodies = [world.enrolment(code.to_text(), [("device", SigningKey.generate())]).to_json() for _ in range(6)]
    answers = at_once(world, [("POST", "/v1/enrolments", body, {}) for body in bodies])
    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 5


def test_a_nonce_counts_once_however_many_use_it_at_once(world: CustodianWorld) -> None:
    header = {"Authorization": world.authorization(world.admin.opening, "GET", "/v1/me")}
    answers = at_once(world, [("GET", "/v1/me", None, header) for _ in range(6)])
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 5


def test_more_agents_at_once_than_there_are_workers_and_connections(world: CustodianWorld) -> None:
    """Each request holds a transaction over several steps; they must not starve each other of threads."""
    world.add_purpose()
    (kim,) = world.add_participants(1)
    requests: list[Call] = []
    for _ in range(60):
        request, _ = kim.certificate_request(modalities=(Modality.POINTER,))
        requests.append(("POST", "/v1/certificates", sign(request, kim.device).to_json(), {}))
    assert {answer.status_code for answer in at_once(world, requests)} == {200}
    with world.custodian.database.reading() as session:
        assert len(session.scalars(select(Stream)).all()) == 60


@pytest.mark.parametrize("erase", ["after-7-days", "now"])
def test_a_withdrawal_waits_for_a_release_under_way_and_the_next_one_sees_it(world: CustodianWorld, erase: str) -> None:
    world.add_purpose()
    (kim,) = world.add_participants(1)
    ((certificate, _, _),) = kim.certify((Modality.POINTER,))
    custodian, use = world.custodian, Use(PURPOSE, 1, RECIPIENT, Mode.READER)
    withdrawal = Withdrawal.model_validate({"person": kim.person, "at": world.now, "erase": erase})
    body = with_leaf(sign(withdrawal, kim.device))
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(world.post("/v1/withdrawals", body).status_code))
    with custodian.database.transaction() as session:
        stream = session.get_one(Stream, certificate.stream)
        assert ConsentNow(session, [stream], use, world.clock()).why_not(stream) is None
        Vault(session, custodian.keks).take(stream.id)
        thread.start()
        thread.join(timeout=0.5)
        assert answers == [], "the withdrawal waits for this transaction"
    thread.join(timeout=60)
    assert answers == [200]
    with custodian.database.transaction() as session:
        stream = session.get_one(Stream, certificate.stream)
        assert ConsentNow(session, [stream], use, world.clock()).why_not(stream) == "withdrawn"


@pytest.mark.parametrize("what", [{"everything": True}, {"hours": ("2026-11-23T09",)}])
def test_an_erasure_waits_for_a_release_that_has_begun_and_the_next_one_sees_it(
    world: CustodianWorld, what: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent just before the release looks for tombstones: either it waits, or the release must see it."""
    access = AccessWorld(world)
    job, mine = access.job(), access.recorded[:2]
    assert job.open(access.requester, request=access.grant()).status_code == 200
    owner = mine[0].owner
    body = with_leaf(sign(Erasure(person=owner.person, at=world.now, **what), owner.opening))
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(world.post("/v1/erasures", body).status_code))
    buried_hours = erasure.buried_hours

    def look(session: Session, streams: Sequence[str]) -> dict[str, frozenset[str] | None]:
        if thread.ident is None:
            thread.start()
            thread.join(timeout=0.5)
            assert answers == [], "the erasure waits for this transaction"
        return buried_hours(session, streams)

    monkeypatch.setattr("assent_custodian.leases.service.erasure.buried_hours", look)
    opened, _ = job.release(mine)
    thread.join(timeout=60)
    assert (len(opened), answers) == (2, [200])
    assert job.release(mine) == ({}, {one.segment.id: "erased" for one in mine})


@pytest.mark.parametrize(("path", "queued"), [("/v1/erasures", 4), ("/v1/withdrawals", 8)])
def test_the_same_statement_sent_many_times_at_once_is_one(world: CustodianWorld, path: str, queued: int) -> None:
    world.add_purpose()
    (kim,) = world.add_participants(1)
    kim.certify()
    body = with_leaf(
        sign(Erasure(person=kim.person, at=world.now, everything=True), kim.opening)
        if path == "/v1/erasures"
        else sign(Withdrawal(person=kim.person, at=world.now, erase="now"), kim.device)
    )
    answers = at_once(world, [("POST", path, body, {}) for _ in range(6)])
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    with world.custodian.database.reading() as session:
        assert len(session.scalars(select(QueuedItem)).all()) == queued


def test_erasures_withdrawals_and_the_night_at_once_lose_nothing(world: CustodianWorld) -> None:
    world.add_purpose()
    people = world.add_participants(4)
    requests: list[Call] = []
    for member in people:
        member.certify()
        whole = with_leaf(sign(Erasure(person=member.person, at=world.now, everything=True), member.opening))
        some = Erasure(person=member.person, at=world.now, hours=("2026-11-23T09",))
        withdrawal = with_leaf(sign(Withdrawal(person=member.person, at=world.now, erase="now"), member.device))
        requests += [
            ("POST", "/v1/erasures", with_leaf(sign(some, member.opening)), {}),
            ("POST", "/v1/withdrawals", withdrawal, {}),
            ("POST", "/v1/erasures", whole, {}),
        ]
    night = threading.Thread(target=run_night, args=(world.custodian,))
    night.start()
    answers = at_once(world, requests)
    night.join(timeout=60)
    assert {answer.status_code for answer in answers} == {200}
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        assert session.scalars(select(VaultKey)).all() == []
        assert session.scalars(select(QueuedItem)).all() == []
        ordered = session.scalars(select(TombstoneRow).where(TombstoneRow.hours == "[]")).all()
        assert len(ordered) == 16 and all(row.ordered for row in ordered)


def test_two_roles_countersigned_at_the_same_time_do_not_both_count(world: CustodianWorld) -> None:
    kim = world.add_person("Kim")
    signed = []
    for role, by in ((Role.REQUESTER, world.council), (Role.STEWARD, world.dpo)):
        proposal = RoleProposal(person=kim.person, role=role, action="grant", nonce=new_id(), at=world.now)
        assert world.admin.post("/v1/roles", proposal).status_code == 200
        hash_ = sign(proposal, world.admin.opening).hash
        keys = (fingerprint(kim.opening.public.text),)
        signed.append((RoleCountersignature(proposal=hash_, keys=keys, at=world.now), by))
    (first, council), (second, dpo) = signed
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(dpo.post("/v1/roles/countersignatures", second).status_code)
    )
    with world.custodian.database.transaction() as session:
        asker = Asker(council.person, council.opening.public.id, "opening", frozenset({Role.COUNCIL}), False)
        countersign(session, world.custodian, first, sign(first, council.opening), asker)
        session.flush()
        thread.start()
        thread.join(timeout=0.5)
    thread.join(timeout=60)
    assert answers == [Code.REFUSED.status]
    assert kim.get("/v1/me").json()["roles"] == ["requester"]


def test_a_stream_certified_while_a_withdrawal_comes_in_is_closed_by_it(world: CustodianWorld) -> None:
    """Otherwise nobody would ever erase it: the withdrawal lists the streams that it found."""
    world.add_purpose()
    (kim,) = world.add_participants(1)
    request, _ = kim.certificate_request(modalities=(Modality.POINTER,))
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(kim.withdraw(erase="now").status_code))
    with world.custodian.database.transaction() as session:
        asker = Asker(kim.person, kim.device.public.id, "device", frozenset(), False)
        certify(session, world.custodian, request, asker)
        thread.start()
        thread.join(timeout=0.5)
        assert answers == [], "the withdrawal waits for this transaction"
    thread.join(timeout=60)
    assert answers == [200]
    with world.custodian.database.reading() as session:
        assert [stream.erased for stream in session.scalars(select(Stream))] == ["2026-11-23"]


def test_the_same_stream_key_certified_twice_at_once_is_one_stream(world: CustodianWorld) -> None:
    """An agent that got no answer asks again, while its first question is still being answered."""
    world.add_purpose()
    (kim,) = world.add_participants(1)
    request, _ = kim.certificate_request(modalities=(Modality.POINTER,))
    again = request.model_copy(update={"nonce": new_id()})
    answers: list[httpx2.Response] = []
    body = sign(again, kim.device).to_json()
    thread = threading.Thread(target=lambda: answers.append(world.post("/v1/certificates", body)))
    with world.custodian.database.transaction() as session:
        asker = Asker(kim.person, kim.device.public.id, "device", frozenset(), False)
        (first,) = certify(session, world.custodian, request, asker).certificates
        thread.start()
        thread.join(timeout=0.5)
    thread.join(timeout=60)
    assert first is not None
    assert answers[0].status_code == 200, answers[0].text
    (second,) = CertificatesAnswer.parse(answers[0].content).certificates
    assert second is not None
    assert world.read(second, StreamCertificate).stream == world.read(first, StreamCertificate).stream


def test_a_receipt_that_arrives_during_its_withdrawal_is_refused(world: CustodianWorld) -> None:
    world.add_purpose()
    kim = world.add_person("Kim")
    receipt = kim.receipt()
    withdrawal = Withdrawal(person=kim.person, record=receipt.record, at=world.now)
    envelope = sign(withdrawal, kim.device)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(kim.send_receipt(receipt).status_code))
    with world.custodian.database.transaction() as session:
        asker = Asker(kim.person, kim.device.public.id, "device", frozenset(), False)
        withdraw(session, world.custodian, Stated(withdrawal, envelope, asker, "0" * 64))
        session.flush()
        thread.start()
        thread.join(timeout=0.5)
        assert answers == [], "the receipt waits for this transaction"
    thread.join(timeout=60)
    assert answers == [Code.REFUSED.status], "and sees that it was withdrawn"
    assert [one["state"] for one in kim.get("/v1/me/receipts").json()["receipts"]] == []


def test_certificates_and_withdrawals_during_the_night_lose_nothing(world: CustodianWorld) -> None:
    world.add_purpose()
    kim, lee = world.add_participants(2)
    for member in (kim, lee):
        member.certify()
    kim.withdraw(erase="now")
    failures: list[BaseException] = []

    def guarded(act: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                act()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def certify_often() -> None:
        for _ in range(5):
            lee.certify((Modality.POINTER,))

    threads = [guarded(lambda: run_night(world.custodian)), guarded(certify_often)]
    for thread in threads:
        thread.join(timeout=120)
    assert failures == []
    run_night(world.custodian)
    with world.custodian.database.reading() as session:
        living = session.scalars(select(Stream.id).where(Stream.person == lee.person)).all()
        assert len(living) == 9
        Vault(session, world.custodian.keks).take(*living)


def test_a_service_that_restarts_goes_on_where_it_was(tmp_path: Path) -> None:
    with custodian_world(tmp_path) as world:
        world.add_purpose()
        (kim,) = world.add_participants(1)
        header = {"Authorization": world.authorization(kim.opening, "GET", "/v1/me")}
        assert world.client.get("/v1/me", headers=header).status_code == 200
        world.restart()
        assert problem(world.client.get("/v1/me", headers=header)) == "stale", "nonces survive a restart"
        assert len(kim.certify()) == 4
