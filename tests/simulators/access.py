"""A custodian with participants who have recorded, a requester, two stewards, an auditor; all over HTTP routes."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from httpx2 import Response
from tests.simulators.custodian import PURPOSE, RECIPIENT, CustodianWorld, Member

from assent.contracts.envelope import sign
from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.keys import SigningKey
from assent.contracts.lists import pack_batch
from assent.contracts.segment import FIRST_PREVIOUS
from assent.contracts.statements import (
    DataRequest,
    Decision,
    Lease,
    LeaseClosed,
    LeaseRequest,
    Mode,
    ReleaseRequest,
    Role,
    StreamCertificate,
)
from assent.contracts.times import moment
from assent.contracts.wire import LeaseAnswer, ReleaseAnswer, ReleaseBody
from assent.sealing.hpke import HybridPrivateKey, HybridPublicKey
from assent.sealing.segments import DataKey, SealedSegment, open_release, seal_segment


@dataclass
class Recorded:
    """One sealed segment of somebody, and the data key that it was sealed with."""

    owner: Member
    certificate: StreamCertificate
    segment: SealedSegment
    data_key: DataKey


@dataclass
class Job:
    """A job with its keys, and the lease it got."""

    world: CustodianWorld
    signing: SigningKey = field(default_factory=SigningKey.generate)
    receiving: HybridPrivateKey = field(default_factory=HybridPrivateKey.generate)
    answer: LeaseAnswer | None = None

    def wish(self, **changes: Any) -> LeaseRequest:
        content = {
            "job_signing_key": self.signing.public.text,
            "job_receiving_key": self.receiving.public_key.to_text(),
            "nonce": new_id(),
            "at": self.world.now,
            "until": moment(self.world.clock() + timedelta(hours=2)),
            **changes,
        }
        return LeaseRequest(**content)

    def open(self, member: Member, **changes: Any) -> Response:
        response = member.post("/v1/leases", self.wish(**changes))
        if response.status_code == 200:
            self.answer = LeaseAnswer.parse(response.content)
        return response

    @property
    def lease(self) -> Lease:
        assert self.answer is not None
        found: Lease = self.world.read(self.answer.lease, Lease)
        return found

    def ask_release(
        self, segments: list[SealedSegment], *, key: SigningKey | None = None, **changes: Any
    ) -> tuple[Response, bytes]:
        batch = pack_batch((one.header, one.sealed_key) for one in segments)
        content = {"lease": self.lease.lease, "batch": sha256_hex(batch), "count": len(segments), **changes}
        statement = sign(ReleaseRequest(**content), key or self.signing)
        body = ReleaseBody(statement=statement, batch=base64.b64encode(batch).decode())
        return self.world.post("/v1/leases/releases", body.to_json()), batch

    def release(self, recorded: list[Recorded]) -> tuple[dict[str, bytes], dict[str, str]]:
        """(segment id -> data key, segment id -> reason of refusal)."""
        response, batch = self.ask_release([one.segment for one in recorded])
        assert response.status_code == 200, response.text
        answer = ReleaseAnswer.parse(response.content)
        refused = {refusal.segment: refusal.reason for refusal in answer.refused}
        if not answer.sealed:
            return {}, refused
        assert self.answer is not None
        keys = open_release(
            base64.b64decode(answer.sealed),
            self.receiving,
            bytes.fromhex(self.answer.lease.hash),
            bytes.fromhex(sha256_hex(batch)),
        )
        return {segment.hex(): key.to_bytes() for segment, key in keys.items()}, refused

    def close(self, opened: int) -> Response:
        return self.world.post(
            "/v1/leases/closures", sign(LeaseClosed(lease=self.lease.lease, opened=opened), self.signing).to_json()
        )


class AccessWorld:
    """`recorded`: one segment per person and modality, sealed to real vault keys."""

    def __init__(self, custodian: CustodianWorld, people: int = 10) -> None:
        self.custodian = custodian
        custodian.add_purpose()
        self.requester = custodian.add_person("Rafa", Role.REQUESTER)
        self.stewards = [custodian.add_person("Stine", Role.STEWARD), custodian.add_person("Sven", Role.STEWARD)]
        self.auditor = custodian.add_person("Aude", Role.AUDITOR)
        self.people = custodian.add_participants(people)
        self.certified: list[tuple[StreamCertificate, SigningKey]] = []
        self.recorded = [one for member in self.people for one in self.record(member)]

    def record(
        self, member: Member, modalities: tuple[Modality, ...] = (Modality.POINTER, Modality.KEYBOARD)
    ) -> list[Recorded]:
        made = []
        for certificate, key, _ in member.certify((Modality.POINTER, Modality.KEYBOARD)):
            segment, data_key = seal_segment(
                content=b"what was recorded",
                stream=certificate.stream,
                sequence=0,
                previous=FIRST_PREVIOUS,
                hour=self.custodian.now[:13],
                vault_key=HybridPublicKey.from_text(certificate.vault_key),
                stream_key=key.ed25519,
            )
            self.certified.append((certificate, key))
            made.append(Recorded(member, certificate, segment, data_key))
        return made

    def wish(self, **changes: Any) -> DataRequest:
        world = self.custodian
        content = {
            "purpose": PURPOSE,
            "purpose_version": 1,
            "modalities": (Modality.POINTER, Modality.KEYBOARD),
            "from_day": world.now[:10],
            "to_day": world.now[:10],
            "mode": Mode.READER,
            "recipient": RECIPIENT,
            "why": "first training run",
            "nonce": new_id(),
            "at": world.now,
            "expires": moment(world.clock() + timedelta(days=20)),
            **changes,
        }
        return DataRequest(**content)

    def request(self, **changes: Any) -> str:
        statement = self.wish(**changes)
        response = self.requester.post("/v1/requests", statement)
        assert response.status_code == 200, response.text
        hash_: str = response.json()["hash"]
        return hash_

    def decide(self, by: Member, request: str, decision: str = "approve", reason: str = "") -> Response:
        statement = Decision(request=request, decision=decision, reason=reason, at=self.custodian.now)  # type: ignore[arg-type]
        return by.post("/v1/decisions", statement)

    def grant(self, **changes: Any) -> str:
        request = self.request(**changes)
        for steward in self.stewards:
            response = self.decide(steward, request)
            assert response.status_code == 200, response.text
        return request

    def job(self) -> Job:
        return Job(self.custodian)
