"""The field, its matrices, and why the Cauchy matrix is the one to use."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fieldstone.errors import Terminal
from fieldstone.services.storage.codes import gf256, isal


def slow_product(a: int, b: int) -> int:
    result = 0
    while b:
        result ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return result


def test_products_are_polynomial_products() -> None:
    assert all(gf256.PRODUCTS[a, b] == slow_product(a, b) for a in range(256) for b in range(0, 256, 5))


def test_every_value_has_its_inverse() -> None:
    assert all(gf256.PRODUCTS[value, gf256.inverse_of(value)] == 1 for value in range(1, 256))


def test_a_product_with_the_inverse_is_the_identity() -> None:
    generator = random.Random(1)
    for size in (1, 2, 7, 29):
        matrix = gf256.cauchy(size, 2 * size)[generator.sample(range(2 * size), size)]
        assert np.array_equal(gf256.multiply(matrix, gf256.invert(matrix)), np.eye(size, dtype=np.uint8))


def test_a_singular_matrix_is_refused() -> None:
    with pytest.raises(Terminal, match="no inverse"):
        gf256.invert(np.ones((3, 3), np.uint8))


@pytest.mark.skipif(isal.library() is None, reason="no ISA-L on this platform")
@pytest.mark.parametrize(("k", "n"), [(4, 6), (20, 40), (29, 80), (10, 255)])
def test_the_matrix_is_that_of_isal(k: int, n: int) -> None:
    theirs = np.zeros((n, k), np.uint8)
    library = isal.library()
    assert library is not None
    import ctypes

    library.gf_gen_cauchy1_matrix(ctypes.c_void_p(theirs.ctypes.data), n, k)
    assert np.array_equal(theirs, gf256.cauchy(k, n))
