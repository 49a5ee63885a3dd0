"""The charts of a card."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from fieldstone.assess.catalogue import metrics
from fieldstone.assess.claims import Claim
from fieldstone.assess.evaluate import Answer, Assessment
from fieldstone.assess.formulas import display
from fieldstone.assess.questions import MeasureRule, condition
from fieldstone.assess.resilience import StressPack
from fieldstone.assess.sensitivity import Sensitivity
from fieldstone.charts import (
    Axis,
    Chart,
    Figure,
    Series,
    Threshold,
    bar_chart,
    bullet,
    coverage_bar,
    heat_map,
    line_chart,
    scatter,
    tornado,
)
from fieldstone.metrics import gini, spearman

_TONE = {"green": "good", "amber": "mid", "red": "bad"}
MOST_HISTORIES = 4
MOST_PAYERS = 10


def coverage(card: Assessment) -> Chart:
    """Return the weight of the questions by answer."""
    parts = []
    for band, tone in (("green", "good"), ("amber", "mid"), ("red", "bad")):
        parts.append((band, sum(a.question.weight for a in card.answers if a.band == band), tone))
    parts.append(("unknown", sum(a.question.weight for a in card.answers if a.status == "unknown"), "none"))
    return coverage_bar("Weight of the questions by answer", parts)


def gauge(answer: Answer) -> Chart | None:
    """Return the bullet of the number that stands for an answer; None when it has no scale."""
    shown = [m for m in answer.measured if m.rule.role == "decides"]
    known = [m for m in shown if m.known] or shown
    order = {"red": 0, "amber": 1, "green": 2, None: 3}
    main = min(known, key=lambda m: order[m.band], default=None)
    if main is None:
        return None
    value = main.known.value if main.known else None
    if value is not None and math.isinf(value):
        value = 1e300
    low, high = scale_of(main.rule)
    return bullet(main.title, value, bands_of(main.rule, low, high), low=low, unit=main.unit)


def scale_of(rule: MeasureRule) -> tuple[float, float]:
    """Return where a measure's scale begins and ends."""
    measure = display(rule.name)
    bounds = [bound for text in (rule.green, rule.amber) for _, bound in condition(text).parts]
    if measure.high != 1.0:
        return 0.0, measure.high
    if rule.name in ("advantage", "rank_correlation"):
        return -1.0, 1.0
    if rule.name == "attack_profit":
        return -100.0, 100.0
    return 0.0, max([1.0, *(1.5 * b for b in bounds if b > 1)])


def bands_of(rule: MeasureRule, low: float, high: float) -> list[Threshold]:
    """Return the bands of a scale by asking the rule between its own bounds."""
    bounds = {bound for text in (rule.green, rule.amber) for _, bound in condition(text).parts}
    edges = [low, *sorted(b for b in bounds if low < b < high), high]
    found: list[Threshold] = []
    for a, b in itertools.pairwise(edges):
        band = rule.band((a + b) / 2)
        tone = _TONE.get(band or "", "none")
        if found and found[-1].tone == tone:
            found[-1] = Threshold(b, tone)
        else:
            found.append(Threshold(b, tone))
    return found


def payers(card: Assessment) -> Figure | None:
    """Return revenue by payer, largest first, when a list is claimed."""
    known = card.known("payers.revenue")
    if known is None or not known.values:
        return None
    ordered = sorted(known.values, reverse=True)
    names = [f"payer {n + 1}" for n in range(min(len(ordered), MOST_PAYERS))]
    values = list(ordered[:MOST_PAYERS])
    if len(ordered) > MOST_PAYERS:
        names.append(f"{len(ordered) - MOST_PAYERS} others")
        values.append(math.fsum(ordered[MOST_PAYERS:]))
    chart = bar_chart("Revenue by payer", names, [Series("", values)], y=Axis("payer", "$/day"), lying=True)
    return Figure(
        chart, f"Dollars a day, {known.period}, grade {known.grade}. A wallet or an account is not an owner.", "$/day"
    )


def mints(card: Assessment) -> Figure | None:
    """Return the worth of mints beside what customers paid."""
    emission, revenue = card.known("emission.value"), card.known("revenue.arms_length")
    if emission is None and revenue is None:
        return None
    names = ["worth of everything minted", "arm's-length revenue"]
    values = [emission.value if emission else None, revenue.value if revenue else None]
    chart = bar_chart("Minted against earned, per day", names, [Series("", values)], y=Axis("", "$/day"), lying=True)
    told = "; ".join(
        f"{name}: {k.formula}, grade {k.grade}{', ' + '; '.join(k.notes) if k.notes else ''}"
        for name, k in zip(names, (emission, revenue), strict=True)
        if k
    )
    return Figure(chart, told + ". Hatched: unknown.", "$/day")


