"""The published OCSF schema as a strict JSON Schema: unknown attributes, wrong types and numbers, and missing required
ones are errors, as on https://schema.ocsf.io. The schema itself comes with the package pydantic-ocsf (Apache-2.0)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

OCSF_VERSION = "1.7.0"
JSON_TYPES = {"string_t": "string", "integer_t": "integer", "long_t": "integer", "float_t": "number"}


@cache
def published() -> dict[str, Any]:
    name = f"v{OCSF_VERSION.replace('.', '_')}.json"
    found: dict[str, Any] = json.loads((files("ocsf") / "schemas" / name).read_text("utf-8"))
    assert found["version_info"]["version"] == OCSF_VERSION
    return found


def _inherited(kind: str, name: str) -> dict[str, Any]:
    """A class or object with everything that it extends."""
    own = published()[kind][name]
    base = _inherited(kind, own["extends"]) if own.get("extends") else {"attributes": {}}
    attributes = {key: dict(value) for key, value in base["attributes"].items()}
    for key, value in own["attributes"].items():
        if key.startswith("$"):
            continue  # profiles, which are not used here
        said = {field: one for field, one in value.items() if one is not None}
        before = attributes.get(key, {})
        attributes[key] = {**before, **said, "enum": {**before.get("enum", {}), **said.get("enum", {})}}
    return {**base, **own, "attributes": attributes}


def _attribute(name: str, said: dict[str, Any]) -> dict[str, Any]:
    known = published()["dictionary"]["attributes"][name]
    spec = {**known, **{key: value for key, value in said.items() if key != "enum"}}
    enum = {**known.get("enum", {}), **said.get("enum", {})}
    schema = _type(spec["type"])
    if enum:
        schema = {**schema, "enum": [int(key) if key.lstrip("-").isdigit() else key for key in enum]}
    return {"type": "array", "items": schema} if spec.get("is_array") else schema


def _type(name: str) -> dict[str, Any]:
    types = published()["dictionary"]["types"]["attributes"]
    if name in ("json_t", "object"):
        return {"type": "object"} if name == "object" else {}
    if name == "boolean_t":
        return {"type": "boolean"}
    if name in types:
        spec = types[name]
        schema: dict[str, Any] = {"type": JSON_TYPES[spec.get("type", name)]}
        if "regex" in spec:
            schema["pattern"] = spec["regex"]
        if "max_len" in spec:
            schema["maxLength"] = spec["max_len"]
        if "range" in spec:
            schema["minimum"], schema["maximum"] = spec["range"]
        return schema
    assert name in published()["objects"], name
    return {"$ref": f"#/$defs/{name}"}


def _schema(spec: dict[str, Any]) -> dict[str, Any]:
    attributes = spec["attributes"]
    allowed = {name: _attribute(name, said) for name, said in attributes.items() if "@deprecated" not in said}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": allowed,
        "required": sorted(name for name, said in attributes.items() if said.get("requirement") == "required"),
        "additionalProperties": False,
    }
    for rule, names in (spec.get("constraints") or {}).items():
        word = {"at_least_one": "anyOf", "just_one": "oneOf"}[rule]
        schema.setdefault("allOf", []).append({word: [{"required": [name]} for name in names]})
    return schema


@cache
def class_of(class_uid: int) -> tuple[str, dict[str, Any]]:
    """The name and the definition of the class with this number."""
    categories = {key: value["uid"] for key, value in published()["categories_meta"]["attributes"].items()}
    for name in published()["events"]:
        spec = _inherited("events", name)
        uid = categories.get(spec.get("category", ""), 0) * 1000 + spec.get("uid", 0)
        if uid == class_uid and (spec.get("uid") is not None or class_uid == 0) and "category" in spec:
            return name, {**spec, "category_uid": uid // 1000, "class_uid": uid}
    raise AssertionError(f"OCSF {OCSF_VERSION} has no class {class_uid}")


@cache
def validator(class_uid: int) -> Any:
    _, spec = class_of(class_uid)
    schema = _schema(spec)
    activities = [int(key) for key in spec["attributes"]["activity_id"]["enum"]]
    schema["properties"] |= {
        "class_uid": {"const": class_uid},
        "category_uid": {"const": class_uid // 1000},
        "type_uid": {"enum": [class_uid * 100 + activity for activity in activities]},
    }
    schema["$defs"] = {name: _schema(_inherited("objects", name)) for name in published()["objects"]}
    return jsonschema_rs.validator_for(schema)


def caption_of(class_uid: int, attribute: str, value: int) -> str:
    """What the schema calls a number of an attribute of this class."""
    _, spec = class_of(class_uid)
    known = published()["dictionary"]["attributes"][attribute].get("enum", {})
    caption: str = {**known, **spec["attributes"][attribute].get("enum", {})}.get(str(value), {}).get("caption", "")
    return caption


def faults(event: dict[str, Any]) -> list[str]:
    """Everything in which an event is not as the schema says."""
    found = [str(error.message) for error in validator(event["class_uid"]).iter_errors(event)]
    _, spec = class_of(event["class_uid"])
    if event.get("class_name") != spec["caption"]:
        found.append(f"the class is called {spec['caption']}")
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        found.append("type_uid is not of this class and activity")
    for attribute in ("activity_id", "severity_id", "status_id"):
        name = "activity_name" if attribute == "activity_id" else attribute.removesuffix("_id")
        value = event.get(attribute)
        if value not in (None, 99) and event.get(name) != caption_of(event["class_uid"], attribute, value):
            found.append(f"{name} is {caption_of(event['class_uid'], attribute, value)}")
    return found
