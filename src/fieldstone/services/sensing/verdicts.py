"""Write verdicts: accepted, partial or rejected, reasons by cost, and the evidence as canonical JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import polars as pl

from fieldstone.services.contract import VERDICT_SCHEMA
from fieldstone.services.sensing.schema import VARIABLE_NAMES
from fieldstone.services.sensing.scoring import TIME_REASONS, Scores
from fieldstone.units import PPM

SERVICE = "sensing"
ALWAYS_NAMED = (*TIME_REASONS, "OUTSIDE_EPOCH", "BEFORE_ENROLMENT")
_SIGNIFICANT_DIGITS = 6


def verdict_table(
    device_checks: pl.DataFrame, scores: Scores, coverage: pl.DataFrame, epoch: int, params: Mapping[str, Any]
) -> pl.DataFrame:
    """Return VERDICT_SCHEMA for the devices of `device_checks`, in their order."""
    available_ppm = scores.available_ms * PPM // np.maximum(scores.expected_ms, 1)
    rejected = (scores.quality_ppm < int(params["reject_below_ppm"])) | (scores.available_ms <= 0)
    enough = int(params["accept_from_ppm"])
    full = (scores.quality_ppm >= enough) & (available_ppm >= enough)
    verdict = np.where(rejected, "rejected", np.where(full, "accepted", "partial"))
    ordered = scores.causes.sort(
        "place", -pl.col("cost_ppm"), -pl.col("severity_ppm"), -pl.col("lost_ms"), "check", "variable", "reason"
    )
    reasons, causes = _reasons(ordered, device_checks.height), _cause_entries(ordered, scores)
    checked = _coverage(coverage)
    names = device_checks["device"].to_list()
    details = []
    for place, (name, model) in enumerate(zip(names, device_checks["model"].to_list(), strict=True)):
        variables = {
            variable: int(ppm)
            for variable, ppm in zip(VARIABLE_NAMES, scores.variable_ppm[place].tolist(), strict=True)
            if ppm >= 0
        }
        detail = {
            "available_ms": int(scores.available_ms[place]),
            "availability_ppm": int(available_ppm[place]),
            "causes": causes.get(place, []),
            "checked_ppm": checked.get(name, {}),
            "expected_ms": int(scores.expected_ms[place]),
            "model": model,
            "station_quality_ppm": int(scores.station_ppm[place]),
            "variables_ppm": variables,
        }
        details.append(canonical(detail))
    table = {
        "device": device_checks["device"],
        "service": pl.repeat(SERVICE, device_checks.height, eager=True),
        "epoch": pl.repeat(epoch, device_checks.height, dtype=pl.Int64, eager=True),
        "quantity": np.where(rejected, 0, scores.available_ms // 1000),
        "quality_ppm": scores.quality_ppm,
        "verdict": verdict.tolist(),
        "reasons": reasons,
        "detail": details,
    }
    return pl.DataFrame(table, schema_overrides=VERDICT_SCHEMA, strict=False).select(list(VERDICT_SCHEMA))


def not_enrolled(devices: pl.DataFrame, epoch: int) -> pl.DataFrame:
    """Return rejected verdicts for evidence of devices (columns `device`, `rows`) that the registry does not hold."""
    entries = [
        canonical({"causes": [{"check": "enrolment", "reason": "NOT_ENROLLED", "rows": int(rows), "variable": ""}]})
        for rows in devices["rows"].to_list()
    ]
    return devices.select(
        "device",
        pl.lit(SERVICE).alias("service"),
        pl.lit(epoch, pl.Int64).alias("epoch"),
        pl.lit(0, pl.Int64).alias("quantity"),
        pl.lit(0, pl.Int64).alias("quality_ppm"),
        pl.lit("rejected").alias("verdict"),
        pl.Series("reasons", [["NOT_ENROLLED"]] * devices.height, dtype=pl.List(pl.String)),
        pl.Series("detail", entries, dtype=pl.String),
    )


def canonical(tree: Any) -> str:
    """Return JSON with sorted keys and no white space; the same tree always gives the same bytes."""
    return msgspec.json.encode(tree, order="sorted").decode()


def rounded(number: float | None) -> float | None:
    """Round evidence to six significant digits: enough to contest, too few to carry an order of summation."""
    return None if number is None else float(f"{number:.{_SIGNIFICANT_DIGITS}g}")


def _reasons(ordered: pl.DataFrame, devices: int) -> pl.Series:
    """Return the codes that cost something or kept readings out of the epoch, most costly first, each once."""
    costly = ordered.filter(
        (pl.col("cost_ppm") > 0) | (pl.col("severity_ppm") > 0) | pl.col("reason").is_in(ALWAYS_NAMED)
    )
    per = costly.group_by("place", maintain_order=True).agg(pl.col("reason").unique(maintain_order=True))
    every = pl.DataFrame({"place": np.arange(devices, dtype=np.int64)})
    joined = every.join(per, on="place", how="left", maintain_order="left")["reason"]
    return joined.cast(pl.List(pl.String)).fill_null(pl.Series([[]], dtype=pl.List(pl.String)).first())


def _cause_entries(ordered: pl.DataFrame, scores: Scores) -> dict[int, list[dict[str, Any]]]:
    """Return per device the causes as plain values: what was measured, the limit, the share lost, the counterfactual."""
    found: dict[int, list[dict[str, Any]]] = {}
    expected = scores.expected_ms
    for row in ordered.iter_rows(named=True):
        place = row["place"]
        entry = {
            "check": row["check"],
            "cost_ppm": row["cost_ppm"],
            "lost_ppm": int(row["lost_ms"]) * PPM // max(int(expected[place]), 1),
            "measured": rounded(row["measured"]),
            "quality_if_fixed_ppm": row["quality_if_fixed_ppm"],
            "reason": row["reason"],
            "rows": row["rows"],
            "severity_ppm": row["severity_ppm"],
            "threshold": rounded(row["threshold"]),
            "variable": row["variable"],
        }
        if row["detail"]:
            entry["detail"] = _tree(row["detail"])
        found.setdefault(place, []).append(entry)
    return found


def _tree(text: str) -> Any:
    """Return the tree of a JSON object, or the sentence as it is."""
    try:
        return msgspec.json.decode(text) if text.startswith("{") else text
    except msgspec.DecodeError:
        return text


def _coverage(coverage: pl.DataFrame) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for device, check, ppm in coverage.select("device", "check", "checked_ppm").iter_rows():
        found.setdefault(device, {})[check] = ppm
    return found
