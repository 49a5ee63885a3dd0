"""The transform gives the bytes of the matrix, for every shape of code."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fieldstone.services.storage.codes import cauchy_fft, gf256
from fieldstone.services.storage.codes.gf256_bulk import CompiledProduct

pytest.importorskip("numba")
if not cauchy_fft.worthwhile(29, 80):
    pytest.skip("this CPU has no AVX2", allow_module_level=True)

SHAPES = [
    (4, 6),
    (4, 8),
    (5, 255),
    (8, 9),
    (10, 30),
    (16, 33),
    (17, 64),
    (20, 40),
    (29, 33),
    (29, 80),
    (32, 64),
    (100, 255),
]


def addresses(rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return (rows.ctypes.data + np.arange(len(rows)) * rows.strides[0]).astype(np.uintp)


@pytest.mark.parametrize(("k", "n"), SHAPES)
def test_the_transform_is_the_matrix(k: int, n: int) -> None:
    matrix = gf256.cauchy(k, n)
    plain = CompiledProduct(matrix[k:])
    fast = cauchy_fft.FourierProduct(k, n, matrix, CompiledProduct)
    for length in (64, 65, 95, 255, 256, 257, 300, 1000):
        data = np.frombuffer(random.Random(length).randbytes(k * length), np.uint8).reshape(k, length).copy()
        # a guard behind every row: a strip must not be written beyond its end
        found, wanted = np.full((2, n - k, length + 40), 0xAA, np.uint8)
        fast.run(addresses(data), addresses(found), length)
        plain.run(addresses(data), addresses(wanted), length)
        assert np.array_equal(found, wanted), length


def test_it_is_used_where_it_saves_work() -> None:
    assert cauchy_fft.worthwhile(29, 80)
    assert cauchy_fft.worthwhile(29, 110)
    for k, n in ((1, 5), (4, 6), (16, 20), (20, 40), (29, 32)):
        assert not cauchy_fft.worthwhile(k, n)
