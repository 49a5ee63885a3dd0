"""`fieldstone.chain.digest` computes what the contracts compute, whatever the values."""

from __future__ import annotations

import boa
import pytest
from contract_world import World, account, digest, quorum
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

words = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())


def typed(
    name: str, chain_id: int, contract: str, primary: str, fields: list[tuple[str, str]], values: list[object]
) -> bytes:
    """Hash typed data with eth-account (MIT), the independent oracle."""
    signable = encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                primary: [{"name": field, "type": kind} for kind, field in fields],
            },
            "primaryType": primary,
            "domain": {"name": name, "version": "1", "chainId": chain_id, "verifyingContract": contract},
            "message": dict(zip([field for _, field in fields], values, strict=True)),
        }
    )
    return bytes(keccak(b"\x19" + signable.version + signable.header + signable.body))


@settings(max_examples=30, deadline=None)
@given(numbers, numbers, words, words, words, numbers, numbers, addresses)
def test_root_digest_is_eip712(
    epoch: int, attempt: int, previous: bytes, root: bytes, data: bytes, total: int, version: int, contract: str
) -> None:
    fields = [
        ("uint256", "epoch"),
        ("uint256", "attempt"),
        ("bytes32", "previousRoot"),
        ("bytes32", "root"),
        ("bytes32", "dataHash"),
        ("uint256", "total"),
        ("uint256", "signerSetVersion"),
    ]
    values: list[object] = [epoch, attempt, previous, root, data, total, version]
    assert digest.root_digest(31_337, contract, *values) == typed(
        "Fieldstone Rewards", 31_337, contract, "Root", fields, values
    )


@settings(max_examples=15, deadline=None)
@given(numbers, addresses, words, words, st.integers(0, 10**6), st.booleans(), numbers)
def test_slash_digest_is_eip712(
    case: int, owner: str, key: bytes, evidence: bytes, fraction: int, upheld: bool, version: int
) -> None:
    fields = [
        ("uint256", "case"),
        ("address", "owner"),
        ("bytes32", "key"),
        ("bytes32", "evidenceHash"),
        ("uint256", "fractionPpm"),
        ("bool", "upheld"),
        ("uint256", "signerSetVersion"),
    ]
    values: list[object] = [case, owner, key, evidence, fraction, upheld, version]
    assert digest.slash_digest(1, account(9), *values) == typed(
        "Fieldstone Stake", 1, account(9), "Slash", fields, values
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(addresses, min_size=1, max_size=16), numbers, numbers)
def test_rotation_digest_is_eip712(signers: list[str], threshold: int, version: int) -> None:
    fields = [("address[]", "signers"), ("uint256", "threshold"), ("uint256", "signerSetVersion")]
    assert digest.rotation_digest(1, account(9), signers, threshold, version) == typed(
        "Fieldstone Rewards", 1, account(9), "RotateSigners", fields, [signers, threshold, version]
    )


@settings(max_examples=15, deadline=None)
@given(numbers, numbers, words, words, st.booleans(), numbers)
def test_resolution_and_price_digests_are_eip712(
    dispute: int, epoch: int, root: bytes, data: bytes, upheld: bool, version: int
) -> None:
    fields = [
        ("uint256", "dispute"),
        ("uint256", "epoch"),
        ("bytes32", "root"),
        ("bytes32", "dataHash"),
        ("bool", "upheld"),
        ("uint256", "signerSetVersion"),
    ]
    values: list[object] = [dispute, epoch, root, data, upheld, version]
    assert digest.resolution_digest(7, account(9), *values) == typed(
        "Fieldstone Rewards", 7, account(9), "Resolution", fields, values
    )
    fields = [
        ("uint256", "average"),
        ("uint256", "confidence"),
        ("uint256", "timeS"),
        ("uint256", "signerSetVersion"),
    ]
    values = [dispute, epoch, version, dispute]
    assert digest.price_digest(7, account(9), *values) == typed(
        "Fieldstone Credits", 7, account(9), "Price", fields, values
    )


@pytest.mark.parametrize(
    ("contract", "name"),
    [
        ("rewards", "Fieldstone Rewards"),
        ("credits", "Fieldstone Credits"),
        ("stake", "Fieldstone Stake"),
        ("token", "Field"),
    ],
)
def test_domain_separators_agree(world: World, contract: str, name: str) -> None:
    deployed = getattr(world, contract)
    assert deployed.DOMAIN_SEPARATOR() == digest.domain_separator(name, world.chain_id, deployed.address)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words.filter(any), words.filter(any), st.integers(0, World.epoch_cap))
def test_contract_accepts_the_root_digest_of_any_values(world: World, root: bytes, data: bytes, total: int) -> None:
    with boa.env.anchor():
        fields = world.root_fields(1, root, total) | {"data_hash": data}
        world.rewards.post(1, root, data, total, quorum(world.signers[1:], digest.root_digest(**fields)))
        assert world.rewards.record(1)[1:4] == (root, data, total)


def test_a_forked_chain_has_another_domain(world: World) -> None:
    """After a chain split with a new id, signatures of the old chain die on the new one."""
    state = boa.env.evm.vm.state
    context = state.execution_context
    before = world.rewards.DOMAIN_SEPARATOR()
    original = context._chain_id
    try:
        context._chain_id = 777
        after = world.rewards.DOMAIN_SEPARATOR()
    finally:
        context._chain_id = original
    assert after == digest.domain_separator("Fieldstone Rewards", 777, world.rewards.address) != before
