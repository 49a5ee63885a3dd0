"""RNP-020's thermostat for Render's work pay: what it would have paid, though the vote defeated it.

Formulas (per epoch, RENDER):
    target I   = B (1 + g) · [f₂(1 + r₂)(1 + x₂) + f₃(1 + r₃)(1 + x₃)] / [f₂(1 + x₂) + f₃(1 + x₃)] · Φ
    Φ          = 1 if no node count changed, else [f₂(1 + x₂) + f₃(1 + x₃)] (λ₂ + λ₃) / [λ₂(1 + x₂) + λ₃(1 + x₃)]
    decision   no change within ±10 % of today's pay, or while pay is 1 to 3 times the target; otherwise
               r = |I / pay − 1|, at most 10 % · (1 + quarters in the same direction), below that in steps of 5 %;
               a raise multiplies by 1 + r, a cut divides by it; rounded to 100 tokens, below the ceiling
    ceiling    V / P · (impact / (Y σ))² with impact = σ
B: mean burn of the quarter, g: its growth, f: token share, x: change of hours, r: change of nodes of tiers 2 and 3.
Invariants: `pay_moves_by_no_more_than_the_cap`, `nothing_changes_inside_the_band`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer, number

BUFFER, CAP_STEP, ROUND_STEP = Fraction(1, 10), Fraction(1, 10), Fraction(1, 20)
BAND = (1, 3)
ROUND_TOKENS = 100


def _target(
    burn: Fraction, growth: Fraction, share2: Fraction, share3: Fraction, nodes2: Fraction, nodes3: Fraction,
    hours2: Fraction, hours3: Fraction, weight2: Fraction, weight3: Fraction,
) -> Mapping[str, Any]:  # fmt: skip
    tier2, tier3 = share2 * (1 + hours2), share3 * (1 + hours3)
    nodes = (tier2 * (1 + nodes2) + tier3 * (1 + nodes3)) / (tier2 + tier3) if tier2 + tier3 else Fraction(1)
    felt = weight2 * (1 + hours2) + weight3 * (1 + hours3)
    changed = bool(nodes2 or nodes3) and felt != 0
    pain = (tier2 + tier3) * (weight2 + weight3) / felt if changed else Fraction(1)
    projected = burn * (1 + growth)
    return {
        "target": float(projected * nodes * pain),
        "projected_burn": float(projected),
        "node_factor": float(nodes),
        "pain_factor": float(pain),
    }


def _decision(pay: Fraction, target: Fraction, quarters_same_way: int, ceiling: Fraction | None) -> Mapping[str, Any]:
    difference = target / pay - 1
    in_band = target > 0 and BAND[0] <= pay / target <= BAND[1]
    if abs(difference) <= BUFFER or in_band:
        after, rate = pay, Fraction(0)
    else:
        most = CAP_STEP * (1 + quarters_same_way)
        rate = most if abs(difference) >= most else Fraction(round(abs(difference) / ROUND_STEP)) * ROUND_STEP
        moved = pay * (1 + rate) if difference > 0 else pay / (1 + rate)
        after = Fraction(round(moved / ROUND_TOKENS) * ROUND_TOKENS)
    is_cut_short = ceiling is not None and after > ceiling
    if ceiling is not None:
        after = min(after, ceiling)
    return {
        "pay": float(after),
        "change": float(after / pay - 1),
        "rate": float(rate),
        "is_changed": after != pay,
        "is_at_ceiling": is_cut_short,
    }


def _ceiling(volume_usd: Fraction, price: Fraction, impact: Fraction) -> Mapping[str, Any]:
    # the target impact is the pool's own daily range, so both cancel and the coefficient alone is left
    return {"ceiling": float(volume_usd / price / impact**2)}


_SOURCE = Source("RNP-020: Node Operator Forward Guidance Policy", "rendernetwork/RNPs, RNP-020, appendix 1")
_NOTE = "defeated in the vote; kept as a controller that others can take"

POLICIES = (
    MonetaryPolicy(
        name="render.rnp020_target",
        summary="Work pay that RNP-020 aims for, from burns, growth and the nodes of two tiers.",
        function=_target,
        keys=(
            number("burn", "RENDER per epoch", "mean burn of the quarter"),
            number("growth", "fraction", "growth of the burn over the quarter", 0, minimum=-1),
            number("share2", "fraction", "tier 2's part of the tokens", "0.6666666667", maximum=1),
            number("share3", "fraction", "tier 3's part of the tokens", "0.3333333333", maximum=1),
            number("nodes2", "fraction", "change of tier 2's nodes", 0, minimum=-1),
            number("nodes3", "fraction", "change of tier 3's nodes", 0, minimum=-1),
            number("hours2", "fraction", "change of tier 2's hours per wallet", 0, minimum=-1),
            number("hours3", "fraction", "change of tier 3's hours per wallet", 0, minimum=-1),
            number("weight2", "weight", "priority of tier 2", 1),
            number("weight3", "weight", "priority of tier 3", 1),
        ),
        outputs=(
            Output("target", "RENDER per epoch", "the anchor"),
            Output("projected_burn", "RENDER per epoch", "burn with its growth"),
            Output("node_factor", "factor", "change of nodes"),
            Output("pain_factor", "factor", "min-max equal pain"),
        ),
        rounding="none",
        exact=False,
        example={"burn": "12482", "growth": "-0.0935"},
        source=_SOURCE,
        notes=_NOTE,
    ),
    MonetaryPolicy(
        name="render.rnp020",
        summary="Next quarter's work pay: nothing inside a buffer and a band, capped steps outside.",
        function=_decision,
        keys=(
            number("pay", "RENDER per epoch", "today's work pay", above=0),
            number("target", "RENDER per epoch", "from render.rnp020_target"),
            integer("quarters_same_way", "quarters", "changes before this one in the same direction", 0, maximum=1_000),
            number("ceiling", "RENDER per epoch", "from render.rnp020_ceiling", ""),
        ),
        outputs=(
            Output("pay", "RENDER per epoch", "next quarter's"),
            Output("change", "fraction", "against today's"),
            Output("rate", "fraction", "r: a raise multiplies by 1 + r, a cut divides"),
            Output("is_changed", "true/false", "whether anything moves"),
            Output("is_at_ceiling", "true/false", "whether the ceiling cut it"),
        ),
        rounding="rates to 5 points below the cap, pay to 100 tokens",
        exact=False,
        example={"pay": "15000", "target": "15497"},
        source=_SOURCE,
        notes=_NOTE,
    ),
    MonetaryPolicy(
        name="render.rnp020_ceiling",
        summary="Most work pay that the deepest pool takes in a day without moving beyond its daily range.",
        function=_ceiling,
        keys=(
            number("volume_usd", "USD per day", "mean daily volume of the pool"),
            number("price", "USD per RENDER", "price", above=0),
            number("impact", "factor", "Y, impact coefficient", "1.3", above=0),
        ),
        outputs=(Output("ceiling", "RENDER per epoch", "most work pay"),),
        rounding="none",
        exact=False,
        example={"volume_usd": "737600", "price": "3.83"},
        source=_SOURCE,
        notes=_NOTE,
    ),
)
