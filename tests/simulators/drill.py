"""Identities of the canary drill, enrolled as the drill enrols them, and what they have between them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from httpx2 import Response
from sqlalchemy import update
from tests.simulators.access import Job, Recorded
from tests.simulators.custodian import CustodianWorld, Member

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import DRILL_PURPOSE, DataRequest, Decision, DrillResult, Mode
from assent.contracts.times import moment
from assent.sealing.hpke import HybridPublicKey
from assent.sealing.segments import DataKey, seal_segment
from assent_custodian.drills import service as drills
from assent_custodian.keys.models import Stream
from assent_custodian.people.models import Person


class DrillPeople:
    """All identities, by name. The canary has given consent and has two streams."""

    def __init__(self, world: CustodianWorld) -> None:
        self.world = world
        with world.custodian.database.transaction() as session:
            codes = drills.invite(session, world.custodian)
        self.members = {name: world.join(code, name) for name, code in codes.items()}
        self.canary.consent()
        self.certified = self.canary.certify((Modality.KEYBOARD, Modality.CONTEXT))
        self.sealed = [
            seal_segment(
                content=b"the marker", stream=certificate.stream, sequence=0, previous=FIRST_PREVIOUS,
                hour=world.now[:13], vault_key=HybridPublicKey.from_text(certificate.vault_key),
                stream_key=key.ed25519,
            )[0]
            for certificate, key, _ in self.certified
        ]  # fmt: skip

    @property
    def recorded(self) -> list[Recorded]:
        """Segment by stream, as a job is asked to have them released; the data keys are not kept."""
        return [
            Recorded(self.canary, certificate, segment, DataKey.generate())
            for (certificate, _, _), segment in zip(self.certified, self.sealed, strict=True)
        ]

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    @property
    def canary(self) -> Member:
        return self.members["canary"]

    @property
    def streams(self) -> set[str]:
        return {certificate.stream for certificate, _, _ in self.certified}

    def wish(self, **changes: Any) -> DataRequest:
        now = self.world.now
        content: dict[str, Any] = {
            "purpose": DRILL_PURPOSE, "purpose_version": 1, "modalities": (Modality.KEYBOARD,), "from_day": now[:10],
            "to_day": now[:10], "mode": Mode.READER, "recipient": "drill", "why": "drill", "nonce": new_id(),
            "at": now, "expires": moment(self.world.clock() + timedelta(hours=1)),
        }  # fmt: skip
        return DataRequest(**{**content, **changes})

    def request(self, **changes: Any) -> str:
        statement = self.wish(**changes)
        response = self["requester"].post("/v1/requests", statement)
        assert response.status_code == 200, response.text
        return sign(statement, self["requester"].opening).hash

    def decide(self, by: Member, request: str, decision: str = "approve", reason: str = "") -> Response:
        return decide(by, request, decision, reason)

    def grant(self) -> str:
        request = self.request()
        for name in ("steward", "other-steward"):
            assert self.decide(self[name], request).status_code == 200
        return request

    def job(self) -> Job:
        return Job(self.world)

    def result(self, *failed: str, **changes: Any) -> DrillResult:
        content = {"tried": 9, "wrong": len(failed), "failed": failed, "nonce": new_id(), "at": self.world.now}
        return DrillResult(**{**content, **changes})

    def say(self, *failed: str) -> Response:
        return self.canary.post("/v1/drills", self.result(*failed))


def decide(by: Member, request: str, decision: str = "approve", reason: str = "") -> Response:
    """What a steward of either kind signs."""
    statement = Decision(request=request, decision=decision, reason=reason, at=by.world.now)  # type: ignore[arg-type]
    return by.post("/v1/decisions", statement)


def move(member: Member, *, drill: bool) -> None:
    """Make an account an identity of the drill, or a person, behind everybody's back: for positive controls."""
    with member.world.custodian.database.transaction() as session:
        session.get_one(Person, member.person).drill = drill
        session.execute(update(Stream).where(Stream.person == member.person).values(drill=drill))
