"""A permanent object's fund pays what its repair read: as much as the new leases show, at nobody's word, and no more."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.contract import FleetVerdicts
from fieldstone.services.storage import records
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import Provider, World
from fieldstone.services.storage.repair_reads import REPAIRS, Mended, divide
from fieldstone.services.storage.schema import COVER, EGRESS, EGRESS_CLAIM, PERMANENT_REPAIR

NEEDED = 2
SEGMENT = b"a permanent one!"


class Unread(Honest):
    """Is read by nobody but the test."""

    def vouchers(self, world: World, me: Provider) -> list[bytes]:
        return []


@pytest.fixture
def world() -> World:
    """Six providers with a share each of one segment that any two restore."""
    made = World(5)
    for number in range(6):
        made.add(f"p{number}", Unread())
    for number in range(5):
        made.lease(made.providers[number], [made.share(SEGMENT, number)])
    return made


def cover(world: World, needed: int = NEEDED) -> None:
    body = records.encode(records.Cover(segments=(SEGMENT,), needed=(needed,)))
    world.report(COVER, world.gateway.public.device_id, body)


def read(world: World, *counts: int) -> None:
    """Let the gateway read from p0, p1, …"""
    for one, count in zip(world.providers, counts, strict=False):
        if count:
            claim = records.EgressClaim(vouchers=(world.voucher(one, count),))
            world.report(EGRESS_CLAIM, one.device, records.encode(claim))


def paid(world: World, result: FleetVerdicts, product: str) -> list[int]:
    rows = result.usage.filter(pl.col("product") == product)
    return [int(rows.filter(pl.col("device") == one.device)["units"].sum()) for one in world.providers]


def test_what_repaired_a_permanent_segment_is_told_apart_from_other_reads(world: World) -> None:
    cover(world)
    read(world, 1_000)
    _, first = world.run(1.0)
    # shares that the upload itself leased are no repair
    assert paid(world, first, PERMANENT_REPAIR) == [0] * 6 and paid(world, first, EGRESS)[0] == 1_000
    # p4 lost its share: two others are read in full, one of them for a customer besides, and p5 gets a new one
    world.lease(world.providers[5], [world.share(SEGMENT, 4)])
    read(world, 16_384 + 500, 16_384, 700)
    _, second = world.run(1.0)
    assert paid(world, second, PERMANENT_REPAIR) == [16_384, 16_384, 0, 0, 0, 0]
    assert paid(world, second, EGRESS) == [500, 0, 700, 0, 0, 0]
    assert second.carry[REPAIRS].is_empty()
    # nothing was leased anew: what is read then is nobody's repair
    read(world, 16_384)
    _, third = world.run(1.0)
    assert paid(world, third, PERMANENT_REPAIR) == [0] * 6


def test_reads_claimed_an_epoch_later_are_still_repair_and_not_for_ever(world: World) -> None:
    cover(world)
    world.run(1.0)
    world.lease(world.providers[5], [world.share(SEGMENT, 4)])
    _, now = world.run(1.0)
    assert now.carry[REPAIRS]["left_bytes"].to_list() == [NEEDED * 16_384]
    read(world, 0, 10_000)
    _, later = world.run(1.0)
    assert paid(world, later, PERMANENT_REPAIR)[1] == 10_000
    assert later.carry[REPAIRS]["left_bytes"].to_list() == [NEEDED * 16_384 - 10_000]
    world.run(26.0)
    read(world, 16_384)
    _, late = world.run(1.0)
    assert paid(world, late, PERMANENT_REPAIR) == [0] * 6 and paid(world, late, EGRESS)[0] == 16_384


def test_a_gateway_cannot_call_other_segments_reads_or_more_shares_than_there_are_repair(world: World) -> None:
    cover(world, needed=255)
    world.run(1.0)
    other = b"one for a month "
    world.lease(world.providers[5], [world.share(SEGMENT, 4), world.share(other, 1)])
    read(world, *[10 * 16_384] * 6)
    _, result = world.run(1.0)
    # each of the five that had a share before, once; p5's own new share was read by nobody
    assert paid(world, result, PERMANENT_REPAIR) == [16_384] * 5 + [0]


def test_a_segment_that_became_permanent_only_now_was_repaired_at_its_owners_cost(world: World) -> None:
    world.run(1.0)
    cover(world)
    world.lease(world.providers[5], [world.share(SEGMENT, 4)])
    read(world, 16_384)
    _, result = world.run(1.0)
    assert paid(world, result, PERMANENT_REPAIR) == [0] * 6


def test_a_cover_without_a_number_for_each_segment_is_no_cover() -> None:
    from fieldstone.errors import Rejected

    body = records.encode(records.Cover(segments=(SEGMENT,), needed=(2,)))
    with pytest.raises(Rejected, match="1 segments, but 0 numbers"):
        records.decode(body.replace(b"\x91\x02", b"\x90"), records.Cover)
    with pytest.raises(ValueError, match="2 segments, but 1 numbers"):
        records.Cover(segments=(SEGMENT, bytes(16)), needed=(1,))


_DEVICES = st.sampled_from(["a", "b", "c", "d"])


@given(
    segments=st.lists(
        st.tuples(st.sampled_from(["g", "h"]), st.integers(1, 6), st.dictionaries(_DEVICES, st.integers(1, 50), min_size=1)),
        max_size=5,
    ),
    egress=st.dictionaries(st.tuples(st.sampled_from(["g", "h"]), _DEVICES), st.integers(0, 200)),
)  # fmt: skip
def test_repair_never_exceeds_what_was_ordered_nor_one_read_of_the_segments_leased_anew(
    segments: list[tuple[str, int, dict[str, int]]], egress: dict[tuple[str, str], int]
) -> None:
    budgets = [min(needed, len(shares)) * max(shares.values()) for _, needed, shares in segments]
    found = [
        Mended(gateway, bytes([number]) * 16, 0, budget, sorted(shares.items()))
        for number, ((gateway, _, shares), budget) in enumerate(zip(segments, budgets, strict=True))
    ]
    repair = divide(found, egress)
    assert all(0 < part <= egress[pair] for pair, part in repair.items())
    assert sum(repair.values()) == sum(budgets) - sum(one.left_bytes for one in found)
    assert all(one.left_bytes >= 0 for one in found)
    for pair, part in repair.items():
        assert part <= sum(shares.get(pair[1], 0) for gateway, _, shares in segments if gateway == pair[0])
