"""The MQTT door with real brokers: amqtt in this process, mosquitto where it is installed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.intake.broker import embedded_broker
from fieldstone.intake.mqtt import MqttDoor
from fieldstone.journal import EntryKind
from fieldstone.journal.receipts import Receipt, verify_receipt

from .worlds import NETWORK_KEY, World, bodies, key, message

TOPIC = "net/reports"


@asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    server = subprocess.Popen(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(10)


@asynccontextmanager
async def broker(name: str, folder: Path) -> AsyncIterator[int]:
    if name == "mosquitto":
        if shutil.which("mosquitto") is None:
            pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
        async with mosquitto(folder) as port:
            yield port
    else:
        async with embedded_broker("127.0.0.1", 0) as port:
            yield port


@asynccontextmanager
async def door(world: World, port: int) -> AsyncIterator[MqttDoor]:
    opened = MqttDoor(world.intake, f"mqtt://127.0.0.1:{port}", topic=TOPIC, client_id="network", retry_s=0.1)
    task = asyncio.create_task(opened.run())
    await asyncio.wait_for(opened.connected.wait(), 10)
    try:
        yield opened
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("name", ["amqtt", "mosquitto"])
async def test_reports_come_in_and_receipts_go_out(name: str, tmp_path: Path) -> None:
    device = key(1)
    level = device.public.device_id
    with World(tmp_path) as world:
        await world.enrol(device)
        async with (
            broker(name, tmp_path) as port,
            door(world, port),
            aiomqtt.Client("127.0.0.1", port, identifier="device") as client,
        ):
            await client.subscribe(f"{TOPIC}/{level}/receipt", qos=1)
            sent = [message(device, 1), message(device, 2)]
            await client.publish(f"{TOPIC}/{level}", b"".join(sent), qos=1)
            await client.publish(f"{TOPIC}/{level}", sent[0] + b"\xff garbage", qos=1)
            answers = []
            async with asyncio.timeout(10):
                async for answer in client.messages:
                    answers.append(msgspec.json.decode(answer.payload))
                    if len(answers) == 2:
                        break
        first = next(answer for answer in answers if answer["accepted"] == 2)
        for body, result in zip(sent, first["results"], strict=True):
            assert verify_receipt(msgspec.convert(result["receipt"], Receipt), body, NETWORK_KEY.public)
        second = next(answer for answer in answers if answer is not first)
        assert [result["code"] for result in second["results"]] == ["REPLAYED", "BAD_CBOR"]
        assert bodies(world, [EntryKind.REPORT]) == sent


async def test_a_message_is_acknowledged_only_when_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = key(1)
    with World(tmp_path) as world:
        await world.enrol(device)
        acknowledged: list[int] = []
        async with broker("amqtt", tmp_path) as port, door(world, port):
            import paho.mqtt.client as paho

            ack = paho.Client.ack

            def spy(self: paho.Client, mid: int, qos: int) -> object:
                acknowledged.append(len(bodies(world, [EntryKind.REPORT])))
                return ack(self, mid, qos)

            monkeypatch.setattr(paho.Client, "ack", spy)
            world.journal._connection.execute("PRAGMA max_page_count = 1")  # the disk is full
            world.journal._failure = "SQLITE_FULL: made up by the test"
            world.group._recover_at = float("inf")
            async with aiomqtt.Client("127.0.0.1", port, identifier="device") as client:
                await client.publish(f"{TOPIC}/x", message(device, 1), qos=1)
                await asyncio.sleep(0.5)
                assert acknowledged == [] and bodies(world, [EntryKind.REPORT]) == []
                world.group._recover_at = 0.0
                async with asyncio.timeout(10):
                    while not acknowledged:
                        await asyncio.sleep(0.05)
        assert acknowledged == [1], "durable first, then acknowledged"


async def test_a_taken_port_is_a_problem_in_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=str(port)):
            async with embedded_broker("127.0.0.1", port):
                pass


@pytest.mark.parametrize("url", ["http://x", "mqtt://", "mqtt://h:notaport", "mqtt://h/path", "1.2.3.4:1883"])
async def test_urls_of_another_form_are_refused(url: str, tmp_path: Path) -> None:
    with World(tmp_path) as world, pytest.raises(UsageError, match="MQTT broker"):
        MqttDoor(world.intake, url, topic=TOPIC, client_id="x")
