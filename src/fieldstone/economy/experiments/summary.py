"""A study as JSON and its runs as a table. Floats to 9 significant digits, so the last bits of a C library do not show.

`null` is "never" in paybacks and runways, "unknown" elsewhere: JSON has no infinity. Equal input, equal bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldstone import __version__, metrics
from fieldstone.economy.experiments.outcomes import OUTCOMES, Array, Paybacks, quantiles

if TYPE_CHECKING:
    import polars as pl

    from fieldstone.economy.backtest import Score
    from fieldstone.economy.experiments.calibrate import Calibration
    from fieldstone.economy.experiments.comparison import Comparison
    from fieldstone.economy.experiments.sobol import Sensitivity
    from fieldstone.economy.experiments.studies import Study, View

SCHEMA_VERSION = 1
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
NAMES = ("p5", "p25", "p50", "p75", "p95")
# series of runs.parquet; those of the utility-only runs carry "utility." before the name
TABLE = (
    "devices", "joins", "quality", "offered", "served", "revenue_usd", "reward_usd", "fiat_usd", "opex_usd",
    "operator_tokens", "emission", "burn", "supply", "circulating", "price_usd", "treasury_usd", "collateral",
)  # fmt: skip
UTILITY_TABLE = ("devices", "revenue_usd", "price_usd")


def to_json(document: dict[str, Any]) -> str:
    """Return a document as text with sorted keys and one line end."""
    return json.dumps(_plain(document), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def document(
    study: Study,
    *,
    against: Comparison | None = None,
    calibration: Calibration | None = None,
    backtest: Sequence[Score] = (),
) -> dict[str, Any]:
    """Return a study as plain values: the content of summary.json (schema version 1)."""
    scenario, found = study.scenario, study.equilibria
    made: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "fieldstone_version": __version__,
        "scenario": {
            "name": scenario.name,
            "summary": study.file.summary,
            "months": scenario.months,
            "steps_per_year": scenario.steps_per_year,
            "config_sha256": study.file.config_hash,
        },
        "runs": study.runs,
        "seed": study.seed,
        "headline": headline(study),
        "tipping": {"low": study.tipping, "peak": found.peak, "high": found.high, "devices_at_start": _initial(study)},
        "views": {
            name: _view(view)
            for name, view in (("main", study.main), ("utility_only", study.utility), ("other_price_model", study.other_model))
        },
        "payback": {
            "at_start": _payback(study.paybacks),
            "later": _payback(study.paybacks_later),
            "utility_only": _payback(study.utility_paybacks),
        },
        "conditions": {
            name: {
                "probability": _interval(one.probability),
                "first_month_p50": _first_month(one.first_step, scenario.step_months),
            }
            for name, one in study.conditions.items()
        },
        "stress": [
            {
                "key": one.stress.key,
                "title": one.stress.title,
                "not_run": one.why or None,
                "collapse": _interval(one.collapse),
                "utility_only_collapse": _interval(one.utility_collapse),
                "tipping_month_p50": one.tipping_month,
                "runway_months_p5": one.runway_months,
                "worst_collateral": one.worst_collateral,
                "devices_end_p50": one.devices_end,
                "devices_end_change": one.devices_change,
            }
            for one in study.stresses
        ],
        "stress_base": study.stress_base
        and {name: _interval(one) for name, one in zip(("collapse", "utility_only_collapse"), study.stress_base, strict=True)},
        "stress_runs": study.stress_runs,
        "series": {name: _fan(study.main.result[name]) for name in ("devices", "price_usd", "revenue_usd", "emission", "burn")},
        "sensitivity": _sensitivity(study.sensitivity),
        "inputs": [
            {
                "key": one.key,
                "value": one.quantity.value,
                "unit": one.quantity.unit,
                "grade": one.quantity.grade,
                "source": one.quantity.source,
                "date": one.quantity.date,
                "low": one.quantity.low,
                "high": one.quantity.high,
                "origin": one.origin,
            }
            for _, one in sorted(study.file.inputs.items())
        ],
    }  # fmt: skip
    if study.heat:
        from fieldstone.economy.experiments.stress import HEAT_DEMAND, HEAT_PRICE

        made["heat_map"] = {
            "demand_factor": list(HEAT_DEMAND), "price_factor": list(HEAT_PRICE), "runs": study.heat_runs,
            "collapse": [list(row) for row in study.heat],
        }  # fmt: skip
    if against:
        made["against"] = _against(against)
    if calibration:
        made["network"] = calibration.as_dict()
    if backtest:
        made["backtest"] = [one.as_dict() for one in backtest]
    return made


def headline(study: Study) -> dict[str, Any]:
    """Return the figures that are printed first."""
    of = study.main.outcomes
    return {
        "collapse": _interval(study.main.collapse),
        "collapse_utility_only": _interval(study.utility.collapse),
        "collapse_other_price_model": _interval(study.other_model.collapse),
        "tipping_devices": study.tipping,
        "stable_devices": study.equilibria.high,
        "break_even_price_usd": _named(of["break_even_price_usd"]),
        "token_price_usd": _named(of["price_usd_end"]),
        "subsidy_ratio": _named(of["subsidy_ratio"]),
        "payback_months": _payback(study.paybacks)["months"],
        "runway_months": _named(of["runway_months"]),
        "treasury_empty": _interval(metrics.collapse_probability(np.isfinite(study.empty_treasury))),
    }


def table(study: Study) -> pl.DataFrame:
    """Return the runs: run, t (months, at the end of the step), metric, value."""
    import polars as pl

    main, utility = study.main.result, study.utility.result
    names = [*TABLE, *(f"utility.{name}" for name in UTILITY_TABLE)]
    values = [*(main[name] for name in TABLE), *(utility[name] for name in UTILITY_TABLE)]
    runs, steps = main.runs, main.scenario.steps
    run = np.repeat(np.arange(runs, dtype=np.int32), steps)
    t = np.tile(np.arange(1, steps + 1) * main.scenario.step_months, runs)
    kind = pl.Enum(names)
    return pl.concat(
        [
            pl.DataFrame({"run": run, "t": t, "value": value.ravel()})
            .with_columns(pl.lit(name, dtype=kind).alias("metric"))
            .select("run", "t", pl.col("metric").cast(pl.String), "value")
            for name, value in zip(names, values, strict=True)
        ]
    )


def _initial(study: Study) -> float:
    return sum(cohort.initial_devices for cohort in study.scenario.cohorts)


def _view(view: View) -> dict[str, Any]:
    named: dict[str, Any] = {name: _named(view.outcomes[name]) for name in OUTCOMES}
    return {"collapse": _interval(view.collapse), "price_model": view.result.scenario.price.model, **named}


def _payback(one: Paybacks) -> dict[str, Any]:
    shares = (0.25, 0.5, 0.75)
    return {
        "bought_in_month": one.start_month,
        "cohorts": list(one.cohorts),
        "months": dict(zip(("p25", "p50", "p75"), one.quantiles(shares), strict=True)),
        "discounted_months": dict(zip(("p25", "p50", "p75"), one.quantiles(shares, discounted=True), strict=True)),
    }


def _fan(values: Array) -> dict[str, list[float]]:
    found = np.quantile(values, SHARES, axis=0, method="inverted_cdf")
    return {name: [float(v) for v in row] for name, row in zip(NAMES, found, strict=True)}


def _sensitivity(one: Sensitivity | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "samples": one.samples,
        "base": one.base,
        "knobs": [
            {
                "name": knob.name, "key": knob.key, "low": knob.low, "high": knob.high, "relative": knob.relative,
                "first_order": {name: values[n] for name, values in one.first.items()},
                "total": {name: values[n] for name, values in one.total.items()},
                "at_low": {name: values[n] for name, values in one.at_low.items()},
                "at_high": {name: values[n] for name, values in one.at_high.items()},
            }
            for n, knob in enumerate(one.knobs)
        ],
    }  # fmt: skip


def _against(one: Comparison) -> dict[str, Any]:
    return {
        "scenario": {"name": one.b.scenario.name, "config_sha256": one.b.file.config_hash},
        "headline": headline(one.b),
        "collapse_in_a_only": one.collapse_a_only,
        "collapse_in_b_only": one.collapse_b_only,
        "differences": [
            {
                "outcome": row.name, "a_p50": row.a, "b_p50": row.b, "difference_p5": row.low,
                "difference_p50": row.middle, "difference_p95": row.high, "b_is_better": _interval(row.better),
                "variance_left": row.noise,
            }
            for row in one.rows
        ],
    }  # fmt: skip


def _interval(one: metrics.Interval | None) -> dict[str, float] | None:
    return None if one is None else {"value": one.value, "low": one.low, "high": one.high}


def _named(values: Array, shares: Sequence[float] = SHARES) -> dict[str, float | None]:
    return dict(zip(NAMES, quantiles(values, shares), strict=True))


def _first_month(first_step: Any, step_months: float) -> float | None:
    from fieldstone.economy.experiments.stress import median_month

    return None if first_step is None else median_month(first_step, step_months)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        number = float(value)
        return None if not math.isfinite(number) else float(f"{number:.9g}")
    return value
