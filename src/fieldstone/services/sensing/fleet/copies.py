"""Copied streams: two devices whose every movement is the same, at any distance, lag, scale, offset, with fresh noise.

1. *Screen* all pairs: the movements of all channels, projected by random signs to a short sketch, so that all pairs at
   several lags are a few matrix products. It only proposes pairs.
2. *Expect*: how much honest pairs correlate is fitted on this fleet, per channel, as a function of distance.
3. *Refine* proposed pairs exactly: best lag by FFT over all channels, correlation on the common slots, its excess over
   the expectation in standard deviations, combined over the channels (Stouffer); scale and offset as evidence.

Method: reference sensing §2.6; random projections after Achlioptas (2003).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.spatial import cKDTree  # type: ignore[attr-defined]

from fieldstone.services.sensing.fleet.frame import Floats, Frame, Indices, Series, Voters, vote_median
from fieldstone.services.sensing.fleet.signals import CHANNELS, channel, channels, movement, signs, unit

_ROWS, _COLUMNS = 1024, 2048  # devices per tile of the screening product: 8 MB
_PAIRS = 1024  # pairs refined at a time
_WHOLE = slice(None)
_NEXT_DOOR_KM = 0.5


@dataclass(frozen=True)
class Pairs:
    """Pairs i < j. `lag`: slots by which j follows i (negative: i follows j)."""

    i: Indices
    j: Indices
    lag: Indices
    excess: Floats  # standard deviations above what honest pairs at this distance show, over all channels
    likeness: Floats  # weighted mean correlation of the movements
    share: Floats  # part of the epoch that is copied, in quarters


def sketches(features: Mapping[str, Series], size: int, lag: int = 0) -> Series:
    """Return one row of `size` per device: the movements of all channels, `lag` slots earlier, under random signs."""
    names = list(features)
    n, slots = features[names[0]].shape
    out = np.zeros((n, size), dtype=np.float32)
    for name in names:
        moved = np.zeros((n, slots), dtype=np.float32)
        moved[:, lag:] = unit(features[name])[:, : slots - lag]
        out += np.float32(CHANNELS[name]) * (moved @ signs(f"copies/{name}", slots, size))
    return unit(out)


def screen(frame: Frame, params: Mapping[str, Any]) -> tuple[Indices, Indices]:
    """Return the pairs i < j whose sketches are alike at some lag; at most `copy_partners` per device and lag."""
    names = channels(frame)
    found: list[NDArray[np.int64]] = []
    if frame.count < 2 or not names:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    fine = {name: movement(channel(frame, name), 2) for name in names}
    found.append(_near(frame, fine, params))
    found.append(_alike(sketches(fine, int(params["copy_sketch"])), None, params))
    del fine
    broad = {name: movement(channel(frame, name), 4) for name in names}
    size = int(params["copy_lag_sketch"])
    now = sketches(broad, size)
    for lag in range(3, round(params["copy_max_lag_s"] * 1000 / frame.grid.slot_ms) + 1, 3):
        if lag >= frame.grid.slots // 2:
            break
        found.append(_alike(now, sketches(broad, size, lag), params))
    pairs = np.concatenate(found)
    key = np.unique(np.minimum(pairs[:, 0], pairs[:, 1]) * frame.count + np.maximum(pairs[:, 0], pairs[:, 1]))
    return key // frame.count, key % frame.count


def _alike(left: Series, right: Series | None, params: Mapping[str, Any]) -> NDArray[np.int64]:
    n = left.shape[0]
    limit = np.float32(params["copy_screen"] if right is None else params["copy_lag_screen"])
    most = int(params["copy_partners"])
    out = [np.zeros((0, 2), dtype=np.int64)]
    tile = np.empty(_ROWS * _COLUMNS, dtype=np.float32)  # one tile stays in the cache; most hold nothing
    for begin in range(0, n, _ROWS):
        rows = left[begin : begin + _ROWS]
        found: list[NDArray[np.int64]] = []
        values: list[Series] = []
        for start in range(0, n, _COLUMNS):
            columns = (left if right is None else right)[start : start + _COLUMNS]
            shape = (rows.shape[0], columns.shape[0])
            product = np.matmul(rows, columns.T, out=tile[: shape[0] * shape[1]].reshape(shape))
            some = np.flatnonzero(product.max(axis=1) > limit)
            if some.size == 0:
                continue
            hit_row, hit_column = np.nonzero(product[some] > limit)
            i, j = some[hit_row] + begin, hit_column + start
            other = i != j
            found.append(np.stack([i[other], j[other]], axis=1))
            values.append(product[some[hit_row], hit_column][other])
        if found:
            pairs = np.concatenate(found)
            out.append(_best(pairs[:, 0], pairs[:, 1], np.concatenate(values), most))
    return np.concatenate(out)


def _best(i: Indices, j: Indices, value: NDArray[np.floating[Any]], most: int) -> NDArray[np.int64]:
    """Return for each i its `most` best j."""
    order = np.lexsort((j, -np.round(value, 4), i))
    i, j = i[order], j[order]
    rank = np.arange(i.size) - np.searchsorted(i, i, side="left")
    return np.stack([i, j], axis=1)[rank < most]


def _near(frame: Frame, features: Mapping[str, Series], params: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return each device's most similar of its nearest devices: next door, a sketch cannot tell copy from neighbour."""
    look = min(int(params["copy_near"]) + 1, frame.count)
    _, nearest = cKDTree(frame.places_km).query(frame.places_km, k=look)
    i = np.repeat(np.arange(frame.count), look)
    j = nearest.reshape(-1).astype(np.int64)
    i, j = i[i != j], j[i != j]
    value = np.zeros(i.size, dtype=np.float32)
    for name, moved in features.items():
        rows = unit(moved)
        for begin in range(0, i.size, 8192):
            part = slice(begin, begin + 8192)
            value[part] += np.float32(CHANNELS[name]) * np.einsum("ps,ps->p", rows[i[part]], rows[j[part]])
    return _best(i, j, value, 3)


