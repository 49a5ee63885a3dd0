"""Marks on readings of one channel: which check failed first, what it measured, against which limit."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Checks in the order in which they run; a reading is charged to the first one that it fails.
CODES: tuple[str, ...] = (
    "",
    "NOT_A_NUMBER",
    "FUTURE_TIME",
    "REPEATED_TIME",
    "OUT_OF_RANGE",
    "TOO_FAST",
    "SPIKE",
    "UNIDENTIFIED_SPIKE",
    "NOISY",
    "STUCK",
    "FROZEN",
    "CROSS_CHANNEL",
)
CODE_OF = {code: number for number, code in enumerate(CODES)}
CHECK_OF = {
    "NOT_A_NUMBER": "number",
    "FUTURE_TIME": "clock",
    "REPEATED_TIME": "repeated",
    "OUT_OF_RANGE": "range",
    "TOO_FAST": "range",
    "SPIKE": "spike",
    "UNIDENTIFIED_SPIKE": "spike",
    "NOISY": "spike",
    "STUCK": "stuck",
    "FROZEN": "stuck",
    "CROSS_CHANNEL": "cross",
}
_SEEN = np.array([0, CODE_OF["STUCK"], CODE_OF["FROZEN"]], dtype=np.uint8)


class Flags:
    """Marks of one channel's readings. `code` is 0 where every check so far passed; the first failure stays."""

    def __init__(self, count: int) -> None:
        self.code = np.zeros(count, dtype=np.uint8)
        self._events: list[tuple[Ints, int, Floats, Floats]] = []

    def fail(self, rows: Ints, reason: str, measured: ArrayLike, threshold: ArrayLike) -> None:
        """Mark `rows`, unless they are marked already. `measured` and `threshold`: a number, or one per row."""
        fresh = self.code[rows] == 0
        if not fresh.any():
            return
        code = CODE_OF[reason]
        shape = rows.shape
        measures = np.broadcast_to(np.asarray(measured, dtype=np.float64), shape)[fresh]
        limits = np.broadcast_to(np.asarray(threshold, dtype=np.float64), shape)[fresh]
        rows = rows[fresh]
        self.code[rows] = code
        self._events.append((rows, code, measures, limits))

    @property
    def any(self) -> bool:
        """Whether anything is marked."""
        return bool(self._events)

    def good_for_series(self) -> NDArray[np.bool_]:
        """Return where the fleet should see the value: passed, or merely stuck."""
        return np.isin(self.code, _SEEN)

    def losses(self, variable: str, device: NDArray[np.int32], vouched_ms: Ints) -> pl.DataFrame:
        """Sum up per device and reason: rows, lost milliseconds, the measurement farthest from its limit."""
        frames = [
            pl.DataFrame(
                {
                    "place": device[rows],
                    "code": np.full(len(rows), code, dtype=np.uint8),
                    "lost_ms": vouched_ms[rows],
                    "measured": measured,
                    "threshold": threshold,
                }
            )
            for rows, code, measured, threshold in self._events
        ]
        excess = (pl.col("measured") - pl.col("threshold")).abs().fill_nan(None)
        worst = excess.arg_max().fill_null(0)
        return (
            pl.concat(frames)
            .group_by("place", "code", maintain_order=True)
            .agg(
                pl.len().cast(pl.Int64).alias("rows"),
                pl.col("lost_ms").sum(),
                pl.col("measured").gather(worst).first(),
                pl.col("threshold").gather(worst).first(),
            )
            .select(
                pl.col("place").cast(pl.Int64),
                pl.lit(variable).alias("variable"),
                pl.col("code").replace_strict(dict(enumerate(CODES)), return_dtype=pl.String).alias("reason"),
                "rows",
                "lost_ms",
                "measured",
                "threshold",
            )
        )
