"""How the kernels are compiled: once per CPU model, kept on disk where a place can be written, without the GIL.

numba keeps compiled code beside the source file, or in NUMBA_CACHE_DIR, or in the user's cache folder. Where none of them
can be written (a read-only container without a home) it refuses to compile at all; then we compile in every process.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

numba: Any = importlib.import_module("numba")


def compiled(signature: str) -> Callable[[Any], Any]:
    """Return a decorator that compiles a function for `signature`, at once."""

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except (RuntimeError, OSError):
            return numba.njit(signature, nogil=True)(function)

    return decorate
