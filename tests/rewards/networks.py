"""Small networks for reward tests: devices in a handful of far-apart cells, drawn by Hypothesis or written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from hypothesis import strategies as st

from fieldstone.policy import RewardPolicy, ServicePolicy
from fieldstone.rewards import AllocationInput
from fieldstone.rewards.caps import SOLD_INPUT_SCHEMA
from fieldstone.services.contract import REGISTRY_SCHEMA, VERDICT_SCHEMA, ListPrice

EPOCH_S = 86_400
TREASURY = "0x00000000000000000000000000000000000007Ea"


def operator(index: int) -> str:
    return f"0x{index + 1:040x}"


@dataclass(frozen=True)
class Device:
    """`place`: number of its cell. `revenue`: micro-dollars that customers paid for it in this epoch."""

    owner: int = 0
    place: int = 0
    quantity: int = EPOCH_S
    quality_ppm: int = 1_000_000
    verdict: str = "accepted"
    revenue: int = 0
    name: str = ""
    sold: int = 0  # what of the quantity customers' own data made

    @property
    def operator(self) -> str:
        return operator(self.owner)


@dataclass(frozen=True)
class Correction:
    operator: str
    amount_base: int
    device: str = ""
    cause: str = "make-good"


def named(devices: Sequence[Device]) -> list[Device]:
    return [d if d.name else replace(d, name=f"did:key:z{i:03d}") for i, d in enumerate(devices)]


def network(
    devices: Sequence[Device],
    *,
    epoch: int = 1,
    policy: RewardPolicy | None = None,
    services: dict[str, ServicePolicy] | None = None,
    corrections: Sequence[Correction] = (),
    extra_revenue: Sequence[tuple[str, str, int]] = (),
    price_micro_usd: int = 50_000,
    smoothed: int = 0,
    pools: dict[str, int] | None = None,
    previous: dict[str, int] | None = None,
    treasury: str | None = TREASURY,
    shuffle_seed: int | None = None,
    listed: ListPrice | None = None,
) -> AllocationInput:
    devices = named(devices)
    registry = pl.DataFrame(
        [
            {
                "device": d.name,
                "operator": d.operator,
                "model": "m",
                "lat": 10.0 + d.place,
                "lon": 20.0,
                "elevation_m": 0.0,
                "enrolled_ms": 0,
            }
            for d in devices
        ],
        schema=REGISTRY_SCHEMA,
    )
    verdicts = pl.DataFrame(
        [
            {
                "device": d.name,
                "service": "sensing",
                "epoch": epoch,
                "quantity": d.quantity,
                "quality_ppm": d.quality_ppm,
                "verdict": d.verdict,
                "reasons": [] if d.verdict == "accepted" else ["STUCK"],
                "detail": "{}",
            }
            for d in devices
            if d.verdict != "none"
        ],
        schema=VERDICT_SCHEMA,
    )
    sales = [(d.name, "sensing", d.revenue) for d in devices if d.revenue] + list(extra_revenue)
    revenue = pl.DataFrame(
        sales, schema={"device": pl.String, "service": pl.String, "revenue_micro_usd": pl.Int64}, orient="row"
    )
    made_good = pl.DataFrame(
        [(c.device, c.operator, str(c.amount_base), c.cause) for c in corrections],
        schema={"device": pl.String, "operator": pl.String, "amount_base": pl.String, "cause": pl.String},
        orient="row",
    )
    sold = pl.DataFrame(
        [(d.name, "sensing", d.sold) for d in devices if d.sold], schema=SOLD_INPUT_SCHEMA, orient="row"
    )
    tables: dict[str, Any] = {
        "sold": sold,
        "registry": registry,
        "verdicts": verdicts,
        "revenue": revenue,
        "corrections": made_good,
    }
    if shuffle_seed is not None:
        tables = {name: t.sample(fraction=1.0, shuffle=True, seed=shuffle_seed) for name, t in tables.items()}
    return AllocationInput(
        epoch=epoch,
        epoch_length_s=EPOCH_S,
        policy=policy or RewardPolicy(),
        services=services or {"sensing": ServicePolicy()},
        price_micro_usd=price_micro_usd,
        smoothed_revenue_micro_usd=smoothed,
        pools=pools or {},
        previous=previous or {},
        treasury=treasury,
        list_prices={} if listed is None else {"sensing": listed},
        **tables,
    )


DEVICES = st.lists(
    st.builds(
        Device,
        owner=st.integers(0, 3),
        place=st.integers(0, 4),
        quantity=st.integers(0, EPOCH_S),
        quality_ppm=st.integers(0, 1_000_000),
        verdict=st.sampled_from(["accepted", "accepted", "partial", "rejected", "none"]),
        revenue=st.one_of(st.just(0), st.integers(0, 10**10)),
    ),
    max_size=8,
)

POLICIES = st.builds(
    RewardPolicy,
    take_ppm=st.integers(0, 1_000_000),
    bootstrap_per_epoch=st.integers(0, 10**6).map(str),
    bootstrap_decay_ppm=st.integers(0, 1_000_000),
    r_half_usd=st.integers(0, 10**4).map(str),
    revenue_smoothing_ppm=st.integers(0, 1_000_000),
    full_coverage_cells=st.integers(1, 6),
    need_demand_ppm=st.integers(0, 1_000_000),
    max_epoch_mint=st.one_of(st.just("1000000000"), st.integers(0, 2_000).map(str)),
)

CORRECTIONS = st.lists(
    st.builds(
        Correction,
        operator=st.integers(0, 4).map(operator),
        amount_base=st.integers(-(10**22), 10**22),
        device=st.sampled_from(["", "did:key:z000", "did:key:z001", "did:key:gone"]),
    ),
    max_size=4,
)


# from next to nothing to far more than the bootstrap pays; work on offer counts less than work that is sold
LIST_PRICES = st.builds(
    ListPrice,
    micro_usd=st.integers(1, 10**9),
    units=st.integers(1, 10**9),
    per=st.just("unit"),
    unsold_weight_ppm=st.integers(1, 1_000_000),
)


@st.composite
def networks(draw: st.DrawFn) -> AllocationInput:
    """Any network, with what earlier epochs may have left behind."""
    left = {
        f"{kind}:{operator(i)}": draw(st.integers(1, 10**22))
        for kind in ("owed", "debt")
        for i in range(4)
        if draw(st.integers(0, 4)) == 0
    }
    devices = [
        replace(device, sold=draw(st.one_of(st.just(0), st.integers(0, 2 * EPOCH_S)))) for device in draw(DEVICES)
    ]
    return network(
        devices,
        epoch=draw(st.integers(1, 50)),
        policy=draw(POLICIES),
        corrections=draw(CORRECTIONS),
        extra_revenue=draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["", "did:key:gone", "did:key:z000"]),
                    st.just("sensing"),
                    st.integers(-(10**8), 10**9),
                ),
                max_size=3,
            )
        ),
        price_micro_usd=draw(st.integers(1, 10**9)),
        smoothed=draw(st.integers(0, 10**10)),
        pools={**left, "treasury": draw(st.integers(0, 10**20))},
        previous={operator(i): draw(st.integers(0, 10**24)) for i in range(draw(st.integers(0, 4)))},
        treasury=draw(st.sampled_from([None, TREASURY, operator(0)])),
        services={"sensing": ServicePolicy(unsold_pay_ppm=draw(st.sampled_from([0, 1_000_000, 3_000_000])))},
        listed=draw(st.one_of(st.none(), LIST_PRICES)),
    )
