"""The charts of a report, each from a study alone. Captions carry seed, runs and the scenario's hash."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fieldstone.charts import (
    Axis,
    Band,
    Chart,
    Figure,
    Mark,
    Series,
    bar_chart,
    fan_chart,
    heat_map,
    line_chart,
    retention,
    tornado,
)
from fieldstone.economy.experiments.comparison import Comparison
from fieldstone.economy.experiments.outcomes import Array, Paybacks
from fieldstone.economy.experiments.stress import HEAT_DEMAND, HEAT_PRICE, shock_month
from fieldstone.economy.experiments.studies import Study

POINTS = 120  # positions on a chart of time; a daily run is thinned to these
_TORNADO_ROWS = 12


def told(study: Study, caption: str, runs: int | None = None) -> str:
    """Return a caption with what it takes to get the same figure again."""
    count = study.runs if runs is None else runs
    return f"{caption} Seed {study.seed}, {count:,} runs, scenario {study.file.config_hash[:12]}."


def devices_fan(study: Study) -> Figure:
    marks = [Mark(f"tipping point {study.tipping:,.0f}", y=study.tipping)] if study.tipping else []
    chart = _fan(study, "devices", "Active devices", Axis("devices"), marks)
    return Figure(
        chart, told(study, "In each month half of the runs lie inside the dark band, nine in ten inside the light one.")
    )


def price_fan(study: Study) -> Figure:
    chart = _fan(study, "price_usd", "Token price", Axis("dollars per token", "$", log=True, zero=False), [])
    return Figure(
        chart, told(study, "Logarithmic: each line up is the same factor. Nobody can forecast this one."), "$"
    )


def revenue_fan(study: Study) -> Figure:
    chart = _fan(study, "revenue_usd", "Revenue per month", Axis("dollars a month", "$"), [])
    return Figure(chart, told(study, "What customers pay for what was served."), "$")


def speculation_lines(study: Study) -> Figure:
    at, pick = _months(study)
    series = [
        Series(name, _row(np.median(view.result["devices"], axis=0), pick))
        for name, view in (
            ("as given", study.main),
            ("without speculation", study.utility),
            (f"{study.other_model.result.scenario.price.model} price model", study.other_model),
        )
    ]
    chart = line_chart("Devices: how much hangs on the token", at, series, x=_time(), y=Axis("devices, median"))
    return Figure(
        chart,
        told(
            study,
            "Three views of the same network. Where they part, its size depends on what buyers of the token believe.",
        ),
    )


def emission_burn(study: Study) -> Figure:
    at, pick = _months(study)
    scale = 1 / study.scenario.step_months
    series = [
        Series("minted", _row(np.median(study.main.result["emission"], axis=0) * scale, pick)),
        Series("burned", _row(np.median(study.main.result["burn"], axis=0) * scale, pick)),
    ]
    chart = line_chart("Emission against burn", at, series, x=_time(), y=Axis("tokens a month, median"))
    return Figure(
        chart, told(study, "Above the burned line the supply grows. Every mint is counted, not the schedule alone.")
    )


def subsidy_line(study: Study) -> Figure:
    from fieldstone import metrics

    at, pick = _months(study)
    result = study.main.result
    ratio = metrics.subsidy_ratio(result["emission"] * result["price_usd"], result["revenue_usd"])
    known = np.where(np.isnan(ratio), 0.0, ratio)
    quantiles = [_row(np.quantile(known, share, axis=0), pick) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
    chart = fan_chart(
        "Subsidy ratio",
        at,
        [Band("p5 to p95", quantiles[0], quantiles[4]), Band("p25 to p75", quantiles[1], quantiles[3])],
        Series("median", quantiles[2]),
        x=_time(),
        y=Axis("of what supply receives", "%", low=0.0, high=1.0),
        marks=[Mark("critical", y=0.9)],
    )
    return Figure(
        chart,
        told(
            study,
            "Mints against mints and revenue, E·P / (E·P + R). At 50 % the network mints just what customers pay.",
        ),
        "%",
    )


def margin_curve(study: Study) -> Figure:
    found = study.equilibria
    start = sum(cohort.initial_devices for cohort in study.scenario.cohorts)
    highest = max(found.high or 0.0, found.peak, 10 * start, 100.0) * 3
    shown = found.devices <= highest
    marks = [Mark("tipping point", x=study.tipping)] if study.tipping else []
    marks += [Mark("full", x=found.high)] if found.high and found.high < found.devices[-1] else []
    devices = [float(n) for n in found.devices[shown]]
    curve = [float(v) for v in found.margin_usd[shown]]
    series = [Series("margin per device and month", curve)]
    if start >= 1:
        nearest = min(range(len(devices)), key=lambda n: abs(math.log(devices[n] / start)))
        dot = [curve[n] if n == nearest else None for n in range(len(curve))]
        series.append(Series(f"start, {start:,.0f} devices", dot))
    chart = line_chart(
        "What a fleet earns without any token",
        devices,
        series,
        x=Axis("devices in the network", log=True, zero=False),
        y=Axis("dollars, costs and wear deducted", "$"),
        marks=[*marks, Mark("", y=0.0)],
    )
    caption = (
        "Few devices cover too little to be bought; too many share the same customers. Between the crossings the network "
        f"pays for itself at today's demand and prices. Deterministic; scenario {study.file.config_hash[:12]}."
    )
    return Figure(chart, caption, "$")


def payback_bars(study: Study) -> Figure:
    horizon = study.scenario.months
    width = next(step for step in (3, 6, 12, 24, 60) if horizon / step <= 12)
    edges = list(range(0, horizon + width, width))
    names = [f"{low + 1}–{low + width}" if low else f"≤ {width}" for low in edges[:-1]] + ["never"]
    series = [
        Series(name, _shares(paid, edges))
        for name, paid in (
            ("bought at the start", study.paybacks),
            (f"bought in month {study.paybacks_later.start_month:.0f}", study.paybacks_later),
            ("at the start, no speculation", study.utility_paybacks),
        )
    ]
    chart = bar_chart("Months until a device has paid for itself", names, series, y=Axis("of devices and runs", "%"))
    return Figure(
        chart,
        told(
            study,
            f"Of devices that keep working; “never” is not within {horizon} months. Tokens are sold when they are earned.",
        ),
        "%",
    )


def retention_grid(study: Study) -> Figure:
    found = study.retained
    every = f"{found.every_months:g}-month period"
    chart = retention(
        "Devices that stay, by when they joined",
        [f"month {month:.0f}" for month in found.joined_month],
        list(found.sizes),
        [list(row) for row in found.kept],
        period=every,
    )
    return Figure(
        chart,
        told(study, "Median over runs; failures of hardware count as leaving. n is the mean number that joined."),
        "%",
    )


def heat(study: Study) -> Figure:
    month = shock_month(study.scenario)
    chart = heat_map(
        "Probability of collapse: demand shock × price shock",
        [_cut("price", factor) for factor in HEAT_PRICE],
        [_cut("demand", factor) for factor in HEAT_DEMAND],
        [list(row) for row in study.heat],
        unit="%",
        low=0.0,
        high=1.0,
        row_label="token price",
        column_label="demand",
    )
    return Figure(
        chart,
        told(study, f"Both shocks come in month {month:.0f} and stay. Fundamental price model.", study.heat_runs),
        "%",
    )


def tornado_bars(study: Study, output: str, title: str, unit: str) -> Figure | None:
    found = study.sensitivity
    if found is None:
        return None
    rows = [
        (knob.name, found.at_low[output][n], found.at_high[output][n])
        for n, knob in enumerate(found.knobs)
        if found.at_low[output][n] != found.at_high[output][n]
    ]
    rows.sort(key=lambda row: -abs(row[1] - row[2]))
    chart = tornado(title, rows[:_TORNADO_ROWS], base=found.base[output], unit=unit)
    caption = (
        "One input at a time, from its low to its high value, the weather switched off. "
        f"The widest {min(len(rows), _TORNADO_ROWS)} of {len(found.knobs)} inputs; scenario {study.file.config_hash[:12]}."
    )
    return Figure(chart, caption)


def versus(one: Comparison, series: str, title: str, axis: Axis) -> Figure:
    at, pick = _months(one.a)
    lines = [
        Series(f"{letter}: {study.scenario.name}", _row(np.median(study.main.result[series], axis=0), pick))
        for letter, study in (("A", one.a), ("B", one.b))
    ]
    chart = line_chart(title, at, lines, x=_time(), y=axis)
    caption = f"Medians over the same random numbers. B is scenario {one.b.file.config_hash[:12]}."
    return Figure(chart, told(one.a, caption))


def _fan(study: Study, name: str, title: str, y: Axis, marks: Sequence[Mark]) -> Chart:
    at, pick = _months(study)
    values: Array = study.main.result[name]
    if name == "revenue_usd":
        values = values / study.scenario.step_months
    rows = [_row(np.quantile(values, share, axis=0), pick, y.log) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
    bands = [Band("p5 to p95", rows[0], rows[4]), Band("p25 to p75", rows[1], rows[3])]
    return fan_chart(title, at, bands, Series("median", rows[2]), x=_time(), y=y, marks=marks)


def _time() -> Axis:
    return Axis("month", zero=False)


def _months(study: Study) -> tuple[list[float], list[int]]:
    """Return the positions shown and the steps they stand for; the last step is always shown."""
    steps = study.scenario.steps
    stride = max(1, math.ceil(steps / POINTS))
    pick = list(range(steps - 1, -1, -stride))[::-1]
    return [round((step + 1) * study.scenario.step_months, 6) for step in pick], pick


def _row(values: Array, pick: Sequence[int], log: bool = False) -> list[float | None]:
    return [float(values[n]) if values[n] > 0 or not log else None for n in pick]


def _shares(paid: Paybacks, edges: Sequence[int]) -> list[float]:
    values = paid.months.ravel()
    if not values.size:
        return [0.0] * len(edges)
    weights = np.broadcast_to(paid.weights, paid.months.shape).ravel()
    total = float(weights.sum())
    place = np.searchsorted(np.asarray(edges[1:], dtype=np.float64), values, side="left")
    return [float(weights[place == n].sum()) / total for n in range(len(edges))]


def _cut(what: str, factor: float) -> str:
    return f"{what} as given" if factor == 1 else f"−{100 * (1 - factor):.0f} %"
