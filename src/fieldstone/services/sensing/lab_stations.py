"""Stations: instruments with resolution, noise, bias and lag at a site, and the trouble that honest people have.

A `Station` is what it claims to be. Its readings are a function of time, so the demo may ask step by step for what the
bench asks for in bulk. Instrument figures are typical of consumer stations (maker data sheets: temperature ±0.3–0.5 °C,
humidity ±3–5 %, pressure ±1 hPa, wind ±10 %, rain tips of 0.254 mm, light ±15 %).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from fieldstone.services.sensing.fleet.solar import solar_hour
from fieldstone.services.sensing.lab_noise import smooth, stream, uniform, white
from fieldstone.services.sensing.lab_world import World
from fieldstone.services.sensing.schema import EVIDENCE_SCHEMA, VARIABLE_NAMES

Floats = NDArray[np.float64]
Readings = dict[str, Floats]

WEATHER = VARIABLE_NAMES[:7]
AIR = ("temperature_c", "humidity_pct", "pressure_hpa", "pm2_5_ugm3", "pm10_ugm3")
STREET = ("temperature_c", "noise_dba", "traffic_count")

HUMIDITY_MAX_PCT = 99.0  # consumer capacitive sensors end here, also in fog
TROUBLES = ("outage", "gaps", "noisy", "bias", "coast", "valley", "clock", "sheltered")


@dataclass(frozen=True, slots=True)
class Instrument:
    """`noise_sd`, `bias_sd` in the variable's unit, `gain_sd` relative, `lag_s` first-order response time."""

    resolution: float
    noise_sd: float
    bias_sd: float = 0.0
    gain_sd: float = 0.0
    lag_s: float = 0.0


INSTRUMENTS: Mapping[str, Instrument] = {
    "temperature_c": Instrument(0.1, 0.06, bias_sd=0.25, lag_s=120),
    "humidity_pct": Instrument(1.0, 0.5, bias_sd=1.8, lag_s=120),
    "pressure_hpa": Instrument(0.1, 0.05, bias_sd=0.4),
    "wind_speed_ms": Instrument(0.1, 0.1, gain_sd=0.05),
    "wind_direction_deg": Instrument(1.0, 4.0, bias_sd=6.0),
    "rain_mm": Instrument(0.254, 0.0, gain_sd=0.08),
    "solar_wm2": Instrument(0.1, 0.5, gain_sd=0.05),
    "pm2_5_ugm3": Instrument(0.1, 0.3, gain_sd=0.12),
    "pm10_ugm3": Instrument(0.1, 0.6, gain_sd=0.12),
    "noise_dba": Instrument(0.1, 0.5, bias_sd=1.0),
    "traffic_count": Instrument(1.0, 0.0, gain_sd=0.03),
}


class Source(Protocol):
    """Anything that stands in the registry and sends readings: an honest station or an adversary's identity."""

    @property
    def claim(self) -> Station:
        """What the registry is told: device, operator, model, place, enrolment."""
        ...

    @property
    def label(self) -> str:
        """The truth: "honest", "honest:<trouble>" or the attack's name."""
        ...

    def readings(self, world: World, times_ms: ArrayLike) -> Readings:
        """Return variable → values at the times; NaN where nothing is sent."""
        ...


@dataclass(frozen=True)
class Station:
    """One station. `trouble` is one of `TROUBLES` or ""; `seed` fixes its instruments.

    It reads every `interval_s`, `phase_ms` after the full multiple. Drive it live on that grid: adversaries copy what
    their victim sent there.
    """

    device: str
    operator: str
    model: str
    lat: float
    lon: float
    elevation_m: float
    enrolled_ms: int
    seed: int
    interval_s: float = 300.0
    trouble: str = ""
    variables: tuple[str, ...] = field(default=WEATHER)
    phase_ms: int = 0

    @property
    def claim(self) -> Station:
        return self

    @property
    def label(self) -> str:
        return f"honest:{self.trouble}" if self.trouble else "honest"

    def readings(self, world: World, times_ms: ArrayLike) -> Readings:
        """Return what this station sends: the world, its site, its instruments, its trouble."""
        times = np.atleast_1d(np.asarray(times_ms, dtype=np.int64))
        air = _lagged(world, self, times)
        _site(self, air, times, (times - world.start_ms) / 1000.0)
        out = instrument(self, air, times)
        _trouble(self, out, times)
        return out


