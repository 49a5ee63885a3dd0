"""Wilson's interval, rank correlation, retention and tipping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone import metrics
from fieldstone.errors import UsageError


def test_wilson_by_hand() -> None:
    """10 of 100: (0.1 + 0.019208 ± 1.96·√(0.0009 + 0.00009604)) / 1.038416."""
    found = metrics.wilson(10, 100)
    assert found is not None
    assert found.low == pytest.approx(0.05523, abs=1e-5)
    assert found.high == pytest.approx(0.17437, abs=1e-5)


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_wilson_agrees_with_scipy(n: int, share: float) -> None:
    from scipy import stats  # takes a second: not in every worker that collects the tests

    count = int(share * n)
    found = metrics.wilson(count, n)
    expected = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert found is not None and found.low <= found.value <= found.high
    # 1.96 is a rounded quantile
    assert found.low == pytest.approx(expected.low, abs=1e-4)
    assert found.high == pytest.approx(expected.high, abs=1e-4)


def test_wilson_is_unknown_without_runs_and_refuses_impossible_counts() -> None:
    assert metrics.wilson(0, 0) is None
    with pytest.raises(UsageError):
        metrics.wilson(3, 2)


def test_no_collapse_in_a_hundred_runs_is_not_impossible() -> None:
    found = metrics.collapse_probability([False] * 100)
    assert found is not None and found.value == 0 and 0.03 < found.high < 0.04


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=40)


@given(PAIRS)
def test_spearman_agrees_with_scipy_ties_included(pairs: list[tuple[int, int]]) -> None:
    from scipy import stats

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = metrics.spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(float(stats.spearmanr(first, second).statistic), abs=1e-12)


def test_spearman_refuses_what_is_not_pairs() -> None:
    with pytest.raises(UsageError):
        metrics.spearman([1, 2], [1])
    with pytest.raises(UsageError):
        metrics.spearman([1, math.nan], [1, 2])


def test_bootstrap_interval_is_reproducible_and_holds_the_value() -> None:
    rng = np.random.default_rng(3)
    reward = rng.random(60)
    revenue = reward + rng.normal(0, 0.3, 60)
    found = metrics.spearman_interval(reward, revenue, seed=5)
    assert found == metrics.spearman_interval(reward, revenue, seed=5)
    assert found is not None and found.low < found.value < found.high


def test_retention_and_tipping() -> None:
    assert metrics.retention([100, 90, 45], 100) == [1.0, 0.9, 0.45]
    assert metrics.retention([1], 0) == []
    assert metrics.time_to_tipping([10, 4, 12, 3, 2], 5) == 3
    assert metrics.time_to_tipping([10, 4, 12], 5) is None
    assert metrics.time_to_tipping([1, 1], 5) == 0
