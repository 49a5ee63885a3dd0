"""What may be sold of an epoch: readings that passed, each with its quality."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.rows import sorted_evidence
from fieldstone.services.sensing.schema import VARIABLE_NAMES
from fieldstone.units import PPM


def sellable_rows(
    evidence: pl.DataFrame,
    device_checks: pl.DataFrame,
    quality_ppm: NDArray[np.int64],
    rejected: NDArray[np.bool_],
    off_sale: NDArray[np.bool_],
) -> pl.DataFrame:
    """Return the evidence with failed values emptied and `quality_ppm` added; rows without a good value are left out.

    A row's quality is its device's quality times the share of its values that passed. Nothing of a rejected device is
    sold, nor a channel that a severe finding took off sale (`off_sale`, (devices, variables)).
    """
    evidence, device = sorted_evidence(evidence, device_checks["device"])
    flags = device_checks["row_flags"].explode(empty_as_null=False).to_numpy().astype(np.uint16)
    powers = (1 << np.arange(len(VARIABLE_NAMES))).astype(np.uint16)
    blocked = (off_sale * powers).sum(axis=1).astype(np.uint16)
    blocked[rejected] = 0xFFFF
    if blocked.any():
        flags = flags & ~blocked[device]
    keep = flags != 0
    if not keep.all():
        flags, device, evidence = flags[keep], device[keep], evidence.filter(pl.Series(keep))
    everywhere = int(np.bitwise_and.reduce(flags)) if len(flags) else 0
    mark = pl.lit(pl.Series("flags", flags, dtype=pl.UInt16))
    present, passed = np.zeros(len(flags), dtype=np.int64), np.bitwise_count(flags).astype(np.int64)
    columns = [pl.col("device"), pl.col("t_ms"), _received(evidence)]
    for number, name in enumerate(VARIABLE_NAMES):
        power = int(powers[number])
        if name not in evidence.columns:
            columns.append(pl.lit(None, pl.Float64).alias(name))
            continue
        column = evidence[name]
        present += column.is_not_null().to_numpy() if column.null_count() else 1
        good = pl.col(name) if everywhere & power else pl.when((mark & power) != 0).then(pl.col(name))
        columns.append(good.alias(name))
    quality = quality_ppm[device] * (passed * PPM // np.maximum(present, 1)) // PPM
    return evidence.select(*columns, pl.lit(pl.Series(quality, dtype=pl.Int64)).alias("quality_ppm"))


def _received(evidence: pl.DataFrame) -> pl.Expr:
    return pl.col("received_ms") if "received_ms" in evidence.columns else pl.col("t_ms").alias("received_ms")
