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
        "without stress, so a difference to the row without stress is the shock's. A fall of the token price from outside is always "
        "computed under the fundamental price model; its own row without stress stands beside it."
    )


def stress_table(study: Study) -> Table:
    """Return one row per stress, after the rows without any."""
    rows: list[list[Value]] = []
    models = {study.scenario.price.model, *(one.price_model for one in study.stresses if one.price_model)}
    for view in (study.main, study.other_model):
        model = view.result.scenario.price.model
        if model not in models:
            continue
        down, bare = study.stress_base[model]
        note = "" if view is study.main else f"{model} price model"
        runway = quantiles(view.outcomes["runway_months"][: study.stress_runs], (0.05,))[0]
        rows.append(
            [
                Cell("nothing happens", note),
                Cell(Pill(words.percent(down), words.tone_of(down)), words.interval(down)),
                words.percent(bare),
                "–",
                "–",
                words.months(runway),
                number_text(float(view.result["collateral"].min()), "%"),
            ]
        )
    for one in study.stresses:
        if one.collapse is None:
            rows.append([Cell(one.stress.title, f"not run: {one.why}"), "", "", "", "", "", ""])
            continue
        note = "fundamental price model" if one.price_model != study.scenario.price.model else ""
        change = "unknown" if one.devices_change is None else signed(one.devices_change, "%", 2)
        rows.append(
            [
                Cell(one.stress.title, note),
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
