"""The gateway's process: sockets, uvicorn, the worker, and stopping without losing what is under way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import structlog
import uvicorn

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.s3.server.access_log import AccessLog
from fieldstone.services.storage.s3.server.admin import AdminApp
from fieldstone.services.storage.s3.server.app import S3App
from fieldstone.services.storage.s3.server.gateway import Gateway
from fieldstone.services.storage.s3.server.lane import BodyLane
from fieldstone.services.storage.s3.server.strangers import counted
from fieldstone.services.storage.s3.server.worker import work

_log = structlog.get_logger("s3")

GRACE_S = 30
BACKLOG = 1_024


class _Doors(uvicorn.Server):
    """uvicorn without its own signal handling, which ends the process before our files are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    gateway: Gateway,
    listener: socket.socket,
    *,
    admin: socket.socket | None = None,
    access_log: AccessLog | None = None,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    background: tuple[Coroutine[Any, Any, None], ...] = (),
    tls: tuple[str, str] | None = None,
) -> None:
    """Serve until a signal or `stop`; open requests get GRACE_S seconds. The caller closes pool and catalogue.

    `background` runs beside the doors; `tls`: files of certificate chain and key.
    """
    doors = [_Doors(_config(S3App(gateway, access_log), tls))]
    sockets = [listener]
    if admin is not None:
        doors.append(_Doors(_config(AdminApp(gateway), None)))
        sockets.append(admin)
    stop = stop or asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    with counted(gateway.metrics):
        async with _running(work(gateway), *background):
            serving = [asyncio.create_task(door.serve(sockets=[own])) for door, own in zip(doors, sockets, strict=True)]
            stopping = asyncio.create_task(stop.wait())
            try:
                while not all(door.started for door in doors) and not any(task.done() for task in serving):
                    await asyncio.sleep(0.01)
                if ready is not None and all(door.started for door in doors):
                    ready()
                await asyncio.wait([*serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                for door in doors:
                    door.should_exit = True
                await asyncio.gather(*serving, return_exceptions=True)
                if access_log is not None:
                    access_log.close()


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises EnvironmentProblem."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol has to be named: asyncio switches Nagle's delay off for TCP sockets only
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise EnvironmentProblem(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --listen"
        ) from error
    return listener


def _config(app: Any, tls: tuple[str, str] | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BodyLane,
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_S,
        backlog=BACKLOG,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )


@contextlib.asynccontextmanager
async def _running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in works]
    for task in tasks:
        task.add_done_callback(_note_end)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _note_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("background_ended", error=repr(task.exception()))
