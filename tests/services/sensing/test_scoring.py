"""Quality, verdict, reasons by cost, counterfactuals."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from fieldstone.services.conformance import run
from fieldstone.services.sensing import service
from fieldstone.services.sensing.findings import COVERAGE_SCHEMA, FINDINGS_SCHEMA, no_findings
from fieldstone.services.sensing.scoring import score
from fieldstone.services.sensing.verdicts import verdict_table
from tests.services.sensing.stations import DAY_MS, PARAMS, epoch, every, registry, weather

TIMES = every(180)


def checks(**channels: object) -> pl.DataFrame:
    return service.check_devices(epoch(weather("a", TIMES, **channels), registry("a")))


def finding(
    severity_ppm: int, check: str = "neighbours", variable: str = "temperature_c", reason: str = "NEIGHBOURS_DISAGREE"
):
    row = ("a", check, variable, severity_ppm, 1.0, 2.0, reason, "")
    return pl.DataFrame([row], schema=FINDINGS_SCHEMA, orient="row")


def verdict(table: pl.DataFrame, findings: pl.DataFrame) -> dict:
    scores = score(table, findings, PARAMS)
    return verdict_table(table, scores, pl.DataFrame(schema=COVERAGE_SCHEMA), 1, PARAMS).row(0, named=True)


def test_a_dead_required_sensor_leaves_a_quarter_and_two_leave_a_sixteenth() -> None:
    """The published mean of seven would leave 857,143 (reference: sensing §7.5)."""
    one = verdict(checks(pressure_hpa=None), no_findings())
    assert (one["quality_ppm"], one["verdict"], one["reasons"]) == (250_000, "partial", ["NO_VALUE"])
    two = verdict(checks(pressure_hpa=None, rain_mm=None), no_findings())
    assert (two["quality_ppm"], two["verdict"], two["quantity"]) == (62_500, "rejected", 0)


def test_the_counterfactual_is_what_the_fix_brings() -> None:
    broken = checks(pressure_hpa=None, temperature_c=np.full(len(TIMES), 999.0))
    row = verdict(broken, no_findings())
    causes = {(c["variable"], c["reason"]): c for c in json.loads(row["detail"])["causes"]}
    fixed = verdict(checks(pressure_hpa=None), no_findings())
    assert causes[("temperature_c", "OUT_OF_RANGE")]["quality_if_fixed_ppm"] == fixed["quality_ppm"]
    assert causes[("temperature_c", "OUT_OF_RANGE")]["cost_ppm"] == fixed["quality_ppm"] - row["quality_ppm"]


def test_reasons_are_sorted_by_cost() -> None:
    temperature = 10 + 0.1 * (np.arange(len(TIMES)) % 7)
    temperature[:48] = 999.0  # a tenth of the day
    humidity = 60 + np.arange(len(TIMES)) % 7 + 0.0
    humidity[:240] = np.nan  # half
    row = verdict(checks(temperature_c=temperature, humidity_pct=humidity), no_findings())
    assert row["reasons"] == ["NOT_A_NUMBER", "OUT_OF_RANGE"]
    costs = [cause["cost_ppm"] for cause in json.loads(row["detail"])["causes"]]
    assert costs == sorted(costs, reverse=True) and all(cost > 0 for cost in costs)


@pytest.mark.parametrize(
    ("severity", "quality", "word"),
    [(0, 1_000_000, "accepted"), (300_000, 700_000, "partial"), (1_000_000, 0, "rejected")],
)
def test_findings_multiply(severity: int, quality: int, word: str) -> None:
    row = verdict(checks(), finding(severity))
    assert (row["quality_ppm"], row["verdict"]) == (quality, word)
    assert row["reasons"] == (["NEIGHBOURS_DISAGREE"] if severity else [])
    [cause] = json.loads(row["detail"])["causes"]
    assert cause["quality_if_fixed_ppm"] == 1_000_000


def test_the_most_severe_of_one_check_and_channel_counts_once() -> None:
    both = pl.concat([finding(300_000), finding(500_000)])
    assert verdict(checks(), both)["quality_ppm"] == 500_000
    other = pl.concat([finding(500_000), finding(500_000, check="place", variable="", reason="WRONG_PLACE")])
    assert verdict(checks(), other)["quality_ppm"] == 250_000


def test_findings_about_others_and_out_of_bounds_are_harmless() -> None:
    stranger = finding(900_000).with_columns(device=pl.lit("nobody"))
    assert verdict(checks(), stranger)["quality_ppm"] == 1_000_000
    assert verdict(checks(), finding(5_000_000))["quality_ppm"] == 0
    assert verdict(checks(), finding(-5))["quality_ppm"] == 1_000_000


def test_gaps_cost_quantity_not_quality() -> None:
    table = service.check_devices(epoch(weather("a", TIMES[: len(TIMES) // 2]), registry("a")))
    row = verdict(table, no_findings())
    assert row["quality_ppm"] == 1_000_000 and row["verdict"] == "partial" and row["reasons"] == ["GAPS"]
    assert row["quantity"] == (DAY_MS // 2 - 180_000 + 200_000) // 1000
    [cause] = json.loads(row["detail"])["causes"]
    assert cause["cost_ppm"] == pytest.approx(500_000, abs=300)


def test_a_severe_finding_takes_its_channel_off_sale_only() -> None:
    scores = score(checks(), finding(500_000), PARAMS)
    assert scores.off_sale.sum() == 1
    assert score(checks(), finding(499_999), PARAMS).off_sale.sum() == 0


def test_failed_values_are_emptied_in_what_is_sold() -> None:
    temperature = 10 + 0.1 * (np.arange(len(TIMES)) % 7)
    temperature[7] = 999.0
    result = run(service, epoch(weather("a", TIMES, temperature_c=temperature), registry("a")))
    sold = result.sellable["readings"]
    assert sold["temperature_c"].null_count() == 1 and sold["temperature_c"][7] is None
    assert sold["humidity_pct"].null_count() == 0
    quality = result.verdicts["quality_ppm"][0]
    assert sold["quality_ppm"][7] == quality * (6 * 1_000_000 // 7) // 1_000_000
    assert sold["quality_ppm"][8] == quality


def test_an_optional_channel_weighs_a_fifth() -> None:
    """A WS2000 that also sends particles: the particles are optional."""
    dead = weather("a", TIMES).with_columns(pm10_ugm3=pl.lit(-5.0))
    row = verdict(service.check_devices(epoch(dead, registry("a"))), no_findings())
    assert row["quality_ppm"] == 800_000
