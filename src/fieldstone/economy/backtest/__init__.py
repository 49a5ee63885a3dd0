"""The model against public series: fitted on their beginning, judged on a tail it has not seen.

`run()` gives the scores of all cases; `load(name)` a series with its source. Public names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.economy.backtest.calibrate import Case, Forecast, forecast
    from fieldstone.economy.backtest.cases import CASES, SCHEDULES
    from fieldstone.economy.backtest.scores import Score, run, score
    from fieldstone.economy.backtest.series import PublicSeries, load

__all__ = ["CASES", "SCHEDULES", "Case", "Forecast", "PublicSeries", "Score", "forecast", "load", "run", "score"]

_MODULES = {
    "calibrate": ("Case", "Forecast", "forecast"),
    "cases": ("CASES", "SCHEDULES"),
    "scores": ("Score", "run", "score"),
    "series": ("PublicSeries", "load"),
}
_HOME = {name: home for home, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
