"""The demo's devices: real keys, real agents; what they measure comes from the lab's world or from real airports."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fieldstone.agent.agent import Agent
from fieldstone.agent.buffer import Buffer, Reading
from fieldstone.agent.transport import HttpTransport, NetworkInfo
from fieldstone.clock import SystemClock
from fieldstone.demo import observations
from fieldstone.errors import CheckFailed
from fieldstone.identity.entries import NetworkName, Place, enrol
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.wallet import Wallet
from fieldstone.services.sensing.lab import World, build_fleet, grid_ms

SEED = 2026
HONEST = 30
ATTACKS = {
    "copied_neighbour": 1,
    "one_sensor_many": 1,
    "fabricated_smooth": 1,
    "indoors": 1,
    "stuck": 1,
    "elsewhere": 1,
}
TROUBLES = ("outage", "gaps", "noisy")
ATTEMPTS = 5
MIX = {"WS2000": 1.0}


@dataclass
class DemoDevice:
    """One device: who it says it is, what it truly is, and how to ask for its readings in a time window."""

    key: DeviceKey
    wallet: Wallet
    name: str
    model: str
    place: Place
    enrolled_order: int
    truth: str
    measure: Callable[[int, int], list[Reading]]
    agent: Agent | None = None

    @property
    def device(self) -> str:
        """The device id."""
        return self.key.public.device_id


def secret(*parts: object) -> bytes:
    """Return 32 bytes for a demo key. Everyone can compute them: never use the demo's keys for anything else."""
    return hashlib.sha256("/".join(map(str, ("fieldstone-demo", *parts))).encode()).digest()


def build(start_ms: int) -> list[DemoDevice]:
    """Return every device of the demo, in the order of enrolment."""
    devices = [*_lab_devices(start_ms), *_airports(start_ms)]
    return sorted(devices, key=lambda device: (device.enrolled_order, device.device))


def _lab_devices(start_ms: int) -> list[DemoDevice]:
    keys: dict[str, DeviceKey] = {}
    wallets: dict[str, Wallet] = {}

    def device_id(seed: int, number: int) -> str:
        key = DeviceKey.from_secret(Algorithm.ED25519, secret("device", seed, number))
        keys[key.public.device_id] = key
        return key.public.device_id

    def operator_id(seed: int, number: int) -> str:
        wallet = Wallet.from_secret(secret("operator", seed, number % 12))
        wallets[wallet.address] = wallet
        return wallet.address

    world = World(seed=SEED, start_ms=start_ms)
    fleet = build_fleet(
        world,
        honest=HONEST,
        attacks=ATTACKS,
        troubles=TROUBLES,
        mix=MIX,
        device_id=device_id,
        operator_id=operator_id,
    )
    devices = []
    for number, source in enumerate(fleet.sources, start=1):
        claim = source.claim

        def measure(first_ms: int, end_ms: int, source: object = source) -> list[Reading]:
            times = grid_ms(source, first_ms, end_ms)  # type: ignore[arg-type]
            columns = source.readings(world, times)  # type: ignore[attr-defined]
            return readings_of(times, columns)

        devices.append(
            DemoDevice(
                key=keys[claim.device],
                wallet=wallets[claim.operator],
                name=f"station {number}",
                model=claim.model,
                place=Place(claim.lat, claim.lon, claim.elevation_m, 10.0),
                enrolled_order=claim.enrolled_ms,
                truth=source.label,
                measure=measure,
            )
        )
    return devices


def _airports(start_ms: int) -> list[DemoDevice]:
    shift_ms = start_ms - observations.FIRST_MS
    rows = observations.load()
    devices = []
    for number, (code, (lat, lon, elevation_m)) in enumerate(observations.AIRPORTS.items()):
        mine = [Reading(o.t_ms + shift_ms, o.values) for o in rows if o.airport == code]

        def measure(first_ms: int, end_ms: int, mine: list[Reading] = mine) -> list[Reading]:
            return [reading for reading in mine if first_ms <= reading.t_ms < end_ms]

        devices.append(
            DemoDevice(
                key=DeviceKey.from_secret(Algorithm.P256, secret("airport", code)),
                wallet=Wallet.from_secret(secret("operator", "airports")),
                name=f"{code} (real observations)",
                model=observations.MODEL,
                place=Place(lat, lon, elevation_m, 50.0),
                enrolled_order=number,
                truth="real",
                measure=measure,
            )
        )
    return devices


def readings_of(times_ms: np.ndarray, columns: dict[str, np.ndarray]) -> list[Reading]:
    """Turn arrays into readings; NaN means that nothing was sent."""
    rows = []
    for i, t_ms in enumerate(times_ms.tolist()):
        values = {name: float(column[i]) for name, column in columns.items() if np.isfinite(column[i])}
        if values:
            rows.append(Reading(int(t_ms), values))
    return rows


def enrol_all(devices: Sequence[DemoDevice], url: str, network: NetworkName, tick: Callable[[], None]) -> None:
    """Enrol every device over HTTP, signed by device and operator. `tick` moves the clock between two of them."""
    with HttpTransport(url) as door:
        for device in devices:
            tick()
            body = enrol(device.key, device.wallet, network, model=device.model, place=device.place, name=device.name)
            result = door.send_entry(body)
            if not result.ok:
                raise CheckFailed(f"{device.name} was not enrolled: {result.code} {result.detail or ''}")


def connect(devices: Sequence[DemoDevice], url: str, folder: Path) -> None:
    """Give every device its agent: a buffer file of its own and one shared connection to the node.

    Agents wait and try again on the machine's clock; only what they measure is dated by the demo's.
    """
    door = HttpTransport(url)
    info: NetworkInfo = door.network()
    clock = SystemClock()
    for number, device in enumerate(devices, start=1):
        buffer = Buffer(folder / f"{number:02d}.db", clock.now_ms())
        device.agent = Agent(device.key, buffer, door, network=info, clock=clock)


def report(device: DemoDevice, first_ms: int, end_ms: int) -> int:
    """Let a device measure, sign and deliver one window; return how many reports the network acknowledged."""
    assert device.agent is not None
    readings = device.measure(first_ms, end_ms)
    if not readings:
        return 0
    device.agent.record("sensing", "readings", readings)
    problem = ""
    for _ in range(ATTEMPTS):
        sent = device.agent.flush()
        if sent.accepted:
            return sent.accepted
        problem = sent.problem
        time.sleep(sent.wait_s)
    raise CheckFailed(f"{device.name}: {problem or 'the network took nothing'}")
