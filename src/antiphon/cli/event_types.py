"""Which event types does the imported code declare, and which one does a name mean?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from antiphon.errors import DeclarationError, UsageError
from antiphon.events.declare import declaration_of
from antiphon.schemas.codec import codec_for


def event_types() -> list[type]:
    """The event classes declared by whatever was imported."""
    found: list[type] = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "antiphon":
            # By their own class, not by what they say: Django's settings say nothing before they are configured.
            classes = [value for value in list(vars(module).values()) if issubclass(type(value), type)]
            found += [cls for cls in classes if _is_event(cls)]
    return list(dict.fromkeys(found))


def _is_event(cls: type) -> bool:
    try:
        declaration_of(cls)
    except DeclarationError:
        return False
    return True


def find_event_type(name: str, types: Sequence[type]) -> type:
    """The class that `name` means: its name on the wire, or `module:Class`.

    Raises UsageError when there is none, or when several differ; declarations that write the same are one.
    """
    found = [cls for cls in types if name in (declaration_of(cls).name, _path(cls))]
    if not found:
        known = sorted({declaration_of(cls).name for cls in types})
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}" if close else f"there are {', '.join(known) or 'none'}"
        raise UsageError(f"no event is called {name!r}: {hint}")
    if len({_form(cls) for cls in found}) > 1:
        paths = ", ".join(_path(cls) for cls in found)
        raise UsageError(f"{name!r} is declared with different fields by {paths}: name one of these instead")
    return found[0]


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _form(cls: type) -> str:
    """What decides whether two declarations write the same: topic, version and schema without the prose."""
    declared = declaration_of(cls)
    properties = codec_for(cls).json_schema().get("properties")
    return f"{declared.topic} {declared.version} {properties}"
