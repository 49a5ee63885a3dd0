"""Experiments with a network's economy: scenario files, Monte Carlo, A/B, stress pack, sensitivities, the report.

    file = load("starter")                     # or a path
    found = study(file, runs=1_000, seed=1)    # everything, on the compiled model
    write(Path("out"), found)                  # report.html, summary.json, runs.parquet
    compare(found, study(load("other.toml"), runs=1_000, seed=1))
    calibrated(file, sealed_epochs)            # numbers of a live network in place of guesses
Needs no running network. Public names are imported on first use, so this stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.economy.experiments.calibrate import Calibration, calibrated
    from fieldstone.economy.experiments.comparison import Comparison, compare
    from fieldstone.economy.experiments.report import page, write
    from fieldstone.economy.experiments.scenario_file import ScenarioFile, file_of, load, packaged, read
    from fieldstone.economy.experiments.sobol import Sensitivity, sensitivity
    from fieldstone.economy.experiments.stress import STRESSES
    from fieldstone.economy.experiments.studies import Study, study
    from fieldstone.economy.experiments.summary import document

__all__ = [
    "STRESSES",
    "Calibration",
    "Comparison",
    "ScenarioFile",
    "Sensitivity",
    "Study",
    "calibrated",
    "compare",
    "document",
    "file_of",
    "load",
    "packaged",
    "page",
    "read",
    "sensitivity",
    "study",
    "write",
]

_MODULES = {
    "calibrate": ("Calibration", "calibrated"),
    "comparison": ("Comparison", "compare"),
    "summary": ("document",),
    "report": ("page", "write"),
    "scenario_file": ("ScenarioFile", "file_of", "load", "packaged", "read"),
    "sobol": ("Sensitivity", "sensitivity"),
    "stress": ("STRESSES",),
    "studies": ("Study", "study"),
}
_HOME = {name: home for home, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
