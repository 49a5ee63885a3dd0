"""The MQTT door: reports on `<topic>/<device>`, answers on `<topic>/<device>/receipt`.

A broker's own acknowledgement to a device says only that the broker has the message. The network's promise is the
receipt, so a device keeps a report until its receipt came. Between broker and network QoS 1 is used with manual
acknowledgement: a message is acknowledged to the broker only when it is durable or refused for good, so what the
network had not made durable when it died is delivered again by the broker (the session is persistent).

The payload is a CBOR sequence of messages; the answer is the JSON that `POST /v1/reports` gives for a sequence.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt

from fieldstone.errors import FieldstoneError, UsageError
from fieldstone.intake.http import Answer, take_reports
from fieldstone.intake.pipeline import Intake

_log = logging.getLogger(__name__)
_SEQUENCE = "application/cbor-seq"
_LONGEST_LEVEL = 100


class MqttDoor:
    """A subscription to one broker that lives until cancelled: `await MqttDoor(...).run()`."""

    def __init__(
        self,
        intake: Intake,
        url: str,
        *,
        topic: str,
        client_id: str,
        at_once: int = 200,
        retry_s: float = 1.0,
    ) -> None:
        """`url`: mqtt://[user:password@]host[:port] or mqtts://…; `client_id` names the persistent session.

        `at_once`: messages under way at one time. `retry_s`: pause before a broken connection or a full disk is tried
        again. Raises UsageError on a URL of another form.
        """
        self._intake = intake
        self._topic = topic.strip("/")
        self._options = _options(url, client_id)
        self._slots = asyncio.Semaphore(at_once)
        self._retry_s = retry_s
        self._tasks: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()
        """Set while the door is subscribed."""

    async def run(self) -> None:
        """Serve until cancelled; a lost broker is tried again for ever."""
        while True:
            try:
                async with aiomqtt.Client(**self._options) as client:
                    # aiomqtt has no option for it; paho then leaves the acknowledgement of QoS 1 to us.
                    client._client.manual_ack_set(True)
                    await client.subscribe(f"{self._topic}/+", qos=1)
                    self.connected.set()
                    async for message in client.messages:
                        await self._slots.acquire()
                        task = asyncio.create_task(self._take(client, message))
                        self._tasks.add(task)
                        task.add_done_callback(self._done)
            except aiomqtt.MqttError as error:
                _log.warning("the MQTT broker is away: %s", error)
            finally:
                self.connected.clear()
                for task in list(self._tasks):
                    task.cancel()
            await asyncio.sleep(self._retry_s)

    async def _take(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        level = message.topic.value.rpartition("/")[2]
        body = bytes(message.payload) if isinstance(message.payload, bytes | bytearray) else b""
        answer = await self._answer(body, f"mqtt:{level[:_LONGEST_LEVEL]}")
        if len(level) <= _LONGEST_LEVEL:
            await client.publish(f"{self._topic}/{level}/receipt", answer.body, qos=1)
        if message.qos:
            client._client.ack(message.mid, message.qos)

    async def _answer(self, body: bytes, address: str) -> Answer:
        """Take a payload, waiting as long as the network cannot make it durable: the broker keeps the rest meanwhile."""
        while True:
            answer = await take_reports(self._intake, body, _SEQUENCE, "", address)
            if answer.status != 503:
                return answer
            await asyncio.sleep(self._retry_s)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not acknowledged, so the broker delivers it again after the next connection.
            level = logging.WARNING if isinstance(error, aiomqtt.MqttError | FieldstoneError) else logging.ERROR
            _log.log(level, "an MQTT message was not answered: %s", error)


def _options(url: str, client_id: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"MQTT broker {url!r}: {error}") from None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/"):
        raise UsageError(f"MQTT broker {url!r} is not of the form mqtt://host:port or mqtts://host:port")
    return {
        "hostname": parts.hostname,
        "port": port or (8883 if parts.scheme == "mqtts" else 1883),
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "identifier": client_id,
        "clean_session": False,
        "tls_context": ssl.create_default_context() if parts.scheme == "mqtts" else None,
    }
