"""Write what was bought to a file that stays as it is, and read it back as Parquet, CSV or JSON.

The file is written once, before the order is metered, so the readings that are metered are the readings in the file.
Provenance (epochs, roots, manifest hashes, selection hash) stands in the Parquet metadata under `fieldstone`, in the JSON
header, and for CSV in the order's `provenance`, because a comment line inside would break most readers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from fieldstone.errors import Retryable
from fieldstone.market.observations import Selection, Tally, schema, tally
from fieldstone.market.query import Query

CHUNK_ROWS = 50_000  # rows in memory at a time while a download streams
PROVENANCE_KEY = "fieldstone"
# A spreadsheet runs a cell that starts with one of these (OWASP, "CSV Injection").
_FORMULA_START = r"^[=+\-@\t\r\n]"


class DataFormat(StrEnum):
    """The forms in which an order can be downloaded."""

    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"

    @property
    def media_type(self) -> str:
        """The HTTP content type."""
        return {
            "parquet": "application/vnd.apache.parquet",
            "csv": "text/csv; charset=utf-8",
            "json": "application/json",
        }[self.value]


def write(selection: Selection, query: Query, path: Path, provenance: dict[str, Any]) -> tuple[str, Tally]:
    """Write the selected rows durably to `path`; return the file's SHA-256 and what it holds, counted from the file.

    Raises Retryable when the disk refuses; then there is no file.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        selection.rows.select(*schema(query)).sink_parquet(
            temporary,
            row_group_size=CHUNK_ROWS,
            metadata={PROVENANCE_KEY: msgspec.json.encode(provenance, order="sorted").decode()},
        )
        os.chmod(temporary, 0o600)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Retryable(f"the order's data could not be written: {error}; free disk space and try again") from error
    return sha256_of(path), count(path, query)


def count(path: Path, query: Query) -> Tally:
    """Count the readings in a written file."""
    return tally(pl.scan_parquet(path), query)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_provenance(path: Path) -> bytes:
    """Return the provenance of a written file, canonical JSON."""
    return pl.read_parquet_metadata(path).get(PROVENANCE_KEY, "{}").encode()


def stream(path: Path, form: DataFormat) -> Iterator[bytes]:
    """Yield a written file in a form, piece by piece."""
    if form is DataFormat.PARQUET:
        return _bytes(path)
    if form is DataFormat.CSV:
        return _csv(path)
    return _json(path)


def _bytes(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 18):
            yield block


def _chunks(path: Path) -> Iterator[pl.DataFrame]:
    table = pl.scan_parquet(path)
    total = table.select(pl.len()).collect().item()
    for offset in range(0, max(total, 1), CHUNK_ROWS):
        yield table.slice(offset, CHUNK_ROWS).collect()


def _csv(path: Path) -> Iterator[bytes]:
    for n, chunk in enumerate(_chunks(path)):
        safe = chunk.with_columns(pl.col(pl.String).str.replace(f"({_FORMULA_START})", "'$1"))
        yield safe.write_csv(include_header=n == 0).encode()


def _json(path: Path) -> Iterator[bytes]:
    yield b'{"header":' + read_provenance(path) + b',"rows":['
    separator = b""
    for chunk in _chunks(path):
        rows = chunk.write_json().encode()[1:-1]
        if rows:
            yield separator + rows
            separator = b","
    yield b"]}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
