"""Compare two results of one epoch, or two epochs, device by device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

COMPARED = (
    "operator",
    "quantity",
    "quality_ppm",
    "verdict",
    "paid_base",
    "bootstrap_base",
    "correction_base",
    "total_base",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs for one device and service. None: the device is missing on that side."""

    device: str
    service: str
    field: str
    left: str | None
    right: str | None


def diff_statements(left: pl.DataFrame, right: pl.DataFrame) -> list[Difference]:
    """Return every difference between two statement tables, sorted by device and service. Empty: they agree."""
    differences: list[Difference] = []
    rows_left, rows_right = _by_device(left), _by_device(right)
    for device, service in sorted(rows_left.keys() | rows_right.keys()):
        a, b = rows_left.get((device, service)), rows_right.get((device, service))
        if a is None or b is None:
            there = (None if a is None else "present", None if b is None else "present")
            differences.append(Difference(device, service, "row", *there))
            continue
        differences += [
            Difference(device, service, name, str(a[name]), str(b[name]))
            for name in COMPARED
            if str(a[name]) != str(b[name])
        ]
    return differences


def _by_device(statements: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["device"], row["service"]): row for row in statements.iter_rows(named=True)}
