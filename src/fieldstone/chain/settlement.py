"""What Fieldstone does on a chain: post roots, pay claims, dispute, burn for credits, bond.

Every transaction goes through the outbox under a key that names its intent, so each call may be repeated after any
kind of stop: it finishes what was begun and never does it twice. The port decides which chain it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fieldstone.chain.abi import explain
from fieldstone.chain.deploy import Addresses
from fieldstone.chain.digest import join_signatures
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.outbox_rows import Row
from fieldstone.chain.port import Call, ChainPort, Receipt, Reverted, Signer
from fieldstone.chain.view import ContractsView, Status
from fieldstone.errors import UsageError

MAX_CLAIMS = 64  # accounts in one transaction (Rewards.MAX_BATCH)


@dataclass(frozen=True, slots=True)
class Claim:
    """One account's leaf under a root: lifetime cumulative amount in base units and its proof."""

    account: str
    cumulative_base: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Payment:
    """What a claim paid: base units to `recipient` on behalf of `account`."""

    account: str
    recipient: str
    amount_base: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A transaction that is mined. `tx_hash` is None when the chain already showed the intended state."""

    tx_hash: bytes | None
    block_number: int
    gas_used: int


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What one claim transaction paid; no payments when nothing was left to claim."""

    tx_hash: bytes | None
    payments: tuple[Payment, ...]
    gas_used: int

    @property
    def paid_base(self) -> int:
        """Sum of the payments in base units."""
        return sum(payment.amount_base for payment in self.payments)


