"""How Pydantic models become JSON and come back; the only file that imports Pydantic, when such a model is used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

from pydantic import PydanticUndefinedAnnotation, TypeAdapter

from antiphon.errors import DeclarationError
from antiphon.events.declare import Declaration
from antiphon.schemas.json_schema import JsonSchema, inlined

T = TypeVar("T")


def pydantic_serializer(
    cls: type[T], declaration: Declaration
) -> tuple[Callable[[T], bytes], Callable[[bytes], T], Callable[[], JsonSchema]]:
    """What `codec_for` needs: write, read, schema. By alias both ways, so that what is written can be read."""
    try:
        adapter = TypeAdapter(cls)
        adapter.rebuild()
    except (PydanticUndefinedAnnotation, NameError) as error:
        raise DeclarationError(
            f"event {cls.__qualname__} in {cls.__module__}: a field's type cannot be resolved ({error}): "
            "define or import the name at the top of that module"
        ) from error
    return partial(adapter.dump_json, by_alias=True), adapter.validate_json, partial(_schema, adapter)


def _schema(adapter: TypeAdapter[T]) -> JsonSchema:
    schema: JsonSchema = adapter.json_schema(by_alias=True, mode="validation")
    definitions = cast("dict[str, JsonSchema]", schema.pop("$defs", {}))
    return inlined(schema, definitions)
