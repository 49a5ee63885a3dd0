"""Seal a run of the journal as Parquet (zstd), one file per kind, and read it back entry by entry.

Files: `journal-<kind>.parquet` with columns position, received_ms, subject, body — the raw signed bytes, so that any
Parquet tool can audit them. Reports are sorted by (subject, position): what a device sent lies together, which makes
per-device work and joins cheap; all other kinds are sorted by position. `unseal` gives back the exact entries in order.

Memory: about `rows_at_once` entries. Longer runs go through temporary parts, one bucket of subjects each.
"""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from fieldstone.errors import CheckFailed, Retryable
from fieldstone.journal.entries import Entry, EntryKind
from fieldstone.journal.log import Journal, fsync_path
from fieldstone.journal.manifest import MANIFEST_NAME, FileInfo, file_info, read_manifest

SEALED_SCHEMA: dict[str, pl.DataType] = {
    "position": pl.Int64(),
    "received_ms": pl.Int64(),
    "subject": pl.String(),
    "body": pl.Binary(),
}
ROWS_AT_ONCE = 1_000_000
_PREFIX = "journal-"
_Row = tuple[int, int, str, bytes]


def seal(
    journal: Journal, first: int, last: int, folder: Path, *, rows_at_once: int = ROWS_AT_ONCE
) -> dict[str, FileInfo]:
    """Write positions `first` … `last` into `folder` and return file name → FileInfo. Kinds without entries get no file.

    Each file is written under a temporary name, synced and renamed. Raises CheckFailed when positions are missing,
    Retryable when the disk refuses.
    """
    parts = folder / ".sealing"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        writer = _Parts(parts, rows_at_once)
        expected = first
        for entry in journal.read(first, last):
            if entry.position != expected:
                raise CheckFailed(f"journal position {expected} is missing; restore a backup")
            expected += 1
            writer.add(entry)
        if expected != last + 1:
            raise CheckFailed(f"the journal ends at {expected - 1}, asked for {last}")
        writer.flush()
        sealed = {}
        for kind in sorted(writer.files):
            name = f"{_PREFIX}{kind.value}.parquet"
            rows = _merge(writer.files[kind], parts / name, kind, rows_at_once)
            fsync_path(parts / name)
            os.replace(parts / name, folder / name)
            sealed[name] = file_info(folder / name, rows)
        fsync_path(folder)
        return sealed
    except (OSError, pl.exceptions.ComputeError) as error:
        raise Retryable(f"{folder}: sealing failed: {error}; free space and close the epoch again") from error
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def unseal(folder: Path, *, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Entry]:
    """Yield the sealed entries in order of position, holding about `rows_at_once` of them at a time.

    Only files that the manifest names are read (all journal files while there is no manifest yet); whether their bytes
    are the sealed ones is `check_files`' work. Raises CheckFailed on a file of unknown kind or with other columns.
    """
    if (folder / MANIFEST_NAME).exists():
        names = [name for name in read_manifest(folder).files if name.startswith(_PREFIX)]
    else:
        names = [path.name for path in folder.glob(f"{_PREFIX}*.parquet")]
    streams = []
    for name in sorted(names):
        text = name.removeprefix(_PREFIX).removesuffix(".parquet")
        if text not in set(EntryKind):
            raise CheckFailed(f"{folder / name}: {text!r} is no kind of journal entry")
        streams.append(_read(folder / name, EntryKind(text), rows_at_once))
    return heapq.merge(*streams, key=lambda entry: entry.position)


class _Parts:
    """Entries on their way into sorted files: at most `rows_at_once` in memory, the rest in part files."""

    def __init__(self, folder: Path, rows_at_once: int) -> None:
        self.files: dict[EntryKind, list[Path]] = {}
        self._folder = folder
        self._rows_at_once = rows_at_once
        self._rows: dict[EntryKind, list[_Row]] = {}
        self._count = 0

    def add(self, entry: Entry) -> None:
        self._rows.setdefault(entry.kind, []).append((entry.position, entry.received_ms, entry.subject, entry.body))
        self._count += 1
        if self._count >= self._rows_at_once:
            self.flush()

    def flush(self) -> None:
        for kind, rows in self._rows.items():
            files = self.files.setdefault(kind, [])
            path = self._folder / f"part-{kind.value}-{len(files)}.parquet"
            table = pl.DataFrame(rows, schema=SEALED_SCHEMA, orient="row")
            _order(table, kind).write_parquet(path, compression="uncompressed")
            files.append(path)
        self._rows = {}
        self._count = 0


def _order(table: pl.DataFrame, kind: EntryKind) -> pl.DataFrame:
    return table.sort("subject", "position") if kind is EntryKind.REPORT else table.sort("position")


def _merge(parts: list[Path], target: Path, kind: EntryKind, rows_at_once: int) -> int:
    """Bring sorted parts into one sorted file and return its rows."""
    if len(parts) == 1:
        table = pl.read_parquet(parts[0])
        table.write_parquet(target, compression="zstd", statistics=True)
        return table.height
    lazy = pl.scan_parquet(parts)
    if kind is EntryKind.REPORT:
        # Contiguous runs of subjects, each about as long as fits in memory; one subject is never cut.
        counts = lazy.group_by("subject").len().sort("subject").collect(engine="streaming")
        bucket = (pl.col("len").cum_sum() - pl.col("len")) // rows_at_once
        runs = counts.group_by(bucket.alias("bucket")).agg(
            pl.col("subject").min().alias("low"), pl.col("subject").max().alias("high")
        )
        buckets = []
        for number, low, high in runs.sort("bucket").iter_rows():
            path = target.with_name(f"bucket-{number}.parquet")
            among = pl.col("subject").is_between(pl.lit(low), pl.lit(high))  # polars takes bare text for columns' names
            run = lazy.filter(among).collect(engine="streaming")
            _order(run, kind).write_parquet(path, compression="uncompressed")
            buckets.append(path)
        lazy = pl.scan_parquet(buckets)
    lazy.sink_parquet(target, compression="zstd", statistics=True, maintain_order=True)
    return int(pl.scan_parquet(target).select(pl.len()).collect().item())


def _read(path: Path, kind: EntryKind, rows_at_once: int) -> Iterator[Entry]:
    try:
        lazy = pl.scan_parquet(path)
        if dict(lazy.collect_schema()) != SEALED_SCHEMA:
            raise CheckFailed(f"{path}: the columns are not {', '.join(SEALED_SCHEMA)}")
        low, high = lazy.select(pl.col("position").min(), pl.col("position").max().alias("high")).collect().row(0)
        while low is not None and low <= high:
            # Reports are not in order of position: take a window of positions at a time and sort that.
            window = pl.col("position").is_between(low, low + rows_at_once - 1)
            table = lazy.filter(window).sort("position").collect()
            for position, received_ms, subject, body in table.iter_rows():
                yield Entry(position, received_ms, kind, subject, body)
            low += rows_at_once
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CheckFailed(f"{path} is not readable as Parquet: {error!s:.200}; fetch the epoch again") from error
