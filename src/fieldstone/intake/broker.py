"""The embedded MQTT broker (amqtt, pure Python): enough for a demo and some hundred devices.

It carries about 1,300 messages a second. Run mosquitto or another broker for more and name it in `[mqtt] broker`.
It accepts anyone who can reach its port; what protects a report is its signature, what protects the network are the
budgets of the intake. So it listens on 127.0.0.1 unless told otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fieldstone.errors import EnvironmentProblem

_PLUGINS: dict[str, Any] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


@asynccontextmanager
async def embedded_broker(host: str, port: int) -> AsyncIterator[int]:
    """Run a broker on `host`:`port` (0: any free port) and yield the port. Raises EnvironmentProblem if it is taken."""
    from amqtt.broker import Broker
    from amqtt.errors import AMQTTError, BrokerError

    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}}, "plugins": _PLUGINS})
    try:
        await broker.start()
    except (AMQTTError, BrokerError, OSError) as error:
        raise EnvironmentProblem(
            f"the MQTT broker cannot listen on {host}:{port} ({error}); choose another `[mqtt] port`"
        ) from error
    try:
        server = broker._servers["default"].instance  # amqtt offers no other way to learn a free port
        sockets = list(server.sockets) if server is not None else []
        yield sockets[0].getsockname()[1] if sockets else port
    finally:
        await broker.shutdown()
