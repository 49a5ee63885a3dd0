"""Holdings: what makes a lease line count, who may end it, and that the fold does not depend on where it is cut."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records
from fieldstone.services.storage.holdings import FOREVER, HOLDING_SCHEMA, Fold, fold
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import World
from tests.services.storage.worlds import fleet


def state(world: World) -> EpochInput:
    return world.input(world.now_ms - 1, world.now_ms + 1, ())


def folded(world: World) -> Fold:
    return fold(state(world))


def causes(world: World) -> list[str]:
    return folded(world).refused["cause"].to_list()


def new_world(providers: int = 2) -> World:
    world = World(7)
    for number in range(providers):
        world.add(f"p{number}", Honest())
    return world


def test_a_leased_share_is_held_from_the_report_on() -> None:
    world = new_world()
    share = world.share(b"s" * 16, 3)
    world.lease(world.providers[0], [share])
    (row,) = folded(world).holdings.iter_rows(named=True)
    assert (row["share"], row["segment"], row["index"]) == (share.id, b"s" * 16, 3)
    assert (row["size_bytes"], row["leaf_bytes"], row["root"]) == (16_384, 4_096, share.tree.commitment)
    assert (row["from_ms"], row["until_ms"], row["from_position"]) == (world.now_ms, FOREVER, 1)


def test_a_receipt_that_the_provider_did_not_sign_counts_for_nobody() -> None:
    world = new_world()
    world.lease(world.providers[0], [world.share(b"s" * 16, 0)], signer=world.providers[1].key)
    assert folded(world).holdings.is_empty()
    assert causes(world) == ["the provider did not sign the receipt"]


def test_a_receipt_made_out_to_another_gateway_does_not_count() -> None:
    world = new_world()
    thief = world.key("thief")
    world.lease(world.providers[0], [world.share(b"s" * 16, 0)])
    stolen = world._pending["lease"].pop()
    world.report("lease", thief.public.device_id, stolen[4])
    assert causes(world) == ["the receipt names another gateway"]


def test_the_same_share_and_the_same_bytes_count_once_per_provider() -> None:
    world = new_world()
    share = world.share(b"s" * 16, 0)
    twin = dataclasses.replace(share, id=b"t" * 16)
    world.lease(world.providers[0], [share, share, twin])
    assert folded(world).holdings.height == 1
    assert causes(world) == ["the provider holds this share already", "the provider holds the same bytes already"]


def test_an_order_for_access_is_no_receipt() -> None:
    """Records are signed for a purpose: an AccessOrder that a provider signed as a gateway is not its receipt."""
    world = new_world()
    one = world.providers[0]
    share = world.share(b"s" * 16, 0)
    receipt = records.ShareReceipt(
        share=share.id,
        provider=one.device,
        gateway=world.gateway.public.device_id,
        size_bytes=1,
        leaf_bytes=4_096,
        root=bytes(32),
        stored_ms=world.now_ms,
    )
    line = records.LeasedShare(receipt=records.sign(one.key, receipt, records.ACCESS), segment=share.segment, index=0)
    world.report("lease", world.gateway.public.device_id, records.encode(records.Lease(shares=(line,))))
    assert causes(world) == ["the provider did not sign the receipt"]


@pytest.mark.parametrize(("leaf_bytes", "counts"), [(1_024, True), (4_096, True), (64, False), (2**20, False)])
def test_leaf_sizes_are_those_of_the_rules(leaf_bytes: int, counts: bool) -> None:
    world = World(7, leaf_bytes=leaf_bytes)
    world.add("p", Honest())
    world.lease(world.providers[0], [world.share(b"s" * 16, 0)])
    assert folded(world).holdings.height == int(counts)


def test_a_provider_that_enrols_later_held_nothing_before() -> None:
    world = new_world()
    world.lease(world.providers[0], [world.share(b"s" * 16, 0)])
    late = state(world)
    registry = late.registry.with_columns(enrolled_ms=pl.lit(world.now_ms + 1, pl.Int64))
    assert fold(dataclasses.replace(late, registry=registry)).holdings.is_empty()


def test_only_the_gateway_that_leased_can_release() -> None:
    world = new_world()
    share = world.share(b"s" * 16, 0)
    one = world.providers[0]
    world.lease(one, [share])
    body = records.encode(records.Release(shares=((one.device, share.id),)))
    world.report("release", world.key("stranger").public.device_id, body)
    assert folded(world).holdings["until_ms"].to_list() == [FOREVER]
    assert causes(world) == ["released, but not leased by this gateway"]
    world.now_ms += 5
    world.release(one, [share.id])
    assert folded(world).holdings["until_ms"].to_list() == [world.now_ms]


def test_a_released_share_can_be_leased_again_with_a_new_receipt() -> None:
    world = new_world(1)
    share, one = world.share(b"s" * 16, 0), world.providers[0]
    world.lease(one, [share])
    world.release(one, [share.id])
    world.now_ms += 1
    world.lease(one, [share])
    rows = folded(world).holdings
    assert rows["from_position"].to_list() == [1, 3]
    assert rows["until_position"].to_list() == [2, FOREVER]


def test_a_receipt_makes_one_lease() -> None:
    """After the release the provider may drop the bytes: the old receipt must not get it asked for them again."""
    world = new_world(1)
    share, one = world.share(b"s" * 16, 0), world.providers[0]
    world.lease(one, [share])
    old = world._pending["lease"][0]
    world.now_ms += 1_000
    world.release(one, [share.id])
    world.report("lease", old[0], old[4])
    assert causes(world) == ["the receipt is older than the share's release"]
    carried = dataclasses.replace(state(world), carry={"holdings": fold(state(world), before=3).holdings})
    again = {kind: table.filter(pl.col("position") == 3) for kind, table in carried.evidence.items()}
    assert fold(dataclasses.replace(carried, evidence=again)).refused.height == 1


def test_a_receipt_that_lay_about_for_a_day_is_void() -> None:
    world = new_world(1)
    world.lease(world.providers[0], [world.share(b"s" * 16, 0)])
    sender, _, _, _, body = world._pending["lease"].pop()
    world.now_ms += 86_400_001
    world.report("lease", sender, body)
    assert causes(world) == ["the receipt is too old"]


def test_a_fold_cut_anywhere_gives_the_same_holdings() -> None:
    """The carry is the fold so far: events before and after the cut, however cut, lead to one table."""
    world = new_world(3)
    for number in range(4):
        for one in world.providers:
            world.lease(one, [world.share(bytes([number]) * 16, 1)])
    first, second = world.providers[0], world.providers[1]
    world.release(first, list(first.shares)[:2])
    world.lease(second, list(second.shares.values())[:1])  # a repetition
    world.release(second, list(second.shares)[:1])
    whole = state(world)
    expected = fold(whole).holdings
    for cut in range(1, world.position + 2):
        carried = fold(whole, before=cut).holdings
        rest = {
            kind: table.filter(pl.col("position") >= cut) if "position" in table.columns else table
            for kind, table in whole.evidence.items()
        }
        again = fold(dataclasses.replace(whole, evidence=rest, carry={"holdings": carried})).holdings
        assert again.equals(expected), cut


def test_a_key_that_was_rotated_still_signs_for_its_device() -> None:
    world = new_world(1)
    one, new_key = world.providers[0], world.key("new")
    world.lease(one, [world.share(b"s" * 16, 0)], signer=new_key)
    assert folded(world).holdings.is_empty()
    late = state(world)
    keys = pl.DataFrame({"device": [one.device], "public": [new_key.public.device_id], "retired": [[one.device]]})
    registry = late.registry.join(keys, on="device", how="left").with_columns(
        public=pl.coalesce("public", "device"), retired=pl.coalesce("retired", pl.lit([], dtype=pl.List(pl.String)))
    )
    assert fold(dataclasses.replace(late, registry=registry)).holdings.height == 1


def test_unreadable_leases_and_releases_are_named() -> None:
    world = new_world()
    world.report("lease", world.gateway.public.device_id, b"\xc1")
    world.report("release", world.gateway.public.device_id, b"")
    line = records.LeasedShare(receipt=b"no receipt", segment=bytes(16), index=0)
    world.report("lease", world.gateway.public.device_id, records.encode(records.Lease(shares=(line,))))
    assert causes(world) == ["the report is not a lease", "the report is not a release", "no receipt"]


def test_an_empty_network_has_an_empty_table() -> None:
    assert dict(folded(World(1)).holdings.schema) == HOLDING_SCHEMA
    assert fleet(1, honest=0, shares=0).providers == []
