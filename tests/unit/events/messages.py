"""Strategies that make every kind of message a broker could hand over."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from antiphon.events.message import ExtensionValue, Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001  # aware by timezones
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))

JSON_DATA = st.sampled_from(
    [
        b'{"total":10.10,"order_id":"1"}',
        b'{"big":123456789012345678901234567890,"tiny":1e-400,"long":0.1000000000000000055511151231257827}',
        b"[]",
        b"null",
        b" null ",
        b'"text"',
        '{"name":"Åsa 漢字 🎻"}'.encode(),
        b'{"line":"a\\u2028b"}',
        b"true",
    ]
)
OTHER_DATA = st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"{", b'"\xff"', b'"\\ud800"', b"[" * 2000]))
CONTENT_TYPES = st.sampled_from(
    [None, "application/json", "application/json; charset=utf-8", "text/json", "application/vnd.shop.order+json",
     "application/avro", "text/plain", "application/xml", "Application/JSON", "nonsense", "application/jsonp"]
)  # fmt: skip
TRACEPARENTS = st.one_of(
    st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
    st.sampled_from(["", "01-abc", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01", "not a trace"]),
)
RESERVED = {
    "specversion", "id", "source", "type", "time", "schemaversion", "partitionkey", "correlationid", "causationid",
    "traceparent", "tracestate", "deadline", "tenant", "datacontenttype", "data", "data_base64",
}  # fmt: skip
ATTRIBUTE_NAMES = st.one_of(
    st.sampled_from(["subject", "dataschema", "sequence", "region", "parentspanid", "traceid", "key", "timestamp"]),
    st.from_regex(r"[a-z][a-z0-9]{0,19}", fullmatch=True),
).filter(lambda name: name not in RESERVED)
EXTENSION_VALUES: st.SearchStrategy[ExtensionValue] = st.one_of(TEXT, st.booleans(), st.integers(-(2**70), 2**70))


def messages(
    names: st.SearchStrategy[str] = ATTRIBUTE_NAMES, values: st.SearchStrategy[ExtensionValue] = EXTENSION_VALUES
) -> st.SearchStrategy[Message]:
    maybe = st.none() | TEXT
    return st.builds(
        Message,
        id=WORD,
        type=WORD,
        time=TIMES,
        data=st.none() | JSON_DATA | OTHER_DATA,
        key=maybe,
        source=TEXT.filter(lambda source: source != "urn:antiphon:unknown"),
        schema_version=st.integers(1, 2**31 - 1),
        content_type=CONTENT_TYPES,
        correlation_id=maybe,
        causation_id=maybe,
        traceparent=st.none() | TRACEPARENTS,
        tracestate=st.none() | st.sampled_from(["", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"]) | TEXT,
        deadline=st.none() | TIMES,
        tenant=maybe,
        extensions=st.dictionaries(names, values, max_size=4),
    )
