"""How long an allocation takes: `python bench/rewards.py [devices]`. CPU seconds, and as a ratio to plain counting.

The unit of the ratio is a loop of one million integer additions into a dict in the same run, so that figures from a
busy and from a quiet machine can be compared.
"""

from __future__ import annotations

import random
import sys
import time

import polars as pl

from fieldstone.policy import RewardPolicy, ServicePolicy
from fieldstone.rewards import AllocationInput, allocate
from fieldstone.services.contract import REGISTRY_SCHEMA, VERDICT_SCHEMA

EPOCH_S = 86_400


def network(devices: int, cells_per_side: int, seed: int = 1) -> AllocationInput:
    """Return devices spread over a grid of places, half of them with sales."""
    rng = random.Random(seed)
    names = [f"did:key:z6Mk{i:044d}" for i in range(devices)]
    step = 0.07
    registry = {
        "device": names,
        "operator": [f"0x{i // 3:040x}" for i in range(devices)],
        "model": ["m"] * devices,
        "lat": [10 + step * rng.randrange(cells_per_side) for _ in names],
        "lon": [20 + step * rng.randrange(cells_per_side) for _ in names],
        "elevation_m": [0.0] * devices,
        "enrolled_ms": [0] * devices,
    }
    verdicts = {
        "device": names,
        "service": ["sensing"] * devices,
        "epoch": [1] * devices,
        "quantity": [rng.randrange(EPOCH_S) for _ in names],
        "quality_ppm": [rng.randrange(1_000_001) for _ in names],
        "verdict": ["accepted"] * devices,
        "reasons": [[]] * devices,
        "detail": ["{}"] * devices,
    }
    sold = names[::2]
    revenue = {
        "device": sold,
        "service": ["sensing"] * len(sold),
        "revenue_micro_usd": [rng.randrange(100_000) for _ in sold],
    }
    return AllocationInput(
        epoch=1,
        epoch_length_s=EPOCH_S,
        policy=RewardPolicy(max_epoch_mint="1000000", r_half_usd="1000"),
        services={"sensing": ServicePolicy()},
        verdicts=pl.DataFrame(verdicts, schema=VERDICT_SCHEMA),
        registry=pl.DataFrame(registry, schema=REGISTRY_SCHEMA),
        revenue=pl.DataFrame(revenue),
        price_micro_usd=50_000,
        smoothed_revenue_micro_usd=0,
        corrections=pl.DataFrame(schema=dict.fromkeys(("device", "operator", "amount_base", "cause"), pl.String())),
        pools={},
        previous={},
    )


def counting_s() -> float:
    """Return the CPU seconds of the reference loop."""
    begin, sums = time.process_time(), {}
    for i in range(1_000_000):
        sums[i % 1000] = sums.get(i % 1000, 0) + i
    return time.process_time() - begin


def main() -> None:
    """Print one line per network."""
    devices = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print("devices    cells    CPU s   × counting   µs per device")
    for side in (20, 80, 300):
        inp = network(devices, side)
        reference = counting_s()
        begin = time.process_time()
        result = allocate(inp)
        spent = time.process_time() - begin
        cells = result.statements["factors"].str.extract(r'"cell":"([0-9a-f]+)"').n_unique()
        print(f"{devices:7,}  {cells:7,}  {spent:7.2f}  {spent / reference:11.1f}  {spent / devices * 1e6:13.1f}")


if __name__ == "__main__":
    main()
