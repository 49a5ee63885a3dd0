"""Compare each station with the stations around it: a buddy check on plain arrays.

    x'_j = x_j + lapse · (z_i − z_j)         every neighbour's value brought to the station's elevation
    m, s = mean, population sd of x'_j over the neighbours not flagged;   n = their number
    flagged when |x_i − m| > threshold · max(s · √(1 + 1/n), min_sd);  n < min_neighbours: not checked
    repeated `iterations` times, and flagged stations leave the neighbourhoods of the next round

With these rules the flags agree with `titanlib.buddy_check` 0.4 (used as a test oracle only; its rules were read from
its behaviour: threshold on the inflated deviation, elevation limit inclusive, one round sees the flags of the last).

Neighbours are found once per fleet by a KD-tree on the unit sphere and kept as flat lists (CSR). One time step costs a
few passes over the edges; many time steps at once are products of the neighbour matrix with a (stations × steps) table.
Rounds after the first touch only what stands next to a newly flagged value.

With `groups` (owners) every other owner has one vote per neighbourhood, shared among its stations, and the station's
own owner has none: many stations of one hand cannot outvote an honest one, nor vouch for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, spatial

__all__ = [
    "FLAGGED",
    "MISSING",
    "NOT_CHECKED",
    "PASSED",
    "BuddyRule",
    "Neighbours",
    "buddy_batch",
    "buddy_flags",
    "buddy_flags_batch",
    "neighbour_lists",
]

csr_matrix: Any = sparse.csr_matrix  # scipy carries no types
KDTree: Any = spatial.KDTree

EARTH_RADIUS_M = 6_378_137.0  # WGS 84 equatorial

PASSED, FLAGGED, NOT_CHECKED, MISSING = 0, 1, 2, 3

Floats = NDArray[np.float64]
Flags = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuddyRule:
    """Settings of the check. `min_sd` in the variable's unit, `lapse_per_m` in units per metre (temperature −0.0065)."""

    min_neighbours: int = 5
    threshold: float = 2.0
    lapse_per_m: float = 0.0
    min_sd: float = 1.0
    iterations: int = 2


@dataclass(frozen=True)
class Neighbours:
    """Who stands near whom: station i's neighbours are `indices[offsets[i]:offsets[i + 1]]`, each with its vote."""

    offsets: NDArray[np.int64]
    indices: NDArray[np.int32]
    votes: Floats | None = None  # None: one vote each

    @property
    def stations(self) -> int:
        """Number of stations."""
        return len(self.offsets) - 1

    @property
    def rows(self) -> NDArray[np.int32]:
        """Return for each edge the station whose neighbourhood it belongs to."""
        return np.repeat(np.arange(self.stations, dtype=np.int32), np.diff(self.offsets))

    def matrix(self) -> Any:
        """Return the votes as a sparse (stations × stations) matrix."""
        votes = np.ones(len(self.indices)) if self.votes is None else self.votes
        return csr_matrix((votes, self.indices, self.offsets), shape=(self.stations, self.stations))


def unit_sphere(lat: ArrayLike, lon: ArrayLike) -> Floats:
    """Return points on the unit sphere, shape (n, 3), for degrees of latitude and longitude."""
    phi, lam = np.deg2rad(np.asarray(lat, dtype=np.float64)), np.deg2rad(np.asarray(lon, dtype=np.float64))
    return np.column_stack((np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)))


