"""Disputes, self-proving faults and the guardian's veto: who can stop a root, at what price, and for how long."""

from __future__ import annotations

from contract_world import (
    ACTIVE,
    CANCELLED,
    DISPUTED,
    EXPIRED,
    OPEN,
    PENDING,
    REJECTED,
    SUPERSEDED,
    UPHELD,
    VOID,
    Tree,
    World,
    account,
    digest,
    quorum,
    refused_signatures,
    reverts,
)

A, B, C = account(1), account(2), account(3)
EVIDENCE = b"\xe1" * 32


def outcome(world: World, dispute: int) -> int:
    return int(world.rewards.disputes(dispute)[4])


def test_while_disputed_the_last_good_root_pays(world: World) -> None:
    good = world.post_tree([(A, 30)], active=True)
    bad = world.post_tree([(A, 900)])
    before = world.token.balanceOf(world.founder)
    dispute = world.open_dispute(2)
    assert world.token.balanceOf(world.founder) == before - world.bond
    world.pass_time(world.dispute_s)
    assert (world.status(1), world.status(2), outcome(world, dispute)) == (ACTIVE, DISPUTED, OPEN)
    with reverts("root was updated"):
        world.claim(bad, 0)
    assert world.claim(good, 0) == 30


def test_upheld_cancels_and_returns_the_bond(world: World) -> None:
    world.post_tree([(A, 30)])
    before = world.token.balanceOf(world.founder)
    dispute = world.open_dispute(1)
    world.resolve(dispute, True)
    assert (world.status(1), outcome(world, dispute)) == (CANCELLED, UPHELD)
    assert world.token.balanceOf(world.founder) == before
    assert (world.rewards.live_epoch(), world.rewards.attempt()) == (0, 1)
    world.pass_time(10 * world.delay_s)
    assert world.rewards.active_epoch() == 0, "a cancelled record never becomes active"


def test_rejected_forfeits_the_bond_and_restarts_the_delay(world: World) -> None:
    tree = world.post_tree([(A, 30)])
    dispute = world.open_dispute(1)
    world.pass_time(world.dispute_s)
    world.resolve(dispute, False)
    assert (world.status(1), outcome(world, dispute)) == (PENDING, REJECTED)
    assert world.token.balanceOf(world.treasury) == world.bond
    world.pass_time(world.delay_s - 1)
    assert world.status(1) == PENDING
    world.pass_time(1)
    assert world.claim(tree, 0) == 30


def test_unresolved_dispute_cancels_after_its_deadline_and_returns_the_bond(world: World) -> None:
    world.post_tree([(A, 30)])
    before = world.token.balanceOf(world.founder)
    dispute = world.open_dispute(1)
    world.pass_time(world.dispute_s)
    with reverts("deadline has not passed"):
        world.rewards.expire_dispute(dispute)
    world.pass_time(1)
    with reverts("deadline has passed"):
        world.resolve(dispute, False)
    world.rewards.expire_dispute(dispute)
    assert (world.status(1), outcome(world, dispute)) == (CANCELLED, EXPIRED)
    assert world.token.balanceOf(world.founder) == before
    with reverts("dispute is not open"):
        world.rewards.expire_dispute(dispute)


