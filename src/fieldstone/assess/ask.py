"""Write a new case by answering questions. Every answer can be left out: unknown stays unknown, and is listed as missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from fieldstone.assess.amounts import expected, unit_of
from fieldstone.assess.case import SERVICES, parse_case
from fieldstone.assess.catalogue import Metric, metrics
from fieldstone.assess.claims import Grade, parse_period
from fieldstone.assess.evaluate import assess
from fieldstone.assess.formulas import BY_NAME
from fieldstone.assess.questions import Framework, load_framework
from fieldstone.errors import ConfigError, FieldstoneError

Ask = Callable[[str, str], str]  # (question, default) → answer; an empty answer means: not known


@dataclass(frozen=True, slots=True)
class Draft:
    """One claim as it was typed."""

    metric: str
    value: str
    unit: str
    period: str
    source: str
    grade: str
    scope: str = ""


def interview(ask: Ask, say: Callable[[str], None], on: date) -> str:
    """Ask for a network, then for the claims that would answer each question; return the case file's text."""
    name = _until(ask, say, "Name of the network", "", lambda text: text if text else _wrong("it needs a name"))
    service = _until(
        ask,
        say,
        f"Service ({', '.join(SERVICES)})",
        "other",
        lambda t: t if t in SERVICES else _wrong(f"one of {', '.join(SERVICES)}"),
    )
    token = _until(
        ask,
        say,
        "Token symbol (empty: none)",
        "",
        lambda t: t if not t or (t.isalnum() and t[0].isalpha() and len(t) <= 16) else _wrong("letters and digits"),
    )
    gate = {
        "three_sided_market": _yes(ask, say, "Are there operators, customers and a network between them?"),
        "token_incentive": _yes(ask, say, "Are operators paid in a token?"),
        "physical_placement": _yes(ask, say, "Does it matter where the hardware stands?"),
    }
    drafts: list[Draft] = []
    for question in load_framework().question:
        say(f"\n{question.id}  {question.title} {question.asks}")
        for metric in wanted(question.id):
            draft = _claim(ask, say, metric, token, on)
            if draft:
                drafts.append(draft)
    return render(name, service, token, gate, drafts, on)


def wanted(question_id: str, framework: Framework | None = None) -> list[Metric]:
    """Return the metrics that would answer a question, in the order they are asked for."""
    framework = framework or load_framework()
    question = next(q for q in framework.question if q.id == question_id)
    names: dict[str, None] = {}

    def follow(name: str, seen: frozenset[str]) -> None:
        if name in metrics():
            names.setdefault(name)
        elif name in BY_NAME and name not in seen:
            for way in BY_NAME[name].ways:
                for part in way.inputs:
                    follow(part.rstrip("?"), seen | {name})

    for rule in question.measures:
        if rule.role != "shows":
            follow(rule.name, frozenset())
    return [metrics()[name] for name in names if not metrics()[name].many]


def render(
    name: str, service: str, token: str, gate: Mapping[str, bool], drafts: list[Draft], on: date, summary: str = ""
) -> str:
    """Return a case file's text; it is read back before it is returned, so it always parses. Raises ConfigError."""
    lines = ["schema = 1", "", "[network]", f"name = {_quote(name)}", f'service = "{service}"']
    lines += [f'token = "{token}"'] if token else []
    lines += [
        f"summary = {_quote(summary)}",
        "",
        "[gate]",
        *(f"{key} = {str(value).lower()}" for key, value in gate.items()),
    ]
    sources = list(dict.fromkeys(draft.source for draft in drafts))
    for n, title in enumerate(sources, start=1):
        lines += ["", "[[source]]", f'id = "s{n}"', f"title = {_quote(title)}"]
    counts: dict[str, int] = {}
    for draft in drafts:
        counts[draft.metric] = counts.get(draft.metric, 0) + 1
        claim_id = f"{draft.metric.replace('.', '-').replace('_', '-')}-{counts[draft.metric]}"
        lines += ["", "[[claim]]", f'id = "{claim_id}"', f'metric = "{draft.metric}"', f"value = {draft.value}"]
        lines += [f"unit = {_quote(draft.unit)}"] if draft.unit else []
        lines += [f'period = "{draft.period}"', f'source = "s{sources.index(draft.source) + 1}"', f"retrieved = {on}"]
        lines += [f'grade = "{draft.grade}"', f"scope = {_quote(draft.scope)}"]
    answered = assess(parse_case("\n".join(lines) + "\n"), on=on)
    for answer in answered.answers:
        if answer.status == "unknown":
            lines += [
                "",
                "[[missing]]",
                f'question = "{answer.question.id}"',
                f"what = {_quote(answer.question.change)}",
            ]
    text = "\n".join(lines) + "\n"
    parse_case(text)
    return text


