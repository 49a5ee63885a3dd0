"""Held pay: a bond that grows out of income, paid back to who stays or leaves cleanly, lost by who leaves a loss."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.policy import RewardPolicy
from fieldstone.rewards import Allocation, AllocationInput, allocate
from fieldstone.rewards.explain import explain
from fieldstone.rewards.held import MONTH_MS
from fieldstone.services import load_service
from fieldstone.services.contract import HoldBack
from fieldstone.units import TOKEN_BASE

from .networks import DEVICES, POLICIES, Device, network, operator

STORJ = (750_000,) * 3 + (500_000,) * 3 + (250_000,) * 3
RULE = HoldBack(
    STORJ,
    15,
    500_000,
    forfeits=frozenset({"DISQUALIFIED", "VANISHED"}),
    exits=frozenset({"NO_HOLDINGS"}),
    departures=frozenset({"LEFT"}),
)
ROOMY = RewardPolicy(max_epoch_mint="1000000000", bootstrap_per_epoch="0")
NAME = "did:key:z000"


def held(
    month: int,
    revenue: int = 1_000_000,
    reasons: tuple[str, ...] = (),
    before: Allocation | None = None,
    revoked: bool = False,
) -> AllocationInput:
    """One device in its `month`-th month that customers pay $1 this epoch: 18 tokens after the take."""
    inp = network([Device(revenue=revenue)], policy=ROOMY, pools={} if before is None else before.pools,
                  previous={} if before is None else before.balances)  # fmt: skip
    registry = inp.registry.with_columns(revoked_ms=pl.lit(5 if revoked else None, pl.Int64))
    verdicts = inp.verdicts.with_columns(reasons=pl.Series([list(reasons)], dtype=pl.List(pl.String())))
    return replace(inp, now_ms=month * MONTH_MS, hold_backs={"sensing": RULE}, registry=registry, verdicts=verdicts)


def balance(result: Allocation) -> int:
    return result.balances.get(operator(0), 0)


def test_worked_example_eighteen_tokens_a_month() -> None:
    """Three months at 75 %, three at 50 %, three at 25 %, then all; half of the held comes back in month 15."""
    result, pay = None, []
    for month in range(16):
        before = 0 if result is None else balance(result)
        result = allocate(held(month, before=result))
        pay.append((balance(result) - before) * 10 // TOKEN_BASE)
    assert pay == [45] * 3 + [90] * 3 + [135] * 3 + [180] * 6 + [585]  # tenths: the last has 40.5 of the 81 held
    assert result is not None and result.pools[f"kept:sensing:{NAME}"] == 405 * TOKEN_BASE // 10
    clean = allocate(held(40, 0, ("NO_HOLDINGS",), result, revoked=True))
    assert balance(clean) - balance(result) == 405 * TOKEN_BASE // 10
    assert not [name for name in clean.pools if name.startswith(("held:", "kept:"))]


def test_who_left_after_handing_over_gets_all_of_it_at_once() -> None:
    """No revocation is needed, and what came in while it left is held back no longer than the rest."""
    one = allocate(held(0))
    left = allocate(held(1, 0, ("LEAVING", "LEFT", "NO_HOLDINGS"), one))
    assert balance(left) - balance(one) == 135 * TOKEN_BASE // 10
    assert not [name for name in left.pools if name.startswith(("held:", "kept:"))]
    still = allocate(held(1, 0, ("LEAVING",), one))
    assert balance(still) == balance(one)


def test_who_leaves_a_loss_loses_it_to_the_treasury() -> None:
    one = allocate(held(0))
    in_hand = one.pools[f"held:sensing:{NAME}"]
    assert in_hand == 135 * TOKEN_BASE // 10
    treasury = one.totals["treasury"]
    for reasons, revoked in (
        (("VANISHED", "NO_HOLDINGS"), False),
        (("VANISHED", "NO_HOLDINGS"), True),
        (("DISQUALIFIED",), False),
        ((), True),
        (("DISQUALIFIED", "NO_HOLDINGS"), True),
    ):
        lost = allocate(held(1, 0, reasons, one, revoked))
        assert (balance(lost), lost.totals["forfeited"]) == (balance(one), in_hand)
        assert lost.totals["treasury"] == in_hand and treasury == 2 * TOKEN_BASE
        (row,) = lost.statements.iter_rows(named=True)
        assert json.loads(row["factors"])["row"]["forfeited_base"] == str(in_hand)
        assert any(line.label == "held pay forfeited" for line in explain(row))
    assert any(
        line.label == "held back from a new device" for line in explain(next(one.statements.iter_rows(named=True)))
    )


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**9), st.booleans()), min_size=1, max_size=8))
def test_withheld_pay_is_released_or_forfeited_once(epochs: list[tuple[int, int, bool]]) -> None:
    result, withheld, back = None, 0, 0
    for month, revenue, is_lost in epochs:
        result = allocate(held(month, revenue, ("DISQUALIFIED",) if is_lost else (), result))
        (row,) = result.statements.iter_rows(named=True)
        factors = json.loads(row["factors"])
        withheld += int(factors["row"].get("withheld_base", 0))
        back += sum(int(one["amount_base"]) for one in factors["corrections"]) + result.totals["forfeited"]
    assert result is not None
    assert withheld == back + sum(n for name, n in result.pools.items() if name.startswith(("held:", "kept:")))


@given(DEVICES, POLICIES, st.integers(0, 20))
def test_holding_back_never_mints(devices: list[Device], policy: RewardPolicy, month: int) -> None:
    inp = network(devices, policy=policy)
    plain = allocate(inp)
    now = allocate(replace(inp, now_ms=month * MONTH_MS, hold_backs={"sensing": RULE}))
    in_pools = sum(n for name, n in now.pools.items() if name.startswith(("held:", "kept:")))
    assert now.minted_base + in_pools == plain.minted_base
    assert all(now.balances.get(name, 0) <= amount for name, amount in plain.balances.items())


def test_storage_offers_it_and_leaves_it_to_the_founder() -> None:
    storage = load_service("storage")
    params = storage.default_params(1)
    assert storage.hold_back(params) is None  # type: ignore[attr-defined]
    chosen = storage.with_overrides(params, {"held_pay_ppm_by_month": list(STORJ)})
    assert storage.hold_back(chosen) == RULE  # type: ignore[attr-defined]
