"""The bonds that an epoch counts: a journal entry with all bonds on chain at one named block, written as the epoch begins.

    block   the one that ended the epoch before (its `epoch` entry names it), less `settlement.bond_depth_blocks`
So nobody chooses the moment: a node cannot look for a block at which a friend's tokens were staked, and who stakes for one
block only has to leave the tokens there for the whole unbonding delay. An entry for another block or another epoch, and any
second one, is counted and changes nothing. Without an entry (the chain's node did not answer for a whole epoch) the
last snapshot stays; an epoch is never held up by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import polars as pl

from fieldstone.chain.bonds import Bond
from fieldstone.errors import CheckFailed
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.policy import Policy
from fieldstone.services.bonding import Staked

BOND_SCHEMA: dict[str, Any] = {
    "owner": pl.String(),
    "key": pl.String(),  # 64 hex digits: SHA-256 of the device's id, zeros for the operator's own bond
    "staked_base": pl.String(),
    "unbonding_base": pl.String(),
}

_Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,40}$")]
_Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class BondRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bond. Amounts in base units as decimal texts."""

    owner: Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}$")]
    key: _Hash
    staked_base: _Amount
    unbonding_base: _Amount


class BondBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `bond` entry: the bonds that epoch `epoch` counts, as they stood at the end of a block; by owner and key."""

    epoch: int
    block: int
    block_hash: _Hash
    bonds: list[BondRow]


@dataclass(frozen=True)
class Snapshot:
    """Bonds at a block, taken for `epoch`. `table`: BOND_SCHEMA."""

    epoch: int
    block: int
    block_hash: str
    table: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BOND_SCHEMA))

    def staked(self) -> Staked:
        """Return what is staked. What is being unbonded covers nothing: it is on its way out."""
        return self._column("staked_base")

    def slashable(self) -> Staked:
        """Return what a case can take: staked and unbonding."""
        staked, unbonding = self._column("staked_base"), self._column("unbonding_base")
        return {name: amount + unbonding[name] for name, amount in staked.items()}

    def _column(self, name: str) -> dict[tuple[str, str], int]:
        rows = self.table.select("owner", "key", name).iter_rows()
        return {(owner.lower(), key): int(amount) for owner, key, amount in rows}


def asks_for_bonds(policy: Policy) -> bool:
    """Return whether any service of a policy asks for a bond."""
    return any(service.bond_per_unit_base for service in policy.services.values())


def block_for(boundary_block: int, policy: Policy) -> int:
    """Return the block whose bonds count after an epoch that ended with `boundary_block`."""
    return max(0, boundary_block - policy.settlement.bond_depth_blocks)


def entry_of(epoch: int, block: int, block_hash: bytes, bonds: Iterable[Bond]) -> NewEntry:
    """Return the journal entry of a snapshot."""
    rows = [BondRow(bond.owner, bond.key, str(bond.staked_base), str(bond.unbonding_base)) for bond in bonds]
    body = BondBody(epoch, block, block_hash.hex(), rows)
    return NewEntry(EntryKind.BOND, "", msgspec.json.encode(body, order="sorted"))


def read_body(body: bytes) -> BondBody:
    """Read a `bond` entry. Raises msgspec.DecodeError."""
    return msgspec.json.decode(body, type=BondBody)


def snapshot_of(body: BondBody) -> Snapshot:
    """Return the snapshot in an entry. A bond that occurs twice counts once, with the first amounts."""
    rows: dict[tuple[str, str], tuple[str, ...]] = {}
    for bond in body.bonds:
        name = (bond.owner.lower(), bond.key)
        rows.setdefault(name, (bond.owner, bond.key, bond.staked_base, bond.unbonding_base))
    table = pl.DataFrame([rows[name] for name in sorted(rows)], schema=BOND_SCHEMA, orient="row")
    return Snapshot(body.epoch, body.block, body.block_hash, table)


def compare(snapshot: Snapshot, bonds: Iterable[Bond]) -> None:
    """Raise CheckFailed, naming the owner, unless a snapshot holds exactly the bonds that the chain tells."""
    told = {(bond.owner.lower(), bond.key): (bond.staked_base, bond.unbonding_base) for bond in bonds}
    rows = snapshot.table.iter_rows()
    written = {(owner.lower(), key): (int(staked), int(unbonding)) for owner, key, staked, unbonding in rows}
    for name in sorted(told.keys() | written.keys()):
        mine, theirs = told.get(name, (0, 0)), written.get(name, (0, 0))
        if mine != theirs:
            whose = "own bond" if not name[1].strip("0") else f"bond for device key {name[1][:16]}…"
            raise CheckFailed(
                f"the bonds of block {snapshot.block} are not the chain's: of {name[0]} ({whose}) the journal says "
                f"{theirs[0]} staked and {theirs[1]} unbonding, the chain {mine[0]} and {mine[1]}"
            )