class Settlement(ContractsView):
    """A network's contracts on one chain. Without a `signer` it only reads."""

    def __init__(
        self,
        port: ChainPort,
        addresses: Addresses,
        *,
        outbox: Outbox | None = None,
        signer: Signer | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        """`timeout_s`: how long a call waits to be mined before it raises Retryable. Raises as `ContractsView` does."""
        super().__init__(port, addresses)
        self._outbox = outbox
        self._signer = signer
        self._timeout_s = timeout_s

    # ---- roots -------------------------------------------------------------------------------------------------------

    def post_root(
        self,
        epoch: int,
        attempt: int,
        root: bytes,
        data_hash: bytes,
        total_base: int,
        signatures: Mapping[str, bytes],
    ) -> Posted:
        """Post an epoch's record with a quorum's signatures (signer → 65 bytes); return when it is mined.

        Repeated with other signatures of the same record it is the same intent. Raises Reverted with the contract's
        reason ("not the next epoch", "too few signatures", "epoch cap"…), UsageError when `attempt` is not the one due.
        """
        record = self.record(epoch)
        already = record.status in (Status.PENDING, Status.ACTIVE, Status.SUPERSEDED, Status.DISPUTED)
        if already and record.attempt == attempt and (record.root, record.total_base) == (root, total_base):
            return Posted(None, self.port.head().number, 0)
        due = self.attempt()
        if attempt != due:
            raise UsageError(
                f"epoch {epoch} was prepared for attempt {attempt}, but the contract is at attempt {due}: a record was "
                "cancelled since; have the epoch signed again"
            )
        call = self.rewards.call("post", epoch, root, data_hash, total_base, join_signatures(signatures))
        intent = hashlib.sha256(b"%d|%d|" % (epoch, attempt) + root + data_hash + b"%d" % total_base).digest()
        return self._posted(f"root:{self._network}:{epoch}:{attempt}", call, "posting the root", intent)

    def rotate_signers(self, signers: Sequence[str], threshold: int, signatures: Mapping[str, bytes]) -> Posted:
        """Install other signers with a quorum of the present ones; signatures made for the old set die with it."""
        ordered = sorted(signers, key=lambda address: int(address, 16))
        call = self.rewards.call("rotate_signers", ordered, threshold, join_signatures(signatures))
        purpose = f"rotate:{self._network}:{self.signer_set_version() + 1}"
        return self._posted(purpose, call, "changing the signers", hashlib.sha256(call.data).digest())

    def veto(self, epoch: int, root: bytes) -> Posted:
        """Cancel a pending record as guardian."""
        call = self.rewards.call("veto", epoch, root)
        return self._posted(f"veto:{self._network}:{epoch}:{root.hex()[:16]}", call, "the veto")

    # ---- claims ------------------------------------------------------------------------------------------------------

    def claim(self, claims: Sequence[Claim], root: bytes) -> ClaimResult:
        """Pay several accounts (up to 64) in one transaction under the active `root`; anyone may send it.

        Accounts with nothing due are left out; when none is left, nothing is sent. Raises Reverted ("root was
        updated", "bad proof", "window cap"…), UsageError on no, too many or repeated accounts.
        """
        wanted = self.due(claims)
        if not wanted:
            return ClaimResult(None, (), 0)
        state = "|".join(f"{claim.account}:{before}:{claim.cumulative_base}" for claim, before in wanted)
        purpose = f"claim:{self._network}:{root.hex()[:16]}:{hashlib.sha256(state.encode()).hexdigest()[:24]}"
        if len(wanted) == 1:
            claim = wanted[0][0]
            call = self.rewards.call("claim", claim.account, claim.cumulative_base, list(claim.proof), root)
        else:
            call = self.rewards.call(
                "claim_many",
                [claim.account for claim, _ in wanted],
                [claim.cumulative_base for claim, _ in wanted],
                [list(claim.proof) for claim, _ in wanted],
                root,
            )
        row, receipt = self._transact(purpose, call, "the claim")
        payments = tuple(
            Payment(event.fields["account"], event.fields["recipient"], event.fields["amount"])
            for event in self.rewards.decode(receipt.logs)
            if event.name == "Claimed"
        )
        return ClaimResult(row.tx_hash, payments, receipt.gas_used)

    def due(self, claims: Sequence[Claim]) -> list[tuple[Claim, int]]:
        """Return the claims that would pay something, each with what its account was paid before, by account."""
        if not 1 <= len(claims) <= MAX_CLAIMS:
            raise UsageError(f"one transaction claims for 1 to {MAX_CLAIMS} accounts, not {len(claims)}")
        ordered = sorted(claims, key=lambda claim: claim.account.lower())
        if len({claim.account.lower() for claim in claims}) != len(claims):
            raise UsageError("an account is named twice in one claim")
        before = [(claim, self.claimed(claim.account)) for claim in ordered]
        return [(claim, paid) for claim, paid in before if claim.cumulative_base > paid]

    # ---- disputes ----------------------------------------------------------------------------------------------------

    def dispute(self, epoch: int, root: bytes, reason: int, evidence_hash: bytes) -> int:
        """Freeze a pending record against the bond, which is approved first; return the dispute's number.

        `reason` is a number of the network's own list, `evidence_hash` the SHA-256 of what proves it.
        """
        purpose = f"dispute:{self._network}:{epoch}:{root.hex()[:16]}:{evidence_hash.hex()[:16]}"
        bond = int(self.rewards.read(self.port, "dispute_bond")) * 16  # the dearest of repeated disputes
        if not self._known(purpose):
            self._approve(self.addresses.rewards, bond, purpose)
        _, receipt = self._transact(
            purpose, self.rewards.call("open_dispute", epoch, root, reason, evidence_hash), "the dispute"
        )
        opened = [event for event in self.rewards.decode(receipt.logs) if event.name == "DisputeOpened"]
        return int(opened[0].fields["dispute"])

    def resolve(self, dispute: int, upheld: bool, signatures: Mapping[str, bytes]) -> Posted:
        """Decide a dispute with a quorum's signatures over `resolution_to_sign`."""
        call = self.rewards.call("resolve_dispute", dispute, upheld, join_signatures(signatures))
        intent = hashlib.sha256(f"{dispute}|{upheld}".encode()).digest()
        return self._posted(f"resolve:{self._network}:{dispute}", call, "deciding the dispute", intent)

    def expire(self, dispute: int) -> Posted:
        """Cancel the record of a dispute that nobody decided in time; the bond returns to the disputer."""
        return self._posted(
            f"expire:{self._network}:{dispute}",
            self.rewards.call("expire_dispute", dispute),
            "letting the dispute expire",
        )

    # ---- credits and bonds -------------------------------------------------------------------------------------------

    def burn_for_credits(self, tokens_base: int, min_credits_micro_usd: int, account: str, reference: bytes) -> int:
        """Burn tokens for credits of `account` at the current price; return the micro-USD credited.

        `reference` (32 bytes, unique) names the purchase: repeated with the same one it happens once.
        """
        purpose = f"burn:{self._network}:{reference.hex()}"
        if not self._known(purpose):
            self._approve(self.addresses.credits, tokens_base, purpose)
        call = self.credits.call("burn_exact_in", tokens_base, min_credits_micro_usd, account, reference)
        _, receipt = self._transact(purpose, call, "burning for credits")
        burned = [event for event in self.credits.decode(receipt.logs) if event.name == "Burned"]
        return int(burned[0].fields["credits"])

    def bond(self, owner: str, key: bytes, amount_base: int, reference: str) -> Posted:
        """Bond tokens for a device key (32 bytes) or, with the zero key, for the operator; `reference` is unique."""
        purpose = f"bond:{self._network}:{reference}"
        if not self._known(purpose):
            self._approve(self.addresses.stake, amount_base, purpose)
        return self._posted(purpose, self.stake.call("stake", owner, key, amount_base), "bonding")

    def unbond(self, key: bytes, amount_base: int, reference: str) -> Posted:
        """Ask for bonded tokens back; they can be withdrawn after the unbonding delay."""
        return self._posted(
            f"unbond:{self._network}:{reference}", self.stake.call("request_unbond", key, amount_base), "unbonding"
        )

    def withdraw(self, key: bytes, reference: str) -> Posted:
        """Take unbonded tokens out after the delay."""
        return self._posted(
            f"withdraw:{self._network}:{reference}", self.stake.call("withdraw", key), "withdrawing a bond"
        )

    def open_case(self, owner: str, key: bytes, evidence_hash: bytes) -> int:
        """Accuse the holder of a bond, against the case bond, which is approved first; return the case's number."""
        purpose = f"case:{self._network}:{owner.lower()}:{key.hex()[:16]}:{evidence_hash.hex()[:16]}"
        if not self._known(purpose):
            self._approve(self.addresses.stake, int(self.stake.read(self.port, "case_bond")), purpose)
        _, receipt = self._transact(purpose, self.stake.call("open_case", owner, key, evidence_hash), "the case")
        opened = [event for event in self.stake.decode(receipt.logs) if event.name == "CaseOpened"]
        return int(opened[0].fields["case"])

    def resolve_case(self, number: int, fraction_ppm: int, upheld: bool, signatures: Mapping[str, bytes]) -> Posted:
        """Decide a case with a quorum's signatures over `slash_to_sign`; upheld, `fraction_ppm` of the bond is slashed."""
        call = self.stake.call("resolve_case", number, fraction_ppm, upheld, join_signatures(signatures))
        intent = hashlib.sha256(f"{number}|{fraction_ppm}|{upheld}".encode()).digest()
        return self._posted(f"resolve-case:{self._network}:{number}", call, "deciding the case", intent)

    def expire_case(self, number: int) -> Posted:
        """End a case that nobody decided in time: nothing is slashed, the accuser's bond returns."""
        call = self.stake.call("expire_case", number)
        return self._posted(f"expire-case:{self._network}:{number}", call, "letting the case expire")

    def post_price(
        self, average_micro_usd: int, confidence_micro_usd: int, time_s: int, signatures: Mapping[str, bytes]
    ) -> Posted:
        """Post the token's price for `burn_for_credits`; the price poster needs no signatures."""
        call = self.credits.call(
            "post_price", average_micro_usd, confidence_micro_usd, time_s, join_signatures(signatures)
        )
        intent = hashlib.sha256(f"{average_micro_usd}|{confidence_micro_usd}|{time_s}".encode()).digest()
        return self._posted(f"price:{self._network}:{time_s}", call, "posting the price", intent)

    def transfer(self, receiver: str, amount_base: int, reference: str) -> Posted:
        """Send tokens; `reference` is unique."""
        return self._posted(
            f"transfer:{self._network}:{reference}", self.token.call("transfer", receiver, amount_base), "the transfer"
        )

    # ---- sending -----------------------------------------------------------------------------------------------------

    @property
    def sender(self) -> str:
        """The address whose wallet sends. Raises UsageError without one."""
        return self._writer()[1].address

    def recover(self) -> list[Row]:
        """Resend and follow up what an earlier process left behind; call it once on every start."""
        outbox, signer = self._writer()
        return outbox.recover(self.port, signer.address)

    @property
    def _network(self) -> str:
        return self.addresses.network_id

    def _writer(self) -> tuple[Outbox, Signer]:
        if self._outbox is None or self._signer is None:
            raise UsageError("sending transactions needs a wallet: name one, or use a dry run")
        return self._outbox, self._signer

    def _known(self, purpose: str) -> bool:
        return self._writer()[0].find(purpose) is not None

    def _approve(self, spender: str, amount_base: int, purpose: str) -> None:
        _, signer = self._writer()
        if int(self.token.read(self.port, "allowance", signer.address, spender)) < amount_base:
            self._transact(f"approve:{purpose}", self.token.call("approve", spender, amount_base), "the approval")

    def _posted(self, purpose: str, call: Call, what: str, intent: bytes | None = None) -> Posted:
        row, receipt = self._transact(purpose, call, what, intent)
        return Posted(row.tx_hash, receipt.block_number, receipt.gas_used)

    def _transact(self, purpose: str, call: Call, what: str, intent: bytes | None = None) -> tuple[Row, Receipt]:
        outbox, signer = self._writer()
        try:
            outbox.submit(self.port, signer, purpose, call, intent=intent)
        except Reverted as error:
            raise explain(error, what) from error
        try:
            return outbox.wait(self.port, purpose, timeout_s=self._timeout_s, poll_s=0.2)
        except Reverted as error:
            try:
                self.port.call(call, signer.address)  # it was mined and refused: run it again to learn the reason
            except Reverted as reason:
                raise explain(reason, what) from error
            raise
