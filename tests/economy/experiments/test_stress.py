from __future__ import annotations

from dataclasses import replace

import pytest

from fieldstone.economy.experiments import STRESSES, ScenarioFile, Study
from fieldstone.economy.experiments.stress import heat_scenario, shock_month, stressed_scenario, utility_only
from fieldstone.economy.flywheel import Segment, prepare

BY_KEY = {stress.key: stress for stress in STRESSES}


def test_the_pack_is_that_of_the_reference() -> None:
    titles = " · ".join(stress.title for stress in STRESSES)
    for words in (
        "demand −30 %", "demand −50 %", "demand −70 %", "token price −50 %", "token price −80 %", "token price −95 %",
        "unlock cliff", "competitor yield +50 %", "competitor yield +100 %", "costs +50 %", "liquidity −80 %",
        "stale oracle", "halving", "top customer", "vendor exit", "10 % fake", "50 % fake", "region bans",
    ):  # fmt: skip
        assert words in titles
    assert len({stress.key for stress in STRESSES}) == len(STRESSES)


@pytest.mark.parametrize("stress", STRESSES, ids=lambda stress: stress.key)
def test_every_stress_runs_or_says_why_not(stress: object, file: ScenarioFile) -> None:
    one = BY_KEY[stress.key]  # type: ignore[attr-defined]
    found = stressed_scenario(file.scenario, one)
    if isinstance(found, str):
        assert one.key == "liquidity_80"
        assert "pool" in found
    else:
        prepare(found)  # a shock that hits nothing would be refused here
        assert len(found.shocks) > len(file.scenario.shocks)
        assert all(shock.from_month >= shock_month(file.scenario) for shock in found.shocks)


def test_a_stress_that_cannot_be_felt_is_not_run(file: ScenarioFile) -> None:
    bare = replace(
        file.scenario,
        supply=replace(file.scenario.supply, locked_tokens=0.0),
        segments=(Segment(name="all"),),
        cohorts=tuple(replace(cohort, vendor="", region="home") for cohort in file.scenario.cohorts),
        regions=(replace(file.scenario.regions[0], demand_share=1.0),),
        emission=replace(file.scenario.emission, policy="none"),
    )
    for key in ("unlock_cliff", "top_customer", "vendor_exit", "region_ban", "halving", "liquidity_80"):
        assert isinstance(stressed_scenario(bare, BY_KEY[key]), str), key


def test_stresses_keep_the_scenario_s_price_model(file: ScenarioFile) -> None:
    pool = replace(file.scenario, price=replace(file.scenario.price, model="pool"))
    for key in ("price_80", "demand_50", "liquidity_80"):
        found = stressed_scenario(pool, BY_KEY[key])
        assert not isinstance(found, str)
        assert found.price == pool.price
    assert heat_scenario(pool, 0.5, 0.2).price == pool.price


def test_the_heat_map_s_corner_is_the_scenario_itself(file: ScenarioFile) -> None:
    assert heat_scenario(file.scenario, 1.0, 1.0) == file.scenario
    assert len(heat_scenario(file.scenario, 0.4, 0.2).shocks) == 2


def test_utility_only_changes_speculation_alone(file: ScenarioFile) -> None:
    bare = utility_only(file.scenario)
    assert bare.price.speculation == 0
    assert replace(bare, price=file.scenario.price) == file.scenario


def test_stresses_hurt(small: Study) -> None:
    """Less demand never leaves more devices, run for run the same weather."""
    change = {one.stress.key: one.devices_change for one in small.stresses if one.devices_change is not None}
    assert 0 > change["demand_30"] > change["demand_50"] > change["demand_70"]
    assert change["price_95"] < 0
    assert change["region_ban"] < -0.2
    assert all(one.collapse is not None or one.why for one in small.stresses)
