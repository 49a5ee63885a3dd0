"""Operators one by one: the compiled loop equals the plain one, income is shared whole, nobody joins twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.economy.flywheel.operators import Operators, crowd, draw_operators, plain_crowd
from fieldstone.errors import UsageError


def some(count: int, seed: int = 0) -> Operators:
    return draw_operators(count, capex_usd=100, opex_usd=5, hurdle=0.2, patience=2, seed=seed)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60), st.lists(st.floats(0, 2_000), min_size=1, max_size=30), st.integers(0, 20), st.integers(0, 99)
)
def test_compiled_equals_plain(count: int, income: list[float], intake: int, seed: int) -> None:
    given = {"horizon": 12.0, "intake": intake, "begin_active": count // 2}
    fast = crowd(some(count, seed), np.array(income), **given)  # type: ignore[arg-type]
    plain = plain_crowd(some(count, seed), np.array(income), **given)  # type: ignore[arg-type]
    for name in fast.__slots__:
        np.testing.assert_array_equal(getattr(fast, name), getattr(plain, name), err_msg=name)


def test_income_is_shared_whole() -> None:
    who = some(50)
    found = crowd(who, np.full(1, 1_000.0), begin_active=50)
    assert (found.earned_usd + who.opex_usd).sum() == pytest.approx(1_000)


def test_nobody_joins_twice_and_the_counts_close() -> None:
    income = np.concatenate([np.full(30, 3_000.0), np.full(30, 50.0)])
    found = crowd(some(200), income, intake=7, begin_active=20)
    assert (np.diff(found.active, prepend=20) == found.joined - found.left).all()
    assert found.joined.max() == 7
    assert found.active.max() <= 200
    assert found.left[30:].sum() > 0


def test_patience_delays_leaving() -> None:
    columns = {"weight": 1.0, "capex_usd": 1e9, "opex_usd": 5.0, "hurdle": 0.0}
    who = Operators(**{name: np.array([value]) for name, value in columns.items()}, patience=np.array([3], np.int32))
    assert crowd(who, np.zeros(6), begin_active=1).left.tolist() == [0, 0, 0, 1, 0, 0]


def test_bad_operators_are_refused() -> None:
    with pytest.raises(UsageError):
        crowd(some(3), np.array([np.nan]))
    with pytest.raises(UsageError):
        crowd(some(3), np.ones(3), begin_active=4)
    with pytest.raises(UsageError):
        draw_operators(0, capex_usd=1, opex_usd=1, hurdle=0, patience=1)
