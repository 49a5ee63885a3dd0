"""From claims to numbers: which claim speaks for a metric, and what follows from several. Pure.

Rules: a derived value takes the worst grade of its inputs; a claim older than a year loses one grade; inputs whose periods
lie more than 31 days apart lose one more (never below D); of several ways a definite value wins over a bound, then the
newest, a direct claim first among equals; of claims that contradict each other the one worse for the project counts until that is resolved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from fieldstone.assess.case import Case
from fieldstone.assess.catalogue import metrics
from fieldstone.assess.claims import Claim, Grade, Period, hull, worst
from fieldstone.assess.contradictions import rivals
from fieldstone.assess.formulas import BY_NAME
from fieldstone.assess.questions import Framework
from fieldstone.assess.ways import Bound, Measure, Way


@dataclass(frozen=True, slots=True)
class Known:
    """A number with what stands behind it. `end` is the day of the oldest input; `claims` their ids, in order."""

    name: str
    value: float
    values: tuple[float, ...] | None
    base: str
    grade: Grade
    period: Period
    end: date
    claims: tuple[str, ...]
    formula: str
    bound: Bound = ""
    notes: tuple[str, ...] = ()


class Evidence:
    """The numbers that a case's claims determine on a day."""

    def __init__(self, case: Case, framework: Framework, on: date) -> None:
        self.case, self.framework, self.on = case, framework, on
        self._claims: dict[str, list[Claim]] = {}
        for claim in case.claims:
            self._claims.setdefault(claim.metric, []).append(claim)
        self._found: dict[tuple[str, date | None], Known | None] = {}
        self._open: set[str] = set()

    def known(self, name: str) -> Known | None:
        """Return the number of a metric or measure; None when the claims do not determine it."""
        return self._known(name, None)

    def _known(self, name: str, until: date | None) -> Known | None:
        """Return a number; with `until`, from claims about days that had begun by then."""
        if (name, until) not in self._found:
            if name in self._open:
                return None  # a way that needs itself is no way
            self._open.add(name)
            found = [self._claimed(name, until)]
            found += (
                [self._worked_out(BY_NAME[name], way, until) for way in BY_NAME[name].ways] if name in BY_NAME else []
            )
            self._open.discard(name)
            known = [one for one in found if one is not None]
            # a definite value before a bound, then the newest, then the earlier way
            order = {id(one): (not one.bound, one.end, -n) for n, one in enumerate(known)}
            self._found[name, until] = max(known, key=lambda one: order[id(one)]) if known else None
        return self._found[name, until]

    def missing(self, name: str) -> tuple[str, ...]:
        """Return the claims that would determine a measure by its first way that lacks fewest of them."""
        if self.known(name) is not None:
            return ()
        if name not in BY_NAME:
            return (name,)
        lacks = []
        for way in BY_NAME[name].ways:
            needed = [i for i in way.inputs if not i.endswith("?")] or [i.rstrip("?") for i in way.inputs[:1]]
            lacks.append(tuple(dict.fromkeys(part for i in needed for part in self.missing(i))))
        return min((lack for lack in lacks if lack), key=len, default=())

    def _claimed(self, name: str, until: date | None) -> Known | None:
        every = self._claims.get(name, [])
        # a claim that is set aside still speaks against one of the same scope: setting aside is no way out
        claims = [c for c in every if c.counts and (until is None or c.period.start <= until)]
        if not claims:
            return None
        newest = max(claim.period.end for claim in claims)
        latest = [claim for claim in claims if claim.period.end == newest]
        chosen = self._speaks(latest)
        rest = [c for c in rivals(chosen, every, self.framework) if c.id != chosen.id]
        notes: tuple[str, ...] = ()
        if rest:
            pick = self._worse([chosen, *rest])
            others = ", ".join(c.id for c in (chosen, *rest) if c.id != pick.id)
            notes = (f"{pick.id} contradicts {others}; the value worse for the project counts",)
            chosen = pick
        return Known(
            name=name,
            value=chosen.value,
            values=chosen.values,
            base=chosen.base,
            grade=chosen.grade_on(self.on, self.framework.grades.oldest_days),
            period=chosen.period,
            end=chosen.period.end,
            claims=(chosen.id,),
            formula="as claimed",
            notes=notes,
        )

    def _speaks(self, claims: Sequence[Claim]) -> Claim:
        """Return the best graded of claims about the same days; the one worse for the project among equals."""
        best = min(list(Grade).index(claim.grade) for claim in claims)
        return self._worse([claim for claim in claims if list(Grade).index(claim.grade) == best])

    def _worse(self, claims: Sequence[Claim]) -> Claim:
        better = metrics()[claims[0].metric].better
        sign = {"higher": 1.0, "lower": -1.0, "none": 0.0}[better]
        return min(claims, key=lambda claim: (sign * claim.value, list(Grade).index(claim.grade), claim.id))

    def _worked_out(self, measure: Measure, way: Way, until: date | None) -> Known | None:
        newest = [self._known(name.rstrip("?"), until) for name in way.inputs]
        found = self._combine(measure, way, newest)
        days = self.framework.grades.furthest_days
        if found is None or _apart(newest) <= days:
            return found
        # older numbers of one period say more than newer ones of several; but never at the price of leaving one out
        common = found.end + timedelta(days=days)
        older = [self._known(name.rstrip("?"), common) for name in way.inputs]
        same = all((a is None) == (b is None) for a, b in zip(newest, older, strict=True))
        return (self._combine(measure, way, older) or found) if same and _apart(older) <= days else found

    def _combine(self, measure: Measure, way: Way, inputs: Sequence[Known | None]) -> Known | None:
        required = [one for name, one in zip(way.inputs, inputs, strict=True) if not name.endswith("?")]
        used = [one for one in inputs if one is not None]
        if None in required or not used or not _bases_fit(measure.name, way, inputs):
            return None
        if way.lists and any(one.values is None for one in used):
            return None
        arguments = [None if one is None else one.values if way.lists else one.value for one in inputs]
        value = _evaluate(way.compute, arguments)
        if value is None:
            return None
        grade = worst(one.grade for one in used)
        notes = [note for one in used for note in one.notes]
        apart = _apart(inputs)
        if apart > self.framework.grades.furthest_days:
            grade = grade.lowered()
            notes.append(f"mixes periods {apart} days apart")
        incomplete = any(one is None for one in inputs)
        conditional = any(name.endswith("?") for name in way.inputs)
        if way.caveat and (incomplete or not conditional):
            notes.append(way.caveat)
        own: Bound = way.bound if way.bound and (incomplete or not conditional) else ""
        return Known(
            name=measure.name,
            value=value,
            values=None,
            base=_base_of(measure.name, used),
            grade=grade,
            period=hull(one.period for one in used),
            end=min(one.end for one in used),
            claims=tuple(dict.fromkeys(claim for one in used for claim in one.claims)),
            formula=way.text,
            bound=own,
            notes=tuple(dict.fromkeys(notes)),
        )


