"""From a case to a card: answers with bands, red flags, scores, verdict. Pure: the same case, framework and day, the same card.

Score: s = 1 green, 0.5 amber, 0 red; w the weight; f the factor of the answer's grade.
    raw = 100 · Σ w·s / Σ w      adjusted = 100 · Σ w·s·f / Σ w      coverage = Σ w answered / Σ w applicable
over the *answered* questions. What is missing is unknown: never 0, never dropped silently. Below half of the weight answered
there is no verdict. Red flags cap the verdict whatever the score.
Invariants: `a_better_grade_never_lowers_the_adjusted_score`, `nothing_known_is_unknown_not_bad`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from fieldstone.assess import contradictions, gaming
from fieldstone.assess.case import Case
from fieldstone.assess.claims import Grade, worst
from fieldstone.assess.contradictions import Contradiction
from fieldstone.assess.evidence import Evidence, Known
from fieldstone.assess.formulas import display
from fieldstone.assess.gaming import Suspicion
from fieldstone.assess.questions import Band, FlagRule, Framework, MeasureRule, Question, condition, load_framework

Verdict = Literal["green", "amber", "red", "not rateable", "not a DePIN"]
Status = Literal["answered", "unknown", "not applicable"]
POINTS: dict[Band, float] = {"green": 1.0, "amber": 0.5, "red": 0.0}
_ORDER: tuple[Band, ...] = ("green", "amber", "red")


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of a question: known or not, its band, and what it would need."""

    rule: MeasureRule
    title: str
    unit: str
    known: Known | None
    band: Band | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question. `limits` says in words what keeps the band from being better or surer."""

    question: Question
    status: Status
    band: Band | None
    grade: Grade | None
    measured: tuple[Measured, ...]
    limits: tuple[str, ...]
    reason: str = ""

    @property
    def points(self) -> float | None:
        """1, 0.5 or 0; None when it is not answered."""
        return None if self.band is None else POINTS[self.band]

    @property
    def missing(self) -> tuple[str, ...]:
        """The metrics whose claims would answer it, or answer it better."""
        return tuple(dict.fromkeys(name for m in self.measured if m.rule.role != "shows" for name in m.missing))


@dataclass(frozen=True, slots=True)
class Flag:
    """A red flag that is raised (True), refuted (False) or not known (None)."""

    rule: FlagRule
    raised: bool | None
    known: Known | None


@dataclass(frozen=True, slots=True)
class Scores:
    """All on 0 to 100 except the shares; None when nothing is answered. `strength`: how much the evidence behind it is worth."""

    raw: float | None
    adjusted: float | None
    coverage: float
    strength: float | None


@dataclass(frozen=True, slots=True)
class Assessment:
    """A card. `expires`: the first day on which a claim it rests on loses a grade by age."""

    case: Case
    framework: Framework
    on: date
    answers: tuple[Answer, ...]
    flags: tuple[Flag, ...]
    scores: Scores
    verdict: Verdict
    because: str
    contradictions: tuple[Contradiction, ...]
    suspicions: tuple[Suspicion, ...]
    expires: date | None

    @property
    def raw(self) -> float | None:
        """Score of the answered questions, 0 to 100."""
        return self.scores.raw

    @property
    def adjusted(self) -> float | None:
        """The same, weighted by how good the evidence is."""
        return self.scores.adjusted

    @property
    def coverage(self) -> float:
        """Part of the applicable weight that is answered."""
        return self.scores.coverage

    def answer(self, question_id: str) -> Answer:
        """Return one answer by the question's id."""
        return next(answer for answer in self.answers if answer.question.id == question_id)

    def known(self, name: str) -> Known | None:
        """Return a number of the card, also one that no question shows."""
        return Evidence(self.case, self.framework, self.on).known(name)


def assess(case: Case, *, on: date, framework: Framework | None = None) -> Assessment:
    """Answer every question from a case's claims as they stand on a day."""
    framework = framework or load_framework()
    evidence = Evidence(case, framework, on)
    answers = tuple(_answer(question, evidence) for question in framework.question)
    flags = tuple(_flag(rule, evidence) for rule in framework.flag)
    scores = score(answers)
    verdict, because = conclude(scores, flags, framework, gate=case.gate is None or case.gate.passed)
    used = {claim for a in answers for m in a.measured if m.known for claim in m.known.claims}
    ages = [c.expires(framework.grades.oldest_days) for c in case.claims if c.id in used]
    return Assessment(
        case=case,
        framework=framework,
        on=on,
        answers=answers,
        flags=flags,
        scores=scores,
        verdict=verdict,
        because=because,
        contradictions=tuple(contradictions.find(case, framework)),
        suspicions=tuple(gaming.look(evidence)),
        expires=min((age for age in ages if age >= on), default=None),
    )


