"""Many runs of a scenario: prepare once, vary parameters per run, simulate, and read series as arrays.

    prepared = prepare(scenario)
    result = simulate(prepared, runs=10_000, seed=1)
    result["price_usd"]                                   # runs × steps
    simulate(prepared.vary({"price.volatility_year": sigmas}), runs=len(sigmas))   # one value per run

Run n under a seed sees the same random numbers whatever the scenario, so the difference of two results is the effect
of the policy alone (common random numbers). Results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.economy.flywheel import emission, reference
from fieldstone.economy.flywheel.inputs import Tables, tables
from fieldstone.economy.flywheel.parameters import Scenario
from fieldstone.economy.flywheel.series import COHORT_NAMES, NAMES
from fieldstone.economy.flywheel.state import lead_steps
from fieldstone.errors import UsageError

Array = NDArray[np.float64]
Engine = Literal["auto", "compiled", "reference"]

_PARTS = ("service", "supply", "emission", "burn", "price", "treasury", "behaviour")
# these shape the tables over time, which all runs share
_FIXED = {
    "supply.locked_tokens",
    "supply.cliff_month",
    "supply.unlock_months",
    "emission.tokens_month",
    "emission.halving_months",
    "emission.decay_year",
    "emission.supplement_tokens_month",
    "emission.supplement_months",
    "service.price_change_year",
    "burn.oracle_lag_months",
    "season_amplitude",
    "season_peak_month",
    "top_customer_share",
    "available_from_month",
    "available_until_month",
    "lead_months",
}
_FIXED_HINT = "use emission.scale for mints, or one scenario per value for the rest"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A scenario as arrays. First axis: one row for all runs, or one row per run after `vary`."""

    scenario: Scenario
    tables: Tables
    parameters: NDArray[Any]  # rows; fields "part.key"
    cohorts: NDArray[Any]  # rows × cohorts
    segments: NDArray[Any]  # rows × segments
    regions: NDArray[Any]  # rows × regions

    def vary(self, values: Mapping[str, ArrayLike], *, relative: bool = False) -> Prepared:
        """Return the same scenario with one value per run for some keys; `relative` multiplies the scenario's value.

        Keys: `price.volatility_year`, `cohorts.NAME.capex_usd`, `segments.*.units_month` (all of them). Values are held
        inside each key's limits when relative. Raises UsageError for unknown keys, for keys that shape the tables that all
        runs share, for values outside the limits, and for columns of different lengths.
        """
        columns = {key: np.asarray(column, dtype=np.float64).ravel() for key, column in values.items()}
        sizes = {column.size for column in columns.values()}
        if len(sizes) != 1 or 0 in sizes:
            raise UsageError(f"vary needs columns of one length, one value per run, not {sorted(sizes)}")
        rows = sizes.pop()
        arrays = (self._rows(name, rows) for name in ("parameters", "cohorts", "segments", "regions"))
        grown = Prepared(self.scenario, self.tables, *arrays)
        for key, column in columns.items():
            _assign(grown, key, column, relative)
        return grown

    def _rows(self, name: str, rows: int) -> NDArray[Any]:
        array: NDArray[Any] = getattr(self, name)
        if len(array) not in (1, rows):
            raise UsageError(f"this was varied over {len(array)} runs already, not {rows}")
        return np.repeat(array, rows, axis=0) if len(array) != rows else array.copy()


@dataclass(frozen=True, slots=True)
class Result:
    """Recorded series of all runs. `result["price_usd"]` is runs × steps; `cohorts["devices"]` runs × steps × cohorts."""

    scenario: Scenario
    seed: int
    first_run: int
    names: tuple[str, ...]
    values: Array  # series × runs × steps
    cohorts: dict[str, Array]

    def __getitem__(self, name: str) -> Array:
        """Return one series, runs × steps. Raises UsageError if it was not recorded."""
        if name not in self.names:
            raise UsageError(f"the series {name!r} was not recorded; recorded are {', '.join(self.names)}")
        series: Array = self.values[self.names.index(name)]
        return series

    @property
    def runs(self) -> int:
        """Number of runs."""
        return int(self.values.shape[1])


def prepare(scenario: Scenario) -> Prepared:
    """Return a scenario as arrays and tables. Raises UsageError for an unknown policy or a shock that hits nothing."""
    plan = emission.plan_of(scenario)
    made = tables(scenario)
    row: dict[str, float] = {"dt": scenario.step_months, "rule": plan.rule}
    for part in _PARTS:
        row |= {f"{part}_{name}": value for name, value in _numbers(getattr(scenario, part)).items()}
    place = {region.name: index for index, region in enumerate(scenario.regions)}
    cohorts = [
        _numbers(cohort)
        | {
            "region": place[cohort.region],
            "lead_steps": lead_steps(scenario, cohort),
        }
        for cohort in scenario.cohorts
    ]
    return Prepared(
        scenario,
        made,
        _records([row]),
        _records(cohorts)[None, :],
        _records([_numbers(segment) for segment in scenario.segments])[None, :],
        _records([_numbers(region) for region in scenario.regions])[None, :],
    )


