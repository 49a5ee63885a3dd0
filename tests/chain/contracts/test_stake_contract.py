"""Stake: bonds that cannot leave before a verdict and cannot be slashed without one."""

from __future__ import annotations

from typing import Any

import boa
from contract_world import (
    EXPIRED,
    REJECTED,
    UPHELD,
    ZERO,
    Contract,
    World,
    account,
    digest,
    quorum,
    refused_signatures,
    reverts,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OPERATOR, ACCUSER = account(1), account(2)
DEVICE, NO_DEVICE = b"\xde" * 32, bytes(32)
EVIDENCE = b"\xee" * 32


def bond(world: World, amount: int = 1_000, key: bytes = DEVICE) -> None:
    world.stake.stake(OPERATOR, key, amount, sender=world.founder)


def accuse(world: World, key: bytes = DEVICE) -> int:
    return int(world.stake.open_case(OPERATOR, key, EVIDENCE, sender=world.founder))


def resolve(world: World, case: int, fraction_ppm: int, upheld: bool, key: bytes = DEVICE) -> None:
    message = digest.slash_digest(
        world.chain_id, world.stake.address, case, OPERATOR, key, EVIDENCE, fraction_ppm, upheld, 1
    )
    world.stake.resolve_case(case, fraction_ppm, upheld, quorum(world.signers[:2], message))


def test_unbonding_outlasts_dispute_window_and_activation_delay(world: World) -> None:
    exposure = world.delay_s + world.dispute_s
    for change, reason in (
        ({"unbonding_delay": exposure}, "unbonding shorter than the dispute window"),
        ({"unbonding_delay": exposure + 1, "case_period": exposure + 1}, "unbonding shorter than a case"),
        ({"case_period": 0}, "unbonding shorter than a case"),
        ({"case_bond": 0}, "zero case bond"),
        ({"treasury": ZERO}, "zero address"),
    ):
        with reverts(reason):
            Contract("Stake", *world.stake_arguments(**change))
    Contract("Stake", *world.stake_arguments(unbonding_delay=exposure + 1))


def test_stake_unbond_withdraw(world: World) -> None:
    bond(world)
    with reverts("stake too low"):
        world.stake.request_unbond(DEVICE, 1_001, sender=OPERATOR)
    with reverts("stake too low"):
        world.stake.request_unbond(DEVICE, 1, sender=world.founder)
    with reverts("nothing unbonding"):
        world.stake.withdraw(DEVICE, sender=OPERATOR)
    world.stake.request_unbond(DEVICE, 400, sender=OPERATOR)
    world.pass_time(world.unbonding_s - 1)
    with reverts("still unbonding"):
        world.stake.withdraw(DEVICE, sender=OPERATOR)
    world.pass_time(1)
    assert world.stake.withdraw(DEVICE, sender=OPERATOR) == 400
    assert world.token.balanceOf(OPERATOR) == 400
    assert world.stake.bonds(OPERATOR, DEVICE)[:2] == (600, 0)
    with reverts("nothing unbonding"):
        world.stake.withdraw(DEVICE, sender=OPERATOR)


def test_second_request_restarts_the_delay(world: World) -> None:
    bond(world)
    world.stake.request_unbond(DEVICE, 400, sender=OPERATOR)
    world.pass_time(world.unbonding_s - 1)
    world.stake.request_unbond(DEVICE, 1, sender=OPERATOR)
    world.pass_time(1)
    with reverts("still unbonding"):
        world.stake.withdraw(DEVICE, sender=OPERATOR)


def test_nobody_can_occupy_anothers_device(world: World) -> None:
    """Keys are per owner: a stranger who bonds the same device hash has a bond of its own."""
    world.token.transfer(ACCUSER, 5, sender=world.founder)
    world.token.approve(world.stake.address, 5, sender=ACCUSER)
    world.stake.stake(ACCUSER, DEVICE, 5, sender=ACCUSER)
    bond(world)
    assert (world.stake.bonded(ACCUSER, DEVICE), world.stake.bonded(OPERATOR, DEVICE)) == (5, 1_000)


def test_slash_takes_the_same_part_of_unbonding_stake(world: World) -> None:
    bond(world)
    world.stake.request_unbond(DEVICE, 400, sender=OPERATOR)
    case = accuse(world)
    before = world.token.balanceOf(world.founder)
    resolve(world, case, 250_000, True)
    assert world.stake.bonds(OPERATOR, DEVICE)[:2] == (450, 300)
    assert world.token.balanceOf(world.treasury) == 250
    assert world.token.balanceOf(world.founder) == before + world.case_bond
    assert world.stake.cases(case)[5] == UPHELD


def test_open_case_freezes_withdrawal_even_when_unbonded(world: World) -> None:
    bond(world)
    world.stake.request_unbond(DEVICE, 1_000, sender=OPERATOR)
    world.pass_time(world.unbonding_s)
    first, second = accuse(world), accuse(world)
    with reverts("a case is open"):
        world.stake.withdraw(DEVICE, sender=OPERATOR)
    resolve(world, first, 0, False)
    with reverts("a case is open"):
        world.stake.withdraw(DEVICE, sender=OPERATOR)
    resolve(world, second, 1_000_000, True)
    with reverts("nothing unbonding"):
        world.stake.withdraw(DEVICE, sender=OPERATOR)
    assert world.token.balanceOf(world.treasury) == world.case_bond + 1_000


def test_rejected_case_costs_the_accuser(world: World) -> None:
    bond(world)
    before = world.token.balanceOf(world.founder)
    case = accuse(world)
    resolve(world, case, 1_000_000, False)
    assert world.token.balanceOf(world.founder) == before - world.case_bond
    assert (world.stake.bonded(OPERATOR, DEVICE), world.stake.cases(case)[5]) == (1_000, REJECTED)


def test_undecided_case_lapses(world: World) -> None:
    bond(world)
    before = world.token.balanceOf(world.founder)
    case = accuse(world)
    world.pass_time(world.case_s)
    with reverts("deadline has not passed"):
        world.stake.expire_case(case)
    world.pass_time(1)
    with reverts("deadline has passed"):
        resolve(world, case, 1_000_000, True)
    world.stake.expire_case(case)
    assert (world.token.balanceOf(world.founder), world.stake.cases(case)[5]) == (before, EXPIRED)
    assert world.stake.bonds(OPERATOR, DEVICE)[3] == 0
    for call in (lambda: world.stake.expire_case(case), lambda: resolve(world, case, 1, True)):
        with reverts("case is not open"):
            call()


def test_slash_signatures_bind_every_field(world: World) -> None:
    bond(world)
    case = accuse(world)
    fields = [world.chain_id, world.stake.address, case, OPERATOR, DEVICE, EVIDENCE, 500_000, True, 1]
    others = [5, ACCUSER, 2, ACCUSER, NO_DEVICE, DEVICE, 500_001, False, 2]
    for place, value in enumerate(others):
        changed = list(fields)
        changed[place] = value
        signatures = quorum(world.signers[:2], digest.slash_digest(*changed))
        with refused_signatures():
            world.stake.resolve_case(case, 500_000, True, signatures)
    signatures = quorum(world.signers[:2], digest.slash_digest(*fields))
    world.stake.resolve_case(case, 500_000, True, signatures)
    with reverts("case is not open"):
        world.stake.resolve_case(case, 500_000, True, signatures)


def test_case_is_refused(world: World) -> None:
    with reverts("nothing is bonded"):
        accuse(world)
    bond(world)
    with reverts("empty evidence hash"):
        world.stake.open_case(OPERATOR, DEVICE, bytes(32), sender=world.founder)
    with reverts("allowance too low"):
        world.stake.open_case(OPERATOR, DEVICE, EVIDENCE, sender=ACCUSER)
    with reverts("fraction out of range"):
        resolve(world, accuse(world), 1_000_001, True)
    with reverts("zero amount"):
        bond(world, 0)
    with reverts("zero owner"):
        world.stake.stake(ZERO, DEVICE, 1, sender=world.founder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["stake", "unbond", "withdraw", "accuse", "lapse", "slash"]), st.integers(1, 10**6)),
        max_size=12,
    )
)
def test_contract_holds_exactly_what_it_owes(world: World, steps: list[tuple[str, int]]) -> None:
    """Invariant: token balance = Σ staked + Σ unbonding + Σ bonds of open cases."""
    with boa.env.anchor():
        held, open_cases = 0, []
        for step, amount in steps:
            bonded = world.stake.bonded(OPERATOR, NO_DEVICE)
            staked, unbonding, ready_at, _ = world.stake.bonds(OPERATOR, NO_DEVICE)
            if step == "stake":
                bond(world, amount, NO_DEVICE)
                held += amount
            elif step == "unbond" and staked >= amount:
                world.stake.request_unbond(NO_DEVICE, amount, sender=OPERATOR)
            elif step == "withdraw" and unbonding and not open_cases:
                boa.env.timestamp = max(boa.env.timestamp, ready_at)
                held -= world.stake.withdraw(NO_DEVICE, sender=OPERATOR)
            elif step == "accuse" and bonded:
                open_cases.append(accuse(world, NO_DEVICE))
                held += world.case_bond
            elif step == "lapse" and open_cases:
                world.pass_time(world.case_s + 1)
                for case in open_cases:
                    world.stake.expire_case(case)
                    held -= world.case_bond
                open_cases = []
            elif step == "slash" and open_cases:
                before = world.token.balanceOf(world.treasury)
                resolve(world, open_cases.pop(), amount, True, NO_DEVICE)
                taken = world.token.balanceOf(world.treasury) - before
                assert taken <= bonded * amount // 1_000_000
                held -= world.case_bond + taken
            assert world.token.balanceOf(world.stake.address) == held
            assert world.stake.total_bonded() == held - len(open_cases) * world.case_bond


def test_rotated_signers_decide_cases_too(world: World) -> None:
    """Stake has no signer set of its own: it asks Rewards, so a rotation reaches it at once."""
    bond(world)
    case = accuse(world)
    addresses = [signer.address for signer in world.signers]
    message = digest.rotation_digest(world.chain_id, world.rewards.address, addresses, 2, 1)
    world.rewards.rotate_signers(addresses, 2, quorum(world.signers[:2], message))
    with refused_signatures():
        resolve(world, case, 1, True)


def test_constructor_reads_the_periods_from_rewards(world: World) -> None:
    settings_read: Any = (world.rewards.activation_delay(), world.rewards.dispute_period())
    assert settings_read == (world.delay_s, world.dispute_s)
