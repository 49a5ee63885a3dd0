"""PUT and GET through the S3 gateway and its providers, beside SeaweedFS and `rclone serve s3` in the same run.

    python bench/storage_s3.py [--profile 20/40] [--rounds 3] [--only ours] [--etag opaque]
    python bench/storage_s3.py --memory-gib 10 --profile 4/6 [--minutes 15]    the memory of gateway and providers, nothing else

One provider process per share, everything on this machine: the peers store one copy, ours k-of-n shares of encrypted
bytes. Peers are the programs `weed` and `rclone`, found in the folder that FIELDSTONE_PEERS names or on the PATH.
Wall clock times depend on what else the machine does; compare the columns and the CPU seconds (client's left out).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from storage_memory import check_room, measure_memory

MIB, GIB = 1 << 20, 1 << 30
WARM_UP_S = 3
KEY, SECRET = "BENCHKEY", "bench-secret-bench"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running S3 server. `pids` by role, so that CPU time and memory can be told apart."""

    name: str
    endpoint: str
    pids: dict[str, list[int]] = field(default_factory=dict)

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            region_name="us-east-1", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )  # fmt: skip

    def cpu_s(self) -> dict[str, float]:
        return {role: sum(map(_cpu_s, pids)) for role, pids in self.pids.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _free_port() -> int:
    # SeaweedFS listens on port + 10,000 as well, so the highest ports are no use to it
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.socket() as probe, socket.socket() as second:
            probe.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port
    raise SystemExit("no free port")


def _find(name: str) -> str | None:
    folder = os.environ.get("FIELDSTONE_PEERS")
    return shutil.which(name, path=folder) if folder else shutil.which(name)


def _wait(port: int, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port} after {seconds} s")


# ---- ours ------------------------------------------------------------------------------------------------------------


def _provide(folder: Path, gateway: str, pipe: Any) -> None:
    """Be one provider process."""
    from fieldstone.identity.keys import DeviceKey
    from fieldstone.services.storage.provider.door import Door
    from fieldstone.services.storage.provider.orders import Listed
    from fieldstone.services.storage.provider.server import Server as ProviderServer
    from fieldstone.services.storage.provider.store import Store

    key = DeviceKey.generate()
    store = Store(folder, 1 << 40)
    server = ProviderServer(lambda: Door(store, key, Listed([gateway])), "127.0.0.1", 0)
    pipe.send((key.public.device_id, server.port))
    server.serve()


@contextmanager
def ours(root: Path, profile: str, etag: str = "md5") -> Iterator[Server]:
    """Run n providers, each a process, and the gateway."""
    from fieldstone.identity.keys import DeviceKey
    from fieldstone.services.storage.provider import door, server, store  # noqa: F401  forked children find them loaded

    shares = int(profile.split("/")[1])
    key = DeviceKey.generate()
    key.save(root / "gateway" / "device.key")
    context = multiprocessing.get_context("fork")
    providers, nodes = [], []
    for number in range(shares):
        mine, theirs = context.Pipe()
        process = context.Process(
            target=_provide, args=(root / f"p{number}", key.public.device_id, theirs), daemon=True
        )
        process.start()
        providers.append(process)
        did, port = mine.recv()
        place = {
            "operator": f"o{number}",
            "region": f"r{number % 7}",
            "maker": f"m{number}",
            "prefix": f"10.0.{number}.0/24",
        }
        nodes.append({"did": did, "url": f"http://127.0.0.1:{port}", **place})
    (root / "nodes.json").write_text(json.dumps({"nodes": nodes}))
    (root / "secret").write_text(SECRET)
    command = [sys.executable, "-m", "fieldstone", "storage", "gateway", "--dir", str(root / "gateway"), "--json"]
    account = ["--create-account", "bench", "--access-key", KEY, "--secret-file", str(root / "secret")]
    subprocess.run([*command, *account], check=True, capture_output=True)
    serve = ["--nodes", str(root / "nodes.json"), "--listen", "127.0.0.1:0", "--profile", profile, "--etag", etag]
    gateway = subprocess.Popen([*command, *serve], stdout=subprocess.PIPE, text=True)
    try:
        assert gateway.stdout is not None
        endpoint = json.loads(gateway.stdout.readline())["endpoint"]
        pids = [process.pid for process in providers if process.pid]
        yield Server(f"fieldstone {profile}", endpoint, {"gateway": [gateway.pid], "providers": pids})
    finally:
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(60)
        for process in providers:
            process.terminate()
        for process in providers:
            process.join(20)


# ---- peers -----------------------------------------------------------------------------------------------------------


@contextmanager
def _program(name: str, command: list[str], port: int) -> Iterator[Server]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield Server(name, f"http://127.0.0.1:{port}", {"server": [process.pid]})
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def seaweedfs(program: str, root: Path) -> Iterator[Server]:
    root.mkdir()
    ports = [_free_port() for _ in range(4)]
    config = root / "s3.json"
    identity = {"name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    config.write_text(json.dumps({"identities": [{**identity, "actions": ["Admin", "Read", "Write", "List"]}]}))
    flags = {
        "dir": root, "ip": "127.0.0.1", "s3": "", "s3.config": config, "master.port": ports[0], "volume.port": ports[1],
        "filer.port": ports[2], "s3.port": ports[3], "volume.max": 20, "master.volumeSizeLimitMB": 1024,
    }  # fmt: skip
    arguments = [f"-{flag}={value}" if value != "" else f"-{flag}" for flag, value in flags.items()]
    with _program("seaweedfs", [program, "server", *arguments], ports[3]) as server:
        yield server


@contextmanager
def rclone(program: str, root: Path) -> Iterator[Server]:
    root.mkdir()
    port = _free_port()
    command = [program, "serve", "s3", str(root), "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    with _program("rclone serve", command, port) as server:
        yield server


# ---- what is measured ------------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """MB/s and objects/s by wall clock, CPU seconds of the server's processes."""

    put_mb_s: float = 0
    get_mb_s: float = 0
    put_cpu_s_gib: dict[str, float] = field(default_factory=dict)
    get_cpu_s_gib: dict[str, float] = field(default_factory=dict)
    small_put_s: float = 0
    small_get_s: float = 0
    lean_get_s: float = 0
    lean_cpu_us: float = 0


def _measured(server: Server, count: int, work: Callable[[int], None]) -> tuple[float, dict[str, float]]:
    """Return the best of single wall times and the CPU seconds by role of all."""
    before, best = server.cpu_s(), float("inf")
    for number in range(count):
        started = time.perf_counter()
        work(number)
        best = min(best, time.perf_counter() - started)
    after = server.cpu_s()
    return best, {role: after[role] - before[role] for role in after}


def measure(server: Server, rounds: int, small: int, lean: int) -> Figures:
    client = server.client()
    for _ in range(50):  # a peer may listen before it serves
        try:
            client.create_bucket(Bucket="bench")
            client.put_object(Bucket="bench", Key="warm", Body=os.urandom(MIB))
            break
        except Exception:
            time.sleep(0.3)
    figures = Figures()
    size = 64 * MIB
    bodies = [os.urandom(size) for _ in range(min(rounds, 3))]

    def put(number: int) -> None:
        client.put_object(Bucket="bench", Key=f"large{number}", Body=bodies[number % len(bodies)])

    def get(number: int) -> None:
        got = client.get_object(Bucket="bench", Key=f"large{number}")["Body"]
        total = sum(len(chunk) for chunk in got.iter_chunks(MIB))
        assert total == size

    put(0)  # every server writes and reads a large object before it is measured; ours then loads compiled code
    get(0)
    time.sleep(WARM_UP_S)
    best, cpu = _measured(server, rounds, put)
    figures.put_mb_s = size / best / 1e6
    figures.put_cpu_s_gib = {role: used * GIB / (size * rounds) for role, used in cpu.items()}
    best, cpu = _measured(server, rounds, get)
    figures.get_mb_s = size / best / 1e6
    figures.get_cpu_s_gib = {role: used * GIB / (size * rounds) for role, used in cpu.items()}
    assert client.get_object(Bucket="bench", Key="large0")["Body"].read() == bodies[0]

    data = os.urandom(4096)
    started = time.perf_counter()
    for number in range(small):
        client.put_object(Bucket="bench", Key=f"small/{number:05}", Body=data)
    figures.small_put_s = small / (time.perf_counter() - started)
    started = time.perf_counter()
    for number in range(small):
        assert client.get_object(Bucket="bench", Key=f"small/{number:05}")["Body"].read() == data
    figures.small_get_s = small / (time.perf_counter() - started)
    figures.lean_get_s, figures.lean_cpu_us = _lean(server, small, lean)
    return figures


def _lean(server: Server, keys: int, count: int, connections: int = 4) -> tuple[float, float]:
    """GET 4 KiB objects with requests signed beforehand, on a few connections; return objects/s and CPU µs each."""
    host, port = server.endpoint[7:].split(":")
    requests = []
    for number in range(keys):
        path = f"/bench/small/{number:05}"
        request = AWSRequest("GET", server.endpoint + path, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        requests.append(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{head}\r\n".encode())

    def run(offset: int) -> None:
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(count // connections):
                connection.sendall(requests[(number * 7 + offset) % keys])
                got = connection.recv(65_536)
                assert got.startswith(b"HTTP/1.1 200"), got[:300]
                need = got.index(b"\r\n\r\n") + 4 + 4096
                held = len(got)
                while held < need:
                    held += len(connection.recv(65_536))

    before = sum(server.cpu_s().values())
    threads = [threading.Thread(target=run, args=(offset,)) for offset in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    return count / wall, (sum(server.cpu_s().values()) - before) / count * 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--profile", default="20/40")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--small", type=int, default=150)
    arguments.add_argument("--lean", type=int, default=4000)
    arguments.add_argument("--memory-gib", type=int, default=0)
    arguments.add_argument("--only", choices=["ours", "peers"])
    arguments.add_argument("--etag", choices=["md5", "opaque"], default="md5", help="opaque: ours does without the MD5")
    arguments.add_argument("--minutes", type=float, default=15, help="for --memory-gib; then it is given up")
    given = arguments.parse_args()
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    rows: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="fieldstone-bench-") as folder:
        root = Path(folder)
        if given.memory_gib:
            check_room(root, given.memory_gib * GIB, given.profile)
            with ours(root, given.profile, given.etag) as server:
                client = server.client()
                client.create_bucket(Bucket="bench")
                measure_memory(client, server.pids, given.memory_gib, given.minutes)
            return
        if given.only != "ours":
            for name, run in (("weed", seaweedfs), ("rclone", rclone)):
                program = _find(name)
                if program is None:
                    print(f"{name} is not installed: left out", file=sys.stderr)
                    continue
                with run(program, root / name) as server:
                    rows[server.name] = measure(server, given.rounds, given.small, given.lean)
                shutil.rmtree(root / name, ignore_errors=True)
        if given.only != "peers":
            (root / "ours").mkdir()
            with ours(root / "ours", given.profile, given.etag) as server:
                rows[server.name] = measure(server, given.rounds, given.small, given.lean)
    _print(rows)


def _print(rows: dict[str, Figures]) -> None:
    print(f"{'':22}{'PUT 64 MiB':>12}{'GET 64 MiB':>12}{'PUT 4 KiB':>11}{'GET 4 KiB':>11}{'lean GET':>10}{'CPU':>9}")
    print(f"{'':22}{'MB/s':>12}{'MB/s':>12}{'/s':>11}{'/s':>11}{'/s':>10}{'µs each':>9}")
    for name, f in rows.items():
        print(f"{name:22}{f.put_mb_s:12.0f}{f.get_mb_s:12.0f}{f.small_put_s:11.0f}{f.small_get_s:11.0f}"
              f"{f.lean_get_s:10.0f}{f.lean_cpu_us:9.0f}")  # fmt: skip
    print("\nCPU seconds per GiB")
    for name, f in rows.items():
        for what, used in (("PUT", f.put_cpu_s_gib), ("GET", f.get_cpu_s_gib)):
            print(f"{name:22}{what}  " + "  ".join(f"{role} {seconds:.1f}" for role, seconds in used.items()))
    peers = [f for name, f in rows.items() if not name.startswith("fieldstone")]
    mine = next((f for name, f in rows.items() if name.startswith("fieldstone")), None)
    if mine and peers:
        print(f"\nours / best peer: PUT {mine.put_mb_s / max(p.put_mb_s for p in peers):.2f} (bar 1.0), "
              f"GET {mine.get_mb_s / max(p.get_mb_s for p in peers):.2f} (bar 0.8)")  # fmt: skip


if __name__ == "__main__":
    main()
