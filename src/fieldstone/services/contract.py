"""What a kind of infrastructure must offer to be a Fieldstone service.

A service is one folder found by the entry point group `fieldstone.services`; nothing outside the folder changes when
one is added. Everything here is pure: tables and frozen parameters in, tables out. No clock, network, file or logging.

The verification of an epoch has two stages, because some checks need one device and some need the fleet:

1. `check_devices` looks at a *partition* of the devices, alone. The engine may run partitions in any order, in any
   number, in other processes. It returns one table; the engine concatenates the tables and sorts by device.
2. `check_fleet` sees the whole fleet's stage-1 table and decides the verdicts.

So the result cannot depend on the partitioning (conformance tests shuffle it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

# Registry columns every service can rely on; one row per device that was enrolled at any time in the epoch, sorted.
REGISTRY_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),  # did:key
    "operator": pl.String(),  # 0x… EIP-55 address
    "model": pl.String(),
    "lat": pl.Float64(),  # degrees, WGS 84
    "lon": pl.Float64(),
    "elevation_m": pl.Float64(),
    "enrolled_ms": pl.Int64(),
}

# One row per device with evidence or an enrolment in the epoch; sorted by device.
VERDICT_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "service": pl.String(),
    "epoch": pl.Int64(),
    "quantity": pl.Int64(),  # service units of verified work, ≥ 0; the unit is `Service.quantity_unit`
    "quality_ppm": pl.Int64(),  # 0 … 1,000,000
    "verdict": pl.String(),  # accepted | partial | rejected
    "reasons": pl.List(pl.String()),  # codes of the rule version, most costly first
    "detail": pl.String(),  # canonical JSON: per check measured value, threshold, share lost, counterfactual
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a report kind: name with unit, what it is, the unit's text, and the physically possible range."""

    name: str
    unit: str
    description: str
    possible: tuple[float, float]


@dataclass(frozen=True, slots=True)
class VerdictReason:
    """Why accepted work earned less: stable code, what it means, what the operator can do."""

    code: str
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Product:
    """Something a customer can buy. `price_micro_usd` is for one `unit`."""

    name: str
    title: str
    unit: str
    price_micro_usd: int
    description: str


@dataclass(frozen=True)
class EpochInput:
    """All that the verification of one epoch may look at.

    `registry`: REGISTRY_SCHEMA. `evidence`: report kind → table sorted by (device, t_ms), columns of `Service.kinds`
    plus `device, t_ms, received_ms`. `params`: the frozen parameters of the rule version. `carry`: what
    `check_fleet` of the previous epoch left (empty table when none). `randomness`: 32 public bytes.
    """

    epoch: int
    start_ms: int
    end_ms: int
    registry: pl.DataFrame
    evidence: Mapping[str, pl.DataFrame]
    params: Mapping[str, Any]
    randomness: bytes = b"\0" * 32
    carry: Mapping[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class FleetVerdicts:
    """`verdicts`: VERDICT_SCHEMA, sorted by device. `sellable`: report kind → evidence rows good enough to be sold,
    with `quality_ppm`. `carry`: small tables handed to the next epoch (fingerprints, running medians)."""

    verdicts: pl.DataFrame
    sellable: Mapping[str, pl.DataFrame]
    carry: Mapping[str, pl.DataFrame]


class Service(Protocol):
    """One kind of infrastructure. Implementations are stateless module-level objects."""

    name: str
    quantity_unit: str
    kinds: Mapping[str, tuple[Column, ...]]
    products: tuple[Product, ...]
    reasons: Mapping[str, VerdictReason]
    rule_versions: tuple[int, ...]

    def default_params(self, rule_version: int) -> Mapping[str, Any]:
        """Return the parameters of a rule version; a network's policy may override single keys."""
        ...

    def with_overrides(self, params: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `params` with a policy's overrides (dotted or nested keys). Raises UsageError naming an unknown key."""
        ...

    def check_devices(self, part: EpochInput) -> pl.DataFrame:
        """Stage 1: look at each device alone. One row per device of `part.registry`, sorted by device."""
        ...

    def check_fleet(self, whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
        """Stage 2: compare devices with each other and decide. `device_checks` is stage 1's, all devices, sorted."""
        ...

    def partitions(self, whole: EpochInput, count: int) -> Iterator[EpochInput]:
        """Cut the input into at most `count` parts by device."""
        ...
