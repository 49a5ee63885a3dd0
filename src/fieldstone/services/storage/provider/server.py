"""One provider process: store, doors and what runs beside them, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.provider.app import App
from fieldstone.services.storage.provider.crowd import Crowd, most_connections
from fieldstone.services.storage.provider.door import Door
from fieldstone.services.storage.provider.lane import lane

_BACKLOG = 512
_LEAVING = 256  # connections that were closed a moment ago and are still counted


class _State(ServerState):
    """uvicorn's, with a `date` header that is made when it is asked for."""

    _made_s = 0
    _headers: list[tuple[bytes, bytes]]

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer begins with."""
        now_s = int(time.time())
        if now_s != self._made_s:
            self._headers, self._made_s = [(b"date", formatdate(now_s, usegmt=True).encode())], now_s
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        pass


class _Doors(uvicorn.Server):
    """uvicorn without its own signal handling, which ends the process before our files are closed.

    It also does not wake up ten times a second to set the `date` header: forty idle providers cost a twentieth of a core.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = _State()
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()

    async def main_loop(self) -> None:
        await self._stopped.wait()

    def stop(self) -> None:
        """Leave `main_loop`. From any thread."""
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # the loop is gone already
            self._loop.call_soon_threadsafe(self._stopped.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Serves a Door. `run` returns when `stop` was called or a signal came, and every open request is answered."""

    def __init__(self, make_door: Callable[[], Door], host: str, port: int, *, use_lane: bool = True) -> None:
        """`make_door` is called inside the event loop. Raises EnvironmentProblem when the address cannot be had."""
        self._make_door = make_door
        self._use_lane = use_lane
        self._socket = _listen(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._uvicorn: _Doors | None = None
        self.ready = threading.Event()

    def serve(self) -> None:
        """Run an event loop (uvloop where it is installed) and serve in it."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self.run())

    async def run(self) -> None:
        """Serve."""
        door = self._make_door()
        most = most_connections()
        http: Any = lane(door, Crowd(most)) if self._use_lane else "httptools"
        config = uvicorn.Config(
            App(door),
            http=http,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=10,
            timeout_keep_alive=75,
            limit_concurrency=most + _LEAVING if self._use_lane else most,
            backlog=_BACKLOG,
        )
        self._uvicorn = _Doors(config)
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        self.ready.set()
        try:
            await self._uvicorn.serve(sockets=[self._socket])
        finally:
            await asyncio.to_thread(door.close)

    def stop(self) -> None:
        """Ask `run` to end. Safe from any thread."""
        if self._uvicorn is not None:
            self._uvicorn.stop()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # who connects from now on waits, and is not refused
    except OSError as error:
        listener.close()
        raise EnvironmentProblem(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --listen"
        ) from error
    return listener
