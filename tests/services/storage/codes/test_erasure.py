"""Any k of n shares give everything back, whichever library computes them."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.codes import erasure, isal
from fieldstone.services.storage.codes.erasure import Code, TooFewShares, code

PROFILES = [(4, 6), (16, 20), (20, 40), (10, 30), (29, 80)]


def stripe_of(k: int, length: int, seed: int = 0) -> list[bytes]:
    generator = random.Random(seed)
    return [generator.randbytes(length) for _ in range(k)]


def shares_of(machine: Code, data: list[bytes]) -> dict[int, bytes]:
    return {i: bytes(share) for i, share in enumerate([*data, *machine.encode(data)])}


@pytest.mark.parametrize(("k", "n"), PROFILES)
def test_any_k_shares_give_all_others_back(k: int, n: int) -> None:
    """A thousand random subsets per profile: the matrix of ISA-L's default generator fails 3 to 5 of them."""
    generator = random.Random(k)
    machine = code(k, n)
    shares = shares_of(machine, stripe_of(k, 65))
    for _ in range(1000):
        have = generator.sample(range(n), k)
        wanted = generator.sample(range(n), 3)
        found = machine.decode({i: shares[i] for i in have}, wanted)
        assert {i: bytes(found[i]) for i in wanted} == {i: shares[i] for i in wanted}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_decoding_inverts_encoding(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 12))
    n = data.draw(st.integers(k, 24))
    length = data.draw(st.integers(1, 400))
    machine = code(k, n)
    shares = shares_of(machine, stripe_of(k, length, data.draw(st.integers(0, 9))))
    have = data.draw(st.permutations(range(n)))[: data.draw(st.integers(k, n))]
    found = machine.decode({i: shares[i] for i in have}, range(n))
    assert [bytes(found[i]) for i in range(n)] == [shares[i] for i in range(n)]


@pytest.mark.skipif(isal.library() is None, reason="no ISA-L on this platform")
@pytest.mark.parametrize("length", [1, 31, 32, 63, 64, 65, 4097, 20_000])
@pytest.mark.parametrize(("k", "n"), [(1, 2), (4, 6), (20, 40), (29, 80), (33, 100), (100, 255)])
def test_the_portable_code_gives_the_same_bytes(k: int, n: int, length: int) -> None:
    data = stripe_of(k, length)
    fast, portable = Code(k, n), Code(k, n, portable=True)
    parity = [bytes(block) for block in fast.encode(data)]
    assert [bytes(block) for block in portable.encode(data)] == parity
    have = dict(enumerate(parity, start=k)) if n >= 2 * k else dict(enumerate([*data, *parity][n - k :], start=n - k))
    missing = [i for i in range(k) if i not in have][:5]
    assert fast.decode(have, missing) == portable.decode(have, missing) == {i: data[i] for i in missing}


def test_lengths_around_the_pass_size_are_exact() -> None:
    """A tail shorter than a register must not be skipped or read beyond its end."""
    machine, portable = Code(4, 6), Code(4, 6, portable=True)
    for length in (128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 128 * 1024 + 63, 128 * 1024 + 64, 256 * 1024 + 7):
        data = stripe_of(4, length)
        assert machine.encode(data) == portable.encode(data)


def test_without_parity_the_shares_are_the_data() -> None:
    data = stripe_of(3, 10)
    assert code(3, 3).encode(data) == []
    assert code(3, 3).decode(dict(enumerate(data)), [2])[2] == data[2]


def test_a_range_of_the_shares_decodes_alone() -> None:
    machine = code(4, 7)
    shares = shares_of(machine, stripe_of(4, 1000))
    part = machine.decode({i: shares[i][300:317] for i in (1, 4, 5, 6)}, [0])
    assert part[0] == shares[0][300:317]


def test_shares_at_hand_are_returned_even_when_there_are_few() -> None:
    assert bytes(code(4, 6).decode({2: b"abc"}, [2])[2]) == b"abc"


def test_too_few_shares_say_how_many_are_missing() -> None:
    with pytest.raises(TooFewShares, match="fetch 2 more") as caught:
        code(4, 6).decode({0: b"a", 5: b"b"}, [1])
    assert (caught.value.have, caught.value.need) == (2, 4)


@pytest.mark.parametrize(("k", "n"), [(0, 3), (4, 3), (1, 256), (-1, 2)])
def test_impossible_codes_are_refused(k: int, n: int) -> None:
    with pytest.raises(UsageError):
        Code(k, n)


def test_misshapen_stripes_are_refused() -> None:
    with pytest.raises(UsageError, match="2 blocks, not 1"):
        code(2, 3).encode([b"ab"])
    with pytest.raises(UsageError, match="differ in length"):
        code(2, 3).encode([b"ab", b"a"])
    with pytest.raises(UsageError, match="share 3"):
        code(2, 3).decode({0: b"a", 3: b"b"}, [1])
    with pytest.raises(UsageError, match="share -1"):
        code(2, 3).decode({0: b"a", 1: b"b"}, [-1])


def test_threads_share_a_code() -> None:
    machine = Code(20, 40)
    stripes = [stripe_of(20, 3000, seed) for seed in range(8)]
    alone = [[bytes(block) for block in machine.encode(stripe)] for stripe in stripes]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda stripe: [bytes(block) for block in machine.encode(stripe)], stripes * 4))
    assert together == alone * 4


def test_a_machine_without_any_kernel_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isal, "library", lambda: None)
    monkeypatch.setitem(sys.modules, "fieldstone.services.storage.codes.gf256_kernel", None)
    with pytest.raises(EnvironmentProblem, match="pip install"):
        erasure.Code(2, 3)
