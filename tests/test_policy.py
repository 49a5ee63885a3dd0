from __future__ import annotations

import json

import msgspec
import pytest

from fieldstone.policy import Policy, RewardPolicy, ServicePolicy, SettlementPolicy


def test_the_canonical_form_is_stable_and_comes_back() -> None:
    policy = Policy(network_id="n", services={"b": ServicePolicy(params={"z": 1, "a": [1.5]}), "a": ServicePolicy()})
    body = policy.to_json()
    tree = json.loads(body)
    assert json.dumps(tree, sort_keys=True, separators=(",", ":")).encode() == body
    assert Policy.from_json(body) == policy
    assert Policy.from_json(body).hash == policy.hash


def test_the_hash_does_not_depend_on_the_order_of_keys_and_changes_with_every_value() -> None:
    one = Policy(network_id="n", services={"a": ServicePolicy(), "b": ServicePolicy()})
    two = Policy(network_id="n", services={"b": ServicePolicy(), "a": ServicePolicy()})
    assert one.hash == two.hash
    assert one.hash != Policy(network_id="m", services=one.services).hash
    assert one.hash != Policy(network_id="n", services=one.services, rewards=RewardPolicy(take_ppm=1)).hash


def test_amounts_become_exact_integers() -> None:
    rewards = RewardPolicy(
        bootstrap_per_epoch="123456789012.345678901234567891",
        token_price_usd="0.000001",
        r_half_usd="12.5",
        max_epoch_mint="1",
    )
    assert rewards.bootstrap_base == 123456789012345678901234567891
    assert rewards.token_price_micro_usd == 1
    assert rewards.r_half_micro_usd == 12_500_000
    assert rewards.max_epoch_mint_base == 10**18


@pytest.mark.parametrize("network_id", ["", "-a", "A", "a b", "a" * 64, "a/../b", "ä"])
def test_a_network_id_is_a_plain_name(network_id: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"network_id": network_id}, Policy)


@pytest.mark.parametrize(
    "section",
    [
        {"rewards": {"take_ppm": 1_000_001}},
        {"rewards": {"bootstrap_per_epoch": "1e3"}},
        {"rewards": {"bootstrap_per_epoch": "-1"}},
        {"rewards": {"r_half_usd": 100.0}},
        {"epoch": {"length_s": 0}},
        {"settlement": {"treasury": "0x12"}},
        {"settlement": {"verifiers": ["vitalik.eth"]}},
        {"services": {"sensing": {"colour": 1}}},
        {"colour": {}},
    ],
)
def test_a_wrong_value_is_refused(section: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"network_id": "n", **section}, Policy)


def test_a_policy_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Policy(network_id="n").network_id = "m"  # type: ignore[misc]
    assert SettlementPolicy().treasury is None
