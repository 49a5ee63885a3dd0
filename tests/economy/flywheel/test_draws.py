"""Random numbers by address: the published vectors of Philox, both engines alike, streams that do not touch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.economy.flywheel import compiled_parts, draws

# Random123 1.09, examples/kat_vectors, philox4x32 10
VECTORS = [
    ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_published_vectors(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert draws.philox(counter, key) == expected


WORD = st.integers(0, 2**32 - 1)


@settings(deadline=None)  # the first call compiles
@given(WORD, WORD, st.integers(0, 4), st.integers(0, 2**64 - 1))
def test_compiled_draws_equal_the_plain_ones(step: int, run: int, channel: int, seed: int) -> None:
    k, m = (np.uint64(word) for word in draws.key_of(seed))
    words = compiled_parts.philox(step, run, channel, k, m)
    assert tuple(int(word) for word in words) == draws.philox((step, run, channel, 0), draws.key_of(seed))
    assert compiled_parts.uniform(step, run, channel, k, m) == draws.uniform(seed, run, channel, step)
    assert compiled_parts.normal(step, run, channel, k, m) == pytest.approx(
        draws.normal(seed, run, channel, step), rel=1e-12
    )


def test_normals_look_normal_and_uniforms_uniform() -> None:
    k = np.uint64(5)
    normals = np.array([compiled_parts.normal(t, r, 1, k, k) for t in range(100) for r in range(200)])
    uniforms = np.array([compiled_parts.uniform(t, r, 2, k, k) for t in range(100) for r in range(200)])
    assert abs(normals.mean()) < 4 / np.sqrt(normals.size)
    assert abs(normals.std() - 1) < 0.03
    assert uniforms.min() > 0 and uniforms.max() <= 1
    assert abs(uniforms.mean() - 0.5) < 4 * np.sqrt(1 / 12 / uniforms.size)


def test_neighbouring_addresses_are_uncorrelated() -> None:
    here = np.array([draws.normal(1, run, 0, 5) for run in range(3_000)])
    for there in (
        np.array([draws.normal(1, run, 1, 5) for run in range(3_000)]),  # another channel
        np.array([draws.normal(1, run, 0, 6) for run in range(3_000)]),  # the next step
        np.array([draws.normal(2, run, 0, 5) for run in range(3_000)]),  # another seed
        np.roll(here, 1),  # the next run
    ):
        assert abs(np.corrcoef(here, there)[0, 1]) < 4 / np.sqrt(3_000)
