"""Livepeer's inflation: it rises while too little is bonded and falls while too much is.

Formulas (shares are parts of 10⁶; `//` floors), at the start of a round, in this order:
    1  bonding = bonded · 10⁶ // supply (0 without supply); below target: inflation += change;
       above: inflation = max(0, inflation − change); equal: unchanged
    2  mintable = supply · inflation // 10⁶
    an orchestrator's reward = mintable · (num · 10⁶ // den) // 10⁶, all rewards ≤ mintable
Reason: the order matters; computing the mintable amount first is off by one round.
Invariant: `inflation_moves_towards_the_target`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer
from fieldstone.errors import UsageError

PERC_DIVISOR = 1_000_000


def _inflation(bonded: int, supply: int, inflation: int, change: int, target: int) -> Mapping[str, Any]:
    if bonded > supply:
        raise UsageError("bonded is above supply")
    bonding = bonded * PERC_DIVISOR // supply if supply else 0
    if bonding < target:
        inflation += change
    elif bonding > target:
        inflation = max(0, inflation - change)
    return {"inflation": inflation, "mintable": supply * inflation // PERC_DIVISOR, "bonding_rate": bonding}


def _reward(mintable: int, stake: int, total_stake: int, minted: int) -> Mapping[str, Any]:
    if stake > total_stake:
        raise UsageError("stake is above total_stake")
    reward = mintable * (stake * PERC_DIVISOR // total_stake) // PERC_DIVISOR
    if minted + reward > mintable:
        raise UsageError("the round's mintable amount would be exceeded: the network refuses this reward")
    return {"reward": reward, "minted": minted + reward}


_MINTER = "livepeer/protocol, contracts/token/Minter.sol, contracts/libraries/MathUtils.sol"

POLICIES = (
    MonetaryPolicy(
        name="livepeer.inflation",
        summary="The next round's inflation and how much LPT it may mint.",
        function=_inflation,
        keys=(
            integer("bonded", "LPT base units", "bonded stake"),
            integer("supply", "LPT base units", "supply on both layers"),
            integer("inflation", "parts of 10⁶ per round", "inflation of the round before", 137),
            integer("change", "parts of 10⁶ per round", "step", 3),
            integer("target", "parts of 10⁶", "target bonding rate", 500_000, maximum=PERC_DIVISOR),
        ),
        outputs=(
            Output("inflation", "parts of 10⁶ per round", "inflation of this round"),
            Output("mintable", "LPT base units", "most that this round may mint"),
            Output("bonding_rate", "parts of 10⁶", "share that is bonded"),
        ),
        rounding="floor at each step",
        exact=True,
        example={"bonded": "12000000000000000000000000", "supply": "28000000000000000000000000"},
        source=Source("Livepeer protocol", f"{_MINTER}, setCurrentRewardTokens"),
        notes="defaults are the deploy configuration: 0.0137 % a round, step 0.0003 %, target 50 %",
    ),
    MonetaryPolicy(
        name="livepeer.reward",
        summary="An orchestrator's reward in a round.",
        function=_reward,
        keys=(
            integer("mintable", "LPT base units", "most that the round may mint"),
            integer("stake", "LPT base units", "the orchestrator's stake"),
            integer("total_stake", "LPT base units", "all active stake", above=0),
            integer("minted", "LPT base units", "minted in the round so far", 0),
        ),
        outputs=(
            Output("reward", "LPT base units", "to the orchestrator"),
            Output("minted", "LPT base units", "minted in the round after it"),
        ),
        rounding="floor of the share, then of the amount",
        exact=True,
        example={"mintable": "3920000000000000000000", "stake": "1", "total_stake": "3"},
        source=Source("Livepeer protocol", f"{_MINTER}, createReward"),
    ),
)
