"""No cap is ever broken silently, whatever the network looks like."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.pool.directory import Node
from fieldstone.services.storage.pool.placement import Candidate, Placement, TooFewNodes, caps, place
from fieldstone.services.storage.pool.profile import PROFILES, Profile

TRAITS = ("operator", "prefix", "maker", "region")


def node(number: int, **facts: object) -> Node:
    own = {"operator": f"o{number}", "prefix": f"p{number}", "maker": f"m{number}", "region": f"r{number}"}
    return Node(did=f"did:{number:04}", url="http://127.0.0.1:1", **{**own, **facts})  # type: ignore[arg-type]


@st.composite
def networks(draw: st.DrawFn) -> list[Candidate]:
    count = draw(st.integers(1, 60))
    spread = {trait: draw(st.integers(1, count)) for trait in TRAITS}
    chance = random.Random(draw(st.integers(0, 2**32)))
    return [
        Candidate(
            node(i, free_bytes=chance.choice([-1, 0, 10**9, 10**12]))
            if chance.random() < 0.3
            else node(i, **{trait: f"{trait}{chance.randrange(spread[trait])}" for trait in TRAITS}),
            score=chance.choice([0.0, 0.5, 1.0, 1.0]),
            vetting=chance.random() < 0.3,
        )
        for i in range(count)
    ]


def check(profile: Profile, placement: Placement, holders: list[Node], vetting: set[str]) -> None:
    allowed = {**caps(profile), "vetting": max(1, -(-profile.n * 5 // 100))}
    allowed |= {relaxed.name: relaxed.allowed for relaxed in placement.relaxed}
    everyone = [*holders, *placement.nodes]
    assert len({n.did for n in everyone}) == len(everyone)
    for trait in TRAITS:
        chosen = Counter(getattr(n, trait) for n in placement.nodes)
        counts = Counter(getattr(n, trait) for n in everyone)
        assert all(counts[value] <= allowed[trait] for value in chosen), trait
    assert sum(n.did in vetting for n in placement.nodes) <= allowed["vetting"]


@given(
    networks(), st.sampled_from([*PROFILES.values(), Profile("1/1", 1, 1), Profile("2/3", 2, 3)]), st.integers(0, 99)
)
def test_caps_hold_or_their_relaxation_is_stated(network: list[Candidate], profile: Profile, seed: int) -> None:
    usable = sum(c.weight > 0 for c in network)
    if usable < profile.n:
        with pytest.raises(TooFewNodes) as few:
            place(profile, network, seed=random.Random(seed))
        assert (few.value.have, few.value.need) == (usable, profile.n)
        return
    placement = place(profile, network, seed=random.Random(seed))
    assert placement.indexes == tuple(range(profile.n))
    assert len(placement.nodes) == profile.n
    check(profile, placement, [], {c.node.did for c in network if c.vetting})
    assert {n.did for n in placement.nodes}.isdisjoint(n.did for n in placement.spares)


@given(networks(), st.integers(0, 99), st.integers(1, 12))
def test_repair_counts_those_who_hold_shares_already(network: list[Candidate], seed: int, missing: int) -> None:
    profile = PROFILES["20/40"]
    holders = [c.node for c in network[: len(network) // 2]]
    fresh = sum(c.weight > 0 for c in network[len(network) // 2 :])
    if fresh < missing:
        return
    indexes = tuple(range(3, 3 + missing))
    placement = place(profile, network, seed=random.Random(seed), indexes=indexes, holders=holders)
    assert placement.indexes == indexes
    check(profile, placement, holders, {c.node.did for c in network if c.vetting})


def test_a_wide_network_relaxes_nothing() -> None:
    placement = place(PROFILES["20/40"], [Candidate(node(i)) for i in range(60)], seed=random.Random(1))
    assert placement.relaxed == ()
    assert len(placement.spares) == 20


def test_one_operator_with_half_of_the_nodes_gets_no_more_than_its_cap() -> None:
    network = [Candidate(node(i, operator="big" if i % 2 else f"o{i}")) for i in range(90)]
    placement = place(PROFILES["20/40"], network, seed=random.Random(1))
    assert placement.relaxed == ()
    assert sum(n.operator == "big" for n in placement.nodes) <= 5


def test_a_small_network_says_which_cap_it_broke_and_by_how_much() -> None:
    network = [Candidate(node(i, operator=f"o{i % 3}")) for i in range(6)]
    placement = place(PROFILES["4/6"], network, seed=random.Random(1))
    assert [str(relaxed) for relaxed in placement.relaxed] == ["operator 2 instead of 1"]


def test_full_and_untrusted_nodes_get_nothing() -> None:
    network = [Candidate(node(0, free_bytes=10)), Candidate(node(1), score=0.0), Candidate(node(2))]
    placement = place(Profile("1/1", 1, 1), network, seed=random.Random(1), share_bytes=11)
    assert [n.did for n in placement.nodes] == ["did:0002"]


def test_more_free_space_draws_more_shares() -> None:
    network = [Candidate(node(i, free_bytes=(1 + 9 * (i % 2)) * 2**30)) for i in range(20)]
    profile, drawn = Profile("2/4", 2, 4), Counter[int]()
    for seed in range(400):
        for chosen in place(profile, network, seed=random.Random(seed)).nodes:
            drawn[int(chosen.did[4:]) % 2] += 1
    assert drawn[1] > 3 * drawn[0]


def test_new_nodes_get_a_twentieth_of_a_segment() -> None:
    network = [Candidate(node(i), vetting=i < 50) for i in range(100)]
    placement = place(PROFILES["20/40"], network, seed=random.Random(3))
    assert sum(int(n.did[4:]) < 50 for n in placement.nodes) <= 2
