"""Collects findings and coverage row by row and turns them into the agreed tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.findings import COVERAGE_SCHEMA, FINDINGS_SCHEMA
from fieldstone.units import PPM, to_ppm


class Ledger:
    """Findings and coverage of one fleet, by device number."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = devices
        self._rows: list[dict[str, Any]] = []
        self._coverage: list[pl.DataFrame] = []

    def add(
        self,
        device: int,
        check: str,
        reason: str,
        *,
        severity_ppm: int,
        measured: float,
        threshold: float,
        variable: str = "",
        **evidence: object,
    ) -> None:
        """Note one finding. `evidence` becomes canonical JSON; floats in it should be rounded by the caller."""
        self._rows.append(
            {
                "device": self.devices[device],
                "check": check,
                "variable": variable,
                "severity_ppm": max(0, min(PPM, int(severity_ppm))),
                "measured": float(measured),
                "threshold": float(threshold),
                "reason": reason,
                "detail": json.dumps(evidence, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
            }
        )

    def cover(self, check: str, share: NDArray[Any]) -> None:
        """Note which share (0 … 1) of each device's series the check could judge."""
        table = {"device": list(self.devices), "check": [check] * len(self.devices), "checked_ppm": to_ppm(share)}
        self._coverage.append(pl.DataFrame(table, schema=COVERAGE_SCHEMA))

    @property
    def findings(self) -> pl.DataFrame:
        """Return FINDINGS_SCHEMA, sorted."""
        return pl.DataFrame(self._rows, schema=FINDINGS_SCHEMA).sort("device", "check", "variable", "reason", "detail")

    @property
    def coverage(self) -> pl.DataFrame:
        """Return COVERAGE_SCHEMA, sorted."""
        empty = pl.DataFrame(schema=COVERAGE_SCHEMA)
        return pl.concat([empty, *self._coverage]).sort("device", "check")

    def found(self, *checks: str) -> NDArray[np.bool_]:
        """Return which devices have a finding with a severity from one of the checks."""
        names = {row["device"] for row in self._rows if row["check"] in checks and row["severity_ppm"] > 0}
        return np.array([device in names for device in self.devices], dtype=bool)
