"""What a machine asks that reads the descriptions of both services: schemathesis, over real sockets.

Twice. As the descriptions say, with questions signed by a person: rubbish of every kind, wrong methods, other media
types, missing fields. And with the envelopes taken away: schemathesis writes the *statements*, sensible and senseless
ones, about things that exist and things that do not, and each is signed, as clients sign, by somebody whom the table
lets in. So the rubbish comes in behind every guard.

Nothing may answer 5xx, or with a status, a type or a form that the description does not name. `NOT_CHECKED` says which
checks of schemathesis are left out, and why. The cases are the same in every run; `--hypothesis-profile=night` tries
fifty times as many.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from requests.auth import AuthBase
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation.modes import GenerationMode
from tests.exposure.test_routes import ASKERS, ROUTES, asker, may
from tests.exposure.world import Populated, Recording, Template, populated_copy
from tests.simulators.collector import serving
from tests.simulators.custodian import CustodianWorld
from tests.simulators.drill import DrillPeople
from tests.simulators.postgres import PostgresServer
from tests.simulators.stories import MORE_AT_NIGHT, NIGHT

from assent.contracts import statements
from assent.contracts.codes import InvitationCode
from assent.contracts.envelope import Envelope, Statement
from assent.contracts.ids import Modality, new_id, sha256_hex
from assent.contracts.keys import SigningKey, b64url
from assent.contracts.lists import pack_batch, person_leaf
from assent.contracts.segment import EndRecord, SegmentHeader, SkipRecord, record_signed_bytes, segment_signed_bytes
from assent.contracts.statements import FetchRequest, Order, OrderReturned, StreamCertificate, Ticket
from assent.contracts.times import hour_of, moment
from assent.contracts.wire import BODY_SHA256_FIELD, HEADER_FIELD, SEALED_KEY_FIELD, SIGNATURE_FIELD
from assent.sealing.hpke import HybridPrivateKey
from assent.sealing.segments import body_size
from assent_collector.app import application
from assent_collector.app import openapi as collector_openapi
from assent_custodian.app import app_for
from assent_custodian.app import openapi as custodian_openapi

Json = dict[str, Any]

load_all_checks()
NOT_CHECKED = [
    # What is well-formed may be refused with 400 all the same: a day of no calendar, an envelope that nobody signed.
    CHECKS.get_one("positive_data_acceptance"),
]
PROPER = [*NOT_CHECKED, CHECKS.get_one("negative_data_rejection")]
"""Nothing of this is against the description, also where the address is made to fit the statement."""
STRANGERS, BEHIND_THE_DOOR = 4, 12
"""Cases for each route, besides those that schemathesis tries in any case (each bound of each field)."""


def cases(count: int) -> settings:
    """The same `count` cases for each route in every run; fifty times as many at night."""
    return settings(
        max_examples=count * (MORE_AT_NIGHT if settings.get_current_profile_name() == NIGHT else 1),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


def described(document: Json, *, methods: bool = True, proper: bool = False) -> Any:
    """What schemathesis makes of a description. Signatures are put on by the tests, since it could make none.

    `methods`: methods that the description does not name are tried, too. `proper`: nothing but what it describes.
    """
    schema = schemathesis.openapi.from_dict(document)
    if not methods:
        schema.config.phases.coverage.unexpected_methods = set()
    if proper:
        schema.config.phases.coverage.enabled = False
        schema.config.generation.modes = [GenerationMode.POSITIVE]
    schema.config.generation.deterministic = True
    schema.config.generation.with_security_parameters = False
    return schema


class Asks(AuthBase):
    """Signs what is asked, method and target exactly as they go out, as clients do."""

    def __init__(self, world: CustodianWorld, key: SigningKey) -> None:
        self._world, self._key = world, key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if request.method in ("GET", "POST"):
            signed = self._world.authorization(self._key, request.method, request.path_url)
            request.headers["Authorization"] = signed
        return request


# --- statements without their envelopes -------------------------------------------------------------------------------

_NAMES = {
    "person": 32, "other": 32, "record": 32, "stream": 32, "fresh": 32, "credential": 32, "lease": 32, "secret": 32,
    "ticket": 32, "request": 64, "receipt": 64, "notice": 64, "directory": 64, "draft": 64, "code": 64, "batch": 64,
    "header": 64, "segment": 64, "proposal": 64, "halt": 64,
}  # fmt: skip
MARKS = {
    **{name: sha256_hex(name.encode())[:length] for name, length in _NAMES.items()},
    "key": "ed25519:" + "K" * 43,
    "job": "a1-xw:" + "J" * 1622,
    "now": "1900-01-01T00:00:00Z",
    "soon": "1900-01-01T00:00:01Z",
    "today": "1900-01-01",
    "hour": "1900-01-01T00",
    "since": "1899-12-31T22",
    "until": "1899-12-31T23",
    "purpose": "urn:purpose:mark",
}
NUMBERS = {"sequence": 1, "from_sequence": 1, "to_sequence": 2, "next_sequence": 1, "length": 4096}
"""What comes next in a stream that has one segment."""
"""What stands for a thing that exists, where a statement may name one. The thing itself is known when it is asked."""


def _with_marks(schema: Any, field: str = "", *, certain: bool = False) -> Any:
    """The same schema, but where a name or a time is wanted, one that exists is likely, or certain."""
    if isinstance(schema, list):
        return [_with_marks(inner, field, certain=certain) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    anything = [] if certain else [schema]
    if schema.get("type") == "integer" and "const" not in schema and (certain or field in NUMBERS):
        numbers = [NUMBERS[field]] if field in NUMBERS else [n for n in (0, 1, 10) if n >= schema.get("minimum", 0)]
        return {"anyOf": [{"type": "integer", "enum": numbers}, *anything]}
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and schema.get("type") == "string":
        known = [mark for mark in MARKS.values() if re.fullmatch(pattern, mark)]
        if MARKS.get(field) in known:
            known = [MARKS[field]]
        if field == "at":
            return {"type": "string", "enum": [MARKS["now"]]}
        return {"anyOf": [{"type": "string", "enum": known}, *anything]} if known else schema
    return {
        key: _with_marks(inner, key if key not in ("anyOf", "items") else field, certain=certain)
        for key, inner in schema.items()
    }


def _plain(model: type[Any]) -> Json:
    schema: Json = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return schema


def unsigned(document: Json, signed: dict[str, tuple[type[Any], ...]] | None = None, *, certain: bool = False) -> Json:
    """The description of the routes that take statements, as if they took them without envelopes and signatures.

    `signed`: what is signed in the bodies of routes that take something else; as an object with each of them.
    `certain`: every name and time in them is one that exists.
    """
    document = copy.deepcopy(document)
    schemas, paths = document["components"]["schemas"], {}
    if (returned := schemas.get("OrderReturned")) is not None:
        schemas["Order"] = _plain(Order)
        schemas.update(schemas["Order"].pop("$defs", {}))
        returned["properties"]["order"] = {"$ref": "#/components/schemas/Order"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            schema = operation.get("requestBody", {}).get("x-assent-states")
            models = (signed or {}).get(f"{method.upper()} {path}", ())
            for model in models:
                schemas[model.__name__] = _plain(model)
                schemas.update(schemas[model.__name__].pop("$defs", {}))
                schemas[model.__name__]["required"] = list(model.model_fields)  # what has one exact form has them all
            if models:
                parts = {model.__name__: {"$ref": f"#/components/schemas/{model.__name__}"} for model in models}
                schema = {
                    "type": "object", "required": list(parts), "properties": parts, "additionalProperties": False,
                }  # fmt: skip
            if schema is None:
                continue
            operation["requestBody"]["content"] = {"application/json": {"schema": _asked(schema)}}
            in_path = [one for one in operation.get("parameters", ()) if one["in"] == "path"]
            operation["parameters"] = [
                {**one, "schema": _with_marks(one["schema"], one["name"], certain=certain)} for one in in_path
            ]
            paths.setdefault(path, {})[method] = operation
    asked = {f"Asked{name}": _asked(_with_marks(schema, certain=certain)) for name, schema in schemas.items()}
    return {**document, "paths": paths, "components": {"schemas": {**schemas, **asked}}}


def _asked(schema: Json) -> Json:
    """The same, made of those that have marks; answers are held against the schemas without."""
    there = "#/components/schemas/"
    renamed: Json = json.loads(json.dumps(schema).replace(there, f"{there}Asked"))
    return renamed


ENDING = {"POST /v1/me/leaving", "POST /v1/leavings", "POST /v1/me/credentials/revocations", "POST /v1/consent/endings"}
"""What is well-formed there ends accounts and keys."""


class Services:
    """Both services on sockets, and everything that is needed to sign what schemathesis wrote."""

    def __init__(self, populated: Populated, custodian: str, collector: str) -> None:
        self.populated, self.custodian, self.collector = populated, custodian, collector
        self.world, self.session = populated.world, requests.Session()
        self.drill = DrillPeople(populated.world)
        self.key = SigningKey.generate()
        code, invitation = self.world.invitation("Somebody")
        assert self.world.admin.post("/v1/invitations", invitation).status_code == 200
        mine = populated.people[0]
        certificate, key, envelope = mine.certify((Modality.POINTER,))[0]
        self.recording = Recording(mine, certificate, envelope, key)
        sealed = self.recording.seal(
            populated.installation.content(certificate, populated.marker), hour_of(self.world.clock())
        )
        populated.installation.upload([self.recording])
        self.batch = pack_batch([(sealed.header, sealed.sealed_key)])
        now = self.world.clock()
        self.values = {
            "other": populated.people[1].person, "record": mine.receipts[0].record, "stream": self.recording.stream,
            "fresh": new_id(), "credential": mine.add_key().public.id, "lease": populated.job.lease.lease,
            "secret": code.secret_hex, "ticket": new_id(), "request": populated.request,
            "receipt": mine.previous, "notice": mine.receipts[0].notice.sha256,
            "directory": self.world.custodian.directory.hash, "draft": "ab" * 32,
            "code": InvitationCode.new("http://127.0.0.1:8401", self.world.report.root_fingerprint).secret_hash,
            "batch": sha256_hex(self.batch), "header": self.recording.previous, "segment": sealed.id,
            "proposal": "cd" * 32, "halt": "ef" * 32, "key": self.key.public.text,
            "job": HybridPrivateKey.generate().public_key.to_text(), "now": self.world.now,
            "soon": moment(now + timedelta(hours=1)), "today": self.world.now[:10], "hour": self.world.now[:13],
            "since": hour_of(now - timedelta(hours=2)), "until": hour_of(now - timedelta(hours=1)),
            "purpose": mine.receipts[0].choices[0].purpose,
        }  # fmt: skip

    def signer(self, route: str) -> tuple[SigningKey, str]:
        """A key that the table lets in, and the person whom its statements are about."""
        if route in ("POST /v1/leases/releases", "POST /v1/leases/closures"):
            return self.populated.job.signing_key, ""
        if route == "POST /v1/drills":
            return self.drill.canary.opening, self.drill.canary.person
        if route == "POST /v1/enrolments":
            return self.key, ""
        by = asker(self.populated, next((name for name in ("device", *ASKERS) if may(name, route)), "person"))
        if route not in ENDING:
            return by.key, by.person
        leaver = self.populated.people[-1]  # the others are needed
        return leaver.opening if by.person == self.populated.people[0].person else by.key, leaver.person

    def real(self, written: Any, person: str = "") -> bytes:
        """What was written, with the things that the marks stand for. What is no JSON stays what it is."""
        try:
            text = json.dumps(written, separators=(",", ":"))
        except TypeError:
            return written if isinstance(written, bytes) else b""
        values = {**self.values, "person": person}
        for name in sorted(MARKS, key=lambda name: -len(MARKS[name])):
            text = text.replace(MARKS[name], values[name])
        return text.encode()

    def signed(self, kind: type[Statement], written: Any, key: SigningKey, person: str = "") -> Envelope:
        """An envelope of this kind around whatever was written."""
        if isinstance(written, dict) and isinstance(written.get("nonce"), str) and len(written["nonce"]) == 32:
            written = {**written, "nonce": new_id()}  # else the second one would only ever be stale
        if kind is OrderReturned and isinstance(written, dict) and "order" in written:
            inner = self.signed(Order, written["order"], self.world.custodian.statement_key)
            written = {**written, "order": json.loads(inner.to_json())}
        payload = base64.b64encode(self.real(written, person)).decode()
        bare = Envelope.model_construct(payloadType=kind.payload_type(), payload=payload, signatures=())
        return bare.signed_also_by(key)

    def statement(self, route: str, kind: type[Statement], written: Any) -> bytes:
        """The body of a route of the custodian."""
        key, person = self.signer(route)
        envelope = self.signed(kind, written, key, person)
        inside = json.loads(envelope.to_json())
        if route in ("POST /v1/receipts", "POST /v1/withdrawals", "POST /v1/erasures"):
            return json.dumps({"statement": inside, "leaf": person_leaf(b"s" * 16, envelope.hash)}).encode()
        if route == "POST /v1/leases/releases":
            return json.dumps({"statement": inside, "batch": base64.b64encode(self.batch).decode()}).encode()
        return json.dumps(inside).encode()

    # --- bodies of the collector ---

    def certificate(self, written: Any) -> bytes:
        """A stream certificate, signed by the statement key: whatever the custodian signs, the collector survives."""
        return self.signed(StreamCertificate, written, self.world.custodian.statement_key).to_json()

    def segment(self, written: Any) -> tuple[dict[str, str], bytes]:
        """The fields of a segment with this header and its body, signed by the stream key."""
        header = self.real(in_order(part(written, SegmentHeader), SegmentHeader))
        length = part(written, SegmentHeader, "length")
        body = bytes(body_size(length)) if isinstance(length, int) and 0 < length < 10**6 else b"x"
        sealed, digest = self.recording.sealed[0].sealed_key, hashlib.sha256(body).digest()
        signature = self.recording.key.sign(segment_signed_bytes(header, hashlib.sha256(sealed).digest(), digest))
        fields = {HEADER_FIELD: header, SEALED_KEY_FIELD: sealed, SIGNATURE_FIELD: signature}
        return {**{name: b64url(value) for name, value in fields.items()}, BODY_SHA256_FIELD: digest.hex()}, body

    def record(self, written: Any) -> bytes:
        """A skip or end record, signed by the stream key."""
        kind = record_kind(written)
        record = self.real(in_order(part(written, kind), kind))
        signature = self.recording.key.sign(record_signed_bytes(record))
        return json.dumps(
            {name: _b64(value) for name, value in (("record", record), ("signature", signature))}
        ).encode()

    def fetch(self, written: Any) -> bytes:
        """A ticket, signed by the statement key, and a request, signed by the key that the ticket may name."""
        ticket = self.signed(Ticket, part(written, Ticket), self.world.custodian.statement_key)
        request = self.signed(FetchRequest, part(written, FetchRequest), self.key)
        return b'{"ticket":%b,"request":%b}' % (ticket.to_json(), request.to_json())


def part(written: Any, kind: type[Any], field: str = "") -> Any:
    """What was written for this model, or for one field of it."""
    found = written.get(kind.__name__) if isinstance(written, dict) else written
    return found if not field else found.get(field) if isinstance(found, dict) else None


def record_kind(written: Any) -> type[Any]:
    """Both records are written; one is sent."""
    return SkipRecord if part(written, SkipRecord, "to_sequence") == NUMBERS["to_sequence"] else EndRecord


def place(path: str, written: Any) -> dict[str, str]:
    """The address that names what the statement is about, as clients have it."""
    if "segments" in path:
        found, number = part(written, SegmentHeader), "sequence"
    elif "records" in path:
        kind = record_kind(written)
        found, number = part(written, kind), "next_sequence" if kind is EndRecord else "from_sequence"
    else:
        found, number = written if path.startswith("/v1/streams/") else None, ""
    if not isinstance(found, dict) or not found.get("stream"):
        return {}
    return {"stream": str(found["stream"]), **({"sequence": str(found.get(number))} if number else {})}


def in_order(written: Any, kind: type[Any]) -> Any:
    """What has one exact form only has its fields in their order."""
    if not isinstance(written, dict):
        return written
    return {name: written[name] for name in sorted(written, key=lambda name: _place(kind, name))}


def _place(kind: type[Any], name: str) -> int:
    names = list(kind.model_fields)
    return names.index(name) if name in names else len(names)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def listening(populated: Populated) -> Iterator[Services]:
    installation = populated.installation
    custodian, collector = app_for(populated.world.custodian), application(installation.collector)
    with serving(custodian) as first, serving(collector) as second:
        yield Services(populated, first, second)


# --- as the descriptions say ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def public(busy: tuple[Populated, Template], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """An installation in daily use, both services listening."""
    with (
        busy[1].copied(tmp_path_factory.mktemp("fuzzed")) as installation,
        listening(populated_copy(busy[0], installation)) as services,
    ):
        yield services


CUSTODIAN = described(custodian_openapi())
COLLECTOR = described(collector_openapi())


@CUSTODIAN.parametrize()
@cases(STRANGERS)
def test_the_custodian_answers_as_described(case: Any, public: Services) -> None:
    route = f"{case.method} {case.path}"
    key, _ = public.signer(route) if route in ROUTES else (SigningKey.generate(), "")
    case.call_and_validate(
        base_url=public.custodian, auth=Asks(public.world, key), session=public.session, excluded_checks=NOT_CHECKED
    )


@COLLECTOR.parametrize()
@cases(STRANGERS)
def test_the_collector_answers_as_described(case: Any, public: Services) -> None:
    case.call_and_validate(base_url=public.collector, session=public.session, excluded_checks=NOT_CHECKED)


# --- behind the door --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_postgres(
    busy_on_postgres: tuple[Populated, Template], postgres_server: PostgresServer, tmp_path_factory: Any
) -> Iterator[Services]:
    """Both services on PostgreSQL, which forgives less than SQLite."""
    original, template = busy_on_postgres
    with (
        template.copied(tmp_path_factory.mktemp("fuzzed"), postgres_server) as installation,
        listening(populated_copy(original, installation)) as services,
    ):
        yield services


@pytest.fixture
def services(on_postgres: Services) -> Iterator[Services]:
    """The same; what one route did to the programme is over for the next one."""
    yield on_postgres
    on_postgres.world.resume()


JSON = {"Content-Type": "application/json"}
SIGNED_IN = {
    "PUT /v1/streams/{stream}/segments/{sequence}": (SegmentHeader,),
    "PUT /v1/streams/{stream}/records/{sequence}": (SkipRecord, EndRecord),
    "POST /v1/fetch/streams": (Ticket, FetchRequest),
    "POST /v1/fetch/bodies": (Ticket, FetchRequest),
}
STATED = described(unsigned(custodian_openapi()), methods=False)
SIGNED = described(unsigned(collector_openapi(), SIGNED_IN), methods=False)
PROPERLY_STATED = described(unsigned(custodian_openapi(), certain=True), methods=False, proper=True)
PROPERLY_SIGNED = described(unsigned(collector_openapi(), SIGNED_IN, certain=True), methods=False, proper=True)


ANSWERED: dict[str, set[str]] = {}
"""What each route answered to statements: `200`, or the name of a problem."""
AT_THE_DOOR = {"malformed", "not-signed-in", "signature-invalid", "stale", "forbidden", "unsupported-media"}


def note(case: Any, answer: Any) -> None:
    """Remember what was answered."""
    found = str(answer.status_code) if answer.status_code == 200 else str(answer.json()["type"]).rpartition(":")[2]
    ANSWERED.setdefault(case.operation.label, set()).add(found)


@STATED.parametrize()
@cases(BEHIND_THE_DOOR)
def test_the_custodian_answers_signed_rubbish_as_described(case: Any, services: Services) -> None:
    _state(case, services)


@PROPERLY_STATED.parametrize()
@cases(BEHIND_THE_DOOR)
def test_the_custodian_answers_what_is_well_formed_as_described(case: Any, services: Services) -> None:
    _state(case, services, PROPER)


def _state(case: Any, services: Services, not_checked: Sequence[Any] = NOT_CHECKED) -> None:
    name = case.operation.definition.raw["requestBody"]["x-assent-states"]["$ref"].rpartition("/")[2]
    body = services.statement(f"{case.method} {case.path}", getattr(statements, name), case.body)
    answer = case.call(base_url=services.custodian, session=services.session, data=body, headers=JSON)
    case.validate_response(answer, excluded_checks=[*not_checked])
    note(case, answer)


@SIGNED.parametrize()
@cases(BEHIND_THE_DOOR)
def test_the_collector_answers_signed_rubbish_as_described(case: Any, services: Services) -> None:
    _sign(case, services)


@PROPERLY_SIGNED.parametrize()
@cases(BEHIND_THE_DOOR)
def test_the_collector_answers_what_is_well_formed_as_described(case: Any, services: Services) -> None:
    _sign(case, services, PROPER)


def _sign(case: Any, services: Services, not_checked: Sequence[Any] = NOT_CHECKED) -> None:
    headers = JSON
    if case.path.startswith("/v1/fetch/"):
        body = services.fetch(case.body)
    elif "segments" in case.path:
        fields, body = services.segment(case.body)
        headers = {"Content-Type": "application/octet-stream", **fields}
    else:
        body = services.record(case.body) if "records" in case.path else services.certificate(case.body)
    case.path_parameters = {**case.path_parameters, **place(case.path, case.body)}
    marks = {mark: services.values.get(name, mark) for name, mark in MARKS.items()}
    for name, value in case.path_parameters.items():
        case.path_parameters[name] = marks.get(value, value)
    answer = case.call(base_url=services.collector, session=services.session, data=body, headers=headers)
    case.validate_response(answer, excluded_checks=[*not_checked])
    note(case, answer)


def test_statements_came_in_behind_every_guard() -> None:
    """The positive control of the four above: of each route, something was heard that no guard says."""
    assert ANSWERED.keys() >= {operation.ok().label for operation in STATED.get_all_operations()}
    assert not {route: heard for route, heard in ANSWERED.items() if heard <= AT_THE_DOOR}
