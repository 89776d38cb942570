"""What can be said of a SQL text without running it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from antiphon.errors import StatementError

# Who begins a transaction ends it; the others would do nothing good inside one.
_OWNERS_WORDS = frozenset(
    {
        "begin",
        "start",
        "commit",
        "end",
        "rollback",
        "abort",
        "savepoint",
        "release",
        "prepare",
        "vacuum",
        "attach",
        "detach",
    }
)

_ENDING_WORDS = frozenset({"commit", "end", "rollback", "abort"})


def refuse_owners_words(sql: str) -> None:
    """Raise StatementError for a statement that would end the transaction, or undo parts of it, by itself."""
    if first_word(sql) in _OWNERS_WORDS:
        raise StatementError(f"cannot run {shorten(sql)!r}: who began the transaction ends it and undoes its parts")


def ends_transaction(sql: str) -> bool:
    """Whether a statement ends its transaction, as one of parts in it does not."""
    words = sql.lower().replace(";", " ").split() if first_word(sql) in _ENDING_WORDS else []
    return bool(words) and "to" not in words[1:3]


class KnownStatements(set[str]):
    """The texts that were judged already, so that a statement costs that once; bounded."""

    _MOST = 10_000

    def admit(self, sql: str) -> None:
        """Judge a new one. Raises StatementError."""
        refuse_owners_words(sql)
        if len(self) >= self._MOST:
            self.clear()
        self.add(sql)


def split_script(sql: str, is_complete: Callable[[str], bool]) -> Iterator[str]:
    """The statements of a script. `is_complete` knows the semicolons in strings, comments and triggers."""
    pending = ""
    for piece in sql.split(";"):
        pending += piece + ";"
        if is_complete(pending):
            if first_word(pending):
                yield pending.strip()
            pending = ""
    if first_word(pending):
        yield pending.removesuffix(";").strip()


def first_word(sql: str) -> str:
    """The first word in lower case, past comments; empty when there is none."""
    rest = sql.lstrip()
    while rest.startswith(("--", "/*")):
        end = "\n" if rest.startswith("--") else "*/"
        rest = rest.partition(end)[2].lstrip()
    return rest.split(None, 1)[0].partition(";")[0].lower() if rest else ""


def shorten(sql: str) -> str:
    """On one line and not too long, for error texts."""
    text = " ".join(sql.split())
    return text if len(text) <= 120 else text[:117] + "..."
