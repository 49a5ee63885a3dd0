"""What a network's contracts say: records of epochs, claims, disputes, bonds, and the digests that verifiers sign.

Reading needs no wallet and leaves no trace; `fieldstone.chain.settlement` sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from fieldstone.chain.abi import Contract, Event
from fieldstone.chain.deploy import Addresses
from fieldstone.chain.digest import resolution_digest, root_digest, rotation_digest, slash_digest
from fieldstone.chain.port import ChainPort
from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.identity.wallet import checksum_address

NO_ROOT = b"\0" * 32


class Status(IntEnum):
    """State of a record (`Rewards.record`)."""

    NONE = 0
    PENDING = 1
    ACTIVE = 2
    SUPERSEDED = 3
    CANCELLED = 4
    DISPUTED = 5


class Outcome(IntEnum):
    """How a dispute or a case ended (`Rewards.disputes`, `Stake.cases`). VOID: the record fell for another reason."""

    OPEN = 1
    UPHELD = 2
    REJECTED = 3
    EXPIRED = 4
    VOID = 5


@dataclass(frozen=True, slots=True)
class Dispute:
    """An objection to an epoch's root. `deadline_s`: chain time until which the verifiers can decide."""

    number: int
    epoch: int
    disputer: str
    bond_base: int
    deadline_s: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Case:
    """An accusation against a bond. `key`: 32 bytes; `deadline_s`: chain time until which the verifiers can decide."""

    number: int
    accuser: str
    owner: str
    key: bytes
    evidence_hash: bytes
    deadline_s: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Record:
    """One epoch on chain. `total_base`: sum of all cumulative leaves; `activation_s`: chain time it pays from."""

    epoch: int
    status: Status
    root: bytes
    data_hash: bytes
    total_base: int
    activation_s: int
    attempt: int
    dispute: int


