"""How firm is a verdict? Weights drawn ±50 %, and every weak claim moved against the project. Seeded, pure.

Weights: each of `draws` times every weight is multiplied by a number drawn evenly from [1 − c, 1 + c]; printed is how often
the verdict changes. Claims: each claim of weak grade (or any that states its error) is moved by its error both ways; the
way that lowers the score is against the project. Then all are moved together, each its own way against it: a revenue can
be a numerator here and a denominator there, so the direction is found, not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fieldstone.assess.catalogue import metrics
from fieldstone.assess.claims import Claim
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
    found = [_swing(card, claim) for claim in weak]
    swings = sorted((swing for swing, _ in found), key=lambda s: (-_reach(s, card), s.claim.id))
    all_moved = _reassess(card, {claim.id: claim for _, claim in found})
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
    """Return whether a claim is a number that can be off a little. Yes-or-no claims and lists are not moved."""
    return metrics()[claim.metric].kind != "flag" and claim.values is None


def moved(claim: Claim, error: float, direction: int) -> Claim:
    """Return the claim with its value changed by its error, up (+1) or down (−1). Shares stay within 0 and 1."""
    value = claim.value + direction * error * abs(claim.value)
    if metrics()[claim.metric].kind == "share" and claim.metric != "token.net_inflation":
        value = min(max(value, 0.0), 1.0)
    return replace(claim, value=value, low=None, high=None)


def _swing(card: Assessment, claim: Claim) -> tuple[Swing, Claim]:
    """Return what a claim's error does, and the claim moved against the project."""
    error = error_of(claim, card)
    # where the score does not move, the metric's own sense decides which way is against the project
    first = 1 if metrics()[claim.metric].better == "lower" else -1
    one, other = (moved(claim, error, direction) for direction in (first, -first))
    a, b = _reassess(card, {claim.id: one}), _reassess(card, {claim.id: other})
    if _height(b) < _height(a):
        one, a, b = other, b, a
    return Swing(claim, error, a.raw, b.raw, a.verdict), one


def _height(card: Assessment) -> tuple[float, float]:
    """Order cards by how well the project stands; one with nothing answered stands lowest."""
    return (-1.0 if card.raw is None else card.raw, -1.0 if card.adjusted is None else card.adjusted)


def _reassess(card: Assessment, changed: dict[str, Claim]) -> Assessment:
    claims = tuple(changed.get(claim.id, claim) for claim in card.case.claims)
    return assess(card.case.with_claims(claims), on=card.on, framework=card.framework)


def _reach(swing: Swing, card: Assessment) -> float:
    known = [v for v in (swing.against, swing.towards, card.raw) if v is not None]
    return max(known) - min(known) if known else 0.0
