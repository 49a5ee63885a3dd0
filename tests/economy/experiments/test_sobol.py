from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldstone.economy.experiments import ScenarioFile, Study, sensitivity
from fieldstone.economy.experiments.sobol import knobs_of, still
from fieldstone.economy.flywheel import simulate
from fieldstone.errors import UsageError


def test_guesses_are_turned_further_than_sourced_numbers(file: ScenarioFile) -> None:
    knobs = {knob.name: knob for knob in knobs_of(file)}
    assert (knobs["running costs"].low, knobs["running costs"].high) == (0.5, 1.5)
    own = knobs["hardware price: box"]
    assert (own.key, own.low, own.high, own.relative) == ("cohorts.box.capex_usd", 150.0, 300.0, False)
    assert "hardware price (others)" in knobs, "the other cohort is still turned"
    assert "demand" not in knobs and "demand: all" in knobs, "the only segment has its own range"
    assert "depth of the pool" not in knobs, "there is no pool in this price model"


def test_the_tornado_s_ends_are_the_changed_scenario(small: Study) -> None:
    found = small.sensitivity
    assert found
    names = [knob.name for knob in found.knobs]
    calm = still(small.scenario)
    dear = replace(calm, service=replace(calm.service, price_usd=calm.service.price_usd * 1.5))
    expected = simulate(dear, runs=1, record=("devices",))["devices"][0, -1]
    assert found.at_high["devices_end"][names.index("price of the service")] == pytest.approx(expected, rel=1e-12)
    assert found.base["devices_end"] == pytest.approx(simulate(calm, runs=1, record=("devices",))["devices"][0, -1])


def test_a_range_of_its_own_moves_only_its_own_input(small: Study) -> None:
    found = small.sensitivity
    assert found
    names = [knob.name for knob in found.knobs]
    calm = still(small.scenario)
    first, second = calm.cohorts
    expected = simulate(replace(calm, cohorts=(replace(first, capex_usd=150.0), second)), runs=1, record=("devices",))
    at_low = found.at_low["devices_end"][names.index("hardware price: box")]
    assert at_low == pytest.approx(expected["devices"][0, -1], rel=1e-12)
    expected = simulate(replace(calm, cohorts=(first, replace(second, capex_usd=60.0))), runs=1, record=("devices",))
    at_low = found.at_low["devices_end"][names.index("hardware price (others)")]
    assert at_low == pytest.approx(expected["devices"][0, -1], rel=1e-12)


def test_an_input_without_effect_has_no_index(file: ScenarioFile) -> None:
    """Nothing is minted and nobody sells tokens: then the token cannot decide how many devices there are."""
    scenario = replace(
        file.scenario,
        emission=replace(file.scenario.emission, policy="none"),
        burn=replace(file.scenario.burn, mode="none", share=0.0),
    )
    found = sensitivity(replace(file, scenario=scenario), samples=32)
    total = dict(zip((knob.name for knob in found.knobs), found.total["devices_end"], strict=True))
    assert total["speculation"] == pytest.approx(0.0, abs=1e-9)
    assert total["token price at the start"] == pytest.approx(0.0, abs=1e-9)
    assert max(total.values()) > 0.1


def test_same_seed_same_indices(file: ScenarioFile) -> None:
    one, two = (sensitivity(file, samples=8, seed=3, threads=threads) for threads in (1, 2))
    assert one == two
    assert np.isfinite([*one.first["devices_end"], *one.total["price_usd_end"]]).all()


@pytest.mark.parametrize("samples", [0, 1, 12])
def test_samples_are_a_power_of_two(file: ScenarioFile, samples: int) -> None:
    with pytest.raises(UsageError, match="power of two"):
        sensitivity(file, samples=samples)


def test_long_runs_get_fewer_samples(file: ScenarioFile, monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldstone.economy.experiments import sobol

    monkeypatch.setattr(sobol, "MOST_CELLS", 10_000)
    assert sensitivity(file, samples=64).samples == 16
