"""Whole drills against real services: one that finds nothing, and one for each thing that was broken on purpose.

Every saboteur changes one thing in the services that run, as a wrong configuration or a bug would. The drill must find
it in one run, and for the right reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, select
from tests.exposure.world import Installation, installed
from tests.simulators.drilling import Drilled

from assent.client.transport import Unreachable
from assent.contracts.envelope import read_unverified
from assent.contracts.ids import Modality
from assent.contracts.leaves import Leaf, LeafType
from assent.contracts.problems import Code, Problem
from assent.contracts.statements import FetchRequest, Role, Ticket
from assent.reader.log_rules import LogRules
from assent_collector import rules as collector_rules
from assent_collector.fetches import Fetches
from assent_collector.trust import Trust
from assent_custodian import auth, roles
from assent_custodian.app import guarded_routes
from assent_custodian.consent import service as consent
from assent_custodian.consent.service import ConsentNow
from assent_custodian.drills import service as drills
from assent_custodian.grants import domain as grants
from assent_custodian.grants import service as requests
from assent_custodian.guards import guard_of
from assent_custodian.keys import certifying
from assent_custodian.keys.models import Stream, VaultKey
from assent_custodian.leases import service as leases
from assent_custodian.log import service as log
from assent_custodian.night import run_night
from assent_custodian.notifications import service as notifications
from assent_custodian.people.models import Credential, Person
from assent_custodian.restoring import state as restoring
from assent_custodian.restoring.catching_up import catch_up
from assent_custodian.roles import Party, Permission, Rule
from assent_server.drill.identities import DrillNotReady, Folder
from assent_server.drill.recording import observed
from assent_server.drill.results import Results
from assent_server.drill.running import Described, Drill

Patch = pytest.MonkeyPatch


@pytest.fixture
def drilled(installation: Installation, tmp_path: Path) -> Drilled:
    return Drilled(installation, tmp_path / "drill")


def leaves(installation: Installation, *types: LeafType) -> list[Leaf]:
    with installation.world.custodian.database.reading() as session:
        every = [Leaf.model_validate_json(leaf) for _, leaf in log.entries(session, 0, 10_000)]
    return [leaf for leaf in every if not types or leaf.type in types]


# --- nothing is wrong ---


@pytest.fixture(params=["sqlite", "postgres"])
def of_either_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        with installed(tmp_path / "installation") as made:
            yield made
        return
    server = request.getfixturevalue("postgres_server")
    urls = server.new_database(), server.new_database()
    try:
        with installed(tmp_path / "installation", database_urls=urls) as made:
            yield made
    finally:
        for url in urls:
            server.drop(url)


def of_people(installation: Installation) -> Callable[[], list[str]]:
    """A function that shows everything that people of every kind are shown; somebody takes part and records."""
    world = installation.world
    world.add_purpose()
    someone = world.add_person()
    someone.consent()
    someone.certify()
    places = (
        (world.admin, ("/v1/people", "/v1/roles")),
        (world.dpo, ("/v1/halt", "/v1/recoveries", "/v1/requests")),
        (someone, ("/v1/purposes", "/v1/me/receipts", "/v1/me", "/v1/me/accesses")),
    )
    return lambda: [member.get(target).text for member, targets in places for target in targets]


def test_positive_control_a_drill_passes_where_nothing_is_wrong(of_either_kind: Installation, tmp_path: Path) -> None:
    drilled, told = Drilled(of_either_kind, tmp_path / "drill"), []
    seen = of_people(of_either_kind)
    before = seen()
    results = drilled.run(progress=told.append)
    assert results.wrong == []
    assert seen() == before, "and it changed nothing of anybody"
    assert results.tried > 2000, "every route, by everybody"
    assert "every route, by everybody" in told
    (passed,) = leaves(of_either_kind, LeafType.DRILL_PASSED)
    assert passed.counts["wrong"] == 0
    with of_either_kind.world.custodian.database.reading() as session:
        streams = session.scalars(select(Stream)).all()
        recorded = {stream.id for stream in streams if stream.drill}
        alive = set(session.scalars(select(VaultKey.stream)))
        assert recorded and alive and not recorded & alive, "what it recorded is erased when it ends, and nothing else"
    rules = LogRules()
    found = [finding.text for leaf in leaves(of_either_kind) for finding in rules.read(leaf.to_bytes()).wrong]
    assert found == [], "and auditors find nothing wrong with its trail"
    size = len(leaves(of_either_kind))
    of_either_kind.world.clock.forward(hours=1)
    assert found_by(drilled).passed, "and so does the next one"
    assert 20 <= len(leaves(of_either_kind)) - size <= 40, "about thirty entries, as the documents say"


# --- sabotage ---


def found_by(drilled: Drilled, *routes: str) -> Results:
    """One drill, which asks everybody for these routes only: the rest of them is not what was broken."""
    whole = drilled.described()
    paths = {
        path: {method: one for method, one in operations.items() if f"{method.upper()} {path}" in routes}
        for path, operations in whole.custodian["paths"].items()
    }
    described = Described({"paths": paths}, whole.collector)
    drilled.described = lambda: described  # type: ignore[method-assign]
    return drilled.run()


def change(permission: Permission, patch: Patch, **changes: Any) -> None:
    rule = roles.BY_PERMISSION[permission]
    fields = {name: getattr(rule, name) for name in ("permission", "who", "credentials", "routes")}
    patch.setitem(roles.BY_PERMISSION, permission, Rule(**{**fields, **changes}))


def a_role_gains(permission: Permission, role: Role) -> Callable[[Drilled, Patch], None]:
    def sabotage(_: Drilled, patch: Patch) -> None:
        change(permission, patch, who=roles.BY_PERMISSION[permission].who | {role})

    return sabotage


def the_device_key_opens(_: Drilled, patch: Patch) -> None:
    change(Permission.OPEN_LEASES, patch, credentials=roles.EITHER)


def requesters_may_not_ask(_: Drilled, patch: Patch) -> None:
    change(Permission.SIGN_REQUESTS, patch, who=frozenset())


def withdrawals_are_refused(_: Drilled, patch: Patch) -> None:
    def refuse(*_: Any) -> None:
        raise Problem(Code.REFUSED, "not now")

    patch.setattr(consent, "withdraw", refuse)


def accesses_are_nonsense(drilled: Drilled, patch: Patch) -> None:
    honest = drilled.installation._deliver

    def lying(request: Any) -> Any:
        answer = honest(request)
        return httpx2.Response(200, json={"x": 1}) if request.url.path == "/v1/me/accesses" else answer

    patch.setattr(drilled.installation, "_deliver", lying)


def a_role_loses_its_permission(_: Drilled, patch: Patch) -> None:
    change(Permission.DECIDE, patch, who=frozenset({Role.COUNCIL, Role.DPO}))


def the_drill_may_everything(_: Drilled, patch: Patch) -> None:
    patch.setattr(roles, "DRILL_MAY", {permission: frozenset({Party.PERSON}) for permission in Permission})


def the_log_is_open_to_all(drilled: Drilled, patch: Patch) -> None:
    app = drilled.installation.world.client.app
    assert isinstance(app, FastAPI)
    for route in guarded_routes():
        guard = guard_of(route)
        if route.path_format == "/v1/log/tile/{path}" and guard is not None:
            patch.setitem(app.dependency_overrides, guard, lambda: None)


def tickets_are_not_checked(_: Drilled, patch: Patch) -> None:
    def trusting(_self: Fetches, body: Any) -> tuple[Ticket, FetchRequest]:
        return read_unverified(body.ticket, Ticket), read_unverified(body.request, FetchRequest)

    patch.setattr(Fetches, "_check", trusting)


def tickets_last_for_ever(_: Drilled, patch: Patch) -> None:
    patch.setattr(collector_rules, "check_ticket", lambda *_: None)


def consent_is_not_asked(_: Drilled, patch: Patch) -> None:
    patch.setattr(ConsentNow, "why_not", lambda *_: None)


def any_key_releases(_: Drilled, patch: Patch) -> None:
    patch.setattr(leases.auth, "verify", lambda *_: None)
    patch.setattr(leases, "read", lambda envelope, kind, *_: read_unverified(envelope, kind))


def any_stream_is_in_every_lease(_: Drilled, patch: Patch) -> None:
    honest = leases._facts

    def generous(session: Any, custodian: Any, row: Any, wanted: set[tuple[str, str]]) -> Any:
        for stream in {stream for stream, _ in wanted}:
            session.merge(leases.LeaseStream(lease=row.id, stream=stream))
        session.flush()
        return honest(session, custodian, row, wanted)

    patch.setattr(leases, "_facts", generous)
    patch.setattr(leases.domain, "why_not", lambda *_: None)


def own_data_is_everybodys(_: Drilled, patch: Patch) -> None:
    patch.setattr(leases, "_own_streams", lambda session, *_: list(session.scalars(select(Stream))))


def approvals_are_not_needed(drilled: Drilled, patch: Patch) -> None:
    custodian = drilled.installation.world.custodian
    patch.setattr(grants, "APPROVALS_NEEDED", 0)
    wrong = custodian.settings.model_copy(update={"approvals_needed": 0})
    object.__setattr__(custodian, "settings", wrong)


def closed_leases_stay_open(_: Drilled, patch: Patch) -> None:
    honest = leases.close

    def forgetful(custodian: Any, session: Any, envelope: Any) -> str:
        done = honest(custodian, session, envelope)
        lease = read_unverified(envelope, leases.LeaseClosed).lease
        session.get_one(leases.LeaseRow, lease).state = "open"
        return done

    patch.setattr(leases, "close", forgetful)


def nobody_is_told(_: Drilled, patch: Patch) -> None:
    patch.setattr(notifications, "tell", lambda *_: None)


def revoked_keys_count(_: Drilled, patch: Patch) -> None:
    honest = auth.signer

    def trusting(session: Any, envelope: Any, now: Any, *, revoked_too: bool = False) -> auth.Asker:
        return honest(session, envelope, now, revoked_too=True)

    patch.setattr(auth, "signer", trusting)


def receipts_are_everybodys(_: Drilled, patch: Patch) -> None:
    honest = consent.receipts

    def generous(session: Any, person: str, *rest: Any) -> Any:
        everybody = session.scalars(select(Person.id)).all()
        views = [view for one in everybody for view in honest(session, one, *rest).receipts]
        return honest(session, person, *rest).model_copy(update={"receipts": tuple(views)})

    patch.setattr(consent, "receipts", generous)


def streams_are_extended_for_anybody(_: Drilled, patch: Patch) -> None:
    def generous(session: Any, wanted: Any, *_: Any) -> Any:
        return session.scalars(select(Stream).where(Stream.stream_key == wanted.stream_key)).one_or_none()

    patch.setattr(certifying, "_existing", generous)


def any_requester_uses_any_grant(_: Drilled, patch: Patch) -> None:
    honest = requests.granted_now

    def generous(session: Any, custodian: Any, hash_: str, _requester: str) -> Any:
        row = session.get(requests.RequestRow, hash_)
        return honest(session, custodian, hash_, row.requester if row is not None else "")

    patch.setattr(requests, "granted_now", generous)


def requests_are_shown_to_every_requester(_: Drilled, patch: Patch) -> None:
    patch.setattr(requests, "visible_to", lambda session, *_: list(session.scalars(select(requests.RequestRow))))


def a_grant_covers_every_modality(_: Drilled, patch: Patch) -> None:
    def generous(session: Any, _request: Any, _today: str, *, drill: bool) -> list[Stream]:
        return list(session.scalars(select(Stream).where(Stream.drill.is_(drill), Stream.erased.is_(None))))

    patch.setattr(requests, "streams_for", generous)
    patch.setattr(ConsentNow, "why_not", lambda *_: None)


def leases_never_end(_: Drilled, patch: Patch) -> None:
    honest = leases._live

    def generous(session: Any, custodian: Any, envelope: Any, statement: Any) -> Any:
        row = session.get(leases.LeaseRow, statement.lease)
        if row is not None:
            row.until = "2099-01-01T00:00:00Z"
        return honest(session, custodian, envelope, statement)

    patch.setattr(leases, "_live", generous)


def certificates_are_not_checked(_: Drilled, patch: Patch) -> None:
    patch.setattr(Trust, "read", lambda _self, envelope, kind: read_unverified(envelope, kind))


def a_route_without_a_promise(drilled: Drilled, _: Patch) -> None:
    app = drilled.installation.world.client.app
    assert isinstance(app, FastAPI)
    app.add_api_route("/v1/debug", lambda: {"streams": "all"}, methods=["GET"])


def readable(what: Literal["custodian", "collector"]) -> Callable[[Drilled, Patch], None]:
    def sabotage(drilled: Drilled, _: Patch) -> None:
        (drilled.installation.folder / what / f"{what}.db").chmod(0o644)

    return sabotage


def the_keks_folder_is_open(drilled: Drilled, _: Patch) -> None:
    drilled.installation.world.settings.keks.chmod(0o755)


def the_bodies_are_for_the_group(drilled: Drilled, _: Patch) -> None:
    drilled.installation.collector_settings.blobs.chmod(0o750)


SABOTAGE: dict[str, tuple[Callable[[Drilled, Patch], None], str, str, tuple[str, ...]]] = {
    "stewards may read the log": (
        a_role_gains(Permission.READ_LOG, Role.STEWARD), "role.steward", "refused to the drill alone",
        ("GET /v1/log/entries",),
    ),
    "requesters may approve": (
        a_role_gains(Permission.DECIDE, Role.REQUESTER), "role.requester", "POST /v1/decisions",
        ("POST /v1/decisions",),
    ),
    "admins may sign recoveries": (
        a_role_gains(Permission.RECOVER, Role.ADMIN), "role.admin", "POST /v1/recoveries", ("POST /v1/recoveries",),
    ),
    "stewards lost their permission": (
        a_role_loses_its_permission, "grant.succeeds", "was not granted", (),
    ),
    "requesters may not ask": (requesters_may_not_ask, "drill.broke-off", "at 'through a grant", ()),
    "withdrawals are refused": (withdrawals_are_refused, "withdrawal.accepted", "could not withdraw", ()),
    "an answer is nonsense": (accesses_are_nonsense, "drill.broke-off", "the drill broke off at", ()),
    "the device key opens": (the_device_key_opens, "lease.key", "the device key at the door", ()),
    "the drill's guard is gone": (
        the_drill_may_everything, "role.admin", "promised 'refused to the drill alone', got 'let through'",
        ("GET /v1/people",),
    ),
    "the log is open to all": (
        the_log_is_open_to_all, "role.nobody", "without any credential", ("GET /v1/log/tile/{path}",),
    ),
    "revoked keys count": (revoked_keys_count, "role.revoked", "that was revoked", ("GET /v1/me",)),
    "receipts are everybody's": (
        receipts_are_everybodys, "role.auditor", "GET /v1/me/receipts: the answer names what is somebody else's",
        ("GET /v1/me/receipts",),
    ),
    "anybody extends a stream": (
        streams_are_extended_for_anybody, "certificate.foreign-stream", "a certificate for the canary's stream", (),
    ),
    "any requester uses any grant": (
        any_requester_uses_any_grant, "lease.foreign-grant", "other-requester (requester) opened a lease under", (),
    ),
    "requests are shown to every requester": (
        requests_are_shown_to_every_requester, "role.requester", "answered about somebody else's request",
        ("GET /v1/requests/{hash}",),
    ),
    "a grant covers every modality": (a_grant_covers_every_modality, "grant.streams", "names other streams", ()),
    "leases never end": (leases_never_end, "release.expired", "under a lease that has ended", ()),
    "the collector takes any certificate": (
        certificates_are_not_checked, "certificate.forged", "on a certificate that nobody signed", (),
    ),
    "a route of which nobody said anything": (
        a_route_without_a_promise, "route.unknown", "GET /v1/debug", ("GET /v1/debug",),
    ),
    "the collector does not check tickets": (
        tickets_are_not_checked, "ticket.forged", "answered POST /v1/fetch/bodies to a forged ticket", (),
    ),
    "tickets last for ever": (tickets_last_for_ever, "ticket.expired", "a ticket that has ended", ()),
    "releases without asking consent": (
        consent_is_not_asked, "release.after-withdrawal", "under a lease from before it was withdrawn", (),
    ),
    "releases to any key": (any_key_releases, "release.foreign-key", "a key that is not its job's", ()),
    "releases what the lease does not name": (
        any_stream_is_in_every_lease, "release.foreign-lease", "somebody else's lease", (),
    ),
    "own data is everybody's": (own_data_is_everybodys, "lease.own-data", "who has recorded nothing", ()),
    "no approvals are needed": (approvals_are_not_needed, "lease.approvals", "with 1 approval(s) of 2", ()),
    "a closed lease releases": (closed_leases_stay_open, "release.closed", "a lease that was closed", ()),
    "nobody is told": (nobody_is_told, "told.canary", "was not told", ()),
    "the custodian's database is readable": (
        readable("custodian"), "surface.custodian-database", "custodian.db (mode 0644)", (),
    ),
    "the collector's database is readable": (
        readable("collector"), "surface.collector-database", "collector.db (mode 0644)", (),
    ),
    "the folder of KEKs can be entered": (the_keks_folder_is_open, "surface.kek", "mode 0755", ()),
    "the bodies are for the group": (the_bodies_are_for_the_group, "surface.bodies", "mode 0750", ()),
}  # fmt: skip


DOCUMENT = (Path(__file__).parents[3] / "docs" / "operations" / "drill.md").read_text()
DOCUMENTED = {
    "stewards may read the log": (
        "steward, with the opening key: GET /v1/log/entries: promised 'refused by the role', "
        "got 'refused to the drill alone' (403 forbidden)"
    ),
    "the collector's database is readable": (
        "other accounts of this host could use collector.db (mode 0644): the collector's database"
    ),
}
"""What the operators' page shows as examples."""


