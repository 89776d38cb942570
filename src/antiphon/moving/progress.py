"""How far has a move come? It is written down before each step whose repetition needs it, and survives a crash."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct, field

from antiphon.errors import UsageError


class Stage(StrEnum):
    """What a move is at."""

    CARRYING = "carrying"
    PLACED = "placed"
    """Everything is on the other broker, and the groups stand there; left is to move them to the end of the log."""
    DONE = "done"


class TopicProgress(Struct):
    """After which positions a topic is carried, and where its partitions ended on the other broker before that."""

    starts: Mapping[int, str]
    base: Mapping[int, str]
    ends: Mapping[int, str] = field(default_factory=dict[int, str])
    """Where it ended on the log when all was carried."""
    groups: list[str] = field(default_factory=list[str])
    """Those whose queues were filled."""


class Progress(Struct):
    """A move that was begun."""

    source: str
    target: str
    stage: Stage = Stage.CARRYING
    topics: dict[str, TopicProgress] = field(default_factory=dict[str, TopicProgress])
    groups: list[str] = field(default_factory=list[str])


class ProgressFile:
    """Keeps the progress of one move in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, source: str, target: str) -> Progress | None:
        """How far this move has come; None where none was begun, or only others that are done.

        Raises UsageError where the file is about another move that is not done, or unreadable.
        """
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=Progress)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(f"{self.path} does not tell how far a move has come: {error}") from error
        if (found.source, found.target) == (source, target):
            return found
        if found.stage is not Stage.DONE:
            raise UsageError(
                f"{self.path} is about a move from {found.source} to {found.target} that is not done: finish that one, "
                "or name another file with --progress"
            )
        return None

    def save(self, progress: Progress) -> None:
        """Keep it; returns when it is durable. Raises UsageError."""
        beside = self.path.with_name(f".{self.path.name}.new")
        try:
            with beside.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(progress)))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written, and a move keeps there how far it has come: {error}"
            ) from error
