"""What a service's products cost under a policy: its prices over the service's defaults."""

from __future__ import annotations

from fieldstone.errors import ConfigError
from fieldstone.policy import Policy
from fieldstone.services.contract import Listed, ListPrice, Product, Service
from fieldstone.units import USD_MICRO, parse_amount


def unit_price(service: Service, product: Product, policy: Policy) -> int:
    """Return the policy's price under `service.product` or `product`, else the service's own: micro-dollars a unit.

    Raises ConfigError for a price that is not possible.
    """
    if product.priced_as:
        product = next(other for other in service.products if other.name == product.priced_as)
    for key in (f"{service.name}.{product.name}", product.name):
        text = policy.market.prices_usd.get(key)
        if text is not None:
            price = parse_amount(text, 6, what=f"policy market.prices_usd.{key}")
            if not 0 < price <= 1000 * USD_MICRO:
                raise ConfigError("must lie above 0 and not above 1000 dollars", key=f"market.prices_usd.{key}")
            return price
    return product.price_micro_usd


def list_price(service: Service, policy: Policy) -> ListPrice | None:
    """Return what the service's work costs under a policy; None: it has no price per unit. Raises ConfigError."""
    if not isinstance(service, Listed):
        return None
    setting = policy.services[service.name]
    params = service.with_overrides(service.default_params(setting.rule_version), setting.params)
    return service.list_price(params, {one.name: unit_price(service, one, policy) for one in service.products})
