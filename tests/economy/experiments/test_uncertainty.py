from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.economy.experiments.quantities import Quantity
from fieldstone.economy.experiments.uncertainty import columns, triangular

RANGED = {"a": Quantity(3.0, "USD", low=1.0, high=9.0), "b": Quantity(3.0, "USD", low=1.0, high=9.0)}


def test_run_n_draws_the_same_whatever_else_is_drawn() -> None:
    few, many = columns(RANGED, 10, 1), columns(RANGED, 500, 1)
    assert np.array_equal(few["a"], many["a"][:10])
    assert np.array_equal(columns({"a": RANGED["a"]}, 10, 1)["a"], few["a"])
    assert not np.array_equal(few["a"], few["b"])
    assert not np.array_equal(few["a"], columns(RANGED, 10, 2)["a"])


def test_draws_have_the_triangle_s_mean_and_spread() -> None:
    values = columns(RANGED, 40_000, 3)["a"]
    assert abs(values.mean() - (1 + 3 + 9) / 3) < 0.03
    assert abs(values.var() - (1 + 9 + 81 - 3 - 9 - 27) / 18) < 0.08


@given(st.floats(0, 1e6), st.floats(0, 1), st.floats(0.001, 1e6), st.floats(0, 1))
def test_draws_stay_in_their_range(low: float, peak: float, width: float, share: float) -> None:
    high = low + width
    one = Quantity(low + peak * width, "", low=low, high=high)
    value = float(triangular(one, np.array([share]))[0])
    assert low <= value <= high
