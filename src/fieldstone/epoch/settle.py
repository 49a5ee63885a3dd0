"""Settle: bring the roots of sealed epochs on chain, once each, when enough verifiers have signed.

Epochs are posted in order. After a cancellation on chain (veto or dispute) the contract asks for a new attempt
number, for which fresh signatures are needed. The outbox makes a post happen once even if the process dies around it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fieldstone.chain.digest import root_digest
from fieldstone.chain.settlement import Settlement
from fieldstone.chain.view import NO_ROOT
from fieldstone.epoch.signatures import SignatureBook
from fieldstone.epoch.store import EpochStore


@dataclass(frozen=True, slots=True)
class OpenEpoch:
    """A sealed epoch whose root is not on chain: all that a verifier must bind its signature to."""

    epoch: int
    chain_id: int
    contract: str
    attempt: int
    previous_root: str
    signer_set_version: int
    root: str
    signed_by: list[str]
    refused_by: list[str]
    threshold: int


class Desk:
    """Where sealed epochs, co-signatures and the chain meet."""

    def __init__(self, store: EpochStore, book: SignatureBook, chain: Settlement) -> None:
        self.store = store
        self.book = book
        self.chain = chain

    def quorum(self) -> tuple[tuple[str, ...], int]:
        """Return who may sign and how many must. The contract decides this, whatever the policy will say next."""
        return self.chain.signers()

    def attempt(self, epoch: int) -> int:
        """Return the attempt under which an epoch is on chain, or under which it has to be signed now."""
        if epoch <= self.chain.live_epoch():
            return self.chain.record(epoch).attempt
        return self.chain.attempt()

    def open_epochs(self) -> list[OpenEpoch]:
        """Return the sealed epochs that are not live on chain, oldest first."""
        live = self.chain.live_epoch()
        attempt, version = self.chain.attempt(), self.chain.signer_set_version()
        signers, threshold = self.quorum()
        return [
            self._open(number, attempt, version, set(signers), threshold)
            for number in range(live + 1, self.store.latest + 1)
        ]

    def _open(self, number: int, attempt: int, version: int, signers: set[str], threshold: int) -> OpenEpoch:
        return OpenEpoch(
            epoch=number,
            chain_id=self.chain.port.chain_id,
            contract=self.chain.addresses.rewards,
            attempt=attempt,
            previous_root=self._previous_root(number).hex(),
            signer_set_version=version,
            root=self.store.sealed(number).manifest.root,
            signed_by=[s.verifier for s in self.book.signatures(number, attempt) if s.verifier in signers],
            refused_by=[r.verifier for r in self.book.refusals(number)],
            threshold=threshold,
        )

    def digest(self, number: int, attempt: int) -> bytes:
        """Return the 32-byte EIP-712 digest that verifiers sign for an attempt at an epoch."""
        manifest = self.store.sealed(number).manifest
        return root_digest(
            chain_id=self.chain.port.chain_id,
            contract=self.chain.addresses.rewards,
            epoch=number,
            attempt=attempt,
            previous_root=self._previous_root(number),
            root=bytes.fromhex(manifest.root),
            data_hash=bytes.fromhex(manifest.data_hash),
            total=int(manifest.total_base),
            signer_set_version=self.chain.signer_set_version(),
        )

    def post_ready(self) -> list[int]:
        """Post every open epoch that has enough signatures, in order; return the epochs posted now."""
        posted = []
        for open_epoch in self.open_epochs():
            stored = self.book.signatures(open_epoch.epoch, open_epoch.attempt)
            signatures = [s for s in stored if s.verifier in open_epoch.signed_by]
            if len(signatures) < open_epoch.threshold:
                break
            manifest = self.store.sealed(open_epoch.epoch).manifest
            self.chain.post_root(
                open_epoch.epoch,
                open_epoch.attempt,
                bytes.fromhex(manifest.root),
                bytes.fromhex(manifest.data_hash),
                int(manifest.total_base),
                {s.verifier: s.signature for s in signatures},
            )
            posted.append(open_epoch.epoch)
        return posted

    def _previous_root(self, number: int) -> bytes:
        return bytes.fromhex(self.store.sealed(number - 1).manifest.root) if number > 1 else NO_ROOT
