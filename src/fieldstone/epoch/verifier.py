"""An independent verifier: fetch sealed epochs over HTTP, believe nothing, recompute, and co-sign or refuse.

It keeps its own sealed copy of every epoch it agreed with, so what it compares an epoch with is its *own* past, not
the node's. The contract address and chain id are pinned at the first epoch: a node cannot move it to another contract.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from fieldstone.chain.bonds import bonds_at
from fieldstone.chain.digest import root_digest
from fieldstone.chain.view import ContractsView
from fieldstone.epoch.bonds import asks_for_bonds, block_for, compare
from fieldstone.epoch.charges import check_charges
from fieldstone.epoch.compute import EpochResult, compute, epoch_randomness
from fieldstone.epoch.diff import Difference, diff_statements
from fieldstone.epoch.fetch import answered, fetch_epoch, get
from fieldstone.epoch.freeze import Frozen, freeze
from fieldstone.epoch.makegood import Owed, check_correction, owed, recompute
from fieldstone.epoch.replay import freeze_sealed
from fieldstone.epoch.runner import Runner
from fieldstone.epoch.state import EpochState, genesis
from fieldstone.epoch.store import EpochStore, SealedEpoch, result_tables
from fieldstone.epoch.tables import digest
from fieldstone.errors import CheckFailed, FieldstoneError, Retryable
from fieldstone.identity.wallet import Wallet
from fieldstone.journal import EntryKind
from fieldstone.policy import Policy

ZERO_ROOT = b"\0" * 32


@dataclass(frozen=True)
class Opinion:
    """What a verifier thinks of an epoch. `agrees` without differences, or the reason and the devices that differ.
    `unchecked`: what it took on the node's word, in words."""

    epoch: int
    agrees: bool
    root: str
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    unchecked: tuple[str, ...] = ()


