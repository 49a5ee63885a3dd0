"""The token: supply rules, ERC-20 behaviour and EIP-2612 permits."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from contract_world import CURVE_ORDER, ZERO, Contract, Signer, World, account, digest, reverts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

A, B, C = account(1), account(2), account(3)
INFINITE = 2**256 - 1


def test_only_rewards_mints(world: World) -> None:
    for who in (world.founder, world.guardian, world.treasury, world.credits.address):
        with reverts("only the minter"):
            world.token.mint(who, 1, sender=who)
    assert world.token.minter() == world.rewards.address.lower()


def test_minter_is_bound_by_the_max_supply(world: World) -> None:
    room = world.max_supply - world.genesis
    with reverts("max supply"):
        world.token.mint(A, room + 1, sender=world.rewards.address)
    world.token.mint(A, room, sender=world.rewards.address)
    assert world.token.totalSupply() == world.max_supply


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("T", "T", ZERO, A, 1, 2), "zero minter"),
        (("T", "T", B, A, 3, 2), "genesis above max supply"),
        (("T", "T", B, A, 1, 2**96), "max supply too large"),
        (("T", "T", B, ZERO, 1, 2), "zero holder"),
    ],
)
def test_deployment_refuses(world: World, arguments: tuple[Any, ...], reason: str) -> None:
    with reverts(reason):
        Contract("Token", *arguments)


def test_transfer_and_its_limits(world: World) -> None:
    token = world.token
    assert token.transfer(A, 10, sender=world.founder) is True
    assert token.logs == [("Transfer", {"sender": world.founder.lower(), "receiver": A, "amount": 10})]
    with reverts("balance too low"):
        token.transfer(B, 11, sender=A)
    with reverts("zero receiver"):
        token.transfer(ZERO, 1, sender=A)
    token.transfer(A, 10, sender=A)
    assert token.balanceOf(A) == 10, "sending to oneself changes nothing"
    assert token.transfer(B, 0, sender=C) is True


def test_allowance(world: World) -> None:
    token = world.token
    token.approve(A, 10, sender=world.founder)
    with reverts("allowance too low"):
        token.transferFrom(world.founder, B, 11, sender=A)
    token.transferFrom(world.founder, B, 4, sender=A)
    assert token.allowance(world.founder, A) == 6
    token.burnFrom(world.founder, 6, sender=A)
    with reverts("allowance too low"):
        token.burnFrom(world.founder, 1, sender=A)
    token.approve(A, INFINITE, sender=world.founder)
    token.transferFrom(world.founder, B, 4, sender=A)
    assert token.allowance(world.founder, A) == INFINITE
    with reverts("zero spender"):
        token.approve(ZERO, 1, sender=A)


def test_burn_lowers_the_supply(world: World) -> None:
    world.token.transfer(A, 10, sender=world.founder)
    world.token.burn(4, sender=A)
    assert (world.token.balanceOf(A), world.token.totalSupply()) == (6, world.genesis - 4)
    with reverts("balance too low"):
        world.token.burn(7, sender=A)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 400)), max_size=12))
def test_balances_always_add_up_to_the_supply(world: World, moves: list[tuple[int, int, int]]) -> None:
    """Invariant: Σ balances = total supply, and nobody's balance moves without being part of the transfer."""
    people = [account(i) for i in range(4)]
    with boa.env.anchor():
        model = {who: 300 for who in people}
        for who in people:
            world.token.transfer(who, 300, sender=world.founder)
        for source, target, amount in moves:
            if amount > model[people[source]]:
                with reverts("balance too low"):
                    world.token.transfer(people[target], amount, sender=people[source])
                continue
            world.token.transfer(people[target], amount, sender=people[source])
            model[people[source]] -= amount
            model[people[target]] += amount
        assert {who: world.token.balanceOf(who) for who in people} == model
        assert world.token.balanceOf(world.founder) + sum(model.values()) == world.token.totalSupply()


# ---- permit ----------------------------------------------------------------------------------------------------------


def permit_fields(world: World, signer: Signer, **changes: Any) -> dict[str, Any]:
    return {
        "chain_id": world.chain_id,
        "contract": world.token.address,
        "token_name": "Field",
        "owner": signer.address,
        "spender": B,
        "amount": 77,
        "nonce": 0,
        "deadline": world.start_s + 60,
    } | changes


def parts(signature: bytes) -> tuple[int, bytes, bytes]:
    return signature[64], signature[:32], signature[32:64]


def submit(world: World, owner: Signer, signature: bytes, deadline: int | None = None) -> None:
    until = world.start_s + 60 if deadline is None else deadline
    world.token.permit(owner.address, B, 77, until, *parts(signature), sender=C)


def test_permit_approves_once(world: World) -> None:
    owner = Signer(0x0FFE)
    signature = owner.sign(digest.permit_digest(**permit_fields(world, owner)))
    world.pass_time(60)
    submit(world, owner, signature)
    assert (world.token.allowance(owner.address, B), world.token.nonces(owner.address)) == (77, 1)
    with reverts("bad permit signature"):
        submit(world, owner, signature)


def test_permit_expires(world: World) -> None:
    owner = Signer(0x0FFE)
    signature = owner.sign(digest.permit_digest(**permit_fields(world, owner)))
    world.pass_time(61)
    with reverts("permit expired"):
        submit(world, owner, signature)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain_id", 5),
        ("contract", A),
        ("token_name", "Fields"),
        ("spender", C),
        ("amount", 78),
        ("nonce", 1),
        ("deadline", 1),
        ("owner", A),
    ],
)
def test_permit_binds_every_field(world: World, field: str, value: Any) -> None:
    owner = Signer(0x0FFE)
    signature = owner.sign(digest.permit_digest(**permit_fields(world, owner, **{field: value})))
    with reverts("bad permit signature"):
        submit(world, owner, signature)


def test_permit_refuses_high_s_and_the_zero_owner(world: World) -> None:
    owner = Signer(0x0FFE)
    v, r, s = parts(owner.sign(digest.permit_digest(**permit_fields(world, owner))))
    high = (CURVE_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
    with reverts("high s"):
        world.token.permit(owner.address, B, 77, world.start_s + 60, 55 - v, r, high)
    with reverts("zero owner"):
        world.token.permit(ZERO, B, 77, world.start_s + 60, 0, r, s)
    with reverts("bad permit signature"):
        world.token.permit(owner.address, B, 77, world.start_s + 60, 0, r, s)


def test_permit_of_the_public_typed_data_library(world: World) -> None:
    """Interoperability: eth-account (MIT) signs the same EIP-2612 message as a wallet does."""
    from eth_account import Account

    key = Account.from_key("0x" + "42" * 32)
    message = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "primaryType": "Permit",
        "domain": {
            "name": "Field",
            "version": "1",
            "chainId": world.chain_id,
            "verifyingContract": world.token.address,
        },
        "message": {"owner": key.address, "spender": B, "value": 5, "nonce": 0, "deadline": world.start_s},
    }
    signed = key.sign_typed_data(full_message=message)
    world.token.permit(
        key.address, B, 5, world.start_s, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")
    )
    assert world.token.allowance(key.address, B) == 5
