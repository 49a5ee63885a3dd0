"""Figures of a live network; those from real epochs are in `test_calibrate`."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from fieldstone.economy.experiments.live import Seen, figures, growth_year


def test_growth_is_measured_when_there_is_enough_of_it() -> None:
    def seen(revenues: tuple[float, ...], days: float) -> Seen:
        return Seen(days, sum(revenues), revenues, 1, 1, 1, 1, Counter(), Counter(), (set(),), set(), 0)

    doubling = tuple(math.exp(math.log(2) * n / 24) for n in range(24))
    assert growth_year(seen(doubling, 365.25)) == pytest.approx(math.log(2))
    assert growth_year(seen(doubling, 20)) is None
    assert growth_year(seen((*doubling[:-1], 0.0), 365.25)) is None
    assert growth_year(seen(doubling[:5], 365.25)) is None


def test_a_network_where_nothing_happened_has_no_ratios() -> None:
    nothing = Seen(1.0, 0.0, (0.0,), 0.0, 0.0, 0.0, 0.0, Counter(), Counter(), (set(),), set(), 0)
    shown = {one.name: one.shown for one in figures(nothing, set())}
    assert shown["subsidy ratio"] == shown["utilisation"] == shown["Gini of rewards"] == "unknown"
    assert shown["revenue"] == "$0"
