"""Pack long tables into one list per device, and unpack them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


def nest(flat: pl.DataFrame, struct: pl.Struct, devices: int) -> pl.Series:
    """Return a list of structs per device from a table with the struct's fields and `place`; empty lists where none."""
    fields = [field.name for field in struct.fields]
    packed = flat.group_by("place", maintain_order=True).agg(pl.struct(fields).alias("packed"))
    return _by_place(packed, devices, pl.List(struct))


def nest_numbers(values: NDArray[np.uint16], counts: NDArray[np.int64]) -> pl.Series:
    """Cut a flat array into one list per device, `counts` long each."""
    place = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    flat = pl.DataFrame({"place": place, "packed": values})
    flat = flat.with_columns(pl.col("place").set_sorted())
    return _by_place(flat.group_by("place", maintain_order=True).agg("packed"), len(counts), pl.List(pl.UInt16))


def unnest(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return `device` and the fields of a list-of-structs column, one row per element."""
    packed = table.select("device", column).filter(pl.col(column).list.len() > 0)
    return packed.explode(column).unnest(column)


def stack(frames: Sequence[pl.DataFrame], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Join tables of one schema; an empty table of that schema when there is none."""
    kinds = pl.Schema(schema)
    full = [frame.select(list(schema)).cast(kinds) for frame in frames if frame.height]
    return pl.concat(full) if full else pl.DataFrame(schema=schema)


def _by_place(packed: pl.DataFrame, devices: int, kind: pl.List) -> pl.Series:
    every = pl.DataFrame({"place": np.arange(devices, dtype=np.int64)})
    joined = every.join(packed, on="place", how="left", maintain_order="left")["packed"]
    return joined.cast(kind).fill_null(pl.Series([[]], dtype=kind).first())
