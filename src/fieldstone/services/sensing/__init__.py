"""Sensing: weather, air quality, noise and traffic counts from stations at a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fieldstone.services.contract import Column, EpochInput, FleetVerdicts, PassiveService, Product, VerdictReason
from fieldstone.services.sensing.rules.reasons import REASONS
from fieldstone.services.sensing.schema import KIND, PRODUCTS, VARIABLES

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Sensing", "service"]


class Sensing(PassiveService):
    """The sensing service (`services.contract.Service`). The verification is imported when it is first used."""

    name = "sensing"
    quantity_unit = "station-second"
    kinds: Mapping[str, tuple[Column, ...]] = {KIND: VARIABLES}
    products: tuple[Product, ...] = PRODUCTS
    reasons: Mapping[str, VerdictReason] = REASONS
    rule_versions: tuple[int, ...] = (1,)

    def default_params(self, rule_version: int) -> Mapping[str, Any]:
        """Return the parameters of a rule version. Raises UsageError when there is no such version."""
        from fieldstone.services.sensing.rules.v1 import default_params

        return default_params(rule_version)

    def with_overrides(self, params: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `params` with dotted keys or nested tables replaced. Raises UsageError naming a wrong key."""
        from fieldstone.services.sensing.rules.v1 import with_overrides

        return with_overrides(params, overrides)

    def check_devices(self, part: EpochInput) -> pl.DataFrame:
        """Stage 1: `devices.check_devices`."""
        from fieldstone.services.sensing.verify import check_devices

        return check_devices(part)

    def check_fleet(self, whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
        """Stage 2: `verify.check_fleet`."""
        from fieldstone.services.sensing.verify import check_fleet

        return check_fleet(whole, device_checks)

    def partitions(self, whole: EpochInput, count: int) -> Iterator[EpochInput]:
        """Cut by device: `verify.partitions`."""
        from fieldstone.services.sensing.verify import partitions

        return partitions(whole, count)


service = Sensing()
