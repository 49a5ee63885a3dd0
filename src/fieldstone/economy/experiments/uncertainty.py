"""Values of uncertain inputs, one per run: triangular between `low` and `high` with its peak at the value.

A draw's address is (seed, key, run): run n of two scenarios draws the same quantile for the same key, so a comparison
under one seed is paired, and more runs do not change the first ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.experiments.quantities import Quantity
from fieldstone.economy.flywheel import Prepared, Scenario, prepare


def columns(uncertain: Mapping[str, Quantity], runs: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return key → one value per run, in the key's unit."""
    return {key: triangular(one, _uniform(key, runs, seed)) for key, one in sorted(uncertain.items())}


def triangular(one: Quantity, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantiles of a number with a range."""
    assert one.low is not None and one.high is not None
    low, peak, width = one.low, one.value, one.high - one.low
    split = (peak - low) / width
    left = low + np.sqrt(shares * width * (peak - low))
    right = one.high - np.sqrt((1 - shares) * width * (one.high - peak))
    values: NDArray[np.float64] = np.clip(np.where(shares < split, left, right), low, one.high)
    return values


def prepared_for(scenario: Scenario, drawn: Mapping[str, NDArray[np.float64]], runs: int) -> Prepared:
    """Return a scenario ready for its first `runs` runs with what was drawn for them."""
    made = prepare(scenario)
    return made.vary({key: column[:runs] for key, column in drawn.items()}) if drawn else made


def _uniform(key: str, runs: int, seed: int) -> NDArray[np.float64]:
    address = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.Philox(key=[seed, address])).random(runs)