def _lagged(world: World, at: Station, times: NDArray[np.int64]) -> Readings:
    """Return the world with a first-order response of two minutes in temperature and humidity (three-point kernel)."""

    def see(when: NDArray[np.int64]) -> Readings:
        return world.observe(at.lat, at.lon, at.elevation_m, when, interval_s=at.interval_s)

    now, before, earlier = see(times), see(times - 90_000), see(times - 300_000)
    for name in ("temperature_c", "humidity_pct"):
        now[name] = 0.5 * now[name] + 0.35 * before[name] + 0.15 * earlier[name]
    return now


def _site(at: Station, air: Readings, times: NDArray[np.int64], t_s: Floats) -> None:
    """Add what belongs to the mounting: turbulence around the mast, sheltering, a shield that the sun warms."""
    rng = np.random.default_rng(stream(at.seed, "site"))
    exposure, shield, obstacle = rng.uniform(0.55, 1.0), rng.uniform(0.0, 0.9), rng.uniform(0.94, 1.0)
    if at.trouble == "sheltered":
        exposure, obstacle = 0.18, 0.75
    sun = air["solar_wm2"] / 1000
    puff = smooth(stream(at.seed, "puff"), t_s, 240.0)
    gust = 0.16 * smooth(stream(at.seed, "gust"), t_s, 90.0) + 0.12 * smooth(stream(at.seed, "eddy"), t_s, 420.0)
    swing = 14 * smooth(stream(at.seed, "swing"), t_s, 150.0) / np.sqrt(1 + air["wind_speed_ms"] / 3)
    air["temperature_c"] = air["temperature_c"] + shield * sun + (0.06 + 0.14 * np.minimum(sun, 1)) * puff
    air["humidity_pct"] = air["humidity_pct"] - (0.3 + 0.5 * np.minimum(sun, 1)) * puff * 2 - 3 * shield * sun
    air["wind_speed_ms"] = np.maximum(air["wind_speed_ms"] * exposure * (1 + gust), 0)
    air["wind_direction_deg"] = air["wind_direction_deg"] + swing
    air["solar_wm2"] = air["solar_wm2"] * obstacle
    air["noise_dba"] = air["noise_dba"] + 2.2 * np.maximum(smooth(stream(at.seed, "passing"), t_s, 120.0), -0.7)
    plume = np.exp(0.10 * smooth(stream(at.seed, "plume"), t_s, 600.0))
    air["pm2_5_ugm3"] = air["pm2_5_ugm3"] * plume
    air["pm10_ugm3"] = air["pm10_ugm3"] * plume
    if at.trouble == "coast":
        breeze = np.clip(np.cos((solar_hour(at.lon, times) - 15) * (np.pi / 10)), 0, 1) * np.minimum(sun * 2, 1)
        air["temperature_c"] = air["temperature_c"] - 5.5 * breeze
        air["humidity_pct"] = air["humidity_pct"] + 18 * breeze
    if at.trouble == "valley":
        pool = np.clip(np.cos((solar_hour(at.lon, times) - 5) * (np.pi / 12)), 0, 1) * np.exp(-air["wind_speed_ms"] / 3)
        air["temperature_c"] = air["temperature_c"] - 5.0 * pool
        air["humidity_pct"] = air["humidity_pct"] + 12 * pool


def instrument(at: Station, air: Readings, times: NDArray[np.int64], *, noise: float = 1.0) -> Readings:
    """Return what the instruments of `at` make of `air`: gain, bias, noise, resolution, physical limits."""
    rng = np.random.default_rng(stream(at.seed, "instruments"))
    characters = {name: rng.standard_normal(2) for name in VARIABLE_NAMES}
    index = times // 1000
    out: Readings = {}
    for name in at.variables:
        kit = INSTRUMENTS[name]
        gain = 1 + kit.gain_sd * characters[name][0]
        bias = kit.bias_sd * characters[name][1]
        louder = 6.0 if at.trouble == "noisy" and name in ("temperature_c", "humidity_pct") else 1.0
        if at.trouble == "bias" and name == "temperature_c":
            bias += 1.8
        value = air[name] * gain + bias
        if name == "solar_wm2":
            value = np.where(air[name] > 0.5, value + kit.noise_sd * white(stream(at.seed, name), index), 0.0)
        elif name == "rain_mm":  # a bucket tips in whole units
            out[name] = kit.resolution * np.floor(value / kit.resolution + uniform(stream(at.seed, name), index))
            continue
        elif name == "traffic_count":  # Poisson, by its normal limit
            value = value + np.sqrt(np.maximum(value, 0)) * white(stream(at.seed, name), index)
        else:
            value = value + noise * louder * kit.noise_sd * white(stream(at.seed, name), index)
        value = np.round(np.round(value / kit.resolution) * kit.resolution, 3)
        if name == "wind_direction_deg":
            value = value % 360
        elif name == "wind_speed_ms":
            value = np.where(value < 0.3, 0.0, value)  # a cup anemometer's starting threshold
        elif name == "humidity_pct":
            value = np.clip(value, 1, HUMIDITY_MAX_PCT)
        elif name not in ("temperature_c", "pressure_hpa"):
            value = np.maximum(value, 0)
        out[name] = value
    if "pm10_ugm3" in out and "pm2_5_ugm3" in out:
        out["pm10_ugm3"] = np.maximum(out["pm10_ugm3"], out["pm2_5_ugm3"])
    return out


