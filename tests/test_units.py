from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.units import PPM, TOKEN_BASE, format_token, format_usd, parse_amount, split, to_ppm


@given(st.integers(0, 10**40), st.lists(st.integers(0, 10**30), max_size=20))
def test_split_adds_up(total: int, weights: list[int]) -> None:
    shares, remainder = split(total, weights)
    assert sum(shares) + remainder == total
    assert len(shares) == len(weights)
    assert remainder >= 0
    for share, weight in zip(shares, weights, strict=True):
        assert share >= 0
        assert share * sum(weights) <= total * weight
    if sum(weights):
        assert remainder < max(1, sum(weight > 0 for weight in weights))


@given(st.integers(0, 10**30), st.lists(st.integers(0, 10**20), min_size=2, max_size=10), st.randoms())
def test_split_does_not_depend_on_order(total: int, weights: list[int], rng: object) -> None:
    order = list(range(len(weights)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    straight, _ = split(total, weights)
    shuffled, _ = split(total, [weights[i] for i in order])
    assert shuffled == [straight[i] for i in order]


def test_split_without_weight_keeps_everything() -> None:
    assert split(7, [0, 0]) == ([0, 0], 7)
    assert split(7, []) == ([], 7)


@pytest.mark.parametrize(("total", "weights"), [(-1, [1]), (1, [-1, 2])])
def test_split_refuses_negative_numbers(total: int, weights: list[int]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        split(total, weights)


@given(st.integers(-(10**45), 10**45))
def test_parse_amount_is_exact_at_any_size(base: int) -> None:
    """28 digits are where decimal arithmetic starts to round without a word."""
    with localcontext() as context:
        context.prec = 60
        text = f"{Decimal(base).scaleb(-18):f}"
    assert parse_amount(text, 18) == base


@pytest.mark.parametrize(
    ("text", "decimals", "amount"),
    [
        ("12.5", 6, 12_500_000),
        ("0", 18, 0),
        ("1e3", 0, 1000),
        (7, 2, 700),
        ("0.000000000000000001", 18, 1),
        ("-0", 6, 0),
    ],
)
def test_parse_amount(text: str | int, decimals: int, amount: int) -> None:
    assert parse_amount(text, decimals) == amount


@pytest.mark.parametrize(
    "text", ["", "abc", "0.1234567", "NaN", "inf", "-Infinity", "sNaN", "1e999999999", "1e-999999999", "9" * 101]
)
def test_parse_amount_refuses_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="price"):
        parse_amount(text, 6, what="price")


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_to_ppm_is_always_a_ppm(score: float) -> None:
    assert 0 <= int(to_ppm(score)) <= PPM


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms())
def test_to_ppm_does_not_depend_on_the_order_of_a_sum(parts: list[float], rng: object) -> None:
    values = list(parts)
    rng.shuffle(values)  # type: ignore[attr-defined]
    one, two = sum(parts) / len(parts), sum(values) / len(values)
    # equal, but for the rare sum that sits within 10⁻⁹ of half a ppm
    if abs((one * PPM) % 1 - 0.5) > 2e-3:
        assert int(to_ppm(one)) == int(to_ppm(two))


def test_to_ppm_worked_examples() -> None:
    scores = [0.0, 1.0, 0.5, 1e-7, 6 / 7, float("nan"), -3.0, 2.0, float("inf"), float("-inf")]
    assert to_ppm(np.array(scores)).tolist() == [0, PPM, 500_000, 0, 857_143, 0, 0, PPM, PPM, 0]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (1234567890000000000, "1.2345"),
        (0, "0.0000"),
        (-TOKEN_BASE, "-1.0000"),
        (1_234_567 * TOKEN_BASE, "1,234,567.0000"),
    ],
)
def test_format_token_cuts_and_never_rounds_up(amount: int, text: str) -> None:
    assert format_token(amount) == text


def test_format_token_places() -> None:
    assert format_token(TOKEN_BASE + 1, 18) == "1.000000000000000001"
    assert format_token(TOKEN_BASE * 3 // 2, 0) == "1"


@pytest.mark.parametrize(
    ("amount", "text"), [(20, "$0.00002"), (1_500_000, "$1.50"), (-1, "-$0.000001"), (1_234_000_000, "$1,234.00")]
)
def test_format_usd_hides_no_digit(amount: int, text: str) -> None:
    assert format_usd(amount) == text
