"""What can be bought, and at which price: the services' products, with the policy's prices over their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldstone.errors import Rejected, Terminal
from fieldstone.policy import Policy
from fieldstone.reasons import reason
from fieldstone.services.contract import Column, Product, Service
from fieldstone.services.prices import unit_price


@dataclass(frozen=True, slots=True)
class Offer:
    """A product of a service at today's price. `kind` names the sealed table it is cut from, `columns` what it can hold.

    What is charged by use, or sold by a service that reports no columns, is cut from no table: kind and columns are empty.
    """

    service: str
    product: Product
    kind: str
    columns: tuple[Column, ...]
    unit_price_micro_usd: int
    min_quality_ppm: int

    @property
    def table(self) -> str:
        """Name of the file in a sealed epoch."""
        return f"sellable-{self.service}-{self.kind}.parquet"


def offers(services: Sequence[Service], policy: Policy) -> tuple[Offer, ...]:
    """Return everything on offer, sorted by service and product. Raises ConfigError for a price that is not possible."""
    found = []
    for service in services:
        if service.name not in policy.services:
            continue
        for product in service.products:
            kind = "" if product.usage_per_unit else _kind(service)
            found.append(
                Offer(
                    service=service.name,
                    product=product,
                    kind=kind,
                    columns=tuple(service.kinds[kind]) if kind else (),
                    unit_price_micro_usd=unit_price(service, product, policy),
                    min_quality_ppm=policy.market.min_quality_ppm,
                )
            )
    return tuple(sorted(found, key=lambda offer: (offer.service, offer.product.name)))


def offer(services: Sequence[Service], policy: Policy, service: str, product: str) -> Offer:
    """Return one offer. Raises Rejected UNKNOWN_PRODUCT."""
    for candidate in offers(services, policy):
        if (candidate.service, candidate.product.name) == (service, product):
            return candidate
    raise Rejected(reason("UNKNOWN_PRODUCT"), f"{service}/{product}"[:80])


def _kind(service: Service) -> str:
    if not service.kinds:
        return ""
    if len(service.kinds) != 1:
        # Selling from the wrong table would be silent; a service with several kinds has to say which one it sells.
        raise Terminal(f"service {service.name} has {len(service.kinds)} report kinds; the market cannot choose one")
    return next(iter(service.kinds))
