"""Made of neighbours: a series that is a positive mix of two other stations.

What is left after the neighbours' median was subtracted is a station's own. An honest station's own movements can
hardly be predicted from two others; a mean of two stations can. Only positive coefficients count: a station is not made
of the blend that was made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldstone.services.sensing.fleet.frame import Bools, Floats, Frame, Series, Voters, vote_median
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.signals import CHANNELS, channel, channels, movement, unit
from fieldstone.services.sensing.fleet.surroundings import row_quantile

_BLOCK = 512


def own_movements(frame: Frame, near: Voters) -> Series:
    """Return one unit row per device: movements of all channels after subtracting the voters' median; 0 where unknown."""
    parts = []
    for name in channels(frame):
        values = channel(frame, name)
        rest = (values - vote_median(values, near, 3)).astype(np.float32)
        parts.append(np.float32(np.sqrt(CHANNELS[name])) * unit(movement(rest, 2)))
    return unit(np.concatenate(parts, axis=1)) if parts else np.zeros((frame.count, 0), dtype=np.float32)


def best_blend(rows: Series, near: Voters) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Return for each device the share of its power that a positive mix of two voters explains, and the two."""
    n, k = near.index.shape
    share = np.full(n, np.nan)
    pair = np.full((n, 2), -1, dtype=np.int64)
    a, b = np.triu_indices(k, 1)
    if n == 0 or a.size == 0 or rows.shape[1] == 0:
        return share, pair
    for begin in range(0, n, _BLOCK):
        block = slice(begin, min(n, begin + _BLOCK))
        ids = near.index[block]
        there = ids >= 0
        voters = np.where(there[:, :, None], rows[ids], 0.0)
        target = np.einsum("nkd,nd->nk", voters, rows[block]).astype(np.float64)
        among = np.einsum("nkd,nld->nkl", voters, voters).astype(np.float64)
        g = among[:, a, b]
        x, y = target[:, a], target[:, b]
        det = 1 - g * g
        ok = (det > 0.05) & there[:, a] & there[:, b]
        det = np.where(ok, det, 1.0)
        ca, cb = (x - g * y) / det, (y - g * x) / det
        explained = np.where(ok & (ca > 0.2) & (cb > 0.2), ca * x + cb * y, 0.0)
        explained = np.round(explained, 4)
        top = np.argmax(explained, axis=1)
        line = np.arange(top.size)
        moving = np.abs(rows[block]).sum(axis=1) > 0
        share[block] = np.where(moving & (there.sum(axis=1) >= 3), explained[line, top], np.nan)
        pair[block] = np.stack([ids[line, a[top]], ids[line, b[top]]], axis=1)
    return share, pair


def report_blends(frame: Frame, near: Voters, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> Bools:
    """Write FABRICATED for series made of two neighbours."""
    share, pair = best_blend(own_movements(frame, near), near)
    known = np.isfinite(share)
    ledger.cover("blends", known)
    caught = np.zeros(frame.count, dtype=bool)
    if known.sum() < params["kin_fleet"]:
        return caught
    middle = float(row_quantile(share[None, known], 0.5, 1)[0])
    spread = 1.4826 * float(row_quantile(np.abs(share[None, known] - middle), 0.5, 1)[0])
    limit = max(float(params["blend_r2"]), middle + float(params["blend_excess"]) * max(spread, 0.03))
    caught = (np.nan_to_num(share) >= round(limit, 4)) & ~skip
    for device in np.flatnonzero(caught):
        ledger.add(
            int(device),
            "blends",
            "FABRICATED",
            severity_ppm=int(params["invented_severity_ppm"]),
            measured=float(share[device]),
            threshold=round(limit, 4),
            meaning="share of its own movements that a mix of two neighbours explains",
            of_devices=[frame.devices[k] for k in pair[device]],
        )
    return caught
