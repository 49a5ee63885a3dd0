"""One provider process: store, doors and what runs beside them, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.provider.app import App
from fieldstone.services.storage.provider.door import Door
from fieldstone.services.storage.provider.lane import lane

MOST_CONNECTIONS = 1_000
_BACKLOG = 512
_TICK_S = 1.0


class _Doors(uvicorn.Server):
    """uvicorn without its own signal handling, which ends the process before our files are closed.

    It also wakes up once a second, for the `date` header, not ten times: forty idle providers cost a twentieth of a core.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
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
        http: Any = lane(door) if self._use_lane else "httptools"
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
            limit_concurrency=MOST_CONNECTIONS,
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
