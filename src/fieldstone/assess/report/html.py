"""The report: one offline HTML page for an investment committee, an operator about to buy, a customer about to depend."""

from __future__ import annotations

from fieldstone import __version__
from fieldstone.assess.catalogue import metrics
from fieldstone.assess.evaluate import Assessment
from fieldstone.assess.formulas import display
from fieldstone.assess.regulation import standing
from fieldstone.assess.report import figures
from fieldstone.assess.report.memo import firmness_lines, lead, wanted, who_pays
from fieldstone.assess.report.words import (
    GRADES,
    TONES,
    amount,
    band_word,
    headline,
    percent,
    scored,
    sentence,
    shown,
    small,
    tone_of,
    value_of,
)
from fieldstone.assess.resilience import StressPack
from fieldstone.assess.sensitivity import Sensitivity
from fieldstone.charts import Cell, Facts, Figure, Items, Note, Page, Pill, Section, Table, Text, Tile, Tiles
from fieldstone.charts.blocks import Block, Value

_OPERATOR = (
    "payback_p50",
    "payback_utility",
    "capex_per_device",
    "reward_per_device",
    "revenue_per_device",
    "hardware.opex",
    "hardware.lead_time",
    "opex_over_reward",
    "subsidy_ratio",
    "net_inflation",
)
_CUSTOMER = (
    "advantage_subsidised",
    "advantage",
    "coverage.unique",
    "verified_share",
    "attack.fake_reward_ratio",
    "utilisation",
    "supply.unmet_share",
    "providers.top1_share",
    "control_nakamoto",
    "resilience.collapse_probability",
)
_INVESTOR = (
    "revenue.arms_length",
    "external_share",
    "service_share",
    "emission.value",
    "subsidy_ratio",
    "issuance_coverage",
    "net_inflation",
    "token.market_cap",
    "token.multiple",
    "unlock_days",
    "token.insider_share",
)


def page(card: Assessment, firmness: Sensitivity, pack: StressPack | None = None) -> str:
    """Return the report's HTML; `pack` is the study that question 11 rests on, when there is one."""
    case = card.case
    sections = [
        Section("", [*_verdict(card), Figure(figures.coverage(card), _coverage_words(card))]),
        Section("Who pays?", [Items(who_pays(card)), *_figures(figures.payers(card), figures.mints(card))]),
        Section("Scorecard", [_scorecard(card), _legend(card)]),
        Section("Red flags", _flags(card)),
        Section("For an investment committee", _investor(card, firmness)),
        Section("For an operator about to buy hardware", _operator(card)),
        Section("For a customer about to depend on it", _customer(card)),
        *([Section("Under stress", list(figures.stress(pack)))] if pack else []),
        Section("Contradictions", _contradictions(card)),
        Section("Could the numbers be dressed up?", [_gaming(card)]),
        *([Section("Over time", history)] if (history := _figures(*figures.history(card))) else []),
        Section("Rules by region", _regulation(card)),
        Section("What would change the verdict", _change(card)),
        Section("Every claim", [_claims(card)]),
        Section("Sources", [_sources(card)]),
    ]
    provenance = {
        "case": case.sha256[:16],
        "framework": f"v{card.framework.version} {card.framework.sha256[:16]}",
        "on": str(card.on),
        "seed": str(firmness.seed),
        "Fieldstone": __version__,
    }
    return Page(
        f"{case.network.name}: does it solve a problem that people pay for?",
        [s for s in sections if s.blocks],
        lead=case.network.summary,
        provenance=provenance,
    ).html()


def _verdict(card: Assessment) -> list[Block]:
    raised = [f for f in card.flags if f.raised]
    hard = sum(f.rule.severity == "hard" for f in raised)
    unknown_flags = sum(f.raised is None for f in card.flags)
    strength = percent(card.scores.strength) if card.scores.strength is not None else "unknown"
    ends = f"the first claim ages on {card.expires}" if card.expires else "no claim left to age"
    return [
        Note(card.because, tone_of(card), headline(card) + "."),
        Tiles(
            [
                Tile("Raw score", scored(card.raw), "of 100, answered questions", tone_of(card)),
                Tile("Adjusted", scored(card.adjusted), f"evidence is worth {strength}"),
                Tile("Coverage", percent(card.coverage), "of the weight is answered"),
                Tile(
                    "Red flags",
                    str(len(raised)),
                    f"{hard} hard; {unknown_flags} not known",
                    "bad" if raised else "none",
                ),
                Tile("Contradictions", str(len(card.contradictions)), "shown side by side"),
                Tile("As of", str(card.on), ends),
            ]
        ),
    ]


