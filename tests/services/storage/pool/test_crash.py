"""kill -9 of the gateway at random moments: nothing acknowledged is lost, nothing is left behind, no voucher falls."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.pool import Pool, SegmentRef, Stored, Sweeper
from fieldstone.services.storage.pool.tables import segment, share
from fieldstone.state.engine import connect_state
from tests.services.storage.pool.conftest import everything
from tests.services.storage.pool.provider import Provider, directory_of
from tests.services.storage.pool.writer import body_of

KILLS = int(os.environ.get("FIELDSTONE_POOL_KILLS", "4"))


async def run_until_killed(folder: Path, seed: int, choice: random.Random) -> list[tuple[int, Stored]]:
    """Let a gateway work for a random time after its first acknowledgement, kill it, return what it acknowledged."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.services.storage.pool.writer",
        str(folder),
        str(seed),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    lines = [await asyncio.wait_for(child.stdout.readline(), 60)]
    await asyncio.sleep(choice.uniform(0.0, 0.4))
    child.kill()
    lines += (await child.stdout.read()).splitlines(keepends=True)
    await child.wait()
    found = []
    for line in lines:
        if line.endswith(b"\n"):
            number, size, refs = line.decode().split()
            parts = (ref.split(":") for ref in refs.split(","))
            found.append(
                (int(number), Stored(int(size), tuple(SegmentRef(bytes.fromhex(i), int(s)) for i, s in parts)))
            )
    return found


@pytest.mark.crash
async def test_killed_gateways_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    key, choice = DeviceKey.generate(), random.Random()
    key.save(tmp_path / "key.json")
    providers = [Provider() for _ in range(8)]
    for provider in providers:
        await provider.__aenter__()
    directory = directory_of(providers)
    (tmp_path / "nodes.json").write_bytes(msgspec.json.encode({"nodes": list(directory)}))
    engine = connect_state(tmp_path / "gateway.db")
    acknowledged: list[tuple[int, Stored]] = []
    swept = 0
    for seed in range(KILLS):
        acknowledged += await run_until_killed(tmp_path, seed, choice)
        pool = Pool(engine, directory, key, bytes(32))
        sweeper = Sweeper(pool.parts, is_alone=True, pending_ms=0, dropped_ms=0)
        swept += (await sweeper.once()).abandoned
        for number, stored in acknowledged:
            assert await everything(pool, stored) == body_of(number)
        with engine.connect() as connection:
            assert set(connection.execute(select(segment.c.state)).scalars()) == {"live"}
            known = set(connection.execute(select(share.c.id).where(share.c.state == "held")).scalars())
        await pool.close()
        kept = [share_id for provider in providers for share_id in provider.shares]
        assert len(kept) == len(set(kept)) and set(kept) == known
    for provider in providers:
        pieces = sorted(
            (o.egress_bytes - (o.end - o.start), o.egress_bytes) for o in provider.orders if o.operation == "get"
        )
        assert all(high <= low for (_, high), (low, _) in pairwise(pieces))
    counts = defaultdict(int)
    for number, _ in acknowledged:
        counts[number] += 1
    assert len(acknowledged) >= KILLS and max(counts.values()) == 1
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged, {swept} segments swept")
    for provider in providers:
        await provider.__aexit__(None, None, None)
