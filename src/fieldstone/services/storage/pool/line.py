"""All connections to one provider: kept open, used again, and a request repeated where a kept one had gone."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fieldstone.services.storage.pool.intake import Intake
from fieldstone.services.storage.pool.wire import Answer, Blocks, Connection, Sink, WireProblem

CONNECT_S = 5.0
IDLE_CONNECTIONS = 8  # kept open per provider


@dataclass(slots=True)
class Line:
    """All connections to one provider. `url` is its address without path; `intake` may be shared with other lines."""

    url: str
    tls: ssl.SSLContext | None = None
    intake: Intake = field(default_factory=Intake)
    _idle: deque[Connection] = field(default_factory=deque)
    _busy: set[Connection] = field(default_factory=set)
    _is_closed: bool = False

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        length: int | None = None,
        body: Callable[[], Blocks] | None = None,
        sink: Sink | None = None,
        silent: Callable[[], None] | None = None,
    ) -> Answer:
        """Send one request and return its answer. Raises WireProblem.

        A request whose kept connection had gone is sent again, so it must be harmless twice; `body` makes its bytes anew.
        `silent` is called when we are cancelled before an answer has begun to come.
        """
        parts = urlsplit(self.url)
        lines = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}", *(f"{name}: {value}" for name, value in headers)]
        if length is not None:
            lines.append(f"content-length: {length}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        while True:
            connection, is_kept = await self._take()
            try:
                answer = await connection.exchange(head, body() if body is not None else None, sink)
            except WireProblem as problem:
                # the provider closed a kept connection just as we used it; nothing of an answer has come
                if is_kept and problem.kind == "broken" and not connection.has_answer:
                    continue
                raise
            except asyncio.CancelledError:
                if silent is not None and not connection.has_answer:
                    silent()
                raise
            finally:
                self._busy.discard(connection)
            if connection.is_free and len(self._idle) < IDLE_CONNECTIONS and not self._is_closed:
                self._idle.append(connection)
            else:
                connection.abort()
            return answer

    async def _take(self) -> tuple[Connection, bool]:
        while self._idle:
            connection = self._idle.pop()  # the one used last: the others may be closed by age
            if connection.is_free:
                self._busy.add(connection)
                return connection, True
        parts = urlsplit(self.url)
        is_tls = parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.intake),
                    parts.hostname or "",
                    port,
                    ssl=(self.tls or _trusted()) if is_tls else None,
                )
        except TimeoutError:
            raise WireProblem("offline", f"{self.url} did not take a connection within {CONNECT_S:.0f} s") from None
        except (OSError, ValueError) as error:  # the latter: a name that is none, like `a..b`
            said = getattr(error, "strerror", None) or error
            raise WireProblem("offline", f"{self.url} cannot be reached: {said}") from None
        self._busy.add(connection)
        return connection, False

    def retire(self) -> None:
        """Close what is not in use, and each other connection when its answer is there: the provider is elsewhere now."""
        self._is_closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def close(self) -> None:
        """Break all connections off."""
        self.retire()
        for connection in self._busy:
            connection.abort()


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Return what the system trusts, read once: it takes tens of milliseconds, which no loop has for each connection."""
    return ssl.create_default_context()
