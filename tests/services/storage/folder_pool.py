"""A pool on a folder: the real pool's interface, durable in the same way, without providers.

python -m tests.services.storage.folder_pool DIR [--database URL]   serves a gateway on it, prints its endpoint
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sqlalchemy import BigInteger, Column, Connection, Engine, LargeBinary, MetaData, Table, Text, select

from fieldstone.errors import Retryable
from fieldstone.services.storage.pool import INLINE_BYTES, Profile, SegmentRef, Stored

metadata = MetaData()
segment = Table(
    "test_segment",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("state", Text, nullable=False),  # pending | live | dropped
    Column("uses", BigInteger, nullable=False),
)


class FolderPool:
    """Segments are files; counts are rows. `fail` makes the next writes or reads fail as a short network does."""

    def __init__(self, engine: Engine, folder: Path, segment_bytes: int = 4 << 20) -> None:
        self.engine = engine
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.failing = False
        folder.mkdir(parents=True, exist_ok=True)
        metadata.create_all(engine)

    async def write(
        self, source: AsyncIterator[bytes | memoryview], *, profile: Profile, size_hint: int | None = None
    ) -> Stored:
        if self.failing:
            raise Retryable("too few storage nodes; try again")
        held = bytearray()
        refs: list[SegmentRef] = []
        async for piece in source:
            held += piece
            while len(held) >= self.segment_bytes:
                refs.append(await self._store(bytes(held[: self.segment_bytes])))
                del held[: self.segment_bytes]
        if not refs and len(held) <= INLINE_BYTES:
            return Stored(len(held), (), bytes(held))
        if held:
            refs.append(await self._store(bytes(held)))
        return Stored(sum(ref.size_bytes for ref in refs), tuple(refs))

    async def _store(self, data: bytes) -> SegmentRef:
        segment_id = secrets.token_bytes(16)

        def put() -> None:
            with self.engine.begin() as connection:
                connection.execute(segment.insert().values(id=segment_id, state="pending", uses=0))
            path = self.folder / segment_id.hex()
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

        await asyncio.to_thread(put)
        return SegmentRef(segment_id, len(data))

    def holding(self, segment_ids: Sequence[bytes]) -> AbstractContextManager[None]:
        return nullcontext()  # nothing sweeps the folder

    def open_inline(self, inline: bytes) -> bytes:
        if self.failing:
            raise Retryable("too few storage nodes; try again")
        return inline

    async def read(self, stored: Stored, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        end = stored.size_bytes if end is None else end
        if self.failing:
            raise Retryable("too few shares can be had; try again")
        if stored.inline is not None:
            yield stored.inline[start:end]
            return
        before = 0
        for ref in stored.segments:
            low, high = max(start - before, 0), min(end - before, ref.size_bytes)
            before += ref.size_bytes
            if low < high:
                with (self.folder / ref.id.hex()).open("rb") as file:
                    file.seek(low)
                    left = high - low
                    while left:
                        data = file.read(min(left, 1 << 20))
                        left -= len(data)
                        yield data

    def adopt(self, connection: Connection, stored: Stored) -> None:
        for segment_id, count in Counter(ref.id for ref in stored.segments).items():
            where = (segment.c.id == segment_id, segment.c.state != "dropped")
            done = connection.execute(segment.update().where(*where).values(state="live", uses=segment.c.uses + count))
            if done.rowcount != 1:
                raise Retryable(f"segment {segment_id.hex()} is gone")

    def drop(self, connection: Connection, stored: Stored) -> None:
        for segment_id, count in Counter(ref.id for ref in stored.segments).items():
            where = (segment.c.id == segment_id, segment.c.uses >= count)
            done = connection.execute(segment.update().where(*where).values(uses=segment.c.uses - count))
            assert done.rowcount == 1, "a segment was dropped more often than it was adopted"
            idle = segment.update().where(segment.c.id == segment_id, segment.c.uses == 0)
            connection.execute(idle.values(state="dropped"))

    def uses(self) -> dict[bytes, int]:
        """Return how often every segment that was ever adopted is used."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(segment.c.id, segment.c.uses).where(segment.c.state != "pending"))
            return {row[0]: row[1] for row in rows}


def serve_folder(folder: Path, database: str | None, port: int, ready: Callable[[str, str], None]) -> None:
    """Serve until a signal; `ready` gets the addresses of the S3 and the admin door."""
    import uvloop

    from fieldstone.node.logs import configure
    from fieldstone.services.storage.catalog.accounts import SecretBox, create_account, list_accounts
    from fieldstone.services.storage.catalog.schema import create_tables
    from fieldstone.services.storage.catalog.store import Store
    from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
    from fieldstone.services.storage.s3.server.run import listen, serve
    from fieldstone.state.engine import connect_state

    configure("error")
    engine = connect_state(database or folder / "gateway.db")
    create_tables(engine)
    store = Store(engine)
    box = SecretBox(b"\1" * 32)

    def accounts(connection: Connection) -> None:
        if not list_accounts(connection):
            for name in ("main", "alt"):
                create_account(
                    connection, box, name, account_id=name[0] * 64, email=f"{name}@example.org",
                    access_key=f"{name.upper()}KEY", secret=f"{name}-secret",
                )  # fmt: skip

    store.write_now(accounts)
    pool = FolderPool(engine, folder / "segments")
    options = GatewayOptions(Profile("1/1", 1, 1), base_domains=("s3.localhost",), trusted_proxies=("127.0.0.1",))
    gateway = Gateway(store, pool, box, options)
    listener, admin = listen("127.0.0.1", port), listen("127.0.0.1", 0)
    doors = [f"http://127.0.0.1:{door.getsockname()[1]}" for door in (listener, admin)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(gateway, listener, admin=admin, ready=lambda: ready(*doors)))
    store.close()


def fork_on_demand(folder: Path, port: int) -> None:
    """Start a gateway for every line on stdin, when the one before it is dead; say its process id and address."""
    import uvloop  # noqa: F401  loaded once, for all

    from fieldstone.services.storage.s3.server import app, run  # noqa: F401

    child = 0
    for _ in sys.stdin:
        if child:
            os.waitpid(child, 0)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:

            def ready(s3: str, _admin: str, end: int = writing) -> None:
                os.write(end, s3.encode())

            serve_folder(folder, None, port, ready)
            os._exit(0)
        os.close(writing)
        endpoint = os.read(reading, 100).decode()
        os.close(reading)
        print(child, endpoint, flush=True)
    if child:
        os.kill(child, signal.SIGKILL)


def main() -> None:
    """Serve until a signal; the first line on stdout is JSON with the addresses."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("dir", type=Path)
    arguments.add_argument("--database", default=None)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--forks", action="store_true")
    given = arguments.parse_args()
    if given.forks:
        fork_on_demand(given.dir, given.port)
        return
    serve_folder(
        given.dir, given.database, given.port,
        lambda s3, admin: print(json.dumps({"endpoint": s3, "admin": admin}), flush=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
