"""Select observations from sealed tables, count them and price them. Pure but for reading the named files.

A *reading* is one value of one variable of one device at one time. Only tables of sellable rows are read, so rejected data
cannot be sold; a row must reach the query's least quality; a value that is missing, NaN or infinite is no reading. The
same (device, time) in two epochs is one row: the earlier epoch's, or a device could be paid again for a repeated report.

The device column is the station's did:key, beside its H3 cell: a buyer can then check a reading against the sealed signed
reports. A pseudonym would hide nothing, because the registry is public (anyone must be able to replay an epoch).

Price: readings × price of one reading, integers. The selection hash covers the canonical query, the SHA-256 of every
file that is read, and the number of readings per epoch and device: what is quoted is exactly what is delivered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import polars as pl

from fieldstone.errors import CheckFailed
from fieldstone.market.catalogue import Offer
from fieldstone.market.query import Query, stations_within
from fieldstone.market.sealed import SealedEpochs, TableFacts

# Lower bounds of the quality bands in a quote's and an invoice's summary, in parts per million.
QUALITY_BANDS_PPM = (990_000, 950_000, 900_000, 800_000, 500_000, 0)


class EpochPart(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a selection that comes from one sealed epoch, with what a buyer needs to check it."""

    epoch: int
    table_sha256: str
    root: str
    manifest_sha256: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of readings: all, per variable, per quality band (lower bound in ppm), and per epoch and device."""

    readings: int
    rows: int
    by_variable: dict[str, int]
    by_quality: dict[int, int]
    by_epoch_device: dict[int, dict[str, int]]

    @property
    def by_device(self) -> dict[str, int]:
        """Readings per device over all epochs."""
        total: dict[str, int] = {}
        for devices in self.by_epoch_device.values():
            for device, readings in devices.items():
                total[device] = total.get(device, 0) + readings
        return total


@dataclass(frozen=True)
class Selection:
    """`rows`: the lazy table. `parts`: the epochs it is cut from. `excluded`: epoch → why it could not be read."""

    rows: pl.LazyFrame
    parts: tuple[EpochPart, ...]
    excluded: dict[int, str]


def schema(query: Query) -> dict[str, Any]:
    """Return the columns of what is delivered, in order."""
    return {
        "epoch": pl.Int64(),
        "device": pl.String(),
        "cell": pl.String(),
        "t_ms": pl.Int64(),
        "received_ms": pl.Int64(),
        **{variable: pl.Float64() for variable in query.variables},
        "quality_ppm": pl.Int64(),
    }


def select(sealed: SealedEpochs, offer: Offer, query: Query, only: Sequence[EpochPart] | None = None) -> Selection:
    """Return the rows that answer a canonical query. With `only`, from exactly these epochs and files.

    An epoch whose files are missing or damaged is left out and named in `excluded`.
    """
    wanted = None if only is None else {part.epoch: part.table_sha256 for part in only}
    frames, parts, spans = [], [], []
    epochs, damaged = sealed.epochs()
    excluded = {number: why for number, why in damaged.items() if wanted is None or number in wanted}
    for epoch in epochs:
        if wanted is not None and epoch.number not in wanted:
            continue
        try:
            facts = sealed.table(epoch, offer.table)
            if facts is None or facts.first_ms is None or facts.last_ms is None:
                continue
            if facts.first_ms >= query.end_ms or facts.last_ms < query.start_ms:
                continue
            if wanted is not None and wanted[epoch.number] != facts.sha256:
                raise CheckFailed(f"epoch {epoch.number}: {offer.table} is not the file that was quoted")
            stations = stations_within(sealed.stations(epoch), query)
        except CheckFailed as error:
            excluded[epoch.number] = str(error)
            continue
        frames.append(_rows(facts, epoch.number, stations, query))
        spans.append((facts.first_ms, facts.last_ms))
        parts.append(
            EpochPart(
                epoch=epoch.number,
                table_sha256=facts.sha256,
                root=epoch.root,
                manifest_sha256=epoch.manifest_sha256,
            )
        )
    for missing in sorted((wanted or {}).keys() - {part.epoch for part in parts} - excluded.keys()):
        excluded[missing] = f"epoch {missing}: is no longer there"
    if not frames:
        return Selection(pl.LazyFrame(schema=schema(query)), (), excluded)
    rows = pl.concat(frames)
    spans.sort()
    if any(later[0] <= earlier[1] for earlier, later in pairwise(spans)):
        # only epochs whose times overlap can hold a row twice
        rows = rows.unique(subset=["device", "t_ms"], keep="first", maintain_order=True)
    return Selection(rows, tuple(parts), excluded)


def _rows(facts: TableFacts, epoch: int, stations: pl.DataFrame, query: Query) -> pl.LazyFrame:
    table = pl.scan_parquet(facts.path)
    present = table.collect_schema().names()
    values = []
    for variable in query.variables:
        if variable in present:
            value = pl.col(variable).cast(pl.Float64)
            values.append(pl.when(value.is_finite()).then(value).alias(variable))
        else:
            values.append(pl.lit(None, dtype=pl.Float64).alias(variable))
    rows = (
        table.filter(
            (pl.col("t_ms") >= query.start_ms)
            & (pl.col("t_ms") < query.end_ms)
            & (pl.col("quality_ppm") >= query.min_quality_ppm)
        )
        .join(stations.lazy(), on="device", how="inner", maintain_order="left")
        .select(
            pl.lit(epoch, dtype=pl.Int64).alias("epoch"),
            pl.col("device").cast(pl.String),
            "cell",
            pl.col("t_ms").cast(pl.Int64),
            pl.col("received_ms").cast(pl.Int64),
            *values,
            pl.col("quality_ppm").cast(pl.Int64),
        )
        .filter(pl.any_horizontal(pl.col(query.variables).is_not_null()))
    )
    if facts.ordered:
        return rows
    return rows.sort("device", "t_ms", "received_ms", *query.variables, "quality_ppm").unique(
        subset=["device", "t_ms"], keep="first", maintain_order=True
    )


def tally(rows: pl.LazyFrame, query: Query) -> Tally:
    """Count the readings of a selection."""
    band = pl.lit(QUALITY_BANDS_PPM[-1])
    for lower in reversed(QUALITY_BANDS_PPM[:-1]):
        band = pl.when(pl.col("quality_ppm") >= lower).then(pl.lit(lower)).otherwise(band)
    counts = (
        rows.group_by("epoch", "device", band.cast(pl.Int64).alias("band"))
        .agg(pl.len().alias("rows"), *[pl.col(name).count().cast(pl.Int64) for name in query.variables])
        .with_columns(pl.sum_horizontal(*query.variables).alias("readings"))
        .collect(engine="streaming")
    )
    by_epoch: dict[int, dict[str, int]] = {}
    per_device = counts.group_by("epoch", "device").agg(pl.col("readings").sum()).sort("epoch", "device")
    for epoch, device, readings in per_device.iter_rows():
        by_epoch.setdefault(epoch, {})[device] = readings
    return Tally(
        readings=int(counts["readings"].sum()),
        rows=int(counts["rows"].sum()),
        by_variable={name: int(counts[name].sum()) for name in query.variables},
        by_quality={
            lower: int(counts.filter(pl.col("band") == lower)["readings"].sum()) for lower in QUALITY_BANDS_PPM
        },
        by_epoch_device=by_epoch,
    )


def selection_hash(query: Query, parts: Sequence[EpochPart], counted: Tally) -> str:
    """Return the SHA-256, in hex, of exactly what is sold: canonical JSON of query, files and readings."""
    body = {
        "query": query,
        "files": [[part.epoch, part.table_sha256] for part in parts],
        "readings": [[epoch, sorted(devices.items())] for epoch, devices in sorted(counted.by_epoch_device.items())],
    }
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()
