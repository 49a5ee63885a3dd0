"""Whatever a valid scenario says, at the very ends of every key's range: no exception, no number that is not finite."""

from __future__ import annotations

import random
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pytest

from fieldstone.economy.flywheel import parameters as p
from fieldstone.economy.flywheel import simulate
from fieldstone.economy.flywheel.emission import PLANS
from fieldstone.errors import UsageError


def extreme(kind: type, rng: random.Random, **given: Any) -> Any:
    """Return a part with half of its numbers at the low or the high end of their range."""
    for item in fields(kind):
        rules = item.metadata
        if item.name in given:
            continue
        if "choices" in rules:
            given[item.name] = rng.choice(rules["choices"])
        elif "low" in rules and item.default is not MISSING and rng.random() < 0.5:
            given[item.name] = rng.choice([rules["low"], rules["high"], item.default])
    return kind(**given)


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_extremes_stay_finite(engine: Any) -> None:
    tried = 0
    for seed in range(250):
        rng = random.Random(seed)
        try:
            scenario = p.Scenario(
                months=14,
                cohorts=(extreme(p.Cohort, rng, name="a", lead_months=rng.choice([0.0, 2.0])),),
                segments=(extreme(p.Segment, rng, name="x"),),
                regions=(extreme(p.Region, rng, name="world", demand_share=1.0),),
                emission=extreme(p.Emission, rng, policy=rng.choice(sorted(PLANS))),
                **{
                    name.lower(): extreme(getattr(p, name), rng)
                    for name in ("Service", "Supply", "Burn", "Price", "Treasury", "Behaviour")
                },
            )
        except UsageError:
            continue  # a combination that contradicts itself
        tried += 1
        result = simulate(scenario, runs=1, engine=engine, cohorts=True)
        wrong = [name for name in result.names if not np.isfinite(result[name]).all()]
        assert wrong == [], seed
        assert all(np.isfinite(series).all() for series in result.cohorts.values()), seed
    assert tried > 100