def test_griefing_gets_dearer_each_time(world: World) -> None:
    """Every rejected dispute doubles the bond of the next one on the same record, up to sixteen-fold."""
    world.post_tree([(A, 30)])
    paid = []
    for _ in range(6):
        before = world.token.balanceOf(world.founder)
        dispute = world.open_dispute(1)
        paid.append((before - world.token.balanceOf(world.founder)) // world.bond)
        world.resolve(dispute, False)
    assert paid == [1, 2, 4, 8, 16, 16]
    assert world.token.balanceOf(world.treasury) == sum(paid) * world.bond
    assert world.token.balanceOf(world.rewards.address) == 0


def test_dispute_needs_the_bond_and_a_pending_record(world: World) -> None:
    tree = world.post_tree([(A, 30)])
    with reverts("allowance too low"):
        world.rewards.open_dispute(1, tree.root, 1, EVIDENCE, sender=B)
    world.token.approve(world.rewards.address, 2**256 - 1, sender=B)
    with reverts("balance too low"):
        world.rewards.open_dispute(1, tree.root, 1, EVIDENCE, sender=B)
    with reverts("record has another root"):
        world.rewards.open_dispute(1, b"\x01" * 32, 1, EVIDENCE, sender=world.founder)
    for epoch in (0, 2, 33):
        with reverts("record is not pending"):
            world.rewards.open_dispute(epoch, tree.root, 1, EVIDENCE, sender=world.founder)
    world.open_dispute(1)
    with reverts("already disputed"):
        world.open_dispute(1)


def test_dispute_comes_too_late_at_activation(world: World) -> None:
    world.post_tree([(A, 30)], active=True)
    with reverts("record is not pending"):
        world.open_dispute(1)


def test_dispute_in_the_last_second(world: World) -> None:
    world.post_tree([(A, 30)])
    world.pass_time(world.delay_s - 1)
    world.open_dispute(1)
    world.pass_time(1)
    assert world.status(1) == DISPUTED


def test_resolution_signatures_name_dispute_and_verdict(world: World) -> None:
    world.post_tree([(A, 30)])
    dispute = world.open_dispute(1)
    record = world.rewards.record(1)
    fields = [world.chain_id, world.rewards.address, dispute, 1, record[1], record[2], False, 1]
    for place, value in ((0, 5), (1, B), (2, 2), (3, 2), (4, EVIDENCE), (5, EVIDENCE), (6, True), (7, 2)):
        changed = list(fields)
        changed[place] = value
        signatures = quorum(world.signers[:2], digest.resolution_digest(*changed))
        with refused_signatures():
            world.rewards.resolve_dispute(dispute, False, signatures)
    signatures = quorum(world.signers[:2], digest.resolution_digest(*fields))
    world.rewards.resolve_dispute(dispute, False, signatures)
    with reverts("dispute is not open"):
        world.rewards.resolve_dispute(dispute, False, signatures)
    second = world.open_dispute(1)
    with refused_signatures():
        world.rewards.resolve_dispute(second, False, signatures)


def test_unknown_dispute(world: World) -> None:
    with reverts("dispute is not open"):
        world.rewards.resolve_dispute(7, True, b"")
    with reverts("dispute is not open"):
        world.rewards.expire_dispute(0)


# ---- several pending records -----------------------------------------------------------------------------------------


def test_cancelling_cancels_everything_built_on_it_and_returns_those_bonds(world: World) -> None:
    world.post_tree([(A, 10)], active=True)
    for epoch in (2, 3, 4):
        world.post_tree([(A, 10 * epoch)])
    before = world.token.balanceOf(world.founder)
    on_four, on_two = world.open_dispute(4), world.open_dispute(2)
    world.resolve(on_two, True)
    assert [world.status(epoch) for epoch in (1, 2, 3, 4)] == [ACTIVE, CANCELLED, CANCELLED, CANCELLED]
    assert (outcome(world, on_two), outcome(world, on_four)) == (UPHELD, VOID)
    assert world.token.balanceOf(world.founder) == before
    with reverts("dispute is not open"):
        world.resolve(on_four, False)
    assert world.rewards.live_epoch() == 1
    tree = world.post_tree([(A, 15)], active=True)
    assert world.status(2) == ACTIVE
    assert world.claim(tree, 0) == 15


def test_a_later_record_waits_for_a_disputed_one(world: World) -> None:
    world.post_tree([(A, 10)])
    later = world.post_tree([(A, 20)])
    dispute = world.open_dispute(1)
    world.pass_time(world.delay_s)
    assert (world.status(2), world.rewards.active_epoch()) == (PENDING, 0)
    world.resolve(dispute, False)
    world.pass_time(world.delay_s - 1)
    assert world.rewards.active_epoch() == 0
    second = world.open_dispute(2)
    world.pass_time(1)
    assert (world.status(1), world.status(2)) == (ACTIVE, DISPUTED), "it could still be disputed while it waited"
    world.resolve(second, False)
    world.pass_time(world.delay_s)
    assert (world.status(1), world.status(2)) == (SUPERSEDED, ACTIVE)
    assert world.claim(later, 0) == 20


def test_a_shield_dispute_on_a_later_record_does_not_protect_the_bad_one(world: World) -> None:
    """A colluding poster cannot occupy the dispute slot: each record has its own."""
    world.post_tree([(A, 900)])
    world.post_tree([(A, 901)])
    world.open_dispute(2)
    world.resolve(world.open_dispute(1), True)
    assert (world.status(1), world.status(2)) == (CANCELLED, CANCELLED)
    assert world.token.balanceOf(world.rewards.address) == 0


# ---- guardian --------------------------------------------------------------------------------------------------------


def test_guardian_vetoes_pending_only(world: World) -> None:
    tree = world.post_tree([(A, 30)])
    with reverts("only the guardian"):
        world.rewards.veto(1, tree.root, sender=world.founder)
    with reverts("record has another root"):
        world.rewards.veto(1, b"\x01" * 32, sender=world.guardian)
    dispute = world.open_dispute(1)
    with reverts("record is not pending"):
        world.rewards.veto(1, tree.root, sender=world.guardian)
    world.resolve(dispute, False)
    world.pass_time(world.delay_s)
    with reverts("record is not pending"):
        world.rewards.veto(1, tree.root, sender=world.guardian)
    second = world.post_tree([(A, 31)])
    world.rewards.veto(2, second.root, sender=world.guardian)
    assert world.rewards.logs == [
        ("RecordsCancelled", {"first_epoch": 2, "last_epoch": 2, "cause": 1, "next_attempt": 1})
    ]
    assert (world.status(1), world.status(2)) == (ACTIVE, CANCELLED)


def test_guardian_can_write_nothing(world: World) -> None:
    """A guardian who could write roots would be an owner key in disguise."""
    with reverts("too few signatures"):
        world.rewards.post(1, b"\x01" * 32, b"\x02" * 32, 5, b"", sender=world.guardian)
    with reverts("only the minter"):
        world.token.mint(world.guardian, 1, sender=world.guardian)


def test_guardian_hands_over_or_resigns(world: World) -> None:
    with reverts("only the guardian"):
        world.rewards.set_guardian(B, sender=B)
    world.rewards.set_guardian(B, sender=world.guardian)
    world.rewards.set_guardian("0x" + "00" * 20, sender=B)
    tree = world.post_tree([(A, 30)])
    for who in (B, world.guardian):
        with reverts("only the guardian"):
            world.rewards.veto(1, tree.root, sender=who)


# ---- self-proving faults ---------------------------------------------------------------------------------------------


def test_decrease_is_proven_by_two_leaves(world: World) -> None:
    old = world.post_tree([(A, 30), (B, 70)], active=True)
    new = world.post_tree([(A, 29), (B, 90)])
    world.rewards.prove_decrease(2, new.root, 1, A, 30, old.proof(0), 29, new.proof(0), sender=C)
    assert (world.status(1), world.status(2)) == (ACTIVE, CANCELLED)


def test_decrease_between_pending_records(world: World) -> None:
    world.post_tree([(A, 10), (B, 10)], active=True)
    base = world.post_tree([(A, 30), (B, 70)])
    new = world.post_tree([(A, 29), (B, 90)])
    world.rewards.prove_decrease(3, new.root, 2, A, 30, base.proof(0), 29, new.proof(0))
    assert (world.status(2), world.status(3)) == (PENDING, CANCELLED)


def test_an_increase_proves_nothing(world: World) -> None:
    old = world.post_tree([(A, 30), (B, 70)], active=True)
    new = world.post_tree([(A, 30), (B, 90)])
    arguments = (2, new.root, 1)
    with reverts("not a decrease"):
        world.rewards.prove_decrease(*arguments, A, 30, old.proof(0), 30, new.proof(0))
    with reverts("not a decrease"):
        world.rewards.prove_decrease(*arguments, B, 70, old.proof(1), 90, new.proof(1))
    with reverts("bad proof"):
        world.rewards.prove_decrease(*arguments, A, 31, old.proof(0), 30, new.proof(0))
    with reverts("bad proof"):
        world.rewards.prove_decrease(*arguments, A, 30, old.proof(0), 29, new.proof(0))


def test_decrease_needs_a_base_that_still_counts(world: World) -> None:
    """A superseded or cancelled root is no evidence, nor is the record itself or a later one."""
    first = world.post_tree([(A, 50)], active=True)
    world.post_tree([(A, 60)], active=True)
    third = world.post_tree([(A, 49)], total=70)
    for base in (0, 1, 3, 4):
        with reverts("bad base epoch"):
            world.rewards.prove_decrease(3, third.root, base, A, 50, first.proof(0), 49, third.proof(0))


def test_duplicate_leaf(world: World) -> None:
    tree = world.post_tree([(A, 30), (A, 31), (B, 5)])
    with reverts("not a duplicate"):
        world.rewards.prove_duplicate(1, tree.root, A, 30, tree.proof(0), 30, tree.proof(0))
    with reverts("bad proof"):
        world.rewards.prove_duplicate(1, tree.root, A, 30, tree.proof(0), 5, tree.proof(2))
    world.rewards.prove_duplicate(1, tree.root, A, 30, tree.proof(0), 31, tree.proof(1))
    assert world.status(1) == CANCELLED


def test_leaf_over_the_total(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70)], total=69)
    with reverts("not over total"):
        world.rewards.prove_over_total(1, tree.root, A, 30, tree.proof(0))
    with reverts("bad proof"):
        world.rewards.prove_over_total(1, tree.root, B, 71, tree.proof(1))
    world.rewards.prove_over_total(1, tree.root, B, 70, tree.proof(1))
    assert world.status(1) == CANCELLED


