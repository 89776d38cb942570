"""What handlers ask for by type: made once at start, closed at stop."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import get_args, get_origin

from msgspec import Struct

from antiphon.errors import DeclarationError, HandlingError
from antiphon.runtime.signature import resolve_hints, where

_GENERATORS = (AsyncGenerator, AsyncIterator, Generator, Iterator)


class Provider(Struct, frozen=True):
    """A factory for one type. A generator's part after its yield runs at stop."""

    function: Callable[..., object]
    gives: type
    needs: tuple[tuple[str, type], ...]


def read_provider(function: Callable[..., object], local_names: Mapping[str, object]) -> Provider:
    """The provider that a factory's annotations declare. Raises DeclarationError."""
    hints = dict(resolve_hints(function, local_names))
    gives = hints.pop("return", None)
    if get_origin(gives) in _GENERATORS:
        gives = get_args(gives)[0]
    if not isinstance(gives, type) or gives is type(None):
        raise DeclarationError(f"{where(function)}: a provider says what it gives by its return annotation, one class")
    for name in inspect.signature(function).parameters:
        if not isinstance(hints.get(name), type):
            raise DeclarationError(f"{where(function)}: parameter {name!r} must be annotated with one class")
    return Provider(function, gives, tuple((name, kind) for name, kind in hints.items() if isinstance(kind, type)))


def check_providers(providers: Mapping[type, Provider], wanted: Mapping[str, Sequence[type]]) -> None:
    """Raise DeclarationError for what a handler asks for and nobody provides."""
    asked = [(who, kind) for who, kinds in wanted.items() for kind in kinds]
    asked += [(where(one.function), kind) for one in providers.values() for _, kind in one.needs]
    for who, kind in asked:
        if kind not in providers:
            known = ", ".join(sorted(each.__name__ for each in providers)) or "nothing yet"
            raise DeclarationError(
                f"{who} asks for {kind.__name__}, which the service does not provide (it provides {known}): "
                f"declare @service.provides on a function that returns {kind.__name__}"
            )


class Dependencies:
    """The values of one running service, made in the order of their needs."""

    def __init__(self, providers: Mapping[type, Provider], given: Mapping[type, object] = MappingProxyType({})) -> None:
        """What is `given` is used as it is; its provider is not called, and nobody closes it."""
        self._providers = providers
        self._stack = AsyncExitStack()
        self.values: dict[type, object] = dict(given)

    async def open(self) -> None:
        """Make every value. When it raises, nothing stays open.

        Raises DeclarationError on a circle, HandlingError when a factory fails.
        """
        try:
            for kind in self._providers:
                await self._make(kind, ())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close in reverse order. Twice is safe."""
        self.values.clear()
        await self._stack.aclose()

    async def _make(self, kind: type, path: tuple[type, ...]) -> object:
        if kind in self.values:
            return self.values[kind]
        if kind in path:
            circle = " -> ".join(each.__name__ for each in (*path, kind))
            raise DeclarationError(f"providers need each other in a circle: {circle}")
        provider = self._providers[kind]
        given = {name: await self._make(need, (*path, kind)) for name, need in provider.needs}
        try:
            value = self.values[kind] = await self._call(provider.function, given)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            raise HandlingError(f"{where(provider.function)}, which provides {kind.__name__}: {failure}") from error
        return value

    async def _call(self, function: Callable[..., object], given: Mapping[str, object]) -> object:
        if inspect.isasyncgenfunction(function):
            return await self._stack.enter_async_context(asynccontextmanager(function)(**given))
        if inspect.isgeneratorfunction(function):
            return self._stack.enter_context(contextmanager(function)(**given))
        made = function(**given)
        return await made if inspect.isawaitable(made) else made


def fetched_type(function: Callable[..., object], local_names: Mapping[str, object]) -> type:
    """What a fetcher returns. Raises DeclarationError."""
    gives = resolve_hints(function, local_names).get("return")
    if not isinstance(gives, type) or not inspect.iscoroutinefunction(function):
        raise DeclarationError(
            f"{where(function)}: a fetcher is an async function whose return annotation is one class"
        )
    return gives