def score(
    answers: Sequence[Answer], framework: Framework | None = None, weights: Sequence[float] | None = None
) -> Scores:
    """Return the scores of some answers; `weights` replaces the questions' own, in the same order."""
    factor = (framework or load_framework()).grades.factor
    weight = list(weights) if weights is not None else [answer.question.weight for answer in answers]
    applicable = math.fsum(w for w, a in zip(weight, answers, strict=True) if a.status != "not applicable")
    done = [
        (w, a.points, factor[a.grade]) for w, a in zip(weight, answers, strict=True) if a.points is not None and a.grade
    ]
    answered = math.fsum(w for w, _, _ in done)
    if not answered:
        return Scores(None, None, 0.0, None)
    return Scores(
        raw=100 * math.fsum(w * s for w, s, _ in done if s is not None) / answered,
        adjusted=100 * math.fsum(w * s * f for w, s, f in done if s is not None) / answered,
        coverage=answered / applicable,
        strength=math.fsum(w * f for w, _, f in done) / answered,
    )


def conclude(scores: Scores, flags: Sequence[Flag], framework: Framework, *, gate: bool = True) -> tuple[Verdict, str]:
    """Return the verdict and why."""
    if not gate:
        return (
            "not a DePIN",
            "It has no three-sided market, no token incentive for supply, or no physical place that matters.",
        )
    hard = [flag.rule.title for flag in flags if flag.raised and flag.rule.severity == "hard"]
    soft = [flag.rule.title for flag in flags if flag.raised and flag.rule.severity == "soft"]
    if hard:
        return "red", f"Hard red flag: {'; '.join(hard)}."
    if scores.raw is None:
        return "not rateable", "Nothing is known that answers any question. Unknown is not bad: it is unknown."
    least = framework.verdict.least_coverage
    if scores.coverage < least:
        return (
            "not rateable",
            f"Claims answer {scores.coverage * 100:.0f} % of the weight; below {least * 100:.0f} % there is no verdict.",
        )
    band = _band(framework.verdict.green, framework.verdict.amber, scores.raw)
    if soft and band == "green":
        return "amber", f"The score alone is green; capped by {'; '.join(soft)}."
    return band, f"Raw score {scores.raw:.0f} of 100" + (f"; soft red flags: {'; '.join(soft)}." if soft else ".")


def _answer(question: Question, evidence: Evidence) -> Answer:
    measured = tuple(_measure(rule, evidence) for rule in question.measures)
    reason = evidence.case.not_applicable.get(question.id, "")
    unique = evidence.known(question.or_flag) if question.or_flag else None
    if unique is not None and unique.value:
        words = (f"{display(question.or_flag).title}: yes",)
        return Answer(question, "answered", "green", unique.grade, measured, words)
    deciding = [m for m in measured if m.rule.role == "decides"]
    worsening = [m for m in measured if m.rule.role == "worsens" and m.band is not None]
    decided = [m for m in deciding if m.band is not None]
    spoiling = [
        m for m in worsening if m.band == "red" or (decided and _rank(m.band) > max(_rank(d.band) for d in decided))
    ]
    if not decided and not any(m.band == "red" for m in spoiling):
        return Answer(question, "not applicable" if reason else "unknown", None, None, measured, (), reason)
    limits: list[str] = []
    bands: list[Band] = [m.band for m in (*decided, *spoiling) if m.band is not None]
    unknown = [m.title for m in deciding if m.band is None]
    if unknown and max(map(_rank, bands)) == 0:
        limits.append(f"green needs also: {', '.join(unknown)}; not known, so amber at best")
        bands.append("amber")
    for m in (*decided, *spoiling):
        if m.known and _unsure(m) and m.band == "green":
            limits.append(f"{m.title} is {m.known.bound} this; the rest is not known, so amber at best")
            bands.append("amber")
    # the band rests on what decided it; numbers that are better than the band add no doubt to it
    band = _ORDER[max(map(_rank, bands))]
    base = [m for m in (*decided, *spoiling) if m.known]
    grade = worst(m.known.grade for m in base if m.known)
    limits += [note for m in base if m.known for note in m.known.notes]
    return Answer(question, "answered", band, grade, measured, tuple(dict.fromkeys(limits)))


def _measure(rule: MeasureRule, evidence: Evidence) -> Measured:
    known, shown = evidence.known(rule.name), display(rule.name)
    band = rule.band(known.value) if known else None
    return Measured(rule, shown.title, shown.unit, known, band, evidence.missing(rule.name))


def _unsure(measured: Measured) -> bool:
    """Return whether the true value may be worse than the known one: only a bound in the good direction is known."""
    if measured.known is None or not measured.known.bound:
        return False
    better = display(measured.rule.name).better
    return (measured.known.bound == "at most") == (better == "higher")


def _flag(rule: FlagRule, evidence: Evidence) -> Flag:
    known = evidence.known(rule.measure)
    return Flag(rule, condition(rule.when).holds(known.value) if known else None, known)


def _rank(band: Band | None) -> int:
    return -1 if band is None else _ORDER.index(band)


def _band(green: str, amber: str, value: float) -> Band:
    if condition(green).holds(value):
        return "green"
    return "amber" if condition(amber).holds(value) else "red"
