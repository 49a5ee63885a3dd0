"""`docs/reference/assess-questions.md`: questions, bands, flags, formulas and metrics, from the data that scores are made of."""

from __future__ import annotations

from fieldstone.assess.amounts import expected
from fieldstone.assess.catalogue import metrics
from fieldstone.assess.formulas import MEASURES, display
from fieldstone.assess.gaming import TRICKS
from fieldstone.assess.questions import load_framework
from fieldstone.assess.regulation import rules
from fieldstone.reference.markdown import code, head, table


def page() -> str:
    """Return the page."""
    framework = load_framework()
    parts = [
        head(
            "Assessment: questions, bands, formulas",
            "fieldstone.assess",
            "What `fieldstone assess` asks, how it judges, and what a claim can be about. How to use it: "
            "[assess a network](../how-to/assess-a-network.md).",
        ),
        _scores(),
        "## Questions\n\n`decides`: needed for the band; green needs all of them. `worsens`: can only make the band worse. "
        "What meets neither condition is red. Thresholds are proposals without peer calibration: `--framework FILE` replaces them.\n",
        table(
            ("", "question", "weight", "number", "role", "green", "amber"),
            [
                (q.id if n == 0 else "", q.title if n == 0 else "", f"{q.weight:g}" if n == 0 else "", display(m.name).title, m.role, code(m.green), code(m.amber))
                for q in framework.question
                for n, m in enumerate(q.measures)
            ],
        ),
        f"A raw score {framework.verdict.green} is green, {framework.verdict.amber} amber, below that red; with less than "
        f"{framework.verdict.least_coverage:.0%} of the weight answered there is no verdict.\n",
        "## Red flags\n\nHard caps the verdict at red, soft at amber, whatever the score.\n",
        table(("flag", "", "when", "why"), [(f.title, f.severity, code(f"{f.measure} {f.when}"), f.why) for f in framework.flag]),
        "## Formulas\n\nA number may have several ways; a definite one wins over a bound, then the newest. `?` marks what may be missing.\n",
        table(
            ("number", "way", "from", "then it is"),
            [
                (m.title if n == 0 else "", way.text, ", ".join(map(code, way.inputs)), "; ".join(p for p in (way.bound, way.caveat) if p))
                for m in MEASURES
                for n, way in enumerate(m.ways)
            ],
        ),
        "## How a card can be dressed up\n\nLooked for on every card; a finding is a reason to ask, not proof of intent.\n",
        "\n".join(f"- {trick}" for trick, _ in TRICKS.values()) + "\n",
        "## What a claim can be about\n",
        table(
            ("metric", "what", "unit", "better", "usually found"),
            [(code(m.name), m.title + (" (may be a list)" if m.many else ""), expected(m.kind, ""), m.better, m.where) for m in metrics().values()],
        ),
        "## Rules by region and service\n\nQuestions to ask, no legal advice. Grade D: not checked for this table.\n",
        table(("region", "services", "rule", "asks", "source", "grade"), [(r.region, ", ".join(r.services), r.title, r.asks, r.source, r.grade) for r in rules()]),
    ]  # fmt: skip
    return "\n".join(parts)


def _scores() -> str:
    factor = load_framework().grades.factor
    grades = ", ".join(f"{grade} {value:g}" for grade, value in factor.items())
    return (
        "## Scores\n\n"
        "With w the weight of an answered question, s = 1 green, 0.5 amber, 0 red, and f the factor of its grade:\n\n"
        "```\nraw      = 100 · Σ w·s / Σ w\nadjusted = 100 · Σ w·s·f / Σ w\ncoverage = Σ w answered / Σ w applicable\n```\n\n"
        f"Factors: {grades}. A derived number takes the worst grade of its inputs; a claim older than "
        f"{load_framework().grades.oldest_days} days loses one grade, and so does a mix of periods more than "
        f"{load_framework().grades.furthest_days} days apart. Of claims that contradict each other the one worse for the project counts.\n"
    )
