from __future__ import annotations

import json

import numpy as np
import polars as pl

from fieldstone.economy.experiments import Study, compare, document
from fieldstone.economy.experiments.summary import SCHEMA_VERSION, TABLE, UTILITY_TABLE, table, to_json


def test_the_summary_answers_the_founder_s_questions(small: Study) -> None:
    found = json.loads(to_json(document(small, against=compare(small, small))))
    assert found["schema_version"] == SCHEMA_VERSION == 1
    assert (found["runs"], found["seed"]) == (40, 7)
    assert found["scenario"]["config_sha256"] == small.file.config_hash
    headline = found["headline"]
    assert set(headline) == {
        "collapse", "collapse_utility_only", "collapse_other_price_model", "tipping_devices", "stable_devices",
        "break_even_price_usd", "token_price_usd", "subsidy_ratio", "payback_months", "runway_months", "treasury_empty",
    }  # fmt: skip
    low, value, high = (headline["collapse"][key] for key in ("low", "value", "high"))
    assert 0 <= low <= value <= high <= 1
    assert len(found["stress"]) == len(small.stresses)
    assert [len(row) for row in found["heat_map"]["collapse"]] == [5] * 5
    assert found["against"]["scenario"]["name"] == "small"
    assert {row["origin"] for row in found["inputs"]} == {"file", "default"}


def test_no_infinity_and_no_more_digits_than_kept(small: Study) -> None:
    text = to_json({"a": float("inf"), "b": [float("nan")], "c": np.float64(1 / 3), "d": {"e": 1}})
    assert json.loads(text) == {"a": None, "b": [None], "c": 0.333333333, "d": {"e": 1}}
    assert "Infinity" not in to_json(document(small))


def test_the_table_holds_every_run(small: Study) -> None:
    found = table(small)
    steps = small.scenario.steps
    assert found.columns == ["run", "t", "metric", "value"]
    assert found.height == small.runs * steps * (len(TABLE) + len(UTILITY_TABLE))
    one = found.filter((pl.col("run") == 3) & (pl.col("metric") == "price_usd")).sort("t")
    assert one["t"].to_list() == [float(month) for month in range(1, steps + 1)]
    assert one["value"].to_list() == small.main.result["price_usd"][3].tolist()
    bare = found.filter((pl.col("run") == 3) & (pl.col("metric") == "utility.devices")).sort("t")
    assert bare["value"].to_list() == small.utility.result["devices"][3].tolist()
