"""What a round asks: the documented draw, frozen leaves, silence that does not help, bodies."""

from __future__ import annotations

import dataclasses
from collections import Counter

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
    _chunk_in,
    challenges,
    decode_body,
    draw,
    encode_body,
    leaf_to_read,
    per_round,
)
from fieldstone.services.storage.codes.chunk_opening import chunk_of, starts_of
from fieldstone.services.storage.holdings import fold
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_shares import checked
from fieldstone.services.storage.lab_world import Customer, World
from fieldstone.services.storage.rules.v1 import default_params
from fieldstone.services.storage.shelf import Shelf, shelves
from tests.services.storage.worlds import fleet, played


def test_the_draw_is_the_documented_one() -> None:
    """word_i is 8 bytes little-endian of the XOF, byte_i = word_i mod bytes, repetitions left out."""
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


def test_chunks_are_drawn_evenly_by_their_bytes_over_shares_and_leaves_of_all_sizes() -> None:
    """8,000 draws hit every chunk in proportion to its bytes (χ² at 10⁻⁶ for 34 degrees: 89), the last short leaf's too.

    A share of one byte, one of a leaf, one of two leaves and a short one: chunks of 1, 476 and 1,024 bytes.
    """
    sizes, leaf_bytes = np.array([1, 16_384, 2 * 8_192 + 1_500]), np.array([16_384, 16_384, 8_192])
    shelf = Shelf("d", [b"a", b"b", b"c"], sizes, leaf_bytes, np.zeros(3, np.int64), np.full(3, 9), ["g"] * 3)
    rows, total = np.arange(3), int(sizes.sum())
    hits: Counter[tuple[int, int]] = Counter()
    for number in range(200):
        for byte in draw(CONTEXT, number.to_bytes(32, "big"), "d", 40, total):
            hits.update(shelf.chunks_with(rows, [byte]))
    every: list[tuple[int, int, int]] = []
    for row, (size, leaf) in enumerate(zip(sizes.tolist(), leaf_bytes.tolist(), strict=True)):
        at = 0
        while at < size:
            place = chunk_of(size, leaf, at)
            every.append((row, place.start, at := place.end))
    assert len(every) == 1 + 16 + 8 + 8 + 2 and set(hits) <= {one[:2] for one in every}
    expected = {one[:2]: 8_000 * (one[2] - one[1]) / total for one in every}
    # chunks of a single byte are expected 0.2 times: together they are one class
    small = {one for one, wanted in expected.items() if wanted < 5}
    classes = [(hits[one], expected[one]) for one in expected if one not in small]
    classes.append((sum(hits[one] for one in small), sum(expected[one] for one in small)))
    assert sum((seen - wanted) ** 2 / wanted for seen, wanted in classes) < 89


