"""The compiled flywheel equals the plain one, whatever the scenario; threads and recording change nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fieldstone.economy.flywheel import Cohort, Price, Scenario, compiled, simulate
from fieldstone.economy.flywheel.series import NAMES
from tests.economy.flywheel.scenarios import scenarios


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_compiled_equals_the_reference(scenario: Scenario) -> None:
    plain = simulate(scenario, runs=2, seed=7, cohorts=True, engine="reference")
    fast = simulate(scenario, runs=2, seed=7, cohorts=True, engine="compiled")
    pairs = [(name, plain[name], fast[name]) for name in NAMES]
    pairs += [(name, plain.cohorts[name], fast.cohorts[name]) for name in plain.cohorts]
    for name, expected, found in pairs:
        scale = max(float(np.abs(expected).max()), 1e-12)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * scale, err_msg=name)


def test_threads_and_first_run_change_nothing() -> None:
    scenario = Scenario(months=12, price=Price(model="pool"))
    whole = simulate(scenario, runs=300, seed=3, threads=1)
    threaded = simulate(scenario, runs=300, seed=3, threads=4)
    tail = simulate(scenario, runs=100, seed=3, first_run=200)
    assert np.array_equal(whole.values, threaded.values)
    assert np.array_equal(whole.values[:, 200:], tail.values)


def test_recording_less_changes_nothing() -> None:
    scenario = Scenario(months=12)
    whole, part = simulate(scenario, runs=4), simulate(scenario, runs=4, record=("price_usd", "devices"))
    assert np.array_equal(part["devices"], whole["devices"])
    assert np.array_equal(part["price_usd"], whole["price_usd"])
    assert part.values.shape[0] == 2


def test_progress_reaches_the_number_of_runs() -> None:
    seen: list[tuple[int, int]] = []
    simulate(Scenario(months=12), runs=300, progress=lambda done, runs: seen.append((done, runs)))
    assert seen[-1] == (300, 300)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_fingerprint_covers_every_source_that_the_kernel_reads() -> None:
    """A source that is imported by the kernel and not fingerprinted would leave a stale kernel in the cache."""
    code = (
        "import sys, fieldstone.economy.flywheel.compiled_step\n"
        "print(*[m.rpartition('.')[2] for m in sys.modules if m.startswith('fieldstone.economy.flywheel.')])"
    )
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    # `inputs` and `engine` hand over arrays, whose types numba's own key covers
    assert loaded - {"inputs", "engine"} <= set(compiled._SOURCES)


@pytest.mark.parametrize("count", [1, 9])
def test_many_cohorts(count: int) -> None:
    cohorts = tuple(Cohort(name=f"c{i}", initial_devices=10, lead_months=i) for i in range(count))
    fast = simulate(Scenario(months=20, cohorts=cohorts), runs=1, cohorts=True)
    assert fast.cohorts["devices"].sum(axis=2) == pytest.approx(fast["devices"])
