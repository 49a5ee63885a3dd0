"""Does a station follow the weather at its place? Invented, interpolated, foreign and frozen series do not.

*Kinship*: correlation of the station's hourly movements with its voters' median, per channel, compared with what
stations with equally distant voters reach (median and MAD), combined by Stouffer. *Smoothness*: a real sensor has
noise and turbulence; a model, a textbook curve and straight lines between rare readings do not. *Flat*: a channel that
stays while the surroundings move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldstone.services.sensing.fleet.frame import Bools, Floats
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.signals import channel
from fieldstone.services.sensing.fleet.surroundings import KIN, Surroundings, row_quantile

FLAT = ("temperature_c", "humidity_pct", "pressure_hpa", "wind_speed_ms", "pm2_5_ugm3")
# Groups of channels that one trick smooths together; a group is smooth when all its channels are.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "air": ("temperature_c", "humidity_pct"),
    "wind": ("wind_speed_ms",),  # not the direction: interpolated over north it jumps
    "light": ("solar_wm2",),
    "dust": ("pm2_5_ugm3",),
    "sound": ("noise_dba",),
}
_PEERS = 20  # stations with the next nearer and farther voters, each side


def strangeness(around: Surroundings, params: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Return per device the excess (standard deviations, negative: less kin than peers) and its share of the peers' mean.

    NaN where the fleet is too small or nothing could be compared.
    """
    n = around.frame.count
    third = np.where(
        around.near.count >= params["min_votes"], around.near.distance_km[:, int(params["min_votes"]) - 1], np.inf
    )
    score, weight = np.zeros(n), np.zeros(n)
    order = np.lexsort((np.arange(n), np.round(third, 6)))
    for name, r in around.kinship.items():
        known = order[np.isfinite(r[order])]
        if known.size < params["kin_fleet"]:
            continue
        z = np.arctanh(np.clip(r[known], -0.99, 0.995))
        centre, spread = _peers(z)
        spread = np.maximum(spread, params["kin_min_spread"])
        score[known] += KIN[name] * np.clip((z - centre) / spread, -12, 4)
        weight[known] += KIN[name] ** 2
    mean = around.mean_kinship
    known = order[np.isfinite(mean[order])]
    share = np.full(n, np.nan)
    if known.size >= params["kin_fleet"]:
        centre, _ = _peers(mean[known])
        share[known] = mean[known] / np.where(centre > 0.05, centre, np.nan)
    excess = np.where(weight > 0, score / np.sqrt(np.where(weight > 0, weight, 1.0)), np.nan)
    # correlations of a part of a day scatter more than the limits of a day allow for
    sure = np.sqrt(min(1.0, around.frame.grid.slots / float(params["kin_slots"])))
    return _round(excess * sure), _round(share)


def _round(values: Floats) -> Floats:
    return np.asarray(np.round(values, 4), dtype=np.float64)