@pytest.mark.parametrize("case", SABOTAGE)
def test_what_was_broken_on_purpose_is_found_in_one_drill(
    case: str, drilled: Drilled, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage, rule, reason, routes = SABOTAGE[case]
    sabotage(drilled, monkeypatch)
    results = found_by(drilled, *routes)
    assert rule in results.failed, results.as_text()
    assert any(reason in wrong.text for wrong in results.wrong if wrong.rule == rule), results.as_text()
    shown = DOCUMENTED.get(case)
    if shown is not None:
        assert f"WRONG {rule}: {shown}" in results.as_text()
        assert f"WRONG {rule}: {shown}" in DOCUMENT
    monkeypatch.undo()
    (failed,) = leaves(drilled.installation, LeafType.DRILL_FAILED)
    assert rule in failed.detail["failed"].split()


def test_without_sabotage_the_same_short_drills_pass(drilled: Drilled) -> None:
    """The positive control of the cases above."""
    asked = {route for *_, routes in SABOTAGE.values() for route in routes} - {"GET /v1/debug"}
    assert found_by(drilled, *asked).wrong == []


# --- other days ---


def test_while_the_programme_is_halted_nothing_may_open(drilled: Drilled, monkeypatch: pytest.MonkeyPatch) -> None:
    drilled.installation.world.halt("a suspicion")
    results = drilled.run()
    assert results.wrong == []
    assert any("a suspicion" in reason for reason in results.skipped)
    monkeypatch.setattr(leases, "_not_halted", lambda _session: None)
    monkeypatch.setattr(certifying, "halted", lambda _session: None)
    assert set(drilled.run().failed) == {"halt.certificate", "halt.lease"}


def test_an_interrupted_drill_hinders_none_that_follows(drilled: Drilled, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Drill, "_told", cut_off)
        with pytest.raises(KeyboardInterrupt):
            found_by(drilled)
    drilled.folder.notes = drilled.folder.notes.model_copy(update={"receipts": {}})  # and it lost what it knew
    assert drilled.run().wrong == []


def test_an_erased_stream_that_the_collector_still_takes_is_found(drilled: Drilled) -> None:
    installation, world = drilled.installation, drilled.installation.world
    assert found_by(drilled).passed
    world.clock.forward(days=2)
    results = drilled.run()
    assert "erased.collector" in results.failed, "no night has made an order, and nobody carried one out"
    run_night(world.custodian)
    assert installation.collector.orders.pull_orders_once()
    world.clock.forward(days=2)
    run_night(world.custodian)
    installation.collector.orders.pull_orders_once()
    results = drilled.run()
    assert results.wrong == []
    assert results.parts["after the erasure, at the collector"] >= 1, "and it was looked at"


def test_a_drill_of_the_last_minutes_waits_for_the_next_day(drilled: Drilled) -> None:
    clock = drilled.installation.world.clock
    clock.at = clock.at.replace(hour=23, minute=58)
    day = clock.at.date()
    assert found_by(drilled).passed
    assert clock.at.date() > day
    assert drilled.waited > 120


def test_keys_of_the_drill_that_others_could_read_are_not_used(drilled: Drilled) -> None:
    (drilled.folder.path / "identities.json").chmod(0o640)
    with pytest.raises(DrillNotReady, match="chmod 600"):
        drilled.run()


def test_a_damaged_folder_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "identities.json").write_bytes(b"{}")
    (tmp_path / "identities.json").chmod(0o600)
    with pytest.raises(DrillNotReady, match="damaged"):
        Folder(tmp_path).load()


