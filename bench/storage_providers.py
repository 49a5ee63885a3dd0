"""What shares cost the providers that take and give them: one process each, fed and read as a gateway does, without one.

    python bench/storage_providers.py [--providers 40] [--rounds 8] [--beside CHECKOUT …]

The code is k of n = half of the providers, so 3.2 MiB to each of 40 are a segment of 64 MiB. CPU time is read per process
from the system's clocks and is the providers' alone; `--beside` names checkouts of other commits, whose providers
are measured in turn with these: on a machine that does other things only such pairs can be compared.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.provider.orders import header
from fieldstone.services.storage.records import ACCESS, AccessOrder

MIB, GIB = 1 << 20, 1 << 30
SHARE_BYTES = 3_355_648
STEP_BYTES = 300_000  # of each share at a time, as they are coded
_WAKE_BYTES = 262_144


# ---- the providers ---------------------------------------------------------------------------------------------------


def provide(folder: Path, gateway: str, pipe: Any) -> None:
    """Be one provider."""
    from fieldstone.services.storage.provider.door import Door
    from fieldstone.services.storage.provider.orders import Listed
    from fieldstone.services.storage.provider.server import Server
    from fieldstone.services.storage.provider.store import Store

    key = DeviceKey.generate()
    store = Store(folder, 1 << 40)
    server = Server(lambda: Door(store, key, Listed([gateway])), "127.0.0.1", 0)
    pipe.send((os.getpid(), key.public.device_id, server.port))
    server.serve()
    store.close()


def host(folder: Path, gateway: str, count: int) -> None:
    """Fork providers, say where they are, and end them when the input ends."""
    from fieldstone.services.storage.provider import door, server, store  # noqa: F401  the children find them loaded

    context = multiprocessing.get_context("fork")
    processes, found = [], []
    for number in range(count):
        mine, theirs = context.Pipe()
        process = context.Process(target=provide, args=(folder / str(number), gateway, theirs), daemon=True)
        process.start()
        processes.append(process)
        found.append(mine.recv())
    print(json.dumps(found), flush=True)
    sys.stdin.read()
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(20)


# ---- who feeds them --------------------------------------------------------------------------------------------------


class Farm:
    """The providers of one checkout, and a connection to each."""

    def __init__(self, name: str, tree: Path, folder: Path, key: DeviceKey, count: int) -> None:
        self.name, self._key = name, key
        command = [sys.executable, __file__, "--host", str(folder), "--gateway", key.public.device_id]
        self._process = subprocess.Popen(
            [*command, "--providers", str(count)], env={**os.environ, "PYTHONPATH": str(tree / "src")},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.nodes: list[tuple[int, str, int]] = json.loads(self._process.stdout.readline())
        self.sockets: list[socket.socket] = []
        self._egress = [0] * count
        self.figures: dict[str, list[float]] = {"PUT": [], "GET first": [], "GET again": []}

    def connect(self) -> None:
        """Connect anew: the other farm's turn may outlast a connection's patience."""
        for one in self.sockets:
            one.close()
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _, _, port in self.nodes]

    def cpu_s(self) -> float:
        """Return the CPU seconds of all providers so far."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid, _, _ in self.nodes)  # the clock of a process

    def head(self, method: str, number: int, share: bytes, **fields: Any) -> bytes:
        """Return a request's head."""
        operation: Any = method.lower()
        if operation == "get":
            self._egress[number] += SHARE_BYTES
            fields |= {"start": 0, "end": SHARE_BYTES, "egress_bytes": self._egress[number]}
        order = AccessOrder(
            operation=operation, gateway=self._key.public.device_id, provider=self.nodes[number][1], share=share,
            expires_ms=time.time_ns() // 1_000_000 + 60_000, **fields,
        )  # fmt: skip
        signed = header(records.sign(self._key, order, ACCESS))
        length = f"content-length: {SHARE_BYTES}\r\n" if operation == "put" else ""
        text = f"{method} /v1/shares/{share.hex()} HTTP/1.1\r\nhost: x\r\nauthorization: {signed}\r\n{length}\r\n"
        return text.encode()

    def close(self) -> None:
        """End the providers."""
        for one in self.sockets:
            one.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def put(farm: Farm, shares: list[bytes], data: memoryview) -> None:
    """Send a share to each provider, a step to all of them at a time, and wait for the receipts."""
    for number, one in enumerate(farm.sockets):
        one.sendall(farm.head("PUT", number, shares[number]))
        one.setblocking(False)
    for end in range(STEP_BYTES, SHARE_BYTES + STEP_BYTES, STEP_BYTES):
        left = {one: data[end - STEP_BYTES : min(end, SHARE_BYTES)] for one in farm.sockets}
        while left:
            _, ready, _ = select.select([], list(left), [])
            for one in ready:
                left[one] = left[one][one.send(left[one]) :]
                if not left[one]:
                    del left[one]
    for one in farm.sockets:
        one.setblocking(True)
        answer = one.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 201"), answer


