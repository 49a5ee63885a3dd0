"""What a Filecoin storage provider locks and pays: vesting, initial pledge, penalties, daily fee.

Formulas (integers, `//` floors; QAP is quality-adjusted power in bytes, CS the circulating supply):
    locked     = 3 · reward // 4, released linearly over 180 days, 25 % at once
    BR(d)      = QAP · Σ over d days of reward / netQAP, from the smoothed estimates (filecoin_smoothing)
    pledge     = min(max(1, BR(20)) + γ·0.3·CS·QAP // max(netQAP, baseline, QAP)
                     + (1−γ)·0.3·CS·QAP // max(netQAP, QAP),  ⌊10¹⁸ / 2³⁵⌋ · QAP)
    daily fee  = 161817 · CS · QAP // 10³⁰
Reason: what is at stake grows with what a provider can earn. Two floors in the pledge are not one floor of the sum.
Invariants: `vested_plus_locked_is_the_reward`, `pledge_never_above_one_fil_per_32_gib`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer
from fieldstone.economy.policies.filecoin import ATTO, EPOCHS_PER_DAY, EPOCHS_PER_YEAR
from fieldstone.economy.policies.filecoin_smoothing import (
    NETWORK_QAP_KEY,
    QAP_KEY,
    REWARD_KEY,
    TREND_KEYS,
    Estimate,
    expected_reward,
)

VESTING_DAYS = 180
PLEDGE_DAYS = 20
PLEDGE_CAP_PER_BYTE = ATTO // (32 << 30)
FEE_NUMERATOR, FEE_DENOMINATOR = 161_817, 10**30
FAULT_EPOCHS = EPOCHS_PER_DAY * 351 // 100  # 3.51 days
DISPUTE_EPOCHS = FAULT_EPOCHS + 2 * EPOCHS_PER_DAY
DISPUTE_BASE_ATTO = 20 * ATTO


def gamma_permille(epochs_since_start: int, duration_epochs: int) -> int:
    """Return the baseline formula's share of the consensus pledge (FIP-81): 1000 falling to 700."""
    if epochs_since_start < 0:
        return 1000
    if duration_epochs == 0 or epochs_since_start >= duration_epochs:
        return 700
    return 1000 - epochs_since_start * 300 // duration_epochs


def initial_pledge(
    qap_bytes: int, power: Estimate, baseline_bytes: int, circulating_atto: int, reward: Estimate, gamma: int
) -> int:
    """Return the attoFIL a sector locks; `power` and `reward` are the network's estimates, `gamma` per mille."""
    base = max(1, expected_reward(qap_bytes, power, reward, PLEDGE_DAYS * EPOCHS_PER_DAY))
    top = circulating_atto * 3 * qap_bytes
    with_baseline = gamma * top // (max(power.value, baseline_bytes, qap_bytes) * 10 * 1000)
    simple = (1000 - gamma) * top // (max(power.value, qap_bytes) * 10 * 1000)
    return min(base + with_baseline + simple, PLEDGE_CAP_PER_BYTE * qap_bytes)


