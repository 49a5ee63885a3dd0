"""Does this network solve a problem that people pay for? A scorecard from dated, graded claims, for any network.

    case = load_case(Path("helium.toml"))            # claims: value, unit, period, source, date, grade
    card = assess(case, on=date(2026, 11, 22))       # pure: the same case and date give the same card
    card.verdict, card.raw, card.adjusted, card.coverage

Needs no running network; `claims_of_epochs` makes claims of grade A from a network's sealed epochs. Public names are
imported on first use, so this stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.assess.case import Case, load_case, parse_case
    from fieldstone.assess.claims import Claim, Grade, Period
    from fieldstone.assess.evaluate import Assessment, assess
    from fieldstone.assess.library import case_names, shipped_case
    from fieldstone.assess.live import claims_of_epochs
    from fieldstone.assess.questions import Framework, load_framework

__all__ = [
    "Assessment",
    "Case",
    "Claim",
    "Framework",
    "Grade",
    "Period",
    "assess",
    "case_names",
    "claims_of_epochs",
    "load_case",
    "load_framework",
    "parse_case",
    "shipped_case",
]

_HOME = {
    "Assessment": "evaluate",
    "Case": "case",
    "Claim": "claims",
    "Framework": "questions",
    "Grade": "claims",
    "Period": "claims",
    "assess": "evaluate",
    "case_names": "library",
    "claims_of_epochs": "live",
    "load_case": "case",
    "load_framework": "questions",
    "parse_case": "case",
    "shipped_case": "library",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
