"""What a study means in sentences: the same ones on the page and in the terminal."""

from __future__ import annotations

import math

import numpy as np

from fieldstone.charts import Tone, number_text
from fieldstone.economy.experiments.outcomes import quantiles
from fieldstone.economy.experiments.studies import Study
from fieldstone.metrics import Interval

# the collapse conditions as questions a founder can answer, and what to do about them
CONDITIONS: dict[str, tuple[str, str]] = {
    "utility_npv": (
        "Without speculation, the worst cohort of operators loses money over the run",
        "customers' money does not carry these operators: raise the price or demand, or leave that hardware out",
    ),
    "below_tipping": (
        "Ends below the tipping point",
        "too few devices are worth buying from: concentrate on fewer regions until they are covered",
    ),
    "subsidised_fall": (
        "More than 90 % subsidy while the price falls, three steps on end",
        "mints pay operators and sink the price: mint less, or let the bootstrap fade with revenue",
    ),
    "operators_lose": (
        "More than half of the devices earn less than they cost to run",
        "they will be switched off: lower running costs, or do not attract more devices than demand needs",
    ),
    "below_break_even": (
        "Token below the price at which operators cover costs and wear, three steps on end",
        "existing devices stay while they earn more than electricity and rent; they are not replaced",
    ),
    "runway": (
        "The treasury lasts less long than new hardware takes to arrive",
        "spend less or raise the take before this month",
    ),
    "collateral": (
        "Credits covered by less than 90 % of their worth",
        "stop selling credits below a ratio (burn.halt_ratio)",
    ),
    "self_dealing": (
        "A dollar spent on one's own service brings back more than it costs",
        "a rule that pays for self-dealing will be used: `fieldstone policy lint`",
    ),
}


def percent(one: Interval | None) -> str:
    """Return a probability as people read it; what was never seen is given as its upper bound."""
    if one is None:
        return "unknown"
    return f"{one.value:.1%}".replace("%", " %") if 0 < one.value < 0.0995 else f"{one.value:.0%}".replace("%", " %")


def interval(one: Interval | None) -> str:
    """Return the 95 % interval of a probability."""
    return "" if one is None else f"95 % interval {one.low * 100:.1f} to {one.high * 100:.1f} %"


def tone_of(one: Interval) -> Tone:
    """Return how bad a probability of collapse is: good below 5 %, bad from 25 %."""
    return "good" if one.high < 0.05 else "bad" if one.value >= 0.25 else "mid"


def months(value: float | None) -> str:
    """Return a number of months; infinite is never."""
    if value is None:
        return "unknown"
    return "never" if math.isinf(value) else f"{value:,.0f} months" if value != 1 else "1 month"


def within(value: float) -> str:
    """Return a duration after a verb: "in 3 months", "never"."""
    return "never" if math.isinf(value) else f"in {months(value)}"


def tipping(study: Study) -> tuple[str, str]:
    """Return the tipping point and a remark."""
    found = study.equilibria
    if found.low is None:
        return "none", "no fleet pays for itself at today's demand and prices: only mints do"
    high = found.high or 0.0
    grows = (
        f"grows to about {high:,.0f} on customers' money" if high < found.devices[-1] else "has no upper end in sight"
    )
    if study.tipping is None:
        return "none", f"already the first device pays for itself; the network {grows}"
    return f"{study.tipping:,.0f}", f"devices; with more the network {grows}"


def sentences(study: Study) -> list[str]:
    """Return what a founder should take away, the most important first."""
    said = []
    down, utility, other = study.main.collapse, study.utility.collapse, study.other_model.collapse
    ends = (study.tipping is not None and "below the tipping point, or ") or ""
    said.append(
        f"{percent(down)} of the runs collapse (they end {ends}below 30 % of their largest fleet); "
        f"without speculation {percent(utility)}, under the {study.other_model.result.scenario.price.model} price model "
        f"{percent(other)}."
    )
    start = sum(cohort.initial_devices for cohort in study.scenario.cohorts)
    if study.equilibria.low is None:
        said.append(
            "At today's demand and prices no number of devices pays for itself. The network lives on mints, and on whoever buys them."
        )
    elif study.tipping is not None:
        where = "below" if start < study.tipping else "above"
        rest = (
            "rewards have to carry it across, and below it the network shrinks as soon as they stop"
            if start < study.tipping
            else "customers' money can carry it"
        )
        said.append(f"It starts with {start:,.0f} devices, {where} its tipping point of {study.tipping:,.0f}: {rest}.")
    p25, p50, p75 = study.paybacks.quantiles((0.25, 0.5, 0.75))
    late = study.paybacks_later.quantiles((0.5,))[0]
    bare = study.utility_paybacks.quantiles((0.5,))[0]
    said.append(
        f"A device bought at the start pays back {within(p50)} (quarter of them {within(p25)}, three quarters {within(p75)}), one "
        f"bought in month {study.paybacks_later.start_month:.0f} {within(late)}; without speculation {within(bare)}."
    )
    covered = quantiles(study.main.outcomes["issuance_coverage"], (0.5,))[0]
    burned = quantiles(study.main.outcomes["burn_to_emission"], (0.5,))[0]
    if covered is not None and math.isfinite(covered):
        said.append(
            f"In the last year customers pay ${covered:.2f} for every dollar that is minted, and {number_text(burned)} tokens are "
            "burned per token minted."
        )
    bare_end = float(np.median(study.utility.outcomes["price_usd_end"]))
    if bare_end < 0.1 * study.scenario.price.initial_usd:
        said.append(
            "Without speculation the token ends below a tenth of its first price: what is burned is minted again, so its use "
            "alone gives a holder little. Operators are paid by the dollar, not by the token."
            if study.utility.collapse.value < 0.05
            else "Without speculation the token ends below a tenth of its first price, and the rewards with it."
        )
    said.append(_treasury(study))
    worst = [one for one in study.stresses if one.collapse and one.stress.key != "all_at_once"]
    if worst and study.stress_base:
        hardest = max(worst, key=lambda one: one.collapse.value if one.collapse else 0.0)
        if hardest.collapse and hardest.collapse.value > study.stress_base[0].value + 0.02:
            said.append(
                f"It is hurt most by: {hardest.stress.title} ({percent(hardest.collapse)} of the runs collapse)."
            )
        else:
            said.append("No single stress of the pack makes it collapse much more often.")
    found = study.sensitivity
    if found:
        total = found.total["devices_end"]
        order = sorted(range(len(total)), key=lambda n: -total[n])[:3]
        named = ", ".join(found.knobs[n].name for n in order if total[n] > 0.02)
        if named:
            said.append(f"Its size hangs most on: {named}. Find these numbers out before the others.")
    return [sentence for sentence in said if sentence]


def _treasury(study: Study) -> str:
    if not study.scenario.treasury.spend_usd_month:
        return ""
    empty = study.empty_treasury
    share = float(np.isfinite(empty).mean())
    if share > 0.01:
        middle = quantiles(empty[np.isfinite(empty)], (0.5,))[0]
        return f"The treasury is empty before the end in {share:.0%} of the runs, typically in month {middle:.0f}.".replace(
            "%", " %"
        )
    shortest = quantiles(study.main.outcomes["runway_months"], (0.05,))[0]
    if shortest is not None and math.isfinite(shortest):
        return (
            f"The treasury lasts; at its tightest it holds {shortest:,.0f} months of spending (5 % of the runs: less)."
        )
    return "The treasury's income covers its spending."
