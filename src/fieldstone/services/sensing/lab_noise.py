"""Noise that is a function of time, so that a station driven step by step reads the same as one driven in bulk.

Every value is a hash of (stream, index): no state, no order, any time can be asked for again.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]


def stream(*parts: object) -> int:
    """Name a noise stream: the first 8 bytes of SHA-256 over the parts' texts."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")


def _mix(stream_key: int, index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return splitmix64 of `stream_key` + index · golden ratio (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream_key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(stream_key: int, index: ArrayLike) -> Floats:
    """Return one number in (0, 1) per integer `index`."""
    bits = _mix(stream_key, np.asarray(index, dtype=np.int64)) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def white(stream_key: int, index: ArrayLike) -> Floats:
    """Return one standard normal number per integer `index`."""
    return np.asarray(ndtri(uniform(stream_key, index)), dtype=np.float64)


def smooth(stream_key: int, t_s: ArrayLike, period_s: float) -> Floats:
    """Return unit-variance noise that changes over about `period_s` seconds, at the times `t_s`."""
    position = np.asarray(t_s, dtype=np.float64) / period_s
    knot = np.floor(position).astype(np.int64)
    angle = (position - knot) * (np.pi / 2)
    return np.asarray(np.cos(angle) * white(stream_key, knot) + np.sin(angle) * white(stream_key, knot + 1))
