"""Render's burn and mint: a published emission table, dollar-priced jobs that burn, revenue-linked rewards of RNP-023.

Formulas:
    emission, month m   = 760,567 RENDER in year 1 (8.5 % of 107,374,182), 5.5 % / 12 a month in years 2 and 3
    job paid in USD     = 5 % fee; the rest is burned at the price of the day (RNP-001, RNP-006, RNP-019)
    RNP-023             = burn share·USD / P_burn, mint reward·USD / P_reward, by product
Reason: the mint of RNP-001 is independent of what is burned, since a mint that follows burns is circular; RNP-023 ties
both to revenue and leaves only the price drift between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import Key, Kind, MonetaryPolicy, Output, Source, choice, integer, number

EXTRA_SUPPLY = 107_374_182
YEAR_SHARES = (Fraction("0.085"), Fraction("0.055"), Fraction("0.055"))  # published: years 1 to 3
DAMPING = Fraction("0.945")
# product → (burned, operator, foundation, rewards to nodes), as shares of revenue
RNP023 = {
    "sce": (Fraction("0.60"), Fraction("0.35"), Fraction("0.05"), Fraction("0.56")),
    "sgs": (Fraction("0.35"), Fraction("0.60"), Fraction("0.05"), Fraction("0.31")),
}


def month_emission(month: int) -> int:
    """Return the whole RENDER emitted in a month (1 is the first of the scheme); beyond year 3 an extrapolation."""
    year = (month - 1) // 12
    if year < len(YEAR_SHARES):
        return int(EXTRA_SUPPLY * YEAR_SHARES[year] / 12)
    return int(EXTRA_SUPPLY * YEAR_SHARES[-1] * DAMPING ** (year - len(YEAR_SHARES) + 1) / 12)


def emitted_before(month: int) -> int:
    """Return the RENDER emitted in all months before this one, never above the extra supply."""
    years, rest = divmod(month - 1, 12)
    whole = sum(12 * month_emission(12 * year + 1) for year in range(years))
    return min(EXTRA_SUPPLY, whole + rest * month_emission(month))


def _emission(month: int) -> Mapping[str, Any]:
    before = emitted_before(month)
    return {
        "render": min(month_emission(month), EXTRA_SUPPLY - before),
        "emitted_before": before,
        "is_published": month <= 12 * len(YEAR_SHARES),
    }


def _job(usd: Fraction, price: Fraction, fee_percent: Fraction) -> Mapping[str, Any]:
    fee = usd * fee_percent / 100
    return {"burned_render": float((usd - fee) / price), "fee_usd": float(fee)}


def _rnp023(usd: Fraction, product: str, price_burn: Fraction, price_reward: Fraction) -> Mapping[str, Any]:
    burned, operator, foundation, reward = RNP023[product]
    burn, mint = burned * usd / price_burn, reward * usd / price_reward
    return {
        "burned_render": float(burn),
        "minted_render": float(mint),
        "net_render": float(mint - burn),
        "operator_usd": float(operator * usd),
        "foundation_usd": float(foundation * usd),
        "nodes_usd": float(reward * usd),
    }


def _split(work: tuple[int, ...], emission: int) -> Mapping[str, Any]:
    whole = sum(work)
    paid = [emission * amount // whole if whole else 0 for amount in work]
    return {"paid": paid, "remainder": emission - sum(paid)}


_RNPS = "rendernetwork/RNPs"

POLICIES = (
    MonetaryPolicy(
        name="render.emission",
        summary="RENDER emitted in a month of the burn-mint scheme, 1 is the first.",
        function=_emission,
        keys=(integer("month", "months since start", "the month, 1 is the first", minimum=1, maximum=1200),),
        outputs=(
            Output("render", "RENDER", "emitted that month"),
            Output("emitted_before", "RENDER", "emitted in all months before"),
            Output("is_published", "true/false", "false: beyond year 3 the table is our extrapolation"),
        ),
        rounding="floor to whole RENDER per month, as the published 760,567",
        exact=True,
        example={"month": "1"},
        source=Source(
            "RNP-001, RNP-006 and RNP-018", f"{_RNPS}, RNP-001 appendix; RNP-006 splits; RNP-018 year 2 budget"
        ),
        notes="years 4 and later are not published as text: damped by 0.945 a year from year 3, up to the extra supply",
    ),
    MonetaryPolicy(
        name="render.job",
        summary="RENDER burned when a customer pays for a job in dollars.",
        function=_job,
        keys=(
            number("usd", "USD", "paid"),
            number("price", "USD per RENDER", "price of the day", above=0),
            number("fee_percent", "%", "transaction fee, taken first", 5, maximum=100),
        ),
        outputs=(Output("burned_render", "RENDER", "burned"), Output("fee_usd", "USD", "fee")),
        rounding="none stated; float",
        exact=False,
        example={"usd": "100", "price": "2"},
        source=Source("RNP-006: Solana Upgrade and Emission Schedule", f"{_RNPS}, RENDER and BME Emissions"),
    ),
    MonetaryPolicy(
        name="render.split",
        summary="An epoch's emission shared over nodes by work (RNP-001).",
        function=_split,
        keys=(
            Key(name="work", kind=Kind.INTEGERS, unit="work units", doc="of each node, separated by commas"),
            integer("emission", "base units", "emission of the epoch"),
        ),
        outputs=(
            Output("paid", "base units", "to each, in the order given"),
            Output("remainder", "base units", "left by rounding"),
        ),
        rounding="floor of each, remainder kept",
        exact=True,
        example={"work": "1,2,3", "emission": "100"},
        source=Source("RNP-001: Burn-and-mint Equilibrium", f"{_RNPS}, implementation"),
    ),
    MonetaryPolicy(
        name="render.rnp023",
        summary="Burn and mint of Salad's revenue: both tied to dollars, at two different prices.",
        function=_rnp023,
        keys=(
            number("usd", "USD", "revenue"),
            choice("product", "container engine or gateway service", ("sce", "sgs")),
            number("price_burn", "USD per RENDER", "when it is burned", above=0),
            number("price_reward", "USD per RENDER", "24-hour average when nodes are paid", above=0),
        ),
        outputs=(
            Output("burned_render", "RENDER", "burned"),
            Output("minted_render", "RENDER", "paid to nodes"),
            Output("net_render", "RENDER", "minted less burned"),
            Output("operator_usd", "USD", "Salad's part"),
            Output("foundation_usd", "USD", "the foundation's part"),
            Output("nodes_usd", "USD", "what nodes are owed"),
        ),
        rounding="none stated; float",
        exact=False,
        example={"usd": "1000", "product": "sce", "price_burn": "2", "price_reward": "2"},
        source=Source(
            "RNP-023: Proposal for the Salad Network to migrate to RENDER", f"{_RNPS}, revenue and burns; rewards"
        ),
        notes="the reward shares (56 % and 31 %) are the proposal's approximate figures",
    ),
)