def swings(card: Assessment, firmness: Sensitivity) -> Figure | None:
    """Return how far each weak claim's error moves the raw score."""
    if card.raw is None:
        return None
    rows = [
        (f"{metrics()[s.claim.metric].title}", s.against, s.towards)
        for s in firmness.swings
        if s.against is not None and s.towards is not None and s.against != s.towards
    ][:8]
    if not rows:
        return None
    chart = tornado("What moves the raw score", rows, base=card.raw, ends=("against the project", "for the project"))
    return Figure(chart, "Each claim of weak grade moved by its own error, one at a time.")


def history(card: Assessment) -> list[Figure]:
    """Return numbers of one metric and scope that are known for three periods or more."""
    groups: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in card.case.claims:
        if claim.values is None and metrics()[claim.metric].kind != "flag":
            groups.setdefault((claim.metric, claim.scope, claim.base), []).append(claim)
    found = []
    for (metric, scope, _), claims in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        by_end: dict[str, Claim] = {str(c.period.end): c for c in sorted(claims, key=lambda c: c.id)}
        if len(by_end) < 3:
            continue
        ordered = [by_end[end] for end in sorted(by_end)]
        unit = display(metric).unit
        chart = bar_chart(
            f"{metrics()[metric].title}{f' ({scope})' if scope else ''}",
            [str(c.period.end) for c in ordered],
            [Series("", [c.value for c in ordered])],
            y=Axis("period's end" if not unit else "", unit or (ordered[0].base if len(ordered[0].base) < 12 else "")),
        )
        found.append(Figure(chart, f"As claimed; grades {', '.join(c.grade for c in ordered)}.", unit))
    return found[:MOST_HISTORIES]


def stress(pack: StressPack) -> list[Figure]:
    """Return P(collapse) by stress and, where it was made, the map of demand and price shocks."""
    ordered = sorted(pack.stresses, key=lambda item: (-item[1].value, item[0]))
    bars = bar_chart(
        "Probability of collapse by stress",
        [title for title, _ in ordered],
        [Series("", [found.value for _, found in ordered])],
        y=Axis("", "%", high=1.0),
        lying=True,
    )
    told = f"Without speculation, {pack.months} months, {pack.runs} runs a stress, seed {pack.seed}, scenario {pack.scenario}, grade {pack.grade}."
    if pack.not_run:
        told += " Not run: " + "; ".join(f"{title} ({why})" for title, why in pack.not_run) + "."
    found = [Figure(bars, told, "%")]
    if pack.heat:
        chart = heat_map(
            "Probability of collapse: demand against price",
            [_shock(v) for v in pack.price],
            [_shock(v) for v in pack.demand],
            pack.heat,
            unit="%",
            row_label="price",
            column_label="demand",
            low=0.0,
            high=1.0,
        )
        found.append(Figure(chart, "Both shocks at once, from one month on and for good, with speculation.", "%"))
    return found


def _shock(factor: float) -> str:
    return "unchanged" if factor == 1 else f"{'−' if factor < 1 else '+'}{abs(1 - factor) * 100:.0f} %"


def reward_spread(card: Assessment) -> Figure | None:
    """Return the Lorenz curve of rewards over devices."""
    known = card.known("link.device_rewards")
    if known is None or not known.values or len(known.values) < 5:
        return None
    ordered = np.sort(np.asarray(known.values, dtype=np.float64))
    total = float(ordered.sum())
    if total <= 0:
        return None
    steps = min(len(ordered), 50)
    cut = np.linspace(0, len(ordered), steps + 1).round().astype(int)
    held = np.concatenate([[0.0], np.cumsum(ordered)])[cut] / total
    share = [float(n) for n in cut / len(ordered)]
    equal = gini(list(known.values), zeros=True)
    chart = line_chart(
        "Who earns the rewards",
        share,
        [Series("rewards", [float(v) for v in held]), Series("if all earned the same", share)],
        x=Axis("devices, poorest first", "%"),
        y=Axis("part of rewards", "%"),
    )
    return Figure(chart, f"Lorenz curve over {len(ordered)} devices, zeros included; Gini {equal:.2f}.", "%")


def reward_against_revenue(card: Assessment) -> Figure | None:
    """Return reward against revenue per device."""
    rewards, revenue = card.known("link.device_rewards"), card.known("link.device_revenue")
    if not (rewards and revenue and rewards.values and revenue.values) or len(rewards.values) != len(revenue.values):
        return None
    pairs: Sequence[tuple[float, float]] = list(zip(revenue.values, rewards.values, strict=True))
    points = [(a, b, f"device {n + 1}") for n, (a, b) in enumerate(pairs[:2000])]
    rho = spearman(list(rewards.values), list(revenue.values))
    told = f"{len(pairs)} devices" + (f"; Spearman's ρ {rho:.2f}" if rho is not None else "; ρ is not defined here")
    chart = scatter("Reward against revenue, per device", points, x=Axis("revenue", "$/day"), y=Axis("reward", "$/day"))
    return Figure(chart, f"{told}. Rewards linked to demand rise to the right.")
