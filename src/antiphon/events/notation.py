"""How times, versions, data and extensions are written inside an envelope, and read from anyone's."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime

import msgspec

from antiphon.errors import UnrecognizedMessageError
from antiphon.events.message import ExtensionValue

JSON = "application/json"

_JSON_TYPE = re.compile(r"\s*[^/;\s]+/(?:json|[^/;\s]+\+json)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_VERSION = re.compile(r"[vV]?(\d{1,10})(?:\.\d+)*")
_encode = msgspec.json.Encoder().encode
_raw = msgspec.json.Decoder(msgspec.Raw)
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_values = msgspec.json.Decoder()


def is_json(content_type: str | None) -> bool:
    """Whether a content type says JSON: `application/json`, `text/json`, anything `+json`."""
    return content_type == JSON or (content_type is not None and _JSON_TYPE.fullmatch(content_type) is not None)


def members(body: bytes, form: str) -> dict[str, msgspec.Raw]:
    """The members of the JSON object in `body`, each still as its own bytes."""
    try:
        if not body.isascii():
            body.decode()  # the serializer leaves bytes that are no UTF-8 in the members
        return _objects.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnrecognizedMessageError(f"{form}: the body is no JSON object ({error})") from error


def value_of(raw: msgspec.Raw | None) -> object:
    """What one member holds; None when it is missing, its JSON text when it is a number beyond all range."""
    if raw is None:
        return None
    try:
        return _values.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return bytes(raw).decode()


def read_text(form: str, name: str, value: object) -> str | None:
    """A member that is text. Numbers and booleans are taken as written; objects and arrays are refused."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise UnrecognizedMessageError(f"{form}: {name} is {value!r}, expected text")


def required(form: str, name: str, value: str | None) -> str:
    if value:
        return value
    raise UnrecognizedMessageError(f"{form}: {name} is {'empty' if value == '' else 'missing'}")


def write_time(moment: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond. A time without an offset is taken as UTC."""
    if moment.tzinfo is not UTC:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return _encode(moment)[1:-1].decode()


def read_time(form: str, name: str, value: object) -> datetime | None:
    """A moment in UTC, from RFC 3339 with any offset; digits below a microsecond are cut off."""
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str):
            raise ValueError("not text")
        moment = datetime.fromisoformat(value.upper())
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnrecognizedMessageError(
            f"{form}: {name} is {value!r}, expected a time such as 2026-01-31T09:30:00Z"
        ) from error


def read_version(form: str, name: str, value: object) -> int:
    """A schema version: 3, "3", "v3"; of "3.1" the part that breaks readers, 3. Missing means 1."""
    if value is None or value == "":
        return 1
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, str) and (found := _VERSION.fullmatch(value)):
        return int(found[1])
    raise UnrecognizedMessageError(f"{form}: {name} is {value!r}, expected a whole number")


def embed(data: bytes, content_type: str | None) -> msgspec.Raw | None:
    """The data as a JSON value that keeps every digit; None when only Base64 can carry it.

    JSON null goes as Base64, too, since many take a null for no data.
    """
    if not is_json(content_type):
        return None
    try:
        if not data.isascii():
            data.decode()
        raw = _raw.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if data.strip() == b"null" else raw


def to_base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def from_base64(form: str, name: str, value: object) -> bytes:
    try:
        return b64decode(str(read_text(form, name, value)), validate=True)
    except ValueError as error:
        raise UnrecognizedMessageError(f"{form}: {name} is no Base64 ({error})") from error


def extracted(raw: msgspec.Raw | None, content_type: str | None) -> bytes | None:
    """The bytes of a JSON member that holds data: itself when the type says JSON, the text in it otherwise."""
    if raw is None or (data := bytes(raw)) == b"null":
        return None
    if not is_json(content_type) and data[:1] == b'"':
        return str(value_of(raw)).encode()
    return data


def extension(raw: msgspec.Raw) -> ExtensionValue | None:
    """An attribute that nobody here knows; fractions, objects and arrays survive as their JSON text."""
    value = value_of(raw)
    if value is None or isinstance(value, str | bool | int):
        return value
    return bytes(raw).decode()


def extension_text(value: ExtensionValue) -> str:
    """An extension where only text fits: true, false, and numbers in decimal."""
    if isinstance(value, str):
        return value
    return str(value).lower()