def _coverage_words(card: Assessment) -> str:
    return "Hatched is unknown: it counts neither for nor against the network."


def _scorecard(card: Assessment) -> Table:
    rows: list[list[Value]] = []
    for answer in card.answers:
        question, main = answer.question, lead(answer)
        below = "; ".join(answer.limits[:2]) if answer.limits else answer.reason
        if answer.status == "unknown":
            below = f"needs: {'; '.join(small(display(name).title) for name in answer.missing[:3])}"
        where = ", ".join(dict.fromkeys(card.case.claim(c).source.id for c in main.claims)) if main else ""
        rows.append(
            [
                Cell(f"{question.id}  {question.title}", question.asks),
                Cell(value_of(answer), below),
                "" if answer.status == "not applicable" else figures.gauge(answer) or "",
                Pill(band_word(answer), TONES[answer.band]),
                answer.grade.value if answer.grade else "—",
                Cell(shown(main.period), where) if main else "—",
                f"{question.weight:g}",
            ]
        )
    return Table(["Question", "Value", "", "Band", "Grade", "Period", "Weight"], rows, stack=True)


def _legend(card: Assessment) -> Block:
    factor = card.framework.grades.factor
    grades = "; ".join(f"{grade} {GRADES[grade]} (counts {factor[grade]:g})" for grade in factor)
    return Text(
        f"Grades: {grades}. A number is as good as its worst input; a claim older than a year, or a mix of periods more than "
        f"{card.framework.grades.furthest_days} days apart, loses one grade. Bars lie over their bands; an arrow leaves the scale."
    )


def _flags(card: Assessment) -> list[Block]:
    blocks: list[Block] = [
        Note(
            f"{flag.rule.why} {sentence(flag.rule.measure, flag.known) if flag.known else ''}",
            "bad" if flag.rule.severity == "hard" else "mid",
            f"{flag.rule.title} ({flag.rule.severity}).",
        )
        for flag in card.flags
        if flag.raised
    ]
    clear = [small(f.rule.title) for f in card.flags if f.raised is False]
    unknown = [small(f.rule.title) for f in card.flags if f.raised is None]
    if clear:
        blocks.append(Text(f"Checked and not raised: {'; '.join(clear)}."))
    if unknown:
        blocks.append(Text(f"Not known: {'; '.join(unknown)}."))
    return blocks


def _investor(card: Assessment, firmness: Sensitivity) -> list[Block]:
    return [
        Text(
            "Hard red flags cap the verdict at red, soft ones at amber, whatever the score. The score never fills gaps."
        ),
        _numbers(card, _INVESTOR),
        Items([line.replace("`", "") for line in firmness_lines(card, firmness)], "How firm is the verdict?"),
        *_figures(figures.swings(card, firmness)),
    ]


def _operator(card: Assessment) -> list[Block]:
    words = (
        "Look at the payback from customers' money alone first: it does not depend on the token's price. "
        "A mean reward flatters, because a few devices earn most of it; ask for the median of your region."
    )
    ask = [m.what for m in card.case.missing if m.question in ("4", "5", "6", "7")]
    blocks: list[Block] = [Text(words), _numbers(card, _OPERATOR)]
    blocks += _figures(figures.reward_spread(card), figures.reward_against_revenue(card))
    if ask:
        blocks.append(Items(ask, "Ask the project before paying"))
    return blocks


def _customer(card: Assessment) -> list[Block]:
    words = (
        "What matters to a customer: the price once the subsidy ends, whether the work is verified rather than claimed, "
        "and what stops if one company does."
    )
    ask = [m.what for m in card.case.missing if m.question in ("2", "3", "8", "9", "11")]
    blocks: list[Block] = [Text(words), _numbers(card, _CUSTOMER)]
    if card.known("resilience.collapse_probability") is None:
        blocks.append(
            Note(
                "Whether it would survive stress is unknown: run fieldstone simulate with a scenario of this network and pass its summary.json with --stress."
            )
        )
    if ask:
        blocks.append(Items(ask, "Ask the project before depending on it"))
    return blocks


def _numbers(card: Assessment, names: tuple[str, ...]) -> Table:
    rows: list[list[Value]] = []
    for name in names:
        known, measure = card.known(name), display(name)
        if known is None:
            rows.append([measure.title, "unknown", "—", "—", "—"])
            continue
        text = amount(name, known)
        note = "; ".join(known.notes[:2])
        rows.append([measure.title, Cell(text, note), known.grade.value, shown(known.period), known.formula])
    return Table(["", "Value", "Grade", "Period", "How"], rows, stack=True)


