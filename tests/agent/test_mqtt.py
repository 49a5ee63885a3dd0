"""The agent over a real broker (amqtt); the bridge at the other end answers what the real HTTP door answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from amqtt.broker import Broker
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from fieldstone.agent.agent import Agent
from fieldstone.agent.buffer import Buffer, Reading
from fieldstone.agent.mqtt import MqttTransport
from fieldstone.agent.transport import HttpTransport
from fieldstone.clock import SystemClock
from fieldstone.errors import Retryable, UsageError
from fieldstone.identity import entries
from fieldstone.identity.keys import DeviceKey
from fieldstone.identity.wallet import Wallet
from tests.agent.doors import Door


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def broker() -> Iterator[int]:
    port = _free_port()
    loop = asyncio.new_event_loop()
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def started() -> Broker:
        made = Broker(config)  # amqtt asks for the current loop, so it has to be made inside it
        await made.start()
        return made

    running = asyncio.run_coroutine_threadsafe(started(), loop).result(10)
    yield port
    asyncio.run_coroutine_threadsafe(running.shutdown(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


@pytest.fixture
def bridge(broker: int, door: Door) -> Iterator[paho.Client]:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    subscribed = threading.Event()

    def answer(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        body = httpx.post(
            door.url + "/v1/reports", content=message.payload, headers={"content-type": "application/cbor-seq"}
        )
        client.publish(message.topic + "/receipt", body.content, qos=1)

    client.on_message = answer
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", broker)
    client.subscribe("t/reports/+", qos=1)
    client.loop_start()
    assert subscribed.wait(10)
    yield client
    client.disconnect()
    client.loop_stop()


def test_reports_over_mqtt_get_their_receipts(bridge: paho.Client, broker: int, door: Door, tmp_path: Path) -> None:
    key, now_ms = DeviceKey.generate(), SystemClock().now_ms()
    with HttpTransport(door.url) as http:
        network = http.network()
        place = entries.Place(1.0, 2.0, 3.0, 4.0)
        assert http.send_entry(entries.enrol(key, Wallet.generate(), door.policy, model="WS-1", place=place)).ok
    transport = MqttTransport(f"mqtt://127.0.0.1:{broker}", "t/reports", key.public.device_id, timeout_s=10)
    agent = Agent(key, Buffer(tmp_path / "a.db", now_ms), transport, network=network)
    for number in range(3):
        agent.record("sensing", "readings", [Reading(now_ms - 1_000 + number, {"rain_mm": 0.2})])
    assert agent.flush().accepted == 3
    agent.record("sensing", "readings", [Reading(now_ms, {"rain_mm": 0.2})])
    assert agent.flush().accepted == 1
    transport.close()


def test_a_broker_without_a_door_behind_it_is_no_acknowledgement(broker: int) -> None:
    transport = MqttTransport(f"mqtt://127.0.0.1:{broker}", "t/reports", "d", timeout_s=0.5)
    with pytest.raises(Retryable, match="no answer"):
        transport.send([b"m"])
    transport.close()


def test_no_broker_at_all() -> None:
    transport = MqttTransport(f"mqtt://127.0.0.1:{_free_port()}", "t", "d", timeout_s=5)
    with pytest.raises(Retryable, match="does not answer"):
        transport.send([b"m"])
    transport.close()
    for url in ("http://h", "mqtt://", "h:1883"):
        with pytest.raises(UsageError, match="is no broker"):
            MqttTransport(url, "t", "d")


def test_a_late_refusal_is_not_taken_for_the_next_bodys(broker: int) -> None:
    """The door sleeps through the first body and then refuses it, while the second is under way."""
    late = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    subscribed = threading.Event()
    got: list[bytes] = []

    def answer(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        got.append(bytes(message.payload))
        if len(got) > 1:
            client.publish(message.topic + "/receipt", b'{"results":[{"ok":false,"code":"TIME_STALE"}]}', qos=1)

    late.on_message = answer
    late.on_subscribe = lambda *_: subscribed.set()
    late.connect("127.0.0.1", broker)
    late.subscribe("t/+", qos=1)
    late.loop_start()
    assert subscribed.wait(10)
    transport = MqttTransport(f"mqtt://127.0.0.1:{broker}", "t", "d", timeout_s=1.0)
    with pytest.raises(Retryable, match="no answer"):
        transport.send([b"first"])
    with pytest.raises(Retryable, match="earlier body"):
        transport.send([b"second"])
    assert [result.code for result in transport.send([b"second"])] == ["TIME_STALE"]
    transport.close()
    late.disconnect()
    late.loop_stop()