@dataclass(frozen=True)
class Measured:
    """Exact figures of pairs: best lag, and per channel the correlation of movements and the common slots."""

    lag: Indices
    r: Mapping[str, Floats]
    slots: Mapping[str, Floats]


class Comparer:
    """Measures pairs of one fleet. Holds the movements of all channels and their spectra."""

    def __init__(self, frame: Frame, values: Mapping[str, Series], params: Mapping[str, Any]) -> None:
        self.names = list(values)
        self.slots = frame.grid.slots
        longest = round(params["copy_max_lag_s"] * 1000 / frame.grid.slot_ms) + 3
        self.longest = max(1, min(longest, self.slots // 3))
        self.size = 1 << int(np.ceil(np.log2(max(self.slots + self.longest + 1, 4))))
        self.movement = {name: movement(series, 2) for name, series in values.items()}
        self._spectra = {
            name: np.fft.rfft(unit(moved), self.size, axis=1).astype(np.complex64)
            for name, moved in self.movement.items()
        }

    def lags(self, i: Indices, j: Indices) -> Indices:
        """Return for each pair the lag (slots) at which j follows i most closely over all channels."""
        lags = np.arange(-self.longest, self.longest + 1)
        lags = lags[np.argsort(np.abs(lags), kind="stable")]  # among equal peaks the smallest lag
        out = np.zeros(i.size, dtype=np.int64)
        for begin in range(0, i.size, _PAIRS):
            a, b = i[begin : begin + _PAIRS], j[begin : begin + _PAIRS]
            product = np.zeros((a.size, self.size // 2 + 1), dtype=np.complex64)
            for name in self.names:
                product += np.float32(CHANNELS[name]) * np.conj(self._spectra[name][a]) * self._spectra[name][b]
            cross = np.fft.irfft(product, self.size, axis=1)[:, lags % self.size]
            out[begin : begin + _PAIRS] = lags[np.argmax(np.round(cross, 4), axis=1)]
        return out

    def measure(self, i: Indices, j: Indices, lag: Indices, window: slice = _WHOLE) -> Measured:
        """Return correlations on the slots of `window` (of device i) that both have."""
        r = {name: np.zeros(i.size) for name in self.names}
        count = {name: np.zeros(i.size) for name in self.names}
        first, end, _ = window.indices(self.slots)
        for name, moved in self.movement.items():
            # Rows with room on both sides: a lagged row is one contiguous piece, and what lies outside is missing.
            room = np.pad(moved, ((0, 0), (self.longest, self.longest)), constant_values=np.nan)
            pieces = sliding_window_view(room, end - first, axis=1)
            for begin in range(0, i.size, _PAIRS):
                part = slice(begin, begin + _PAIRS)
                x = moved[i[part], first:end]
                y = pieces[j[part], lag[part] + (self.longest + first)]
                r[name][part], count[name][part] = _masked_correlation(x, y)
        return Measured(lag, r, count)


@dataclass(frozen=True)
class Expectation:
    """How alike honest pairs are: per channel the centre and spread of atanh(r) in bins of distance."""

    centre: Mapping[str, Floats]
    spread: Mapping[str, Floats]


EDGES_KM = np.array([0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
# Prior for bins without enough pairs: atanh(r) next door and the distance over which it falls (lab world, §2.6).
_PRIOR = {"temperature_c": 1.6, "humidity_pct": 1.4, "solar_wm2": 2.0}
_PRIOR_KM = 6.0


def fit_pairs(frame: Frame, near: Voters, most: int) -> tuple[Indices, Indices]:
    """Return pairs of all distances: every device with its voters and with a few devices anywhere; at most `most`."""
    n = frame.count
    if n < 2:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    rows = np.repeat(np.arange(n), near.index.shape[1])
    columns = near.index.ravel()
    strides = [stride for stride in (1, 7, 37, 101) if stride < n]
    i = np.concatenate([rows[columns >= 0], np.tile(np.arange(n), len(strides))])
    j = np.concatenate([columns[columns >= 0], *[(np.arange(n) + stride) % n for stride in strides]])
    step = max(1, -(-i.size // most))  # every k-th, so that the choice is the same everywhere
    return i[::step], j[::step]


def expectation(frame: Frame, i: Indices, j: Indices, seen: Measured, params: Mapping[str, Any]) -> Expectation:
    """Fit how alike honest pairs are at their best lag, as a function of distance.

    Medians, so that copies (fewer than half of a bin) do not raise the bar for themselves. Nearer bins are never below
    farther ones. A bin with fewer than `copy_fit_pairs` pairs takes the prior.
    """
    bins = np.searchsorted(EDGES_KM, frame.distance_km(i, j), side="right")
    middle = np.concatenate([[0.1], (EDGES_KM[1:] + EDGES_KM[:-1]) / 2, [200.0]])
    centre: dict[str, Floats] = {}
    spread: dict[str, Floats] = {}
    for name, r in seen.r.items():
        use = np.isfinite(r) & (seen.slots[name] >= params["copy_min_slots"])
        z = np.arctanh(np.clip(np.nan_to_num(r), -0.99, 0.99))
        mu, sd = np.zeros(middle.size), np.full(middle.size, 0.35)
        for number in range(middle.size - 1, -1, -1):
            inside = z[use & (bins == number)]
            if inside.size >= params["copy_fit_pairs"]:
                mu[number] = np.median(inside)
                sd[number] = 1.4826 * np.median(np.abs(inside - mu[number]))
            else:
                mu[number] = _PRIOR.get(name, 0.7) * np.exp(-middle[number] / _PRIOR_KM)
            if number + 1 < middle.size:
                mu[number] = max(mu[number], mu[number + 1])
        centre[name] = np.round(mu, 4)
        spread[name] = np.round(np.maximum(sd, params["copy_min_spread"]), 4)
    return Expectation(centre, spread)


def excess(
    distance_km: Floats, seen: Measured, expected: Expectation, params: Mapping[str, Any]
) -> tuple[Floats, Floats]:
    """Return per pair the excess over the expectation (Stouffer's weighted z) and the weighted mean correlation.

    Channels that honest pairs at this distance share almost wholly (clear-sky light) say nothing and are left out. The
    numbers are rounded to 4 digits, so that they decide alike on every machine.
    """
    bins = np.searchsorted(EDGES_KM, distance_km, side="right")
    score, weight, like, like_weight = (np.zeros(distance_km.size) for _ in range(4))
    for name, r in seen.r.items():
        mu, sd = expected.centre[name][bins], expected.spread[name][bins]
        sd = np.maximum(sd, 1 / np.sqrt(np.maximum(seen.slots[name] / 2 - 3, 1)))
        enough = (seen.slots[name] >= params["copy_min_slots"]) & np.isfinite(r)
        telling = enough & (mu < params["copy_shared"])
        z = np.clip((np.arctanh(np.clip(np.nan_to_num(r), -0.995, 0.995)) - mu) / sd, -10, 20)
        w = CHANNELS[name]
        score += np.where(telling, w * z, 0.0)
        weight += np.where(telling, w * w, 0.0)
        like += np.where(enough, w * np.nan_to_num(r), 0.0)
        like_weight += np.where(enough, w, 0.0)
    total = score / np.sqrt(np.where(weight > 0, weight, 1.0))
    return np.round(total, 4), np.round(like / np.where(like_weight > 0, like_weight, 1.0), 4)


class Judge:
    """Decides on pairs of one fleet. Fits on the fleet once what honest pairs show."""

    def __init__(self, frame: Frame, near: Voters, params: Mapping[str, Any]) -> None:
        self.frame, self.near, self.params = frame, near, params
        self.values = {name: channel(frame, name) for name in channels(frame)}
        self._fit = fit_pairs(frame, near, int(params["copy_fit_most"]))
        self._compare = Comparer(frame, self.values, params)
        self._fit_lag = self._compare.lags(*self._fit)
        self._honest: dict[tuple[int, int, int], Expectation] = {}

    def _excess(
        self, compare: Comparer, i: Indices, j: Indices, lag: Indices, window: slice = _WHOLE
    ) -> tuple[Floats, Floats, Floats]:
        """Return excess at the pair's distance, excess were they next door, and likeness."""
        key = (id(compare), window.start or 0, window.stop or 0)
        if key not in self._honest:
            fit = compare.measure(*self._fit, self._fit_lag, window)
            self._honest[key] = expectation(self.frame, *self._fit, fit, self.params)
        seen = compare.measure(i, j, lag, window)
        there, like = excess(self.frame.distance_km(i, j), seen, self._honest[key], self.params)
        close, _ = excess(np.full(i.size, _NEXT_DOOR_KM), seen, self._honest[key], self.params)
        return there, close, like

    def certain(self, i: Indices, j: Indices) -> Pairs:
        """Return those of the pairs of which one copies the other, over the whole epoch or over quarters of it.

        A pair must be more alike than honest pairs at its distance *and* than honest pairs next door: a station that
        merely stands somewhere else than it claims is like the neighbours of its real place, and no copy of them; nor is
        a copy also a copy of its victim's neighbours.

        Pairs that are suspicious but not beyond doubt are looked at again in two ways: quarter by quarter, and after
        the median of each device's neighbours was subtracted (when one front moves every station alike).
        """
        params = self.params
        if i.size == 0 or not self.values:
            nothing = np.zeros(0)
            none = np.zeros(0, dtype=np.int64)
            return Pairs(none, none, none, nothing, nothing, nothing)
        lag = self._compare.lags(i, j)
        whole, close, likeness = self._excess(self._compare, i, j, lag)
        sure, share = (whole >= params["copy_excess"]) & (close >= params["copy_close_excess"]), np.ones(i.size)
        # where clones are the majority they raise the expectation; no two honest sensors are *that* alike
        same = (likeness >= params["copy_same"]) & (len(self.values) > 1)
        whole = np.where(same, np.maximum(whole, params["copy_excess"]), whole)
        sure |= same
        maybe = np.flatnonzero(~sure & (whole >= params["copy_part_from"]))
        quarter = self.frame.grid.slots // 4
        if quarter >= params["copy_min_slots"] and maybe.size:
            windows = [slice(q * quarter, (q + 1) * quarter) for q in range(4)]
            judged = [self._excess(self._compare, i[maybe], j[maybe], lag[maybe], window) for window in windows]
            parts, closes, likes = (np.stack([one[k] for one in judged]) for k in range(3))
            hits = (parts >= params["copy_part_excess"]) & (closes >= params["copy_part_close_excess"])
            # who copies only at times is unrelated at others; who is alike all the time stands there
            caught = np.where(parts.min(axis=0) < params["copy_part_rest"], hits.sum(axis=0), 0)
            sure[maybe], share[maybe] = caught > 0, np.where(caught > 0, caught / 4, 1.0)
            whole[maybe] = np.maximum(whole[maybe], np.where(caught > 0, parts.max(axis=0), -np.inf))
            likeness[maybe] = np.where(caught > 0, np.where(hits, likes, -1).max(axis=0), likeness[maybe])
        near = self.frame.distance_km(i, j) <= params["copy_doubt_km"]  # residuals compare only if medians are shared
        doubt = np.flatnonzero(~sure & near & (whole >= params["copy_doubt_from"]))
        if doubt.size:
            residual, beside, _ = self._excess(self._residuals, i[doubt], j[doubt], lag[doubt])
            sure[doubt] = (residual >= params["copy_residual_excess"]) & (beside >= params["copy_close_excess"])
            whole[doubt] = np.maximum(whole[doubt], residual)
        return Pairs(i[sure], j[sure], lag[sure], whole[sure], likeness[sure], share[sure])

    @cached_property
    def _residuals(self) -> Comparer:
        own = {name: (v - vote_median(v, self.near, 3)).astype(np.float32) for name, v in self.values.items()}
        return Comparer(self.frame, own, self.params)


def _masked_correlation(x: Series, y: Series) -> tuple[Floats, Floats]:
    """Return per row Pearson's r over the slots that both have, and how many those are.

    One pass over the sums: movements are scaled to a spread near 1 about 0, so nothing cancels.
    """
    both = np.isfinite(x)
    both &= np.isfinite(y)
    n = both.sum(axis=1).astype(np.float64)
    a, b = (np.where(both, side, np.float32(0)).astype(np.float64) for side in (x, y))
    count = np.maximum(n, 1)
    sum_a, sum_b = a.sum(axis=1), b.sum(axis=1)
    power_a = np.einsum("ij,ij->i", a, a) - sum_a * sum_a / count
    power_b = np.einsum("ij,ij->i", b, b) - sum_b * sum_b / count
    shared = np.einsum("ij,ij->i", a, b) - sum_a * sum_b / count
    power = power_a * power_b
    with np.errstate(invalid="ignore"):
        r = shared / np.sqrt(np.where(power > 1e-12, power, np.nan))
    return r, n