def parse_draft(text: str, token: str) -> Draft:
    """Read "metric=value unit @period [grade] source" as one claim. Raises ConfigError.

    Example: revenue.total=852000 USD/quarter @2025-Q3 C "State of Akash Q3 2025"
    """
    import shlex

    def wrong(message: str) -> ConfigError:
        return ConfigError(
            f'{message}; write metric=value [unit] @period GRADE "source"', key=text[:60], path="--claim"
        )

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise wrong(str(error)) from None
    if len(words) < 4 or "=" not in words[0]:
        raise wrong("a claim needs metric=value, @period, a grade and a source")
    metric, _, value = words[0].partition("=")
    if metric not in metrics():
        raise wrong(f"{metric!r} is no known metric (`fieldstone assess metrics` lists them)")
    at = next((n for n, word in enumerate(words) if word.startswith("@")), None)
    if at is None or at + 2 >= len(words) or words[at + 1] not in list(Grade):
        raise wrong("after the value and unit come @period, a grade A to D and the source")
    unit = " ".join(words[1:at])
    _checked(metrics()[metric], value, unit, token, wrong)
    try:
        parse_period(words[at][1:])
    except ValueError as error:
        raise wrong(str(error)) from None
    return Draft(metric, value.lower(), unit, words[at][1:], " ".join(words[at + 2 :]), words[at + 1])


def _checked(metric: Metric, value: str, unit: str, token: str, wrong: Callable[[str], FieldstoneError]) -> None:
    if metric.kind == "flag":
        if value.lower() not in ("true", "false"):
            raise wrong("the value must be true or false")
        return
    try:
        float(value)
        unit_of(metric.kind, unit, token)
    except ValueError as error:
        raise wrong(str(error)) from None


def _claim(ask: Ask, say: Callable[[str], None], metric: Metric, token: str, on: date) -> Draft | None:
    say(f"  {metric.title}. Usually found: {metric.where}.")
    kind = "yes or no" if metric.kind == "flag" else f"a number; unit {expected(metric.kind, token)}"
    value = _until(ask, say, f"  {metric.name} ({kind}; empty: not known)", "", lambda t: _value(metric, t))
    if not value:
        return None
    unit = ""
    if metric.kind != "flag":
        unit = _until(ask, say, f"    unit, {expected(metric.kind, token)}", "", lambda t: _unit(metric, t, token))
    period = _until(ask, say, "    period (2025, 2025-Q4, 2025-12, FROM/TO)", str(on), _period)
    source = _until(
        ask, say, "    source (title, where to find it)", "", lambda t: t if t else _wrong("a claim needs a source")
    )
    grade = _until(
        ask,
        say,
        "    grade: A recomputed by you, B signed by a third party, C stated, D estimated",
        "C",
        lambda t: t.upper() if t.upper() in list(Grade) else _wrong("A, B, C or D"),
    )
    scope = ask("    what is in the number (scope)", "")
    return Draft(metric.name, value, unit, period, source, grade, scope)


def _value(metric: Metric, text: str) -> str:
    if not text:
        return ""
    if metric.kind == "flag":
        answers = {"yes": "true", "y": "true", "true": "true", "no": "false", "n": "false", "false": "false"}
        return answers.get(text.lower()) or _wrong("yes or no")
    try:
        number = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        return _wrong("a number")
    return repr(number) if number == number and abs(number) < 1e300 else _wrong("a finite number")


def _unit(metric: Metric, text: str, token: str) -> str:
    try:
        unit_of(metric.kind, text, token)
    except ValueError as error:
        return _wrong(str(error))
    return text


def _period(text: str) -> str:
    try:
        parse_period(text)
    except ValueError as error:
        return _wrong(str(error))
    return text


def _yes(ask: Ask, say: Callable[[str], None], question: str) -> bool:
    return (
        _until(
            ask,
            say,
            f"{question} (yes, no)",
            "yes",
            lambda t: t if t.lower() in ("yes", "no", "y", "n") else _wrong("yes or no"),
        ).lower()[0]
        == "y"
    )


class _Again(Exception):
    """An answer that cannot be used; its text says what is expected."""


def _wrong(message: str) -> str:
    raise _Again(message)


def _until(ask: Ask, say: Callable[[str], None], question: str, default: str, check: Callable[[str], str]) -> str:
    while True:
        try:
            return check(ask(question, default).strip())
        except _Again as again:
            say(f"    not usable: {again}")


def _quote(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are a subset of TOML's, DEL apart."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
