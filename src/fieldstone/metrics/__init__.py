"""One definition of every figure that the console, the simulator and the assessment print.

An unknown is `None` (NaN inside an array), never 0: nothing paid and nothing earned has no ratio. Public names are
imported on first use, so this stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.metrics.distribution import (
        Concentration,
        concentration,
        effective_number,
        entropy_bits,
        gini,
        hhi,
        holders,
        max_power_ratio,
        nakamoto,
        normalised_entropy,
        theil_bits,
        top_share,
    )
    from fieldstone.metrics.flows import (
        break_even_price,
        burn_to_emission,
        collateral_ratio,
        demand_backed_share,
        demand_gap,
        issuance_coverage,
        multiple,
        net_inflation_year,
        revenue_per_device,
        service_share,
        subsidy_ratio,
        unmet_share,
        utilisation,
        velocity,
    )
    from fieldstone.metrics.returns import discounted_payback_months, net_present_value, payback_months, runway_months
    from fieldstone.metrics.statistics import (
        Interval,
        collapse_probability,
        retention,
        spearman,
        spearman_interval,
        time_to_tipping,
        wilson,
    )

__all__ = [
    "Concentration",
    "Interval",
    "break_even_price",
    "burn_to_emission",
    "collapse_probability",
    "collateral_ratio",
    "concentration",
    "demand_backed_share",
    "demand_gap",
    "discounted_payback_months",
    "effective_number",
    "entropy_bits",
    "gini",
    "hhi",
    "holders",
    "issuance_coverage",
    "max_power_ratio",
    "multiple",
    "nakamoto",
    "net_inflation_year",
    "net_present_value",
    "normalised_entropy",
    "payback_months",
    "retention",
    "revenue_per_device",
    "runway_months",
    "service_share",
    "spearman",
    "spearman_interval",
    "subsidy_ratio",
    "theil_bits",
    "time_to_tipping",
    "top_share",
    "unmet_share",
    "utilisation",
    "velocity",
    "wilson",
]

_MODULES = {
    "distribution": (
        "Concentration",
        "concentration",
        "effective_number",
        "entropy_bits",
        "gini",
        "hhi",
        "holders",
        "max_power_ratio",
        "nakamoto",
        "normalised_entropy",
        "theil_bits",
        "top_share",
    ),
    "returns": ("discounted_payback_months", "net_present_value", "payback_months", "runway_months"),
    "statistics": (
        "Interval",
        "collapse_probability",
        "retention",
        "spearman",
        "spearman_interval",
        "time_to_tipping",
        "wilson",
    ),
}
_HOME = dict.fromkeys(__all__, "flows") | {name: home for home, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
