"""Replayed epochs: the movements of this epoch repeat those of an earlier one, of the same device or of another.

A fingerprint is a sketch of the epoch's movements (±1 projections, one byte per number). Honest epochs are unrelated:
two fingerprints of 96 numbers correlate by 0 ± 0.10. Light is left out, because clear days are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.fleet.frame import Bools, Frame
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.signals import CHANNELS, channel, channels, movement, signs, unit
from fieldstone.units import PPM

CARRY = "fleet_fingerprints"
CARRY_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "epoch": pl.Int64(),
    "slots": pl.Int64(),
    "slot_ms": pl.Int64(),
    "sketch": pl.Binary(),
}


def fingerprints(frame: Frame, params: Mapping[str, Any]) -> tuple[NDArray[np.float32], Bools]:
    """Return unit sketches, already rounded to bytes, and which devices moved enough to have one."""
    size = int(params["replay_sketch"])
    total = np.zeros((frame.count, size), dtype=np.float32)
    known = np.zeros(frame.count, dtype=bool)
    for name in channels(frame):
        if name == "solar_wm2":
            continue
        moved = movement(channel(frame, name), 2)
        known |= np.isfinite(moved).sum(axis=1) >= params["copy_min_slots"]
        total += np.float32(CHANNELS[name]) * (unit(moved) @ signs(f"replay/{name}", frame.grid.slots, size))
    peak = np.abs(total).max(axis=1, initial=0.0)[:, None]
    whole = np.rint(total / np.where(peak > 0, peak, 1.0) * 127)
    return unit(whole.astype(np.float32)), known & (peak[:, 0] > 0)


def _bytes(sketches: NDArray[np.float32]) -> list[bytes]:
    peak = np.abs(sketches).max(axis=1, initial=0.0)[:, None]
    whole = np.rint(sketches / np.where(peak > 0, peak, 1.0) * 127).astype(np.int8)
    return [row.tobytes() for row in whole]


def report_replays(
    frame: Frame, epoch: int, carry: pl.DataFrame | None, params: Mapping[str, Any], ledger: Ledger, skip: Bools
) -> pl.DataFrame:
    """Write REPLAYED and return the fingerprints to keep. `carry`: those of earlier epochs."""
    now, known = fingerprints(frame, params)
    size = int(params["replay_sketch"])
    past = pl.DataFrame(schema=CARRY_SCHEMA) if carry is None else carry.select(list(CARRY_SCHEMA))
    past = past.filter(pl.col("epoch") < epoch, pl.col("epoch") >= epoch - int(params["replay_keep"]))
    alike = past.filter(
        (pl.col("slots") == frame.grid.slots)
        & (pl.col("slot_ms") == frame.grid.slot_ms)
        & (pl.col("sketch").bin.size() == size)
    ).sort("epoch", "device", descending=[True, False])
    judged = np.zeros(frame.count)
    best = np.zeros(frame.count)
    which: list[tuple[str, int]] = [("", 0)] * frame.count
    number = {device: index for index, device in enumerate(frame.devices)}
    limit = float(params["replay_alike"])
    for (then,), table in alike.group_by(["epoch"], maintain_order=True):
        old = unit(
            np.frombuffer(b"".join(table["sketch"].to_list()), dtype=np.int8).reshape(-1, size).astype(np.float32)
        )
        names = table["device"].to_list()
        own = np.array([number.get(device, -1) for device in names], dtype=np.int64)
        mine = np.flatnonzero(own >= 0)
        r = np.round(np.einsum("ij,ij->i", now[own[mine]], old[mine]), 4)
        judged[own[mine]] = 1.0
        for row, value in zip(mine, r, strict=True):
            if value > best[own[row]]:
                best[own[row]], which[own[row]] = value, (names[row], int(str(then)))
        if int(str(then)) >= epoch - int(params["replay_foreign_epochs"]):
            for begin in range(0, frame.count, 1024):
                block = np.round(now[begin : begin + 1024] @ old.T, 4)
                rows, columns = np.nonzero(block > np.float32(limit))
                for row, column in zip(rows, columns, strict=True):
                    value = float(block[row, column])
                    if value > best[begin + row]:
                        best[begin + row], which[begin + row] = value, (names[column], int(str(then)))
    ledger.cover("replays", judged * known)
    for device in np.flatnonzero((best >= limit) & known & ~skip):
        source, then_epoch = which[device]
        ledger.add(
            int(device),
            "replays",
            "REPLAYED",
            severity_ppm=PPM,
            measured=float(best[device]),
            threshold=limit,
            of_device=source,
            of_epoch=then_epoch,
        )
    kept = np.flatnonzero(known)
    sketches = _bytes(now[kept])
    fresh = pl.DataFrame(
        {
            "device": [frame.devices[k] for k in kept],
            "epoch": [epoch] * kept.size,
            "slots": [frame.grid.slots] * kept.size,
            "slot_ms": [frame.grid.slot_ms] * kept.size,
            "sketch": sketches,
        },
        schema=CARRY_SCHEMA,
    )
    return pl.concat([past.cast(dict(CARRY_SCHEMA)), fresh]).sort("epoch", "device")  # type: ignore[arg-type]
