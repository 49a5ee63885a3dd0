"""Bonds: capacity without tokens at risk earns no bootstrap, and no token answers for two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fieldstone.policy import Policy, RewardPolicy, ServicePolicy
from fieldstone.rewards import Allocation, AllocationInput, allocate
from fieldstone.rewards.bonded import (
    OPERATOR_KEY,
    Bonded,
    Need,
    capacity_text,
    cover,
    fractions,
    key_of,
    needed_base,
)
from fieldstone.rewards.explain import explain
from fieldstone.rewards.lint import Claim, lint, rule_of
from fieldstone.services.bonding import BondTerms
from fieldstone.units import PPM, TOKEN_BASE

from .networks import EPOCH_S, Device, network, operator

# one unit of quantity a second is one unit of capacity, for 10 tokens
RULE = Bonded(BondTerms("site", 1, 0), 10 * TOKEN_BASE)
ROOMY = RewardPolicy(max_epoch_mint="1000000000", full_coverage_cells=1)


def staked(
    own: Mapping[str, int] | None = None, operators: Mapping[int, int] | None = None
) -> dict[tuple[str, str], int]:
    """Bonds in tokens: of devices named z000 … of operator 0, and of operators."""
    found = {(operator(0), key_of(f"did:key:{name}")): tokens * TOKEN_BASE for name, tokens in (own or {}).items()}
    return found | {(operator(i), OPERATOR_KEY): tokens * TOKEN_BASE for i, tokens in (operators or {}).items()}


def bonded(devices: list[Device], bonds: Mapping[tuple[str, str], int]) -> AllocationInput:
    return replace(network(devices, policy=ROOMY), bonded={"sensing": RULE}, staked=bonds)


def bootstrap(result: Allocation) -> list[int]:
    return [int(amount) for amount in result.statements["bootstrap_base"]]


NEEDS = st.lists(
    st.builds(
        Need,
        device=st.integers(0, 5).map(lambda i: f"did:key:z{i:03d}"),
        service=st.sampled_from(["storage", "compute"]),
        operator=st.integers(0, 2).map(operator),
        needed_base=st.integers(1, 10**24),
    ),
    max_size=8,
    unique_by=lambda need: (need.device, need.service),
).map(lambda needs: [need._replace(operator=operator(int(need.device[-1]) % 3)) for need in needs])
BONDS = st.dictionaries(
    st.tuples(
        st.integers(0, 2).map(operator),
        st.one_of(st.just(OPERATOR_KEY), st.integers(0, 5).map(lambda i: key_of(f"did:key:z{i:03d}"))),
    ),
    st.integers(0, 10**24),
)


def test_worked_example() -> None:
    """Three devices of one operator need 10 each. One has 4 of its own; 13 of the operator's are shared by the rest 6, 10, 10."""
    needs = [Need(f"did:key:z00{i}", "storage", operator(0), 10 * TOKEN_BASE) for i in range(3)]
    found = cover(needs, staked({"z000": 4}, {0: 13}))
    assert [found[need.device, "storage"] for need in needs] == [7 * TOKEN_BASE, 5 * TOKEN_BASE, 5 * TOKEN_BASE]
    assert needed_base(RULE, EPOCH_S // 2, EPOCH_S) == 5 * TOKEN_BASE
    assert capacity_text(7 * TOKEN_BASE, 4 * TOKEN_BASE) == "1.75"


@given(NEEDS, BONDS)
def test_a_bond_covers_once(needs: list[Need], bonds: dict[tuple[str, str], int]) -> None:
    found = cover(needs, bonds)
    assert all(0 <= found[need.device, need.service] <= need.needed_base for need in needs)
    for owner in {need.operator for need in needs}:
        mine = sum(found[need.device, need.service] for need in needs if need.operator == owner)
        assert mine <= sum(amount for (name, _), amount in bonds.items() if name == owner)


@given(NEEDS, BONDS, st.randoms(use_true_random=False))
def test_order_does_not_matter(needs: list[Need], bonds: dict[tuple[str, str], int], rng) -> None:
    shuffled = rng.sample(needs, len(needs))
    assert cover(shuffled, bonds) == cover(needs, bonds)


@given(NEEDS, BONDS, st.integers(0, 10**24), st.integers(0, 2))
def test_more_bond_never_covers_less(needs: list[Need], bonds, more: int, who: int) -> None:
    before = cover(needs, bonds)
    name = (operator(who), OPERATOR_KEY)
    after = cover(needs, {**bonds, name: bonds.get(name, 0) + more})
    assert all(after[one] >= before[one] for one in before)


@given(st.integers(1, 10**24), st.integers(0, 10**24), st.lists(st.integers(1, 100), min_size=1, max_size=6))
def test_splitting_and_merging_gain_nothing(needed: int, bond: int, parts: list[int]) -> None:
    """One device, or the same capacity as several with the bond cut alike, or on the operator's own key: as much, but for dust."""
    whole = cover([Need("d", "s", operator(0), needed)], {(operator(0), OPERATOR_KEY): bond})["d", "s"]
    pieces = [needed * part // sum(parts) for part in parts]
    pieces[0] += needed - sum(pieces)
    needs = [Need(f"d{i}", "s", operator(0), piece) for i, piece in enumerate(pieces)]
    shared = sum(cover(needs, {(operator(0), OPERATOR_KEY): bond}).values())
    own = sum(cover(needs, {(operator(0), key_of(f"d{i}")): bond * part // sum(parts) for i, part in enumerate(parts)}).values())  # fmt: skip
    assert whole - len(parts) <= shared <= whole
    assert own <= whole


def test_work_above_the_cover_earns_no_bootstrap_and_leaves_it_to_others() -> None:
    devices = [Device(owner=0, place=0), Device(owner=1, place=0)]
    both = allocate(bonded(devices, staked({}, {0: 10, 1: 10})))
    assert bootstrap(both)[0] == bootstrap(both)[1] > 0
    half = allocate(bonded(devices, staked({}, {0: 5, 1: 10})))
    assert bootstrap(half)[1] == 2 * bootstrap(half)[0] or abs(bootstrap(half)[1] - 2 * bootstrap(half)[0]) <= 2
    assert sum(bootstrap(half)) + half.pools.get("bootstrap_unspent", 0) <= sum(bootstrap(both)) + TOKEN_BASE * 1000
    none = allocate(bonded(devices, {}))
    assert bootstrap(none) == [0, 0]


@given(st.integers(0, 100), st.integers(0, 10**8))
def test_sales_are_not_withheld(tokens: int, revenue: int) -> None:
    devices = [Device(owner=0, revenue=revenue)]
    asked = allocate(bonded(devices, staked({}, {0: tokens})))
    free = allocate(network(devices, policy=ROOMY))
    assert asked.statements["paid_base"].to_list() == free.statements["paid_base"].to_list()


def test_full_cover_changes_nothing() -> None:
    devices = [Device(owner=0), Device(owner=0, place=1), Device(owner=1, quality_ppm=400_000, verdict="partial")]
    free = allocate(network(devices, policy=ROOMY))
    full = allocate(bonded(devices, staked({"z000": 10}, {0: 10, 1: 10})))
    assert bootstrap(full) == bootstrap(free) and full.balances == free.balances


def test_the_linter_finds_no_gain_in_a_policy_that_asks_for_a_bond() -> None:
    """A bond is split like the work, so splitting pays nothing. Counted whole for each identity it would pay at once."""
    services = {"storage": ServicePolicy(bond_per_unit="10", cell_target_rate=2**30)}
    policy = Policy(network_id="test", services=services)
    rule = rule_of(policy, "storage")
    assert [
        one for one in lint(rule, take_ppm=policy.rewards.take_ppm // 2, populations=25) if one.severity == "error"
    ] == []
    free = rule_of(Policy(network_id="test", services={"storage": ServicePolicy(cell_target_rate=2**30)}), "storage")
    claims = [Claim(work=10**9)]
    assert 0 < rule(claims)[0] <= free(claims)[0] // 2 + 1  # half a bond, half the bootstrap

    def counted_whole(claims: Sequence[Claim]) -> list[int]:
        return [min(claim.work, 10**6) for claim in claims]

    assert "split" in {one.check for one in lint(counted_whole, populations=25)}
    assert "split" not in {one.check for one in lint(counted_whole, populations=25, unsplittable=True)}


def test_one_bond_for_two_operators_covers_one() -> None:
    """The owner has to be the device's operator: naming the same bond from a second address gives nothing."""
    devices = [Device(owner=0), Device(owner=1, place=1)]
    result = allocate(bonded(devices, staked({"z000": 10, "z001": 10}, {})))  # both staked by operator 0
    assert bootstrap(result)[0] > 0 and bootstrap(result)[1] == 0


def test_the_statement_says_what_is_covered() -> None:
    (row,) = allocate(bonded([Device()], staked({"z000": 4}))).statements.iter_rows(named=True)
    own = json.loads(row["factors"])["row"]
    assert row["factors"] == json.dumps(json.loads(row["factors"]), sort_keys=True, separators=(",", ":"))
    assert (own["bond_covered_base"], own["bond_needed_base"]) == (str(4 * TOKEN_BASE), str(10 * TOKEN_BASE))
    (line,) = [line for line in explain(row) if line.label == "bond covers"]
    assert (line.value, line.unit) == ("0.40 of 1.00", "site") and "bond add" in line.remedy
    assert int(own["work"]) == EPOCH_S * PPM * 4 // 10


@given(st.integers(0, 10**24), st.integers(0, 10**24), st.integers(0, 10**24))
def test_a_penalty_is_taken_from_the_device_first_and_never_exceeds_the_bonds(
    penalty: int, own: int, shared: int
) -> None:
    first, second = fractions(penalty, own, shared)
    taken = own * first // PPM + shared * second // PPM
    assert first <= PPM and second <= PPM
    assert taken >= min(penalty, own + shared)
    assert taken <= penalty + (own + shared) // PPM + 2
    assert second == 0 or own == 0 or first == PPM
