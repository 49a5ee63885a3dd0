"""The product of `isal` in compiled Python, for platforms without ISA-L: the same results, about twenty times slower."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.codes.gf256 import PRODUCTS, Matrix

Addresses = NDArray[np.uintp]


@functools.cache
def _kernel() -> Callable[..., None]:
    try:
        # numba has no types: Any says so once
        numba: Any = importlib.import_module("numba")
        extending: Any = importlib.import_module("numba.extending")
    except ImportError:
        raise EnvironmentProblem(
            "erasure coding needs the package pyeclib (ISA-L) or numba: pip install 'fieldstone[storage]'"
        ) from None

    carray, types = numba.carray, numba.types

    @extending.intrinsic  # type: ignore[untyped-decorator]
    def bytes_at(typing_context: Any, address: Any) -> Any:
        """Turn an address into a pointer; numba has no cast of its own."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(types.uint8)(types.uintp), generate

    @numba.njit(nogil=True, cache=False)  # type: ignore[untyped-decorator]
    def product(products: Any, matrix: Any, sources: Any, destinations: Any, length: int) -> None:
        rows, columns = matrix.shape
        for row in range(rows):
            out = carray(bytes_at(destinations[row]), length)
            out[:] = 0
            for column in range(columns):
                coefficient = matrix[row, column]
                if coefficient == 0:
                    continue
                block = carray(bytes_at(sources[column]), length)
                times = products[coefficient]
                for i in range(length):
                    out[i] ^= times[block[i]]

    return product  # type: ignore[no-any-return]


class CompiledProduct:
    """Multiply blocks by one matrix: destination[i] = Σ matrix[i, j] · source[j], byte by byte."""

    least_bytes = 1

    def __init__(self, matrix: Matrix) -> None:
        self._kernel = _kernel()
        self._matrix = np.ascontiguousarray(matrix)

    def run(self, sources: Addresses, destinations: Addresses, length: int) -> None:
        """Compute `length` bytes of every destination. The caller keeps the memory alive."""
        self._kernel(PRODUCTS, self._matrix, sources, destinations, length)
