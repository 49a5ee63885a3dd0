"""Compare two results of one epoch, or two epochs, device by device."""

from __future__ import annotations

from dataclasses import dataclass

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


def diff_statements(
    left: pl.DataFrame, right: pl.DataFrame, *, identity: tuple[str, ...] = ("device", "service")
) -> list[Difference]:
    """Return every difference between two statement tables, sorted by device and field. Empty: they agree."""
    differences: list[Difference] = []
    rows_left = {tuple(row[k] for k in identity): row for row in left.iter_rows(named=True)}
    rows_right = {tuple(row[k] for k in identity): row for row in right.iter_rows(named=True)}
    for key in sorted(rows_left.keys() | rows_right.keys()):
        a, b = rows_left.get(key), rows_right.get(key)
        if a is None or b is None:
            differences.append(
                Difference(*key, "row", None if a is None else "present", None if b is None else "present")
            )
            continue
        differences += [
            Difference(*key, name, str(a[name]), str(b[name])) for name in COMPARED if str(a[name]) != str(b[name])
        ]
    return differences
