"""An approval counts as long as the key that signed it does: at a lease, at a release, and for a request still open."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from tests.integration.access.conftest import ON_BOTH
from tests.integration.access.test_leavers import view
from tests.simulators.access import AccessWorld
from tests.simulators.custodian import problem

from assent.contracts.envelope import sign
from assent.contracts.keys import SigningKey
from assent.contracts.statements import Decision
from assent_custodian.grants.models import DecisionRow


def approve(access: AccessWorld, request: str, *keys: SigningKey) -> int:
    decision = Decision(request=request, decision="approve", reason="", at=access.custodian.now)
    return access.custodian.post("/v1/decisions", sign(decision, *keys).to_json()).status_code


@ON_BOTH
def test_a_grant_is_shut_when_a_key_that_approved_it_is_revoked(access: AccessWorld) -> None:
    steward, other = access.stewards
    stolen = steward.add_key("opening")
    request = access.request()
    assert approve(access, request, stolen) == 200
    assert access.decide(other, request).status_code == 200
    job = access.job()
    assert job.open(access.requester, request=request).status_code == 200
    assert job.release(access.recorded)[0], "the positive control: until then it opens"
    assert view(access, request).approvals == 2
    assert steward.revoke(stolen).status_code == 200
    assert view(access, request).approvals == 1
    answer = access.job().open(access.requester, request=request)
    assert (problem(answer), answer.json()["rule"]) == ("refused", "approvals")
    released, _ = job.ask_release([access.recorded[0].segment])
    assert (problem(released), released.json()["rule"]) == ("refused", "approvals"), "in the middle of a lease, too"
    access.custodian.clock.forward(seconds=1)
    again = access.grant()
    assert access.job().open(access.requester, request=again).status_code == 200, "signed and approved anew"


@ON_BOTH
def test_an_open_request_is_approved_again_with_a_key_that_counts(access: AccessWorld) -> None:
    steward, other = access.stewards
    stolen = steward.add_key("opening")
    request = access.request()
    assert approve(access, request, stolen) == 200
    access.custodian.clock.forward(seconds=1)
    assert approve(access, request, steward.opening) == 409, "nobody approves twice"
    assert steward.revoke(stolen).status_code == 200
    assert view(access, request).approvals == 0
    assert access.decide(other, request).status_code == 200
    assert view(access, request).state == "open", "one is not two"
    access.custodian.clock.forward(seconds=1)
    assert approve(access, request, steward.opening) == 200
    assert view(access, request).state == "granted"
    assert access.job().open(access.requester, request=request).status_code == 200
    with access.custodian.custodian.database.reading() as session:
        assert len(session.scalars(select(DecisionRow).where(DecisionRow.request == request)).all()) == 2


def test_other_keys_come_and_go_without_a_grant(access: AccessWorld) -> None:
    """Changing to a new key takes nothing back, until the old one is ended."""
    request = access.grant()
    for steward in access.stewards:
        steward.add_key("opening")
        device, unused = steward.add_key("device"), steward.add_key("opening")
        for key in (device, unused, steward.device):
            assert steward.revoke(key).status_code == 200
    assert view(access, request).approvals == 2
    assert access.job().open(access.requester, request=request).status_code == 200


@pytest.mark.parametrize("how", ["the steward's other key", "a key of the other steward", "a key of nobody"])
def test_a_name_beside_the_stolen_signature_does_not_outlive_it(access: AccessWorld, how: str) -> None:
    """Whoever has a stolen key writes another key's name under the same approval, with a signature that is none."""
    steward, other = access.stewards
    stolen, spare = steward.add_key("opening"), steward.add_key("opening")
    request = access.request()
    decision = Decision(request=request, decision="approve", reason="", at=access.custodian.now)
    real, nobody = sign(decision, stolen), SigningKey.generate()
    beside = {"the steward's other key": spare, "a key of the other steward": other.opening}.get(how, nobody)
    false = real.signatures[0].model_copy(update={"keyid": beside.public.id})
    both = real.model_copy(update={"signatures": (*real.signatures, false)})
    assert access.custodian.post("/v1/decisions", both.to_json()).status_code == 200
    assert access.decide(other, request).status_code == 200
    assert view(access, request).approvals == 2
    assert steward.revoke(stolen).status_code == 200
    assert view(access, request).approvals == 1
    assert problem(access.job().open(access.requester, request=request)) == "refused"
