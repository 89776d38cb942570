"""What are topics, groups and their partitions called on the server?

A name keeps its letters, digits, `_` and `-`; every other byte becomes `=` and two hexadecimal digits, so that no
two names meet and none can be taken for a wildcard or for a subject of the server's own. In subjects dots stay.
"""

from __future__ import annotations

import re

_OTHER = re.compile(rb"[^A-Za-z0-9_-]")
_IN_STREAM = re.compile("[A-Za-z0-9_-]+")
_IN_SUBJECT = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


def token(name: str) -> str:
    """The name as one token of a subject, and as the name of a stream."""
    if _IN_STREAM.fullmatch(name):
        return name
    raw = name.encode("utf-8", "surrogatepass")
    return _OTHER.sub(lambda found: b"=%02X" % found[0][0], raw).decode("ascii")


def subject_of(topic: str) -> str:
    """What the subjects of a topic's partitions begin with."""
    if _IN_SUBJECT.fullmatch(topic):
        return topic
    return f"=5F{token(topic[1:])}" if topic.startswith("_") else token(topic)


def subjects_of(topic: str, partitions: int, namespace: str = "") -> list[str]:
    start = f"{namespace}.{subject_of(topic)}" if namespace else subject_of(topic)
    return [f"{start}.{number}" for number in range(partitions)]


def stream_of(topic: str, namespace: str = "") -> str:
    # Two `=` stand in no encoded name, so that no topic is taken for one of another namespace.
    return f"{namespace}=={token(topic)}" if namespace else token(topic)


def bucket_of(namespace: str = "") -> str:
    """Where groups keep their places."""
    return f"antiphon-{namespace}" if namespace else "antiphon"