class ContractsView:
    """A network's contracts on one chain, read."""

    def __init__(self, port: ChainPort, addresses: Addresses) -> None:
        """Raises EnvironmentProblem when the port serves another chain than the addresses belong to."""
        if port.chain_id != addresses.chain_id:
            raise EnvironmentProblem(
                f"the contracts are on chain {addresses.chain_id}, but the node serves chain {port.chain_id}"
            )
        self.port = port
        self.addresses = addresses
        self.token: Contract = addresses.contract("Token")
        self.rewards: Contract = addresses.contract("Rewards")
        self.credits: Contract = addresses.contract("Credits")
        self.stake: Contract = addresses.contract("Stake")

    def active_epoch(self) -> int:
        """Return the epoch whose root pays now, 0 before the first."""
        return int(self.rewards.read(self.port, "active_epoch"))

    def active_root(self) -> bytes:
        """Return the root that pays now, `NO_ROOT` before the first."""
        return bytes(self.rewards.read(self.port, "active_root"))

    def live_epoch(self) -> int:
        """Return the newest epoch posted and not cancelled, 0 before the first."""
        return int(self.rewards.read(self.port, "live_epoch"))

    def live_root(self) -> bytes:
        """Return the newest root posted and not cancelled, `NO_ROOT` before the first."""
        return bytes(self.rewards.read(self.port, "live_root"))

    def attempt(self) -> int:
        """Return the number that the next post must be signed for; it rises with every cancellation."""
        return int(self.rewards.read(self.port, "attempt"))

    def signer_set_version(self) -> int:
        """Return the version of the signer set; signatures of another are void."""
        return int(self.rewards.read(self.port, "signer_set_version"))

    def signers(self) -> tuple[tuple[str, ...], int]:
        """Return the signer set and how many of them must sign."""
        members = self.rewards.read(self.port, "signers")
        return tuple(checksum_address(member) for member in members), int(self.rewards.read(self.port, "threshold"))

    def record(self, epoch: int) -> Record:
        """Return an epoch's record; `Status.NONE` when it was never posted or its slot is used again."""
        status, root, data_hash, total, activation, attempt, dispute = self.rewards.read(self.port, "record", epoch)
        return Record(epoch, Status(status), bytes(root), bytes(data_hash), total, activation, attempt, dispute)

    def claimed(self, account: str) -> int:
        """Return the base units an account was ever paid."""
        return int(self.rewards.read(self.port, "claimed", account))

    def claimed_total(self) -> int:
        """Return the base units all accounts were ever paid."""
        return int(self.rewards.read(self.port, "claimed_total"))

    def window_room(self) -> int:
        """Return the base units that can still be paid in the current claim window."""
        return int(self.rewards.read(self.port, "window_room"))

    def token_balance(self, account: str) -> int:
        """Return base units of the token."""
        return int(self.token.read(self.port, "balanceOf", account))

    def token_supply(self) -> int:
        """Return base units in existence."""
        return int(self.token.read(self.port, "totalSupply"))

    def credits_of(self, account: str) -> int:
        """Return micro-USD of credits issued by burning and not yet debited."""
        return int(self.credits.read(self.port, "balanceOf", account))

    def bonded(self, owner: str, key: bytes = NO_ROOT) -> int:
        """Return base units bonded for a device (32-byte key) or, with the zero key, for the operator."""
        return int(self.stake.read(self.port, "bonded", owner, key))

    def bond_of(self, owner: str, key: bytes = NO_ROOT) -> dict[str, int]:
        """Return a bond: `staked_base`, `unbonding_base`, `ready_s` (chain time it can be withdrawn from), `open_cases`."""
        names = ("staked_base", "unbonding_base", "ready_s", "open_cases")
        return dict(zip(names, map(int, self.stake.read(self.port, "bonds", owner, key)), strict=True))

    def case_of(self, number: int) -> Case:
        """Return a case against a bond. Raises UsageError when there is none of that number."""
        accuser, owner, key, evidence_hash, deadline, outcome = self.stake.read(self.port, "cases", number)
        if not outcome:
            raise UsageError(f"there is no case {number}")
        accuser, owner = checksum_address(accuser), checksum_address(owner)
        return Case(number, accuser, owner, bytes(key), bytes(evidence_hash), int(deadline), Outcome(outcome))

    def cases(self) -> list[Case]:
        """Return all cases, oldest first."""
        return [self.case_of(number) for number in range(1, int(self.stake.read(self.port, "case_count")) + 1)]

    def slash_to_sign(self, number: int, fraction_ppm: int, upheld: bool) -> bytes:
        """Return the 32 bytes that verifiers sign to decide a case (`digest.slash_digest`)."""
        case = self.case_of(number)
        return slash_digest(
            self.port.chain_id,
            self.addresses.stake,
            number,
            case.owner,
            case.key,
            case.evidence_hash,
            fraction_ppm,
            upheld,
            self.signer_set_version(),
        )

    def unbonding_delay_s(self) -> int:
        """Return the seconds between the request to take a bond back and its payment."""
        return int(self.stake.read(self.port, "unbonding_delay"))

    def dispute_of(self, dispute: int) -> Dispute:
        """Return a dispute. Raises UsageError when there is none of that number."""
        disputer, bond, epoch, deadline, outcome = self.rewards.read(self.port, "disputes", dispute)
        if not outcome:
            raise UsageError(f"there is no dispute {dispute}")
        return Dispute(dispute, int(epoch), str(disputer), int(bond), int(deadline), Outcome(outcome))

    def digest_to_sign(self, epoch: int, root: bytes, data_hash: bytes, total_base: int) -> bytes:
        """Return the 32 bytes that verifiers sign to post `epoch` now (`digest.root_digest`)."""
        return root_digest(
            self.port.chain_id,
            self.addresses.rewards,
            epoch,
            self.attempt(),
            self.live_root(),
            root,
            data_hash,
            total_base,
            self.signer_set_version(),
        )

    def resolution_to_sign(self, dispute: int, upheld: bool) -> bytes:
        """Return the 32 bytes that verifiers sign to decide a dispute (`digest.resolution_digest`)."""
        _, _, epoch, _, _ = self.rewards.read(self.port, "disputes", dispute)
        record = self.record(epoch)
        return resolution_digest(
            self.port.chain_id,
            self.addresses.rewards,
            dispute,
            epoch,
            record.root,
            record.data_hash,
            upheld,
            self.signer_set_version(),
        )

    def rotation_to_sign(self, signers: Sequence[str], threshold: int) -> bytes:
        """Return the 32 bytes that the present signers sign to install others (`digest.rotation_digest`)."""
        ordered = sorted(signers, key=lambda address: int(address, 16))
        return rotation_digest(
            self.port.chain_id, self.addresses.rewards, ordered, threshold, self.signer_set_version()
        )

    def events(self, contract: Contract, first_block: int | None = None) -> list[Event]:
        """Return a contract's events from `first_block` (default: the deployment) on, oldest first."""
        start = self.addresses.block if first_block is None else first_block
        return contract.decode(self.port.logs(contract.address, first_block=start))