def _apart(inputs: Sequence[Known | None]) -> int:
    """Return the days between the two inputs that lie furthest apart."""
    used = [one.period for one in inputs if one is not None]
    return max((a.gap_days(b) for a in used for b in used), default=0)


def _evaluate(compute: Callable[..., float | None], arguments: Sequence[object]) -> float | None:
    try:
        value = compute(*arguments)
    except (ZeroDivisionError, OverflowError):
        return None
    return None if value is None or math.isnan(value) else float(value)


# measures whose first two inputs must be in the same base unit
_SAME_BASE = (
    "utilisation",
    "advantage",
    "advantage_subsidised",
    "external_share",
    "discretionary_share",
    "gmv_over_net",
)


def _bases_fit(name: str, way: Way, inputs: Sequence[Known | None]) -> bool:
    """Return whether the units of the inputs can meet: prices per the same thing, rates of the same thing."""
    used = [one for one in inputs if one is not None]
    if name in _SAME_BASE and len({one.base for one in used[:2]}) > 1:
        return False
    if way.inputs[:2] == ("units.served", "price.network"):
        return used[1].base == f"USD/{_thing(used[0].base)}"
    if name == "advantage" and len(used) == 3:
        return used[0].base == used[2].base
    return True


def _thing(base: str) -> str:
    return base.partition("/")[0]


def _base_of(name: str, used: Sequence[Known]) -> str:
    if name == "subsidy_per_unit":
        thing = used[1].base
        # dollars a day over bytes kept is dollars per byte and day; over units a day, dollars per unit
        return f"USD/{thing}/day" if "/" not in thing else f"USD/{_thing(thing)}"
    return used[0].base if len(used) == 1 else ""
