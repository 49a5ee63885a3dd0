"""The plain bytes of an object on their way in: gathered from an async source into pieces of the sizes that are wanted.

What a source has yielded it must not write to again: large pieces are not copied, but encrypted where they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fieldstone.errors import UsageError

Buffer = bytes | bytearray | memoryview

_SMALL_BYTES = 32_768  # below this, copying is cheaper than keeping the piece apart


class Source:
    """Takes exactly so many bytes at a time from a source whose own pieces have any size."""

    def __init__(self, source: AsyncIterator[bytes | memoryview]) -> None:
        self._source = source
        self._rest = memoryview(b"")
        self.is_ended = False
        self.taken_bytes = 0

    async def pieces(self, count: int) -> list[memoryview]:
        """Return views of the next `count` bytes (fewer only at the end), as the source gave them; small ones joined."""
        found: list[memoryview] = []
        joined = bytearray()
        left = count
        while left and (self._rest or await self._pull()):
            part, self._rest = self._rest[:left], self._rest[left:]
            left -= len(part)
            if len(part) < _SMALL_BYTES:
                joined += part
            else:
                if joined:
                    found.append(memoryview(joined))
                    joined = bytearray()
                found.append(part)
        if joined:
            found.append(memoryview(joined))
        self.taken_bytes += count - left
        return found

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
