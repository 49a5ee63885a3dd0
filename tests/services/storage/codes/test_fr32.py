"""fr32: 127 bytes into four words of 254 bits, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import fr32, fr32_kernel

blocks = st.integers(0, 4).flatmap(lambda count: st.binary(min_size=127 * count, max_size=127 * count))


@settings(max_examples=150, deadline=None)
@given(blocks)
def test_padding_is_undone(payload: bytes) -> None:
    padded = fr32.pad(payload)
    assert len(padded) == len(payload) // 127 * 128
    assert all(byte < 64 for byte in padded[31::32])
    assert fr32.unpad(padded) == payload


@settings(max_examples=150, deadline=None)
@given(blocks, st.integers(0, 7))
def test_the_kernel_pads_the_same_from_any_address(payload: bytes, shift: int) -> None:
    count = len(payload) // 127
    source = np.frombuffer(bytes(shift) + payload + b"\xff", np.uint8)
    target = np.zeros(128 * count + 8, np.uint8)
    fr32_kernel.pad(source.ctypes.data + shift, target.ctypes.data, count)
    assert target[: 128 * count].tobytes() == fr32.pad(payload)
    assert not target[128 * count :].any()


def test_all_ones_show_where_the_bits_go() -> None:
    assert fr32.pad(b"\xff" * 127) == (b"\xff" * 31 + b"\x3f") * 4


def test_other_lengths_and_full_words_are_refused() -> None:
    with pytest.raises(UsageError):
        fr32.pad(bytes(126))
    with pytest.raises(UsageError):
        fr32.unpad(bytes(127))
    with pytest.raises(UsageError, match="254 bits"):
        fr32.unpad(b"\xff" * 128)
