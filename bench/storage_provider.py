"""What one storage provider costs: CPU seconds per byte stored and read, and per challenge answered.

    python bench/storage_provider.py [--seconds 4]

The provider is a process of its own; its CPU time is read from the system (user + system, all threads), so the client's
share of the machine does not matter. Durable writes: every receipt is behind a file sync, a rename, a folder sync and an
index commit. `asgi` is the same provider without the fast lane.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.codes.chunk_opening import chunk_of
from fieldstone.services.storage.provider.door import Door
from fieldstone.services.storage.provider.orders import Listed, header
from fieldstone.services.storage.provider.server import Server
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.records import ACCESS, AccessOrder

MIB = 1_048_576
CONNECTIONS = 4


def provide(folder: str, gateway: str, key: DeviceKey, use_lane: bool, pipe: Any) -> None:
    """Serve until told to stop; then say how much CPU time that took."""
    store = Store(Path(folder), 64 * 2**30)
    server = Server(lambda: Door(store, key, Listed([gateway])), "127.0.0.1", 0, use_lane=use_lane)
    thread = threading.Thread(target=server.serve)
    thread.start()
    server.ready.wait()
    pipe.send(server.port)
    while (word := pipe.recv()) != "stop":
        if word == "cpu":
            pipe.send(time.process_time())
        else:
            pipe.send(challenges(store, word))
    server.stop()
    thread.join()
    store.close()


def challenges(store: Store, count: int) -> float:
    """Answer `count` challenges spread over all shares; return the CPU seconds."""
    rows = list(store.index.rows())
    asked = []
    for number in range(count):
        row = rows[number * 7919 % len(rows)]
        byte = number * 1_299_709 % row.size_bytes
        asked.append((row.share, chunk_of(row.size_bytes, row.leaf_bytes, byte).start))
    before = time.process_time()
    assert len(store.prove_all(asked)) == count
    return time.process_time() - before


class Client:
    """One connection that does as little as possible itself."""

    def __init__(self, port: int, key: DeviceKey, provider: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._key, self._provider = key, provider
        self._buffer = bytearray(4 * MIB)

    def ask(self, method: str, share: bytes, body: bytes, **fields: Any) -> int:
        """Send a request, read the answer and return its length."""
        operation: Any = method.lower()
        order = AccessOrder(
            operation=operation, gateway=self._key.public.device_id, provider=self._provider, share=share,
            expires_ms=time.time_ns() // 1_000_000 + 60_000, **fields,
        )  # fmt: skip
        head = (
            f"{method} /v1/shares/{share.hex()} HTTP/1.1\r\nhost: x\r\n"
            f"authorization: {header(records.sign(self._key, order, ACCESS))}\r\n"
        )
        if body:
            head += f"content-length: {len(body)}\r\n"
        self._socket.sendall(head.encode() + b"\r\n")
        if body:
            self._socket.sendall(body)
        found = b""
        while b"\r\n\r\n" not in found:
            found += self._socket.recv(65_536)
        lines, _, rest = found.partition(b"\r\n\r\n")
        assert lines.split(b" ")[1] in (b"200", b"201", b"206"), found[:300]
        length = next(int(line[16:]) for line in lines.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        left = length - len(rest)
        while left:
            left -= self._socket.recv_into(self._buffer, min(left, len(self._buffer)))
        return length


def drive(port: int, key: DeviceKey, provider: str, size: int, seconds: float, shares: list[bytes], write: bool) -> int:
    """Store or read shares of `size` bytes for `seconds` over a few connections; return how many."""
    data = os.urandom(size)
    until = time.monotonic() + seconds
    lock, egress, done = threading.Lock(), [10**15 if size < MIB else 0], [0]

    def work() -> None:
        client = Client(port, key, provider)
        number = 0
        while time.monotonic() < until:
            if write:
                share = os.urandom(16)
                client.ask("PUT", share, data)
                with lock:
                    shares.append(share)
            else:
                share = shares[number % len(shares)]
                with lock:
                    egress[0] += size
                    mine = egress[0]
                assert client.ask("GET", share, b"", start=0, end=size, egress_bytes=mine) == size
            number += 1
            with lock:
                done[0] += 1

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done[0]


def measure(use_lane: bool, seconds: float) -> None:
    """Print the figures of one kind of provider."""
    key, gateway = DeviceKey.generate(), DeviceKey.generate()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=os.environ.get("FIELDSTONE_BENCH_DIR")) as folder:
        ours, theirs = context.Pipe()
        arguments = (folder, gateway.public.device_id, key, use_lane, theirs)
        process = context.Process(target=provide, args=arguments)
        process.start()
        port = ours.recv()
        name = "lane" if use_lane else "asgi"
        for size, words in ((3_355_443, "3.2 MiB"), (262_144, "256 KiB")):
            shares: list[bytes] = []
            for write in (True, False):
                ours.send("cpu")
                before, began = ours.recv(), time.monotonic()
                count = drive(port, gateway, key.public.device_id, size, seconds, shares, write)
                wall = time.monotonic() - began
                ours.send("cpu")
                cpu = ours.recv() - before
                rate = count * size / 1e6
                print(
                    f"{name}  {'PUT' if write else 'GET'} {words}: {rate / cpu:7.0f} MB per CPU s  "
                    f"{cpu / count * 1e3:6.2f} ms CPU each  ({rate / wall:.0f} MB/s, {count / wall:.0f}/s wall)",
                    flush=True,
                )
        ours.send(459)
        cold = ours.recv()
        print(f"{name}  459 challenges: {cold * 1e3:.0f} ms CPU ({cold / 459 * 1e6:.0f} µs each)", flush=True)
        ours.send("stop")
        process.join()


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0)
    seconds = parser.parse_args().seconds
    measure(True, seconds)
    measure(False, seconds)


if __name__ == "__main__":
    main()
