"""Sealing: masks differ by device, share and chunk; the binding's arithmetic; the cheat that it stops and those it does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.sealing import CHUNK_BYTES, attack, binding, mask, seal, unseal

QUICK = 64  # KiB; the profile's 64 MiB are for binding, not for tests


@settings(max_examples=15, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([0, CHUNK_BYTES - 100]))
def test_sealed_bytes_come_back(data: bytes, lead: int) -> None:
    whole = bytes(lead) + data
    sealed = seal(whole, "d", b"s" * 16, memory_kib=QUICK)
    assert len(sealed) == len(whole)
    assert unseal(sealed, "d", b"s" * 16, memory_kib=QUICK) == whole


def test_every_device_share_and_chunk_has_its_own_mask() -> None:
    masks = {
        mask(device, share, chunk, memory_kib=QUICK)
        for device in ("a", "b")
        for share in (b"s" * 16, b"t" * 16)
        for chunk in (0, 1)
    }
    assert len(masks) == 8
    assert mask("a", b"s" * 16, 0, size=32, memory_kib=QUICK) == mask("a", b"s" * 16, 0, memory_kib=QUICK)[:32]
    with pytest.raises(UsageError):
        mask("a", b"s" * 16, -1)


def test_the_reference_example() -> None:
    """C = 78 ms, q = 512, W = 3 s: 13 cores; a disk of 8 ms seeks is too slow itself, q = 128 and W = 1 s need flash."""
    one = binding(512, 3_000, mask_ms=78, read_ms=8, cheat_cores=8)
    assert one.cores_needed == pytest.approx(13.3, abs=0.1)
    assert one.binds and not one.honest_in_time
    assert binding(128, 1_000, mask_ms=78, read_ms=0.1, cheat_cores=8).honest_in_time
    assert not binding(128, 1_000, mask_ms=4, read_ms=0.1, cheat_cores=8).binds  # an 8 MiB mask does not


def test_the_cheat_fails_below_the_bound_and_passes_above_it() -> None:
    def in_time(cores: int, kept: float = 0.0) -> float:
        return attack(128, 1_000, mask_ms=78, read_ms=0.1, cores=cores, kept=kept).in_time

    assert in_time(6) == 0.0
    assert in_time(16) == 1.0  # the limit: a server of 16 cores makes 128 masks in the window
    assert in_time(6, kept=0.1) < 0.01 < in_time(6, kept=0.3) < 0.5 < in_time(6, kept=0.5)
    assert attack(128, 1_000, mask_ms=78, read_ms=0.1, cores=8, kept=0.0).core_minutes_per_month < 300
