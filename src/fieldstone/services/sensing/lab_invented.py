"""Attacks with invented numbers: no station at all, a textbook or a weather model instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, sin_elevation, solar_hour
from fieldstone.services.sensing.lab_attacks import Attack, Identity, Scene, Times, collect, seconds_in
from fieldstone.services.sensing.lab_noise import smooth, stream, uniform, white
from fieldstone.services.sensing.lab_stations import (
    INSTRUMENTS,
    Readings,
    Source,
    instrument,
)
from fieldstone.services.sensing.lab_world import World
from fieldstone.units import DAY_MS, HOUR_MS

ATTACKS: dict[str, Attack] = {}
_attack = collect(ATTACKS)


@_attack("fabricated_smooth", "a daily curve from a textbook, no station at all")
def _fabricated_smooth(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    mean = scene.rng.uniform(-1.5, 1.5)

    def produce(world: World, times: Times) -> Readings:
        hour = solar_hour(claim.lon, times)
        # the forger looks up today's mean, but not the weather hour by hour
        noon = times // DAY_MS * DAY_MS + DAY_MS // 2
        today = world.observe(claim.lat, claim.lon, claim.elevation_m, noon, smallest_km=300)
        day = np.cos((hour - 15) * (np.pi / 12))
        air = {key: value.copy() for key, value in today.items()}
        air["temperature_c"] = today["temperature_c"] - 2.5 + mean + 4.5 * day
        air["humidity_pct"] = np.clip(68 - 14 * day, 5, 100)
        air["wind_speed_ms"] = 2.5 + 1.2 * day
        air["wind_direction_deg"] = 200 + 30 * day
        air["solar_wm2"] = 0.8 * clear_sky_wm2(sin_elevation(claim.lat, claim.lon, times))
        air["rain_mm"] = np.zeros(times.size)
        return instrument(claim, air, times, noise=0.3)

    return [Identity(claim, name, produce)]


@_attack("fabricated_noisy", "a daily curve plus random walks that look like weather")
def _fabricated_noisy(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()

    def produce(world: World, times: Times) -> Readings:
        t_s = seconds_in(world, times)

        def wander(key: str, sd: float) -> NDArray[np.float64]:
            slow = smooth(stream(claim.seed, key, 1), t_s, 9_000)
            quick = smooth(stream(claim.seed, key, 2), t_s, 1_200)
            return np.asarray(sd * (0.8 * slow + 0.3 * quick + 0.15 * white(stream(claim.seed, key, 3), times // 1000)))

        noon = times // DAY_MS * DAY_MS + DAY_MS // 2
        today = world.observe(claim.lat, claim.lon, claim.elevation_m, noon, smallest_km=300)
        day = np.cos((solar_hour(claim.lon, times) - 15) * (np.pi / 12))
        air = {key: value.copy() for key, value in today.items()}
        air["temperature_c"] = today["temperature_c"] - 2.5 + 4 * day + wander("t", 1.0)
        air["humidity_pct"] = 68 - 14 * day + wander("h", 5)
        air["pressure_hpa"] = today["pressure_hpa"] + wander("p", 0.6)
        air["wind_speed_ms"] = np.abs(2.5 + day + wander("w", 1.2))
        air["wind_direction_deg"] = 200 + wander("d", 60)
        light = clear_sky_wm2(sin_elevation(claim.lat, claim.lon, times))
        air["solar_wm2"] = light * np.clip(0.7 + wander("s", 0.25), 0.05, 1.1)
        air["rain_mm"] = np.zeros(times.size)
        return instrument(claim, air, times)

    return [Identity(claim, name, produce)]


@_attack("threshold_gaming", "a constant with a wiggle just large enough for the stuck-value rule")
def _threshold_gaming(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()

    def produce(world: World, times: Times) -> Readings:
        noon = times // DAY_MS * DAY_MS + DAY_MS // 2
        air = world.observe(claim.lat, claim.lon, claim.elevation_m, noon, smallest_km=300)
        toss = (uniform(stream(claim.seed, "toss"), times // 1000) > 0.5) * 1.0
        for key in claim.variables:
            air[key] = air[key] + toss * 1.01 * INSTRUMENTS[key].resolution
        air["solar_wm2"] = np.where(sin_elevation(claim.lat, claim.lon, times) > 0, air["solar_wm2"], 0.0)
        return instrument(claim, air, times, noise=0.0)

    return [Identity(claim, name, produce)]


@_attack("model_replay", "the hourly grid of a public analysis for the claimed place, interpolated in time")
def _model_replay(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()

    def produce(world: World, times: Times) -> Readings:
        grid = np.arange(times.min() // HOUR_MS * HOUR_MS, times.max() + 2 * HOUR_MS, HOUR_MS)
        coarse = world.observe(claim.lat, claim.lon, claim.elevation_m, grid, smallest_km=12, interval_s=300)
        air = {key: np.interp(times, grid, values) for key, values in coarse.items()}
        return instrument(claim, air, times, noise=0.0)

    return [Identity(claim, name, produce)]


@_attack("model_dressed", "the same analysis with invented turbulence and sensor noise on top")
def _model_dressed(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    dresser = replace(claim, seed=claim.seed ^ 1)

    def produce(world: World, times: Times) -> Readings:
        grid = np.arange(times.min() // HOUR_MS * HOUR_MS, times.max() + 2 * HOUR_MS, HOUR_MS)
        coarse = world.observe(claim.lat, claim.lon, claim.elevation_m, grid, smallest_km=12, interval_s=300)
        air = {key: np.interp(times, grid, values) for key, values in coarse.items()}
        t_s = seconds_in(world, times)
        wind = air["wind_speed_ms"]
        air["temperature_c"] = air["temperature_c"] + 0.25 * smooth(stream(dresser.seed, "t"), t_s, 500)
        air["humidity_pct"] = air["humidity_pct"] + 1.5 * smooth(stream(dresser.seed, "h"), t_s, 500)
        air["wind_speed_ms"] = np.abs(wind * (1 + 0.25 * smooth(stream(dresser.seed, "w"), t_s, 200)))
        air["wind_direction_deg"] = air["wind_direction_deg"] + 15 * smooth(stream(dresser.seed, "d"), t_s, 200)
        air["solar_wm2"] = air["solar_wm2"] * np.exp(0.15 * smooth(stream(dresser.seed, "s"), t_s, 300))
        return instrument(claim, air, times)

    return [Identity(claim, name, produce)]
