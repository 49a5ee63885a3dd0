"""Arweave's price of storage, estimated by the network itself from what miners earn and how fast they read.

Formulas (integers, `//` floors):
    most    = (m + 1) · recall range // (chunk · m)                                      m: how much harder a one-chunk solution is
    s       = most if no solution used one chunk, else min(most, (one + two) · recall range // (chunk · one · m))
    p       = s · VDF steps · max(1, reward) · GiB · 60 // (seconds · max(1, hashes) · 3.6·10¹²)      winston per GiB-minute
Reason: a miner who stores more of the weave finds more two-chunk solutions, so their ratio tells how much each stores,
the hash rate how many replicas there are, and the reward what a replica's minute is worth. Sums run over 64,800 blocks;
the network takes a new estimate every 50.
Invariants: `price_rises_with_reward_and_falls_with_hashes`, `one_chunk_solutions_never_raise_the_estimate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer

CHUNK_BYTES = 256 * 1024
PARTITION_BYTES = 3_600_000_000_000
RECALL_RANGE_BYTES = 100 * 1024 * 1024
GIB = 1 << 30


def _price(
    one_chunk: int, two_chunk: int, poa1_multiplier: int, vdf_steps: int, reward_winston: int, interval_s: int, hashes: int,
    recall_range_bytes: int,
) -> Mapping[str, Any]:  # fmt: skip
    most = (poa1_multiplier + 1) * recall_range_bytes // (CHUNK_BYTES * poa1_multiplier)
    solutions = most
    if one_chunk:
        seen = (one_chunk + two_chunk) * recall_range_bytes // (CHUNK_BYTES * one_chunk * poa1_multiplier)
        solutions = min(most, seen)
    top = solutions * vdf_steps * max(1, reward_winston) * GIB * 60
    return {
        "price_gib_minute": top // (interval_s * max(1, hashes) * PARTITION_BYTES),
        "solutions_per_partition": solutions,
    }


POLICIES = (
    MonetaryPolicy(
        name="arweave.price",
        summary="Winston per GiB and minute, re-estimated from rewards and hash rate.",
        function=_price,
        keys=(
            integer("one_chunk", "blocks", "blocks solved with one chunk"),
            integer("two_chunk", "blocks", "blocks solved with two"),
            integer("poa1_multiplier", "factor", "how much harder a one-chunk solution is", 1, minimum=1),
            integer("vdf_steps", "steps", "sum over the blocks"),
            integer("reward_winston", "winston", "sum of the block rewards"),
            integer("interval_s", "seconds", "sum of the block intervals", minimum=1),
            integer("hashes", "hashes", "sum of the blocks' hash rates"),
            integer("recall_range_bytes", "bytes", "read per step and partition", RECALL_RANGE_BYTES, minimum=CHUNK_BYTES),
        ),
        outputs=(
            Output("price_gib_minute", "winston per GiB-minute", "the estimate"),
            Output("solutions_per_partition", "solutions per step", "expected of a partition"),
        ),
        rounding="down at each division, as on chain",
        exact=True,
        example={
            "one_chunk": "20000", "two_chunk": "44800", "vdf_steps": "7776000", "reward_winston": "51840000000000000",
            "interval_s": "8294400", "hashes": "77760000000",
        },
        source=Source("Arweave node", "ArweaveTeam/arweave, apps/arweave/src/ar_pricing.erl, two difficulties (2.7.2)"),
        notes="the recall range is a key: it was lowered with later packings. The smoothed transition price is not included",
    ),
)  # fmt: skip