def termination_fee(pledge_atto: int, age_epochs: int, fault_fee_atto: int) -> int:
    """Return the attoFIL for ending a sector early (FIP-98): 8.5 % of the pledge, growing over 140 days."""
    full = pledge_atto * 85 // 1000
    by_age = min(full, full * (age_epochs // EPOCHS_PER_DAY) // 140)
    return max(by_age, pledge_atto * 2 // 100, fault_fee_atto * 105 // 100)


def _vesting(reward_atto: int, days: int) -> Mapping[str, Any]:
    locked = reward_atto * 3 // 4
    released = locked * min(days, VESTING_DAYS) // VESTING_DAYS
    return {
        "immediate_atto": reward_atto - locked,
        "vested_atto": released,
        "locked_atto": locked - released,
        "available_atto": reward_atto - locked + released,
    }


def _pledge(
    qap_bytes: int,
    network_qap_bytes: int,
    network_qap_velocity: int,
    baseline_bytes: int,
    circulating_atto: int,
    reward_atto: int,
    reward_velocity: int,
    ramp_epochs: int,
    ramp_duration: int,
) -> Mapping[str, Any]:
    power, reward = Estimate.of(network_qap_bytes, network_qap_velocity), Estimate.of(reward_atto, reward_velocity)
    gamma = gamma_permille(ramp_epochs, ramp_duration)
    pledge = initial_pledge(qap_bytes, power, baseline_bytes, circulating_atto, reward, gamma)
    return {
        "pledge_atto": pledge,
        "gamma_permille": gamma,
        "is_capped": pledge == PLEDGE_CAP_PER_BYTE * qap_bytes,
        "deposit_atto": max(1, expected_reward(qap_bytes, power, reward, PLEDGE_DAYS * EPOCHS_PER_DAY)),
    }


def _penalties(
    qap_bytes: int,
    network_qap_bytes: int,
    network_qap_velocity: int,
    reward_atto: int,
    reward_velocity: int,
    pledge_atto: int,
    age_epochs: int,
) -> Mapping[str, Any]:
    power, reward = Estimate.of(network_qap_bytes, network_qap_velocity), Estimate.of(reward_atto, reward_velocity)
    fault = expected_reward(qap_bytes, power, reward, FAULT_EPOCHS)
    return {
        "fault_per_day_atto": fault,
        "invalid_proof_atto": expected_reward(qap_bytes, power, reward, DISPUTE_EPOCHS) + DISPUTE_BASE_ATTO,
        "termination_atto": termination_fee(pledge_atto, age_epochs, fault),
        "consensus_fault_atto": reward_atto * 5 // 5,
        "reporter_atto": reward_atto // 20,
    }


def _daily_fee(circulating_atto: int, qap_bytes: int, day_reward_atto: int | None) -> Mapping[str, Any]:
    fee = FEE_NUMERATOR * circulating_atto * qap_bytes // FEE_DENOMINATOR
    payable = fee if day_reward_atto is None else min(fee, day_reward_atto // 2)
    return {"fee_atto": fee, "payable_atto": payable}


_MONIES = "filecoin-project/builtin-actors, actors/miner/src/monies.rs"

POLICIES = (
    MonetaryPolicy(
        name="filecoin.vesting",
        summary="How much of a block reward is free after some days: 25 % at once, the rest linear over 180 days.",
        function=_vesting,
        keys=(
            integer("reward_atto", "attoFIL", "the reward"),
            integer("days", "days", "days since it was earned"),
        ),
        outputs=(
            Output("immediate_atto", "attoFIL", "free at once"),
            Output("vested_atto", "attoFIL", "released since"),
            Output("locked_atto", "attoFIL", "still locked"),
            Output("available_atto", "attoFIL", "free by now, in all"),
        ),
        rounding="floor of the locked part and of what is released; nothing is lost",
        exact=True,
        example={"reward_atto": "1000000000000000000", "days": "90"},
        source=Source(
            "Filecoin built-in actors, miner actor",
            f"{_MONIES}, locked_reward_from_reward; policy.rs, REWARD_VESTING_SPEC",
        ),
        notes="release dates are quantised to half days on the network",
    ),
    MonetaryPolicy(
        name="filecoin.pledge",
        summary="FIL that a provider must lock to commit a sector.",
        function=_pledge,
        keys=(
            QAP_KEY,
            NETWORK_QAP_KEY,
            integer("baseline_bytes", "bytes", "the baseline power of the epoch"),
            integer("circulating_atto", "attoFIL", "circulating supply"),
            REWARD_KEY,
            integer("ramp_epochs", "epochs", "since the start of the FIP-81 ramp", EPOCHS_PER_YEAR, minimum=None),
            integer("ramp_duration", "epochs", "length of the FIP-81 ramp", EPOCHS_PER_YEAR),
            *TREND_KEYS,
        ),
        outputs=(
            Output("pledge_atto", "attoFIL", "initial pledge"),
            Output("gamma_permille", "per mille", "weight of the baseline formula"),
            Output("is_capped", "true/false", "whether the cap of 1 FIL per 32 GiB decided"),
            Output("deposit_atto", "attoFIL", "pre-commit deposit"),
        ),
        rounding="floor of each of the two consensus terms, and of the reward estimate",
        exact=True,
        example={
            "qap_bytes": "34359738368",
            "network_qap_bytes": "20000000000000000000",
            "baseline_bytes": "60000000000000000000",
            "circulating_atto": "680000000000000000000000000",
            "reward_atto": "60000000000000000000",
        },
        source=Source("Filecoin built-in actors, miner actor; FIP-81", f"{_MONIES}, initial_pledge_for_power"),
    ),
    MonetaryPolicy(
        name="filecoin.penalties",
        summary="What faults cost a provider: missing and invalid proofs, early termination, consensus faults.",
        function=_penalties,
        keys=(
            QAP_KEY,
            NETWORK_QAP_KEY,
            REWARD_KEY,
            integer("pledge_atto", "attoFIL", "initial pledge of the sector"),
            integer("age_epochs", "epochs", "age of the sector"),
            *TREND_KEYS,
        ),
        outputs=(
            Output("fault_per_day_atto", "attoFIL", "each day a fault goes on"),
            Output("invalid_proof_atto", "attoFIL", "a window proof successfully disputed"),
            Output("termination_atto", "attoFIL", "ending the sector now"),
            Output("consensus_fault_atto", "attoFIL", "a consensus fault"),
            Output("reporter_atto", "attoFIL", "of which to the reporter"),
        ),
        rounding="floor of each",
        exact=True,
        example={
            "qap_bytes": "34359738368",
            "network_qap_bytes": "20000000000000000000",
            "reward_atto": "60000000000000000000",
            "pledge_atto": "200000000000000000",
            "age_epochs": "201600",
        },
        source=Source("Filecoin built-in actors, miner actor; FIP-98", f"{_MONIES}, pledge_penalty_for_*"),
    ),
    MonetaryPolicy(
        name="filecoin.daily_fee",
        summary="The fee a sector pays each day, fixed when it is committed (FIP-100).",
        function=_daily_fee,
        keys=(
            integer("circulating_atto", "attoFIL", "circulating supply at commitment"),
            QAP_KEY,
            integer("day_reward_atto", "attoFIL", "expected reward of the sector per day: half of it caps the fee", ""),
        ),
        outputs=(
            Output("fee_atto", "attoFIL per day", "the fee"),
            Output("payable_atto", "attoFIL per day", "what is paid after the cap"),
        ),
        rounding="floor",
        exact=True,
        example={"circulating_atto": "680000000000000000000000000", "qap_bytes": "34359738368"},
        source=Source(
            "FIP-0100: Removing batch balancer, replacing it with a per-sector fee", "specification, daily_fee"
        ),
    ),
)
