"""What the JSON Schema of a declared event says."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from antiphon.events.declare import Declaration

JsonSchema: TypeAlias = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = "#/$defs/{name}"


def struct_schema(cls: type[object]) -> JsonSchema:
    """The schema of a struct or dataclass, its own definition at the top."""
    (top,), definitions = msgspec.json.schema_components([cls], ref_template=_REFERENCE)
    return inlined(top, dict(definitions))


def inlined(top: JsonSchema, definitions: dict[str, JsonSchema]) -> JsonSchema:
    """`top` with its one reference replaced by what it refers to; definitions that nothing else needs are left out."""
    name = str(top.get("$ref", "")).rpartition("/")[2]
    if name not in definitions:
        return {**top, "$defs": definitions} if definitions else dict(top)
    body = dict(definitions[name])
    if not _refers(body, name) and not any(_refers(other, name) for other in definitions.values()):
        definitions.pop(name)
    return {**body, "$defs": definitions} if definitions else body


def annotated(schema: JsonSchema, declaration: Declaration) -> JsonSchema:
    """The schema with the declaration's name, meaning, key, version and the rest of it."""
    names = wire_names(declaration.cls)
    said: dict[str, object] = {
        "$schema": DIALECT,
        "title": declaration.name,
        "description": declaration.description,
        "x-topic": declaration.topic,
        "x-version": declaration.version,
        "x-kind": declaration.kind.value,
        "x-key": names.get(declaration.key_field or "", declaration.key_field),
        "x-owner": declaration.owner,
        "x-personal": [names.get(name, name) for name in declaration.personal] or None,
        "examples": [dict(example) for example in declaration.examples] or None,
    }
    rest = {name: value for name, value in schema.items() if name not in said}
    return {name: value for name, value in said.items() if value is not None} | rest


def wire_names(cls: type[object]) -> dict[str, str]:
    """What each field is called in JSON, by its name in Python."""
    fields: tuple[str, ...] = getattr(cls, "__struct_fields__", ())
    encoded: tuple[str, ...] = getattr(cls, "__struct_encode_fields__", ())
    if fields:
        return dict(zip(fields, encoded, strict=True))
    modeled: dict[str, object] = getattr(cls, "__pydantic_fields__", {})
    return {name: getattr(field, "serialization_alias", None) or name for name, field in modeled.items()}


def _refers(schema: object, name: str) -> bool:
    reference = _REFERENCE.format(name=name)
    return f'"{reference}"'.encode() in msgspec.json.encode(schema)
