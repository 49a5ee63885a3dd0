"""The plain bytes of an object on their way in: gathered from an async source into pieces of the sizes that are wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fieldstone.errors import UsageError

Buffer = bytes | bytearray | memoryview


class Source:
    """Takes exactly so many bytes at a time from a source whose own pieces have any size."""

    def __init__(self, source: AsyncIterator[bytes | memoryview]) -> None:
        self._source = source
        self._rest = memoryview(b"")
        self.is_ended = False
        self.taken_bytes = 0

    async def read_into(self, room: memoryview) -> int:
        """Fill `room`; return how many bytes there were (fewer only at the end)."""
        at = 0
        while at < len(room):
            if not self._rest and not await self._pull():
                break
            part = self._rest[: len(room) - at]
            room[at : at + len(part)] = part
            self._rest = self._rest[len(part) :]
            at += len(part)
        self.taken_bytes += at
        return at

    async def take(self, count: int) -> bytearray:
        """Return up to `count` bytes (fewer only at the end), without claiming memory for more than come."""
        found = bytearray()
        while len(found) < count and (self._rest or await self._pull()):
            part = self._rest[: count - len(found)]
            found += part
            self._rest = self._rest[len(part) :]
        self.taken_bytes += len(found)
        return found

    def give_back(self, head: Buffer) -> None:
        """Put back what was taken last."""
        self._rest = memoryview(bytes(head) + bytes(self._rest))
        self.taken_bytes -= len(head)

    async def expect_end(self) -> None:
        """Make sure that nothing follows. Raises UsageError."""
        if self._rest or await self._pull():
            raise UsageError(f"the source went on after the {self.taken_bytes} bytes that were announced")

    async def has_more(self) -> bool:
        """Say whether at least one byte follows."""
        return bool(self._rest) or await self._pull()

    async def _pull(self) -> bool:
        while not self.is_ended:
            try:
                self._rest = memoryview(await anext(self._source)).cast("B")
            except StopAsyncIteration:
                self.is_ended = True
                break
            if self._rest:
                return True
        return False
