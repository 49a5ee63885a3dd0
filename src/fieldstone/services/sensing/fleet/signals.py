"""What of a series is its own: differences, scaled robustly, so that only the moment-to-moment movement is compared.

Raw series of honest neighbours correlate at .98; their differences at .1–.9 depending on channel and distance
(reference: sensing §2.6). Pressure is left out: even its differences are shared over hundreds of kilometres.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.sensing.fleet.frame import Floats, Frame, Series

# Channel → its weight in the screening. Wind and everything local weighs most: honest neighbours share it least.
CHANNELS: Mapping[str, float] = {
    "temperature_c": 0.6,
    "humidity_pct": 0.6,
    "wind_speed_ms": 1.0,
    "wind_east": 0.7,
    "wind_north": 0.7,
    "solar_wm2": 0.5,
    "pm2_5_ugm3": 1.0,
    "noise_dba": 1.0,
    "traffic_count": 1.0,
}
_CLIP = 6.0


def channel(frame: Frame, name: str) -> Series:
    """Return the series of a channel; wind direction as the east and north part of the unit vector."""
    if name not in ("wind_east", "wind_north"):
        return frame.get(name)
    angle = np.radians(frame.get("wind_direction_deg"))
    return np.asarray(np.sin(angle) if name == "wind_east" else np.cos(angle), dtype=np.float32)


def channels(frame: Frame) -> list[str]:
    """Return the channels that the fleet has, in a fixed order."""
    has = set(frame.series)
    wind = "wind_direction_deg" in has
    return [name for name in CHANNELS if name in has or (wind and name in ("wind_east", "wind_north"))]


def movement(values: Series, width: int) -> Series:
    """Return the difference of the means of `width` slots after and before each slot, in robust units; NaN if unknown.

    Centred on the median, divided by 1.4826·MAD (by the standard deviation where half of the movements are equal) and
    clipped at ±6. A series without movement gives NaN.
    """
    n, slots = values.shape
    out = np.full((n, slots), np.nan, dtype=np.float32)
    if slots < 2 * width + 2:
        return out
    padded = np.concatenate([np.zeros((n, 1)), np.cumsum(values.astype(np.float64), axis=1)], axis=1)
    if np.isnan(padded).any():  # a gap must not poison what follows: sum what is there, count it
        present = np.isfinite(values)
        padded[:, 1:] = np.cumsum(np.where(present, values, 0.0).astype(np.float64), axis=1)
        seen = np.concatenate([np.zeros((n, 1)), np.cumsum(present, axis=1)], axis=1)
        window_seen = seen[:, width:] - seen[:, :-width]
        window = np.where(window_seen == width, padded[:, width:] - padded[:, :-width], np.nan)
    else:
        window = padded[:, width:] - padded[:, :-width]
    step = (window[:, width:] - window[:, :-width]) / width
    known = np.isfinite(step)
    if not known.any():
        return out
    centre = _median(step)
    spread = 1.4826 * _median(np.abs(step - centre))
    with np.errstate(invalid="ignore"):
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        mean = np.where(known, step, 0).sum(axis=1, keepdims=True) / count
        deviation = np.sqrt(np.where(known, (step - mean) ** 2, 0).sum(axis=1, keepdims=True) / count)
        spread = np.where(spread > 1e-6, spread, deviation)
        scaled = np.clip((step - centre) / np.where(spread > 1e-6, spread, np.nan), -_CLIP, _CLIP)
    out[:, width : width + scaled.shape[1]] = scaled
    return out


def _median(values: Floats) -> Floats:
    """Return the median of each row over its finite values, NaN for none; columns kept. Faster than nanmedian."""
    ordered = np.sort(values, axis=1)
    present = np.isfinite(ordered).sum(axis=1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum((present - 1) // 2, 0), 1)
    high = np.take_along_axis(ordered, np.minimum(present // 2, values.shape[1] - 1), 1)
    return np.asarray(np.where(present > 0, (low + high) / 2, np.nan))


def unit(values: Series) -> Series:
    """Return rows centred and of length 1, gaps as 0; rows without movement stay 0."""
    filled = np.nan_to_num(values, nan=0.0)
    norm = np.sqrt(np.einsum("ij,ij->i", filled, filled, dtype=np.float64))
    return np.asarray(filled / np.where(norm > 0, norm, 1.0)[:, None], dtype=np.float32)


def signs(purpose: str, rows: int, columns: int) -> NDArray[np.float32]:
    """Return a (rows, columns) matrix of ±1/√columns that is the same everywhere: the bits of SHAKE-256 of `purpose`."""
    need = -(-rows * columns // 8)
    raw = np.frombuffer(hashlib.shake_256(f"fieldstone/{purpose}/{columns}".encode()).digest(need), dtype=np.uint8)
    bits = np.unpackbits(raw)[: rows * columns].reshape(rows, columns)
    return np.asarray((bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(columns)), dtype=np.float32)
