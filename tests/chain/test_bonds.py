"""Bonds at a block: what the events add up to is what the contract says, through both ports."""

from __future__ import annotations

from typing import Any

import pytest

from fieldstone.chain.bonds import Bond, bonds_at
from fieldstone.chain.port import Log
from fieldstone.chain.view import NO_ROOT, Outcome
from fieldstone.errors import CheckFailed, Retryable, Terminal
from fieldstone.identity.wallet import Wallet
from fieldstone.units import PPM, TOKEN_BASE
from tests.chain.world import Network, account

DEVICE_KEY = b"\x07" * 32


def now(network: Network) -> list[Bond]:
    head = network.settlement.port.head()
    return bonds_at(network.settlement, head.number, head.hash)


def as_the_contract_says(network: Network, bond: Bond) -> bool:
    said = network.settlement.bond_of(bond.owner, bytes.fromhex(bond.key))
    return (said["staked_base"], said["unbonding_base"]) == (bond.staked_base, bond.unbonding_base)


def test_every_bond_at_every_block(network: Network, wallet: Wallet) -> None:
    chain, owner = network.settlement, wallet.address
    assert now(network) == []
    chain.bond(owner, NO_ROOT, 5 * TOKEN_BASE, "own")
    chain.bond(owner, DEVICE_KEY, 3 * TOKEN_BASE + 7, "device")
    chain.bond(account(1), NO_ROOT, TOKEN_BASE, "a gift")
    before = chain.port.head()
    chain.unbond(DEVICE_KEY, 2 * TOKEN_BASE, "back")
    number = chain.open_case(owner, DEVICE_KEY, b"\x09" * 32)
    assert chain.open_case(owner, DEVICE_KEY, b"\x09" * 32) == number  # the same accusation is sent once
    case = chain.case_of(number)
    assert (case.accuser, case.owner, case.key, case.outcome) == (owner, owner, DEVICE_KEY, Outcome.OPEN)
    digest = chain.slash_to_sign(number, 333_333, True)
    chain.resolve_case(number, 333_333, True, network.sign(digest))
    assert [one.outcome for one in chain.cases()] == [Outcome.UPHELD]
    found = now(network)
    assert {(bond.owner, bond.key) for bond in found} == {
        (owner, NO_ROOT.hex()),
        (owner, DEVICE_KEY.hex()),
        (account(1), NO_ROOT.hex()),
    }
    assert all(as_the_contract_says(network, bond) for bond in found)
    (device,) = [bond for bond in found if bond.key == DEVICE_KEY.hex()]
    assert device.staked_base == (TOKEN_BASE + 7) - (TOKEN_BASE + 7) * 333_333 // PPM
    # what stood at a block does not change afterwards
    old = {(bond.owner, bond.key): bond for bond in bonds_at(chain, before.number, before.hash)}
    assert old[owner, DEVICE_KEY.hex()].staked_base == 3 * TOKEN_BASE + 7
    network.pass_time(chain.unbonding_delay_s() + 1)
    chain.withdraw(DEVICE_KEY, "out")
    assert all(as_the_contract_says(network, bond) for bond in now(network))


def test_an_undecided_case_slashes_nothing(network: Network, wallet: Wallet) -> None:
    chain = network.settlement
    chain.bond(wallet.address, NO_ROOT, TOKEN_BASE, "own")
    number = chain.open_case(wallet.address, NO_ROOT, b"\x09" * 32)
    network.pass_time(network.plan.case_period_s + 1)
    chain.expire_case(number)
    assert chain.case_of(number).outcome is Outcome.EXPIRED
    assert [bond.staked_base for bond in now(network)] == [TOKEN_BASE]


def test_another_chains_block_is_refused(network: Network) -> None:
    head = network.settlement.port.head()
    with pytest.raises(CheckFailed, match=f"block {head.number}"):
        bonds_at(network.settlement, head.number, b"\x01" * 32)
    with pytest.raises(Retryable, match="does not know block"):
        bonds_at(network.settlement, head.number + 1, head.hash)


class Sparing:
    """A port whose node tells the events of `most` blocks at once, like many public ones."""

    def __init__(self, port: Any, most: int, refusal: Exception) -> None:
        self._port, self._most, self._refusal = port, most, refusal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def logs(self, address: str, topics: Any = (), first_block: int = 0, last_block: int | None = None) -> list[Log]:
        if last_block is None or last_block - first_block >= self._most:
            raise self._refusal
        return list(self._port.logs(address, topics, first_block, last_block))


@pytest.mark.parametrize("refusal", [Terminal("block range is too large"), Retryable("is busy: range limit")])
def test_a_node_that_limits_the_range_is_asked_in_pieces(network: Network, wallet: Wallet, refusal: Exception) -> None:
    chain = network.settlement
    chain.bond(wallet.address, NO_ROOT, TOKEN_BASE, "own")
    for _ in range(220):
        network.chain.mine()
    chain.bond(wallet.address, NO_ROOT, TOKEN_BASE, "more")
    chain.port = Sparing(chain.port, 130, refusal)
    assert [bond.staked_base for bond in now(network)] == [2 * TOKEN_BASE]
    chain.port = Sparing(chain.port, 1, refusal)
    with pytest.raises(type(refusal)):
        now(network)