def test_fault_proof_ends_an_open_dispute_in_the_disputers_favour(world: World) -> None:
    tree = world.post_tree([(A, 30), (B, 70)], total=69)
    before = world.token.balanceOf(world.founder)
    dispute = world.open_dispute(1)
    world.rewards.prove_over_total(1, tree.root, B, 70, tree.proof(1))
    assert outcome(world, dispute) == UPHELD
    assert world.token.balanceOf(world.founder) == before


def test_faults_of_an_active_record_cancel_nothing(world: World) -> None:
    tree = world.post_tree([(A, 30), (A, 31)], total=29, active=True)
    with reverts("record is not pending"):
        world.rewards.prove_over_total(1, tree.root, A, 30, tree.proof(0))
    with reverts("record is not pending"):
        world.rewards.prove_duplicate(1, tree.root, A, 30, tree.proof(0), 31, tree.proof(1))


def test_slots_of_cancelled_records_are_no_evidence_after_a_repost(world: World) -> None:
    old = world.post_tree([(A, 900)])
    world.rewards.veto(1, old.root, sender=world.guardian)
    fixed: Tree = world.post_tree([(A, 30)])
    with reverts("record has another root"):
        world.rewards.prove_over_total(1, old.root, A, 901, [])
    with reverts("record has another root"):
        world.rewards.veto(1, old.root, sender=world.guardian)
    assert world.rewards.record(1)[1] == fixed.root
