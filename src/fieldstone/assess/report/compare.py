"""Networks side by side: the same questions, the same bands, and how much of each is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fieldstone import __version__
from fieldstone.assess.evaluate import Assessment
from fieldstone.assess.formulas import display
from fieldstone.assess.report.document import number
from fieldstone.assess.report.words import TONES, amount, band_word, percent, scored, tone_of, value_of
from fieldstone.charts import Axis, Cell, Figure, Page, Pill, Section, Series, Table, Text, bar_chart
from fieldstone.charts.blocks import Value

NUMBERS = (
    "revenue.arms_length",
    "external_share",
    "service_share",
    "emission.value",
    "subsidy_ratio",
    "verified_share",
    "payback_p50",
    "payback_utility",
    "utilisation",
    "net_inflation",
)


def compare_table(cards: Sequence[Assessment]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of plain text: scores, then one row a question."""
    columns = ["", *(card.case.network.name for card in cards)]
    rows = [
        ["verdict", *(card.verdict for card in cards)],
        ["raw / adjusted", *(f"{scored(card.raw)} / {scored(card.adjusted)}" for card in cards)],
        ["coverage", *(percent(card.coverage) for card in cards)],
        ["red flags", *(str(sum(bool(f.raised) for f in card.flags)) for card in cards)],
        ["contradictions", *(str(len(card.contradictions)) for card in cards)],
    ]
    for n, question in enumerate(q.question for q in cards[0].answers):
        cells = []
        for card in cards:
            answer = card.answers[n]
            cells.append(f"{band_word(answer)} {answer.grade.value if answer.grade else ''}".strip())
        rows.append([f"{question.id} {question.title}", *cells])
    return columns, rows


def compare_document(cards: Sequence[Assessment]) -> dict[str, Any]:
    """Return the comparison as plain JSON values."""
    return {
        "schema_version": 1,
        "on": cards[0].on.isoformat(),
        "networks": [
            {
                "name": card.case.network.name,
                "verdict": card.verdict,
                "raw": number(card.raw),
                "adjusted": number(card.adjusted),
                "coverage": number(card.coverage),
                "flags": [f.rule.id for f in card.flags if f.raised],
                "contradictions": len(card.contradictions),
                "answers": {
                    a.question.id: {"band": a.band, "status": a.status, "grade": a.grade and a.grade.value}
                    for a in card.answers
                },
                "numbers": {name: number(known.value) if (known := card.known(name)) else None for name in NUMBERS},
            }
            for card in cards
        ],
    }


def compare_page(cards: Sequence[Assessment]) -> str:
    """Return the comparison as an offline HTML page."""
    names = [card.case.network.name for card in cards]
    scores: list[list[Value]] = [
        ["Verdict", *(Pill(card.verdict, tone_of(card)) for card in cards)],
        ["Raw / adjusted score", *(f"{scored(card.raw)} / {scored(card.adjusted)}" for card in cards)],
        ["Coverage", *(percent(card.coverage) for card in cards)],
        ["Red flags", *("; ".join(f.rule.title for f in card.flags if f.raised) or "none raised" for card in cards)],
        ["Contradictions", *(str(len(card.contradictions)) for card in cards)],
    ]
    questions: list[list[Value]] = []
    for n, answer in enumerate(cards[0].answers):
        cells: list[Value] = [Cell(f"{answer.question.id}  {answer.question.title}", answer.question.asks)]
        for card in cards:
            one = card.answers[n]
            grade = f" {one.grade.value}" if one.grade else ""
            cells.append(
                Cell(Pill(band_word(one) + grade, TONES[one.band]), value_of(one) if one.status == "answered" else "")
            )
        questions.append(cells)
    numbers: list[list[Value]] = []
    for name in NUMBERS:
        row: list[Value] = [display(name).title]
        for card in cards:
            known = card.known(name)
            row.append(Cell(amount(name, known), f"grade {known.grade}, {known.period}") if known else "unknown")
        numbers.append(row)
    chart = bar_chart(
        "Scores and what they rest on",
        names,
        [
            Series("raw score", [card.raw / 100 if card.raw is not None else None for card in cards]),
            Series(
                "adjusted for evidence", [card.adjusted / 100 if card.adjusted is not None else None for card in cards]
            ),
            Series("coverage", [card.coverage for card in cards]),
        ],
        y=Axis("", "%", high=1.0),
        lying=True,
    )
    told = "A score rests on the answered questions only: read it with its coverage. Below half of the weight there is no verdict."
    sections = [
        Section("", [Table(["", *names], scores), Figure(chart, told, "%")]),
        Section("Questions", [Table(["", *names], questions, caption="Letters are grades of evidence, A to D.", stack=True)]),
        Section("Numbers", [Table(["", *names], numbers, stack=True)]),
        Section("Read with care", [Text("Networks of different services are not ranked against each other: units, periods and scopes differ.")]),
    ]  # fmt: skip
    framework = cards[0].framework
    facts = {"framework": framework.sha256[:16], "on": str(cards[0].on), "Fieldstone": __version__}
    facts |= {card.case.network.name: card.case.sha256[:16] for card in cards}
    return Page(f"{', '.join(names)}: side by side", sections, provenance=facts, contents=False).html()