def test_identities_that_ended_say_so(drilled: Drilled) -> None:
    world = drilled.installation.world
    with world.custodian.database.transaction() as session:
        drills.invite(session, world.custodian)
    with pytest.raises(DrillNotReady, match="ended when others were invited"):
        drilled.run()


def test_identities_of_before_the_custodians_backup_say_so(drilled: Drilled, installation: Installation) -> None:
    with installation.world.custodian.database.transaction() as session:
        session.execute(delete(Credential).where(Credential.person.in_(select(Person.id).where(Person.drill))))
    with pytest.raises(DrillNotReady, match="does not know these identities"):
        drilled.run()


def test_after_a_restore_the_drill_says_again_that_nothing_of_it_stands(drilled: Drilled) -> None:
    custodian = drilled.installation.world.custodian
    assert found_by(drilled).passed
    with custodian.database.transaction() as session:
        size = log.size(session)
        restoring.begin(session, size, custodian.today())
    catch_up(custodian)
    drilled.installation.collector.orders.pull_orders_once()
    assert catch_up(custodian) is None
    assert found_by(drilled).wrong == []


def test_a_drill_that_nobody_answers_states_nothing(drilled: Drilled, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = drilled.installation._deliver

    def away(request: Any) -> Any:
        if request.url.port == 8402:
            raise httpx2.ConnectError("away")
        return honest(request)

    monkeypatch.setattr(drilled.installation, "_deliver", away)
    with pytest.raises(Unreachable):
        drilled.run()
    assert leaves(drilled.installation, LeafType.DRILL_PASSED, LeafType.DRILL_FAILED) == []
    with drilled.installation.world.custodian.database.reading() as session:
        assert session.scalars(select(VaultKey.stream)).all() == [], "and leaves nothing behind"


def test_two_drills_of_the_same_identities_do_not_run_at_once(drilled: Drilled) -> None:
    with (
        drilled.folder.alone(),
        pytest.raises(DrillNotReady, match="running already"),
        Folder(drilled.folder.path).alone(),
    ):
        pytest.fail("both run")
    with drilled.folder.alone():
        pass


def test_a_drill_may_not_be_done_before_anybody_may_record(drilled: Drilled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certifying, "founded", lambda *_: False)
    with pytest.raises(DrillNotReady, match="have not all enrolled"):
        drilled.run()
    assert leaves(drilled.installation, LeafType.DRILL_PASSED, LeafType.DRILL_FAILED) == []


def test_the_modalities_that_are_recorded_are_those_that_the_grant_tells_apart() -> None:
    assert "a" in "".join(str(event) for event in observed(Modality.KEYBOARD, "abc"))
    assert "abc" in str(observed(Modality.CONTEXT, "abc"))
    assert "abc" not in str(observed(Modality.POINTER, "abc"))
