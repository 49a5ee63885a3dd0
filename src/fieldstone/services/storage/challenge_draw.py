"""Numbers drawn from a seed, the same for everybody who works them out."""

from __future__ import annotations

import numpy as np
from blake3 import blake3

__all__ = ["draw"]


def draw(context: bytes, seed: bytes, device: str, count: int, total: int) -> list[int]:
    """Return up to `count` distinct numbers below `total`, in the order drawn."""
    if total <= 0 or count <= 0:
        return []
    words = np.frombuffer(blake3(context + seed + device.encode()).digest(length=8 * count), dtype="<u8")
    return list(dict.fromkeys((words % np.uint64(total)).tolist()))
