from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import Terminal
from fieldstone.policy import RewardPolicy, ServicePolicy
from fieldstone.rewards import STATEMENT_SCHEMA, Allocation, AllocationInput, allocate
from fieldstone.units import PPM, TOKEN_BASE

from .networks import DEVICES, EPOCH_S, POLICIES, TREASURY, Correction, Device, named, network, networks, operator

ROOMY = RewardPolicy(max_epoch_mint="1000000000")


def column_sum(table: pl.DataFrame, name: str) -> int:
    return sum(int(value) for value in table[name].to_list())


def earned(result: Allocation, owner: int) -> int:
    mine = result.statements.filter(pl.col("operator") == operator(owner))
    return column_sum(mine, "total_base")


def bootstrap_of(result: Allocation, owner: int) -> int:
    return column_sum(result.statements.filter(pl.col("operator") == operator(owner)), "bootstrap_base")


# ── the invariants ────────────────────────────────────────────────────────────────────────────────────────────────


@given(networks())
def test_totals_add_up(inp: AllocationInput) -> None:
    result = allocate(inp)
    totals = result.totals
    assert result.minted_base == sum(result.balances.values()) - sum(inp.previous.values())
    parts = ("paid", "bootstrap", "corrections", "treasury")
    assert result.minted_base == sum(totals[part] for part in parts)
    for part in ("paid", "bootstrap"):
        assert column_sum(result.statements, f"{part}_base") == totals[part]
    assert column_sum(result.statements, "correction_base") == totals["corrections"]
    assert column_sum(result.statements, "total_base") == result.minted_base - totals["treasury"]
    # the bootstrap that was offered is paid, cut, dust, or counted as unspent: nothing vanishes
    spent = totals["bootstrap"] + totals["bootstrap_cut"] + totals["bootstrap_dust"] + totals["bootstrap_unmet"]
    assert spent == totals["bootstrap_offered"]


@given(networks())
def test_balances_never_fall(inp: AllocationInput) -> None:
    result = allocate(inp)
    assert all(result.balances[address] >= amount for address, amount in inp.previous.items())
    assert all(int(amount) >= 0 for amount in result.statements["total_base"].to_list())
    assert all(amount > 0 for amount in result.pools.values())


@given(networks())
def test_never_more_than_the_customer_paid(inp: AllocationInput) -> None:
    result = allocate(inp)
    for row in result.statements.iter_rows(named=True):
        assert int(row["paid_base"]) * inp.price_micro_usd <= max(0, row["revenue_micro_usd"]) * TOKEN_BASE
    income = sum(amount for amount in inp.revenue["revenue_micro_usd"].to_list() if amount > 0)
    assert result.totals["paid"] * inp.price_micro_usd <= income * TOKEN_BASE


@given(networks())
def test_minted_below_cap(inp: AllocationInput) -> None:
    assert 0 <= allocate(inp).minted_base <= inp.policy.max_epoch_mint_base


@given(networks(), st.integers(0, 2**30))
def test_order_does_not_matter(inp: AllocationInput, seed: int) -> None:
    def shuffled(table: pl.DataFrame) -> pl.DataFrame:
        return table.sample(fraction=1.0, shuffle=True, seed=seed)

    other = replace(
        inp,
        verdicts=shuffled(inp.verdicts),
        registry=shuffled(inp.registry),
        revenue=shuffled(inp.revenue),
        corrections=shuffled(inp.corrections),
        pools=dict(reversed(inp.pools.items())),
        previous=dict(reversed(inp.previous.items())),
    )
    one, two = allocate(inp), allocate(other)
    assert one.statements.equals(two.statements)
    assert (one.balances, one.pools, one.totals) == (two.balances, two.pools, two.totals)
    assert list(one.balances) == list(two.balances)


@given(networks())
def test_rejected_earns_no_bootstrap(inp: AllocationInput) -> None:
    refused = allocate(inp).statements.filter(pl.col("verdict").is_in(["rejected", "none"]))
    assert column_sum(refused, "bootstrap_base") == 0


@given(networks())
def test_every_device_has_a_statement(inp: AllocationInput) -> None:
    statements = allocate(inp).statements
    assert set(inp.registry["device"]) <= set(statements["device"])
    assert dict(statements.schema) == STATEMENT_SCHEMA
    keys = statements.select("device", "service", "operator").rows()
    assert keys == sorted(set(keys))


