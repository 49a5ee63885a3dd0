"""PUT and GET of whole objects through the pool with one provider process per share on this machine.

    python bench/storage_pool.py [--profile 20/40] [--mib 64] [--rounds 5] [--disk DIR] [--cprofile]

Prints MB/s (wall) and CPU-seconds per GiB of the gateway's side and of all providers together, with a breakdown of the
parts of the work measured alone. The loop is uvloop, as in the gateway. Bounded to a few minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import resource
import shutil
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvloop

from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.services.storage.codes import cipher, erasure, fast_tree
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool import Directory, Node, Pool, Stored, profile_named
from fieldstone.services.storage.pool.coding import STEP_BYTES, CodedSegment
from fieldstone.services.storage.pool.memory import keep_freed_memory
from fieldstone.state.engine import connect_state

MIB = 2**20
_TICK = os.sysconf("SC_CLK_TCK")


def provide(folder: Path, secret: bytes, gateway: str, port: int) -> None:
    """Serve one provider in this process until a signal comes."""
    from fieldstone.services.storage.provider.door import Door
    from fieldstone.services.storage.provider.orders import Listed
    from fieldstone.services.storage.provider.server import Server
    from fieldstone.services.storage.provider.store import Store

    store = Store(folder, 64 * 2**30)
    key = DeviceKey.from_secret(Algorithm.ED25519, secret)
    Server(lambda: Door(store, key, Listed([gateway]), threads=2), "127.0.0.1", port).serve()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fork_providers(count: int, root: Path, gateway: str) -> tuple[list[int], Directory]:
    import fieldstone.services.storage.provider.server  # noqa: F401  imported once, before forking

    pids, nodes = [], []
    for number in range(count):
        secret, port = os.urandom(32), free_port()
        pid = os.fork()
        if pid == 0:
            try:
                provide(root / f"provider-{number}", secret, gateway, port)
            finally:
                os._exit(0)
        pids.append(pid)
        did = DeviceKey.from_secret(Algorithm.ED25519, secret).public.device_id
        one = f"{number}"
        nodes.append(
            Node(did=did, url=f"http://127.0.0.1:{port}", operator=one, maker=one, prefix=one, region=str(number % 7))
        )
    return pids, Directory(nodes)


def cpu_of(pids: list[int]) -> float:
    """Return the CPU seconds of processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


async def pieces(body: memoryview, size: int = 65_536) -> AsyncIterator[memoryview]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def measure(pool: Pool, pids: list[int], name: str, mib: int, rounds: int, profiled: bool) -> None:
    profile = profile_named(name)
    body = memoryview(os.urandom(mib * MIB))
    for _ in range(100):
        if all(await asyncio.gather(*(pool.parts.nodes.is_up(node) for node in pool.directory))):
            break
        await asyncio.sleep(0.1)
    stored: list[Stored] = []

    async def put() -> None:
        found = await pool.write(pieces(body), profile=profile, size_hint=len(body))
        with pool.parts.database.engine.begin() as connection:
            pool.adopt(connection, found)
        stored.append(found)

    async def get() -> None:
        at = 0
        async for part in pool.read(stored[-1]):
            at += len(part)
        assert at == len(body)

    async def get_without_three() -> None:
        """Three of the data shares' nodes do not answer: their bytes are rebuilt."""
        segment = await pool.parts.segment(stored[-1].segments[0].id)
        devices = [segment.shares[number].device for number in range(3)]
        for device in devices:
            pool.parts.nodes.health(device).failures_in_row = 1
        await get()
        for device in devices:
            pool.parts.nodes.health(device).failures_in_row = 0

    await put()
    await get()
    print(f"{name}, {mib} MiB, {len(pids)} providers; medians of {rounds}")
    print(f"{'':26}{'MB/s wall':>11}{'gateway':>10}{'(system)':>10}{'providers':>11}   CPU-s per GiB")
    for title, work in (("PUT", put), ("GET", get), ("GET, 3 data nodes away", get_without_three)):
        walls, own, theirs, system = [], [], [], []
        profiler = cProfile.Profile(time.thread_time)
        for _ in range(rounds):
            began, cpu, their_cpu = time.perf_counter(), time.process_time(), cpu_of(pids)
            system_began = resource.getrusage(resource.RUSAGE_SELF).ru_stime
            if profiled:
                profiler.enable()
            await work()
            profiler.disable()
            walls.append(time.perf_counter() - began)
            own.append(time.process_time() - cpu)
            system.append(resource.getrusage(resource.RUSAGE_SELF).ru_stime - system_began)
            theirs.append(cpu_of(pids) - their_cpu)
        gib = len(body) / 2**30
        speed = len(body) / 1e6 / statistics.median(walls)
        print(
            f"{title:26}{speed:11.0f}{statistics.median(own) / gib:10.2f}{statistics.median(system) / gib:10.2f}{sum(theirs) / rounds / gib:11.2f}"
        )
        if profiled:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(22)
    print(f"peak memory of the gateway {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def alone(name: str, mib: int) -> None:
    """Measure the parts of the work alone, on one thread."""
    profile = profile_named(name)
    size = mib * MIB
    body = memoryview(os.urandom(size))
    layout = Layout(cipher.sealed_bytes(size), profile.k, profile.n, profile.block_bytes)
    seal = cipher.SegmentCipher(bytes(32), bytes(16))
    sealed = bytearray(layout.size_bytes)

    def advance() -> None:
        coded = CodedSegment(layout, size, profile.leaf_bytes, seal)
        for at in range(0, size, STEP_BYTES):
            coded.coded_stripes = coded.advance([body[at : at + STEP_BYTES]])

    def hash_all() -> None:
        for _ in range(profile.n):
            fast_tree.Tree.build(body[: layout.share_bytes], profile.leaf_bytes)

    def code_all() -> None:
        block = [body[i * profile.block_bytes : (i + 1) * profile.block_bytes] for i in range(profile.k)]
        for _ in range(layout.stripes):
            erasure.code(profile.k, profile.n).encode(block)

    def seal_all() -> None:
        sealed[:] = seal.seal(body)

    def open_all() -> None:
        seal.open(sealed)

    works: list[tuple[str, Callable[[], None]]] = [
        ("seal", seal_all), ("open", open_all), ("encode", code_all), ("hash n shares", hash_all),
        ("seal, encode, hash", advance),
    ]  # fmt: skip
    for title, work in works:
        work()
        cpu = time.process_time()
        work()
        print(f"{title:26}{(time.process_time() - cpu) / (size / 2**30):10.2f} CPU-s per GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="20/40")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--disk", default=None)
    parser.add_argument("--cprofile", action="store_true")
    options = parser.parse_args()
    keep_freed_memory()
    root = Path(tempfile.mkdtemp(dir=options.disk))
    key = DeviceKey.generate()
    pids, directory = fork_providers(profile_named(options.profile).n, root, key.public.device_id)
    try:
        pool = Pool(connect_state(root / "gateway.db"), directory, key, bytes(32))

        async def run() -> None:
            try:
                await measure(pool, pids, options.profile, options.mib, options.rounds, options.cprofile)
            finally:
                await pool.close()

        uvloop.run(run())
        alone(options.profile, options.mib)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        for pid in pids:
            os.waitpid(pid, 0)
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
