"""Ratios of flows over one period: emission, burn, revenue, capacity.

Every function takes numbers or arrays (one element per run, month …). A ratio whose denominator is 0 is infinite when
its numerator is not 0, and unknown (None; NaN in an array) when both are. Amounts must belong to one period; dollars
are dollars at the mean price of that period; `emission` counts **all** mints: schedule, re-emission, top-up, supplement.
"""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]


@overload
def ratio(top: float, bottom: float) -> float | None: ...
@overload
def ratio(top: Series, bottom: Series | float) -> Series: ...
@overload
def ratio(top: float, bottom: Series) -> Series: ...
def ratio(top: Any, bottom: Any) -> Any:
    """Return top / bottom; ±∞ over 0, and None (NaN in an array) for 0 / 0 or an unknown part."""
    if not isinstance(top, np.ndarray) and not isinstance(bottom, np.ndarray):
        if bottom:
            value = float(top) / float(bottom)
        else:
            value = math.copysign(math.inf, top) if top else math.nan
        return None if math.isnan(value) else value
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.divide(top, bottom, dtype=np.float64)


@overload
def burn_to_emission(burn_tokens: float, emission_tokens: float) -> float | None: ...
@overload
def burn_to_emission(burn_tokens: Series, emission_tokens: Series) -> Series: ...
def burn_to_emission(burn_tokens: Any, emission_tokens: Any) -> Any:
    """Return b / E in tokens. 1 keeps the supply constant. Infinite when something is burned and nothing minted."""
    return ratio(burn_tokens, emission_tokens)


@overload
def subsidy_ratio(emission_usd: float, revenue_usd: float) -> float | None: ...
@overload
def subsidy_ratio(emission_usd: Series, revenue_usd: Series) -> Series: ...
def subsidy_ratio(emission_usd: Any, revenue_usd: Any) -> Any:
    """Return E·P / (E·P + R), the part of what supply receives that no customer paid; R is arm's-length revenue."""
    return ratio(emission_usd, emission_usd + revenue_usd)


@overload
def issuance_coverage(emission_usd: float, revenue_usd: float) -> float | None: ...
@overload
def issuance_coverage(emission_usd: Series, revenue_usd: Series) -> Series: ...
def issuance_coverage(emission_usd: Any, revenue_usd: Any) -> Any:
    """Return R / (E·P). Equals burn/emission only if all revenue is burned and all burn is revenue."""
    return ratio(revenue_usd, emission_usd)


@overload
def demand_backed_share(emission_usd: float, revenue_usd: float) -> float | None: ...
@overload
def demand_backed_share(emission_usd: Series, revenue_usd: Series) -> Series: ...
def demand_backed_share(emission_usd: Any, revenue_usd: Any) -> Any:
    """Return min(E·P, R) / (E·P), the part of the incentive that customers' money could pay."""
    if isinstance(emission_usd, np.ndarray):
        return ratio(np.minimum(emission_usd, revenue_usd), emission_usd)
    return ratio(min(emission_usd, revenue_usd), emission_usd)


@overload
def net_inflation_year(
    emission_tokens: float, burn_tokens: float, supply_tokens: float, *, periods_per_year: float = 12
) -> float | None: ...
@overload
def net_inflation_year(
    emission_tokens: Series, burn_tokens: Series, supply_tokens: Series, *, periods_per_year: float = 12
) -> Series: ...
def net_inflation_year(
    emission_tokens: Any, burn_tokens: Any, supply_tokens: Any, *, periods_per_year: float = 12
) -> Any:
    """Return (1 + (E − b)/S)^n − 1, positive when the supply grows; S is the supply at the period's start.

    A published formula, 1 − (1 + i/S)^12, has the sign the other way round.
    """
    growth = ratio(emission_tokens - burn_tokens, supply_tokens)
    if growth is None:
        return None
    with np.errstate(divide="ignore", over="ignore"):  # a supply burned to nothing is −1, one from nothing +∞
        year = np.expm1(periods_per_year * np.log1p(np.maximum(growth, -1.0)))
    return year if isinstance(growth, np.ndarray) else float(year)


