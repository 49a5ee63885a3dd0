"""Which inputs decide: Sobol indices over all of them, and a tornado of one at a time.

The weather is off (no volatility, jumps or noise), so what is left is a function of the inputs. Each input is uniform
over its `low` … `high`, or ±10, 20, 35, 50 % around its value for grades A, B, C, D: a guess is allowed to be more wrong.
First order: the part of the variance that the input explains alone; total: with all its interactions (Saltelli et al.
2010, `scipy.stats.sobol_indices`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.experiments.quantities import GRADES, SPREAD
from fieldstone.economy.experiments.scenario_file import Input, ScenarioFile
from fieldstone.economy.flywheel import Prepared, Scenario, prepare, simulate
from fieldstone.economy.flywheel.parameters import BIG
from fieldstone.errors import UsageError

Array = NDArray[np.float64]

OUTPUTS = ("devices_end", "revenue_usd_year", "price_usd_end")
SAMPLES, LEAST_SAMPLES = 512, 16
MOST_CELLS = 12_000_000  # runs × steps of the largest batch, 300 MB

# name → key of `Prepared.vary`; only those with an effect in the scenario are used
KNOBS: dict[str, str] = {
    "demand": "segments.*.units_month",
    "growth of demand": "segments.*.growth_year",
    "size of the market": "segments.*.market_units_month",
    "elasticity of demand": "segments.*.elasticity",
    "price of the service": "service.price_usd",
    "hardware price": "cohorts.*.capex_usd",
    "running costs": "cohorts.*.opex_usd_month",
    "electricity": "regions.*.power_usd_kwh",
    "capacity of a device": "cohorts.*.capacity_units_month",
    "hardware failures": "cohorts.*.failure_year",
    "return that operators want": "cohorts.*.hurdle",
    "devices that cover a region": "regions.*.coverage_devices",
    "scheduled mints": "emission.scale",
    "revenue that halves the bootstrap": "emission.half_revenue_usd_month",
    "minted per dollar of revenue": "emission.revenue_share",
    "token price at the start": "price.initial_usd",
    "speculation": "price.speculation",
    "depth of the pool": "price.pool_usd",
    "eagerness to join": "behaviour.join_month",
    "readiness to leave": "behaviour.leave_month",
}
_ONLY_WITH = {
    "emission.half_revenue_usd_month": ("emission", "policy", "fieldstone.demand_first"),
    "emission.revenue_share": ("emission", "policy", "revenue_share"),
    "price.pool_usd": ("price", "model", "pool"),
}


@dataclass(frozen=True, slots=True)
class Knob:
    """An input that is turned: from `low` to `high`, factors on the scenario's value when `relative`."""

    name: str
    key: str
    low: float
    high: float
    relative: bool


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Indices per output and knob, and the tornado: output at the knob's low and high end, all else at its value."""

    knobs: tuple[Knob, ...]
    samples: int
    first: dict[str, list[float]]
    total: dict[str, list[float]]
    base: dict[str, float]
    at_low: dict[str, list[float]]
    at_high: dict[str, list[float]]


