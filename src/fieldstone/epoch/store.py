"""Sealed epochs on disk: `epoch=N/` with Parquet files and, written last, `manifest.json`.

A folder without a manifest does not exist. Files are written under a temporary name, synced and renamed. Everything
that the next epoch starts from is in the folder too, so an epoch can be replayed from its predecessor's folder alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from fieldstone.epoch.bonds import Snapshot
from fieldstone.epoch.compute import EpochResult
from fieldstone.epoch.state import EpochState, genesis
from fieldstone.epoch.tables import digest
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.identity.registry import Registry
from fieldstone.journal import Entry
from fieldstone.journal.manifest import FileInfo, Manifest, file_info, read_manifest, write_manifest
from fieldstone.journal.seal import unseal
from fieldstone.policy import Policy


class BondMark(msgspec.Struct, frozen=True):
    """Of which block the table `state-bonds` is, and for which epoch it was taken."""

    epoch: int
    block: int
    block_hash: str


class StateScalars(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of an EpochState that is no table. Amounts in base units as decimal texts."""

    epoch: int
    next_start_ms: int
    last_position: int
    policy: dict[str, Any]
    price_micro_usd: int
    smoothed_revenue_micro_usd: int
    pools: dict[str, str]
    bonds: BondMark | None = None


class SealedEpoch:
    """One sealed epoch's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)

    def check_files(self) -> None:
        """Recompute every file's SHA-256. Raises CheckFailed naming the file that differs."""
        for name, info in self.manifest.files.items():
            path = self.folder / name
            if not path.exists():
                raise CheckFailed(f"epoch {self.manifest.epoch}: {name} is missing")
            found = file_info(path, info.rows)
            if found.sha256 != info.sha256:
                raise CheckFailed(f"epoch {self.manifest.epoch}: {name} was changed after sealing (SHA-256 differs)")

    def entries(self) -> Iterator[Entry]:
        """Return the journal entries of the epoch in order of position."""
        return unseal(self.folder)

    def table(self, name: str) -> pl.DataFrame:
        """Return one of the epoch's tables (`verdicts`, `statements`, `leaves` …). Raises UsageError if unknown."""
        if f"{name}.parquet" not in self.manifest.files:
            raise UsageError(
                f"epoch {self.manifest.epoch} has no table {name!r}; it has {', '.join(self.table_names())}"
            )
        return pl.read_parquet(self.folder / f"{name}.parquet")

    def table_names(self) -> list[str]:
        """Return the names of the epoch's tables."""
        return sorted(name.removesuffix(".parquet") for name in self.manifest.files if name.endswith(".parquet"))

    def leaves(self) -> dict[str, int]:
        """Return address → cumulative base units, as committed by the root."""
        table = self.table("leaves")
        return {address: int(amount) for address, amount in table.iter_rows()}

    def state_after(self) -> EpochState:
        """Return the state with which the next epoch starts."""
        scalars = msgspec.json.decode((self.folder / "state.json").read_bytes(), type=StateScalars)
        seq = self.table("state-seq")
        carry: dict[str, dict[str, pl.DataFrame]] = {}
        for name in self.table_names():
            if name.startswith("carry-"):
                _, service, table = name.split("-", 2)
                carry.setdefault(service, {})[table] = self.table(name)
        return EpochState(
            epoch=scalars.epoch,
            next_start_ms=scalars.next_start_ms,
            last_position=scalars.last_position,
            policy=msgspec.convert(scalars.policy, Policy),
            registry=Registry.from_table(self.table("state-registry")),
            price_micro_usd=scalars.price_micro_usd,
            smoothed_revenue_micro_usd=scalars.smoothed_revenue_micro_usd,
            pools={name: int(amount) for name, amount in scalars.pools.items()},
            balances={address: int(amount) for address, amount in self.table("state-balances").iter_rows()},
            last_seq=dict(seq.iter_rows()),
            owed_revenue=self.table("state-owed"),
            **({"funds": self.table("state-funds")} if "state-funds" in self.table_names() else {}),
            carry=carry,
            bonds=self._bonds(scalars.bonds),
        )

    def _bonds(self, mark: BondMark | None) -> Snapshot | None:
        if mark is None:
            return None
        return Snapshot(mark.epoch, mark.block, mark.block_hash, self.table("state-bonds"))


