"""Prices come from the policy, then from the service; nothing is sold under a wrong name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fieldstone.errors import ConfigError, Rejected, Terminal, UsageError
from fieldstone.market.catalogue import offer, offers
from fieldstone.policy import MarketPolicy, Policy, ServicePolicy
from fieldstone.services.sensing.schema import VARIABLES
from tests.market.world import Sensing


def priced(**prices: str) -> Policy:
    return Policy(network_id="testnet", market=MarketPolicy(prices_usd=prices))


def test_the_policy_price_wins() -> None:
    assert offers([Sensing()], priced())[0].unit_price_micro_usd == 20  # type: ignore[list-item]
    assert offers([Sensing()], priced(observations="0.0001"))[0].unit_price_micro_usd == 100  # type: ignore[list-item]
    both = priced(**{"observations": "1", "sensing.observations": "0.000001"})
    assert offers([Sensing()], both)[0].unit_price_micro_usd == 1  # type: ignore[list-item]


@pytest.mark.parametrize("price", ["0", "0.0000001", "1000.1"])
def test_impossible_prices_are_named(price: str) -> None:
    with pytest.raises((ConfigError, UsageError), match="prices_usd"):
        offers([Sensing()], priced(observations=price))  # type: ignore[list-item]


def test_services_outside_the_policy_are_not_sold() -> None:
    policy = Policy(network_id="testnet", services={"storage": ServicePolicy()})
    assert offers([Sensing()], policy) == ()  # type: ignore[list-item]
    with pytest.raises(Rejected, match="UNKNOWN_PRODUCT"):
        offer([Sensing()], policy, "sensing", "observations")  # type: ignore[list-item]


def test_a_service_with_two_kinds_is_not_sold_from_a_guess() -> None:
    two = replace(Sensing(), kinds={"readings": VARIABLES, "images": VARIABLES})
    with pytest.raises(Terminal, match="cannot choose"):
        offers([two], priced())  # type: ignore[list-item]
