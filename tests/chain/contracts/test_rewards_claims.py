"""Claiming: what is paid, to whom, once, from which root, and how much per window."""

from __future__ import annotations

import boa
import pytest
from contract_world import TOKEN, ZERO, Tree, World, account, digest, reverts
from eth_abi import encode

A, B, C = account(1), account(2), account(3)


def test_claim_pays_the_difference_to_the_earlier_claim(world: World) -> None:
    first = world.post_tree([(A, 30), (B, 70)], active=True)
    assert world.claim(first, 0) == 30
    assert world.rewards.logs == [("Claimed", {"account": A, "recipient": A, "amount": 30})]
    second = world.post_tree([(A, 45), (B, 70), (C, 5)], active=True)
    assert world.claim(second, 0) == 15
    assert [world.token.balanceOf(who) for who in (A, B, C)] == [45, 0, 0]
    assert (world.rewards.claimed(A), world.rewards.claimed_total()) == (45, 45)
    assert world.token.totalSupply() == world.genesis + 45


def test_claim_twice(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70)], active=True)
    world.claim(tree, 0)
    with reverts("nothing to claim"):
        world.claim(tree, 0)


def test_lowered_leaf_is_a_named_error(world: World) -> None:
    world.claim(world.post_tree([(A, 30)], active=True), 0)
    lower = world.post_tree([(A, 29)], total=30, active=True)
    with reverts("cumulative below claimed"):
        world.claim(lower, 0)


def test_no_claim_before_the_first_activation(world: World) -> None:
    tree = world.post_tree([(A, 30)])
    with reverts("no active root"):
        world.claim(tree, 0)
    with reverts("bad proof"):
        world.rewards.claim(A, 30, [], bytes(32))


def test_claim_racing_a_root_update(world: World) -> None:
    """A proof for the old root gets a named error once the new root pays, and the new root pays nothing earlier."""
    old = world.post_tree([(A, 30)], active=True)
    new = world.post_tree([(A, 50)])
    with reverts("root was updated"):
        world.claim(new, 0)
    assert world.claim(old, 0) == 30
    world.pass_time(world.delay_s)
    with reverts("root was updated"):
        world.claim(old, 0)
    assert world.claim(new, 0) == 20


def test_wrong_amount_account_or_proof(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70), (C, 90)], active=True)
    for wrong_account, amount, proof in (
        (A, 31, tree.proof(0)),
        (B, 30, tree.proof(0)),
        (A, 30, tree.proof(1)),
        (A, 30, tree.proof(0)[:-1]),
        (A, 30, []),
    ):
        with reverts("bad proof"):
            world.rewards.claim(wrong_account, amount, proof, tree.root)


def test_inner_node_is_not_a_leaf(world: World) -> None:
    """Second preimage: the 64 bytes of an inner node, read as (address, amount), do not prove."""
    tree = world.post_tree([(A, 30), (B, 70), (C, 90)], active=True)
    left, right = tree._nodes[1], tree._nodes[2]
    forged = "0x" + left[12:].hex()
    with reverts("bad proof"):
        world.rewards.claim(forged, int.from_bytes(right, "big"), [], tree.root)
    assert encode(["address", "uint256"], [A, 30]) != left + right


def test_claims_never_exceed_the_declared_total(world: World) -> None:
    """A bad root may hold leaves that add up to more than it declares; the contract pays the declaration at most."""
    tree = world.post_tree([(A, 30), (B, 70)], total=60, active=True)
    world.claim(tree, 0)
    with reverts("claims exceed the total"):
        world.claim(tree, 1)
    with reverts("claims exceed the total"):
        world.rewards.claim_many([B], [70], [tree.proof(1)], tree.root)
    assert world.rewards.claimed_total() == 30


@pytest.mark.parametrize("amount", [2**96, 2**128, 2**255, 2**256 - 1])
def test_huge_leaf_does_not_reach_the_recipient_bits(world: World, amount: int) -> None:
    tree = world.post_tree([(A, amount)], total=5, active=True)
    with reverts("claims exceed the total"):
        world.claim(tree, 0)
    with reverts("claims exceed the total" if amount else ""):
        world.rewards.claim_many([A], [amount], [[]], tree.root)
    assert world.rewards.recipient_of(A) == A


def test_zero_address_leaf_is_not_paid(world: World) -> None:
    tree = world.post_tree([(ZERO, 5)], active=True)
    with reverts("zero receiver"):
        world.claim(tree, 0)


# ---- window ----------------------------------------------------------------------------------------------------------


