"""Replay a sealed epoch: recompute it from its journal entries and its predecessor's state, and compare everything."""

from __future__ import annotations

from dataclasses import dataclass

from fieldstone.epoch.compute import EpochResult, compute, epoch_randomness
from fieldstone.epoch.diff import Difference, diff_statements
from fieldstone.epoch.freeze import Frozen, freeze
from fieldstone.epoch.runner import Runner
from fieldstone.epoch.state import EpochState
from fieldstone.epoch.store import EpochStore, result_tables
from fieldstone.epoch.tables import digest


@dataclass(frozen=True)
class Replay:
    """A replay's outcome. `tables`: name → whether the recomputed content equals the sealed one."""

    epoch: int
    sealed_root: str
    replayed_root: str
    tables: dict[str, bool]
    differences: list[Difference]
    result: EpochResult

    @property
    def agrees(self) -> bool:
        """Whether root and every table came out the same."""
        return self.sealed_root == self.replayed_root and all(self.tables.values())


def freeze_sealed(store: EpochStore, epoch: int, *, check_signatures: bool = True) -> tuple[Frozen, EpochState, bytes]:
    """Return the frozen input of a sealed epoch, the state before it and its randomness."""
    sealed = store.sealed(epoch)
    state = store.state(epoch - 1)
    frozen = freeze(sealed.entries(), state, check_signatures=check_signatures)
    block_hash = bytes.fromhex(sealed.manifest.block_hash)
    return frozen, state, epoch_randomness(frozen.policy.network_id, epoch, block_hash)


def replay(store: EpochStore, epoch: int, *, runner: Runner | None = None, check_signatures: bool = True) -> Replay:
    """Recompute a sealed epoch. Raises CheckFailed when its files were changed or its input does not stand."""
    sealed = store.sealed(epoch)
    sealed.check_files()
    frozen, state, randomness = freeze_sealed(store, epoch, check_signatures=check_signatures)
    result = compute(frozen, state, randomness, runner)
    stated = sealed.manifest.digests
    recomputed = {name: digest(table) for name, table in result_tables(result).items()}
    tables = {name: stated.get(name) == recomputed.get(name) for name in sorted(stated.keys() | recomputed.keys())}
    return Replay(
        epoch=epoch,
        sealed_root=sealed.manifest.root,
        replayed_root=result.root.hex(),
        tables=tables,
        differences=diff_statements(sealed.table("statements"), result.allocation.statements),
        result=result,
    )
