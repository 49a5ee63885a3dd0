"""Serve a node: doors open, epochs closed when due, roots posted when signed, everything drained on the way out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import structlog
import uvicorn

from fieldstone.config import MqttConfig
from fieldstone.errors import EnvironmentProblem, FieldstoneError, Retryable
from fieldstone.identity.report import kind_table
from fieldstone.intake.lane import lane
from fieldstone.intake.pipeline import Intake
from fieldstone.journal.group_commit import GroupCommit
from fieldstone.node.app import build
from fieldstone.node.node import Node
from fieldstone.node.rounds import Rounds
from fieldstone.services import load_service

_log = structlog.get_logger("serve")

EPOCH_LOOK_S = 0.5


class _Doors(uvicorn.Server):
    """uvicorn without its own signal handling, which ends the process before our files are closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """A node with its doors. `run` serves until `stop` is called or a signal arrives."""

    def __init__(self, node: Node, *, close_epochs: bool = True) -> None:
        """`close_epochs=False` leaves closing to the caller (the demo drives a clock of its own)."""
        config = node.config
        self.node = node
        self._close_epochs = close_epochs
        self._socket = _listen(config.node.host, config.node.port)
        host, port = self._socket.getsockname()[:2]
        self.url = config.node.public_url or f"http://{host}:{port}"
        self._uvicorn: uvicorn.Server | None = None
        self._rounds = Rounds(node)
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Open the doors and serve. Returns when everything accepted is durable and every file is closed."""
        node = self.node
        group = GroupCommit(
            node.journal,
            node.network_key,
            network_id=node.policy.network_id,
            interval_ms=node.config.node.commit_interval_ms,
        )
        state = node.state
        self.intake = Intake(
            group,
            policy=state.policy,
            kinds=kind_table(load_service(name) for name in sorted(state.policy.services)),
            clock=node.clock,
            registry=state.registry.copy(),
            registry_position=state.last_position,
            device_reports_per_minute=node.config.node.device_reports_per_minute,
            workers=node.config.node.workers,
        )
        config = uvicorn.Config(
            build(node, self.intake, self._rounds),
            http=lane(self.intake),  # a whole report in one packet skips h11: three times the speed
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=10,
            timeout_keep_alive=75,  # devices report every minute or so and keep their connection
            limit_concurrency=2_000,
        )
        self._uvicorn = _Doors(config)
        self._stop_on_signals()
        marker = node.layout.root / "running.json"
        marker.write_text(json.dumps({"url": self.url}))
        try:
            async with _mqtt_door(node.config.mqtt, self.intake), _background(self._epochs()):
                self.ready.set()
                await self._uvicorn.serve(sockets=[self._socket])
        finally:
            marker.unlink(missing_ok=True)
            await asyncio.to_thread(group.close)
            self.intake.close()

    def _stop_on_signals(self) -> None:
        """Stop on SIGINT and SIGTERM when this is the process's main thread (the demo serves from another)."""
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)

    def stop(self) -> None:
        """Ask `run` to end: no new requests, the open ones are answered first."""
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True

    async def close_due(self) -> int | None:
        """Close the epoch that is due and let the doors use its policy; return its number."""
        sealed = await asyncio.to_thread(self.node.close_due)
        policy = self.node.policy
        if self.intake.policy != policy:  # compared, so that a failure after the sealing cannot leave the old one
            self.intake.set_policy(policy)
        return sealed.manifest.epoch if sealed else None

    async def _epochs(self) -> None:
        """Look again and again for an epoch to close and a root to post. A failure is logged and tried again."""
        while True:
            try:
                if self._close_epochs:
                    await self.close_due()
                await asyncio.to_thread(self._rounds.issue_due)
                await asyncio.to_thread(self.node.settle)
            except Retryable as error:
                _log.info("epoch_waits", why=str(error))
            except FieldstoneError as error:
                _log.error("epoch_failed", error=str(error))
                await asyncio.sleep(10 * EPOCH_LOOK_S)
            await asyncio.sleep(EPOCH_LOOK_S)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def _mqtt_door(config: MqttConfig, intake: Intake) -> AsyncIterator[None]:
    """Listen on MQTT as configured: not at all, on our own small broker, or on somebody's."""
    if config.broker == "off":
        yield
        return
    from fieldstone.intake.broker import embedded_broker
    from fieldstone.intake.mqtt import MqttDoor

    async with contextlib.AsyncExitStack() as stack:
        url = config.broker
        if url == "embedded":
            port = await stack.enter_async_context(embedded_broker(config.host, config.port))
            url = f"mqtt://{config.host}:{port}"
            _log.info("mqtt_broker", url=url, topic=config.topic)
        client_id = f"fieldstone-{intake.policy.network_id}"
        door = MqttDoor(intake, url, topic=config.topic, client_id=client_id)
        await stack.enter_async_context(_background(door.run()))
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol has to be named: asyncio switches Nagle's delay (40 ms an answer) off for TCP sockets only
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise EnvironmentProblem(f"cannot listen on {host}:{port}: {error.strerror}; set [node] port") from error
    return listener
