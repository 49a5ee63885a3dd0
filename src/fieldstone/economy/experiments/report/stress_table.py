"""The table of the stress pack."""

from __future__ import annotations

import math

from fieldstone.charts import Cell, Pill, Table, Text, number_text
from fieldstone.charts.blocks import Value
from fieldstone.economy.experiments.outcomes import quantiles
from fieldstone.economy.experiments.report import words
from fieldstone.economy.experiments.stress import shock_month
from fieldstone.economy.experiments.studies import Study


def stress_text(study: Study) -> Text:
    """Return how the stresses are to be read."""
    return Text(
        f"Each shock comes in month {shock_month(study.scenario):.0f} and stays. {study.stress_runs:,} runs each, the same ones "
        "without stress, so a difference to the first row is the shock's. A fall of the token price from outside is a factor on a "
        "fundamental price, or traded into the pool of a pool model."
    )


def stress_table(study: Study) -> Table:
    """Return one row per stress, after the rows without any."""
    rows: list[list[Value]] = []
    if study.stress_base:
        down, bare = study.stress_base
        runway = quantiles(study.main.outcomes["runway_months"][: study.stress_runs], (0.05,))[0]
        rows.append(
            [
                "nothing happens",
                Cell(Pill(words.percent(down), words.tone_of(down)), words.interval(down)),
                words.percent(bare),
                "–",
                "–",
                words.months(runway),
                number_text(float(study.main.result["collateral"].min()), "%"),
            ]
        )
    for one in study.stresses:
        if one.collapse is None:
            rows.append([Cell(one.stress.title, f"not run: {one.why}"), "", "", "", "", "", ""])
            continue
        change = "unknown" if one.devices_change is None else signed(one.devices_change, "%", 2)
        rows.append(
            [
                one.stress.title,
                Cell(Pill(words.percent(one.collapse), words.tone_of(one.collapse)), words.interval(one.collapse)),
                words.percent(one.utility_collapse),
                change,
                "–" if one.tipping_month is None else f"month {one.tipping_month:.0f}",
                words.months(one.runway_months),
                "–" if one.worst_collateral is None else number_text(one.worst_collateral, "%"),
            ]
        )
    columns = [
        "stress",
        "collapse",
        "without speculation",
        "devices at the end",
        "below tipping from",
        "shortest runway",
        "worst collateral",
    ]
    keep = [n for n in range(len(columns)) if n != 6 or study.scenario.burn.mode == "vault"]
    caption = "Devices: median at the end against no stress. Below tipping: median over the runs that end there. Runway: worst 5 % of runs."
    return Table([columns[n] for n in keep], [[row[n] for n in keep] for row in rows], caption=caption, stack=True)


def signed(value: float | None, unit: str, digits: int = 3) -> str:
    """Return a difference with its sign."""
    if value is None or math.isnan(value):
        return "unknown"
    text = number_text(value, unit, digits)
    return f"+{text}" if value > 0 else text