def neighbour_lists(
    lat: ArrayLike,
    lon: ArrayLike,
    radius_m: float,
    *,
    elevation_m: ArrayLike | None = None,
    max_elevation_diff_m: float | None = None,
    groups: ArrayLike | None = None,
) -> Neighbours:
    """Find for each station the others within `radius_m` (great circle) and `max_elevation_diff_m` (both inclusive).

    Stations whose position is NaN have no neighbours. `groups`: one integer per station (its owner), see the module.
    """
    points = unit_sphere(lat, lon)
    count = len(points)
    placed = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(placed) < 2:
        return Neighbours(np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))
    chord = 2.0 * np.sin(min(radius_m / EARTH_RADIUS_M, np.pi) / 2.0)
    tree = KDTree(points[placed], compact_nodes=False, balanced_tree=False)
    pairs = placed[tree.query_pairs(chord, output_type="ndarray")].astype(np.int32, copy=False)
    one, other = pairs[:, 0], pairs[:, 1]
    keep: NDArray[np.bool_] | None = None
    if elevation_m is not None and max_elevation_diff_m is not None:
        z = np.asarray(elevation_m, dtype=np.float64)
        keep = np.abs(z[one] - z[other]) <= max_elevation_diff_m
    owners = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    if owners is not None:
        foreign = owners[one] != owners[other]
        keep = foreign if keep is None else keep & foreign
    if keep is not None:
        one, other = one[keep], other[keep]
    ones = np.ones(2 * len(one), dtype=np.int8)
    both = csr_matrix((ones, (np.concatenate((one, other)), np.concatenate((other, one)))), shape=(count, count))
    both.sort_indices()  # the order of neighbours decides the last bit of sums: make it the stations' order
    found = Neighbours(both.indptr.astype(np.int64), both.indices.astype(np.int32, copy=False))
    if owners is None:
        return found
    hand = found.rows.astype(np.int64) * (int(owners.max()) + 1) + owners[found.indices]
    _, inverse, sizes = np.unique(hand, return_inverse=True, return_counts=True)
    return Neighbours(found.offsets, found.indices, 1.0 / sizes[inverse])


def buddy_flags(
    values: ArrayLike, neighbours: Neighbours, rule: BuddyRule, *, elevation_m: ArrayLike | None = None
) -> Flags:
    """Check one value per station; return PASSED, FLAGGED, NOT_CHECKED or MISSING (NaN) for each."""
    reduced, valid = _reduced(np.asarray(values, dtype=np.float64), elevation_m, rule)
    flags = np.where(valid, np.uint8(NOT_CHECKED), np.uint8(MISSING))
    all_rows, all_columns, all_votes = neighbours.rows, neighbours.indices, neighbours.votes
    rows, columns, votes = all_rows, all_columns, all_votes
    stations = neighbours.stations
    asked = valid
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(rule.iterations):
            trusted = valid & (flags != FLAGGED)
            weight = trusted[columns].astype(np.float64) if votes is None else trusted[columns] * votes
            difference = np.where(weight > 0, reduced[columns] - reduced[rows], 0.0)
            count = np.bincount(rows, weight, stations).astype(np.float64, copy=False)
            mean = np.bincount(rows, weight * difference, stations) / count
            variance = np.bincount(rows, weight * difference * difference, stations) / count - mean * mean
            judged = asked & trusted & (count > rule.min_neighbours - 1e-9)
            new = judged & (np.abs(mean) > rule.threshold * _spread(variance, count, rule))
            flags[asked & trusted] = NOT_CHECKED
            flags[judged] = PASSED
            flags[new] = FLAGGED
            if not new.any():
                break
            asked = np.zeros(stations, dtype=np.bool_)  # next round: only whoever lost a neighbour
            asked[all_rows[new[all_columns]]] = True
            keep = asked[all_rows]
            rows, columns = all_rows[keep], all_columns[keep]
            votes = None if all_votes is None else all_votes[keep]
    return flags


def buddy_flags_batch(
    values: ArrayLike, neighbours: Neighbours, rule: BuddyRule, *, elevation_m: ArrayLike | None = None
) -> Flags:
    """Check a table (stations, steps) at once; each step on its own, as `buddy_flags` does."""
    return buddy_batch(values, neighbours, rule, elevation_m=elevation_m)[0]


