"""Verify plain Parquet files with a service's pure checks: no network, no signatures, no journal (DESIGN §6).

    result = verify_files(load_service("sensing"), Path("registry.parquet"), Path("evidence"), out=Path("verdicts.parquet"))

One epoch from the first to the last reading by default; `epoch_ms` splits the evidence at UTC multiples of its length
(the first and last epoch are cut to the evidence's span), and hands what one epoch leaves to the next.
An active service's documents are files of their own, `<kind>.parquet` with the columns of DOCUMENT_SCHEMA, and what the
network asked is `rounds.parquet`: number, position, issued_ms, seed. They belong to the epoch in which they were received.
The signatures of reports are not checked (the file says who sent what); what documents carry inside is.
Large inputs run in a pool of spawned processes: a script that calls this needs the usual `if __name__ == "__main__"`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

from fieldstone.errors import UsageError
from fieldstone.services import load_service
from fieldstone.services.contract import DOCUMENT_SCHEMA, REGISTRY_SCHEMA, VERDICT_SCHEMA, EpochInput, Round, Service

__all__ = ["OfflineResult", "parse_duration", "read_params", "verify_files"]

ROWS_PER_PART = 500_000
POOL_FROM_ROWS = 3_000_000
# Columns a network's own registry table has besides REGISTRY_SCHEMA; they do not enter a verification.
REGISTRY_EXTRAS = ("accuracy_m", "moved_ms", "revoked_ms", "issuer", "name", "public", "nonce")
ROUND_SCHEMA: dict[str, pl.DataType] = {
    "number": pl.Int64(),
    "position": pl.Int64(),
    "issued_ms": pl.Int64(),
    "seed": pl.Binary(),
}

Progress = Callable[[int, int, str], None]  # done, total, what


@dataclass(frozen=True)
class OfflineResult:
    """`verdicts`: VERDICT_SCHEMA sorted by (epoch, device). `epochs`: (epoch, start_ms, end_ms) in order."""

    verdicts: pl.DataFrame
    epochs: list[tuple[int, int, int]]
    rows: int

    def summary(self) -> dict[str, Any]:
        """Return counts for people and for `--json`."""
        verdicts = self.verdicts
        counts = {name: int((verdicts["verdict"] == name).sum()) for name in ("accepted", "partial", "rejected")}
        reasons = verdicts["reasons"].explode(empty_as_null=False).value_counts(sort=True).rename({"reasons": "reason"})
        return {
            "devices": verdicts["device"].n_unique(),
            "epochs": len(self.epochs),
            "rows": self.rows,
            "verdicts": counts,
            "reasons": dict(reasons.sort("count", "reason", descending=[True, False]).iter_rows()),
        }


def verify_files(
    service: Service,
    registry: Path,
    evidence: Path,
    *,
    out: Path | None = None,
    params: Mapping[str, Any] | None = None,
    rule_version: int | None = None,
    epoch_ms: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> OfflineResult:
    """Verify Parquet evidence against a Parquet registry; write the verdicts to `out` when given.

    `evidence`: a folder with `<kind>.parquet` (or several Parquet files, or a folder `<kind>/`), or one file.
    `params`: overrides by dotted key or nested table. `workers`: processes; None decides by size, 1 means none.
    Raises UsageError naming the file and column for anything that cannot be read as `schema.py` says.
    """
    version = service.rule_versions[-1] if rule_version is None else rule_version
    settings = service.default_params(version)
    if params:
        settings = service.with_overrides(settings, params)
    devices = read_registry(registry)
    skip = {path.resolve() for path in (registry, out) if path is not None}
    scans = {kind: _scan(service, kind, evidence, skip) for kind in service.kinds}
    documents = {kind: _documents(kind, evidence, skip) for kind in service.documents}
    asked = _rounds(evidence) if service.documents else pl.DataFrame(schema=ROUND_SCHEMA)
    spans = [_span(scan) for scan in scans.values()]
    spans += [_span(scan, "received_ms") for scan in documents.values()]
    spans += [_span(asked.lazy(), "issued_ms", count=False)]
    bounds = [span for span in spans if span is not None]
    rows = sum(span[2] for span in bounds)
    start_ms, end_ms = (min(b[0] for b in bounds), max(b[1] for b in bounds) + 1) if bounds else (0, 0)
    epochs = list(_epochs(start_ms, end_ms, epoch_ms))
    verdicts: list[pl.DataFrame] = []
    carry: dict[str, pl.DataFrame] = {}
    with ExitStack() as stack:
        pool = _pool(rows, workers, stack)
        for done, (epoch, begin_ms, until_ms) in enumerate(epochs):
            if progress:
                progress(done, len(epochs), f"epoch {epoch} of {len(epochs)}")
            inside = pl.col("t_ms").is_between(begin_ms, until_ms, closed="left")
            tables = {
                kind: scan.filter(inside).sort("device", "t_ms", maintain_order=True).collect()
                for kind, scan in scans.items()
            }
            received = pl.col("received_ms").is_between(begin_ms, until_ms, closed="left")
            for kind, scan in documents.items():
                tables[kind] = scan.filter(received).sort("position", maintain_order=True).collect()
            issued = asked.filter(pl.col("issued_ms").is_between(begin_ms, until_ms, closed="left"))
            rounds = tuple(Round(*row) for row in issued.iter_rows())
            whole = EpochInput(epoch, begin_ms, until_ms, devices, tables, settings, carry=carry, rounds=rounds)
            result = service.check_fleet(whole, _stage_one(service, whole, pool))
            verdicts.append(result.verdicts)
            carry = dict(result.carry)
    if progress:
        progress(len(epochs), len(epochs), "done")
    table = pl.concat(verdicts).sort("epoch", "device") if verdicts else pl.DataFrame(schema=VERDICT_SCHEMA)
    if out is not None:
        _write(table, out)
    return OfflineResult(table, epochs, rows)


def read_registry(path: Path) -> pl.DataFrame:
    """Read a registry of REGISTRY_SCHEMA; everything but `device` may be missing. Raises UsageError."""
    scan = _open([path], str(path))
    table = _typed(scan, dict(REGISTRY_SCHEMA), ("device",), REGISTRY_EXTRAS, str(path)).collect()
    if table["device"].null_count():
        raise UsageError(f"{path}: column 'device' has {table['device'].null_count()} empty entries; name every device")
    twice = table.filter(pl.col("device").is_duplicated())["device"]
    if len(twice):
        raise UsageError(f"{path}: device {twice[0]!r} is listed more than once; keep one row per device")
    filled = table.with_columns(pl.col("operator", "model").fill_null(""), pl.col("enrolled_ms").fill_null(0))
    return filled.sort("device")


def read_params(path: Path) -> dict[str, Any]:
    """Read parameter overrides from TOML. Raises UsageError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error


