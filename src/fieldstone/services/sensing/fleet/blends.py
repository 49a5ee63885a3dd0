"""Made of neighbours: a series that is a positive mix of two other stations.

An honest station's movements can partly be predicted from two neighbours, and how well depends on the weather of the
day; a mean of two stations can be predicted almost wholly, also its wind. So the share of variance that the best
positive mix of two voters explains is compared with the fleet's (median and spread of atanh √share), once for the wind and
once for wind, temperature and humidity together; both must stand out. Only positive coefficients count: a station is
not made of the blend that was made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.sensing.fleet.frame import Bools, Floats, Indices
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.surroundings import Surroundings, row_quantile

_BLOCK = 512
_LEAST_COEFFICIENT = 0.25
_NORMAL_90 = 1.2816  # standard deviations between the median and the 90th percentile of a normal distribution
MIXES: tuple[tuple[str, ...], ...] = (("wind_speed_ms",), ("wind_speed_ms", "temperature_c", "humidity_pct"))


def _gram(around: Surroundings, name: str) -> Floats:
    """Return per device the (1 + k)² products of its own and its voters' movements, in units of its own variance."""
    step = np.diff(around.values(name), axis=1)
    n, k = around.near.index.shape
    out = np.zeros((n, k + 1, k + 1))
    for begin in range(0, n, _BLOCK):
        rows = slice(begin, min(n, begin + _BLOCK))
        ids = around.near.index[rows]
        all_of = np.concatenate([step[rows][:, None, :], np.where((ids >= 0)[:, :, None], step[ids], 0.0)], axis=1)
        known = np.isfinite(all_of).all(axis=1, keepdims=True)
        count = known.sum(axis=2)
        all_of = np.where(known, all_of, 0.0)
        power = np.sqrt((all_of[:, 0] ** 2).sum(axis=1) / np.maximum(count[:, 0], 1))
        usable = (count[:, 0] >= around.params["min_slots"]) & (power > 1e-9)
        scaled = np.clip(all_of / np.where(usable, power, np.inf)[:, None, None], -6, 6)
        out[rows] = np.einsum("nks,nls->nkl", scaled, scaled)
    return out


def best_mix(around: Surroundings, names: tuple[str, ...]) -> tuple[Floats, Indices]:
    """Return for each device the share that the best positive mix of two voters explains (NaN unknown), and the two."""
    n, k = around.near.index.shape
    share, pair = np.full(n, np.nan), np.full((n, 2), -1, dtype=np.int64)
    a, b = np.triu_indices(k, 1)
    if n == 0 or a.size == 0 or not all(around.has(name) for name in names):
        return share, pair
    grams = [_gram(around, name) for name in names]
    known = np.all([gram[:, 0, 0] > 0 for gram in grams], axis=0) & (around.near.count >= 3)
    gram = np.sum(grams, axis=0)
    target, among = gram[:, 0, 1:], gram[:, 1:, 1:]
    g, aa, bb = among[:, a, b], among[:, a, a], among[:, b, b]
    det = aa * bb - g * g
    ok = det > 1e-3 * np.maximum(aa * bb, 1e-12)
    det = np.where(ok, det, 1.0)
    x, y = target[:, a], target[:, b]
    first, second = (x * bb - g * y) / det, (y * aa - g * x) / det
    mixed = ok & (first > _LEAST_COEFFICIENT) & (second > _LEAST_COEFFICIENT)
    explained = np.where(mixed, (first * x + second * y) / np.where(known, gram[:, 0, 0], 1.0)[:, None], 0.0)
    explained = np.round(explained, 4)
    top = np.argmax(explained, axis=1)
    line = np.arange(n)
    share[known] = explained[line, top][known]
    pair = np.stack([around.near.index[line, a[top]], around.near.index[line, b[top]]], axis=1)
    return share, pair


def _excess(share: Floats) -> Floats:
    z = np.arctanh(np.sqrt(np.clip(share, 0.0, 0.995)))
    known = z[np.isfinite(z)][None, :]
    middle = float(row_quantile(known, 0.5, 1)[0])
    spread = 1.4826 * float(row_quantile(np.abs(known - middle), 0.5, 1)[0])
    # A front that crosses part of a city makes two crowds of honest stations, one explained far better than the other.
    # The upper tail then tells what is usual that day; it takes a tenth of the fleet to raise it.
    tail = (float(row_quantile(known, 0.9, 1)[0]) - middle) / _NORMAL_90
    spread = max(spread, tail)
    return np.asarray(np.round((z - middle) / max(spread, 0.05), 4))


def report_blends(around: Surroundings, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> NDArray[np.bool_]:
    """Write FABRICATED for series made of two neighbours."""
    if around.frame.grid.slots < params["blend_min_slots"]:  # part of a day: honest neighbours may be this alike
        return np.zeros(around.frame.count, dtype=bool)
    found = [best_mix(around, names) for names in MIXES]
    known = np.all([np.isfinite(share) for share, _ in found], axis=0)
    ledger.cover("blends", known)
    caught = np.zeros(around.frame.count, dtype=bool)
    if known.sum() < params["kin_fleet"]:
        return np.asarray(caught)
    parts = np.stack([_excess(np.where(known, share, np.nan)) for share, _ in found])
    total = np.round(np.nan_to_num(parts, nan=-np.inf).sum(axis=0), 4)
    caught = known & (total >= params["blend_excess"]) & ~skip
    for device in np.flatnonzero(caught):
        ledger.add(
            int(device),
            "blends",
            "FABRICATED",
            severity_ppm=int(params["blend_severity_ppm"]),
            measured=float(total[device]),
            threshold=float(params["blend_excess"]),
            meaning="standard deviations by which two neighbours explain it better than they explain others, summed",
            explained_share_of_wind=float(found[0][0][device]),
            of_devices=[around.frame.devices[k] for k in found[0][1][device]],
        )
    return np.asarray(caught)
