"""What is quoted before the upload is what is stored, leased and ordered afterwards, byte by byte."""

from __future__ import annotations

import os

import pytest

from fieldstone.services.storage.object_quote import monthly, stored_bytes
from fieldstone.services.storage.schema import GIB
from tests.services.storage.pool.conftest import SMALL, MakeNet


@pytest.mark.parametrize("size", [4_097, 65_537, 1_000_000, 2_500_001])
async def test_the_quote_is_what_providers_hold_and_what_a_read_orders(net: MakeNet, size: int) -> None:
    segments, stored, read = stored_bytes(size, SMALL)
    prices = {"storage": GIB, "egress": GIB}  # a micro-dollar a byte
    quoted = monthly(size, SMALL, months=1, egress_bytes=3 * size, prices_micro_usd=prices)
    async with net() as n:
        put = await n.put(os.urandom(size))
        assert len(put.segments) == segments
        held = sum(len(share) for provider in n.providers for share in provider.shares.values())
        assert held == stored == quoted.storage_micro_usd
        before = sum(provider.egress_bytes for provider in n.providers)
        for _ in range(3):
            await n.get(put)
        ordered = sum(provider.egress_bytes for provider in n.providers) - before
        # nobody is slow here, so nothing is ordered twice; padding of the last stripe need not be read
        assert 3 * size < ordered <= 3 * read == quoted.egress_micro_usd


async def test_a_range_is_never_ordered_for_more_than_was_quoted(net: MakeNet) -> None:
    size = 2_300_000  # three segments
    prices = {"storage": GIB, "egress": GIB}
    async with net() as n:
        put = await n.put(os.urandom(size))
        for start, end in (
            (0, 1),
            (65_535, 65_537),
            (1, 65_537),
            (130_000, 400_000),
            (999_999, 1_000_001),
            (900_000, 2_100_000),
            (size - 1, size),
            (7, size),
        ):
            before = sum(provider.egress_bytes for provider in n.providers)
            await n.get(put, start, end)
            quoted = monthly(size, SMALL, months=1, egress_bytes=end - start, prices_micro_usd=prices)
            assert sum(provider.egress_bytes for provider in n.providers) - before <= quoted.egress_micro_usd, (
                start,
                end,
            )