# ── attacks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def wealth(result: Allocation, owner: int) -> int:
    """What an operator has or will have: balance, plus what is owed to him, less what he owes."""
    address = operator(owner)
    pools = result.pools
    return result.balances.get(address, 0) + pools.get(f"owed:{address}", 0) - pools.get(f"debt:{address}", 0)


def after(inp: AllocationInput, result: Allocation) -> AllocationInput:
    return replace(
        inp,
        epoch=inp.epoch + 1,
        smoothed_revenue_micro_usd=result.smoothed_revenue_micro_usd,
        pools=result.pools,
        previous=result.balances,
    )


@settings(max_examples=60)
@given(DEVICES.filter(len), POLICIES, st.integers(1, 10**10), st.integers(0, 10**10), st.data())
def test_self_dealing_never_pays(
    devices: list[Device], policy: RewardPolicy, spent: int, smoothed: int, data: st.DataObject
) -> None:
    """Buying one's own data, whatever it does to smoothed revenue and need, returns less than it cost, now or later."""
    mine = [index for index, device in enumerate(devices) if device.owner == devices[0].owner]
    bought = data.draw(st.sampled_from(mine))
    price = data.draw(st.integers(1, 10**9))
    treasury = TREASURY  # not the attacker's: who owns the treasury gets the take back and writes the policy anyway

    def play(first: list[Device]) -> int:
        now = network(first, policy=policy, smoothed=smoothed, price_micro_usd=price, treasury=treasury)
        result = allocate(now)
        later = after(network(devices, policy=policy, price_micro_usd=price, treasury=treasury), result)
        return wealth(allocate(later), devices[0].owner)

    purchase = list(devices)
    purchase[bought] = replace(devices[bought], revenue=devices[bought].revenue + spent)
    gain = play(purchase) - play(devices)
    dust = 8 * len(devices)  # base units: floors of single lines
    returned_ppm = PPM - policy.take_ppm + policy.take_ppm * policy.need_demand_ppm // PPM + 1
    assert (gain - dust) * price * PPM <= spent * TOKEN_BASE * returned_ppm
    assert (gain - dust) * price <= spent * TOKEN_BASE


@given(
    DEVICES,
    POLICIES,
    st.integers(0, 10**9),
    st.integers(1, 10**12),
    st.integers(1, 10**9),
)
def test_sold_work_never_earns_more_than_was_paid(
    others: list[Device], policy: RewardPolicy, spent: int, junk: int, price: int
) -> None:
    """One's own provider full of one's own data, at any amount and any payment: what comes back is at most what was paid."""
    cheat = Device(owner=9, quantity=junk, sold=junk, revenue=spent)
    policy = replace_policy(policy, max_epoch_mint="1000000000000")
    result = allocate(network([*others, cheat], policy=policy, price_micro_usd=price))
    assert earned(result, 9) * price <= spent * TOKEN_BASE


@given(DEVICES, st.integers(1, 10**12), st.integers(0, 5))
def test_unpaid_work_takes_nothing_and_dilutes_nobody(others: list[Device], junk: int, place: int) -> None:
    cheat = Device(owner=9, place=place, quantity=junk, sold=junk)
    alone, beside = (allocate(network(devices, policy=ROOMY)) for devices in (others, [*others, cheat]))
    assert earned(beside, 9) == 0
    assert all(earned(beside, owner) == earned(alone, owner) for owner in range(4))


