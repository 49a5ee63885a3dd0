"""Keep freed memory instead of giving it back to the system after every segment.

A segment on its way needs 128 MiB for a second. Given back and asked for again, every page is mapped and zeroed anew:
on a virtual machine that costs as much as the encryption (measured: 1.0 CPU-s per GiB of a PUT, 0.8 of a GET).
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 256 * 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20


def keep_freed_memory(kept_bytes: int = KEPT_BYTES) -> bool:
    """Let the C library keep up to `kept_bytes` of freed memory for reuse. For the whole process; call once at start.

    False where the C library has no `mallopt` (musl, macOS): then nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, kept_bytes) and mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD))
