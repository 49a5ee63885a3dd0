"""The canonical digest of a table: equal content gives equal digest, whatever wrote the Parquet file.

Parquet bytes depend on the writer's version, so file hashes identify files only; whether two parties computed the
same result is decided on this digest (platform reference §3.4).
"""

from __future__ import annotations

import hashlib
import struct

import msgspec
import polars as pl


def digest(table: pl.DataFrame) -> str:
    """Return the SHA-256 (hex) over names, types, null masks and values, column by column, in row order.

    Supports integers, floats (as IEEE bits), booleans, strings, binary and whatever JSON can hold (lists, decimals). Row order
    matters: sort first when it should not.
    """
    state = hashlib.sha256(struct.pack(">QQ", table.height, table.width))
    for column in table.iter_columns():
        state.update(f"{column.name}\0{column.dtype}\0".encode())
        state.update(column.is_null().to_numpy().tobytes())
        if column.dtype.is_integer() or column.dtype.is_float():
            values_le = column.fill_null(0).to_numpy()
            state.update(values_le.astype(values_le.dtype.newbyteorder("<")).tobytes())
        elif column.dtype == pl.Boolean:
            state.update(column.fill_null(False).to_numpy().tobytes())
        elif column.dtype in (pl.String, pl.Binary):
            values = [v.encode() if isinstance(v, str) else (v or b"") for v in column.to_list()]
            state.update(struct.pack(f">{len(values)}Q", *map(len, values)))
            state.update(b"".join(values))
        else:
            state.update(msgspec.json.encode(column.to_list()))
    return state.hexdigest()
