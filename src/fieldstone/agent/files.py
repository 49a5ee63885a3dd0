"""Read recorded readings from CSV or Parquet: a column `t_ms` (Unix ms) or `time` (UTC), and one per variable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from fieldstone.agent.buffer import Reading
from fieldstone.errors import UsageError


def read_readings(path: Path, columns: Sequence[str]) -> list[Reading]:
    """Return the readings of a file sorted by time. `columns`: what the report kind has.

    Raises UsageError naming a missing time, an unknown column or a value that is no number. Empty cells, NaN and
    infinities become None.
    """
    table = _load(path)
    if "t_ms" not in table.columns:
        if "time" not in table.columns:
            raise UsageError(f"{path}: a column `t_ms` (Unix milliseconds) or `time` (UTC) is needed")
        table = table.rename({"time": "t_ms"}).with_columns(_to_ms(table["time"], path).alias("t_ms"))
    present = [name for name in table.columns if name != "t_ms"]
    unknown = [name for name in present if name not in columns]
    if unknown:
        raise UsageError(f"{path}: unknown columns {', '.join(unknown)}; known are {', '.join(columns)}")
    if not present:
        raise UsageError(f"{path}: no column besides the time")
    try:
        table = table.cast({"t_ms": pl.Int64, **dict.fromkeys(present, pl.Float64)})
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"{path}: a value is no number: {str(error).splitlines()[0]}") from None
    if table["t_ms"].null_count():
        raise UsageError(f"{path}: {table['t_ms'].null_count()} rows have no time")
    return [
        Reading(row.pop("t_ms"), {name: value if _is_finite(value) else None for name, value in row.items()})
        for row in table.sort("t_ms").iter_rows(named=True)
    ]


def in_reports(readings: Sequence[Reading], most: int, longest_ms: int) -> Iterator[Sequence[Reading]]:
    """Cut readings, sorted by time, into groups of at most `most` rows and `longest_ms` from first to last."""
    start = 0
    for end, reading in enumerate(readings):
        if end - start == most or reading.t_ms - readings[start].t_ms > longest_ms:
            yield readings[start:end]
            start = end
    if start < len(readings):
        yield readings[start:]


def _load(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix == ".csv":
            return pl.read_csv(path, infer_schema_length=None)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    raise UsageError(f"{path}: a file ending in .csv or .parquet is needed")


def _to_ms(times: pl.Series, path: Path) -> pl.Series:
    try:
        if times.dtype == pl.String:
            times = times.str.to_datetime(time_unit="ms", time_zone="UTC")
        return times.cast(pl.Datetime("ms")).cast(pl.Int64)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"{path}: column `time` cannot be read: {str(error).splitlines()[0]}") from None


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