def buddy_batch(
    values: ArrayLike, neighbours: Neighbours, rule: BuddyRule, *, elevation_m: ArrayLike | None = None
) -> tuple[Flags, NDArray[np.float32]]:
    """Check a table (stations, steps) and return (flags, scores).

    A score is (x_i − m) / spread, signed, in units of the inflated deviation that `threshold` is compared with; NaN
    where nothing was checked.
    """
    table = np.asarray(values, dtype=np.float64)
    reduced, valid = _reduced(table, elevation_m, rule)
    if table.size == 0:
        return np.zeros(table.shape, dtype=np.uint8), np.zeros(table.shape, dtype=np.float32)
    filled = np.where(valid, reduced, 0.0)
    steps_n = np.maximum(valid.sum(axis=0), 1)
    filled = np.where(valid, reduced - filled.sum(axis=0) / steps_n, 0.0)  # small numbers: their squares stay exact
    matrix = neighbours.matrix()
    count = matrix @ valid.astype(np.float64)
    total = matrix @ filled
    squares = matrix @ (filled * filled)
    judged = valid & (count > rule.min_neighbours - 1e-9)
    score = _score(filled, total, squares, count, rule)
    flags = np.where(judged, np.uint8(PASSED), np.uint8(NOT_CHECKED))
    flags[~valid] = MISSING
    new = judged & (np.abs(score) > rule.threshold)
    flags[new] = FLAGGED
    backward = matrix.T.tocsr()
    for _ in range(rule.iterations - 1):
        who, when = np.nonzero(new)
        if len(who) == 0:
            break
        edges = np.diff(backward.indptr)[who]
        starts = np.repeat(backward.indptr[who] - np.concatenate(([0], np.cumsum(edges)[:-1])), edges)
        edge = starts + np.arange(len(starts))
        steps = table.shape[1]
        flat = backward.indices[edge].astype(np.int64) * steps + np.repeat(when, edges)
        weight = backward.data[edge]
        gone = np.repeat(filled[who, when], edges)
        touched, place = np.unique(flat, return_inverse=True)
        for sums, part in ((count, weight), (total, weight * gone), (squares, weight * gone * gone)):
            sums.reshape(-1)[touched] -= np.bincount(place, part, len(touched))
        touched = touched[(flags.reshape(-1)[touched] == PASSED)]
        flat_sums = [part.reshape(-1)[touched] for part in (filled, total, squares, count)]
        again = _score(flat_sums[0], flat_sums[1], flat_sums[2], flat_sums[3], rule)
        enough = count.reshape(-1)[touched] > rule.min_neighbours - 1e-9
        flags.reshape(-1)[touched[~enough]] = NOT_CHECKED
        score.reshape(-1)[touched] = np.where(enough, again, np.nan)
        fresh = touched[enough & (np.abs(again) > rule.threshold)]
        flags.reshape(-1)[fresh] = FLAGGED
        new = np.zeros(table.shape, dtype=np.bool_)
        new.reshape(-1)[fresh] = True
    score[(flags == MISSING) | (flags == NOT_CHECKED)] = np.nan
    return flags, score.astype(np.float32)


def _reduced(values: Floats, elevation_m: ArrayLike | None, rule: BuddyRule) -> tuple[Floats, NDArray[np.bool_]]:
    """Bring values to elevation 0 by the lapse rate; return them and where they can be used."""
    if elevation_m is not None and rule.lapse_per_m:
        shift = rule.lapse_per_m * np.asarray(elevation_m, dtype=np.float64)
        values = values - (shift[:, None] if values.ndim == 2 else shift)
    return values, np.isfinite(values)


def _spread(variance: Floats, count: Floats, rule: BuddyRule) -> Floats:
    inflated = np.sqrt(np.maximum(variance, 0.0) * (1.0 + 1.0 / count))
    return np.asarray(np.maximum(inflated, rule.min_sd), dtype=np.float64)


def _score(own: Floats, total: Floats, squares: Floats, count: Floats, rule: BuddyRule) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        return np.asarray((own - mean) / _spread(squares / count - mean * mean, count, rule), dtype=np.float64)
