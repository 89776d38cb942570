"""How Pydantic models become JSON and come back; the only file that imports Pydantic, when such a model is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar, cast

from pydantic import PydanticInvalidForJsonSchema, PydanticUndefinedAnnotation, TypeAdapter, ValidationError

from antiphon.errors import DeclarationError
from antiphon.schemas.json_schema import JsonSchema, inlined

T = TypeVar("T")


def adapter_of(cls: type[T]) -> TypeAdapter[T]:
    """What reads and writes `cls`. Raises DeclarationError when its types cannot be resolved, when it could not read

    what it writes, or when a model in it forbids unknown fields.
    """
    where = f"event {cls.__qualname__} in {cls.__module__}"
    try:
        adapter = TypeAdapter(cls)
        adapter.rebuild()
    except (PydanticUndefinedAnnotation, NameError) as error:
        raise DeclarationError(
            f"{where}: a field's type cannot be resolved ({error}): define or import the name at the top of that module"
        ) from error
    _check_readable(where, adapter)
    return adapter


def model_schema(adapter: TypeAdapter[T]) -> JsonSchema:
    """The JSON Schema of what is read, its own definition at the top."""
    schema: JsonSchema = adapter.json_schema(by_alias=True, mode="validation")
    definitions = cast("dict[str, JsonSchema]", schema.pop("$defs", {}))
    return inlined(schema, definitions)


def in_words(error: Exception) -> str:
    """Every problem of a validation in one line."""
    if not isinstance(error, ValidationError):
        return str(error) or type(error).__name__
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{problem['msg']} - at `{_path(problem['loc'])}`" for problem in found)


def _check_readable(where: str, adapter: TypeAdapter[T]) -> None:
    try:
        read = adapter.json_schema(by_alias=True, mode="validation")
        written = adapter.json_schema(by_alias=True, mode="serialization")
    except PydanticInvalidForJsonSchema as error:
        raise DeclarationError(f"{where}: a field has no JSON form ({error}): change the field's type") from error
    writes = {model.name: model.fields for model in _models(written)}
    for model in _models(read):
        if model.is_closed:
            raise DeclarationError(
                f"{where}: {model.name} forbids unknown fields, so it could not read what a newer version adds: "
                'take extra="forbid" out of its model_config'
            )
        for field in model.required - writes.get(model.name, model.required):
            raise DeclarationError(
                f"{where}: {model.name} reads {field!r} but does not write it: give the field one alias for both"
            )


class _Model(NamedTuple):
    """What a schema says of one model."""

    name: str
    fields: frozenset[str]
    required: frozenset[str]
    is_closed: bool


def _models(schema: JsonSchema) -> Iterator[_Model]:
    definitions = cast("dict[str, JsonSchema]", schema.get("$defs", {}))
    for name, body in (*definitions.items(), (str(schema.get("title", "")), schema)):
        fields = frozenset(cast("dict[str, object]", body.get("properties", {})))
        required = frozenset(cast("list[str]", body.get("required", [])))
        yield _Model(name, fields, required, body.get("additionalProperties") is False)


def _path(location: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
