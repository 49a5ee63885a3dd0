"""Sizes as people write and read them."""

from __future__ import annotations

import re

from fieldstone.errors import UsageError


def size_of(text: str, what: str) -> int:
    """Read a size: a number and B, kB, MB, GB, TB, PB or KiB, MiB, GiB, TiB, PiB. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGTP]?)(i?)B?\s*", text)
    if found is None:
        raise UsageError(f"{what} {text!r} is no size: write 500GB, 2TiB or a number of bytes")
    power = " KMGTP".index(found[2].upper() or " ")
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** power)
    if size <= 0:
        raise UsageError(f"{what} {text!r} is not above zero")
    return size


def size_words(size_bytes: int) -> str:
    """Write a size with three digits and the unit that fits: `1.00 TiB`, `512 bytes`."""
    if size_bytes < 1_024:
        return f"{size_bytes} bytes"
    power = min(5, (size_bytes.bit_length() - 1) // 10)
    value = size_bytes / 1_024**power
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {'KMGTP'[power - 1]}iB"
