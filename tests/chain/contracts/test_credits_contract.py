"""Credits: conservative fresh prices, exact rounding, capped issue, and no way to move them but the network's."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from contract_world import TOKEN, ZERO, Contract, World, account, digest, quorum, refused_signatures, reverts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CUSTOMER, OTHER = account(1), account(2)
REFERENCE = b"\x0c" * 32


def post_price(world: World, average: int, confidence: int = 0, age_s: int = 0) -> None:
    world.credits.post_price(average, confidence, boa.env.timestamp - age_s, b"", sender=world.poster)


def burn(world: World, tokens: int, minimum: int = 0) -> int:
    return int(world.credits.burn_exact_in(tokens, minimum, CUSTOMER, REFERENCE, sender=world.founder))


def test_burning_gives_credits_at_the_conservative_rate(world: World) -> None:
    """Worked example: average $2.00, confidence $0.05 → rate $1.90; 3 tokens → 5,700,000 micro-USD."""
    post_price(world, 2_000_000, 50_000)
    supply = world.token.totalSupply()
    assert burn(world, 3 * TOKEN) == 5_700_000
    assert world.credits.logs == [
        (
            "Burned",
            {
                "payer": world.founder.lower(),
                "account": CUSTOMER,
                "reference": REFERENCE,
                "tokens": 3 * TOKEN,
                "credits": 5_700_000,
                "rate": 1_900_000,
            },
        )
    ]
    assert world.token.totalSupply() == supply - 3 * TOKEN
    assert world.credits.balanceOf(CUSTOMER) == world.credits.total_issued() == 5_700_000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rate=st.integers(1, 10**8), credits=st.integers(1, 10**6))
def test_exact_out_is_the_least_that_buys_it(world: World, rate: int, credits: int) -> None:
    """Rounding never favours the buyer: what exact-out burns buys the credits, one base unit less does not."""
    with boa.env.anchor():
        post_price(world, rate)
        need = -(-credits * TOKEN // rate)
        if need > world.genesis:
            with reverts("balance too low"):
                world.credits.burn_exact_out(credits, need, CUSTOMER, REFERENCE, sender=world.founder)
            return
        with reverts("more tokens than allowed"):
            world.credits.burn_exact_out(credits, need - 1, CUSTOMER, REFERENCE, sender=world.founder)
        burned = world.credits.burn_exact_out(credits, need, CUSTOMER, REFERENCE, sender=world.founder)
        assert burned == need
        assert need * rate // TOKEN >= credits > (need - 1) * rate // TOKEN
        assert world.credits.balanceOf(CUSTOMER) == credits


def test_exact_in_protects_the_buyer(world: World) -> None:
    post_price(world, 2_000_000)
    with reverts("fewer credits than asked"):
        burn(world, TOKEN, 2_000_001)
    assert burn(world, TOKEN, 2_000_000) == 2_000_000
    with reverts("amount too small"):
        burn(world, 1)
    with reverts("zero account"):
        world.credits.burn_exact_in(TOKEN, 0, ZERO, REFERENCE, sender=world.founder)


def test_no_price_and_stale_price(world: World) -> None:
    with reverts("no price"):
        burn(world, TOKEN)
    post_price(world, 2_000_000, age_s=600)
    world.pass_time(3_000)
    burn(world, TOKEN)
    world.pass_time(1)
    for call in (lambda: burn(world, TOKEN), world.credits.rate):
        with reverts("price is stale"):
            call()


@pytest.mark.parametrize(
    ("average", "confidence", "age_s", "reason"),
    [
        (100, 0, -1, "price from the future"),
        (100, 0, 3_601, "price is stale"),
        (100, 50, 0, "confidence too wide"),
        (0, 0, 0, "confidence too wide"),
        (2**127, 0, 0, "price out of range"),
        (2**126, 2**126, 0, "price out of range"),
        (2**126, 2**256 - 1, 0, "price out of range"),
    ],
)
def test_price_is_refused(world: World, average: int, confidence: int, age_s: int, reason: str) -> None:
    with reverts(reason):
        post_price(world, average, confidence, age_s)


def test_price_never_goes_back_in_time(world: World) -> None:
    post_price(world, 100, age_s=10)
    for age_s in (10, 11):
        with reverts("older than the current price"):
            post_price(world, 200, age_s=age_s)
    post_price(world, 200, age_s=9)
    assert (world.credits.rate(), world.credits.price_time()) == (200, boa.env.timestamp - 9)


def test_quorum_posts_prices_too(world: World) -> None:
    now = boa.env.timestamp
    fields = [world.chain_id, world.credits.address, 100, 3, now, 1]
    with reverts("too few signatures"):
        world.credits.post_price(100, 3, now, b"", sender=OTHER)
    for place, value in ((0, 5), (1, OTHER), (2, 101), (3, 4), (4, now - 1), (5, 2)):
        changed = list(fields)
        changed[place] = value
        with refused_signatures():
            world.credits.post_price(100, 3, now, quorum(world.signers[:2], digest.price_digest(*changed)))
    world.credits.post_price(100, 3, now, quorum(world.signers[:2], digest.price_digest(*fields)), sender=OTHER)
    assert world.credits.rate() == 94


def test_without_a_poster_only_the_quorum(world: World) -> None:
    credits = Contract(
        "Credits", world.token.address, world.rewards.address, ZERO, world.network, 3_600, 86_400, world.rate_cap
    )
    with reverts("too few signatures"):
        credits.post_price(100, 3, boa.env.timestamp, b"", sender=world.poster)
    with reverts("too few signatures"):
        credits.post_price(100, 3, boa.env.timestamp, b"", sender=ZERO)


def test_period_cap_bounds_a_wrong_price(world: World) -> None:
    boa.env.timestamp = (boa.env.timestamp // 86_400 + 1) * 86_400
    post_price(world, 10**9)
    assert burn(world, TOKEN // 2) == world.rate_cap // 2
    assert world.credits.period_room() == world.rate_cap // 2
    with reverts("period cap"):
        burn(world, TOKEN // 2 + TOKEN // 10**6)
    burn(world, TOKEN // 2)
    with reverts("period cap"):
        burn(world, TOKEN // 1_000)
    world.pass_time(86_400)
    post_price(world, 10**9)
    assert world.credits.period_room() == world.rate_cap
    burn(world, TOKEN)


def test_only_the_network_debits(world: World) -> None:
    post_price(world, 2_000_000)
    burn(world, TOKEN)
    for who in (CUSTOMER, world.founder, world.poster):
        with reverts("only the spender"):
            world.credits.debit(CUSTOMER, 1, REFERENCE, sender=who)
    world.credits.debit(CUSTOMER, 1_500_000, REFERENCE, sender=world.network)
    with reverts("not enough credits"):
        world.credits.debit(CUSTOMER, 500_001, REFERENCE, sender=world.network)
    issued, debited = world.credits.total_issued(), world.credits.total_debited()
    assert world.credits.balanceOf(CUSTOMER) == issued - debited == 500_000


def test_spender_hands_over(world: World) -> None:
    with reverts("only the spender"):
        world.credits.set_spender(OTHER, sender=OTHER)
    with reverts("zero address"):
        world.credits.set_spender(ZERO, sender=world.network)
    world.credits.set_spender(OTHER, sender=world.network)
    with reverts("only the spender"):
        world.credits.debit(CUSTOMER, 0, REFERENCE, sender=world.network)
    world.credits.debit(CUSTOMER, 0, REFERENCE, sender=OTHER)


def test_credits_have_no_transfer() -> None:
    from contract_world import artifact

    names = {item.get("name") for item in artifact("Credits")["abi"]}
    assert not names & {"transfer", "transferFrom", "approve", "mint"}


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, ZERO, "zero address"),
        (1, ZERO, "zero address"),
        (3, ZERO, "zero address"),
        (4, 0, "zero time"),
        (5, 0, "zero time"),
        (6, 0, "cap out of range"),
        (6, 2**128, "cap out of range"),
    ],
)
def test_deployment_refuses(world: World, place: int, value: Any, reason: str) -> None:
    arguments = [world.token.address, world.rewards.address, ZERO, world.network, 3_600, 86_400, 10]
    arguments[place] = value
    with reverts(reason):
        Contract("Credits", *arguments)
