"""Reed–Solomon over GF(256): k data blocks and n − k parity blocks, any k of which give all the others back.

Systematic: shares 0 … k−1 are the data itself, share i ≥ k is Σ data[j] / (i ⊕ j), the Cauchy matrix of ISA-L's
`gf_gen_cauchy1_matrix`; for wide codes the same bytes come faster from `cauchy_fft`. Decoding inverts the k rows of the
shares at hand. Bytes are independent of each other, so any byte range of the shares can be decoded alone. Source: Cauchy
Reed–Solomon (Blömer et al. 1995); ISA-L `ec_base.c`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import Retryable, UsageError
from fieldstone.services.storage.codes import cauchy_fft, gf256, gf256_bulk, isal
from fieldstone.services.storage.codes.buffer import Buffer

Bytes = NDArray[np.uint8]
Addresses = NDArray[np.uintp]

# One pass works on this many bytes of all blocks together, so that sources stay in the second-level cache …
_PASS_BYTES = 512 * 1024
# … and on at most this many of each block.
_LONGEST_PASS_BYTES = 128 * 1024


class TooFewShares(Retryable):
    """Fewer than k shares are at hand. `have` and `need` count them."""

    def __init__(self, have: int, need: int) -> None:
        self.have = have
        self.need = need
        super().__init__(f"{have} of the {need} shares that decoding needs are at hand: fetch {need - have} more")


class _Product(Protocol):
    least_bytes: int
    strips: bool  # takes blocks of any length through the cache strip by strip itself

    def run(self, sources: Addresses, destinations: Addresses, length: int) -> None: ...


class Code:
    """A k-of-n code. Thread-safe; make one per (k, n) with `code`."""

    def __init__(self, k: int, n: int, *, portable: bool = False) -> None:
        """Prepare the code for 1 ≤ k ≤ n ≤ 255. `portable`: do without ISA-L. Raises UsageError, EnvironmentProblem."""
        if not 1 <= k <= n <= 255:
            raise UsageError(f"an erasure code of {k} of {n} shares is not possible: it takes 1 ≤ k ≤ n ≤ 255")
        self.k = k
        self.n = n
        self.compiled = portable or isal.library() is None
        self.matrix = gf256.cauchy(k, n)
        self._parity = self._parity_product(portable) if n > k else None
        self._recovery = functools.lru_cache(maxsize=256)(self._prepare_recovery)

    def encode(self, stripe: Sequence[Buffer]) -> list[memoryview]:
        """Return the n − k parity blocks of k equally long data blocks. Raises UsageError for another shape."""
        if len(stripe) != self.k:
            raise UsageError(f"a {self.k}-of-{self.n} stripe has {self.k} blocks, not {len(stripe)}")
        return self._run(self._parity, [_as_bytes(block) for block in stripe], self.n - self.k)

    def decode(self, have: Mapping[int, Buffer], wanted: Sequence[int]) -> dict[int, memoryview]:
        """Return the `wanted` blocks (data or parity) from any k blocks, by share number.

        Blocks at hand are returned as they are; of more than k, data blocks are used first. The blocks are taken to be
        right: check them against their commitment before. Raises TooFewShares; UsageError for a share number outside
        0 … n−1 or blocks of different length.
        """
        for index in (*have, *wanted):
            if not 0 <= index < self.n:
                raise UsageError(f"share {index} is not one of 0 … {self.n - 1} of a {self.k}-of-{self.n} code")
        missing = tuple(dict.fromkeys(index for index in wanted if index not in have))
        found = {index: memoryview(have[index]).cast("B") for index in wanted if index in have}
        if missing:
            if len(have) < self.k:
                raise TooFewShares(len(have), self.k)
            used = tuple(sorted(have)[: self.k])
            blocks = [_as_bytes(have[index]) for index in used]
            found |= zip(missing, self._run(self._recovery(used, missing), blocks, len(missing)), strict=True)
        return {index: found[index] for index in wanted}

    def _parity_product(self, portable: bool) -> _Product:
        if not portable and cauchy_fft.worthwhile(self.k, self.n):
            return cauchy_fft.FourierProduct(self.k, self.n, self.matrix, self._product)
        return self._product(self.matrix[self.k :])

    def _product(self, matrix: gf256.Matrix) -> _Product:
        return gf256_bulk.CompiledProduct(matrix) if self.compiled else isal.IsalProduct(matrix)

    def _prepare_recovery(self, used: tuple[int, ...], missing: tuple[int, ...]) -> _Product:
        return self._product(gf256.multiply(self.matrix[list(missing)], gf256.invert(self.matrix[list(used)])))

    def _run(self, product: _Product | None, blocks: list[Bytes], rows: int) -> list[memoryview]:
        length = len(blocks[0])
        if any(len(block) != length for block in blocks):
            raise UsageError(f"blocks of one stripe differ in length: {sorted({len(block) for block in blocks})} bytes")
        if product is None or not length:
            return [memoryview(bytearray()) for _ in range(rows)]
        if length < product.least_bytes:
            blocks = [np.concatenate([block, np.zeros(product.least_bytes - length, np.uint8)]) for block in blocks]
        used = max(length, product.least_bytes)
        out = rows_apart(rows, used)
        sources = np.array([block.__array_interface__["data"][0] for block in blocks], np.uintp)
        destinations = out.ctypes.data + np.arange(rows, dtype=np.uintp) * np.uintp(out.strides[0])
        _in_passes(product, sources, destinations.astype(np.uintp), used)
        return [memoryview(row)[:length] for row in out]


@functools.lru_cache(maxsize=64)
def code(k: int, n: int) -> Code:
    """Return the k-of-n code, made once. Raises as `Code`."""
    return Code(k, n)


def rows_apart(rows: int, length: int) -> Bytes:
    """Return rows of `length` bytes that do not lie a power of two apart: they would fight for the same cache lines."""
    return np.empty((rows, -(-length // 64) * 64 + 192), np.uint8)[:, :length]


def _in_passes(product: _Product, sources: Addresses, destinations: Addresses, length: int) -> None:
    step = _LONGEST_PASS_BYTES
    if not product.strips:
        step = min(step, max(4096, _PASS_BYTES // len(sources) // 4096 * 4096))
    start = 0
    while start < length:
        # the kernels cannot take a tail shorter than a register, so the last pass may be a little longer
        stop = length if length - start < step + product.least_bytes else start + step
        product.run(sources + np.uintp(start), destinations + np.uintp(start), stop - start)
        start = stop


def _as_bytes(block: Buffer) -> Bytes:
    return np.frombuffer(block, np.uint8)
