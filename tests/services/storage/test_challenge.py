"""What a round asks: the documented draw, frozen leaves, silence that does not help, bodies."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.services.contract import Round
from fieldstone.services.storage import records, service
from fieldstone.services.storage.challenge import (
    CONTEXT,
    Asked,
    Asking,
    LeafRead,
    Shelf,
    challenges,
    decode_body,
    draw,
    encode_body,
    leaf_to_read,
    per_round,
    shelves,
)
from fieldstone.services.storage.holdings import fold
from fieldstone.services.storage.rules.v1 import default_params
from tests.services.storage.worlds import fleet


def test_the_draw_is_the_documented_one() -> None:
    """word_i is 8 bytes little-endian of the XOF, idx_i = word_i mod leaves, repetitions left out."""
    seed, device, total, count = bytes(range(32)), "did:key:zExample", 1_000, 12
    stream = blake3(b"fieldstone/storage/challenge/v1\0" + seed + device.encode()).digest(length=8 * count)
    words = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") % total for i in range(count)]
    assert draw(CONTEXT, seed, device, count, total) == list(dict.fromkeys(words))


@given(seed=st.binary(min_size=32, max_size=32), count=st.integers(0, 60), total=st.integers(0, 2**62))
def test_drawn_numbers_are_distinct_and_below_the_total(seed: bytes, count: int, total: int) -> None:
    numbers = draw(CONTEXT, seed, "d", count, total)
    assert len(set(numbers)) == len(numbers) <= count
    assert all(0 <= number < total for number in numbers)
    assert bool(numbers) == bool(count and total)


def test_leaves_are_drawn_evenly_over_shares_of_all_sizes() -> None:
    """10,000 draws over shares of 1, 9 and 90 leaves hit them as 1 : 9 : 90 (χ² at 10⁻⁶: 27.6)."""
    shelf = Shelf("d", [b"a", b"b", b"c"], np.array([1, 9, 90]), np.zeros(3, np.int64), np.full(3, 9), ["g"] * 3)
    hits = np.zeros(100)
    edges = np.cumsum(shelf.leaves)
    for number in range(1_000):
        for drawn in draw(CONTEXT, number.to_bytes(32, "big"), "d", 10, 100):
            hits[drawn] += 1
    by_share = [hits[low:high].sum() for low, high in pairwise([0, *edges])]
    expected = hits.sum() * shelf.leaves / 100
    assert sum((by_share - expected) ** 2 / expected) < 27.6


def test_two_devices_are_asked_different_things_by_one_seed() -> None:
    assert draw(CONTEXT, bytes(32), "a", 20, 10**6) != draw(CONTEXT, bytes(32), "b", 20, 10**6)


def test_questions_per_round_make_up_the_day() -> None:
    params = default_params()
    assert per_round(params, often=False) * 48 >= 459
    assert per_round(params, often=True) * 48 >= 4_603
    assert per_round({**params, "round_s": 86_400}, often=False) == 459
    assert per_round({**params, "max_questions_per_round": 5}, often=True) == 5


def test_bodies_survive_and_garbage_is_refused() -> None:
    asked = Asked(((b"a" * 16, 3), (b"b" * 16, 0)), (LeafRead(b"c" * 16, 7, "did:key:z1", 700, 800),))
    assert decode_body(encode_body(asked)) == asked
    for body in (b"", b"\xc1", msgspec.msgpack.encode([[1, 2]]), msgspec.msgpack.encode([[b"a", 1, "x", 4]])):
        with pytest.raises((msgspec.DecodeError, msgspec.ValidationError)):
            decode_body(body)


def test_shares_leased_after_the_round_are_not_asked_and_released_ones_are() -> None:
    world = fleet(2, honest=1, shares=3)
    one = world.providers[0]
    old = set(one.shares)
    position = world.position + 1
    world.position = position
    asked = Round(1, position, world.now_ms, bytes(32))
    world.lease(one, [world.share(b"n" * 16, number) for number in range(30)])
    world.release(one, list(old)[:1])
    world.params = {**world.params, "questions_per_day": 40_000}
    body = dict(challenges(world.input(0, world.now_ms + 1, ()), asked).iter_rows())[one.device]
    assert {share for share, _ in decode_body(body).prove} == old


def test_a_small_customers_data_does_not_hide_among_others() -> None:
    """One share of a customer among 200 of the provider's friend: each round asks about it, not one in twenty."""
    world = fleet(2, honest=1, shares=200)
    one = world.providers[0]
    small = world.share(b"c" * 16, 0)
    world.lease(one, [small], gateway=world.key("customer"))
    asked = [Round(n, world.position + 1, world.now_ms + 1, bytes([n]) * 32) for n in range(20)]
    so_far = world.input(0, world.now_ms + 2, ())
    bodies = [dict(challenges(so_far, r).iter_rows())[one.device] for r in asked]
    assert all(small.id in {share for share, _ in decode_body(body).prove} for body in bodies)