def _trouble(at: Station, out: Readings, times: NDArray[np.int64]) -> None:
    """Take away what was never sent: 1 % of readings from anyone, a fifth with "gaps", hours with "outage"."""
    lost = uniform(stream(at.seed, "radio"), times // 1000) < (0.2 if at.trouble == "gaps" else 0.01)
    if at.trouble == "outage":
        lost |= uniform(stream(at.seed, "mains"), times // 10_800_000) < 0.3  # three hours at a time
    for values in out.values():
        values[lost] = np.nan


def sent_ms(source: Source, times_ms: ArrayLike) -> NDArray[np.int64]:
    """Return the time stamps that a source writes: a station with "clock" trouble reboots 47 minutes off now and then."""
    times = np.atleast_1d(np.asarray(times_ms, dtype=np.int64))
    claim = source.claim
    if claim.trouble != "clock":
        return times
    rebooted = uniform(stream(claim.seed, "reboot"), times // 7_200_000) < 0.15
    return np.where(rebooted, times - 47 * 60_000, times)


def grid_ms(source: Source, start_ms: int, end_ms: int) -> NDArray[np.int64]:
    """Return the times in [start_ms, end_ms) at which a source reads."""
    step = round(source.claim.interval_s * 1000)
    first = -(-(start_ms - source.claim.phase_ms) // step) * step + source.claim.phase_ms
    return np.arange(first, end_ms, step, dtype=np.int64)


def latest_ms(source: Source, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each time when the newest reading of `source` was made: what someone who copies it can see."""
    step = round(source.claim.interval_s * 1000)
    return np.asarray((times_ms - source.claim.phase_ms) // step * step + source.claim.phase_ms, dtype=np.int64)


def readings_table(source: Source, world: World, times_ms: ArrayLike) -> pl.DataFrame:
    """Return one source's readings in the evidence schema, sorted by time; empty readings are left out."""
    times = np.atleast_1d(np.asarray(times_ms, dtype=np.int64))
    values = source.readings(world, times)
    empty = np.full(times.size, np.nan)
    columns = {name: values.get(name, empty) for name in VARIABLE_NAMES}
    sent = np.isfinite(np.stack(list(columns.values()))).any(axis=0)
    frame = pl.DataFrame(
        {
            "device": [source.claim.device] * times.size,
            "t_ms": sent_ms(source, times),
            "received_ms": times + 1_500,
            **columns,
        },
        schema=EVIDENCE_SCHEMA,
    )
    return frame.filter(pl.Series(sent)).fill_nan(None).sort("t_ms", maintain_order=True)


def honest_station(
    device: str,
    lat: float,
    lon: float,
    elevation_m: float,
    *,
    seed: int,
    operator: str = "0x" + "0" * 39 + "1",
    model: str = "WS2000",
    enrolled_ms: int = 0,
    interval_s: float = 180.0,
    trouble: str = "",
    variables: Sequence[str] = WEATHER,
    phase_ms: int = 0,
) -> Station:
    """Return a station that tells the truth about itself. Raises ValueError for an unknown trouble."""
    if trouble and trouble not in TROUBLES:
        raise ValueError(f"unknown trouble {trouble!r}; known are {', '.join(TROUBLES)}")
    return Station(
        device,
        operator,
        model,
        lat,
        lon,
        elevation_m,
        enrolled_ms,
        seed,
        interval_s,
        trouble,
        tuple(variables),
        phase_ms,
    )
