"""What the checks of a fleet found: the table that carries findings from a check to the score.

A finding names one device, one check and (when it concerns one) a variable, what was measured, the limit it was
compared with, and the share of quality it costs. Scoring (`scoring.py`) is the only reader; it multiplies
`1 − severity` of the findings of a device, and takes the largest where one check gives several for a variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

# One row per (device, check, variable). Order does not matter: scoring sorts.
FINDINGS_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "check": pl.String(),  # name of the check: neighbours, copies, place, drift, …
    "variable": pl.String(),  # a name of schema.VARIABLES, or "" when the whole device is meant
    "severity_ppm": pl.Int64(),  # share of quality lost, 0 (a remark) … 1,000,000 (rejected)
    "measured": pl.Float64(),  # the value that was compared; null when there is no single one
    "threshold": pl.Float64(),  # the limit it was compared with; null likewise
    "reason": pl.String(),  # a code of rules.v1.REASONS
    "detail": pl.String(),  # one plain sentence or canonical JSON: which neighbours, which device was copied, …
}

# Which checks could judge a device at all: "no neighbour" must not read as "passed" (reference: sensing §5.10).
COVERAGE_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "check": pl.String(),
    "checked_ppm": pl.Int64(),  # share of the device's series that the check could judge
}


@dataclass(frozen=True)
class FleetFindings:
    """What `fleet.check(whole, device_checks)` returns.

    `findings`: FINDINGS_SCHEMA. `coverage`: COVERAGE_SCHEMA. `carry`: tables for the next epoch; the names
    "station_runs" and everything else starting with "station_" belong to the station checks.
    """

    findings: pl.DataFrame
    coverage: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COVERAGE_SCHEMA))
    carry: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def no_findings() -> pl.DataFrame:
    """Return an empty table of FINDINGS_SCHEMA."""
    return pl.DataFrame(schema=FINDINGS_SCHEMA)
