"""The product of `isal` in compiled Python, for platforms without ISA-L: the same results, about ten times slower."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.codes.gf256 import PRODUCTS, Matrix

Addresses = NDArray[np.uintp]


class CompiledProduct:
    """Multiply blocks by one matrix: destination[i] = Σ matrix[i, j] · source[j], byte by byte."""

    least_bytes = 1
    strips = False

    def __init__(self, matrix: Matrix) -> None:
        """Prepare the product. Raises EnvironmentProblem where numba is missing too."""
        try:
            from fieldstone.services.storage.codes.gf256_kernel import product
        except ImportError:
            raise EnvironmentProblem(
                "erasure coding needs the package pyeclib (ISA-L) or numba: pip install 'fieldstone[storage]'"
            ) from None
        self._kernel = product
        self._matrix = np.ascontiguousarray(matrix)

    def run(self, sources: Addresses, destinations: Addresses, length: int) -> None:
        """Compute `length` bytes of every destination. The caller keeps the memory alive."""
        self._kernel(PRODUCTS, self._matrix, sources, destinations, length)
