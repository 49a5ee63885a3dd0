"""kill -9 of gateway and providers at random while clients write and read: is anything acknowledged lost or mixed up?

    python bench/storage_crash.py [--kills 200] [--providers 8] [--minutes 6]

A gateway and n providers, each a process; a kill takes the gateway (half of the times) or one provider, and what was
killed starts again at once. At the end every key of every client is read. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage_crash_load import Client, reserved

KEY, SECRET = "CRASHKEY", "crash-secret-crash"


# ---- the host: forks gateways and providers, everything imported already --------------------------------------------


def _serve_provider(folder: Path, key_file: Path, gateway: str, port: int, ready: Callable[[str], None]) -> None:
    from fieldstone.identity.keys import DeviceKey
    from fieldstone.services.storage.provider.door import Door
    from fieldstone.services.storage.provider.orders import Listed
    from fieldstone.services.storage.provider.server import Server
    from fieldstone.services.storage.provider.store import Store

    key = DeviceKey.load(key_file)
    store = Store(folder, 1 << 40)
    server = Server(lambda: Door(store, key, Listed([gateway])), "127.0.0.1", port)

    def tell() -> None:
        server.ready.wait(30)
        ready(f"{key.public.device_id} {server.port}")

    threading.Thread(target=tell, daemon=True).start()
    server.serve()


def _serve_gateway(root: Path, port: int, ready: Callable[[str], None]) -> None:
    import asyncio

    import uvloop

    from fieldstone.identity.keys import DeviceKey
    from fieldstone.node.logs import configure
    from fieldstone.services.storage.catalog.accounts import SecretBox, create_account, list_accounts
    from fieldstone.services.storage.catalog.schema import create_tables
    from fieldstone.services.storage.catalog.store import Store
    from fieldstone.services.storage.pool import Directory, Pool
    from fieldstone.services.storage.s3.server.gateway import Gateway, GatewayOptions
    from fieldstone.services.storage.s3.server.run import listen, serve
    from fieldstone.state.engine import connect_state

    configure("error")
    engine = connect_state(root / "gateway.db")
    create_tables(engine)
    store, box = Store(engine), SecretBox(b"m" * 32)
    if not store.write_now(list_accounts):
        store.write_now(lambda c: create_account(c, box, "crash", access_key=KEY, secret=SECRET))
    listener = listen("127.0.0.1", port)

    async def run() -> None:
        pool = Pool(
            engine, Directory.read(root / "nodes.json"), DeviceKey.load(root / "device.key"), b"m" * 32, database=store
        )
        gateway = Gateway(store, pool, box, GatewayOptions(pool.automatic_profile()))
        await serve(gateway, listener, ready=lambda: ready(f"gateway {listener.getsockname()[1]}"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def host(root: Path) -> None:
    """Fork what a line on stdin names (`gateway PORT` or `NUMBER PORT`), print process id, name and port."""
    from fieldstone.identity.keys import DeviceKey
    from fieldstone.services.storage.pool import pool  # noqa: F401  loaded once for all
    from fieldstone.services.storage.provider import door, server, store  # noqa: F401
    from fieldstone.services.storage.s3.server import app, run  # noqa: F401

    gateway = DeviceKey.load(root / "device.key").public.device_id
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # killed children leave no zombies
    for line in sys.stdin:
        what, port = line.split()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(reading)

            def ready(text: str, end: int = writing) -> None:
                os.write(end, text.encode())
                os.close(end)

            if what == "gateway":
                _serve_gateway(root, int(port), ready)
            else:
                _serve_provider(root / f"p{what}", root / f"p{what}.key", gateway, int(port), ready)
            os._exit(0)
        os.close(writing)
        said = os.read(reading, 500).decode()
        os.close(reading)
        print(child, said or "failed 0", flush=True)


class Host:
    """The host's process."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, __file__, "--host", str(root)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._held: list[socket.socket] = []  # ports, also while their servers are dead

    def start(self, what: str, port: int = 0) -> tuple[int, str, int]:
        assert self._process.stdin is not None and self._process.stdout is not None
        if not port:
            held, port = reserved()
            self._held.append(held)
        self._process.stdin.write(f"{what} {port}\n")
        self._process.stdin.flush()
        pid, name, found = self._process.stdout.readline().split()
        assert name != "failed", f"{what} did not start"
        return int(pid), name, int(found)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        for held in self._held:
            held.close()


