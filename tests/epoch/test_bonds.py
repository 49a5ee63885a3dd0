"""The bonds of an epoch: one snapshot, of the one block that counts, whoever would like another."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fieldstone.chain.bonds import Bond
from fieldstone.epoch.bonds import BondBody, compare, entry_of, snapshot_of
from fieldstone.epoch.freeze import Frozen, freeze
from fieldstone.errors import CheckFailed
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.policy import EpochPolicy, Policy, ServicePolicy, SettlementPolicy
from tests.epoch.conftest import SmallNetwork

HASH, OTHER = b"\x22" * 32, b"\x33" * 32
OWNER, KEY = "0x" + "Ab" * 20, "07" * 32
BONDS = [Bond(OWNER, KEY, 5, 2), Bond("0x" + "cd" * 20, "00" * 32, 10**30, 0)]


def network(folder: Path, depth: int = 0) -> SmallNetwork:
    services = {
        "sensing": ServicePolicy(share_ppm=500_000),
        "storage": ServicePolicy(share_ppm=500_000, bond_per_unit="10"),
    }
    policy = Policy(network_id="test", epoch=EpochPolicy(length_s=3600), services=services,
                    settlement=SettlementPolicy(bond_depth_blocks=depth))  # fmt: skip
    return SmallNetwork(folder, stations=1, policy=policy)


def second_epoch(small: SmallNetwork, *entries: NewEntry, boundary: int = 50) -> Frozen:
    """Close the first epoch and freeze the second with these entries in it."""
    small.clock.set(small.state.next_end_ms)
    small.close()
    mark = {"epoch": 1, "block": boundary, "block_hash": HASH.hex()}
    small.append(NewEntry(EntryKind.EPOCH, "", msgspec.json.encode(mark)))
    small.append(*entries)
    small.clock.set(small.state.next_end_ms)
    return freeze(small.entries(), small.state)


def test_a_snapshot_counts_and_is_carried_until_the_next(tmp_path: Path) -> None:
    small = network(tmp_path)
    frozen = second_epoch(small, entry_of(2, 50, HASH, BONDS))
    assert frozen.bonds is not None and (frozen.bonds.epoch, frozen.bonds.block) == (2, 50)
    assert frozen.bonds.staked() == {(OWNER.lower(), KEY): 5, (BONDS[1].owner, "00" * 32): 10**30}
    assert frozen.bonds.slashable()[OWNER.lower(), KEY] == 7
    small.close()
    again = small.store.sealed(2).state_after().bonds  # as after a restart
    assert again is not None and (again.epoch, again.block, again.block_hash) == (2, 50, HASH.hex())
    assert again.table.equals(frozen.bonds.table)
    small.clock.set(small.state.next_end_ms)
    third = freeze(small.entries(), small.state)
    assert third.bonds is not None and third.bonds.epoch == 2  # the chain did not answer for a whole epoch


@pytest.mark.parametrize(
    ("entry", "counted"),
    [
        (entry_of(2, 49, OTHER, BONDS), "bond-of-another-block"),  # a block at which a friend's tokens were there
        (entry_of(2, 51, OTHER, BONDS), "bond-of-another-block"),
        (entry_of(2, 50, OTHER, BONDS), "bond-of-another-block"),
        (entry_of(3, 50, HASH, BONDS), "bond-out-of-turn"),
        (entry_of(1, 50, HASH, BONDS), "bond-out-of-turn"),
        (NewEntry(EntryKind.BOND, "", b"{}"), "bond-unreadable"),
        (NewEntry(EntryKind.BOND, "", entry_of(2, 50, HASH, BONDS).body.replace(b'"5"', b'"-5"')), "bond-unreadable"),
    ],
)
def test_any_other_is_counted_and_changes_nothing(tmp_path: Path, entry: NewEntry, counted: str) -> None:
    frozen = second_epoch(network(tmp_path), entry)
    assert frozen.bonds is None and frozen.counts[counted] == 1


def test_the_first_one_stays(tmp_path: Path) -> None:
    frozen = second_epoch(network(tmp_path), entry_of(2, 50, HASH, []), entry_of(2, 50, HASH, BONDS))
    assert frozen.bonds is not None and frozen.bonds.staked() == {}
    assert frozen.counts["bond-out-of-turn"] == 1


def test_on_a_chain_that_reorganises_an_older_block_counts(tmp_path: Path) -> None:
    frozen = second_epoch(network(tmp_path, depth=12), entry_of(2, 38, OTHER, BONDS))
    assert frozen.bonds is not None and frozen.bonds.block == 38


def test_nothing_before_the_end_of_an_epoch(tmp_path: Path) -> None:
    small = network(tmp_path)
    small.append(entry_of(1, 1, HASH, BONDS))
    assert freeze(small.entries(), small.state).bonds is None


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([BONDS[1]], "the chain 0 and 0"),
        ([BONDS[0]._replace(staked_base=4), BONDS[1]], "5 staked and 2 unbonding, the chain 4 and 2"),
        ([BONDS[0]._replace(unbonding_base=9), BONDS[1]], "the chain 5 and 9"),
    ],
)
def test_what_differs_from_the_chain_names_its_owner(told: list[Bond], says: str) -> None:
    snapshot = snapshot_of(msgspec.json.decode(entry_of(2, 50, HASH, BONDS).body, type=BondBody))
    compare(snapshot, BONDS)
    with pytest.raises(CheckFailed, match=says) as refused:
        compare(snapshot, told)
    assert OWNER.lower() in str(refused.value)
    with pytest.raises(CheckFailed, match="own bond"):
        compare(snapshot, BONDS[:1])
