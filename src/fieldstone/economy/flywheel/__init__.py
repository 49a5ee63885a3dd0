"""The flywheel: operators, coverage, demand, burn, emission and price of a network, step by step.

`Scenario` holds what is decided and assumed; `reference.run` is one run in plain Python; `simulate` is many, compiled.
Public names are imported on first use, so this stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.economy.flywheel.engine import Prepared, Result, prepare, simulate
    from fieldstone.economy.flywheel.parameters import (
        Behaviour,
        Burn,
        Cohort,
        Emission,
        Price,
        Region,
        Scenario,
        Segment,
        Service,
        Shock,
        Supply,
        Treasury,
    )
    from fieldstone.economy.flywheel.series import COHORT_SERIES, SERIES

__all__ = [
    "COHORT_SERIES",
    "SERIES",
    "Behaviour",
    "Burn",
    "Cohort",
    "Emission",
    "Prepared",
    "Price",
    "Region",
    "Result",
    "Scenario",
    "Segment",
    "Service",
    "Shock",
    "Supply",
    "Treasury",
    "prepare",
    "simulate",
]

_HOME = dict.fromkeys(__all__, "parameters") | dict.fromkeys(("COHORT_SERIES", "SERIES"), "series")
_HOME |= dict.fromkeys(("Prepared", "Result", "prepare", "simulate"), "engine")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
