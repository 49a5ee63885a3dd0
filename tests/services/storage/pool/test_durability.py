"""Against the table of the reference (2.1, binomial): P(fewer than k of n survive)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.pool.durability import YEAR_S, loss_before, loss_probability


@pytest.mark.parametrize(
    ("k", "n", "loss", "expected"),
    [
        (4, 6, 0.01, 2.0e-5), (4, 6, 0.2, 9.9e-2), (16, 20, 0.05, 2.6e-3), (10, 30, 0.01, 1.3e-35),
        (20, 40, 0.01, 1.1e-31), (20, 40, 0.1, 2.0e-11), (20, 40, 0.2, 5.0e-6), (29, 80, 0.01, 2.2e-83), (29, 35, 0.1, 5.5e-2),
    ],
)  # fmt: skip
def test_the_reference_table(k: int, n: int, loss: float, expected: float) -> None:
    assert loss_probability(k, [loss] * n) == pytest.approx(expected, rel=0.03)


@given(st.lists(st.floats(0, 1), max_size=8), st.integers(0, 9))
def test_it_is_the_sum_over_all_outcomes(losses: list[float], k: int) -> None:
    total = 0.0
    for outcome in range(2 ** len(losses)):
        survives = [bool(outcome >> i & 1) for i in range(len(losses))]
        if sum(survives) < k:
            total += math.prod(1 - p if alive else p for p, alive in zip(losses, survives, strict=True))
    assert loss_probability(k, losses) == pytest.approx(min(1.0, total), abs=1e-12)


def test_a_year_at_a_rate() -> None:
    assert loss_before(YEAR_S, 0.25) == pytest.approx(1 - math.exp(-0.25))
