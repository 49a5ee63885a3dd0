"""Attacks with real stations at the wrong time, in the wrong place or state, and clusters that lie together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fieldstone.services.sensing.lab_attacks import Attack, Identity, Produce, Scene, Times, collect, seconds_in
from fieldstone.services.sensing.lab_noise import smooth, stream
from fieldstone.services.sensing.lab_stations import (
    INSTRUMENTS,
    Readings,
    Source,
    Station,
    instrument,
)
from fieldstone.services.sensing.lab_world import World
from fieldstone.units import DAY_MS, HOUR_MS

ATTACKS: dict[str, Attack] = {}
_attack = collect(ATTACKS)


@_attack("replayed_day", "an own real day, sent again every day", days=3)
def _replayed_day(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    begin = scene.world.start_ms

    def produce(world: World, times: Times) -> Readings:
        return claim.readings(world, begin + (times - begin) % DAY_MS)

    return [Identity(claim, name, produce)]


@_attack("replayed_year", "last year's real readings of the claimed place")
def _replayed_year(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    return [Identity(claim, name, lambda world, times: claim.readings(world, times - 364 * DAY_MS))]


@_attack("elsewhere", "a real station 150 to 900 km from where it claims to be, pressure adjusted to the elevation")
def _elsewhere(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    away = scene.rng.uniform(150, 900)
    angle = scene.rng.uniform(0, 2 * np.pi)
    lat = float(np.clip(claim.lat + away / 111.2 * np.sin(angle), -70, 70))
    lon = claim.lon + away / 111.2 * np.cos(angle) / np.cos(np.radians(claim.lat))
    real = replace(claim, lat=lat, lon=float(lon))
    return [Identity(claim, name, lambda world, times: real.readings(world, times))]


@_attack("wrong_elevation", "a real station 80 to 300 m higher or lower than it claims")
def _wrong_elevation(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    off_m = scene.rng.uniform(80, 300)
    real = replace(claim, elevation_m=claim.elevation_m + off_m)
    return [Identity(claim, name, lambda world, times: real.readings(world, times))]


@_attack("swapped_location", "a real station that claims a cell 8 to 15 km away in the same city")
def _swapped(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    away, angle = scene.rng.uniform(8, 15), scene.rng.uniform(0, 2 * np.pi)
    lon = claim.lon + away / 111.2 * np.cos(angle) / np.cos(np.radians(claim.lat))
    real = replace(claim, lat=claim.lat + away / 111.2 * np.sin(angle), lon=float(lon))
    return [Identity(claim, name, lambda world, times: real.readings(world, times))]


@_attack("interpolated", "a real station that measures every two hours and fills the gaps with straight lines")
def _interpolated(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()

    def produce(world: World, times: Times) -> Readings:
        step = 2 * HOUR_MS
        grid = np.arange(times.min() // step * step, times.max() + 2 * step, step)
        real = replace(claim, seed=claim.seed + 1).readings(world, grid)
        out: Readings = {}
        for key, values in real.items():
            seen = np.isfinite(values)
            kit = INSTRUMENTS[key]
            line = np.interp(times, grid[seen], values[seen]) if seen.any() else np.full(times.size, np.nan)
            out[key] = np.round(np.round(line / kit.resolution) * kit.resolution, 3)
        return out

    return [Identity(claim, name, produce)]


# ---- real stations in the wrong state


@_attack("indoors", "a station in a living room")
def _indoors(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()

    def produce(world: World, times: Times) -> Readings:
        air = world.observe(claim.lat, claim.lon, claim.elevation_m, times, interval_s=claim.interval_s)
        t_s = seconds_in(world, times)
        home = 0.8 * smooth(stream(claim.seed, "heating"), t_s, 5400)
        damped = world.observe(claim.lat, claim.lon, claim.elevation_m, times - 3 * HOUR_MS)["temperature_c"]
        air["temperature_c"] = 20.5 + 0.15 * (damped - 12) + home
        air["humidity_pct"] = 45 + 0.15 * (air["humidity_pct"] - 60) + 2 * smooth(stream(claim.seed, "h"), t_s, 7200)
        air["wind_speed_ms"] = np.zeros(times.size)
        air["wind_direction_deg"] = np.full(times.size, 180.0)
        air["rain_mm"] = np.zeros(times.size)
        air["solar_wm2"] = air["solar_wm2"] * 0.04
        return instrument(claim, air, times)

    return [Identity(claim, name, produce)]


@_attack("stuck", "a sensor that froze some hours ago and keeps repeating its last value")
def _stuck(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    since = scene.world.start_ms + int(scene.rng.uniform(0, 6) * HOUR_MS)
    frozen = ("temperature_c", "humidity_pct", "pressure_hpa")

    def produce(world: World, times: Times) -> Readings:
        out = claim.readings(world, times)
        last = replace(claim, trouble="").readings(world, np.asarray([since]))
        for key in frozen:
            if key in out:
                out[key] = np.where(times >= since, np.nan_to_num(last[key][0], nan=12.0), out[key])
        return out

    return [Identity(claim, name, produce)]


@_attack("slow_drift", "a thermometer that drifts by 0.05 to 0.1 °C a day", days=30)
def _slow_drift(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    rate = scene.rng.uniform(0.05, 0.10) * (1 if scene.rng.random() < 0.5 else -1)
    begin = scene.world.start_ms

    def produce(world: World, times: Times) -> Readings:
        out = claim.readings(world, times)
        out["temperature_c"] = np.round(out["temperature_c"] + rate * (times - begin) / DAY_MS, 1)
        return out

    return [Identity(claim, name, produce)]


# ---- many hands


@_attack(
    "colluding_cluster", "seven identities of one operator around an honest station, all 4 to 6 °C too warm together"
)
def _colluding(scene: Scene, name: str) -> list[Source]:
    return _warm_cluster(scene, name, one_hand=True)


@_attack("colluding_sybils", "the same, each identity under an operator address of its own")
def _colluding_sybils(scene: Scene, name: str) -> list[Source]:
    return _warm_cluster(scene, name, one_hand=False)


def _warm_cluster(scene: Scene, name: str, *, one_hand: bool) -> list[Source]:
    victim = scene.victim()
    offset = scene.rng.uniform(4, 6)
    first = scene.claim(near=victim, near_km=2.0)
    operator = first.operator if one_hand else None
    claims = [first] + [scene.claim(near=victim, near_km=2.0, operator=operator) for _ in range(6)]

    def lie(claim: Station) -> Produce:
        def produce(world: World, times: Times) -> Readings:
            out = claim.readings(world, times)
            out["temperature_c"] = np.round(out["temperature_c"] + offset, 1)
            return out

        return produce

    return [Identity(claim, name, lie(claim)) for claim in claims]
