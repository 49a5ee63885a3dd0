"""How numbers, bands and grades are said in reports."""

from __future__ import annotations

from fieldstone.assess.claims import Period
from fieldstone.assess.evaluate import Answer, Assessment
from fieldstone.assess.evidence import Known
from fieldstone.assess.formulas import display
from fieldstone.charts import Tone, number_text

GRADES = {
    "A": "recomputed by us from what anyone can obtain",
    "B": "signed by a third party",
    "C": "stated by the project or an analyst, or a second-hand copy",
    "D": "estimated, press, undated",
}
_VERDICTS = {
    "green": "Green: what is known speaks for it",
    "amber": "Amber: some of it holds",
    "red": "Red: what is known speaks against it",
    "not rateable": "Not rateable: too little is known",
    "not a DePIN": "Not a DePIN",
}
TONES: dict[str | None, Tone] = {"green": "good", "amber": "mid", "red": "bad", None: "none"}


def headline(card: Assessment) -> str:
    """Return the verdict in a line."""
    raised = [f for f in card.flags if f.raised]
    hard = sum(f.rule.severity == "hard" for f in raised)
    flags = f"; red flags: {hard} hard, {len(raised) - hard} soft" if raised else ""
    return f"{_VERDICTS[card.verdict]}{flags}"


def tone_of(card: Assessment) -> Tone:
    """Return the colour of a verdict."""
    return TONES.get(card.verdict, "none")


def band_word(answer: Answer) -> str:
    """Return green, amber, red, unknown or not applicable."""
    return answer.band or answer.status


def percent(share: float | None) -> str:
    """Return a fraction as per cent."""
    return "unknown" if share is None else number_text(share, "%", 3 if share and abs(share) < 0.1 else 2)


def small(title: str) -> str:
    """Return a title as it stands inside a sentence; abbreviations keep their capitals."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def scored(score: float | None) -> str:
    """Return a score of 0 to 100."""
    return "unknown" if score is None else f"{score:.0f}"


def shown(period: Period) -> str:
    """Return a period, short: a day, or from and to as months."""
    if period.start == period.end:
        return str(period.start)
    first, last = f"{period.start:%Y-%m}", f"{period.end:%Y-%m}"
    return first if first == last else f"{first} to {last}"


def amount(name: str, known: Known) -> str:
    """Return a number of a measure with its bound and unit."""
    measure = display(name)
    if measure.unit == "" and known.base in ("yes/no",):
        return "yes" if known.value else "no"
    whole = "HHI" in measure.title  # an index of up to 10,000 is read against 1,500 and 2,500
    text = f"{known.value:,.0f}" if whole else number_text(known.value, measure.unit)
    return f"{known.bound} {text}" if known.bound else text


def sentence(name: str, known: Known) -> str:
    """Return a number with what it is, its grade and days."""
    return f"{display(name).title}: {amount(name, known)} (grade {known.grade}, {shown(known.period)}; {known.formula})"


def value_of(answer: Answer) -> str:
    """Return the numbers of an answer in a line; "unknown" when there is none."""
    if answer.status == "not applicable":
        return "not applicable"
    parts = [
        f"{small(m.title)} {amount(m.rule.name, m.known)}"
        for m in answer.measured
        if m.known and m.rule.role != "shows"
    ]
    return "; ".join(parts) or "unknown"
