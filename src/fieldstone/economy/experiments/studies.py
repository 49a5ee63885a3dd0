"""Everything that is asked of one scenario, in one pass: the runs, the same without speculation, under the other price
model and under every stress, the heat map, the sensitivities, paybacks and retention.

All parts see the same random numbers (run n is run n everywhere), so differences between them are effects, not luck.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fieldstone import metrics
from fieldstone.economy.experiments.outcomes import (
    RECORD,
    Paybacks,
    Retained,
    empty_treasury_months,
    outcomes,
    paybacks,
    quantiles,
    retained,
)
from fieldstone.economy.experiments.scenario_file import MOST_RUNS, ScenarioFile
from fieldstone.economy.experiments.sobol import SAMPLES, Sensitivity, sensitivity
from fieldstone.economy.experiments.stress import (
    HEAT_DEMAND,
    HEAT_PRICE,
    STRESSES,
    Stress,
    Stressed,
    heat_scenario,
    median_month,
    stressed_scenario,
    utility_only,
)
from fieldstone.economy.experiments.uncertainty import columns, prepared_for
from fieldstone.economy.flywheel import Prepared, Result, Scenario, simulate
from fieldstone.economy.flywheel.collapse import Condition, collapsed, conditions
from fieldstone.economy.flywheel.tipping import Equilibria, equilibria
from fieldstone.errors import UsageError

Array = NDArray[np.float64]
Progress = Callable[[int, int, str], None]
"""(work done, all work, what is being done)."""

MOST_CELLS = 12_000_000  # runs × steps × cohorts kept in memory, 300 MB
STRESS_RUNS, HEAT_RUNS = 500, 200


@dataclass(frozen=True, slots=True)
class View:
    """One way of looking at the scenario: what was simulated and each run's outcomes."""

    result: Result
    prepared: Prepared
    outcomes: dict[str, Array]

    @property
    def collapse(self) -> metrics.Interval:
        """Share of runs that collapsed, with Wilson's 95 % interval."""
        found = metrics.collapse_probability(self.outcomes["collapsed"] > 0)
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Study:
    """What was found. `stress_base`: the collapse of the stresses' runs without stress: as given, utility-only.

    `tipping`: N_low where there is one to fall below. `heat`: P(collapse), price rows × demand columns."""

    file: ScenarioFile
    runs: int
    seed: int
    equilibria: Equilibria
    tipping: float | None
    main: View
    utility: View
    other_model: View
    conditions: dict[str, Condition]
    paybacks: Paybacks
    paybacks_later: Paybacks
    utility_paybacks: Paybacks
    empty_treasury: Array
    retained: Retained
    stresses: tuple[Stressed, ...]
    stress_base: tuple[metrics.Interval, metrics.Interval] | None
    stress_runs: int
    heat: tuple[tuple[float, ...], ...]
    heat_runs: int
    sensitivity: Sensitivity | None

    @property
    def scenario(self) -> Scenario:
        """What was simulated."""
        return self.file.scenario


def tipping_point(found: Equilibria) -> float | None:
    """Return N_low, or None when there is none: no fleet pays for itself, or already the first device does."""
    return found.low if found.low is not None and found.low > found.devices[0] else None


