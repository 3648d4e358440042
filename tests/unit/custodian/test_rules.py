"""Pure rules of the custodian: roles, delays, hours of certificates, wrapping of vault keys, files."""

from __future__ import annotations

import ast
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assent.contracts.problems import Code, Problem
from assent.contracts.statements import Role
from assent_custodian import roles
from assent_custodian.files import NotReady, destroy_file, read_secret, write_file
from assent_custodian.keys.certifying import Refused, record_until
from assent_custodian.keys.wrapping import WrapInvalid, unwrap, wrap
from assent_custodian.people import domain
from assent_custodian.roles import EITHER, Party, Permission

NOON = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
LATER = NOON + timedelta(days=100)


# --- the table of roles ---


def test_every_permission_stands_in_the_table_once() -> None:
    assert sorted(rule.permission for rule in roles.table()) == sorted(Permission)


def test_every_route_stands_in_the_table_once() -> None:
    routes = [route for rule in roles.table() for route in rule.routes]
    assert len(routes) == len(set(routes))


@pytest.mark.parametrize("role", Role)
def test_no_role_may_do_everything(role: Role) -> None:
    by_role = {rule.permission for rule in roles.table() if role in rule.who}
    assert by_role < set(Permission)
    assert Permission.RELEASE not in by_role


def test_a_role_that_is_not_named_is_denied() -> None:
    for rule in roles.table():
        for role in Role:
            if role in rule.who or Party.PERSON in rule.who:
                continue
            with pytest.raises(Problem) as refused:
                roles.check(rule.permission, frozenset({role}), "opening", drill=False)
            assert refused.value.code is Code.FORBIDDEN


def test_the_device_key_opens_approves_and_administers_nothing() -> None:
    by_device = {rule.permission for rule in roles.table() if "device" in rule.credentials}
    assert by_device == {
        Permission.SEE_OWN_ACCOUNT,
        Permission.STOP_RECOVERY,
        Permission.SEE_OFFER,
        Permission.GIVE_CONSENT,
        Permission.WITHDRAW,
        Permission.GET_CERTIFICATES,
        Permission.HEAR_NEWS,
        Permission.SEE_OWN_RECEIPTS,
        Permission.SEE_OWN_ACCESSES,
        Permission.SEE_OWN_ERASURES,
        Permission.RESTATE,
        Permission.SEE_PURPOSES,
    }


def test_a_wrong_kind_of_credential_is_refused() -> None:
    with pytest.raises(Problem, match="opening"):
        roles.check(Permission.INVITE, frozenset({Role.ADMIN}), "device", drill=False)
    roles.check(Permission.INVITE, frozenset({Role.ADMIN}), "opening", drill=False)
    assert {"device", "opening"} == EITHER


# --- changing roles ---


@pytest.mark.parametrize("held", Role)
@pytest.mark.parametrize("wanted", Role)
def test_roles_exclude_each_other(held: Role, wanted: Role) -> None:
    with pytest.raises(Problem):
        domain.check_exclusive([held], wanted)
    domain.check_exclusive([], wanted)


@pytest.mark.parametrize("role", Role)
def test_only_council_or_dpo_countersigns(role: Role) -> None:
    if role in (Role.COUNCIL, Role.DPO):
        domain.check_countersigner("c", [role], proposer="p", concerned="x", proposed_as=[Role.ADMIN])
        return
    with pytest.raises(Problem):
        domain.check_countersigner("c", [role], proposer="p", concerned="x", proposed_as=[Role.ADMIN])


@pytest.mark.parametrize(("proposer", "concerned"), [("c", "x"), ("p", "c")])
def test_nobody_countersigns_for_themselves(proposer: str, concerned: str) -> None:
    with pytest.raises(Problem, match="nobody"):
        domain.check_countersigner("c", [Role.COUNCIL], proposer, concerned, proposed_as=[Role.ADMIN])


@pytest.mark.parametrize("proposing", Role)
@pytest.mark.parametrize("signing", [Role.COUNCIL, Role.DPO])
def test_without_an_admin_it_takes_both(proposing: Role, signing: Role) -> None:
    if proposing is Role.ADMIN or {proposing, signing} == domain.GUARDS:
        domain.check_countersigner("c", [signing], "p", "x", proposed_as=[proposing])
        return
    with pytest.raises(Problem, match="both"):
        domain.check_countersigner("c", [signing], "p", "x", proposed_as=[proposing])