def _contradictions(card: Assessment) -> list[Block]:
    rows: list[list[Value]] = []
    for one in card.contradictions:
        sides: list[Value] = [
            Cell(c.shown, ", ".join(p for p in (c.scope, shown(c.period), c.source.title, f"grade {c.grade}") if p))
            if c
            else ""
            for c in (one.first, one.second)
        ]
        kind = {"value": "same thing, other number", "scope": "another scope", "declared": "", "date": "date"}[one.kind]
        rows.append([Cell(metrics()[one.metric].title, kind), *sides, one.explanation if one.kind != "scope" else ""])
    if not rows:
        return [Text("None found among the claims.")]
    told = "Never averaged. Until it is resolved, the value worse for the project counts."
    return [Table(["About", "One says", "Another says", "Likely cause"], rows, caption=told, stack=True)]


def _gaming(card: Assessment) -> Table:
    tones: dict[str, Pill] = {
        "found": Pill("seen", "mid"),
        "not found": Pill("not seen", "good"),
        "not checkable": Pill("not checkable", "none"),
    }
    order = {"found": 0, "not checkable": 2, "not found": 1}
    rows: list[list[Value]] = [
        [s.trick, tones[s.outcome], s.shows] for s in sorted(card.suspicions, key=lambda s: order[s.outcome])
    ]
    return Table(
        ["Trick", "", "What shows it, or what is needed to look"],
        rows,
        caption="A reason to ask, not proof of intent.",
        stack=True,
    )


def _regulation(card: Assessment) -> list[Block]:
    tones: dict[str, Pill] = {
        "complies": Pill("complies", "good"),
        "open": Pill("open", "mid"),
        "conflicts": Pill("conflicts", "bad"),
        "unknown": Pill("unknown", "none"),
    }
    rows: list[list[Value]] = [
        [
            s.region,
            Cell(s.title, s.asks),
            tones[s.status],
            Cell(s.source, f"grade {s.grade}" if s.grade else ""),
            s.note,
        ]
        for s in standing(card.case)
    ]
    if not rows:
        return []
    told = "Questions to ask, no legal advice. Grade D: not checked for this table. Carries no weight in the score."
    return [Table(["Region", "Rule", "Status", "Source", "Note"], rows, caption=told, stack=True)]


def _change(card: Assessment) -> list[Block]:
    rows: list[list[Value]] = [
        [
            a.question.title,
            a.question.change,
            "; ".join(small(display(n).title) for n in a.missing[:3]),
            f"{a.question.weight:g}",
        ]
        for a in wanted(card)
    ]
    blocks: list[Block] = [
        Table(["Question", "Evidence that would change it", "Claims that would answer it", "Weight"], rows, stack=True)
    ]
    if card.case.missing:
        blocks.append(
            Table(
                ["Question", "Known to be missing", "Where it would be found"],
                [[m.question, m.what, m.where] for m in card.case.missing],
                stack=True,
            )
        )
    return blocks


def _claims(card: Assessment) -> Table:
    oldest = card.framework.grades.oldest_days
    rows: list[list[Value]] = []
    for c in card.case.claims:
        today = c.grade_on(card.on, oldest)
        grade = c.grade.value if today is c.grade else f"{c.grade.value} → {today.value} (age)"
        detail = "; ".join(p for p in (c.scope, c.note, "" if c.counts else "for comparison only") if p)
        rows.append(
            [
                Cell(metrics()[c.metric].title, f"{c.id}"),
                Cell(c.shown, detail),
                shown(c.period),
                grade,
                Cell(c.source.title, c.source.locator or c.source.via),
            ]
        )
    return Table(
        ["About", "Value as stated", "Period", "Grade", "Source"], rows, stack=True, folded=f"All {len(rows)} claims"
    )


def _sources(card: Assessment) -> Block:
    facts: dict[str, Value] = {}
    for source in card.case.sources.values():
        parts = [source.title, source.locator, str(source.date or ""), f"via {source.via}" if source.via else ""]
        related = "; the author is paid by or invested in projects" if source.related else ""
        facts[source.id] = ", ".join(p for p in parts if p) + related
    return Facts(facts)


def _figures(*drawn: Figure | None) -> list[Block]:
    return [figure for figure in drawn if figure is not None]