def simulate(
    scenario: Scenario | Prepared,
    *,
    runs: int = 1_000,
    seed: int = 0,
    first_run: int = 0,
    record: Sequence[str] = NAMES,
    cohorts: bool = False,
    engine: Engine = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Simulate runs `first_run` … of a scenario.

    `record`: series to keep (8 bytes per series, run and step). `cohorts`: keep the series per cohort too. `progress`
    is called with (runs done, all runs). `engine="auto"` takes numba if it is installed; the plain engine is some 100
    times slower. Raises UsageError for bad arguments.
    """
    prepared = scenario if isinstance(scenario, Prepared) else prepare(scenario)
    rows = len(prepared.parameters)
    if runs < 1 or not 0 <= first_run <= 2**32 - runs or not 0 <= seed < 2**64:
        raise UsageError("runs must be at least 1, first_run not negative and seed below 2⁶⁴")
    if rows not in (1, runs):
        raise UsageError(f"the scenario was varied over {rows} runs; simulate {rows}, not {runs}")
    unknown = [name for name in record if name not in NAMES]
    if unknown or not record:
        raise UsageError(f"unknown series {', '.join(unknown)}; they are {', '.join(NAMES)}")
    use_compiled = engine == "compiled" or (engine == "auto" and _has_numba())
    values, by_cohort = (_compiled if use_compiled else _plain)(
        prepared, runs, seed, first_run, tuple(record), cohorts, threads, progress
    )
    return Result(prepared.scenario, seed, first_run, tuple(record), values, by_cohort)


def scenario_of(prepared: Prepared, run: int) -> Scenario:
    """Return the scenario that one run of a varied scenario sees: the inverse of `vary`."""

    def part_of(part: Any, record: Any, prefix: str = "") -> Any:
        numbers = {name: float(record[prefix + name]) for name in _numbers(part) if not _choices(part, name)}
        return replace(part, **numbers)

    row = run if len(prepared.parameters) > 1 else 0
    plain = prepared.parameters[row]
    changed: dict[str, Any] = {part: part_of(getattr(prepared.scenario, part), plain, f"{part}_") for part in _PARTS}
    changed |= {
        group: tuple(
            part_of(item, record)
            for item, record in zip(getattr(prepared.scenario, group), getattr(prepared, group)[row], strict=True)
        )
        for group in ("regions", "cohorts", "segments")
    }
    return replace(prepared.scenario, **changed)


def _plain(
    prepared: Prepared,
    runs: int,
    seed: int,
    first_run: int,
    record: tuple[str, ...],
    cohorts: bool,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Array, dict[str, Array]]:
    steps, count = prepared.scenario.steps, len(prepared.scenario.cohorts)
    values = np.empty((len(record), runs, steps))
    by_cohort = {name: np.empty((runs, steps, count)) for name in COHORT_NAMES if cohorts}
    for number in range(runs):
        one = reference.run(scenario_of(prepared, number), seed, first_run + number, prepared.tables)
        values[:, number] = [one.series[name] for name in record]
        for name, array in by_cohort.items():
            array[number] = one.cohorts[name]
        if progress:
            progress(number + 1, runs)
    return values, by_cohort


def _compiled(
    prepared: Prepared,
    runs: int,
    seed: int,
    first_run: int,
    record: tuple[str, ...],
    cohorts: bool,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Array, dict[str, Array]]:
    from fieldstone.economy.flywheel.compiled import run_all

    return run_all(prepared, runs, seed, first_run, record, cohorts, threads, progress)


def _has_numba() -> bool:
    from importlib.util import find_spec

    return find_spec("numba") is not None


def _choices(part: Any, name: str) -> tuple[str, ...]:
    found: tuple[str, ...] = type(part).__dataclass_fields__[name].metadata.get("choices", ())
    return found


def _numbers(part: Any) -> dict[str, float]:
    """Return a part's numbers by key; a word of a closed list becomes its place in the list."""
    numbers: dict[str, float] = {}
    for item in fields(part):
        value = getattr(part, item.name)
        if "choices" in item.metadata:
            numbers[item.name] = float(item.metadata["choices"].index(value))
        elif "low" in item.metadata:
            numbers[item.name] = float(value)
    return numbers


def _records(rows: Sequence[Mapping[str, float]]) -> NDArray[Any]:
    """Return rows as a structured array, so that compiled code reads `row.capex_usd`."""
    array = np.zeros(len(rows), dtype=[(name, np.float64) for name in rows[0]])
    for index, row in enumerate(rows):
        array[index] = tuple(row.values())
    return array


def _assign(prepared: Prepared, key: str, column: Array, relative: bool) -> None:
    first, _, rest = key.partition(".")
    name = rest.rpartition(".")[2]
    if key in _FIXED or name in _FIXED:
        raise UsageError(f"{key} cannot differ between runs: {_FIXED_HINT}")
    if first in _PARTS:
        part = getattr(prepared.scenario, first)
        known = rest == name and _has(part, name)
        targets = [(part, prepared.parameters[f"{first}_{name}"])] if known else []
    else:
        targets = _members(prepared, first, rest.rpartition(".")[0], name)
    if not targets:
        raise UsageError(f"there is no number {key!r} in this scenario")
    for part, cells in targets:
        rules = type(part).__dataclass_fields__[name].metadata
        if relative:
            cells[...] = np.clip(getattr(part, name) * column, rules["low"], rules["high"])
        elif not (np.isfinite(column).all() and rules["low"] <= column.min() and column.max() <= rules["high"]):
            raise UsageError(f"{key} must lie between {rules['low']:g} and {rules['high']:g}")
        else:
            cells[...] = column


def _members(prepared: Prepared, group: str, member: str, name: str) -> list[tuple[Any, Array]]:
    if group not in ("cohorts", "segments", "regions"):
        return []
    return [
        (part, getattr(prepared, group)[name][:, index])
        for index, part in enumerate(getattr(prepared.scenario, group))
        if member in ("*", part.name) and _has(part, name)
    ]


def _has(part: Any, name: str) -> bool:
    item = type(part).__dataclass_fields__.get(name)
    return item is not None and "low" in item.metadata
