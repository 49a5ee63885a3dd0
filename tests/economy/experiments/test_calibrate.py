"""A scenario filled from a real small network's sealed epochs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fieldstone import metrics
from fieldstone.economy.experiments import ScenarioFile, calibrated, load, study
from fieldstone.economy.experiments.calibrate import Calibration
from fieldstone.economy.experiments.live import DAYS_PER_MONTH
from fieldstone.economy.experiments.sobol import still
from fieldstone.economy.flywheel import Shock, simulate
from fieldstone.epoch.store import SealedEpoch
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.units import TOKEN_BASE
from tests.epoch.conftest import SmallNetwork


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SealedEpoch]]:
    """Three epochs of six hours: four stations, two of them bought from by one customer for 2.50 dollars each time."""
    network = SmallNetwork(tmp_path_factory.mktemp("network"))
    sealed = []
    for number in range(3):
        if number:
            network.pay(0, 2_000_000, f"a{number}")
            network.pay(2, 500_000, f"b{number}")
        network.run_hours(6)
        sealed.append(network.close())
    yield sealed
    network.journal.close()


@pytest.fixture(scope="module")
def filled(epochs: list[SealedEpoch]) -> tuple[ScenarioFile, Calibration]:
    return calibrated(load("starter"), epochs)


REVENUE_MONTH = 5.0 / 0.75 * DAYS_PER_MONTH


def test_the_model_starts_where_the_network_is(filled: tuple[ScenarioFile, Calibration]) -> None:
    """The first month of the model, without noise, sells what the network sold."""
    file, _ = filled
    scenario = still(file.scenario)
    segment = replace(scenario.segments[0], growth_year=0.0, churn_year=0.0, season_amplitude=0.0)
    calm = replace(scenario, months=1, segments=(segment,))
    result = simulate(calm, runs=1)
    assert result["revenue_usd"][0, 0] == pytest.approx(REVENUE_MONTH, rel=1e-9)
    assert [(c.name, c.initial_devices) for c in scenario.cohorts] == [("generic", 4.0)]


def test_money_and_policy_are_the_network_s(
    filled: tuple[ScenarioFile, Calibration], epochs: list[SealedEpoch]
) -> None:
    scenario = filled[0].scenario
    policy = epochs[-1].state_after().policy
    per_month = DAYS_PER_MONTH * 86_400 / policy.epoch.length_s
    assert scenario.emission.policy == "fieldstone.demand_first"
    assert scenario.emission.tokens_month == pytest.approx(1_000 * per_month)
    assert scenario.emission.half_revenue_usd_month == pytest.approx(100 * per_month)
    assert scenario.supply.initial_tokens == pytest.approx(int(epochs[-1].manifest.total_base) / TOKEN_BASE)
    assert scenario.price.initial_usd == epochs[-1].state_after().price_micro_usd / 1e6
    assert (scenario.burn.take, scenario.burn.share) == (0.1, 0.9)
    # four stations serve few of the cells that the whole bootstrap is paid for
    paid = sum(int(b) for epoch in epochs for b in epoch.table("statements")["bootstrap_base"]) / TOKEN_BASE
    assert 0 < scenario.emission.scale < 1
    assert scenario.emission.scale == pytest.approx(paid / 3_000, rel=0.02)


def test_figures_are_those_of_the_metrics(filled: tuple[ScenarioFile, Calibration], epochs: list[SealedEpoch]) -> None:
    measured = {one.name: one.value for one in filled[1].measured}
    minted = sum(int(e.manifest.minted_base) / TOKEN_BASE * 0.05 for e in epochs) / 0.75 * DAYS_PER_MONTH
    assert measured["revenue"] == pytest.approx(REVENUE_MONTH)
    assert measured["subsidy ratio"] == pytest.approx(metrics.subsidy_ratio(minted, REVENUE_MONTH))
    assert measured["utilisation"] == 0.5
    assert measured["HHI of customers"] == 10_000
    assert measured["growth of revenue"] is None


def test_measured_numbers_are_graded_and_the_rest_is_listed(filled: tuple[ScenarioFile, Calibration]) -> None:
    file, calibration = filled
    price = file.inputs["price.initial_usd"]
    assert (price.origin, price.quantity.grade) == ("measured", "A")
    assert "sealed epochs 1 to 3 of test" in price.quantity.source
    assert file.inputs["cohorts.generic.capex_usd"].origin == "file"
    assert not any("first station" in key or "abroad" in key for key in file.inputs)
    assert any("capex_usd" in text for text in calibration.assumed)
    assert any("too few for a trend" in text for text in calibration.warnings)
    assert study(file, runs=3, samples=4).runs == 3


def test_a_network_without_customers_keeps_the_scenario_s_demand(
    epochs: list[SealedEpoch],
) -> None:
    file, calibration = calibrated(load("starter"), epochs[:1])
    base = load("starter").scenario
    assert any("No customer paid" in text for text in calibration.warnings)
    assert file.scenario.segments[0].units_month == pytest.approx(base.segments[0].units_month * base.service.price_usd)
    assert study(file, runs=3, with_stress=False, with_sensitivity=False).runs == 3


def test_shocks_on_parts_that_are_gone_are_left_out(epochs: list[SealedEpoch]) -> None:
    file = load("starter")
    shocks = (Shock(target="region.abroad", value=0.0), Shock(target="demand", value=0.5))
    found, calibration = calibrated(replace(file, scenario=replace(file.scenario, shocks=shocks)), epochs)
    assert found.scenario.shocks == shocks[1:]
    assert any("1 shocks" in text for text in calibration.warnings)


def test_changed_epochs_are_refused(tmp_path: Path, epochs: list[SealedEpoch]) -> None:
    import shutil

    copy = tmp_path / epochs[0].folder.name
    shutil.copytree(epochs[0].folder, copy)
    (copy / "statements.parquet").write_bytes(b"other")
    with pytest.raises(CheckFailed, match="changed after sealing"):
        calibrated(load("starter"), [SealedEpoch(copy)])
    with pytest.raises(UsageError, match="no epoch"):
        calibrated(load("starter"), [])
