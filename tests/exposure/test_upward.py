"""Rows 2, 3, 9 and 31, upward: whether somebody takes part, and how much, is nowhere for those above them.

Both descriptions, every answer to every role, the entries of the log, the metrics and the collector's dump are read for
anything per person; each search has a control that would be found.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from sqlalchemy import select
from tests.exposure.test_collector import words
from tests.exposure.test_people_in_power import entries, tokens
from tests.exposure.test_routes import ROUTES, RULE, _target, asker, call, may
from tests.exposure.world import Populated
from tests.simulators.custodian import Member

from assent.contracts.envelope import sign
from assent.contracts.leaves import LeafType
from assent.contracts.lists import list_root, person_leaf
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import Role
from assent.contracts.wire import StatementWithLeaf
from assent_collector.app import openapi as collector_openapi
from assent_custodian.app import facts_of
from assent_custodian.app import openapi as custodian_openapi
from assent_custodian.log import service as log
from assent_custodian.night import run_night
from assent_custodian.people.models import Credential, PersonSalt
from assent_custodian.roles import Party
from assent_service.metrics import Metrics

STAFF = tuple(role.value for role in Role)

NAMES_SOMEBODY = ("person", "people", "name", "requester", "actor_name", "pseudonym", "credential", "record")
"""Fields that say, or lead to, who somebody is."""

PERMITTED = {
    "PeopleView": {"people"},
    "PersonView": {"person", "name", "roles"},
    "ProposalView": {
        "proposal", "person", "name", "role", "action", "countersigned", "effective", "keys", "void",
    },
    "DecisionView": {"name", "decision", "reason", "day"},
    "RequestView": {"hash", "state", "requester", "approvals", "approvals_needed", "statement", "decisions"},
    "CatalogueEntry": {
        "purpose", "version", "sentence", "recipients", "modes", "modality", "people", "from_day", "to_day",
    },
    "LogEntry": {"index", "leaf", "actor_name"},
    "RecoveryView": {"recovery", "person", "name", "state", "ready"},  # of an account, whether or not it takes part
    "PartyNamed": {"role", "name", "address", "contact"},  # the controller and others whom the notice names
    "UnmaskingView": {"unmasking", "index", "actor", "name", "reason", "state", "until"},  # of the auditor who asks
    "UnmaskedView": {"unmasking", "index", "actor", "person", "name", "until"},  # when two have signed; they are told
    "LeasedStream": {"stream", "pseudonym", "modality", "day"},
}  # fmt: skip
"""Where one of them stands in an answer to somebody in a role, and everything that stands beside it."""


def for_staff(route: str) -> bool:
    """Whether more than the person concerned gets the answer (one's own things are for oneself)."""
    return " /v1/me" not in route


def reached(described: dict[str, Any], place: Any, found: set[str]) -> None:
    """The names of all schemas that an answer refers to, through other schemas too."""
    if isinstance(place, dict):
        name = str(place.get("$ref", "")).rpartition("/")[2]
        if name and name not in found:
            found.add(name)
            reached(described, described["components"]["schemas"].get(name, {}), found)
        for part in place.values():
            reached(described, part, found)
    elif isinstance(place, list):
        for part in place:
            reached(described, part, found)


def answers(described: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and for_staff(f"{method.upper()} {path}"):
                reached(described, operation.get("responses", {}), found)
    return found


def naming(described: dict[str, Any], schemas: set[str]) -> dict[str, set[str]]:
    fields = {name: set(described["components"]["schemas"][name].get("properties", {})) for name in schemas}
    return {name: found for name, found in fields.items() if found & set(NAMES_SOMEBODY)}


def test_row_03_no_answer_to_others_names_somebody_beside_anything_that_is_not_listed_here() -> None:
    described = custodian_openapi()
    found = naming(described, answers(described))
    assert found == PERMITTED
    collector = collector_openapi()
    of_streams = {"FetchedRecord": {"kind", "record", "signature"}}  # a skip or end record, no receipt's id
    assert naming(collector, answers(collector)) == of_streams


# --- every answer to every role, before and after somebody takes part -------------------------------------------------


def seen_by(populated: Populated, role: str) -> dict[str, Any]:
    """All that a role is answered by asking; of the log, without the looks into it that this makes."""
    asked = [
        route
        for route in ROUTES
        if route.startswith("GET ") and for_staff(route) and "/v1/log/" not in route and may(role, route)
    ]
    targets = {route: _target(route, populated) for route in asked}  # before the first answer: one of them acts for it
    return {targets[route]: call(route, populated, asker(populated, role)).json() for route in asked}


@pytest.mark.parametrize("role", STAFF)
def test_row_03_nothing_that_a_role_is_answered_moves_when_one_person_takes_part_or_stops(
    role: str, in_use: Populated
) -> None:
    somebody = in_use.world.add_person("Somebody")
    before = seen_by(in_use, role)
    somebody.consent()
    in_use.installation.record(somebody, in_use.marker)
    assert seen_by(in_use, role) == before, "taking part"
    assert somebody.withdraw(erase="now").status_code == 200
    assert seen_by(in_use, role) == before, "stopping"
    if role == Role.ADMIN:
        in_use.world.add_person("Another")
        assert seen_by(in_use, role) != before, "the positive control: an account is seen by who invites"


def test_row_09_the_log_has_the_same_kinds_of_entries_whatever_one_person_does(in_use: Populated) -> None:
    """Giving, recording, withdrawing: of none is there an entry but one among 64 that look alike, in the night."""
    auditor, somebody = in_use.staff.auditor, in_use.world.add_person("Somebody")
    before = len(entries(auditor))
    somebody.consent()
    in_use.installation.record(somebody, in_use.marker)
    somebody.withdraw()
    new = [leaf for leaf in entries(auditor)[before:] if leaf.type is not LeafType.AUDIT_VIEWED]
    assert new == []
    run_night(in_use.world.custodian)
    new = [leaf for leaf in entries(auditor)[before:] if leaf.type is not LeafType.AUDIT_VIEWED]
    people = [leaf for leaf in new if leaf.type is LeafType.PERSON]
    assert len(people) % 64 == 0
    assert len({(leaf.at, leaf.actor, leaf.auth, leaf.rule) for leaf in people}) == 1, "a day, and nothing else"
    assert {frozenset(json.loads(leaf.to_bytes())) for leaf in people} == {frozenset({"v", "type", "at", "subject"})}


def test_row_09_nobody_who_takes_part_is_an_actor_in_the_log(in_use: Populated) -> None:
    in_use.installation.own_job(in_use.people[0])
    in_use.people[1].withdraw()
    run_night(in_use.world.custodian)
    actors = {leaf.actor for leaf in entries(in_use.staff.auditor)}
    with in_use.world.custodian.database.reading() as session:

        def reference(member: Member) -> str:
            return log.actor_ref(session, member.person)

        assert reference(in_use.staff.requester) in actors, "the positive control"
        assert not {reference(member) for member in in_use.people} & actors


def test_row_03_people_are_counted_in_tens_and_once_a_week(in_use: Populated) -> None:
    def counted() -> set[int]:
        entries_ = in_use.staff.requester.get("/v1/catalogue").json()["entries"]
        return {entry["people"] for entry in entries_}

    assert counted() == {10}
    for member in in_use.world.add_participants(9):
        member.certify()
    assert counted() == {10}
    in_use.world.clock.forward(days=8)
    assert counted() == {10}, "nineteen are ten"
    in_use.people[0].withdraw()
    assert counted() == {10}, "eighteen, and not counted again before a week"
    for member in in_use.world.add_participants(2):
        member.certify()
    in_use.world.clock.forward(days=8)
    assert counted() == {20}, "the positive control"


def test_row_03_metrics_have_no_place_for_a_person(in_use: Populated) -> None:
    metrics = Metrics(lambda: facts_of(in_use.world.custodian))
    templates = {route.partition(" ")[2] for route in ROUTES}
    for route in ROUTES:
        metrics.answered(route, 200)
    for family in metrics.collect():
        assert "person" not in family.name and "people" not in family.name
        for sample in family.samples:
            assert set(sample.labels) <= {"route", "status"}
            assert sample.labels.get("route", "GET /v1/me").partition(" ")[2] in templates


# --- row 31 -----------------------------------------------------------------------------------------------------------


def test_row_31_receipts_and_their_entries_lead_from_the_log_to_no_stream(in_use: Populated) -> None:
    """An auditor who holds the collector's dump, and has the whole log, tries every name of the one in the other. A
    person who shows their receipt and its proof gives away that they take part, and still none of their streams.
    """
    kim = in_use.people[0]
    run_night(in_use.world.custodian)
    shown = json.dumps(kim.get("/v1/me/receipts").json())
    shown += "".join(
        base64.b64decode(view["receipt"]["payload"]).decode() for view in kim.get("/v1/me/receipts").json()["receipts"]
    )
    logged = "\n".join(leaf.to_bytes().decode() for leaf in entries(in_use.staff.auditor))
    stored = words(in_use)
    custodian = in_use.world.custodian
    services = {in_use.world.collector_key.public.text, custodian.statement_key.public.text}
    services |= {FIRST_PREVIOUS, custodian.statement_key.public.id, in_use.world.collector_key.public.id}
    for one, other in ((shown, stored), (logged, stored), (shown, logged)):
        common = {token for token in tokens(one) & tokens(other) if not any(token in key for key in services)}
        assert common == set()
    own = {one.stream for one in in_use.recordings if one.member is kim}
    assert own and own <= tokens(stored), "the positive control"


def test_which_entry_of_the_log_is_of_whose_receipt_is_told_to_that_person_alone(in_use: Populated) -> None:
    kim, salt = in_use.people[0], "5a" * 16
    receipt = sign(kim.receipt(), kim.device)
    leaf = person_leaf(bytes.fromhex(salt), receipt.hash)
    body = StatementWithLeaf(statement=receipt, leaf=leaf, salt=salt).to_json()
    assert in_use.world.post("/v1/receipts", body).status_code == 200
    run_night(in_use.world.custodian)
    leads_there = {salt, leaf, receipt.hash, json.loads(receipt.payload_bytes)["record"]}
    for role in STAFF:
        assert not any(word in json.dumps(seen_by(in_use, role)) for word in leads_there), role
    logged = "\n".join(entry.to_bytes().decode() for entry in entries(in_use.staff.auditor))
    assert {word for word in leads_there if word in logged} == {leaf}, "the entry is there, and says nothing"
    assert salt in json.dumps(kim.get("/v1/me/receipts").json()), "the positive control"
    assert salt.encode() not in b"".join(
        path.read_bytes() for path in (in_use.installation.folder / "collector").rglob("*") if path.is_file()
    )


def test_row_31_whose_key_or_role_ended_is_told_to_a_restored_custodian_and_to_nobody_else(in_use: Populated) -> None:
    """The leaves hold a root that is salted with what only the custodian has. An auditor with the collector's dump, who
    also knows every account, every public key and every id, tries all of them, alone and together.
    """
    world, robbed = in_use.world, in_use.people[0]
    spare = robbed.add_key("opening")
    assert robbed.revoke(robbed.device, by=spare).status_code == 200
    in_use.installation.world.end_role(in_use.staff.steward, Role.STEWARD)
    in_use.installation.collector.orders.pull_orders_once()
    logged = entries(in_use.staff.auditor)
    revoked = next(leaf for leaf in logged if leaf.type is LeafType.CREDENTIAL_REVOKED)
    assert set(json.loads(revoked.to_bytes())) == {"v", "type", "at", "roots"}
    lost = next(leaf for leaf in logged if leaf.type is LeafType.ROLE_CHANGED and leaf.detail["action"] == "revoke")
    roots = {revoked.roots["credential"], lost.roots["person"]}
    with world.custodian.database.reading() as session:
        known = {row.key_id for row in session.scalars(select(Credential))}
        known |= {row.key for row in session.scalars(select(Credential))}
        known |= {row.person for row in session.scalars(select(PersonSalt))}
        salts = {row.person: row.salt for row in session.scalars(select(PersonSalt))}
    assert list_root(salts[robbed.person], [robbed.device.public.id]) == revoked.roots["credential"], "the control"
    assert list_root(salts[in_use.staff.steward.person], [lost.subject or ""]) == lost.roots["person"], "the control"
    stored = tokens(words(in_use))
    assert not roots & stored
    told = known | stored | {leaf.subject for leaf in logged if leaf.subject} | {lost.actor or ""}
    guesses = [[], *([one] for one in told), *([one, lost.subject or ""] for one in known)]
    guessed_salts = {b"", bytes(16), bytes(32), *(one.encode() for one in known)}
    assert not [1 for salt in guessed_salts for guess in guesses if list_root(salt, guess) in roots]


def test_the_routes_of_one_person_are_for_that_person_alone() -> None:
    for route in ROUTES:
        if not for_staff(route):
            assert RULE[route].who == {Party.PERSON}, route
