"""What a service offers whose devices answer with tokens for what customers entrust to them.

The tokens lie in the contract `Stake`, by owner and key (`rewards.bonded.key_of`). How much is asked for a unit of capacity is
policy (`services.<name>.bond_per_unit`); what a unit is, how long a fault takes to be named, and which verdicts name one,
is the service's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import polars as pl

Staked = Mapping[tuple[str, str], int]
"""(owner in lower case, key in hex) → base units that are staked; what is being unbonded is not among them."""


@dataclass(frozen=True, slots=True)
class BondTerms:
    """`unit`: name of one unit of capacity ("TiB"); `quantity_per_s`: verified quantity that one makes in a second;
    `exposure_s`: the longest time from a fault to the verdict that names it, epochs aside."""

    unit: str
    quantity_per_s: int
    exposure_s: int


@dataclass(frozen=True, slots=True)
class Bonds:
    """What a service may know of bonds: `staked`, as this epoch counts it, the base units asked for a unit of capacity, and
    `elsewhere`: device → base units that it has to have at risk for other services (one bond is counted once for all)."""

    staked: Staked
    per_unit_base: int
    elsewhere: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class Bonding(Protocol):
    """A service that can ask its devices for a bond."""

    def bond_terms(self, params: Mapping[str, Any]) -> BondTerms:
        """Return the terms by the parameters of a policy."""
        ...

    def carried_capacity(self, carry: Mapping[str, pl.DataFrame]) -> Mapping[str, int]:
        """Return device → capacity (quantity per second) that it has to answer for as an epoch begins, by what the last
        one carried: what other services are told, so that they do not count on the same bond."""
        ...

    def fault(self, verdict: Mapping[str, Any], end_ms: int) -> int:
        """Return the capacity (quantity per second) that a device answers for by this verdict, of the epoch that ended at
        `end_ms`; 0: the verdict names no fault, or one that an earlier epoch has named already."""
        ...
