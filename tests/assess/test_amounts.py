"""Units: the base unit of each kind, and what is refused."""

from __future__ import annotations

import pytest

from fieldstone.assess.amounts import unit_of


@pytest.mark.parametrize(
    ("kind", "text", "factor", "base"),
    [
        ("share", "%", 0.01, "1"),
        ("money_rate", "USD/day", 1.0, "USD/day"),
        ("money_rate", "USD/year", 1 / 365.25, "USD/day"),
        ("money_rate", "USD/quarter", 4 / 365.25, "USD/day"),
        ("token_rate", "TOK/week", 1 / 7, "TOK/day"),
        ("bytes", "EiB", 1024.0**6, "B"),
        ("bytes", "PB", 1e15, "B"),
        ("rate", "GB/day", 1e9, "B/day"),
        ("rate", "frames/month", 12 / 365.25, "frames/day"),
        ("price", "USD/GB", 1e-9, "USD/B"),
        ("price", "USD/TiB/month", 12 / 365.25 / 1024**4, "USD/B/day"),
        ("price", "EUR/OBh", 1.0, "EUR/OBh"),
        ("months", "years", 12.0, "months"),
        ("count", "data sets", 1.0, "data sets"),
        ("any", "GPUs", 1.0, "GPUs"),
        ("flag", "", 1.0, "yes/no"),
    ],
)
def test_base_units(kind: str, text: str, factor: float, base: str) -> None:
    unit = unit_of(kind, text, "TOK")
    assert unit.base == base
    assert unit.factor == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("share", "percent"), ("money_rate", "USD"), ("token_rate", "HNT/day"), ("bytes", "GBs"), ("price", "GB"), ("flag", "USD"), ("count", "")],
)  # fmt: skip
def test_other_units_are_refused_with_what_is_expected(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        unit_of(kind, text, "TOK")


def test_one_exbibyte_is_1024_pebibytes() -> None:
    assert unit_of("bytes", "EiB", "").factor == 1024 * unit_of("bytes", "PiB", "").factor
    assert unit_of("bytes", "EB", "").factor == 1000 * unit_of("bytes", "PB", "").factor
