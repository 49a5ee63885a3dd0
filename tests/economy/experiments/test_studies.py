from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldstone.economy.experiments import ScenarioFile, Study, study
from fieldstone.economy.experiments.stress import utility_only
from fieldstone.economy.experiments.studies import check_size, tipping_point
from fieldstone.economy.flywheel.tipping import equilibria
from fieldstone.errors import UsageError


def test_the_utility_only_run_is_always_beside(small: Study) -> None:
    assert small.utility.result.scenario == utility_only(small.scenario)
    assert small.other_model.result.scenario.price.model == "pool"
    assert small.utility.outcomes["devices_end"].shape == small.main.outcomes["devices_end"].shape


def test_uncertain_inputs_are_drawn_alike_in_every_view(small: Study) -> None:
    drawn = small.main.prepared.cohorts["capex_usd"][:, 0]
    assert len(np.unique(drawn)) == small.runs
    assert np.array_equal(drawn, small.utility.prepared.cohorts["capex_usd"][:, 0])
    assert np.array_equal(drawn, small.other_model.prepared.cohorts["capex_usd"][:, 0])


def test_more_runs_keep_the_first_ones(file: ScenarioFile, small: Study) -> None:
    fewer = study(file, runs=10, with_stress=False, with_sensitivity=False)
    for name, values in fewer.main.outcomes.items():
        assert np.array_equal(values, small.main.outcomes[name][:10], equal_nan=True), name
    assert fewer.stresses == () and fewer.heat == () and fewer.sensitivity is None


def test_progress_counts_to_the_end(file: ScenarioFile) -> None:
    seen: list[tuple[int, int, str]] = []
    study(file, runs=5, samples=4, progress=lambda *now: seen.append(now))
    done = [one[0] for one in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1]
    assert done[-2] == seen[-1][1], "every run was counted before the end was declared"


def test_too_many_runs_are_refused_before_memory_is(file: ScenarioFile) -> None:
    for runs in (0, -1, 100_001):
        with pytest.raises(UsageError, match="between 1 and"):
            check_size(file.scenario, runs)
    long = replace(file.scenario, months=600)
    with pytest.raises(UsageError, match="use at most 10,000"):
        check_size(long, 20_000)


def test_no_tipping_point_where_the_first_device_pays(file: ScenarioFile) -> None:
    whole = replace(
        file.scenario,
        service=replace(file.scenario.service, coverage_exponent=0.0),
        burn=replace(file.scenario.burn, mode="none"),
    )
    assert tipping_point(equilibria(whole)) is None
    found = tipping_point(equilibria(file.scenario))
    assert found is not None and found > 1
