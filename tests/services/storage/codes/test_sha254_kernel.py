"""Both kernels give what hashlib gives with two bits cleared."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from fieldstone.services.storage.codes import sha254_kernel


@pytest.mark.parametrize("name", ["sha", "lanes"])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 64])
def test_a_kernel_hashes_as_hashlib_does(name: str, count: int) -> None:
    if name == "sha" and not sha254_kernel.has_instructions():
        pytest.skip("this CPU has no SHA-256 instructions")
    data = random.Random(count).randbytes(64 * count)
    room = np.zeros((count + 8) * 64, np.uint8)
    room[: len(data)] = np.frombuffer(data, np.uint8)
    sha254_kernel.kernel(name)(room.ctypes.data, room.ctypes.data, count)
    for i in range(count):
        digest = bytearray(hashlib.sha256(data[64 * i : 64 * i + 64]).digest())
        digest[31] &= 0x3F
        assert room[32 * i : 32 * i + 32].tobytes() == bytes(digest)
