"""The kernel gives what the blake3 package gives."""

from __future__ import annotations

import random

import numpy as np
import pytest
from blake3 import blake3

from fieldstone.services.storage.codes.blake3_kernel import hashes


@pytest.mark.parametrize("count", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("prefix", [0, 1, 255])
def test_a_group_hashes_as_the_package_does(count: int, prefix: int) -> None:
    data = random.Random(count).randbytes(64 * count)
    room = np.zeros((count + 8) * 64, np.uint8)
    room[: len(data)] = np.frombuffer(data, np.uint8)
    hashes(room.ctypes.data, room.ctypes.data, count, prefix)
    wanted = [blake3(bytes([prefix]) + data[64 * i : 64 * i + 64]).digest() for i in range(count)]
    assert room[: 32 * count].tobytes() == b"".join(wanted)