def parse_duration(text: str) -> int:
    """Read "24h", "15m", "90s" or "1d" into milliseconds. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+)\s*(ms|s|m|min|h|d)\s*", text)
    unit_ms = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
    if not found or int(found[1]) == 0:
        raise UsageError(f"duration {text!r} is not of the form 24h, 15m, 90s or 1d")
    return int(found[1]) * unit_ms[found[2]]


def check_part(name: str, part: EpochInput) -> pl.DataFrame:
    """Run stage 1 of service `name` on a part: what a worker process is sent."""
    return load_service(name).check_devices(part)


def _stage_one(service: Service, whole: EpochInput, pool: ProcessPoolExecutor | None) -> pl.DataFrame:
    rows = sum(table.height for table in whole.evidence.values())
    parts = service.partitions(whole, max(1, -(-rows // ROWS_PER_PART)))
    if pool is None:
        tables: Iterable[pl.DataFrame] = [service.check_devices(part) for part in parts]
    else:
        tables = [job.result() for job in [pool.submit(check_part, service.name, part) for part in parts]]
    return pl.concat(list(tables)).sort("device")


def _pool(rows: int, workers: int | None, stack: ExitStack) -> ProcessPoolExecutor | None:
    if workers is None:
        workers = (os.cpu_count() or 1) if rows >= POOL_FROM_ROWS else 1
    if workers < 2:
        return None
    return stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))


def _epochs(start_ms: int, end_ms: int, epoch_ms: int | None) -> Iterable[tuple[int, int, int]]:
    """Yield (number, start, end); numbers start at 1."""
    if epoch_ms is None or end_ms <= start_ms:
        yield 1, start_ms, end_ms
        return
    first = start_ms // epoch_ms
    for number in range(first, (end_ms - 1) // epoch_ms + 1):
        yield number - first + 1, max(start_ms, number * epoch_ms), min(end_ms, (number + 1) * epoch_ms)


def _scan(service: Service, kind: str, evidence: Path, skip: set[Path]) -> pl.LazyFrame:
    """Open the evidence of one kind with the columns and types of the service's schema."""
    files = _files(service, kind, evidence, skip)
    schema: dict[str, pl.DataType] = {"device": pl.String(), "t_ms": pl.Int64(), "received_ms": pl.Int64()}
    schema |= {column.name: pl.Float64() for column in service.kinds[kind]}
    if not files:
        return pl.LazyFrame(schema=schema)
    scans = [_typed(_open([file], str(file)), schema, ("device", "t_ms"), (), str(file)) for file in files]
    scan = pl.concat(scans)
    empty = scan.select(pl.col("device", "t_ms").null_count()).collect().row(0)
    for name, count in zip(("device", "t_ms"), empty, strict=True):
        if count:
            raise UsageError(f"{evidence}: column {name!r} has {count} empty entries; every reading needs it")
    return scan.with_columns(pl.col("received_ms").fill_null(pl.col("t_ms")))


