"""How messages travel over MQTT, for networks where devices cannot speak HTTP.

    <topic>/<device>           the agent publishes one COSE message or a CBOR sequence of them, QoS 1
    <topic>/<device>/receipt   the door publishes what HTTP would have answered, as JSON, QoS 1

A broker's acknowledgement says nothing about the journal; only the receipt in the door's answer does. One body is under
way at a time, so an answer belongs to the body before it. An answer that comes after its body was given up could be
taken for the next one's: a receipt proves for itself what it is for, and a refusal is then not believed but asked again.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from fieldstone.agent.transport import NetworkInfo, RateLimited, Result
from fieldstone.errors import Rejected, Retryable, UsageError
from fieldstone.reasons import REASONS


class MqttTransport:
    """One connection to a broker, opened when first needed and again after it broke."""

    def __init__(self, url: str, topic: str, device: str, *, timeout_s: float = 30.0) -> None:
        """`url`: mqtt(s)://[user:password@]host[:port]; `topic` as in the network's `[mqtt]`; `device`: its did:key."""
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise UsageError(
                f"{parts.scheme}://{parts.hostname} is no broker: write mqtt://host:port or mqtts://host:port"
            )
        self._host, self._port = parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._topic = f"{topic}/{device}"
        self._timeout_s = timeout_s
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._ready: queue.Queue[bool] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        if parts.username:
            self._client.username_pw_set(parts.username, parts.password)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._is_started = False
        self._given_up = 0

    def network(self) -> NetworkInfo:
        """MQTT cannot ask; raise UsageError saying what to do."""
        raise UsageError("over MQTT the network has to be given: ask GET /v1/network once and pass it as `network`")

    def receipt(self, position: int) -> Any:
        """MQTT cannot ask; raise UsageError. A repeated message is answered with its position only."""
        raise UsageError("receipts are given again over HTTP only: GET /v1/receipts/{position}")

    def send(self, messages: Sequence[bytes]) -> list[Result]:
        """Publish messages as one body and wait for the door's answer. Raises Retryable, Rejected, RateLimited."""
        self._connect()
        while not self._answers.empty():  # answers to bodies that were given up
            self._answers.get_nowait()
        try:
            self._client.publish(self._topic, b"".join(messages), qos=1).wait_for_publish(self._timeout_s)
            body = self._answers.get(timeout=self._timeout_s)
        except (queue.Empty, ValueError, RuntimeError, OSError) as error:
            self._given_up += 1
            raise Retryable(f"{self._host}:{self._port} brought no answer: {error!r}") from None
        is_doubtful, self._given_up = self._given_up > 0, max(0, self._given_up - 1)
        try:
            results = _read(body, len(messages))
        except Rejected:
            if not is_doubtful:
                raise
            results = []
        if is_doubtful and not (results and all(result.ok for result in results)):
            raise Retryable(f"{self._host}:{self._port}: an answer may belong to an earlier body; asking again")
        return results

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        if self._is_started:
            self._client.loop_stop()

    def _connect(self) -> None:
        if self._client.is_connected():
            return
        where = f"the broker {self._host}:{self._port}"
        try:
            if not self._is_started:
                self._client.connect(self._host, self._port, keepalive=30)
                self._client.loop_start()
                self._is_started = True
            if not self._ready.get(timeout=self._timeout_s):
                raise Retryable(f"{where} refuses the connection or the subscription to {self._topic}/receipt")
        except (OSError, queue.Empty) as error:
            raise Retryable(f"{where} does not answer: {error!r}") from None

    def _on_connect(self, client: paho.Client, data: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        if code.is_failure:
            self._ready.put(False)
        else:
            client.subscribe(f"{self._topic}/receipt", qos=1)

    def _on_subscribe(self, client: paho.Client, data: Any, mid: int, codes: list[ReasonCode], properties: Any) -> None:
        self._ready.put(not any(code.is_failure for code in codes))

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        self._answers.put(bytes(message.payload))


def _read(body: bytes, count: int) -> list[Result]:
    try:
        answer = msgspec.json.decode(body)
        if isinstance(answer, dict) and "results" in answer:
            results = msgspec.convert(answer["results"], list[Result])
        else:
            results = [msgspec.convert(answer, Result)]
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Retryable(f"the door answered something else than results: {error}") from None
    if len(results) == 1 and not results[0].ok and results[0].code == "RATE_LIMITED":
        raise RateLimited("the door asks for a pause", None)
    if len(results) == count:
        return results
    if len(results) == 1 and results[0].code in REASONS:
        raise Rejected(REASONS[results[0].code], "", results[0].detail or "")
    raise Retryable(f"the door answered {len(results)} results for {count} messages")
