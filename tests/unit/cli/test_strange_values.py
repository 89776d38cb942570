"""What a user's module holds may answer nothing before it is ready, as Django's settings do: it is passed over."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from antiphon.cli.event_types import event_types
from tests.unit.runtime.shop_events import OrderPlaced


class Lazy:
    """As settings that nobody has configured."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("not configured")


def test_what_cannot_be_asked_for_its_class_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("strange")
    vars(module).update(lazy=Lazy(), OrderPlaced=OrderPlaced)
    monkeypatch.setitem(sys.modules, "strange", module)
    assert OrderPlaced in event_types()