def test_worked_example_what_capped_work_leaves_goes_to_the_others_of_its_cell() -> None:
    """A cell's pool of 100: the cheat paid himself one dollar, a fifth of a token of take; the honest disk gets the rest."""
    policy = replace_policy(
        ROOMY, full_coverage_cells=1, need_demand_ppm=0, bootstrap_per_epoch="100", r_half_usd="1000000000"
    )
    honest, cheat = Device(owner=0, quantity=EPOCH_S), Device(owner=9, quantity=10**9, sold=10**9, revenue=100_000)
    result = allocate(network([honest, cheat], policy=policy))
    assert bootstrap_of(result, 9) == TOKEN_BASE // 5  # 10 % of $0.1 at $0.05 a token
    offered = result.totals["bootstrap_offered"]
    assert abs(bootstrap_of(result, 0) - (offered - TOKEN_BASE // 5)) <= 2
    # with nobody else in the cell the rest is not minted, and no dust for the treasury either
    lonely = allocate(network([cheat], policy=policy))
    assert (bootstrap_of(lonely, 9), lonely.totals["bootstrap_dust"]) == (TOKEN_BASE // 5, 0)
    assert lonely.totals["bootstrap_unmet"] == offered - TOKEN_BASE // 5


def replace_policy(policy: RewardPolicy, **changes: object) -> RewardPolicy:
    return msgspec.structs.replace(policy, **changes)


@given(DEVICES, st.integers(1, 20), st.integers(0, EPOCH_S), st.integers(0, PPM))
def test_clones_dilute_each_other(others: list[Device], clones: int, quantity: int, quality_ppm: int) -> None:
    """One device's work in a cell, split over any number of identities, earns the same within rounding."""
    quantity -= quantity % clones
    whole = Device(owner=9, place=0, quantity=quantity, quality_ppm=quality_ppm)
    parts = [replace(whole, quantity=quantity // clones, name=f"did:key:clone{i:02d}") for i in range(clones)]
    alone = allocate(network([*named(others), replace(whole, name="did:key:whole")], policy=ROOMY))
    split = allocate(network([*named(others), *parts], policy=ROOMY))
    assert bootstrap_of(alone, 9) - clones <= bootstrap_of(split, 9) <= bootstrap_of(alone, 9)


@given(DEVICES, st.integers(1, 30))
def test_a_cell_beyond_its_target_gets_no_more_by_clones(others: list[Device], clones: int) -> None:
    full = Device(owner=8, place=7)
    one = allocate(network([*others, full], policy=ROOMY))
    many = allocate(network([*others, full, *[Device(owner=9, place=7)] * clones], policy=ROOMY))
    both = bootstrap_of(many, 8) + bootstrap_of(many, 9)
    assert both <= bootstrap_of(one, 8)
    assert both >= bootstrap_of(one, 8) - clones - 1


@given(DEVICES, st.integers(2, 4), st.integers(0, EPOCH_S))
def test_spreading_work_over_cells_gains_nothing(others: list[Device], cells: int, quantity: int) -> None:
    """Dividing the work of one device over empty cells earns what it earned in one empty cell."""
    quantity -= quantity % cells
    one = allocate(network([*others, Device(owner=9, place=10, quantity=quantity)], policy=ROOMY))
    spread = [Device(owner=9, place=10 + i, quantity=quantity // cells) for i in range(cells)]
    many = allocate(network([*others, *spread], policy=ROOMY))
    assert bootstrap_of(one, 9) - cells <= bootstrap_of(many, 9) <= bootstrap_of(one, 9)


def test_nearly_empty_cells_take_nearly_nothing_from_others() -> None:
    honest = [Device(owner=0, place=i) for i in range(20)]
    squatters = [Device(owner=9, place=30 + i, quality_ppm=1_000) for i in range(100)]
    calm, squatted = allocate(network(honest)), allocate(network([*honest, *squatters]))
    assert earned(squatted, 0) * 1000 > earned(calm, 0) * 990


def test_the_first_device_does_not_take_the_whole_bootstrap() -> None:
    alone = allocate(network([Device()]))
    assert earned(alone, 0) == 100 * TOKEN_BASE  # 1000 tokens, meant for ten cells
    assert alone.pools["bootstrap_unspent"] == 900 * TOKEN_BASE


def test_a_second_cell_takes_nothing_from_the_first_until_coverage_is_full() -> None:
    two = allocate(network([Device(owner=0), Device(owner=1, place=1)]))
    assert earned(two, 0) == 100 * TOKEN_BASE


def test_scarce_cells_pay_more_per_device() -> None:
    crowd = [Device(owner=0, place=0) for _ in range(9)]
    result = allocate(network([*crowd, Device(owner=1, place=1)]))
    assert earned(result, 1) == 100 * TOKEN_BASE
    assert 0 <= earned(result, 1) - earned(result, 0) <= 9  # two equal cells, nine devices share one of them


def test_demand_raises_the_pool_of_the_cell_where_customers_buy() -> None:
    policy = RewardPolicy(full_coverage_cells=2, r_half_usd="1000000000")
    devices = [Device(owner=0, place=0, revenue=50_000_000), Device(owner=1, place=1)]
    result = allocate(network(devices, policy=policy))
    assert bootstrap_of(result, 0) > 4 * bootstrap_of(result, 1) // 5 + bootstrap_of(result, 1) // 5
    # 50 $ at 0.05 $ and 10 % take: 100 tokens of take, half of them steer the bootstrap
    assert abs(bootstrap_of(result, 0) - bootstrap_of(result, 1) - 50 * TOKEN_BASE) < 10**15


def test_two_spellings_of_an_address_are_one_account() -> None:
    address = "0x" + "aB" * 20
    result = allocate(
        network(
            [],
            corrections=[Correction(address.lower(), 5), Correction(address, 7)],
            previous={address: 1},
            treasury=address.lower(),
            extra_revenue=[("", "sensing", 1_000)],
        )
    )
    assert set(result.balances) == {address}
    assert result.balances[address] == 1 + 12 + 1_000 * TOKEN_BASE // 50_000


# ── cap, debts, refunds ───────────────────────────────────────────────────────────────────────────────────────────


@given(DEVICES, st.integers(0, 50))
def test_what_the_cap_holds_back_is_paid_later(devices: list[Device], cap: int) -> None:
    tight = RewardPolicy(bootstrap_per_epoch="0", max_epoch_mint=str(cap))
    first = network(devices, policy=tight)
    held = allocate(first)
    idle = network([replace(d, revenue=0) for d in devices], policy=replace_cap(tight))
    later = allocate(after(idle, held))
    free = allocate(network(devices, policy=replace_cap(tight)))
    assert later.balances == free.balances
    assert not later.pools


def replace_cap(policy: RewardPolicy) -> RewardPolicy:
    return RewardPolicy(bootstrap_per_epoch=policy.bootstrap_per_epoch, max_epoch_mint="1000000000")


def test_sales_go_before_the_bootstrap_when_the_cap_binds() -> None:
    policy = RewardPolicy(max_epoch_mint="100", r_half_usd="1000000000")
    result = allocate(network([Device(owner=0, revenue=4_500_000)], policy=policy))
    assert result.totals["paid"] == 81 * TOKEN_BASE
    assert result.totals["treasury"] == 9 * TOKEN_BASE
    assert result.totals["bootstrap"] == 10 * TOKEN_BASE
    assert result.totals["bootstrap_cut"] > 80 * TOKEN_BASE


@given(st.integers(1, 10**22), st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
def test_debt_is_repaid_exactly_once(debt: int, revenues: list[int]) -> None:
    policy = RewardPolicy(bootstrap_per_epoch="0", max_epoch_mint="1000000000")
    previous, pools, repaid, income = {operator(0): 10**22}, {}, 0, 0
    for number, revenue in enumerate(revenues, start=1):
        result = allocate(
            network(
                [Device(owner=0, revenue=revenue)],
                epoch=number,
                policy=policy,
                corrections=[Correction(operator(0), -debt, cause="overpaid in epoch 0")] if number == 1 else [],
                previous=previous,
                pools=pools,
                treasury=None,
            )
        )
        income += result.totals["paid"]
        repaid += result.totals["debt_repaid"]
        previous, pools = result.balances, result.pools
    assert repaid == min(debt, income)
    assert pools.get(f"debt:{operator(0)}", 0) == debt - repaid
    assert previous[operator(0)] == 10**22 + income - repaid


def test_a_debt_is_named_in_the_statement() -> None:
    result = allocate(network([Device()], corrections=[Correction(operator(0), -5, "did:key:z000", "scored twice")]))
    row = result.statements.row(0, named=True)
    assert json.loads(row["factors"])["corrections"] == [{"amount_base": "-5", "cause": "scored twice"}]
    assert int(row["correction_base"]) == -5
    assert int(row["total_base"]) == int(row["bootstrap_base"]) - 5


def test_a_correction_reaches_an_operator_whose_device_is_gone() -> None:
    result = allocate(network([], corrections=[Correction(operator(3), 7, "did:key:gone")]))
    assert result.balances == {operator(3): 7}
    assert result.statements.select("device", "service").row(0) == ("did:key:gone", "")


def test_a_refund_after_the_payout_becomes_a_debt_of_operator_and_treasury() -> None:
    policy = RewardPolicy(bootstrap_per_epoch="0")
    result = allocate(network([Device()], policy=policy, extra_revenue=[("did:key:z000", "sensing", -1_000_000)]))
    assert result.minted_base == 0
    assert result.pools == {f"debt:{operator(0)}": 18 * TOKEN_BASE, "debt:treasury": 2 * TOKEN_BASE}
    later = allocate(
        after(network([Device(revenue=1_500_000)], policy=policy), result),
    )
    assert later.totals["paid"] + later.totals["corrections"] == 9 * TOKEN_BASE
    assert later.totals["treasury"] == TOKEN_BASE
    assert not later.pools


def test_without_a_treasury_the_take_waits_in_a_named_pool_and_is_paid_when_one_is_set() -> None:
    policy = RewardPolicy(bootstrap_per_epoch="0")
    waiting = allocate(network([Device(revenue=500_000)], policy=policy, treasury=None))
    assert waiting.pools == {"treasury": TOKEN_BASE}
    paid = allocate(after(network([Device()], policy=policy), waiting))
    assert paid.balances[TREASURY] == TOKEN_BASE
    assert not paid.pools


def test_a_refused_stranger_has_a_statement_and_no_operator() -> None:
    inp = network([Device(verdict="rejected", quantity=0)])
    result = allocate(replace(inp, registry=inp.registry.clear()))
    assert result.statements.select("operator", "verdict", "total_base").row(0) == ("", "rejected", "0")
    assert result.balances == {}


def test_revenue_of_an_unknown_device_is_kept_apart() -> None:
    result = allocate(network([], extra_revenue=[("did:key:gone", "sensing", 500_000)]))
    assert result.pools["unattributed"] == 9 * TOKEN_BASE
    assert result.balances == {TREASURY: TOKEN_BASE}


# ── several services, sizes, and input that contradicts itself ────────────────────────────────────────────────────


def test_services_share_the_bootstrap_by_policy() -> None:
    policy = RewardPolicy(full_coverage_cells=1)
    services = {"sensing": ServicePolicy(share_ppm=250_000), "storage": ServicePolicy(share_ppm=750_000)}
    result = allocate(network([Device()], policy=policy, services=services))
    assert result.totals["bootstrap"] == 250 * TOKEN_BASE
    assert result.pools["bootstrap_unspent"] == 750 * TOKEN_BASE


def test_shares_above_the_whole_never_pay_it_twice() -> None:
    policy = RewardPolicy(full_coverage_cells=1)
    services = {"sensing": ServicePolicy(), "storage": ServicePolicy()}
    assert allocate(network([Device()], policy=policy, services=services)).totals["bootstrap"] == 500 * TOKEN_BASE


def test_amounts_beyond_64_bits_stay_exact() -> None:
    policy = RewardPolicy(bootstrap_per_epoch="123456789012.345678901234567891", max_epoch_mint="10000000000000")
    policy_one_cell = RewardPolicy(
        bootstrap_per_epoch=policy.bootstrap_per_epoch, max_epoch_mint=policy.max_epoch_mint, full_coverage_cells=1
    )
    result = allocate(network([Device()], policy=policy_one_cell))
    assert int(result.statements["bootstrap_base"][0]) == 123456789012345678901234567891


def test_an_empty_epoch_mints_nothing() -> None:
    result = allocate(network([]))
    assert result.minted_base == 0
    assert result.statements.is_empty()
    assert dict(result.statements.schema) == STATEMENT_SCHEMA


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price_micro_usd": 0}, "price must be above 0"),
        ({"registry": network([]).registry}, "not in the registry"),
        ({"verdicts": pl.concat([network([Device()]).verdicts] * 2)}, "two verdicts"),
        ({"verdicts": network([Device(quality_ppm=PPM + 1)]).verdicts}, "between 0 and 1,000,000"),
        ({"verdicts": network([Device(quantity=-1)]).verdicts}, "not negative"),
        ({"registry": network([Device()]).registry.with_columns(lat=float("nan"))}, "no place"),
    ],
)
def test_contradicting_input_is_terminal_and_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(Terminal, match=message):
        allocate(replace(network([Device()]), **change))  # type: ignore[arg-type]