@overload
def break_even_price(running_costs_usd: float, fiat_revenue_usd: float, emission_tokens: float) -> float | None: ...
@overload
def break_even_price(running_costs_usd: Series, fiat_revenue_usd: Series, emission_tokens: Series) -> Series: ...
def break_even_price(running_costs_usd: Any, fiat_revenue_usd: Any, emission_tokens: Any) -> Any:
    """Return the token price in dollars at which operators cover their costs: max(0, Σ(opex + depreciation) − fiat) / E.

    0: customers' money alone pays. None or infinite: nothing is emitted, so no price helps.
    """
    missing = running_costs_usd - fiat_revenue_usd
    if isinstance(missing, np.ndarray):
        return np.where(missing <= 0, 0.0, ratio(np.maximum(missing, 0.0), emission_tokens))
    return 0.0 if missing <= 0 else ratio(missing, emission_tokens)


@overload
def utilisation(served: float, capacity: float) -> float | None: ...
@overload
def utilisation(served: Series, capacity: Series) -> Series: ...
def utilisation(served: Any, capacity: Any) -> Any:
    """Return served / capacity; capacity is what was proven online, not what is registered."""
    return ratio(served, capacity)


@overload
def demand_gap(capacity: float, offered: float) -> float | None: ...
@overload
def demand_gap(capacity: Series, offered: Series) -> Series: ...
def demand_gap(capacity: Any, offered: Any) -> Any:
    """Return (capacity − offered demand) / offered demand: negative where supply is short, large where it is idle."""
    return ratio(capacity - offered, offered)


@overload
def unmet_share(served: float, offered: float) -> float | None: ...
@overload
def unmet_share(served: Series, offered: Series) -> Series: ...
def unmet_share(served: Any, offered: Any) -> Any:
    """Return (offered − served) / offered, the part of demand that went away."""
    return ratio(offered - served, offered)


@overload
def revenue_per_device(revenue_usd: float, active_devices: float) -> float | None: ...
@overload
def revenue_per_device(revenue_usd: Series, active_devices: Series) -> Series: ...
def revenue_per_device(revenue_usd: Any, active_devices: Any) -> Any:
    """Return R / N in dollars per active device and period."""
    return ratio(revenue_usd, active_devices)


@overload
def velocity(burn_tokens: float, circulating_tokens: float) -> float | None: ...
@overload
def velocity(burn_tokens: Series, circulating_tokens: Series) -> Series: ...
def velocity(burn_tokens: Any, circulating_tokens: Any) -> Any:
    """Return the tokens burned in the period per circulating token."""
    return ratio(burn_tokens, circulating_tokens)


@overload
def multiple(capitalisation_usd: float, revenue_usd: float, *, periods_per_year: float = 12) -> float | None: ...
@overload
def multiple(capitalisation_usd: Series, revenue_usd: Series, *, periods_per_year: float = 12) -> Series: ...
def multiple(capitalisation_usd: Any, revenue_usd: Any, *, periods_per_year: float = 12) -> Any:
    """Return capitalisation / (n · revenue of one period). State the period and whether the revenue was burned."""
    return ratio(capitalisation_usd, revenue_usd * periods_per_year)


@overload
def collateral_ratio(vault_tokens: float, price_usd: float, credits_usd: float) -> float | None: ...
@overload
def collateral_ratio(vault_tokens: Series, price_usd: Series, credits_usd: Series) -> Series: ...
def collateral_ratio(vault_tokens: Any, price_usd: Any, credits_usd: Any) -> Any:
    """Return the worth of a vault over the credits it stands for (AEP-76: warn below 0.95, halt below 0.90)."""
    return ratio(vault_tokens * price_usd, credits_usd)


@overload
def service_share(service_usd: float, total_usd: float) -> float | None: ...
@overload
def service_share(service_usd: Series, total_usd: Series) -> Series: ...
def service_share(service_usd: Any, total_usd: Any) -> Any:
    """Return the part of burns or fees that customers paid for service: not penalties, onboarding or discretionary burns."""
    return ratio(service_usd, total_usd)
