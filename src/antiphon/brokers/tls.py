"""What do the options of a URL say about TLS, and why do a server and we not agree on it?"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import TypeVar, get_type_hints

import msgspec
from msgspec import Struct

from antiphon.errors import BrokerError, ConnectionLostError, SettingsError

_PATIENCE = 2.0
"""Seconds in which a server answers a greeting that is only there to find out what it speaks."""
_MOMENT = 0.5
"""Seconds in which a server says that it does not believe our certificate: it does so after the greeting."""
_REFUSALS = {
    "WRONG_VERSION_NUMBER": ("it does not answer in TLS", "look at the port, or leave tls out"),
    # Up to TLS 1.2 a server says no more than this to who has no certificate.
    "HANDSHAKE_FAILURE": (
        "it ends the greeting of TLS",
        "it may want a certificate of ours: name it in tls_certificate; or ciphers that we do not have",
    ),
    **dict.fromkeys(
        ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER"),
        ("it speaks another TLS than we do", "let it have version 1.2 or 1.3, and their usual ciphers"),
    ),
}
"""Reasons of the library for a greeting that cannot succeed at another try either: what is so, and what helps."""
_OTHERS = "name the host in the URL as the certificate does, or look whom you have reached"
_MENDING = {9: "it is not valid yet: look at the clocks", 10: "renew it there", 62: _OTHERS, 64: _OTHERS}
"""What helps against each of OpenSSL's verdicts on a certificate."""
B = TypeVar("B")


class AtOddsError(ConnectionLostError):
    """A greeting of TLS failed. It passes where certificates are renewed; who opens a broker makes it a final one."""


def at_odds(url: str, why: str) -> AtOddsError:
    """That a server and we do not agree on TLS, and why."""
    return AtOddsError(f"cannot connect: {url} and we do not agree on TLS: {why}")


class Tls(Struct, frozen=True, kw_only=True):
    """The options about TLS, by the same names on every broker that has them."""

    tls: bool = False
    tls_ca: str | None = None
    """The file of who signed the server's certificate: nobody else is believed then."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_key_password: str | None = None

    def context(self, url: str) -> ssl.SSLContext | None:
        """None where TLS is off. Raises SettingsError where that cannot be meant, or a file cannot be used."""
        given = [name for name in self.__struct_fields__ if name != "tls" and getattr(self, name) is not None]
        if not self.tls:
            if given:
                raise SettingsError(f"{url} has options for TLS ({', '.join(given)}), but it is off: say tls=true, too")
            return None
        if self.tls_certificate is None and (alone := [name for name in given if name.startswith("tls_key")]):
            raise SettingsError(f"{url} has {' and '.join(alone)}, but no tls_certificate, of which that is the key")
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_certificate is not None:
                context.load_cert_chain(self.tls_certificate, self.tls_key, lambda: self.tls_key_password or "")
        except (OSError, ValueError) as error:
            files = ", ".join(name for name in given if name != "tls_key_password")
            raise SettingsError(f"{url}: the files of {files} cannot be used: {error}") from error
        return context


def with_tls(factory: Callable[..., B]) -> Callable[..., B]:
    """Let a factory of `connect` have the options of `Tls`: it is given them together, as `tls`."""

    @wraps(factory)
    def made(address: object, **options: object) -> B:
        ours = {name: options.pop(name) for name in Tls.__struct_fields__ if name in options}
        return factory(address, **options, tls=msgspec.convert(ours, Tls))

    # Whoever asks the function is to see each option, of which there are more than a function should list.
    hints = get_type_hints(factory, include_extras=True)
    own = [
        each.replace(annotation=hints[each.name])
        for each in inspect.signature(factory).parameters.values()
        if each.name != "tls"
    ]
    kinds = get_type_hints(Tls)
    added = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name]
        )
        for field in msgspec.structs.fields(Tls)
    ]
    vars(made)["__signature__"] = inspect.Signature([*own, *added], return_annotation=hints["return"])
    made.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return made


def distrust(error: BaseException) -> str | None:
    """Why a greeting of TLS failed and how to mend it, where that caused `error` and another try cannot help."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return not_believed(cause)
        if isinstance(cause, ssl.SSLError) and (said := refusal(cause)) is not None:
            return said
    return None


def not_believed(error: ssl.SSLCertVerificationError) -> str:
    """Why a server's certificate is refused, and what to do about that."""
    hint = _MENDING.get(error.verify_code, "name in tls_ca the file of who signed it, or look whom you have reached")
    return f"its certificate is not believed: {error.verify_message.rstrip('.')}: {hint}"


def refusal(error: ssl.SSLError) -> str | None:
    """What the server, or we, cannot accept; None for an end that may be another one's fault."""
    reason = _reason(error)
    said = reason.lower().replace("_", " ")
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "BAD_CERT" in reason):
        return f"it does not believe our certificate ({said}): renew tls_certificate, or let it be known"
    found = next((told for each, told in _REFUSALS.items() if each in reason), None)
    return None if found is None else f"{found[0]} ({said}): {found[1]}"


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "reason", None) or ""  # there is none where the greeting was ended without one


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


async def final(
    error: BaseException, url: str, place: tuple[str, int], tls: ssl.SSLContext | None, hello: bytes | None
) -> BrokerError | None:
    """The error of who opens a broker, for one that another try does not help, since it came of TLS; else None.

    With `hello` it is found out by asking the server once, within a few seconds: a greeting of TLS, and, where TLS was
    asked for, `hello`, to which a server without TLS says something. It has no secret.
    """
    if isinstance(error, AtOddsError):
        return BrokerError(str(error))
    if hello is None:
        return None
    if tls is None:
        why = "it speaks TLS on this port: say tls=true" if await _speaks_tls(*place) else None
    else:
        why, is_plain = await asyncio.gather(_objection(*place, tls), _answers_plainly(*place, hello))
        why = "it speaks no TLS on this port: look at the port, or leave tls out" if is_plain else why
    return None if why is None else BrokerError(str(at_odds(url, why)))


async def _speaks_tls(host: str, port: int) -> bool:
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        await _greet(host, port, anybody)
    except ssl.SSLError as error:
        return "ALERT" in _reason(error)  # only who speaks it can refuse in it
    except OSError:
        return False
    return True


async def _objection(host: str, port: int, tls: ssl.SSLContext) -> str | None:
    """What the server has against us, or we against it. It may say so after the greeting, which is lost by writing."""
    try:
        await _greet(host, port, tls)
    except OSError as error:
        return distrust(error)
    return None


async def _greet(host: str, port: int, tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT):
                    await reader.read(1)
        finally:
            await _hang_up(writer)


async def _answers_plainly(host: str, port: int, hello: bytes) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(hello)
                said = await reader.read(16)
            finally:
                await _hang_up(writer)
    except OSError:
        return False
    return said[:1] > b"\x1f"  # a word: what speaks TLS says nothing, or begins with the kind of a record


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