@pytest.mark.parametrize("proposing", [None, *Role])
@pytest.mark.parametrize("wanted", Role)
def test_council_and_dpo_propose_who_is_an_admin_and_nothing_else(proposing: Role | None, wanted: Role) -> None:
    if proposing is Role.ADMIN or (wanted is Role.ADMIN and proposing in domain.GUARDS):
        domain.check_proposer([proposing], wanted)
        return
    with pytest.raises(Problem):
        domain.check_proposer([proposing] if proposing else [], wanted)


def test_a_grant_waits_and_a_revocation_does_not() -> None:
    delay = timedelta(hours=24)
    assert domain.effective("grant", NOON, delay) == NOON + delay
    assert domain.effective("revoke", NOON, delay) == NOON


# --- until when a stream may record ---


def test_a_stream_of_today_records_until_midnight() -> None:
    assert record_until("2026-11-23", NOON, LATER, 24) == "2026-11-24T00"


def test_a_stream_of_tomorrow_records_until_24_hours_from_now_in_whole_hours() -> None:
    assert record_until("2026-11-24", NOON, LATER, 24) == "2026-11-24T12"


def test_nothing_records_beyond_its_receipt() -> None:
    assert record_until("2026-11-23", NOON, NOON + timedelta(hours=2), 24) == "2026-11-23T14"


@pytest.mark.parametrize("day", ["2026-11-22", "2026-11-25", "2027-11-23"])
def test_other_days_get_nothing(day: str) -> None:
    with pytest.raises(Refused, match="today or tomorrow"):
        record_until(day, NOON, LATER, 24)


def test_without_a_whole_hour_left_there_is_nothing() -> None:
    with pytest.raises(Refused, match="no whole hour"):
        record_until("2026-11-23", NOON, NOON + timedelta(minutes=20), 24)
    with pytest.raises(Refused, match="no whole hour"):
        record_until("2026-11-24", NOON, LATER, 11)


# --- wrapping ---


def test_a_vault_key_unwraps_only_as_the_one_it_is() -> None:
    kek, other = os.urandom(32), os.urandom(32)
    wrapped = wrap(b"secret", kek, "a" * 32, 1)
    assert unwrap(wrapped, kek, "a" * 32, 1) == b"secret"
    for bad in ((wrapped, other, "a" * 32, 1), (wrapped, kek, "b" * 32, 1), (wrapped, kek, "a" * 32, 2)):
        with pytest.raises(WrapInvalid):
            unwrap(*bad)


def test_any_flipped_bit_of_a_wrapped_key_is_noticed() -> None:
    kek = os.urandom(32)
    wrapped = wrap(b"secret", kek, "a" * 32, 1)
    for position in range(len(wrapped)):
        damaged = bytearray(wrapped)
        damaged[position] ^= 1
        with pytest.raises(WrapInvalid):
            unwrap(bytes(damaged), kek, "a" * 32, 1)
    for cut in (0, 5, 12, len(wrapped) - 1):
        with pytest.raises(WrapInvalid):
            unwrap(wrapped[:cut], kek, "a" * 32, 1)


# --- files ---


def test_a_key_file_that_others_could_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "statement.pem"
    write_file(path, b"key")
    assert read_secret(path) == b"key"
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(NotReady, match="0600"):
            read_secret(path)


def test_a_key_file_is_whole_though_the_system_takes_a_few_bytes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data[:3])))
    write_file(tmp_path / "statement.pem", b"a key of many bytes")
    assert read_secret(tmp_path / "statement.pem") == b"a key of many bytes"


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"log\.pem is missing"):
        read_secret(tmp_path / "log.pem")


def test_destroying_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    destroy_file(tmp_path / "nothing")


# --- who may import the module that opens sealed keys ---


def test_only_leases_and_keys_import_the_vault() -> None:
    package = Path(roles.__file__).parent
    importers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if "assent_custodian.keys.vault" in names:
                importers.add(path.relative_to(package).parts[0])
    assert importers <= {"leases", "keys"}
    assert "leases" in importers, "the search must be able to find one"
