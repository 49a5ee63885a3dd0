"""Claims that cannot all be right, shown side by side, never averaged. Pure.

Rule: claims of one metric, scope and overlapping period contradict when they differ by more than 5 % or by what they say
about their own error, whichever is more. Claims whose scope differs are flagged when they differ by more than a factor:
one of the two scopes is being read as the other. A source cannot be older than what it reports.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fieldstone.assess.case import Case
from fieldstone.assess.claims import Claim
from fieldstone.assess.questions import Framework

_LAG_DAYS = 31  # a page of the 4th may speak of its month
Kind = Literal["value", "scope", "declared", "date"]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two claims (or one with its source, for `date`) and how far apart they are, relative to the larger."""

    kind: Kind
    metric: str
    first: Claim
    second: Claim | None
    difference: float
    explanation: str


def difference(a: float, b: float) -> float:
    """Return |a − b| / max(|a|, |b|), 0 for two zeros."""
    largest = max(abs(a), abs(b))
    return abs(a - b) / largest if largest else 0.0


def comparable(a: Claim, b: Claim) -> bool:
    """Return whether two claims are about the same thing: metric, scope, unit of measure and overlapping days."""
    return a.metric == b.metric and a.scope == b.scope and a.base == b.base and a.period.overlaps(b.period)


def conflict(a: Claim, b: Claim, framework: Framework) -> bool:
    """Return whether two comparable claims contradict each other."""
    if not comparable(a, b) or a.id in b.derived_from or b.id in a.derived_from:
        return False
    allowed = max(framework.contradictions.least_difference, a.error or 0.0, b.error or 0.0)
    within = _reach(a, b) or _reach(b, a)
    return difference(a.value, b.value) > allowed and not within


def rivals(claim: Claim, claims: Sequence[Claim], framework: Framework) -> list[Claim]:
    """Return the claims that contradict one by value, in order."""
    return [other for other in claims if other.id != claim.id and conflict(claim, other, framework)]


def find(case: Case, framework: Framework) -> list[Contradiction]:
    """Return every contradiction of a case, by metric and claim id."""
    found: dict[tuple[str, str], Contradiction] = {}
    ordered = sorted(case.claims, key=lambda claim: (claim.metric, claim.id))
    for a, b in itertools.combinations(ordered, 2):
        if a.metric != b.metric:
            continue
        apart = difference(a.value, b.value)
        if conflict(a, b, framework):
            found[a.id, b.id] = Contradiction("value", a.metric, a, b, apart, _why(a, b))
        elif _scopes_collide(a, b, framework):
            words = f"“{a.scope or 'no scope'}” against “{b.scope or 'no scope'}”: say which is meant"
            found[a.id, b.id] = Contradiction("scope", a.metric, a, b, apart, words)
    by_id = {claim.id: claim for claim in case.claims}
    for claim in ordered:
        for other in claim.contradicts:
            pair = (claim.id, other) if (claim.metric, claim.id) <= (by_id[other].metric, other) else (other, claim.id)
            if pair not in found:
                a, b = by_id[pair[0]], by_id[pair[1]]
                found[pair] = Contradiction("declared", claim.metric, a, b, difference(a.value, b.value), _why(a, b))
    dated = [
        Contradiction("date", c.metric, c, None, 0.0, f"the source is dated {c.source.date} and reports {c.as_of}")
        for c in ordered
        if c.source.date and (c.as_of - c.source.date).days > _LAG_DAYS
    ]
    return [
        *sorted(found.values(), key=lambda one: (one.metric, one.first.id, one.second.id if one.second else "")),
        *dated,
    ]


def _reach(a: Claim, b: Claim) -> bool:
    """Return whether the interval that a claim states for itself holds the other's value."""
    return a.low is not None and a.high is not None and a.low <= b.value <= a.high


def _scopes_collide(a: Claim, b: Claim, framework: Framework) -> bool:
    if a.part_of == b.id or b.part_of == a.id or (a.part_of and a.part_of == b.part_of):
        return False  # a part is smaller than its whole, and parts differ
    if a.scope == b.scope or a.base != b.base or not a.period.overlaps(b.period) or a.values or b.values:
        return False
    low, high = sorted((abs(a.value), abs(b.value)))
    return low * framework.contradictions.scope_factor < high


def _why(a: Claim, b: Claim) -> str:
    return " ".join(dict.fromkeys(note for note in (a.note, b.note) if note))
