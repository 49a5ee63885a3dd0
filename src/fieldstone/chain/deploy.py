"""Deploy the four contracts once, from a plan that the policy determines, and write down where they are."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from fieldstone.chain.abi import Contract, artifact, explain
from fieldstone.chain.digest import create_address
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.port import Call, ChainPort, Reverted, Signer
from fieldstone.errors import ConfigError, Terminal, UsageError
from fieldstone.identity.wallet import checksum_address
from fieldstone.policy import Policy
from fieldstone.units import TOKEN_BASE, TOKEN_DECIMALS, USD_MICRO, parse_amount

ZERO_ADDRESS = "0x" + "00" * 20
_RING_EPOCHS = 30  # pending epochs that fit into the contract's ring (Rewards.RING − 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployPlan:
    """Every constructor setting. Amounts in token base units, prices and credits in micro-USD, times in seconds.

    `epoch_length_s` 0 lifts the rule that an epoch cannot be posted before its end by chain time (test networks only).
    """

    network_id: str
    signers: tuple[str, ...]
    threshold: int
    treasury: str
    guardian: str = ZERO_ADDRESS
    token_name: str = "Fieldstone"
    token_symbol: str = "STONE"
    genesis_holder: str = ""  # empty: the treasury
    genesis_supply_base: int = 1_000_000 * TOKEN_BASE
    max_supply_base: int = 1_000_000_000 * TOKEN_BASE
    first_start_s: int = 0
    epoch_length_s: int = 0
    epoch_cap_base: int = 10_000 * TOKEN_BASE
    emission_cap_base: int = 999_000_000 * TOKEN_BASE
    activation_delay_s: int = 3_600
    dispute_period_s: int = 259_200
    dispute_bond_base: int = 100 * TOKEN_BASE
    window_length_s: int = 86_400
    window_cap_base: int = 20_000 * TOKEN_BASE
    recipient_delay_s: int = 86_400
    price_poster: str = ZERO_ADDRESS
    spender: str = ""  # empty: the treasury
    max_price_age_s: int = 86_400
    credit_period_s: int = 86_400
    credit_period_cap_micro_usd: int = 1_000_000 * USD_MICRO
    unbonding_delay_s: int = 0  # 0: one day more than the longest dispute
    case_period_s: int = 259_200
    case_bond_base: int = 100 * TOKEN_BASE

    @classmethod
    def from_policy(
        cls, policy: Policy, *, treasury: str, first_start_s: int | None = None, **overrides: Any
    ) -> DeployPlan:
        """Take signers, threshold, delays and caps from the policy; `treasury` is used when the policy names none.

        `first_start_s`: start of epoch 1 in Unix seconds; None takes `epoch.first_start_ms`. `overrides` are fields
        of this class. Raises ConfigError naming the policy key that the contracts would refuse.
        """
        settlement, rewards = policy.settlement, policy.rewards
        signers = tuple(sorted({checksum_address(address) for address in settlement.verifiers}, key=_as_number))
        if not 1 <= len(signers) <= 16:
            raise ConfigError(f"1 to 16 verifiers can sign, {len(signers)} are named", key="settlement.verifiers")
        if not 1 <= settlement.threshold <= len(signers):
            raise ConfigError(
                f"{settlement.threshold} of {len(signers)} verifiers can never sign", key="settlement.threshold"
            )
        if settlement.activation_delay_s > _RING_EPOCHS * policy.epoch.length_s:
            raise ConfigError(
                f"is longer than {_RING_EPOCHS} epochs of {policy.epoch.length_s} s; the contract keeps no more pending",
                key="settlement.activation_delay_s",
            )
        start_s = policy.epoch.first_start_ms // 1000 if first_start_s is None else first_start_s
        plan = cls(
            network_id=policy.network_id,
            signers=signers,
            threshold=settlement.threshold,
            treasury=checksum_address(settlement.treasury or treasury),
            first_start_s=start_s,
            epoch_length_s=policy.epoch.length_s,
            epoch_cap_base=rewards.max_epoch_mint_base,
            activation_delay_s=settlement.activation_delay_s,
            dispute_period_s=settlement.dispute_deadline_s,
            dispute_bond_base=parse_amount(settlement.dispute_bond, TOKEN_DECIMALS),
            window_length_s=settlement.claim_window_s,
            window_cap_base=parse_amount(settlement.claim_window_cap, TOKEN_DECIMALS),
        )
        return replace(plan, **overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a network's contracts are. `block` holds the first of them: no event is older."""

    network_id: str
    chain_id: int
    token: str
    rewards: str
    credits: str
    stake: str
    block: int

    def contract(self, name: str) -> Contract:
        """Return the contract `Token`, `Rewards`, `Credits` or `Stake` at its address."""
        return Contract(artifact(name), getattr(self, name.lower()))

    def save(self, path: Path) -> None:
        """Write the addresses file, replacing it at once or not at all."""
        partial = path.with_name(path.name + ".partial")
        with open(partial, "w", encoding="utf-8") as handle:
            json.dump(asdict(self), handle, indent=2, sort_keys=True)
            handle.write("\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> Addresses:
        """Read what `save` wrote. Raises UsageError when it is missing or damaged."""
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{field.name: body[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is no addresses file of a deployed network: {error}") from None


def deploy(port: ChainPort, outbox: Outbox, signer: Signer, plan: DeployPlan, *, timeout_s: float = 120.0) -> Addresses:
    """Deploy `Token`, `Rewards`, `Credits`, `Stake` and check that each answers; asked again, return the same ones.

    The token names `Rewards` as its only minter before `Rewards` exists, by the nonce it will be deployed with.
    Raises Reverted with the contract's reason when the plan is refused, Terminal when another transaction of the
    same key came between the two.
    """
    treasury = plan.treasury
    holder = plan.genesis_holder or treasury
    unbonding_s = plan.unbonding_delay_s or (
        max(plan.activation_delay_s + plan.dispute_period_s, plan.case_period_s) + 86_400
    )
    known = outbox.find(_purpose(plan, "Token"))
    token_nonce = known.nonce if known else max(port.nonce(signer.address), _next_nonce(outbox, port, signer))
    rewards_at = checksum_address(create_address(signer.address, token_nonce + 1))

    def place(name: str, *arguments: Any) -> tuple[str, int]:
        call = Call(None, artifact(name).deployment(*arguments))
        purpose = _purpose(plan, name)
        try:
            outbox.submit(port, signer, purpose, call)
            _, receipt = outbox.wait(port, purpose, timeout_s=timeout_s, poll_s=0.2)
        except Reverted as error:
            raise explain(error, f"deploying {name}") from error
        if receipt.contract_address is None or not port.code(receipt.contract_address):
            raise Terminal(f"deploying {name} left no contract behind (transaction 0x{receipt.tx_hash.hex()})")
        return receipt.contract_address, receipt.block_number

    token, block = place(
        "Token", plan.token_name, plan.token_symbol, rewards_at, holder, plan.genesis_supply_base, plan.max_supply_base
    )
    rewards, _ = place(
        "Rewards",
        token,
        treasury,
        plan.guardian,
        list(plan.signers),
        plan.threshold,
        plan.first_start_s,
        plan.epoch_length_s,
        plan.epoch_cap_base,
        plan.emission_cap_base,
        plan.activation_delay_s,
        plan.dispute_period_s,
        plan.dispute_bond_base,
        plan.window_length_s,
        plan.window_cap_base,
        plan.recipient_delay_s,
    )
    if rewards != rewards_at:
        raise Terminal(
            f"Rewards came to {rewards}, but Token expects its minter at {rewards_at}: {signer.address} sent something "
            "in between; deploy again with a key that only deploys"
        )
    credits, _ = place(
        "Credits",
        token,
        rewards,
        plan.price_poster,
        plan.spender or treasury,
        plan.max_price_age_s,
        plan.credit_period_s,
        plan.credit_period_cap_micro_usd,
    )
    stake, _ = place("Stake", token, rewards, treasury, unbonding_s, plan.case_period_s, plan.case_bond_base)
    return Addresses(
        network_id=plan.network_id,
        chain_id=port.chain_id,
        token=token,
        rewards=rewards,
        credits=credits,
        stake=stake,
        block=block,
    )


def _purpose(plan: DeployPlan, name: str) -> str:
    return f"deploy:{plan.network_id}:{name}"


def _next_nonce(outbox: Outbox, port: ChainPort, signer: Signer) -> int:
    nonces = [row.nonce for row in outbox.rows() if row.sender == signer.address and row.chain_id == port.chain_id]
    return max(nonces) + 1 if nonces else 0


def _as_number(address: str) -> int:
    return int(address, 16)
