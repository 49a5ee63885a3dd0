"""A PostgreSQL server of our own on a temporary folder, where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


def programs() -> Path | None:
    """Return the folder of initdb and postgres, None where they are not installed."""
    places = [Path(found).parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


@contextmanager
def server() -> Iterator[str]:
    """Run a server; yield the URL of its database, without a database name at the end (`…/postgres` exists)."""
    place = programs()
    assert place is not None
    # PostgreSQL refuses to run as root
    user = None
    folder = Path(mkdtemp(prefix="fieldstone-pg-"))
    if os.geteuid() == 0:
        user = next(name for name in ("postgres", "nobody") if _exists(name))
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [place / "initdb", "-D", data, "-U", "fieldstone", "-A", "trust", "-N", "-E", "UTF8"],
        user=user, env=environment, cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    process = subprocess.Popen(
        [place / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1",
         "-c", "fsync=off", "-c", "max_connections=60"],
        user=user, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(port)
        yield f"postgresql+psycopg://fieldstone@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: its folder goes anyway
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _wait(port: int) -> None:
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(f"postgresql://fieldstone@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise AssertionError("PostgreSQL did not come up")