def sensitivity(
    file: ScenarioFile, *, samples: int = SAMPLES, seed: int = 1, threads: int | None = None
) -> Sensitivity:
    """Return the sensitivity of a scenario. `samples`: a power of two, halved until it fits into memory. Raises UsageError."""
    stats: Any = importlib.import_module("scipy.stats")  # its stubs know no `uniform`

    if samples < 2 or samples & (samples - 1):
        raise UsageError(f"samples must be a power of two, not {samples}")
    scenario = still(file.scenario)
    knobs = knobs_of(file)
    while samples > LEAST_SAMPLES and samples * (len(knobs) + 2) * scenario.steps > MOST_CELLS:
        samples //= 2
    prepared = prepare(scenario)

    def model(values: Array) -> Array:
        return _outputs(turned(prepared, knobs, values), values.shape[1], threads)

    lows, highs = np.array([k.low for k in knobs]), np.array([k.high for k in knobs])
    middle = np.array([1.0 if k.relative else file.inputs[k.key].quantity.value for k in knobs])
    tornado = np.repeat(middle[:, None], 2 * len(knobs) + 1, axis=1)
    for n in range(len(knobs)):
        tornado[n, 2 * n], tornado[n, 2 * n + 1] = lows[n], highs[n]
    ends = model(tornado)
    spread = [stats.uniform(loc=low, scale=high - low) for low, high in zip(lows, highs, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = stats.sobol_indices(func=model, n=samples, dists=spread, rng=np.random.default_rng(seed))
    # an output that nothing moves has no variance to share out
    first, total = np.nan_to_num(found.first_order), np.nan_to_num(found.total_order)
    rows = list(enumerate(OUTPUTS))
    return Sensitivity(
        knobs,
        samples,
        {name: [float(v) for v in first[i]] for i, name in rows},
        {name: [float(v) for v in total[i]] for i, name in rows},
        {name: float(ends[i, -1]) for i, name in rows},
        {name: [float(v) for v in ends[i, 0:-1:2]] for i, name in rows},
        {name: [float(v) for v in ends[i, 1:-1:2]] for i, name in rows},
    )


def still(scenario: Scenario) -> Scenario:
    """Return a scenario without weather: every run is the same."""
    return replace(
        scenario,
        price=replace(scenario.price, volatility_year=0.0, jumps_year=0.0),
        segments=tuple(replace(segment, noise_year=0.0) for segment in scenario.segments),
        service=replace(scenario.service, uptime_noise=0.0),
    )


def knobs_of(file: ScenarioFile) -> tuple[Knob, ...]:
    """Return what is turned: inputs with a range one by one, the others of `KNOBS` by group."""
    own = {key: one for key, one in file.uncertain.items() if not key.startswith("shocks")}
    knobs = []
    for name, key in KNOBS.items():
        if key in _ONLY_WITH:
            part, choice, wanted = _ONLY_WITH[key]
            if getattr(getattr(file.scenario, part), choice) != wanted:
                continue
        every = _members(file.inputs, key)
        rest = {k: one for k, one in every.items() if k not in own and 0 != one.quantity.value < BIG}
        if not rest:
            continue
        worst = max(one.quantity.grade for one in rest.values())
        assert worst in GRADES
        some = "*" in key and len(rest) < len(every)
        knobs.append(Knob(f"{name} (others)" if some else name, key, 1 - SPREAD[worst], 1 + SPREAD[worst], True))
    names = {key: name for name, key in KNOBS.items()}
    for key, one in own.items():
        assert one.low is not None and one.high is not None
        group, _, rest_of = key.partition(".")
        member, _, field = rest_of.rpartition(".")
        plain = names.get(f"{group}.*.{field}" if member else key, field.replace("_", " "))
        knobs.append(Knob(f"{plain}: {member}" if member else plain, key, one.low, one.high, False))
    return tuple(knobs)


def turned(prepared: Prepared, knobs: tuple[Knob, ...], values: Array) -> Prepared:
    """Return a scenario with one run per column of values (knobs × runs)."""
    made = prepared
    for relative in (True, False):  # a knob of its own is set after its group's factor, and wins
        columns = {knob.key: values[n] for n, knob in enumerate(knobs) if knob.relative is relative}
        if columns:
            made = made.vary(columns, relative=relative)
    return made


def _outputs(prepared: Prepared, runs: int, threads: int | None) -> Array:
    """Return outputs × runs."""
    result = simulate(prepared, runs=runs, record=("devices", "revenue_usd", "price_usd"), threads=threads)
    scenario = prepared.scenario
    last = min(scenario.steps, scenario.steps_per_year)
    year = result["revenue_usd"][:, -last:].sum(axis=1) * scenario.steps_per_year / last
    return np.stack([result["devices"][:, -1], year, result["price_usd"][:, -1]])


def _members(inputs: Mapping[str, Input], key: str) -> dict[str, Input]:
    group, _, field = key.partition(".*.")
    if not field:
        return {key: inputs[key]} if key in inputs else {}
    return {k: one for k, one in inputs.items() if k.startswith(f"{group}.") and k.rpartition(".")[2] == field}
