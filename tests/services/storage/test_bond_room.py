"""How much more a bond covers, and what gateways make of it: split or merged it is as much, and never more than the bond."""

from __future__ import annotations

import dataclasses
import random

import pytest

from fieldstone.rewards.bonded import OPERATOR_KEY, key_of
from fieldstone.services.bonding import Bonds
from fieldstone.services.storage import service
from fieldstone.services.storage.bond_room import bond_rooms
from fieldstone.services.storage.directory import directory
from fieldstone.services.storage.pool.directory import Directory, Node
from fieldstone.services.storage.pool.placement import Candidate, TooFewNodes, place
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.records import Announcement, encode
from fieldstone.services.storage.schema import ANNOUNCE
from fieldstone.units import TOKEN_BASE
from tests.services.storage.worlds import fleet

TIB = 2**40
PER_TIB = 2**20 * TOKEN_BASE  # so that a MiB needs a token: a share of the lab weighs 1/64 of one
SHARE = 16_384


def told(bonds: dict[tuple[str, str], int] | None, honest: int = 2):  # type: ignore[no-untyped-def]
    """A fleet of which everybody holds four shares and has announced itself, after its leases arrived."""
    world = fleet(5, honest=honest, shares=4)
    if honest > 1:
        world.providers[1].operator = world.providers[0].operator
    for one in world.providers:
        world.report(ANNOUNCE, one.device, encode(Announcement(url="http://10.0.0.1:9000", capacity_bytes=TIB)))
    so_far = world.input(world.now_ms, world.now_ms + 1, ())
    asked = None if bonds is None else Bonds(bonds, PER_TIB)
    return world, dataclasses.replace(so_far, bonds=asked)


def room(so_far, device: str) -> dict[str, int]:  # type: ignore[no-untyped-def]
    return dict(bond_rooms(so_far, so_far.registry["device"].to_list())[device])


def test_where_no_bond_is_asked_for_nothing_is_said() -> None:
    world, so_far = told(None)
    assert "bond_room_bytes" not in directory(so_far)[world.providers[0].device]


def test_what_is_held_is_covered_first_and_the_rest_is_room() -> None:
    world, _ = told(None)
    first, second = world.providers
    own = {(first.operator.lower(), key_of(first.device)): TOKEN_BASE}  # a MiB
    _, so_far = told(own)
    assert room(so_far, first.device) == {
        "bond_covered_bytes": 4 * SHARE,
        "bond_held_bytes": 4 * SHARE,
        "bond_room_bytes": 2**20 - 4 * SHARE,
    }
    assert room(so_far, second.device)["bond_room_bytes"] == 0  # the bond of a device is that device's
    assert room(so_far, second.device)["bond_covered_bytes"] == 0


def test_an_operators_bond_gives_room_once() -> None:
    world, _ = told(None)
    first, second = world.providers
    name = (first.operator.lower(), OPERATOR_KEY)
    _, so_far = told({name: TOKEN_BASE})
    rooms = [room(so_far, one.device)["bond_room_bytes"] for one in (first, second)]
    assert rooms[0] == rooms[1] and sum(rooms) == 2**20 - 8 * SHARE
    _, full = told({name: 8 * SHARE * TOKEN_BASE // 2**20})
    assert [room(full, one.device)["bond_room_bytes"] for one in (first, second)] == [0, 0]
    assert [room(full, one.device)["bond_covered_bytes"] for one in (first, second)] == [4 * SHARE] * 2
    _, half = told({name: 4 * SHARE * TOKEN_BASE // 2**20})
    assert [room(half, one.device)["bond_covered_bytes"] for one in (first, second)] == [2 * SHARE] * 2


def test_what_another_service_needs_of_the_same_bond_is_no_room() -> None:
    """As in the rewards: the bond covers once, shared out in proportion where it is too small for both."""
    world, _ = told(None)
    first, second = world.providers
    name = (first.operator.lower(), OPERATOR_KEY)
    _, so_far = told({name: TOKEN_BASE})
    assert so_far.bonds is not None
    needs = 4 * SHARE * TOKEN_BASE // 2**20

    def with_other(base: int):  # type: ignore[no-untyped-def]
        bonds = dataclasses.replace(so_far.bonds, elsewhere={first.device: base, "a stranger": 10**30})
        return dataclasses.replace(so_far, bonds=bonds)

    half = [room(with_other(TOKEN_BASE // 2), one.device) for one in (first, second)]
    assert sum(one["bond_room_bytes"] for one in half) == 2**19 - 8 * SHARE
    assert [one["bond_covered_bytes"] for one in half] == [4 * SHARE] * 2
    assert [room(with_other(TOKEN_BASE), one.device)["bond_room_bytes"] for one in (first, second)] == [0, 0]
    much = with_other(14 * needs)  # 16 parts are needed, and a token is 16 parts
    assert [room(much, one.device)["bond_covered_bytes"] for one in (first, second)] == [4 * SHARE] * 2
    more = with_other(30 * needs)
    assert [room(more, one.device)["bond_covered_bytes"] for one in (first, second)] == [2 * SHARE] * 2


def test_what_storage_needs_is_told_to_other_services() -> None:
    world, _ = told(None)
    world.run(1.0)
    assert service.carried_capacity({}) == {}
    assert service.carried_capacity(world.carry) == {one.device: 4 * SHARE // 1_024 for one in world.providers}


def test_gateways_place_nothing_above_the_bond() -> None:
    _, so_far = told({})
    listing = {
        "devices": [{"device": device, "operator": "0xA", **facts} for device, facts in directory(so_far).items()]
    }
    nodes, problems = Directory.from_listing(listing)
    assert not problems and [node.bond_room_bytes for node in nodes] == [0, 0]
    wide = Profile("pair", k=1, n=2, block_bytes=4_096, segment_bytes=1 << 20)
    with pytest.raises(TooFewNodes):
        place(wide, [Candidate(node) for node in nodes], seed=random.Random(1), share_bytes=0)
    covered = [node_with(node, 10_000) for node in nodes]
    assert len(place(wide, covered, seed=random.Random(1), share_bytes=10_000).nodes) == 2
    with pytest.raises(TooFewNodes):
        place(wide, covered, seed=random.Random(1), share_bytes=10_001)
    unasked = [node_with(node, -1) for node in nodes]
    assert len(place(wide, unasked, seed=random.Random(1), share_bytes=10**9).nodes) == 2


def node_with(node: Node, room_bytes: int) -> Candidate:
    import msgspec

    return Candidate(msgspec.structs.replace(node, bond_room_bytes=room_bytes))
