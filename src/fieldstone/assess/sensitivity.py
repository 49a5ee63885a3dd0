"""How firm is a verdict? Weights drawn ±50 %, and every weak claim moved against the project. Seeded, pure.

Weights: each of `draws` times every weight is multiplied by a number drawn evenly from [1 − c, 1 + c]; printed is how often
the verdict changes. Claims: each claim of grade C or D (or any that states its error) is moved by its error in the
direction that is worse for the project, then the other way, and all of them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fieldstone.assess.catalogue import metrics
from fieldstone.assess.claims import Claim, Grade
from fieldstone.assess.evaluate import Assessment, Verdict, assess, conclude, score
from fieldstone.assess.questions import Framework
from fieldstone.metrics import Interval, wilson


@dataclass(frozen=True, slots=True)
class Swing:
    """What one claim's error does to the raw score: moved against and for the project. None: nothing is answered then."""

    claim: Claim
    error: float
    against: float | None
    towards: float | None
    verdict_against: Verdict


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """`flips`: part of the weight draws with another verdict (Wilson 95 %). `together`: verdict with all weak claims moved against."""

    flips: Interval | None
    draws: int
    seed: int
    swings: tuple[Swing, ...]
    together: Verdict
    together_raw: float | None


def sensitivity(card: Assessment) -> Sensitivity:
    """Return how firm a card's verdict is."""
    framework = card.framework
    setting = framework.sensitivity
    rng = np.random.Generator(np.random.Philox(key=setting.seed))
    base = np.array([answer.question.weight for answer in card.answers])
    factors = rng.uniform(1 - setting.weight_change, 1 + setting.weight_change, (setting.draws, base.size))
    gate = card.case.gate is None or card.case.gate.passed
    changed = 0
    for weights in base * factors:
        scores = score(card.answers, framework, weights.tolist())
        changed += conclude(scores, card.flags, framework, gate=gate)[0] != card.verdict
    used = {claim for a in card.answers for m in a.measured if m.known for claim in m.known.claims}
    weak = [c for c in card.case.claims if c.id in used and movable(c) and error_of(c, card) > 0]
    swings = sorted((_swing(card, claim) for claim in weak), key=lambda s: (-_reach(s, card), s.claim.id))
    all_moved = _reassess(card, {claim.id: moved(claim, error_of(claim, card), -1) for claim in weak})
    return Sensitivity(
        wilson(changed, setting.draws), setting.draws, setting.seed, tuple(swings), all_moved.verdict, all_moved.raw
    )


def error_of(claim: Claim, card: Assessment) -> float:
    """Return a claim's relative error: its own interval or statement, else that of its grade on the day."""
    if claim.low is not None and claim.high is not None and claim.value:
        return max(claim.high - claim.value, claim.value - claim.low) / abs(claim.value)
    framework: Framework = card.framework
    grade = claim.grade_on(card.on, framework.grades.oldest_days)
    return claim.error if claim.error is not None else framework.sensitivity.error[grade]


def movable(claim: Claim) -> bool:
    """Return whether a claim is a number with a good and a bad direction. Yes-or-no claims and lists are not moved."""
    metric = metrics()[claim.metric]
    return metric.kind != "flag" and claim.values is None and metric.better != "none"


def moved(claim: Claim, error: float, direction: int) -> Claim:
    """Return the claim moved by its error: direction −1 against the project, +1 for it. Shares stay within 0 and 1."""
    metric = metrics()[claim.metric]
    sign = direction if metric.better == "higher" else -direction
    value = claim.value + sign * error * abs(claim.value)
    if metric.kind == "share" and claim.metric != "token.net_inflation":
        value = min(max(value, 0.0), 1.0)
    return replace(claim, value=value, low=None, high=None)


def _swing(card: Assessment, claim: Claim) -> Swing:
    error = error_of(claim, card)
    against = _reassess(card, {claim.id: moved(claim, error, -1)})
    towards = _reassess(card, {claim.id: moved(claim, error, +1)})
    return Swing(claim, error, against.raw, towards.raw, against.verdict)


def _reassess(card: Assessment, changed: dict[str, Claim]) -> Assessment:
    claims = tuple(changed.get(claim.id, claim) for claim in card.case.claims)
    return assess(card.case.with_claims(claims), on=card.on, framework=card.framework)


def _reach(swing: Swing, card: Assessment) -> float:
    known = [v for v in (swing.against, swing.towards, card.raw) if v is not None]
    return max(known) - min(known) if known else 0.0


def weakest(card: Assessment) -> list[Claim]:
    """Return the claims of grade D (on the day) that answers rest on."""
    used = {claim for a in card.answers for m in a.measured if m.known for claim in m.known.claims}
    oldest = card.framework.grades.oldest_days
    return [c for c in card.case.claims if c.id in used and c.grade_on(card.on, oldest) is Grade.D]


def never(value: float) -> bool:
    """Return whether a value stands for "never"."""
    return math.isinf(value)