class EpochStore:
    """All sealed epochs under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._states: dict[int, EpochState] = {}
        self._sealed: dict[int, SealedEpoch] = {}

    def epochs(self) -> list[int]:
        """Return the numbers of the sealed epochs, ascending."""
        names = (path.parent.name for path in self.folder.glob("epoch=*/manifest.json"))
        return sorted(int(name.removeprefix("epoch=")) for name in names)

    @property
    def latest(self) -> int:
        """The newest sealed epoch, 0 when there is none."""
        return max(self.epochs(), default=0)

    def sealed(self, epoch: int) -> SealedEpoch:
        """Return a sealed epoch. Raises UsageError when there is none of that number."""
        if epoch not in self._sealed:
            if epoch not in self.epochs():
                raise UsageError(f"epoch {epoch} is not sealed; the latest is {self.latest}")
            self._sealed[epoch] = SealedEpoch(self.path(epoch))
        return self._sealed[epoch]

    def path(self, epoch: int) -> Path:
        """Return the folder of an epoch, sealed or not."""
        return self.folder / f"epoch={epoch}"

    def state(self, epoch: int) -> EpochState:
        """Return the state after an epoch; after epoch 0, the state that epoch 1 started from."""
        if epoch not in self._states:
            if epoch == 0:
                first = next(iter(self.sealed(1).entries()))
                self._states[0] = genesis(Policy.from_json(first.body), first.received_ms)
            else:
                self._states[epoch] = self.sealed(epoch).state_after()
        return self._states[epoch]

    def summary(self, epoch: int) -> dict[str, Any]:
        """Return an epoch's line in a list."""
        manifest = self.sealed(epoch).manifest
        names = ("epoch", "start_ms", "end_ms", "root", "data_hash", "total_base", "minted_base", "counts")
        return {name: getattr(manifest, name) for name in names}

    def statements(self, epoch: int, device: str = "") -> list[dict[str, Any]]:
        """Return the statements of an epoch (of one device) with amounts as decimal texts."""
        table = self.sealed(epoch).table("statements")
        if device:
            table = table.filter(pl.col("device") == device)
        amounts = [name for name in table.columns if name.endswith("_base")]
        return table.with_columns(pl.col(amounts).cast(pl.String)).to_dicts()

    def write(
        self,
        result: EpochResult,
        seal_journal: Callable[[Path], dict[str, FileInfo]],
        *,
        block_number: int,
        block_hash: bytes,
    ) -> SealedEpoch:
        """Seal an epoch: the journal's files first (by `seal_journal`), then the tables, the manifest last."""
        folder = self.path(result.frozen.epoch)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files = dict(seal_journal(folder))
        digests = {}
        for name, table in result_tables(result).items():
            files[f"{name}.parquet"] = _write_table(folder / f"{name}.parquet", table)
            digests[name] = digest(table)
        files["state.json"] = _write_state(folder / "state.json", result.state)
        frozen = result.frozen
        previous = self.path(frozen.epoch - 1) / "manifest.json"
        manifest = Manifest(
            network_id=frozen.policy.network_id,
            epoch=frozen.epoch,
            start_ms=frozen.start_ms,
            end_ms=frozen.end_ms,
            first_position=frozen.first_position,
            last_position=frozen.last_position,
            previous_sha256=file_info(previous, 0).sha256 if frozen.epoch > 1 else "",
            policy_hash=frozen.policy.hash,
            rule_versions={name: setting.rule_version for name, setting in sorted(frozen.policy.services.items())},
            block_number=block_number,
            block_hash=block_hash.hex(),
            counts=dict(frozen.counts),
            root=result.root.hex(),
            data_hash=result.data_hash.hex(),
            total_base=str(result.total_base),
            minted_base=str(result.allocation.minted_base),
            digests=digests,
            files=files,
        )
        write_manifest(folder, manifest)
        self._states[frozen.epoch] = result.state
        return self.sealed(frozen.epoch)

    def adopt(self, sealed: SealedEpoch, result: EpochResult) -> None:
        """Keep an epoch that was fetched from elsewhere, with *our* result of it."""

        def copy_journal(folder: Path) -> dict[str, FileInfo]:
            copied = {}
            for name, info in sealed.manifest.files.items():
                if name.startswith("journal-"):
                    shutil.copy(sealed.folder / name, folder / name)
                    copied[name] = info
            return copied

        manifest = sealed.manifest
        self.write(
            result, copy_journal, block_number=manifest.block_number, block_hash=bytes.fromhex(manifest.block_hash)
        )


def result_tables(result: EpochResult) -> Mapping[str, pl.DataFrame]:
    """Return every table of a sealed epoch by name."""
    tables = {
        "verdicts": result.verdicts,
        "statements": result.allocation.statements,
        "leaves": _amounts(result.leaves, "address"),
        "state-registry": result.state.registry.to_table(),
        "state-owed": result.state.owed_revenue,
        "state-balances": _amounts(result.state.balances, "address"),
        "state-seq": pl.DataFrame(
            {
                "device": sorted(result.state.last_seq),
                "seq": [result.state.last_seq[d] for d in sorted(result.state.last_seq)],
            },
            schema={"device": pl.String(), "seq": pl.Int64()},
        ),
    }
    if result.state.funds.height:  # most networks sell nothing that is paid once
        tables["state-funds"] = result.state.funds
    if result.state.bonds is not None:  # …or asks for bonds
        tables["state-bonds"] = result.state.bonds.table
    for service, kinds in result.frozen.evidence.items():
        tables.update({f"evidence-{service}-{kind}": table for kind, table in kinds.items()})
    for service, kinds in result.sellable.items():
        tables.update({f"sellable-{service}-{kind}": table for kind, table in kinds.items()})
    tables.update({f"usage-{service}": table for service, table in result.usage.items()})
    for service, carried in result.state.carry.items():
        tables.update({f"carry-{service}-{name}": table for name, table in carried.items()})
    return tables


def _amounts(amounts: Mapping[str, int], key: str) -> pl.DataFrame:
    ordered = sorted(amounts.items())
    return pl.DataFrame(
        {key: [k for k, _ in ordered], "amount_base": [str(v) for _, v in ordered]},
        schema={key: pl.String(), "amount_base": pl.String()},
    )


def _write_table(path: Path, table: pl.DataFrame) -> FileInfo:
    partial = path.with_suffix(".partial")
    table.write_parquet(partial, compression="zstd")
    _settle_file(partial, path)
    return file_info(path, table.height)


def _write_state(path: Path, state: EpochState) -> FileInfo:
    scalars = StateScalars(
        epoch=state.epoch,
        next_start_ms=state.next_start_ms,
        last_position=state.last_position,
        policy=msgspec.to_builtins(state.policy),
        price_micro_usd=state.price_micro_usd,
        smoothed_revenue_micro_usd=state.smoothed_revenue_micro_usd,
        pools={name: str(amount) for name, amount in sorted(state.pools.items())},
        bonds=None if state.bonds is None else BondMark(state.bonds.epoch, state.bonds.block, state.bonds.block_hash),
    )
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(scalars, order="sorted"))
    _settle_file(partial, path)
    return file_info(path, 1)


def _settle_file(partial: Path, path: Path) -> None:
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.rename(path)