def test_silence_is_asked_again_until_an_answer_comes() -> None:
    """Rounds 1 … 5, silent in all: round 5 asks its own, 4's, 3's and 2's questions, in that order, and not 1's."""
    world = fleet(2, honest=1, shares=40)
    one = world.providers[0]
    rounds = []
    for number in range(1, 6):
        world.now_ms += 1_800_000
        world.position += 1
        rounds.append(Round(number, world.position, world.now_ms, bytes([number]) * 32))
    so_far = dataclasses.replace(world.input(0, world.now_ms + 1, rounds))
    (shelf,) = shelves(fold(so_far).holdings)
    asking = Asking(so_far)
    alone = {r.number: [(p, leaf) for p, leaf in asking._own(shelf, asking.posed(r.number))] for r in rounds}
    asked = asking.questions(shelf, 5)
    reads = [leaf_to_read(shelf, asking.posed(4))]
    expected = [*alone[5], *(read for read in reads if read), *alone[4], *alone[3], *alone[2]]
    assert asked == list(dict.fromkeys(expected))
    body = records.encode(records.ProofSet(number=3, proofs=()))
    heard = dataclasses.replace(so_far, evidence={**so_far.evidence})
    row = [(one.device, rounds[2].issued_ms + 10, rounds[2].issued_ms + 10, rounds[3].position - 0, body)]
    proof = so_far.evidence["proof"].clear()
    heard.evidence["proof"] = proof.vstack(type(proof)(row, schema=proof.schema, orient="row"))  # type: ignore[index]
    shorter = Asking(heard).questions(shelf, 5)
    assert shorter == list(dict.fromkeys([*alone[5], *(read for read in reads if read), *alone[4]]))


def test_an_answer_after_the_deadline_is_silence() -> None:
    world = fleet(2, honest=1, shares=40)
    one = world.providers[0]
    rounds = [Round(n, 100 + n, world.now_ms + n * 1_800_000, bytes([n]) * 32) for n in (1, 2)]
    late_ms = rounds[0].issued_ms + 900_001
    world.report("proof", one.device, records.encode(records.ProofSet(number=1, proofs=())), late_ms)
    late = world.input(0, rounds[1].issued_ms + 1, rounds)
    (shelf,) = shelves(fold(late).holdings)
    assert not Asking(late).heard(one.device, 1, 2**62)
    assert len(Asking(late).questions(shelf, 2)) > len(Asking(late)._own(shelf, Asking(late).posed(2)))


@settings(max_examples=20, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32))
def test_every_seed_gives_every_holder_its_own_leaves(seed: bytes) -> None:
    world = _world()
    asked = Round(1, world.position + 1, world.now_ms + 1, seed)
    table = challenges(world.input(0, world.now_ms + 2, ()), asked)
    assert set(table["device"]) == {one.device for one in world.providers}
    for device, body in table.iter_rows():
        mine = world.provider(device).shares
        wanted = decode_body(body)
        assert wanted.prove
        for share, leaf in wanted.prove:
            assert 0 <= leaf < 16 and share in mine
        for share, leaf, provider, start, end in wanted.read:
            assert 0 <= start < end
            assert provider != device and share in world.provider(provider).shares and 0 <= leaf < 16


_WORLDS: list = []


def _world():
    if not _WORLDS:
        _WORLDS.append(fleet(4, honest=6, shares=10))
    return _WORLDS[0]


def test_the_service_asks_through_the_contract() -> None:
    world = _world()
    asked = Round(1, world.position + 1, world.now_ms + 1, bytes(32))
    so_far = world.input(0, world.now_ms + 2, ())
    assert service.challenges(so_far, asked).equals(challenges(so_far, asked))
    assert service.round_s(service.default_params(1)) == 1_800
