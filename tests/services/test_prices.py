"""A policy's prices over the services' own, and the price of a unit of work that the rewards go by."""

from __future__ import annotations

import pytest

from fieldstone.errors import ConfigError
from fieldstone.policy import MarketPolicy, Policy, ServicePolicy
from fieldstone.services import load_service
from fieldstone.services.contract import ListPrice
from fieldstone.services.prices import list_price, unit_price

STORAGE, SENSING = load_service("storage"), load_service("sensing")
KIB_S = 2**20 * 30 * 86_400  # of a GiB-month


def policy(prices: dict[str, str] | None = None, params: dict[str, object] | None = None) -> Policy:
    services = {"storage": ServicePolicy(params=params or {}), "sensing": ServicePolicy()}
    return Policy(network_id="n", services=services, market=MarketPolicy(prices_usd=prices or {}))


def test_a_price_of_the_policy_goes_before_the_services_own() -> None:
    products = {product.name: product for product in STORAGE.products}
    assert unit_price(STORAGE, products["storage"], policy()) == 2_000
    assert unit_price(STORAGE, products["storage"], policy({"storage": "0.003"})) == 3_000
    both = policy({"storage": "0.003", "storage.storage": "0.004"})
    assert unit_price(STORAGE, products["storage"], both) == 4_000
    assert unit_price(STORAGE, products["permanent-storage"], both) == 4_000  # charged at the price of another product
    with pytest.raises(ConfigError, match=r"storage\.storage"):
        unit_price(STORAGE, products["storage"], policy({"storage.storage": "1001"}))


def test_work_has_a_list_price_where_it_is_all_alike() -> None:
    assert list_price(STORAGE, policy()) == ListPrice(2_000, KIB_S, "GiB-month", 10_000)
    cheap = policy({"storage.storage": "0.001"}, {"space_weight_ppm": 500_000})
    assert list_price(STORAGE, cheap) == ListPrice(1_000, KIB_S, "GiB-month", 500_000)
    assert list_price(SENSING, policy()) is None