def test_window_cap_pays_in_parts_and_locks_nothing_up(world: World) -> None:
    cap = world.window_cap
    world.post(b"\x01" * 32, world.epoch_cap)
    tree = world.post_tree([(A, 2 * cap // 2 + 100 * TOKEN), (B, 7)], total=2 * world.epoch_cap, active=True)
    boa.env.timestamp = (boa.env.timestamp // world.window_s + 1) * world.window_s
    assert world.rewards.window_room() == cap
    assert world.claim(tree, 0) == cap
    assert world.rewards.window_room() == 0
    for index in (0, 1):
        with reverts("window cap"):
            world.claim(tree, index)
    world.pass_time(world.window_s - 1)
    with reverts("window cap"):
        world.claim(tree, 0)
    world.pass_time(1)
    assert world.claim(tree, 0) == 100 * TOKEN
    assert world.claim(tree, 1) == 7
    assert world.rewards.claimed_total() == cap + 100 * TOKEN + 7


# ---- many ------------------------------------------------------------------------------------------------------------


def test_claim_many_pays_each_account(world: World) -> None:
    leaves = [(account(i), 10 + i) for i in range(7)]
    tree = world.post_tree(leaves, active=True)
    accounts, amounts = [list(column) for column in zip(*leaves, strict=True)]
    proofs = [tree.proof(i) for i in range(7)]
    assert world.rewards.claim_many(accounts, amounts, proofs, tree.root) == sum(amounts)
    assert [world.token.balanceOf(who) for who in accounts] == amounts
    assert world.rewards.claimed_total() == sum(amounts)
    with reverts("nothing to claim"):
        world.rewards.claim_many(accounts, amounts, proofs, tree.root)


def test_nobody_can_spoil_a_batch_by_claiming_one_of_it_first(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70)], active=True)
    world.claim(tree, 0)
    assert world.rewards.claim_many([A, B], [30, 70], [tree.proof(0), tree.proof(1)], tree.root) == 70


def test_an_account_twice_in_a_batch_is_paid_once(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70)], active=True)
    assert world.rewards.claim_many([A, A], [30, 30], [tree.proof(0)] * 2, tree.root) == 30


def test_batch_stops_where_the_window_is_full(world: World) -> None:
    cap = world.window_cap
    world.post(b"\x01" * 32, world.epoch_cap)
    tree = world.post_tree([(A, cap - 10), (B, 30)], total=2 * world.epoch_cap, active=True)
    proofs = [tree.proof(0), tree.proof(1)]
    assert world.rewards.claim_many([A, B], [cap - 10, 30], proofs, tree.root) == cap
    assert (world.rewards.claimed(A), world.rewards.claimed(B), world.rewards.window_room()) == (cap - 10, 10, 0)


def test_batch_refuses_a_bad_proof_lengths_and_stale_root(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70)], active=True)
    with reverts("bad proof"):
        world.rewards.claim_many([A, B], [30, 71], [tree.proof(0), tree.proof(1)], tree.root)
    with reverts("lengths differ"):
        world.rewards.claim_many([A, B], [30], [tree.proof(0), tree.proof(1)], tree.root)
    with reverts("lengths differ"):
        world.rewards.claim_many([A, B], [30, 70], [tree.proof(0)], tree.root)
    with reverts("root was updated"):
        world.rewards.claim_many([A], [30], [tree.proof(0)], b"\x01" * 32)


# ---- recipients ------------------------------------------------------------------------------------------------------


def test_recipient_takes_effect_after_the_delay(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70)], active=True)
    world.rewards.request_recipient(C, sender=A)
    world.pass_time(world.redirect_s - 1)
    with reverts("delay has not passed"):
        world.rewards.confirm_recipient(A)
    world.claim(tree, 0)
    assert world.token.balanceOf(A) == 30, "the owner still gets what was earned before"
    world.pass_time(1)
    world.rewards.confirm_recipient(A)
    assert (world.rewards.recipient_of(A), world.rewards.claimed(A)) == (C, 30)
    newer = world.post_tree([(A, 40), (B, 70)], active=True)
    world.claim(newer, 0)
    assert (world.token.balanceOf(A), world.token.balanceOf(C), world.rewards.claimed(A)) == (30, 10, 40)


def test_recipient_needs_its_own_account(world: World) -> None:
    world.rewards.request_recipient(C, sender=B)
    world.pass_time(world.redirect_s)
    with reverts("no request"):
        world.rewards.confirm_recipient(A)
    world.rewards.confirm_recipient(B)
    with reverts("no request"):
        world.rewards.confirm_recipient(B)


def test_a_new_request_restarts_the_delay_and_zero_returns_to_the_account(world: World) -> None:
    world.rewards.request_recipient(C, sender=A)
    world.pass_time(world.redirect_s)
    world.rewards.request_recipient(ZERO, sender=A)
    with reverts("delay has not passed"):
        world.rewards.confirm_recipient(A)
    world.pass_time(world.redirect_s)
    world.rewards.confirm_recipient(A)
    assert world.rewards.recipient_of(A) == A


# ---- golden root -----------------------------------------------------------------------------------------------------


def test_golden_openzeppelin_root_pays(world: World) -> None:
    """The public vector of 10,000 leaves (integer address i + 1, amount (i + 1) · 10^15), as OpenZeppelin builds it."""
    leaves = [("0x" + (i + 1).to_bytes(20, "big").hex(), (i + 1) * 10**15) for i in range(10_000)]
    tree = Tree(leaves)
    assert tree.root.hex() == "7fd2dddedb1d33da2990a5e4dee9cd93cda75bd2d759756239521e598c9e2574"
    world.post(tree.root, world.epoch_cap)
    world.pass_time(world.delay_s)
    for index in (0, 1, 4_999, 9_999):
        assert len(tree.proof(index)) in (13, 14)
        assert world.claim(tree, index) == (index + 1) * 10**15
    assert digest.leaves_data_hash(dict(leaves[:2])) != digest.leaves_data_hash(dict(leaves[:3]))