def _files(service: Service, kind: str, evidence: Path, skip: set[Path]) -> list[Path]:
    if evidence.is_file():
        if len(service.kinds) > 1:
            raise UsageError(f"{evidence} is a file; {service.name} has several kinds of evidence, so name a folder")
        return [evidence]
    if not evidence.is_dir():
        raise UsageError(f"{evidence}: no such folder; name the folder that holds {kind}.parquet")
    found = sorted({*evidence.glob(f"{kind}*.parquet"), *evidence.glob(f"{kind}/**/*.parquet")})
    if not found and len(service.kinds) == 1:
        found = sorted(evidence.glob("*.parquet"))
    found = [path for path in found if path.resolve() not in skip]
    if not found and len(service.kinds) == 1:
        raise UsageError(f"{evidence} holds no Parquet file; expected {kind}.parquet")
    return found


def _documents(kind: str, evidence: Path, skip: set[Path]) -> pl.LazyFrame:
    """Open the documents of one kind; none at all is fine."""
    if not evidence.is_dir():
        raise UsageError(f"{evidence} is no folder; documents are files {kind}.parquet in one")
    files = sorted({*evidence.glob(f"{kind}.parquet"), *evidence.glob(f"{kind}/**/*.parquet")})
    files = [path for path in files if path.resolve() not in skip]
    if not files:
        return pl.LazyFrame(schema=DOCUMENT_SCHEMA)
    needed = ("device", "received_ms", "position", "body")
    scan = pl.concat([_typed(_open([file], str(file)), dict(DOCUMENT_SCHEMA), needed, (), str(file)) for file in files])
    empty = scan.select(pl.col(*needed).null_count()).collect().row(0)
    for name, count in zip(needed, empty, strict=True):
        if count:
            raise UsageError(f"{evidence}: {kind}: column {name!r} has {count} empty entries; every document needs it")
    return scan.with_columns(pl.col("t_ms").fill_null(pl.col("received_ms")))


def _rounds(evidence: Path) -> pl.DataFrame:
    """Read `rounds.parquet`; without it nothing was asked."""
    path = evidence / "rounds.parquet"
    if not path.is_file():
        return pl.DataFrame(schema=ROUND_SCHEMA)
    table = _typed(_open([path], str(path)), dict(ROUND_SCHEMA), tuple(ROUND_SCHEMA), (), str(path)).collect()
    wrong = table.filter(pl.any_horizontal(pl.all().is_null()) | (pl.col("seed").bin.size() != 32)).height
    if wrong or not table["number"].is_unique().all():
        raise UsageError(
            f"{path}: {wrong or 'some'} rounds are incomplete, without a seed of 32 bytes, or listed twice"
        )
    return table.sort("position")


def _open(files: list[Path], where: str) -> pl.LazyFrame:
    for file in files:
        if not file.is_file():
            raise UsageError(f"{file}: no such file")
    try:
        scan = pl.scan_parquet(files, glob=False, hive_partitioning=False)
        scan.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UsageError(f"{where}: not a readable Parquet file: {str(error).splitlines()[0]}") from error
    return scan


def _typed(
    scan: pl.LazyFrame, schema: Mapping[str, pl.DataType], needed: tuple[str, ...], extras: tuple[str, ...], where: str
) -> pl.LazyFrame:
    """Bring a file to `schema`: check names and types, add missing columns as empty. Raises UsageError."""
    present = scan.collect_schema()
    unknown = [name for name in present if name not in schema and name not in extras]
    if unknown:
        named = ", ".join(repr(name) for name in unknown)
        raise UsageError(f"{where}: unknown column {named}; known are {', '.join(schema)}")
    columns = []
    for name, kind in schema.items():
        if name not in present:
            if name in needed:
                raise UsageError(f"{where}: column {name!r} is missing; it is needed")
            columns.append(pl.lit(None, kind).alias(name))
            continue
        found = present[name]
        if not _fits(found, kind):
            raise UsageError(f"{where}: column {name!r} must be {_word(kind)}, but is {found}")
        columns.append(pl.col(name).cast(kind, strict=True))
    return scan.select(columns)


def _fits(found: pl.DataType, wanted: pl.DataType) -> bool:
    if found == pl.Null():
        return True
    if wanted == pl.Float64():
        return found.is_numeric()
    if wanted == pl.Binary():
        return found == pl.Binary()
    if wanted == pl.Int64():
        return found.is_integer() and found not in (pl.UInt64(), pl.Int128())
    return isinstance(found, pl.String | pl.Categorical | pl.Enum)


def _word(kind: pl.DataType) -> str:
    if kind == pl.Float64():
        return "a number"
    if kind == pl.Binary():
        return "bytes"
    return "an integer (Unix milliseconds)" if kind == pl.Int64() else "text"


def _span(scan: pl.LazyFrame, column: str = "t_ms", *, count: bool = True) -> tuple[int, int, int] | None:
    first, last, rows = (
        scan.select(pl.col(column).min().alias("first"), pl.col(column).max().alias("last"), pl.len().alias("rows"))
        .collect()
        .row(0)
    )
    return (first, last, rows if count else 0) if rows else None


def _write(table: pl.DataFrame, out: Path) -> None:
    temporary = out.with_name(out.name + ".part")
    try:
        table.write_parquet(temporary, compression="zstd")
        os.replace(temporary, out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror or error}") from error