@pytest.mark.parametrize("pieces", ["KiB", "leaves", "shares", "single bytes"])
def test_one_percent_lost_is_hit_by_one_question_in_a_hundred_whatever_the_pieces(pieces: str) -> None:
    """100 shares of 5 leaves, 1 % of the bytes gone: 40,000 questions hit 400 ± 100 (5 σ); lost bytes here and there, more."""
    size, leaf = 5 * 16_384, 16_384
    rng = np.random.default_rng(5)
    unit = {"KiB": 1_024, "leaves": leaf, "shares": size, "single bytes": 1}[pieces]
    lost = np.zeros(100 * size, np.bool_)
    for first in rng.choice(lost.size // unit, max(1, lost.size // unit // 100), replace=False).tolist():
        lost[first * unit : (first + 1) * unit] = True
    before = np.concatenate(([0], np.cumsum(lost)))
    edges = np.append(np.unique(starts_of(np.arange(size), np.full(size, leaf))), size)
    asked = [byte for number in range(100) for byte in draw(CONTEXT, bytes([number]), "d", 400, lost.size)]
    row, byte = np.divmod(np.array(asked), size)
    chunk = np.searchsorted(edges, byte, side="right")
    hit = int((before[row * size + edges[chunk]] > before[row * size + edges[chunk - 1]]).sum())
    assert hit >= 300 and (unit < leaf or hit <= 500)


def test_a_chunk_is_asked_once_whatever_bytes_of_it_are_drawn() -> None:
    one = np.array([20_000])
    shelf = Shelf("d", [b"a"], one, np.array([16_384]), np.array([0]), np.array([9]), ["g"])
    assert shelf.chunks_with(np.array([0]), [0, 1_023, 1_024, 16_383, 16_384, 19_999]) == [
        *((0, 0), (0, 1_024), (0, 15_360), (0, 16_384), (0, 16_384 + 3_072))
    ]


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
    leaf = leaf_to_read(shelf, asking.posed(4))
    reads = [] if leaf is None else [_chunk_in(shelf, *leaf, rounds[4].seed)]
    expected = [*alone[5], *reads, *alone[4], *alone[3], *alone[2]]
    assert asked == list(dict.fromkeys(expected))
    body = records.encode(records.ProofSet(number=3, proofs=()))
    heard = dataclasses.replace(so_far, evidence={**so_far.evidence})
    row = [(one.device, rounds[2].issued_ms + 10, rounds[2].issued_ms + 10, rounds[3].position - 0, body)]
    proof = so_far.evidence["proof"].clear()
    heard.evidence["proof"] = proof.vstack(type(proof)(row, schema=proof.schema, orient="row"))  # type: ignore[index]
    shorter = Asking(heard).questions(shelf, 5)
    assert shorter == list(dict.fromkeys([*alone[5], *reads, *alone[4]]))


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
        for share, start in wanted.prove:
            assert chunk_of(world.share_bytes, world.leaf_bytes, start).start == start and share in mine
        for share, leaf, provider, start, end in wanted.read:
            assert 0 <= start < end
            assert provider != device and share in world.provider(provider).shares and 0 <= leaf < 4


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


class Guessing(World):
    """Its first customer reports every leaf it pays for before each round is asked, or wrong secrets of earlier rounds."""

    trick = ""

    def _read_in_secret(self, due: list[tuple[int, int, str, str, bytes]], one: Customer, asked: Round) -> None:
        if one is not self.customers[0]:
            return super()._read_in_secret(due, one, asked)
        number = asked.number + 1 if self.trick == "early" else asked.number
        secret = one.links.secret(number) or b""
        if self.trick == "wrong" and asked.number < 4:
            lie = records.encode(records.CheckSet(number=number, checks=(), secret=bytes(32)))
            due += [(asked.issued_ms + 1_000 + n, len(due) + n, "check", one.device, lie) for n in range(3)]
        lines = tuple(
            msgspec.structs.replace(checked(device, share, leaf, 10, b"?"), answer=bytes(32), at_ms=asked.issued_ms)
            for (gateway, device), shares in self.leased.items()
            if gateway == one.device
            for share in shares
            for leaf in range(4)  # 16 KiB in leaves of 4
        )
        body = records.encode(records.CheckSet(number=number, checks=lines, secret=secret))
        due.append((asked.issued_ms + 2_000, len(due), "check", one.device, body))


@pytest.mark.parametrize("trick", ["early", "wrong"])
def test_no_gateway_can_make_a_provider_fail_what_it_was_never_asked(trick: str) -> None:
    """What a round asks is worked out while it is asked and again when it is judged: no report may count in one of them only."""
    world = Guessing(3, overrides={"secret_every_rounds": 1})
    world.trick = trick
    for number in range(4):
        world.add(f"honest{number}", Honest())
    for number in range(3):
        world.store(4, gateway=world.add_customer(f"customer{number}").key)
    whole, _, rows = played(world, 6.0)
    assert [name for name, row in rows.items() if "MISSING_LEAF" in row["reasons"]] == []
    held = fold(whole).holdings
    (part,) = service.partitions(whole, 1)
    later = Asking(part)
    for asked in whole.rounds:
        bodies = dict(challenges(whole, asked).iter_rows())
        for shelf in shelves(held):
            judged = [(shelf.shares[row], start) for row, start in later.questions(shelf, asked.number)]
            assert judged == list(decode_body(bodies[shelf.device]).prove), asked.number
