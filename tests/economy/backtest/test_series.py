"""Public series carry their sources and their dates in order."""

from __future__ import annotations

import pytest

from fieldstone.economy.backtest.series import load, names
from fieldstone.errors import UsageError


@pytest.mark.parametrize("name", names())
def test_every_series_is_sourced_and_in_order(name: str) -> None:
    series = load(name)
    assert series.name == name
    assert series.source and series.locator and series.unit and series.what
    assert series.grade in ("A", "B", "C", "D")
    assert len(series.dates) == len(series.values) > 0
    assert list(series.dates) == sorted(set(series.dates))
    assert series.values.min() > 0


def test_render_epochs_agree_with_figures_that_others_printed() -> None:
    """RNP-020: 12,482 RENDER is the mean burn of the quarter (twelve epochs) before the proposal; $1.7–2 M a year at the end of 2025."""
    tokens, dollars = load("render_burn_tokens"), load("render_burn_usd")
    means = [tokens.values[end - 12 : end].mean() for end in range(90, 97)]
    assert min(abs(mean / 12_482 - 1) for mean in means) < 0.05
    assert 1.5e6 < dollars.values[-52:].sum() < 3e6
    assert dollars.dates == tokens.dates


def test_grouping_sums_whole_groups() -> None:
    series = load("render_burn_usd")
    grouped = series.grouped(4)
    assert len(grouped.values) == 24
    assert grouped.values[0] == series.values[:4].sum()
    assert grouped.dates[0] == series.dates[3]
    assert len(series.grouped(5).values) == 19


def test_unknown_series_are_named() -> None:
    with pytest.raises(UsageError, match="render_nodes"):
        load("../secrets")
