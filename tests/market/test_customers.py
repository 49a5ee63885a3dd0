"""Keys are shown once, found by prefix, stored as a hash, and limited."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from fieldstone.errors import Rejected, UsageError
from fieldstone.state import reading
from fieldstone.state.schema import api_key
from tests.market.world import HOUR_MS, World


def test_only_a_hash_is_stored(world: World) -> None:
    secret = world.key.split("_", 2)[2]  # it may hold underscores itself
    for path in world.folder.glob("state.sqlite*"):
        assert secret.encode() not in path.read_bytes()
    with reading(world.market._engine) as connection:
        assert len(connection.execute(select(api_key.c.secret_hash)).scalar_one()) == 32
    assert secret not in repr(world.market.customers.add_key(world.customer))


def test_a_revoked_key_is_refused_like_an_unknown_one(world: World) -> None:
    assert world.market.authenticate(world.key).customer_id == world.customer
    world.market.customers.revoke_key(world.key)
    world.market.customers.revoke_key(world.holder.key_prefix)
    refusals = []
    changed = world.key[:-1] + ("A" if world.key[-1] != "A" else "B")
    for key in (world.key, "fsk_000000000000_" + "A" * 43, changed, "", "fsk_", "x" * 10_000, "fsk_é", "\x00"):
        with pytest.raises(Rejected) as refused:
            world.market.authenticate(key)
        refusals.append(str(refused.value))
    assert len(set(refusals)) == 1
    with pytest.raises(UsageError, match="no key"):
        world.market.customers.revoke_key("nope")


def test_a_key_revoked_after_the_check_cannot_buy(world: World) -> None:
    quote = world.market.quote(world.holder, world.query())
    world.market.customers.revoke_key(world.holder.key_prefix)
    with pytest.raises(Rejected, match="BAD_API_KEY"):
        world.market.order(world.holder, quote.id)
    assert world.credits() == 1_000_000


def test_a_key_spends_its_limit_and_no_more_until_the_period_is_over(world: World) -> None:
    key = world.market.customers.add_key(world.customer, limit_micro_usd=500, limit_period_s=3600)
    holder = world.market.authenticate(key.secret)
    world.market.order(holder, world.market.quote(holder, world.query()).id)  # 380
    assert world.market.account(holder).spent_micro_usd == 380
    with pytest.raises(Rejected, match=r"SPENDING_LIMIT.*380 of 500"):
        world.market.order(holder, world.market.quote(holder, world.query()).id)
    world.market.order(world.holder, world.market.quote(world.holder, world.query()).id)  # another key is not bound
    world.clock.set(world.clock.now_ms() + HOUR_MS + 1)
    world.market.order(holder, world.market.quote(holder, world.query()).id)
    world.healthy()


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "\x1b[31mred", "x" * 65, "‮evil"])
def test_a_hostile_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(Rejected, match="BAD_TEXT"):
        world.market.customers.add(name)


def test_impossible_limits_and_customers_are_named(world: World) -> None:
    for limits in ({"limit_micro_usd": -1}, {"limit_period_s": 0}, {"limit_micro_usd": 2**70}):
        with pytest.raises(UsageError):
            world.market.customers.add_key(world.customer, **limits)
    with pytest.raises(UsageError, match="no customer"):
        world.market.customers.add_key("cus_nobody")
