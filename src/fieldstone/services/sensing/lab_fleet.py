"""Build a fleet in a world: honest stations over a metropolitan area, some with honest trouble, and adversaries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from fieldstone.services.contract import REGISTRY_SCHEMA
from fieldstone.services.sensing.lab_adversaries import ATTACKS, Adversary, Scene
from fieldstone.services.sensing.lab_noise import stream
from fieldstone.services.sensing.lab_stations import (
    AIR,
    STREET,
    TROUBLES,
    WEATHER,
    Source,
    Station,
    grid_ms,
    readings_table,
)
from fieldstone.services.sensing.lab_world import World
from fieldstone.services.sensing.schema import EVIDENCE_SCHEMA
from fieldstone.units import DAY_MS

# Hardware model → what it measures and how often (s); names and intervals are those of rules/models.py.
MODELS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "WS2000": (WEATHER, 180.0),
    "generic": (WEATHER, 300.0),
    "air": (AIR, 150.0),
    "noise": (STREET, 60.0),
}
TRUTH_SCHEMA: dict[str, pl.DataType] = {"device": pl.String(), "label": pl.String()}


@dataclass(frozen=True)
class Fleet:
    """Sources in a world. `registry`: REGISTRY_SCHEMA; `truth`: device → label; both sorted by device."""

    world: World
    sources: tuple[Source, ...]

    @property
    def registry(self) -> pl.DataFrame:
        """Return what the sources claim, in the contract's registry schema."""
        rows = [{name: getattr(source.claim, name) for name in REGISTRY_SCHEMA} for source in self.sources]
        return pl.DataFrame(rows, schema=REGISTRY_SCHEMA).sort("device")

    @property
    def truth(self) -> pl.DataFrame:
        """Return what the sources are."""
        rows = [{"device": source.claim.device, "label": source.label} for source in self.sources]
        return pl.DataFrame(rows, schema=TRUTH_SCHEMA).sort("device")

    def readings(self, start_ms: int, end_ms: int) -> pl.DataFrame:
        """Return all readings made in [start_ms, end_ms) in the evidence schema, sorted by device and time."""
        tables = [readings_table(source, self.world, grid_ms(source, start_ms, end_ms)) for source in self.sources]
        if not tables:
            return pl.DataFrame(schema=EVIDENCE_SCHEMA)
        return pl.concat(tables).sort("device", "t_ms", maintain_order=True)


def lab_device(seed: int, number: int) -> str:
    """Return a made-up device id. Its order says nothing about what the device is."""
    return "did:key:zLab" + hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:24]


def lab_operator(seed: int, number: int) -> str:
    """Return a made-up operator address."""
    return "0x" + hashlib.sha256(f"operator/{seed}/{number}".encode()).hexdigest()[:40]


def terrain_m(seed: int, lat: float, lon: float) -> float:
    """Return the elevation of a gently rolling land, 20 to about 280 m."""
    rng = np.random.default_rng(stream(seed, "terrain"))
    waves = rng.uniform(8, 30, (4, 2)) * rng.choice([-1, 1], (4, 2))
    heights = np.cos(waves @ np.array([lat, lon]) + rng.uniform(0, 6.28, 4))
    return float(20 + 32 * (heights + 1).sum())