def _peers(z: Floats) -> tuple[Floats, Floats]:
    """Return for each position median and scaled MAD of the window of peers around it."""
    size = z.size
    width = min(size, 2 * _PEERS + 1)
    windows = np.lib.stride_tricks.sliding_window_view(z, width)
    centre = np.median(windows, axis=1)
    spread = 1.4826 * np.median(np.abs(windows - centre[:, None]), axis=1)
    at = np.clip(np.arange(size) - width // 2, 0, windows.shape[0] - 1)
    return centre[at], spread[at]


def smoothness(around: Surroundings) -> Mapping[str, Floats]:
    """Return per group of channels how much smoother (ln, positive) the device is than its voters; NaN unknown."""
    out: dict[str, Floats] = {}
    for group, names in GROUPS.items():
        ratios = [_smoother(around, name) for name in names if around.has(name)]
        if ratios:
            stacked = np.stack(ratios)
            least = np.min(np.where(np.isfinite(stacked), stacked, np.inf), axis=0)
            out[group] = np.where(np.isfinite(stacked).any(axis=0), least, np.nan)
    return out


def _smoother(around: Surroundings, name: str) -> Floats:
    values = channel(around.fine, name).astype(np.float64)
    if values.shape[1] < 48:
        return np.full(values.shape[0], np.nan)
    bend = values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
    present = np.isfinite(bend)
    count = present.sum(axis=1)
    limit = row_quantile(np.abs(bend), 0.99, 24)[:, None]  # a spike is not roughness
    power = np.where(present, np.minimum(np.abs(bend), np.where(np.isfinite(limit), limit, np.inf)) ** 2, 0).sum(axis=1)
    rough = np.where(count >= 24, np.log(np.sqrt(power / np.maximum(count, 1)) + 1e-3), np.nan)
    ids = around.near.index
    seen = np.where(ids >= 0, rough[ids], np.nan)
    return np.round(row_quantile(seen, 0.5, int(around.params["min_votes"])) - rough, 4)


def flatness(around: Surroundings, params: Mapping[str, Any]) -> dict[str, tuple[Floats, Floats]]:
    """Return per channel (least share of the surroundings' range over the halves of the epoch, share of halves flat)."""
    out: dict[str, tuple[Floats, Floats]] = {}
    slots = around.frame.grid.slots
    halves = [slice(0, slots // 2), slice(slots // 2, slots)]
    for name in FLAT:
        if not around.has(name):
            continue
        own, others = around.values(name), around.median(name)
        least = max(12, int(params["min_slots"]) // 2)
        ratio = np.full((2, own.shape[0]), np.nan)
        for number, half in enumerate(halves):
            both = np.isfinite(own[:, half]) & np.isfinite(others[:, half])
            mine, theirs = np.where(both, own[:, half], np.nan), np.where(both, others[:, half], np.nan)
            span = row_quantile(theirs, 0.95, least) - row_quantile(theirs, 0.05, least)
            width = row_quantile(mine, 0.95, least) - row_quantile(mine, 0.05, least)
            moving = span >= params[f"flat_range_{name}"]
            ratio[number] = np.where(moving, width / np.where(moving, span, 1.0), np.nan)
        flat = np.nan_to_num(ratio, nan=np.inf) < params["flat_share"]
        lowest = np.where(np.isfinite(ratio).any(axis=0), np.min(np.nan_to_num(ratio, nan=np.inf), axis=0), np.nan)
        out[name] = (_round(lowest), np.asarray(flat.sum(axis=0) / 2, dtype=np.float64))
    return out


def report_flat(around: Surroundings, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> Bools:
    """Write STUCK per flat channel; three flat channels or more make the whole device FABRICATED. Return who is flat."""
    flat = flatness(around, params)
    channels = np.zeros(around.frame.count, dtype=np.int64)
    for name, (ratio, share) in flat.items():
        for device in np.flatnonzero((share > 0) & ~skip):
            channels[device] += 1
            ledger.add(
                int(device),
                "flat",
                "STUCK",
                variable=name,
                severity_ppm=int(params["flat_severity_ppm"] * share[device]),
                measured=float(ratio[device]),
                threshold=float(params["flat_share"]),
                meaning="range of the channel over the range of its neighbours",
                share_of_epoch=float(share[device]),
            )
    for device in np.flatnonzero(channels >= 3):
        ledger.add(
            int(device),
            "flat",
            "FABRICATED",
            severity_ppm=int(params["invented_severity_ppm"]),
            measured=float(channels[device]),
            threshold=3.0,
            meaning="channels that stay while the weather around moves",
        )
    return np.asarray(channels > 0)


def report_smooth(around: Surroundings, params: Mapping[str, Any], ledger: Ledger, skip: Bools) -> Bools:
    """Write FABRICATED for devices that lack a sensor's noise in several independent groups of channels."""
    groups = smoothness(around)
    if not groups:
        return np.zeros(around.frame.count, dtype=bool)
    names = list(groups)
    table = np.stack([groups[name] for name in names])
    smooth = np.nan_to_num(table, nan=-np.inf) >= params["smooth_log"]
    caught = (smooth.sum(axis=0) >= params["smooth_channels"]) & ~skip
    for device in np.flatnonzero(caught):
        ledger.add(
            int(device),
            "noise",
            "FABRICATED",
            severity_ppm=int(params["invented_severity_ppm"]),
            measured=float(np.sort(table[smooth[:, device], device])[0]),
            threshold=float(params["smooth_log"]),
            meaning="ln of how much smoother the series is than its neighbours'",
            groups=[names[k] for k in np.flatnonzero(smooth[:, device])],
        )
    return np.asarray(caught)
