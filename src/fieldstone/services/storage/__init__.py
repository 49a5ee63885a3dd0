"""Storage: operators rent out disks; the network proves that the data is held and can be read, and repairs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fieldstone.services.bonding import BondTerms
from fieldstone.services.contract import (
    Column,
    Document,
    Endowment,
    EpochInput,
    FleetVerdicts,
    FundFacts,
    HoldBack,
    ListPrice,
    Product,
    Round,
    VerdictReason,
)
from fieldstone.services.storage.rules.reasons import REASONS
from fieldstone.services.storage.schema import DOCUMENTS, PRODUCTS, QUANTITY_UNIT

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Storage", "service"]


KIB_PER_TIB = 2**30
DETECTED_S = 86_400  # who lost 1 % is found within a day (challenges), who is silent much sooner


class Storage:
    """The storage service (`services.contract.Service`). The verification is imported when it is first used."""

    name = "storage"
    quantity_unit = QUANTITY_UNIT
    kinds: Mapping[str, tuple[Column, ...]] = {}
    documents: Mapping[str, Document] = DOCUMENTS
    products: tuple[Product, ...] = PRODUCTS
    reasons: Mapping[str, VerdictReason] = REASONS
    rule_versions: tuple[int, ...] = (1,)

    def default_params(self, rule_version: int) -> Mapping[str, Any]:
        """Return the parameters of a rule version. Raises UsageError when there is no such version."""
        from fieldstone.services.storage.rules.v1 import default_params

        return default_params(rule_version)

    def with_overrides(self, params: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `params` with keys replaced. Raises UsageError naming a wrong key."""
        from fieldstone.services.storage.rules.v1 import with_overrides

        return with_overrides(params, overrides)

    def check_devices(self, part: EpochInput) -> pl.DataFrame:
        """Stage 1: `devices.check_devices`."""
        from fieldstone.services.storage.devices import check_devices

        return check_devices(part)

    def check_fleet(self, whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
        """Stage 2: `verify.check_fleet`."""
        from fieldstone.services.storage.verify import check_fleet

        return check_fleet(whole, device_checks)

    def partitions(self, whole: EpochInput, count: int) -> Iterator[EpochInput]:
        """Cut by device: `partition.partitions`."""
        from fieldstone.services.storage.partition import partitions

        return partitions(whole, count)

    def round_s(self, params: Mapping[str, Any]) -> int:
        """Return the seconds between rounds."""
        return int(params["round_s"])

    def challenges(self, so_far: EpochInput, asked: Round) -> pl.DataFrame:
        """Return what a round asks of whom: `challenge.challenges`."""
        from fieldstone.services.storage.challenge import challenges

        return challenges(so_far, asked)

    def hold_back(self, params: Mapping[str, Any]) -> HoldBack | None:
        """Return how pay of new providers is held back by a policy's parameters; None: it is not."""
        by_month = tuple(int(share) for share in params["held_pay_ppm_by_month"])
        if not any(by_month):
            return None
        return HoldBack(
            by_month,
            int(params["held_pay_release_month"]),
            int(params["held_pay_release_ppm"]),
            forfeits=frozenset({"DISQUALIFIED", "VANISHED"}),
            exits=frozenset({"NO_HOLDINGS"}),
            departures=frozenset({"LEFT"}),
        )

    def list_price(self, params: Mapping[str, Any], prices_micro_usd: Mapping[str, int]) -> ListPrice:
        """Return what a KiB-second of shares costs: `pricing.list_price`."""
        from fieldstone.services.storage.pricing import list_price

        return list_price(params, prices_micro_usd)

    def bond_terms(self, params: Mapping[str, Any]) -> BondTerms:
        """Return what a bond answers for: a TiB of shares. A fault is named when the time to appeal is over."""
        return BondTerms("TiB", KIB_PER_TIB, int(params["appeal_s"]) + DETECTED_S)

    def carried_capacity(self, carry: Mapping[str, pl.DataFrame]) -> Mapping[str, int]:
        """Return device → KiB that it answers for: `bond_room.carried_capacity`."""
        from fieldstone.services.storage.bond_room import carried_capacity

        return carried_capacity(carry)

    def fault(self, verdict: Mapping[str, Any], end_ms: int) -> int:
        """Return the KiB that a device answers for by this verdict: `faults.fault`."""
        from fieldstone.services.storage.faults import fault

        return fault(verdict, end_ms)

    def endow(self, product: str, wish: Mapping[str, Any], prices_micro_usd: Mapping[str, int]) -> Endowment:
        """Return what keeping an object costs once: `paid_once.endow`."""
        from fieldstone.services.storage.paid_once import endow

        return endow(product, wish, prices_micro_usd)

    def review_fund(self, terms: Mapping[str, Any], facts: FundFacts) -> Mapping[str, Any]:
        """Say whether a fund still covers what it was bought for: `paid_once.review`."""
        from fieldstone.services.storage.paid_once import review

        return review(terms, facts)

    def directory(self, so_far: EpochInput) -> Mapping[str, Mapping[str, Any]]:
        """Return where providers are reached: `directory.directory`."""
        from fieldstone.services.storage.directory import directory

        return directory(so_far)


service = Storage()
