"""Arithmetic and matrices over GF(256) with the polynomial x⁸+x⁴+x³+x²+1 (0x11D), the field that ISA-L uses.

Only small matrices are handled here (at most 255 × 255); bulk bytes go through `isal` or `gf256_bulk`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import Terminal

Matrix = NDArray[np.uint8]

_POLYNOMIAL = 0x11D


def _exponents() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    powers, logs = np.zeros(510, np.int64), np.zeros(256, np.int64)
    value = 1
    for power in range(255):
        powers[power] = powers[power + 255] = value
        logs[value] = power
        value = value << 1 ^ (_POLYNOMIAL if value & 0x80 else 0)
    return powers, logs


_EXP, _LOG = _exponents()


def _products() -> Matrix:
    table: Matrix = _EXP[_LOG[:, None] + _LOG[None, :]].astype(np.uint8)
    table[0, :] = table[:, 0] = 0
    return table


PRODUCTS: Matrix = _products()
"""PRODUCTS[a, b] is a·b."""


def inverse_of(value: int) -> int:
    """Return 1/value for 1 ≤ value ≤ 255."""
    return int(_EXP[(255 - _LOG[value]) % 255])


def multiply(left: Matrix, right: Matrix) -> Matrix:
    """Return the matrix product left · right."""
    result: Matrix = np.bitwise_xor.reduce(PRODUCTS[left[:, :, None], right[None, :, :]], axis=1)
    return result


def cauchy(k: int, n: int) -> Matrix:
    """Return the n × k matrix of ISA-L's `gf_gen_cauchy1_matrix`: identity, then 1/(i ⊕ j) for row i ≥ k, column j < k.

    Every k of its rows are independent. ISA-L's `gf_gen_rs_matrix` lacks that property: never use it.
    """
    matrix = np.zeros((n, k), np.uint8)
    matrix[:k] = np.eye(k, dtype=np.uint8)
    for row in range(k, n):
        matrix[row] = [inverse_of(row ^ column) for column in range(k)]
    return matrix


def invert(matrix: Matrix) -> Matrix:
    """Return the inverse by Gauss–Jordan elimination. Raises Terminal for a singular matrix (a Cauchy one never is)."""
    size = len(matrix)
    work = np.concatenate([matrix.copy(), np.eye(size, dtype=np.uint8)], axis=1)
    for column in range(size):
        candidates = np.flatnonzero(work[column:, column])
        if not len(candidates):
            raise Terminal(f"a {size} × {size} matrix over GF(256) has no inverse: its rows depend on each other")
        pivot = column + int(candidates[0])
        if pivot != column:
            work[[column, pivot]] = work[[pivot, column]]
        work[column] = PRODUCTS[inverse_of(int(work[column, column])), work[column]]
        factors = work[:, column].copy()
        factors[column] = 0
        work ^= PRODUCTS[factors[:, None], work[column][None, :]]
    return work[:, size:].copy()
