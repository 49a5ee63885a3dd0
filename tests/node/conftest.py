"""A real node served over HTTP on a clock that the test owns, with a few enrolled stations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldstone.agent.agent import Agent
from fieldstone.agent.buffer import Buffer, Reading
from fieldstone.agent.transport import HttpTransport
from fieldstone.clock import SetClock
from fieldstone.config import load
from fieldstone.demo.live import LiveNode
from fieldstone.identity.entries import Place, enrol
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.wallet import Wallet
from fieldstone.node.node import Node
from fieldstone.units import HOUR_MS

START_MS = 1_782_000_000_000
HOURS = 6
HOSTILE_NAME = "<script>alert(1)</script>"

TOML = """\
[node]
name = "Test network"
port = 0
[network]
network_id = "test"
[epoch]
length_s = 21600
first_start_ms = 1782000000000
[rewards]
bootstrap_per_epoch = "1000"
[settlement]
activation_delay_s = 60
{settlement}
"""


class Network:
    """A served node and its stations."""

    def __init__(self, folder: Path, stations: int = 3, settlement: str = "") -> None:
        self.folder = folder
        (folder / "network.toml").write_text(TOML.format(settlement=settlement))
        self.clock = SetClock(START_MS)
        self.live = LiveNode(Node(load(folder / "network.toml", {}), self.clock))
        self.url = self.live.url
        self.keys = [DeviceKey.from_secret(list(Algorithm)[i % 3], bytes([i + 1]) * 32) for i in range(stations)]
        self.wallets = [Wallet.from_secret(bytes([i + 101]) * 32) for i in range(stations)]
        door = HttpTransport(self.url)
        info = door.network()
        self.agents = []
        for i, key in enumerate(self.keys):
            name = HOSTILE_NAME if i == 0 else f"station {i}"
            body = enrol(
                key,
                self.wallets[i],
                self.live.node.policy,
                model="generic",
                place=Place(47 + i / 100, 8, 400, 10),
                name=name,
            )
            assert door.send_entry(body).ok
            self.agents.append(
                Agent(key, Buffer(folder / f"agent-{i}.db", START_MS), door, network=info, clock=self.clock)
            )

    def hours(self, hours: int = HOURS) -> None:
        """Every station reports hourly, a reading every five minutes."""
        for _ in range(hours):
            begin = self.clock.now_ms()
            self.clock.set(begin + HOUR_MS - 1)
            for i, agent in enumerate(self.agents):
                readings = [Reading(begin + m * 300_000, self.values(i, begin // HOUR_MS + m)) for m in range(12)]
                agent.record("sensing", "readings", readings)
                sent = agent.flush()
                assert sent.accepted == 1, sent
            self.clock.set(begin + HOUR_MS)

    @staticmethod
    def values(station: int, step: int) -> dict[str, float | None]:
        return {
            "temperature_c": 15.0 + 0.1 * ((step * 7 + station) % 11),
            "humidity_pct": 55.0 + (step * 5 + station) % 7 + (3.0 if station == 2 else 0.0),
            "pressure_hpa": 968.0 + 0.1 * ((step * 3 + station) % 5),
        }

    def close(self) -> None:
        self.live.__exit__(None, None, None)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    served = Network(tmp_path)
    yield served
    served.close()
