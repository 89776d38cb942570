"""A road to a server on which somebody listens."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.integration.postgres.cutting import Road


class OverheardRoad(Road):
    """Keeps what clients say."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.heard = b""

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):  # one that hangs up in the middle of a greeting
            while data := await reader.read(65536):
                if not answers:
                    self.heard += data
                writer.write(data)
        writer.close()
