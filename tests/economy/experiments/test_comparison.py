from __future__ import annotations

from dataclasses import replace

import pytest

from fieldstone.economy.experiments import ScenarioFile, Study, compare, study
from fieldstone.errors import UsageError


@pytest.fixture(scope="module")
def dearer(file: ScenarioFile) -> Study:
    scenario = replace(
        file.scenario, name="dearer", cohorts=tuple(replace(c, opex_usd_month=6.0) for c in file.scenario.cohorts)
    )
    return study(replace(file, scenario=scenario), with_stress=False, with_sensitivity=False)


def test_a_scenario_does_not_differ_from_itself(small: Study) -> None:
    found = compare(small, small)
    assert found.collapse_a_only == found.collapse_b_only == 0
    for row in found.rows:
        assert row.a == row.b
        assert row.middle in (0.0, None)
        assert row.better is None or row.better.value == 0


def test_common_random_numbers_leave_the_effect_alone(small: Study, dearer: Study) -> None:
    """Dearer running costs lose devices in every single run, although runs differ far more than the effect."""
    found = compare(small, dearer)
    devices = next(row for row in found.rows if row.name == "devices_end")
    assert devices.better is not None and devices.better.value == 0
    assert devices.high is not None and devices.high < 0
    assert devices.noise is not None and devices.noise < 0.5


def test_only_like_is_compared(small: Study, file: ScenarioFile) -> None:
    shorter = replace(file, scenario=replace(file.scenario, months=12))
    with pytest.raises(UsageError, match="same months"):
        compare(small, study(shorter, with_stress=False, with_sensitivity=False))
    with pytest.raises(UsageError, match="same runs and seed"):
        compare(small, study(file, runs=5, with_stress=False, with_sensitivity=False))