def get(farm: Farm, shares: list[bytes], room: bytearray) -> None:
    """Read the shares of half of the providers, whoever has bytes first."""
    left: dict[socket.socket, int] = {}
    for number, one in enumerate(farm.sockets[: len(farm.sockets) // 2]):
        one.sendall(farm.head("GET", number, shares[number]))
        left[one] = -1
    while left:
        for one in select.select(list(left), [], [])[0]:
            count = one.recv_into(room)
            if left[one] < 0:
                assert room.startswith(b"HTTP/1.1 200"), bytes(room[:300])
                left[one] = SHARE_BYTES + room.index(b"\r\n\r\n") + 4
            left[one] -= count
            wake = max(1, min(left[one], _WAKE_BYTES))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wake)
            if not left[one]:
                del left[one]


def measure(farm: Farm, data: memoryview, room: bytearray, counts: bool) -> None:
    """Store a segment, read it twice, and note what each took."""
    farm.connect()
    shares = [os.urandom(16) for _ in farm.nodes]
    user_gib = SHARE_BYTES * (len(shares) // 2) / GIB
    works: dict[str, Callable[[], None]] = {
        "PUT": lambda: put(farm, shares, data),
        "GET first": lambda: get(farm, shares, room),
        "GET again": lambda: get(farm, shares, room),
    }
    for name, work in works.items():
        before = farm.cpu_s()
        work()
        time.sleep(0.1)  # threads go back to waiting
        if counts:
            farm.figures[name].append((farm.cpu_s() - before) / user_gib)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--providers", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--beside", type=Path, nargs="*", default=[])
    parser.add_argument("--host", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--gateway", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.host:
        host(given.host, given.gateway, given.providers)
        return
    here = Path(__file__).resolve().parent.parent
    key, data, room = DeviceKey.generate(), memoryview(os.urandom(SHARE_BYTES)), bytearray(MIB)
    with tempfile.TemporaryDirectory(dir=os.environ.get("FIELDSTONE_BENCH_DIR")) as folder:
        trees = {"here": here, **{path.name: path for path in given.beside}}
        farms = [Farm(name, tree, Path(folder) / name, key, given.providers) for name, tree in trees.items()]
        try:
            for number in range(given.rounds + 1):  # the first one warms up
                for farm in farms if number % 2 else farms[::-1]:
                    measure(farm, data, room, number > 0)
        finally:
            for farm in farms:
                farm.close()
    print(
        f"CPU-s of providers per GiB of user data, median [least – most] of {given.rounds}; load {os.getloadavg()[0]:.0f}"
    )
    for farm in farms:
        for name, values in farm.figures.items():
            each_us = statistics.median(values) * SHARE_BYTES / GIB * 1e6 / (2 if name == "PUT" else 1)
            found = f"{statistics.median(values):6.2f} [{min(values):.2f} – {max(values):.2f}]"
            print(f"{farm.name:20} {name:10} {found}   {each_us:6.0f} µs a share")


if __name__ == "__main__":
    main()
