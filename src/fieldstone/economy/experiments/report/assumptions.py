"""The report's last section: every number that went in, and where it comes from."""

from __future__ import annotations

from fieldstone.charts import Cell, Facts, Table, Text
from fieldstone.charts.blocks import Block, Value
from fieldstone.economy.experiments.scenario_file import Input
from fieldstone.economy.experiments.studies import Study
from fieldstone.economy.flywheel.parameters import BIG


def assumptions(study: Study) -> list[Block]:
    """Return the section: choices, sourced and measured numbers one by one, guesses and defaults by part."""
    inputs = [one for _, one in sorted(study.file.inputs.items())]
    own = [one for one in inputs if one.origin != "default"]
    backed = [one for one in own if one.quantity.source or one.quantity.low is not None or one.origin == "measured"]
    rows: list[list[Value]] = []
    for one in backed:
        said = one.quantity
        span = f"{amount(said.low)} to {amount(said.high)}" if said.low is not None and said.high is not None else ""
        source = f"{said.source} ({said.date})" if said.date else said.source or "a guess"
        rows.append([Cell(one.key, one.meaning), Cell(amount(said.value, said.unit), span), said.grade, source])
    counts = {grade: sum(one.quantity.grade == grade for one in own) for grade in "ABCD"}
    choices: dict[str, Value] = {
        "emission": study.scenario.emission.policy,
        "burn": study.scenario.burn.mode,
        "price model": study.scenario.price.model,
        "joiners expect the price": study.scenario.behaviour.expectation,
    }
    blocks: list[Block] = [
        Facts(choices),
        Text(
            f"{len(own)} numbers are given: {counts['A']} of grade A (anyone can recompute them), {counts['B']} B (signed by a third "
            f"party), {counts['C']} C (stated), {counts['D']} D (guessed). Numbers with a range are drawn anew in each run."
        ),
    ]
    if rows:
        blocks.append(Table(["number", "value", "grade", "source"], rows, stack=True))
    guessed = [one for one in own if one not in backed]
    defaults = [one for one in inputs if one.origin == "default"]
    for title, some in (("Guessed", guessed), ("Given by nobody: the model's defaults", defaults)):
        if some:
            blocks.append(Table([title, f"{len(some)} numbers"], _grouped(some), stack=True))
    return blocks


def _grouped(inputs: list[Input]) -> list[list[Value]]:
    """Return one row per part of the scenario with all its numbers."""
    parts: dict[str, list[str]] = {}
    for one in inputs:
        part, _, name = one.key.rpartition(".")
        parts.setdefault(part, []).append(f"{name} {amount(one.quantity.value, one.quantity.unit)}")
    return [[part, ", ".join(names)] for part, names in parts.items()]


def amount(value: float, unit: str = "") -> str:
    """Return an input as it would be written in a file: in full, not rounded to three digits."""
    if value >= BIG:
        return "without limit"
    shown = f"{value:,.0f}" if value == int(value) and abs(value) < 1e12 else f"{value:,g}"
    return f"{shown} {'' if unit in ('fraction', 'factor', 'weight') else unit}".strip()