def study(
    file: ScenarioFile,
    *,
    runs: int | None = None,
    seed: int | None = None,
    with_stress: bool = True,
    with_sensitivity: bool = True,
    samples: int = SAMPLES,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Study:
    """Simulate a scenario in every way. Raises UsageError when it would not fit into memory."""
    scenario = file.scenario
    runs, seed = file.runs if runs is None else runs, file.seed if seed is None else seed
    check_size(scenario, runs)
    found = equilibria(scenario)
    tipping = tipping_point(found)
    drawn = columns(file.uncertain, runs, seed)
    stress_runs, heat_runs = min(runs, STRESS_RUNS), min(runs, HEAT_RUNS)
    work = _Work(progress, 3 * runs, stress_runs if with_stress else 0, heat_runs if with_stress else 0)
    at = _Simulator(drawn, seed, threads, tipping, work)

    utility_scenario = utility_only(scenario)
    main = at.view(scenario, runs, "runs", cohorts=True)
    utility = at.view(utility_scenario, runs, "without speculation", cohorts=True)
    model = "pool" if scenario.price.model == "fundamental" else "fundamental"
    other = replace(scenario, price=replace(scenario.price, model=model))
    other_view = at.view(other, runs, f"{model} price model", cohorts=False)
    later = min(12.0, scenario.months / 4)

    stresses: list[Stressed] = []
    stress_base: tuple[metrics.Interval, metrics.Interval] | None = None
    heat: list[tuple[float, ...]] = []
    if with_stress:
        base = float(np.median(main.outcomes["devices_end"][:stress_runs]))
        down = metrics.collapse_probability(main.outcomes["collapsed"][:stress_runs] > 0)
        assert down is not None
        stress_base = (down, at.collapse(utility_only(scenario), stress_runs, "without stress"))
        stresses = [at.stressed(one, scenario, stress_runs, base) for one in STRESSES]
        for price in HEAT_PRICE:
            row = [at.collapse(heat_scenario(scenario, demand, price), heat_runs, "heat map") for demand in HEAT_DEMAND]
            heat.append(tuple(one.value for one in row))
    sensed = None
    if with_sensitivity:
        work.now("sensitivity")
        sensed = sensitivity(file, samples=samples, seed=seed, threads=threads)
    work.finish()
    return Study(
        file=file,
        runs=runs,
        seed=seed,
        equilibria=found,
        tipping=tipping,
        main=main,
        utility=utility,
        other_model=other_view,
        conditions=conditions(main.result, utility=utility.result, tipping_devices=tipping),
        paybacks=paybacks(main.result, main.prepared),
        paybacks_later=paybacks(main.result, main.prepared, later),
        utility_paybacks=paybacks(utility.result, utility.prepared),
        empty_treasury=empty_treasury_months(main.result),
        retained=retained(main.result),
        stresses=tuple(stresses),
        stress_base=stress_base,
        stress_runs=stress_runs,
        heat=tuple(heat),
        heat_runs=heat_runs,
        sensitivity=sensed,
    )


def check_size(scenario: Scenario, runs: int) -> None:
    """Raise UsageError for more runs than fit into memory."""
    if not 1 <= runs <= MOST_RUNS:
        raise UsageError(f"runs must lie between 1 and {MOST_RUNS:,}, not {runs}")
    most = MOST_CELLS // (scenario.steps * len(scenario.cohorts))
    if runs > most:
        raise UsageError(f"{runs:,} runs of this scenario need too much memory; use at most {most:,}")


class _Work:
    """Counts runs done over all parts."""

    def __init__(self, progress: Progress | None, views: int, stress: int, heat: int) -> None:
        self._progress = progress
        self._done, self._what = 0, ""
        self._all = views + stress * (2 * len(STRESSES) + 1) + heat * len(HEAT_DEMAND) * len(HEAT_PRICE)

    def now(self, what: str) -> None:
        self._what = what
        self.add(0)

    def add(self, runs: int) -> None:
        self._done += runs
        if self._progress:
            self._progress(self._done, self._all, self._what)

    def finish(self) -> None:
        self._done = self._all
        self.now("report")


class _Simulator:
    """Simulates variants of one scenario under one seed, with what was drawn for its uncertain inputs."""

    def __init__(
        self, drawn: dict[str, Array], seed: int, threads: int | None, tipping: float | None, work: _Work
    ) -> None:
        self._drawn, self._seed, self._threads, self._tipping, self._work = drawn, seed, threads, tipping, work

    def view(self, scenario: Scenario, runs: int, what: str, *, cohorts: bool) -> View:
        self._work.now(what)
        prepared = prepared_for(scenario, self._drawn, runs)
        done = 0

        def report(so_far: int, _: int) -> None:
            nonlocal done
            self._work.add(so_far - done)
            done = so_far

        result = simulate(
            prepared, runs=runs, seed=self._seed, record=RECORD, cohorts=cohorts, threads=self._threads, progress=report
        )
        return View(result, prepared, outcomes(result, prepared, self._tipping))

    def collapse(self, scenario: Scenario, runs: int, what: str) -> metrics.Interval:
        self._work.now(what)
        prepared = prepared_for(scenario, self._drawn, runs)
        result = simulate(prepared, runs=runs, seed=self._seed, record=("devices",), threads=self._threads)
        self._work.add(runs)
        found = metrics.collapse_probability(collapsed(result, self._tipping))
        assert found is not None
        return found

    def stressed(self, stress: Stress, scenario: Scenario, runs: int, base: float) -> Stressed:
        under = stressed_scenario(scenario, stress)
        if isinstance(under, str):
            self._work.add(2 * runs)
            return Stressed(stress, why=under)
        view = self.view(under, runs, stress.title, cohorts=False)
        alone = self.collapse(utility_only(under), runs, stress.title)
        below = conditions(view.result, tipping_devices=self._tipping).get("below_tipping")
        since = below.first_step if below else None
        runway = quantiles(view.outcomes["runway_months"], (0.05,))[0]
        devices = float(np.median(view.outcomes["devices_end"]))
        return Stressed(
            stress,
            collapse=view.collapse,
            utility_collapse=alone,
            tipping_month=None if since is None else median_month(since, scenario.step_months),
            runway_months=runway,
            worst_collateral=float(view.result["collateral"].min()) if scenario.burn.mode == "vault" else None,
            devices_end=devices,
            devices_change=devices / base - 1 if base else None,
        )