def _kill(pid: int) -> None:
    """Kill a process and wait until it is gone, with its locks."""
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.005)


# ---- the trial -------------------------------------------------------------------------------------------------------


def trial(root: Path, kills: int, providers: int, minutes: float) -> int:
    from fieldstone.identity.keys import DeviceKey

    DeviceKey.generate().save(root / "device.key")
    for number in range(providers):
        DeviceKey.generate().save(root / f"p{number}.key")
    machine = Host(root)
    running: dict[str, tuple[int, int]] = {}  # name → process, port
    try:
        return _trial(root, machine, running, kills, providers, minutes)
    finally:
        machine.close()
        for pid, _ in running.values():
            with suppress(ProcessLookupError):
                _kill(pid)


def _trial(
    root: Path, machine: Host, running: dict[str, tuple[int, int]], kills: int, providers: int, minutes: float
) -> int:
    nodes = []
    for number in range(providers):
        pid, did, port = machine.start(str(number))
        running[str(number)] = (pid, port)
        place = {
            "operator": f"o{number}",
            "region": f"r{number}",
            "maker": f"m{number}",
            "prefix": f"10.0.{number}.0/24",
        }
        nodes.append({"did": did, "url": f"http://127.0.0.1:{port}", **place})
    (root / "nodes.json").write_text(json.dumps({"nodes": nodes}))
    pid, _, port = machine.start("gateway")
    running["gateway"] = (pid, port)

    def connect() -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            region_name="us-east-1", config=Config(retries={"max_attempts": 0}, read_timeout=60, connect_timeout=3),
        )  # fmt: skip

    connect().create_bucket(Bucket="crash")
    stop = threading.Event()
    clients = [Client(number, connect, "crash", 30, stop) for number in range(3)]
    for one in clients:
        one.start()
    rng = random.Random(7)
    killed = {"gateway": 0, "provider": 0}
    until = time.monotonic() + 60 * minutes
    while sum(killed.values()) < kills and time.monotonic() < until:
        time.sleep(0.2 + rng.random())
        name = "gateway" if rng.random() < 0.5 else str(rng.randrange(providers))
        _kill(running[name][0])
        killed["gateway" if name == "gateway" else "provider"] += 1
        pid, _, _ = machine.start(name, running[name][1])
        running[name] = (pid, running[name][1])
    time.sleep(2)
    stop.set()
    for one in clients:
        one.join(120)
    s3 = connect()
    for one in clients:
        one.check_all(s3)
    problems = [problem for one in clients for problem in one.problems]
    print(f"kills: gateway {killed['gateway']}, providers {killed['provider']}")
    print(f"acknowledged {sum(c.acknowledged for c in clients)}, reads {sum(c.reads for c in clients)}, "
          f"failed while down {sum(c.failed for c in clients)}")  # fmt: skip
    print(f"lost or mixed up: {len(problems)}", *problems, sep="\n  ")
    return 1 if problems else 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=200)
    arguments.add_argument("--providers", type=int, default=8)
    arguments.add_argument("--minutes", type=float, default=6)
    arguments.add_argument("--host", type=Path)
    given = arguments.parse_args()
    if given.host:
        host(given.host)
        return
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    with tempfile.TemporaryDirectory(prefix="fieldstone-crash-") as folder:
        sys.exit(trial(Path(folder), given.kills, given.providers, given.minutes))


if __name__ == "__main__":
    main()