class Verifier:
    """Follows one node. `folder` keeps the verifier's own copy; `chain`: the network's contracts, read by a way of its own
    (None: what the node says of the chain is not checked, and every opinion says so)."""

    def __init__(
        self,
        node_url: str,
        wallet: Wallet,
        folder: Path,
        *,
        runner: Runner | None = None,
        client: httpx.Client | None = None,
        chain: ContractsView | None = None,
        report: Callable[[Opinion], None] = lambda opinion: None,
    ) -> None:
        self._client = client or httpx.Client(base_url=node_url, timeout=60.0)
        self.wallet = wallet
        self._folder = folder
        self._store = EpochStore(folder / "agreed")
        self._incoming = folder / "incoming"
        self._runner = runner
        self._chain = chain
        self._report = report
        self._pin_file = folder / "pinned.json"
        folder.mkdir(parents=True, exist_ok=True)

    def step(self) -> list[Opinion]:
        """Check every sealed epoch not yet agreed with, in order, and sign what still needs a signature.

        Stops at the first epoch it refuses: what is built on a wrong epoch is wrong too. Raises Retryable when the
        node does not answer.
        """
        opinions = []
        for number in self._get("/v1/epochs")["epochs"]:
            number = int(number["epoch"])
            if number <= self._store.latest:
                continue
            opinion = self._check(number)
            opinions.append(opinion)
            self._report(opinion)
            if not opinion.agrees:
                self._refuse(opinion)
                break
        self._sign_open()
        return opinions

    def _check(self, number: int) -> Opinion:
        """Download, recompute and compare one epoch."""
        sealed = fetch_epoch(self._client, number, self._incoming)
        root = sealed.manifest.root
        try:
            sealed.check_files()
            state = self._state_before(number, sealed)
            self._check_range(sealed, state)
            self._check_corrections(sealed)
            check_charges(sealed.entries(), self._used)
            frozen = freeze(sealed.entries(), state, check_signatures=True)
            unchecked = self._check_bonds(frozen, number)
            block_hash = bytes.fromhex(sealed.manifest.block_hash)
            randomness = epoch_randomness(frozen.policy.network_id, number, block_hash)
            result = compute(frozen, state, randomness, self._runner)
        except Retryable:
            raise  # the chain does not answer: that is nobody's fault
        except FieldstoneError as error:
            return Opinion(number, False, root, f"the sealed input does not stand: {error}")
        opinion = self._compare(sealed, result)
        if opinion.agrees:
            self._store.adopt(sealed, result)
        return replace(opinion, unchecked=unchecked)

    def _compare(self, sealed: SealedEpoch, result: EpochResult) -> Opinion:
        """Compare root, totals and the content of every table: a wrong verdict is wrong even where it costs nothing."""
        manifest = sealed.manifest
        recomputed = {name: digest(table) for name, table in result_tables(result).items()}
        wrong = sorted(
            n for n in recomputed.keys() | manifest.digests.keys() if recomputed.get(n) != manifest.digests.get(n)
        )
        mine = (result.root.hex(), result.data_hash.hex(), result.total_base)
        if not wrong and mine == (manifest.root, manifest.data_hash, int(manifest.total_base)):
            return Opinion(manifest.epoch, True, manifest.root)
        differences = tuple(diff_statements(sealed.table("statements"), result.allocation.statements))
        devices = {difference.device for difference in differences}
        reason = (
            f"{len(devices)} devices differ"
            if devices
            else f"the statements agree, but {', '.join(wrong) or 'the root'} differ"
        )
        return Opinion(manifest.epoch, False, manifest.root, reason, differences)

    def _check_bonds(self, frozen: Frozen, number: int) -> tuple[str, ...]:
        """Read the bonds of the epoch's block again. Raises CheckFailed naming the owner whose bond differs, Retryable.

        Returns what could not be checked: everything without a chain; and that an epoch has no snapshot of its own, since
        nobody can tell afterwards whether the node's chain did not answer or the node did not ask.
        """
        if not asks_for_bonds(frozen.policy) or number == 1:
            return ()
        if frozen.bonds is None:
            return (f"epoch {number} has no snapshot of the bonds, and there was none before: no bond counts",)
        if frozen.bonds.epoch != number:
            return (f"epoch {number} has no snapshot of the bonds: those of epoch {frozen.bonds.epoch} stay",)
        if self._chain is None:
            return (f"the bonds of block {frozen.bonds.block} were not compared with the chain: no access to it",)
        boundary = self._store.sealed(number - 1).manifest.block_number
        if frozen.bonds.block != block_for(boundary, frozen.policy):
            raise CheckFailed(f"the bonds are of block {frozen.bonds.block}, not of the one after epoch {number - 1}")
        compare(frozen.bonds, bonds_at(self._chain, frozen.bonds.block, bytes.fromhex(frozen.bonds.block_hash)))
        return ()

    def _check_range(self, sealed: SealedEpoch, state: EpochState) -> None:
        manifest = sealed.manifest
        if manifest.start_ms != state.next_start_ms or manifest.end_ms != state.next_end_ms:
            raise CheckFailed(f"epoch {manifest.epoch} does not follow the epoch before it in time")
        if manifest.policy_hash != state.policy.hash:
            raise CheckFailed(f"epoch {manifest.epoch} names policy {manifest.policy_hash[:16]}…, in force is another")

    def _check_corrections(self, sealed: SealedEpoch) -> None:
        """A correction pays outside the usual rules, so it is recomputed from the epoch it corrects."""
        for entry in sealed.entries():
            if entry.kind is EntryKind.CORRECTION:
                check_correction(entry.body, self._owed)

    def _owed(self, epoch: int, corrected: Mapping[str, Mapping[str, Any]]) -> list[Owed]:
        frozen, state, randomness = freeze_sealed(self._store, epoch, check_signatures=False)
        original = compute(frozen, state, randomness, self._runner)
        return owed(original, recompute(frozen, state, randomness, corrected, self._runner))

    def _used(self, epoch: int, service: str) -> pl.DataFrame | None:
        if not 0 < epoch <= self._store.latest:
            return None
        mine, name = self._store.sealed(epoch), f"usage-{service}"
        return mine.table(name) if name in mine.table_names() else None

    def _state_before(self, number: int, sealed: SealedEpoch) -> EpochState:
        if number > 1:
            return self._store.state(number - 1)
        first = next(iter(sealed.entries()), None)
        if first is None or first.kind != "policy":
            raise CheckFailed("the journal does not begin with a policy")
        return genesis(Policy.from_json(first.body), first.received_ms)

    def _sign_open(self) -> None:
        """Co-sign each agreed epoch whose root is not final on chain and which lacks our signature."""
        for open_epoch in self._get("/v1/settlement/open")["open"]:
            number = int(open_epoch["epoch"])
            if number > self._store.latest or self.wallet.address in open_epoch["signed_by"]:
                continue
            self._pin(open_epoch)
            mine = self._store.sealed(number).manifest
            previous = bytes.fromhex(self._store.sealed(number - 1).manifest.root) if number > 1 else ZERO_ROOT
            if bytes.fromhex(open_epoch["previous_root"]) != previous:
                raise CheckFailed(f"epoch {number} would be posted on another previous root than the one I agreed with")
            to_sign = root_digest(
                chain_id=int(open_epoch["chain_id"]),
                contract=str(open_epoch["contract"]),
                epoch=number,
                attempt=int(open_epoch["attempt"]),
                previous_root=previous,
                root=bytes.fromhex(mine.root),
                data_hash=bytes.fromhex(mine.data_hash),
                total=int(mine.total_base),
                signer_set_version=int(open_epoch["signer_set_version"]),
            )
            signature = self.wallet.sign_digest(to_sign).hex()
            self._post(
                f"/v1/epochs/{number}/signatures",
                {"verifier": self.wallet.address, "attempt": int(open_epoch["attempt"]), "signature": signature},
            )

    def _pin(self, open_epoch: dict[str, Any]) -> None:
        seen = {"chain_id": int(open_epoch["chain_id"]), "contract": str(open_epoch["contract"])}
        if not self._pin_file.exists():
            self._pin_file.write_text(json.dumps(seen))
        pinned = json.loads(self._pin_file.read_text())
        if pinned != seen:
            raise CheckFailed(f"the node now names {seen}; this verifier signs for {pinned} only")

    def _refuse(self, opinion: Opinion) -> None:
        devices = sorted({difference.device for difference in opinion.differences})
        text = json.dumps(
            {"epoch": opinion.epoch, "root": opinion.root, "reason": opinion.reason, "devices": devices[:100]},
            sort_keys=True,
        )
        signature = self.wallet.sign_text(text).hex()
        self._post(
            f"/v1/epochs/{opinion.epoch}/refusals",
            {"verifier": self.wallet.address, "text": text, "signature": signature},
        )

    def _get(self, path: str) -> Any:
        return get(self._client, path).json()

    def _post(self, path: str, body: dict[str, Any]) -> None:
        answered(lambda: self._client.post(path, json=body))
