"""All bonds as they stood at one block, folded from the events of `Stake`.

Events are what any node answers about any block, for ever; state at an old block only an archive node has. So whoever
checks a snapshot of bonds months later asks the same question as whoever took it, and must get the same answer:

    Staked           staked += amount
    UnbondRequested  staked −= amount, unbonding += amount
    Withdrawn        unbonding −= amount
    Slashed          staked −= from_staked, unbonding −= from_unbonding
"""

from __future__ import annotations

from typing import NamedTuple

from fieldstone.chain.abi import Contract
from fieldstone.chain.port import ChainPort, Log
from fieldstone.chain.view import ContractsView
from fieldstone.errors import CheckFailed, Retryable, Terminal

FEWEST_BLOCKS = 100  # a node that refuses to tell the events of so few blocks refuses to tell any


class Bond(NamedTuple):
    """One bond, base units. `key`: 64 hex digits of the device's hash, zeros for the operator's own bond."""

    owner: str
    key: str
    staked_base: int
    unbonding_base: int


def bonds_at(view: ContractsView, block: int, block_hash: bytes) -> list[Bond]:
    """Return every bond that is not empty at the end of a block, by owner and key.

    Raises CheckFailed when the chain has another block of that number (it was reorganised, or this is another chain),
    Retryable when the node does not answer, Terminal when it refuses to tell events or they contradict each other.
    """
    _same_block(view.port, block, block_hash)
    found: dict[tuple[str, str], list[int]] = {}
    for event in view.stake.decode(_logs(view.port, view.stake, view.addresses.block, block)):
        if "owner" not in event.fields or "key" not in event.fields:
            continue
        one = found.setdefault((str(event.fields["owner"]), bytes(event.fields["key"]).hex()), [0, 0])
        match event.name:
            case "Staked":
                one[0] += int(event.fields["amount"])
            case "UnbondRequested":
                one[0] -= int(event.fields["amount"])
                one[1] += int(event.fields["amount"])
            case "Withdrawn":
                one[1] -= int(event.fields["amount"])
            case "Slashed":
                one[0] -= int(event.fields["from_staked"])
                one[1] -= int(event.fields["from_unbonding"])
    _same_block(
        view.port, block, block_hash
    )  # the events were those of this chain, not of one that was dropped meanwhile
    if any(amount < 0 for one in found.values() for amount in one):
        raise Terminal("the chain's node does not tell all events of the bonds: one of them is below zero")
    return [
        Bond(owner, key, *found[owner, key]) for owner, key in sorted(found, key=_in_order) if any(found[owner, key])
    ]


def _in_order(name: tuple[str, str]) -> tuple[str, str]:
    return name[0].lower(), name[1]


def _same_block(port: ChainPort, block: int, block_hash: bytes) -> None:
    known = port.block_hash(block)
    if known is None:
        raise Retryable(f"the chain's node does not know block {block} yet")
    if known != block_hash:
        raise CheckFailed(f"block {block} has the hash {known.hex()} on chain, not {block_hash.hex()}")


def _logs(port: ChainPort, stake: Contract, first: int, last: int) -> list[Log]:
    """Return the contract's events of some blocks, asking for fewer blocks at once where the node limits them."""
    if last < first:
        return []
    try:
        return port.logs(stake.address, first_block=first, last_block=last)
    except (Terminal, Retryable) as error:
        is_refused = isinstance(error, Terminal) or "limit" in str(
            error
        )  # one that is away would be away for half, too
        if last - first < FEWEST_BLOCKS or not is_refused:
            raise
    middle = (first + last) // 2
    return [*_logs(port, stake, first, middle), *_logs(port, stake, middle + 1, last)]
