"""Concentration: closed forms, identities and invariance."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fieldstone import metrics
from fieldstone.errors import UsageError
from fieldstone.metrics import concentration as figures

HOLDINGS = st.lists(st.integers(1, 10**12), min_size=1, max_size=40)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 10, 49, 100])
@pytest.mark.parametrize("unit", [1.0, 0.1, 3e17])
def test_equal_holders(n: int, unit: float) -> None:
    equal = [unit] * n
    assert metrics.hhi(equal) == pytest.approx(10_000 / n)
    assert metrics.gini(equal) == pytest.approx(0, abs=1e-12)
    assert metrics.entropy_bits(equal) == pytest.approx(math.log2(n), abs=1e-12)
    assert metrics.theil_bits(equal) == pytest.approx(0, abs=1e-12)
    assert metrics.nakamoto(equal) == n // 2 + 1
    assert metrics.effective_number(equal) == pytest.approx(n)


def test_one_holder() -> None:
    assert metrics.hhi([5]) == 10_000
    assert metrics.gini([5]) == 0
    assert metrics.nakamoto([5]) == 1
    assert metrics.normalised_entropy([5]) is None
    assert metrics.max_power_ratio([5]) == 1


def test_a_known_distribution() -> None:
    """Shares 50, 25, 15, 10 %: HHI 3450; Gini (−3·10 − 15 + 25 + 3·50)/(4·100) = 0.325."""
    amounts = [50, 25, 15, 10]
    assert metrics.hhi(amounts) == pytest.approx(3450)
    assert metrics.gini(amounts) == pytest.approx(0.325)
    assert metrics.nakamoto(amounts) == 2
    assert metrics.nakamoto(amounts, 0.66) == 2
    assert metrics.top_share(amounts, 3) == pytest.approx(0.9)
    assert metrics.entropy_bits(amounts) == pytest.approx(0.5 + 0.5 - 0.15 * math.log2(0.15) - 0.1 * math.log2(0.1))


def test_the_threshold_is_strict() -> None:
    assert metrics.nakamoto([1, 1]) == 2
    assert metrics.nakamoto([0.5, 0.3, 0.2]) == 2


def test_empty_is_unknown_and_zeros_are_left_out_unless_asked() -> None:
    assert metrics.hhi([]) is None and metrics.gini([0, 0]) is None and metrics.nakamoto([]) is None
    assert figures([]) is None
    assert metrics.gini([1, 1, 0, 0]) == 0
    assert metrics.gini([1, 1, 0, 0], zeros=True) == pytest.approx(0.5)


def test_bad_holdings_are_refused() -> None:
    for bad in ([-1.0, 2.0], [math.nan], [math.inf, 1.0]):
        with pytest.raises(UsageError):
            metrics.hhi(bad)
    with pytest.raises(UsageError):
        metrics.nakamoto([1], 1.0)


def test_huge_amounts_do_not_overflow() -> None:
    assert metrics.hhi([1e308, 1e308]) == pytest.approx(5000)
    assert metrics.hhi([10**30, 10**30]) == pytest.approx(5000)


@given(HOLDINGS, st.integers(0, 39), st.integers(0, 39))
def test_merging_never_lowers_hhi(amounts: list[int], first: int, second: int) -> None:
    first, second = first % len(amounts), second % len(amounts)
    assume(first != second)
    rest = [amount for i, amount in enumerate(amounts) if i not in (first, second)]
    before, after = metrics.hhi(amounts), metrics.hhi([*rest, amounts[first] + amounts[second]])
    assert before is not None and after is not None and after >= before - 1e-9


@given(HOLDINGS, st.integers(1, 10**6), st.randoms())
def test_scaling_and_order_change_nothing(amounts: list[int], factor: int, random: object) -> None:
    moved = [amount * factor for amount in amounts]
    random.shuffle(moved)  # type: ignore[attr-defined]
    before, after = figures(amounts), figures(moved)
    assert before is not None and after is not None
    assert after.hhi == pytest.approx(before.hhi)
    assert after.gini == pytest.approx(before.gini, abs=1e-9)
    assert after.entropy_bits == pytest.approx(before.entropy_bits, abs=1e-9)
    assert after.nakamoto == before.nakamoto


@given(HOLDINGS)
def test_nakamoto_is_the_smallest_majority(amounts: list[int]) -> None:
    k = metrics.nakamoto(amounts)
    ordered, total = sorted(amounts, reverse=True), sum(amounts)
    assert k is not None
    assert 2 * sum(ordered[:k]) > total or k == len(amounts)
    assert 2 * sum(ordered[: k - 1]) <= total * (1 + 1e-11)
