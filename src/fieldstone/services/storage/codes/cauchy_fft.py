"""The parity of wide codes by an additive Fourier transform: the bytes of the Cauchy matrix with a quarter of the work.

Σⱼ data[j] / (i ⊕ j) over the 2^r ≥ k points j < 2^r (missing data are zeros) is N(i) / Z(i), where Z is the polynomial
that vanishes on these points and N has degree < 2^r and N(j) = data[j] · Z'(j). Z is linearised, so Z' is one constant and
Z(i) is constant on every coset of the points: parity is the interpolation of the data, evaluated on the cosets, times a
constant. Both transforms take r layers of 2^(r−1) steps instead of 2^r products per row.

Rows k … 2^r − 1 lie inside the interpolated points and are computed by the matrix. Source: Lin, Chung, Han, "Novel
polynomial basis and its application to Reed–Solomon erasure codes" (2014).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.storage.codes import cauchy_fft_steps as steps
from fieldstone.services.storage.codes.gf256 import PRODUCTS, Matrix, inverse_of

Addresses = NDArray[np.uintp]

# Bytes of every row that are taken through all steps at once: 64 rows of them stay near the first-level cache.
_STRIP_BYTES = 512
# What a step of the transform costs in products of the matrix: it also writes its rows.
_STEP_COST = 1.5


class _Product(Protocol):
    least_bytes: int

    def run(self, sources: Addresses, destinations: Addresses, length: int) -> None: ...


class _Step(NamedTuple):
    kind: int
    x: int
    y: int
    v: int
    w: int
    constant: int
    scale: int
    rows: int


def worthwhile(k: int, n: int) -> bool:
    """Tell whether the transform beats the matrix for this code on this CPU (x86 with AVX2, numba installed)."""
    points = 1 << (k - 1).bit_length()
    if k < 4 or n <= points:
        return False
    work = sum(step.rows for step in _Program(k, n).steps)
    if _STEP_COST * work + (points - k) * k >= (n - k) * k:
        return False
    try:
        from fieldstone.services.storage.codes.cauchy_fft_kernel import available
    except ImportError:
        return False
    return available()


class FourierProduct:
    """The parity rows of the k-of-n Cauchy code. `dense` makes the product for the few rows that the transform leaves."""

    least_bytes = 64
    strips = True

    def __init__(self, k: int, n: int, matrix: Matrix, dense: Callable[[Matrix], _Product]) -> None:
        from fieldstone.services.storage.codes.cauchy_fft_kernel import run

        self._run = run
        self._k, self._points = k, 1 << (k - 1).bit_length()
        self._dense = dense(matrix[k : self._points]) if k < self._points else None
        program = _Program(k, n)
        self._steps = np.array(program.steps, np.int64)
        halves = np.arange(16)
        constants = np.arange(256)
        low, high = PRODUCTS[constants[:, None], halves], PRODUCTS[constants[:, None], halves << 4]
        self._tables = np.ascontiguousarray(np.concatenate([low, low, high, high], axis=1))
        # rows: sources, outputs of the transform, two scratch areas, one row of zeros
        self._moves = np.array([1] * (k + program.outputs) + [0] * (2 * self._points + 1), np.uintp)

    def run(self, sources: Addresses, destinations: Addresses, length: int) -> None:
        """Compute `length` ≥ `least_bytes` bytes of every destination. The caller keeps the memory alive."""
        inside = self._points - self._k
        if self._dense is not None:
            self._dense.run(sources, destinations[:inside], length)
        strip = min(_STRIP_BYTES, length // 32 * 32)
        scratch = np.zeros((2 * self._points + 1, strip), np.uint8)
        own = scratch.ctypes.data + np.arange(len(scratch), dtype=np.uintp) * np.uintp(strip)
        rows = np.concatenate([sources, destinations[inside:], own.astype(np.uintp)])
        self._run(self._steps, rows, self._moves, self._tables.ctypes.data, length, strip)


class _Program:
    """The steps from data to parity. Row numbers: sources, outputs, coefficients, values, the row of zeros."""

    def __init__(self, k: int, n: int) -> None:
        layers = (k - 1).bit_length()
        points = 1 << layers
        self.outputs = n - points
        self._coefficients = k + self.outputs
        self._values = self._coefficients + points
        self._zeros = self._values + points
        self._vanishing = _vanishing_values(layers)
        self.steps: list[_Step] = []
        for layer in range(layers):
            self._up(k, layer, points)
        for coset in range(points, n, points):
            for layer in reversed(range(layers)):
                self._down(coset, layer, layers, min(points, n - coset), k + coset - points)

    def _up(self, k: int, layer: int, points: int) -> None:
        half = 1 << layer
        for base in range(0, points, 2 * half):
            x, y = self._coefficients + base, self._coefficients + base + half
            constant = int(self._vanishing[layer][base])
            kind = steps.UP if constant else steps.SUM
            if layer:
                self.steps.append(_Step(kind, x, y, x, y, constant, 0, half))
            else:
                first, second = (row if row < k else self._zeros for row in (base, base + 1))
                self.steps.append(_Step(kind, first, second, x, y, constant, 0, 1))

    def _down(self, coset: int, layer: int, layers: int, wanted: int, output: int) -> None:
        half = 1 << layer
        source = self._coefficients if layer == layers - 1 else self._values
        for base in range(0, wanted, 2 * half):
            constant = int(self._vanishing[layer][coset + base])
            both = base + half < wanted
            x, y, v, w = source + base, source + base + half, self._values + base, self._values + base + half
            if layer:
                kind = steps.DOWN if both else steps.DOWN_FIRST
                self.steps.append(_Step(kind, x, y, v, w, constant, 0, half))
            else:
                kind = steps.OUT if both else steps.OUT_FIRST
                v, w = output + base, output + base + 1 if both else self._zeros
                self.steps.append(_Step(kind, x, y, v, w, constant, _scale_of(layers, coset), 1))


def _vanishing_values(layers: int) -> list[NDArray[np.uint8]]:
    """Return, per layer i, s_i(x) / s_i(2^i) for all x, where s_i vanishes on 0 … 2^i − 1."""
    values = np.arange(256, dtype=np.uint8)
    found = []
    for layer in range(layers):
        at_basis = int(values[1 << layer])
        found.append(PRODUCTS[inverse_of(at_basis), values])
        values = PRODUCTS[values, values ^ np.uint8(at_basis)]
    return found


def _scale_of(layers: int, coset: int) -> int:
    """Return Z' / Z(coset) for the polynomial Z that vanishes on 0 … 2^layers − 1."""
    derivative, value = 1, 1
    for point in range(1, 1 << layers):
        derivative = int(PRODUCTS[derivative, point])
    for point in range(1 << layers):
        value = int(PRODUCTS[value, coset ^ point])
    return int(PRODUCTS[derivative, inverse_of(value)])
