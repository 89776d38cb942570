"""What does PostgreSQL make of a statement's text? Found out once for each text."""

from __future__ import annotations

from antiphon.storage.dialects import spoken
from antiphon.storage.postgres.placeholders import Numbered, numbered
from antiphon.storage.statements import refuse_owners_words

Text = Numbered
_MOST = 10_000


class Texts:
    """The texts that were judged and translated already; bounded."""

    def __init__(self) -> None:
        self._known: dict[tuple[type[str], str], Text] = {}

    def of(self, sql: str) -> Text:
        """The text in PostgreSQL's own words. Raises StatementError for one that would end the transaction."""
        known = self._known.get((type(sql), sql))
        return known or self._admit(sql)

    def _admit(self, sql: str) -> Text:
        said = spoken(sql, "postgres")
        refuse_owners_words(said)
        if len(self._known) >= _MOST:
            self._known.clear()
        text = self._known[type(sql), sql] = numbered(said)
        return text
