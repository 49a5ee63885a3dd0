"""The memo: a page or two of Markdown in the order an investment committee reads."""

from __future__ import annotations

from collections.abc import Sequence

from fieldstone import __version__
from fieldstone.assess.catalogue import metrics
from fieldstone.assess.evaluate import Answer, Assessment
from fieldstone.assess.evidence import Known
from fieldstone.assess.formulas import display
from fieldstone.assess.report.words import band_word, headline, percent, scored, sentence, shown, small, value_of
from fieldstone.assess.sensitivity import Sensitivity


def memo(card: Assessment, firmness: Sensitivity) -> str:
    """Return the memo's text."""
    case = card.case
    lines = [
        f"# {case.network.name}: does it solve a problem that people pay for?",
        "",
        f"**{headline(card)}**",
        "",
        f"{card.because} Scores: {scored(card.scores.raw)} raw / {scored(card.scores.adjusted)} adjusted for evidence / "
        f"coverage {percent(card.coverage)}. On {card.on}"
        + (f"; the first claim it rests on ages on {card.expires}." if card.expires else "."),
        "",
        case.network.summary,
        "",
        "## Who pays?",
        "",
        *[f"- {text}" for text in who_pays(card)],
        "",
        "## Questions",
        "",
        *_table(
            ("", "question", "weight", "value", "band", "grade", "period", "source"),
            [_row(card, answer) for answer in card.answers],
        ),
        "",
        "Bands: see the thresholds in `questions.toml`. Grades: A recomputed by us, B signed by a third party, C stated, D estimated; "
        "a number is as good as its worst input.",
        "",
        "## With customers' money alone, and with the token",
        "",
        *[f"- {text}" for text in with_and_without(card)],
        "",
        "## Red flags",
        "",
        *flag_lines(card),
        "",
        "## How firm is this?",
        "",
        *[f"- {text}" for text in firmness_lines(card, firmness)],
        "",
        "## Contradictions",
        "",
        *contradiction_lines(card),
        "",
        "## What would change the verdict",
        "",
        *[f"- **{a.question.title}** {a.question.change}" for a in wanted(card)],
        "",
        "## Known to be missing",
        "",
        *([f"- ({m.question}) {m.what}{f' — {m.where}' if m.where else ''}" for m in case.missing] or ["Nothing is listed."]),
        "",
        "## Sources",
        "",
        *[f"- `{s.id}` {s.title}{f', {s.locator}' if s.locator else ''}{f' (via {s.via})' if s.via else ''}" for s in case.sources.values()],
        "",
        f"Case {case.sha256[:16]}, framework {card.framework.sha256[:16]}, seed {firmness.seed}, Fieldstone {__version__}. "
        "A scorecard of claims, not advice.",
    ]  # fmt: skip
    # a case's texts are texts: Markdown would pass HTML on
    return "\n".join(lines).replace("<", "&lt;") + "\n"


def who_pays(card: Assessment) -> list[str]:
    """Return what is known about the payers, in sentences."""
    found = []
    for name in (
        "revenue.arms_length",
        "external_share",
        "payers_top1",
        "payers_hhi",
        "service_share",
        "discretionary_share",
    ):
        known = card.known(name)
        if known:
            found.append(sentence(name, known))
    return found or ["Unknown: no claim says who pays, or how much."]


def with_and_without(card: Assessment) -> list[str]:
    """Return payback from customers' money alone beside payback with rewards, and how much is subsidy."""
    found = []
    for name in ("payback_utility", "payback_p50", "subsidy_ratio", "demand_backed_share"):
        known = card.known(name)
        title = display(name).title
        found.append(sentence(name, known) if known else f"{title}: unknown")
    collapse = card.known("resilience.collapse_probability")
    found.append(
        sentence("resilience.collapse_probability", collapse)
        if collapse
        else "Survival under stress: unknown: run simulate with a scenario of this network and pass its summary.json with --stress"
    )
    return found


def flag_lines(card: Assessment) -> list[str]:
    """Return raised flags, then which could not be checked."""
    raised = [f for f in card.flags if f.raised]
    unknown = [f for f in card.flags if f.raised is None]
    lines = [
        f"- **{f.rule.title}** ({f.rule.severity}): {f.rule.why} {sentence(f.rule.measure, f.known) if f.known else ''}".rstrip()
        for f in raised
    ] or ["None of those that could be checked is raised."]
    if unknown:
        lines += ["", "Not known: " + "; ".join(small(f.rule.title) for f in unknown) + "."]
    return lines


def firmness_lines(card: Assessment, firmness: Sensitivity) -> list[str]:
    """Return how often the verdict changes, and the claims that move the score most."""
    lines = []
    if firmness.flips:
        lines.append(
            f"With every weight drawn within ±{percent(card.framework.sensitivity.weight_change)} ({firmness.draws:,} draws, seed "
            f"{firmness.seed}) the verdict changes in {percent(firmness.flips.value)} of draws "
            f"(95 %: {percent(firmness.flips.low)} to {percent(firmness.flips.high)})."
        )
    lines.append(
        f"With every weak claim moved against the project at once: {firmness.together}, raw {scored(firmness.together_raw)}."
    )
    moving = [s for s in firmness.swings if s.against != s.towards][:5]
    for swing in moving:
        lines.append(
            f"`{swing.claim.id}` ({small(metrics()[swing.claim.metric].title)}) off by {percent(swing.error)}: raw score "
            f"{scored(swing.against)} to {scored(swing.towards)}."
        )
    if not moving:
        lines.append("No single claim, moved by its error, changes the score.")
    return lines


def contradiction_lines(card: Assessment) -> list[str]:
    """Return contradictions side by side."""
    lines = []
    for one in card.contradictions:
        a, b = one.first, one.second
        if b is None:
            lines.append(f"- {metrics()[one.metric].title}: `{a.id}`: {one.explanation}.")
            continue
        sides = " against ".join(
            f"{c.shown} ({c.scope + ', ' if c.scope else ''}{shown(c.period)}, {c.source.title})" for c in (a, b)
        )
        kind = "" if one.kind == "value" else " Other scope." if one.kind == "scope" else ""
        why = f" {one.explanation}" if one.explanation and one.kind != "scope" else ""
        lines.append(f"- {metrics()[one.metric].title}: {sides}.{kind}{why}")
    return lines or ["None found."]


def wanted(card: Assessment) -> list[Answer]:
    """Return the questions whose answer more evidence would change most: unknown by weight, then weakly known."""
    order = [a for a in card.answers if a.status != "not applicable"]
    factor = card.framework.grades.factor
    return sorted(
        order, key=lambda a: (-(a.question.weight * (1 - (factor[a.grade] if a.grade else 0))), a.question.id)
    )[:6]


def _row(card: Assessment, answer: Answer) -> tuple[str, ...]:
    main = lead(answer)
    sources = ", ".join(dict.fromkeys(card.case.claim(c).source.id for c in main.claims)) if main else ""
    return (
        answer.question.id,
        answer.question.title,
        f"{answer.question.weight:g}",
        value_of(answer),
        band_word(answer),
        answer.grade.value if answer.grade else "—",
        shown(main.period) if main else "—",
        sources or "—",
    )


def lead(answer: Answer) -> Known | None:
    """Return the number that stands for an answer: the worst of those that decided it, else the first known."""
    known = [m for m in answer.measured if m.known and m.rule.role != "shows"]
    order = {"red": 0, "amber": 1, "green": 2, None: 3}
    best = min(known, key=lambda m: order[m.band], default=None)
    return best.known if best else None


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]
