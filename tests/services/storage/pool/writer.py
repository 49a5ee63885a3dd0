"""A gateway process for the crash test: writes, adopts and reads objects without end, and says what it has acknowledged.

python -m tests.services.storage.pool.writer FOLDER SEED
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.pool import Directory, Pool, Profile
from fieldstone.state.engine import connect_state, writing

PROFILE = Profile("3/6", 3, 6, block_bytes=8_192, segment_bytes=150_000)


def body_of(number: int) -> bytes:
    """Return the bytes of object `number`."""
    return random.Random(number).randbytes(20_000 + number % 400_000)


async def main(folder: Path, seed: int) -> None:
    engine = connect_state(folder / "gateway.db")
    pool = Pool(engine, Directory.read(folder / "nodes.json"), DeviceKey.load(folder / "key.json"), bytes(32))
    choice = random.Random(seed)
    while True:
        number = choice.randrange(1_000_000_000)
        body = body_of(number)

        async def source(body: bytes = body) -> AsyncIterator[bytes]:
            for at in range(0, len(body), 50_000):
                yield body[at : at + 50_000]

        stored = await pool.write(source(), profile=PROFILE, size_hint=choice.choice([None, len(body)]))
        with writing(engine) as connection:
            pool.adopt(connection, stored)
        segments = ",".join(f"{ref.id.hex()}:{ref.size_bytes}" for ref in stored.segments)
        print(number, stored.size_bytes, segments, flush=True)
        async for _ in pool.read(stored):
            pass


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
