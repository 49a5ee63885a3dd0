"""Attacks with other people's numbers: copied, veiled, averaged, or one sensor under many names."""

from __future__ import annotations

import numpy as np

from fieldstone.services.sensing.fleet.solar import solar_hour
from fieldstone.services.sensing.lab_attacks import Attack, Identity, Scene, Times, collect
from fieldstone.services.sensing.lab_noise import stream, white
from fieldstone.services.sensing.lab_stations import (
    HUMIDITY_MAX_PCT,
    INSTRUMENTS,
    Readings,
    Source,
    Station,
    latest_ms,
)
from fieldstone.services.sensing.lab_world import World

ATTACKS: dict[str, Attack] = {}
_attack = collect(ATTACKS)


def _pressure_at(elevation_m: float) -> float:
    """Return the standard atmosphere's pressure in hPa: a careful copier moves the pressure to its claimed elevation."""
    return float(1013.25 * (1 - 0.0065 * elevation_m / 288.15) ** 5.2559)


def _copy(
    scene: Scene,
    name: str,
    *,
    lag_ms: int = 0,
    gain: float = 1.0,
    shift: float = 0.0,
    noise: float = 0.0,
    early: bool = False,
    careful: bool = True,
) -> list[Source]:
    victim = scene.victim()
    claim = scene.claim(before=victim) if early else scene.claim(after=victim)
    lift = _pressure_at(claim.elevation_m) / _pressure_at(victim.elevation_m) if careful else 1.0

    def produce(world: World, times: Times) -> Readings:
        out = victim.readings(world, latest_ms(victim, times - lag_ms))
        for key, values in out.items():
            kit = INSTRUMENTS[key]
            if key not in ("rain_mm", "traffic_count"):
                scale = max(kit.noise_sd, kit.resolution)
                factor = lift if key == "pressure_hpa" else 1.0 if key == "wind_direction_deg" else gain
                values = values * factor
                values = values + shift * 5 * scale * (key != "solar_wm2")
                values = values + noise * scale * white(stream(claim.seed, "veil", key), times // 1000) * (values != 0)
                values = np.round(values / kit.resolution) * kit.resolution
            if key == "wind_direction_deg":
                values = values % 360
            elif key not in ("temperature_c",):
                values = np.maximum(values, 0)
            out[key] = np.round(np.minimum(values, HUMIDITY_MAX_PCT) if key == "humidity_pct" else values, 3)
        return out

    return [Identity(claim, name, produce)]


@_attack("copied_neighbour", "another station's readings, unchanged")
def _copied(scene: Scene, name: str) -> list[Source]:
    return _copy(scene, name, careful=False)


@_attack(
    "copied_lag", "another station's readings, 5 to 40 minutes later; half of the copies enrolled before the victim"
)
def _copied_lag(scene: Scene, name: str) -> list[Source]:
    return _copy(scene, name, lag_ms=int(scene.rng.integers(1, 9)) * 300_000, early=bool(scene.rng.random() < 0.5))


@_attack("copied_scaled", "another station's readings with a factor and an offset")
def _copied_scaled(scene: Scene, name: str) -> list[Source]:
    gain, shift = scene.rng.uniform(0.85, 1.15), scene.rng.uniform(-1, 1)
    return _copy(scene, name, gain=gain, shift=shift)


@_attack("copied_noisy", "another station's readings with fresh noise of one to two resolutions")
def _copied_noisy(scene: Scene, name: str) -> list[Source]:
    return _copy(scene, name, noise=float(scene.rng.uniform(1, 2)))


@_attack("copied_disguised", "lag, factor, offset and noise together")
def _copied_disguised(scene: Scene, name: str) -> list[Source]:
    lag_ms = int(scene.rng.integers(1, 9)) * 300_000
    gain, shift = scene.rng.uniform(0.9, 1.1), scene.rng.uniform(-1, 1)
    return _copy(scene, name, lag_ms=lag_ms, gain=gain, shift=shift, noise=float(scene.rng.uniform(0.5, 1.5)))


@_attack("copied_half_day", "own sensor by night, a copied neighbour by day")
def _copied_half_day(scene: Scene, name: str) -> list[Source]:
    (copy,) = _copy(scene, name)
    own = copy.claim

    def produce(world: World, times: Times) -> Readings:
        mine, theirs = own.readings(world, times), copy.readings(world, times)
        day = np.abs(solar_hour(own.lon, times) - 13) < 5
        return {key: np.where(day, theirs[key], mine[key]) for key in mine}

    return [Identity(own, name, produce)]


@_attack("averaged_neighbours", "the mean of the two nearest stations: agrees with every neighbour check")
def _averaged(scene: Scene, name: str) -> list[Source]:
    claim = scene.claim()
    weather = [s for s in scene.honest if s.variables == claim.variables and not s.trouble]
    pair = sorted(weather, key=lambda s: ((s.lat - claim.lat) ** 2 + (s.lon - claim.lon) ** 2, s.device))[:2]

    def produce(world: World, times: Times) -> Readings:
        both = [s.readings(world, latest_ms(s, times)) for s in pair]
        out: Readings = {}
        for key in claim.variables:
            kit = INSTRUMENTS[key]
            value = (both[0][key] + both[1][key]) / 2
            value = value + 0.5 * kit.noise_sd * white(stream(claim.seed, "veil", key), times // 1000) * (value != 0)
            value = np.round(np.round(value / kit.resolution) * kit.resolution, 3)
            out[key] = value if key == "temperature_c" else np.maximum(value, 0)
        out["humidity_pct"] = np.minimum(out["humidity_pct"], HUMIDITY_MAX_PCT)
        return out

    return [Identity(claim, name, produce)]


@_attack("one_sensor_many", "one real sensor under six identities spread over the city, each with its own noise")
def _one_sensor_many(scene: Scene, name: str) -> list[Source]:
    original = scene.claim()
    out: list[Source] = [Identity(original, "original", lambda world, times: original.readings(world, times))]
    for _ in range(5):
        claim = scene.claim(operator=original.operator, after=original)

        def produce(world: World, times: Times, claim: Station = claim) -> Readings:
            now = original.readings(world, latest_ms(original, times))
            for key, values in now.items():
                kit = INSTRUMENTS[key]
                veil = 0.7 * kit.noise_sd * white(stream(claim.seed, "veil", key), times // 1000) * (values != 0)
                now[key] = np.round(np.maximum(values + veil, -40 if key == "temperature_c" else 0), 2)
            return now

        out.append(Identity(claim, name, produce))
    return out
