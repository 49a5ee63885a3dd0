"""Who cheats, and how: each attack enrols identities in a scene and produces what they send.

An adversary knows the rules and sees all published readings up to now (`latest_ms`). It does not hold other people's
keys, cannot see the future, and its claims about place and time of enrolment pass the registry. Attacks that pay a
whole farm enrol several identities; the honest sensor behind a farm is labelled "original": it may be paid once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, sin_elevation, solar_hour
from fieldstone.services.sensing.lab_noise import smooth, stream, uniform, white
from fieldstone.services.sensing.lab_stations import (
    HUMIDITY_MAX_PCT,
    INSTRUMENTS,
    Readings,
    Source,
    Station,
    instrument,
    latest_ms,
)
from fieldstone.services.sensing.lab_world import World
from fieldstone.units import DAY_MS, HOUR_MS

Times = NDArray[np.int64]
Produce = Callable[[World, Times], Readings]


@dataclass(frozen=True)
class Scene:
    """What an adversary finds: the world, the honest stations, and `claim(near_km=…)`, which enrols a new identity."""

    world: World
    honest: Sequence[Station]
    rng: np.random.Generator
    claim: Callable[..., Station]

    def victim(self) -> Station:
        """Return a healthy honest weather station."""
        candidates = [s for s in self.honest if not s.trouble and "wind_speed_ms" in s.variables]
        return candidates[int(self.rng.integers(len(candidates)))]


class Adversary(Protocol):
    """One attack: `name`, what it claims and does (`summary`), days until it can be seen, and its identities."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def days(self) -> int: ...

    def enrol(self, scene: Scene) -> list[Source]: ...


@dataclass(frozen=True)
class Identity:
    """One enrolled identity of an adversary."""

    claim: Station
    label: str
    produce: Produce

    def readings(self, world: World, times_ms: ArrayLike) -> Readings:
        """Return what this identity sends at the times."""
        return self.produce(world, np.atleast_1d(np.asarray(times_ms, dtype=np.int64)))


@dataclass(frozen=True)
class Attack:
    """An adversary made of one function."""

    name: str
    summary: str
    days: int
    make: Callable[[Scene, str], list[Source]]

    def enrol(self, scene: Scene) -> list[Source]:
        """Return the identities of one instance of this attack."""
        return self.make(scene, self.name)


ATTACKS: dict[str, Attack] = {}


def _attack(name: str, summary: str, days: int = 1) -> Callable[[Callable[[Scene, str], list[Source]]], None]:
    def register(make: Callable[[Scene, str], list[Source]]) -> None:
        ATTACKS[name] = Attack(name, summary, days, make)

    return register


def _seconds(world: World, times: Times) -> NDArray[np.float64]:
    return np.asarray((times - world.start_ms) / 1000.0, dtype=np.float64)


# ---- invented numbers


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
        t_s = _seconds(world, times)

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
        t_s = _seconds(world, times)
        wind = air["wind_speed_ms"]
        air["temperature_c"] = air["temperature_c"] + 0.25 * smooth(stream(dresser.seed, "t"), t_s, 500)
        air["humidity_pct"] = air["humidity_pct"] + 1.5 * smooth(stream(dresser.seed, "h"), t_s, 500)
        air["wind_speed_ms"] = np.abs(wind * (1 + 0.25 * smooth(stream(dresser.seed, "w"), t_s, 200)))
        air["wind_direction_deg"] = air["wind_direction_deg"] + 15 * smooth(stream(dresser.seed, "d"), t_s, 200)
        air["solar_wm2"] = air["solar_wm2"] * np.exp(0.15 * smooth(stream(dresser.seed, "s"), t_s, 300))
        return instrument(claim, air, times)

    return [Identity(claim, name, produce)]


# ---- other people's numbers


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


# ---- other times, other places


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
        t_s = _seconds(world, times)
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
