"""Who gets Render's emission: the yearly budgets, and the score of compute-client nodes.

Formulas:
    year 1            half to the network, half to the foundation (RNP-003, RNP-006), per month of 760,567
    years 2 and 3     1.5 M nodes, 1.5 M grants and clients, 2.9 M foundation (RNP-018, RNP-022)
    compute score     0.25·(0.1 + 0.9·earned / most earned) + 0.35·bandwidth + 0.20·GPU + 0.20·uptime
    compute pool      min(pool, 75 RENDER · nodes) a month
Known weakness: the 0.1 that everyone gets pays for splitting (`fieldstone policy lint --rule render.score_floor`).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, choice, integer, number
from fieldstone.economy.policies.render import month_emission

PER_NODE_CAP = 75
BANDWIDTH = {"low": Fraction(2, 10), "medium": Fraction(4, 10), "high": Fraction(6, 10), "top": Fraction(8, 10)}


def _budget(year: int) -> Mapping[str, Any]:
    if year == 1:
        network = 12 * -(-month_emission(1) // 2)  # 380,284 of 760,567 a month, as RNP-006 rounds it
        return {"network": network, "nodes": None, "grants": None, "foundation": 12 * month_emission(1) - network}
    return {"network": 3_000_000, "nodes": 1_500_000, "grants": 1_500_000, "foundation": 2_900_000}


def _score(
    earned: Fraction, most_earned: Fraction, bandwidth: str, gpu: Fraction, uptime: Fraction
) -> Mapping[str, Any]:
    share = min(Fraction(1), earned / most_earned)
    earnings = Fraction(1, 10) + Fraction(9, 10) * share
    score = (
        Fraction(25, 100) * earnings
        + Fraction(35, 100) * BANDWIDTH[bandwidth]
        + Fraction(20, 100) * gpu
        + Fraction(20, 100) * uptime
    )
    return {"score": float(score), "earnings": float(earnings)}


def _compute_pool(pool: int, nodes: int) -> Mapping[str, Any]:
    paid = min(pool, PER_NODE_CAP * nodes)
    return {"paid": paid, "kept": pool - paid}


POLICIES = (
    MonetaryPolicy(
        name="render.budget",
        summary="RENDER allocated in a year of the burn-mint scheme, by purpose.",
        function=_budget,
        keys=(integer("year", "years since start", "the year, 1 to 3", minimum=1, maximum=3),),
        outputs=(
            Output("network", "RENDER", "nodes, artists, liquidity and clients together"),
            Output("nodes", "RENDER", "node operators; null in year 1, where it changed by quarter"),
            Output("grants", "RENDER", "artists and AI clients; null in year 1"),
            Output("foundation", "RENDER", "the foundation"),
        ),
        rounding="as published: rounded to 0.1 million in years 2 and 3",
        exact=True,
        example={"year": "2"},
        source=Source(
            "RNP-006, RNP-018 and RNP-022", "rendernetwork/RNPs, initial emissions splits; year 2 and 3 budgets"
        ),
    ),
    MonetaryPolicy(
        name="render.compute_score",
        summary="Score of a compute-client node, by which the availability pool is shared.",
        function=_score,
        keys=(
            number("earned", "USD", "what the node earned by jobs"),
            number("most_earned", "USD", "the most that any node earned", above=0),
            choice("bandwidth", "class of its connection: 0.2, 0.4, 0.6 or 0.8", tuple(BANDWIDTH)),
            number("gpu", "0 to 1", "score of its graphics card", maximum=1),
            number("uptime", "0 to 1", "share of the time online", maximum=1),
        ),
        outputs=(Output("score", "1", "the score"), Output("earnings", "1", "its earnings part, never below 0.1")),
        rounding="none stated; float",
        exact=False,
        example={"earned": "5", "most_earned": "10", "bandwidth": "high", "gpu": "0.5", "uptime": "1"},
        source=Source("RNP-006 and RNP-007", "rendernetwork/RNPs, compute client rewards"),
        notes="the names of the bandwidth classes are ours",
    ),
    MonetaryPolicy(
        name="render.compute_pool",
        summary="Monthly pool of a compute client, at most 75 RENDER a node.",
        function=_compute_pool,
        keys=(integer("pool", "RENDER", "pool of the month"), integer("nodes", "nodes", "nodes that qualify")),
        outputs=(Output("paid", "RENDER", "paid out"), Output("kept", "RENDER", "kept back by the cap")),
        rounding="none",
        exact=True,
        example={"pool": "62500", "nodes": "500"},
        source=Source("RNP-006 and RNP-007", "rendernetwork/RNPs, compute client rewards"),
    ),
)
