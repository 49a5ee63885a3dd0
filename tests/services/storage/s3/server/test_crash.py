"""kill -9 of the gateway at random moments while clients write and read: nothing acknowledged is lost or mixed up."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.schema import content as contents
from fieldstone.services.storage.catalog.schema import part as parts
from fieldstone.services.storage.catalog.schema import version as versions
from fieldstone.state.engine import connect_state
from tests.services.storage.folder_pool import FolderPool
from tests.services.storage.s3.server.conftest import ROOT, client

sys.path.insert(0, str(ROOT / "bench"))
from storage_crash_load import Client, reserved

KILLS = 20


class Host:
    """Starts gateways by forking a process that has everything imported, so that twenty starts take seconds.

    The port is kept while no gateway is alive: another program of this machine would answer the clients otherwise.
    """

    def __init__(self, folder: Path) -> None:
        self._held, port = reserved()
        self.endpoint = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "tests.services.storage.folder_pool",
            str(folder),
            "--forks",
            "--port",
            str(port),
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = 0

    def start(self) -> None:
        """Start a gateway and wait until it serves."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("start\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().split()
        assert said[1:] == [self.endpoint], f"the gateway did not start: {said}"
        self.pid = int(said[0])

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._held.close()


@pytest.mark.crash
def test_no_acknowledged_object_is_lost_or_mixed_up(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.start()

    def connect() -> Any:
        return client(host.endpoint, read_timeout=20, connect_timeout=2)

    def witness(key: str) -> str:
        return f"gateway {host.pid} at {host.endpoint}; {_held_by_catalogue(tmp_path, key)}"

    connect().create_bucket(Bucket="crash")
    stop = threading.Event()
    clients = [Client(number, connect, "crash", 25, stop, witness) for number in range(3)]
    for one in clients:
        one.start()
    rng = random.Random(4)
    for _ in range(KILLS):
        _some_work(clients, rng.randrange(8))
        time.sleep(rng.random() * 0.05)
        host.kill()
        host.start()
    _some_work(clients, 8)
    stop.set()
    for one in clients:
        one.join(60)
        assert not one.is_alive()
    s3 = connect()
    for one in clients:
        one.check_all(s3)
    host.close()
    problems = [problem for one in clients for problem in one.problems]
    assert not problems, "\n".join(problems)
    _counts_are_right(tmp_path)


def _some_work(clients: list[Client], answers: int) -> None:
    """Wait until a number of writes was acknowledged, however busy the machine is: kills hit work, not starts."""
    wanted = sum(one.acknowledged for one in clients) + answers
    while sum(one.acknowledged for one in clients) < wanted and any(one.is_alive() for one in clients):
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("404 Not Found\r\ncontent-length: 0\r\n", "(404)"),
        # what a gateway killed between head and body once sent
        ("404 Not Found\r\ncontent-length: 214\r\n", "(404)"),
        ("200 OK\r\ncontent-length: 3\r\n", "client0/"),
        ("503 Slow Down\r\ncontent-length: 0\r\n", ""),
        ("200 OK\r\ncontent-length: 214\r\n", ""),
    ],
)
def test_clients_call_wrong_what_no_kill_explains(answer: str, wrong: str) -> None:
    """The judge is judged: an answer without a name or from a stranger is a problem, a connection cut off is none."""
    held, port = reserved()
    listener = socket.create_server(("127.0.0.1", port))
    stop = threading.Event()

    def serve() -> None:
        for _ in range(6):
            connection, _ = listener.accept()
            with connection:
                request = connection.recv(65_536)
                answered = answer if request.startswith(b"GET") else "500 Down\r\ncontent-length: 0\r\n"
                connection.sendall(f"HTTP/1.1 {answered}connection: close\r\n\r\n".encode())
                if answer.startswith("200") and answer.endswith(": 3\r\n"):
                    connection.sendall(b"a b")
        stop.set()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    one = Client(0, lambda: client(f"http://127.0.0.1:{port}"), "crash", 25, stop)
    s3 = one.connect()
    for key in one.keys:
        one.attempt(key, lambda key=key: one.check(s3, key))  # type: ignore[misc]
    server.join(10)
    listener.close()
    held.close()
    assert (one.problems == []) == (wrong == "")
    assert all(wrong in problem for problem in one.problems)


def _held_by_catalogue(folder: Path, key: str) -> str:
    engine = connect_state(folder / "gateway.db")
    with engine.connect() as connection:
        found = connection.execute(select(versions).where(versions.c.key == key.encode())).all()
    engine.dispose()
    return f"the catalogue holds {found}"


def _counts_are_right(folder: Path) -> None:
    """Every segment is used as often as rows stand for it: nothing dangles, nothing leaks but what was never adopted."""
    engine = connect_state(folder / "gateway.db")
    wanted: dict[bytes, int] = {}
    with engine.connect() as connection:
        for table in (contents, parts):
            for extents in connection.execute(select(table.c.extents)).scalars():
                for segment, _ in Content.decode(extents).holdings():
                    wanted[segment] = wanted.get(segment, 0) + 1
    used = {segment: uses for segment, uses in FolderPool(engine, folder / "segments").uses().items() if uses}
    engine.dispose()
    assert used == wanted
