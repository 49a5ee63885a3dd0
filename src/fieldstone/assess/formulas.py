"""Every number that can be worked out from claims: its ways, in words and as functions.

A measure may have several ways; a claim of that very name is the first. The functions are those that the console and the
simulator call (`fieldstone.metrics`): one definition, everywhere. A way returns None when its inputs do not determine it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fieldstone.assess.catalogue import metrics
from fieldstone.assess.formulas_money import MONEY
from fieldstone.assess.formulas_supply import SUPPLY
from fieldstone.assess.ways import Measure

MEASURES: tuple[Measure, ...] = MONEY + SUPPLY

BY_NAME: Mapping[str, Measure] = {measure.name: measure for measure in MEASURES}


def known_names() -> frozenset[str]:
    """Return the names that a question or flag may refer to."""
    return frozenset(BY_NAME) | frozenset(metrics())


def display(name: str) -> Measure:
    """Return how a measure, or a metric that is used directly, is shown."""
    if name in BY_NAME:
        return BY_NAME[name]
    metric = metrics()[name]
    units: dict[str, Any] = {"share": "%", "months": "months", "money": "$", "money_rate": "$/day"}
    better: Literal["higher", "lower"] = "lower" if metric.better == "lower" else "higher"
    return Measure(name, metric.title, units.get(metric.kind, ""), (), better)
