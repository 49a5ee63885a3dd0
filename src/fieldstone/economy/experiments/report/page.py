"""The report page: what a founder, an operator and an analyst ask, in this order, on one offline page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fieldstone import __version__
from fieldstone.charts import (
    Axis,
    Cell,
    Items,
    Note,
    Page,
    Pill,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Tone,
    number_text,
)
from fieldstone.charts.blocks import Block, Value
from fieldstone.economy.experiments.outcomes import OUTCOMES, Array, quantiles
from fieldstone.economy.experiments.report import figures, words
from fieldstone.economy.experiments.report.assumptions import assumptions
from fieldstone.economy.experiments.report.stress_table import signed, stress_table, stress_text
from fieldstone.economy.experiments.studies import Study, View

if TYPE_CHECKING:
    from fieldstone.economy.backtest import Score
    from fieldstone.economy.experiments.calibrate import Calibration
    from fieldstone.economy.experiments.comparison import Comparison


def page(
    study: Study,
    *,
    against: Comparison | None = None,
    calibration: Calibration | None = None,
    backtest: Sequence[Score] = (),
) -> Page:
    """Return the report of a study."""
    scenario = study.scenario
    sections = [Section("In short", [_tiles(study), Items(words.sentences(study)), _views(study)])]
    if against:
        sections.append(_against(against))
    if calibration:
        sections.append(_measured(calibration))
    sections += [
        Section(
            "How it may go",
            [
                figures.devices_fan(study),
                figures.revenue_fan(study),
                figures.price_fan(study),
                figures.speculation_lines(study),
            ],
        ),
        Section("Does it pay for itself?", [figures.margin_curve(study)], anchor="tipping"),
        Section(
            "What is minted and burned", [figures.emission_burn(study), figures.subsidy_line(study)], anchor="tokens"
        ),
        Section(
            "What operators get",
            [figures.payback_bars(study), _payback_table(study), figures.retention_grid(study)],
            anchor="operators",
        ),
    ]
    if study.stresses:
        sections.append(
            Section("What if …", [stress_text(study), stress_table(study), figures.heat(study)], anchor="stress")
        )
    if study.sensitivity:
        sections.append(_decides(study))
    sections += [
        Section("Signs of collapse", [_conditions(study)], anchor="signs"),
        Section("What was assumed", assumptions(study), anchor="inputs"),
    ]
    if backtest:
        sections.append(_backtest(backtest))
    return Page(
        title=f"{scenario.name}: the economy in {scenario.months} months",
        lead=study.file.summary,
        sections=sections,
        provenance={
            "Fieldstone": __version__,
            "scenario SHA-256": study.file.config_hash,
            "seed": str(study.seed),
            "runs": f"{study.runs:,}",
            "again": _again(study, against, calibration),
        },
    )  # fmt: skip


def _again(study: Study, against: Comparison | None, calibration: Calibration | None) -> str:
    """Return the command that makes this report again."""
    words = ["fieldstone simulate", study.file.path or "SCENARIO.toml"]
    words += ["--against", against.b.file.path or "SCENARIO.toml"] if against else []
    words += ["--from-network DIR"] if calibration else []
    return " ".join([*words, f"--runs {study.runs} --seed {study.seed}"])


def _tiles(study: Study) -> Tiles:
    of = study.main.outcomes
    down, utility = study.main.collapse, study.utility.collapse
    where, remark = words.tipping(study)
    p25, p50, p75 = study.paybacks.quantiles((0.25, 0.5, 0.75))
    needed, priced = _median(of["break_even_price_usd"]), _median(of["price_usd_end"])
    runway = quantiles(of["runway_months"], (0.05,))[0]
    return Tiles(
        [
            Tile("Probability of collapse", words.percent(down), words.interval(down), words.tone_of(down)),
            Tile("… without speculation", words.percent(utility), words.interval(utility), words.tone_of(utility)),
            Tile("Tipping point", where, remark),
            Tile("Payback of a device", words.months(p50), f"quartiles {words.months(p25)}, {words.months(p75)}"),
            Tile("Break-even token price", number_text(needed, "$"), f"last year; the token ends at {number_text(priced, '$')}"),
            Tile("Shortest runway", words.months(runway), "in the worst 5 % of runs"),
        ]
    )  # fmt: skip


def _views(study: Study) -> Table:
    views = [
        ("as given", study.main),
        ("without speculation", study.utility),
        (f"{study.other_model.result.scenario.price.model} price model", study.other_model),
    ]
    rows: list[list[Value]] = [
        ["collapse", *(Cell(words.percent(view.collapse), words.interval(view.collapse)) for _, view in views)]
    ]
    rows += [
        [meaning.meaning, *(_spread(view, name, meaning.unit) for _, view in views)]
        for name, meaning in OUTCOMES.items()
    ]
    caption = "Medians, with the 5th and 95th percentile below. The same random numbers in each column."
    return Table(["", *(name for name, _ in views)], rows, caption=caption, stack=True)


def _spread(view: View, name: str, unit: str) -> Cell:
    low, middle, high = quantiles(view.outcomes[name], (0.05, 0.5, 0.95))
    shown = unit if unit in ("%", "$", "months") else ""
    return Cell(number_text(middle, shown), f"{number_text(low, shown)} to {number_text(high, shown)}")


def _against(one: Comparison) -> Section:
    a, b = one.a, one.b
    rows: list[list[Value]] = [
        ["collapse", words.percent(a.main.collapse), words.percent(b.main.collapse),
         f"{one.collapse_b_only - one.collapse_a_only:+,d} runs", ""]
    ]  # fmt: skip
    for row in one.rows:
        unit = OUTCOMES[row.name].unit
        shown = unit if unit in ("%", "$", "months") else ""
        change: Value = "unknown"
        if row.middle is not None:
            change = Cell(signed(row.middle, shown), f"{signed(row.low, shown)} to {signed(row.high, shown)}")
        better: Value = ""
        if row.better:
            better = Pill(
                words.percent(row.better),
                "good" if row.better.low > 0.5 else "bad" if row.better.high < 0.5 else "none",
            )
        rows.append([OUTCOMES[row.name].meaning, number_text(row.a, shown), number_text(row.b, shown), change, better])
    noise = [row.noise for row in one.rows if row.noise is not None and row.name in ("devices_end", "revenue_usd_year")]
    saved = (
        f" That leaves {np.mean(noise):.0%} of the variance that separate runs would have.".replace("%", " %")
        if noise
        else ""
    )
    return Section(
        f"A, {a.scenario.name}, against B, {b.scenario.name}",
        [
            Text(
                "Run by run under the same random numbers, so a difference is the effect of what was changed and not luck."
                f"{saved} A collapses alone in {one.collapse_a_only:,} of {a.runs:,} runs, B alone in {one.collapse_b_only:,}."
            ),
            Table(
                ["", "A", "B", "B − A, run by run", "B is better in"], rows, stack=True,
                caption="Medians; below the difference its 5th and 95th percentile. The last column is the share of runs.",
            ),
            figures.versus(one, "devices", "Devices, A and B", Axis("devices, median")),
            figures.versus(one, "price_usd", "Token price, A and B", Axis("dollars, median", "$", log=True, zero=False)),
        ],
        anchor="against",
    )  # fmt: skip


def _measured(one: Calibration) -> Section:
    rows: list[list[Value]] = [[row.name, row.shown, row.meaning] for row in one.measured]
    blocks: list[Block] = [
        Text(
            f"From {one.title}. The figures are those of the console and of the assessment: the same functions, the same epochs."
        ),
        Table(["measured", "value", ""], rows, stack=True),
        Items(one.assumed, title="Not to be known from epochs, left at the scenario's value"),
    ]
    if one.warnings:
        blocks.insert(1, Note(" ".join(one.warnings), "mid", "Mind:"))
    return Section("Measured on the live network", blocks, anchor="network")


def _payback_table(study: Study) -> Table:
    rows: list[list[Value]] = []
    for name, paid in (
        ("bought at the start", study.paybacks),
        (f"bought in month {study.paybacks_later.start_month:.0f}", study.paybacks_later),
        ("at the start, without speculation", study.utility_paybacks),
    ):
        plain, later = paid.quantiles((0.25, 0.5, 0.75)), paid.quantiles((0.25, 0.5, 0.75), discounted=True)
        never = 1 - _share_paid(paid.months, paid.weights)
        rows.append(
            [name, *(words.months(v) for v in plain), words.months(later[1]), f"{never:.0%}".replace("%", " %")]
        )
    return Table(
        ["device", "quarter of them by", "half by", "three quarters by", "half, discounted", "never"], rows, stack=True
    )


def _share_paid(months: Array, weights: Array) -> float:
    if not months.size:
        return 0.0
    spread = np.broadcast_to(weights, months.shape)
    return float(spread[np.isfinite(months)].sum() / spread.sum())


def _decides(study: Study) -> Section:
    found = study.sensitivity
    assert found is not None
    order = sorted(range(len(found.knobs)), key=lambda n: -found.total["devices_end"][n])
    rows: list[list[Value]] = []
    for n in order:
        knob = found.knobs[n]
        span = (
            f"{signed(knob.low - 1, '%')} to {signed(knob.high - 1, '%')}"
            if knob.relative
            else f"{knob.low:g} to {knob.high:g}"
        )
        shares = [max(0.0, found.total[name][n]) for name in ("devices_end", "revenue_usd_year", "price_usd_end")]
        rows.append(
            [
                Cell(knob.name, knob.key),
                span,
                *("< 0.1 %" if share < 0.001 else number_text(share, "%", 2) for share in shares),
            ]
        )
    blocks: list[Block] = []
    for output, title, unit in (
        ("devices_end", "Devices at the end: one input at a time", ""),
        ("revenue_usd_year", "Revenue of the last year: one input at a time", "$"),
    ):
        figure = figures.tornado_bars(study, output, title, unit)
        blocks += [figure] if figure else []
    blocks.append(
        Table(
            ["input", "turned over", "devices", "revenue", "token price"], rows, stack=True,
            caption=f"Sobol's total index: the part of the variance in which the input has a hand, interactions included "
            f"({found.samples:,} samples × {len(found.knobs) + 2}, seed {study.seed}). A bare guess is turned by half, a measured number by a tenth.",
        )
    )  # fmt: skip
    return Section("What decides", blocks, anchor="sensitivity")


def _backtest(scores: Sequence[Score]) -> Section:
    rows: list[list[Value]] = []
    for one in scores:
        met = sum(one.meets.values())
        tone: Tone = "good" if met == len(one.meets) else "mid" if met else "bad"
        rows.append(
            [
                Cell(one.name, one.remark),
                f"{one.known} / {one.held_out}",
                *("–" if value is None else number_text(round(value, 9), "%")
                  for value in (one.mape, one.persistence_mape, one.direction, one.coverage)),
                Pill(f"{met} of {len(one.meets)}", tone),
            ]
        )  # fmt: skip
    return Section(
        "How far to trust the model",
        [
            Text(
                "The same model fitted on the beginning of public series and judged on a tail that it had not seen. Bars: error at "
                "most 15 %, direction at least 60 %, 70 to 90 % of the tail inside the 10–90 % band. Failures are shown as they are."
            ),
            Table(
                [
                    "series",
                    "known / held out",
                    "error (MAPE)",
                    "… of no change",
                    "direction",
                    "in the band",
                    "bars met",
                ],
                rows,
                stack=True,
            ),
        ],
        anchor="backtest",
    )


def _conditions(study: Study) -> Table:
    rows: list[list[Value]] = []
    for name, one in study.conditions.items():
        title, remedy = words.CONDITIONS[name]
        began = "–"
        if one.first_step is not None and (one.first_step >= 0).any():
            steps = one.first_step[one.first_step >= 0]
            began = f"month {float(np.median(steps)) * study.scenario.step_months + 1:.0f}"
        tone: Tone = "good" if one.probability.value < 0.05 else "bad" if one.probability.value >= 0.5 else "mid"
        rows.append(
            [
                Cell(title, remedy if one.probability.value >= 0.05 else ""),
                Pill(words.percent(one.probability), tone),
                began,
            ]
        )
    return Table(["sign", "of the runs", "first seen (median)"], rows, stack=True)


def _median(values: Array) -> float | None:
    return quantiles(values, (0.5,))[0]