def build_fleet(
    world: World,
    *,
    honest: int = 120,
    attacks: Mapping[str, int] | Iterable[str] = (),
    troubles: Mapping[str, int] | Iterable[str] = TROUBLES,
    mix: Mapping[str, float] | None = None,
    center: tuple[float, float] = (48.2, 16.4),
    radius_km: float = 18.0,
    interval_s: float | None = None,
    stagger: bool = True,
    adversaries: Mapping[str, Adversary] = ATTACKS,
    device_id: Callable[[int, int], str] = lab_device,
    operator_id: Callable[[int, int], str] = lab_operator,
) -> Fleet:
    """Return a fleet of `honest` stations (the troubled ones among them) and the instances of each attack.

    `attacks`, `troubles`: name → count, or names (one each). `mix`: model → share of the honest stations (default: all
    "WS2000"). `interval_s` overrides the models' own. `stagger` spreads the moments of reading over the interval; switch it off to drive all stations by one
    clock. `device_id`, `operator_id` turn (seed, number) into identities. Raises ValueError for an unknown attack or more
    troubles than stations.
    """
    attack_counts = dict(attacks) if isinstance(attacks, Mapping) else {name: 1 for name in attacks}
    trouble_counts = dict(troubles) if isinstance(troubles, Mapping) else {name: 1 for name in troubles}
    unknown = set(attack_counts) - set(adversaries)
    if unknown:
        raise ValueError(f"unknown attacks {sorted(unknown)}; known are {', '.join(sorted(adversaries))}")
    plan = [name for name, count in trouble_counts.items() for _ in range(count)]
    if len(plan) > honest:
        raise ValueError(f"{len(plan)} troubles for {honest} honest stations; ask for more stations")
    rng = np.random.default_rng(stream(world.seed, "fleet"))
    models = list(mix or {"WS2000": 1.0})
    shares = np.asarray(list((mix or {"WS2000": 1.0}).values()), dtype=np.float64)
    number = 0

    def enrol(
        lat: float, lon: float, *, model: str, trouble: str = "", operator: str | None = None, enrolled_ms: int
    ) -> Station:
        nonlocal number
        number += 1
        seed = stream(world.seed, "station", number)
        variables, usual_s = MODELS[model]
        step_s = interval_s or usual_s
        phase = int(rng.integers(0, round(step_s))) * 1000 if stagger else 0
        return Station(
            device=device_id(world.seed, number),
            operator=operator or operator_id(world.seed, number),
            model=model,
            lat=round(lat, 5),
            lon=round(lon, 5),
            elevation_m=round(terrain_m(world.seed, lat, lon), 1),
            enrolled_ms=enrolled_ms,
            seed=seed,
            interval_s=step_s,
            trouble=trouble,
            variables=variables,
            phase_ms=phase,
        )

    def place(around: tuple[float, float] = center, within_km: float = radius_km) -> tuple[float, float]:
        r, angle = within_km * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
        lat = around[0] + r * np.sin(angle) / 111.2
        return float(lat), float(around[1] + r * np.cos(angle) / (111.2 * np.cos(np.radians(around[0]))))

    stations: list[Station] = []
    for index in range(honest):
        trouble = plan[index] if index < len(plan) else ""
        model = "WS2000" if trouble else models[int(rng.choice(len(models), p=shares / shares.sum()))]
        enrolled_ms = world.start_ms - int(rng.integers(30, 400)) * DAY_MS
        stations.append(enrol(*place(), model=model, trouble=trouble, enrolled_ms=enrolled_ms))

    def claim(
        *,
        near: Station | None = None,
        near_km: float = 5.0,
        after: Station | None = None,
        before: Station | None = None,
        operator: str | None = None,
    ) -> Station:
        lat, lon = place((near.lat, near.lon), near_km) if near else place()
        enrolled_ms = world.start_ms - int(rng.integers(5, 60)) * DAY_MS
        if after:
            enrolled_ms = min(after.enrolled_ms + int(rng.integers(1, 25)) * DAY_MS, world.start_ms - DAY_MS)
        if before:
            enrolled_ms = before.enrolled_ms - int(rng.integers(1, 25)) * DAY_MS
        return enrol(lat, lon, model="WS2000", operator=operator, enrolled_ms=enrolled_ms)

    sources: list[Source] = list(stations)
    for name, count in attack_counts.items():
        scene = Scene(world, tuple(stations), np.random.default_rng(stream(world.seed, "attack", name)), claim)
        for _ in range(count):
            sources.extend(adversaries[name].enrol(scene))
    return Fleet(world, tuple(sources))
