"""A full device never earns less than an empty one, and buying from oneself never pays: the caps and the rate."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.policy import RewardPolicy, ServicePolicy
from fieldstone.rewards import Allocation, AllocationInput, allocate
from fieldstone.rewards.caps import Part, Rate, service_rate, sold_cap, unsold_cap
from fieldstone.services import load_service
from fieldstone.services.contract import ListPrice
from fieldstone.units import PPM, TOKEN_BASE

from .networks import DEVICES, EPOCH_S, LIST_PRICES, POLICIES, Device, network, operator

EXAMPLE = ListPrice(2_000, 1_000, "thousand", unsold_weight_ppm=10_000)  # two micro-dollars a unit


def roomy(policy: RewardPolicy) -> RewardPolicy:
    return msgspec.structs.replace(policy, max_epoch_mint="1000000000000000")


def earned(result: Allocation, owner: int) -> int:
    rows = result.statements.filter(result.statements["operator"] == operator(owner))
    return sum(int(total) for total in rows["total_base"].to_list())


def unsold(units: int, listed: ListPrice) -> int:
    """The quantity that so many units count while nobody has bought them."""
    return units * listed.unsold_weight_ppm // PPM


def price_of(units: int, listed: ListPrice) -> int:
    """What customers pay for so many units, in micro-dollars, rounded up: a device is never paid less by rounding alone."""
    return -(-units * listed.micro_usd // listed.units)


UNITS = st.integers(0, 10**9)
MILLIONS = st.integers(0, 10**4).map(lambda count: count * 10**6)  # of which any weight in ppm is a whole number
TOKEN_PRICES = st.integers(1, 10**9)


@given(DEVICES, POLICIES, LIST_PRICES, UNITS, st.integers(0, PPM), TOKEN_PRICES, st.integers(0, 4))
def test_sold_never_earns_less_than_unsold_at_list_price(
    others: list[Device], policy: RewardPolicy, listed: ListPrice, units: int, quality_ppm: int, price: int, place: int
) -> None:
    """Whatever else the network does in the two cases: even if the bootstrap of all others were different."""
    empty = Device(9, place, unsold(units, listed), quality_ppm)
    full = Device(9, place, units, quality_ppm, sold=units, revenue=price_of(units * quality_ppm // PPM + 1, listed))
    one, two = (
        allocate(network([*others, device], policy=roomy(policy), listed=listed, price_micro_usd=price))
        for device in (empty, full)
    )
    assert earned(two, 9) + 1 >= earned(one, 9)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), MILLIONS, MILLIONS), min_size=1, max_size=4),
    DEVICES,
    POLICIES,
    LIST_PRICES,
    TOKEN_PRICES,
    st.data(),
)
def test_selling_never_costs_an_operator(
    mine: list[tuple[int, int, int]],
    others: list[Device],
    policy: RewardPolicy,
    listed: ListPrice,
    price: int,
    data: st.DataObject,
) -> None:
    """An operator of several part-full devices takes a customer at list price: all his income together does not fall.

    Apart from what a sale takes off everybody's bootstrap, by the fade and by steering: both are off here.
    """
    policy = roomy(msgspec.structs.replace(policy, revenue_smoothing_ppm=0, need_demand_ppm=0))
    which = data.draw(st.integers(0, len(mine) - 1))
    taken = data.draw(st.integers(0, mine[which][2] // 10**6)) * 10**6

    def play(taken: int) -> int:
        devices = []
        for index, (place, full, free) in enumerate(mine):
            more = taken if index == which else 0
            sold = full + more
            quantity = sold + unsold(free - more, listed)
            revenue = price_of(full, listed) + price_of(more, listed)
            devices.append(Device(9, place, quantity, sold=sold, revenue=revenue))
        inp = network([*others, *devices], policy=policy, listed=listed, price_micro_usd=price)
        return earned(allocate(inp), 9)

    assert play(taken) + 4 * (len(mine) + len(others)) + TOKEN_BASE // price >= play(0)


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.integers(0, 2), UNITS, UNITS), min_size=1, max_size=3),
    DEVICES,
    POLICIES,
    st.one_of(st.none(), LIST_PRICES),
    st.integers(1, 10**10),
    st.integers(0, 10**15),
    TOKEN_PRICES,
    st.data(),
)
def test_self_dealing_with_stored_data_never_pays(
    mine: list[tuple[int, int, int]],
    others: list[Device],
    policy: RewardPolicy,
    listed: ListPrice | None,
    spent: int,
    junk: int,
    price: int,
    data: st.DataObject,
) -> None:
    """Any amount of junk in one's own devices, at any payment, beside any work of one's own that nobody bought."""
    which = data.draw(st.integers(0, len(mine) - 1))

    def play(is_dealing: bool) -> int:
        devices = []
        for index, (place, sold, free) in enumerate(mine):
            here = is_dealing and index == which
            sold, revenue = sold + (junk if here else 0), sold // 1_000 + (spent if here else 0)
            devices.append(Device(9, place, sold + free, sold=sold, revenue=revenue))
        inp = network([*others, *devices], policy=roomy(policy), listed=listed, price_micro_usd=price)
        return earned(allocate(inp), 9)

    rounding = 4 * (len(mine) + len(others))
    assert (play(True) - play(False) - rounding) * price <= spent * TOKEN_BASE


def test_junk_opens_no_cell_for_empty_space_beside_it() -> None:
    """A device with a thousandth of a cell's work, beside a mountain of junk for a micro-dollar: it earns what it did."""
    small, junk = Device(9, quantity=EPOCH_S // 1_000), Device(8, quantity=10**12, sold=10**12, revenue=10)
    alone, beside = (allocate(network(devices)) for devices in ([small], [small, junk]))
    steered = 5 * TOKEN_BASE // 500_000  # half the take on ten micro-dollars
    assert 0 <= earned(beside, 9) - earned(alone, 9) <= steered
    assert earned(beside, 8) <= 10 * TOKEN_BASE // 50_000


@settings(max_examples=60)
@given(DEVICES, POLICIES, LIST_PRICES, TOKEN_PRICES, st.lists(st.integers(0, 10**9), min_size=8, max_size=8))
def test_no_part_earns_above_its_cap(
    devices: list[Device], policy: RewardPolicy, listed: ListPrice, price: int, sold: list[int]
) -> None:
    devices = [replace(device, sold=units) for device, units in zip(devices, sold, strict=False)]
    result = allocate(network(devices, policy=policy, listed=listed, price_micro_usd=price))
    for row in result.statements.iter_rows(named=True):
        factors = msgspec.json.decode(row["factors"])
        own = factors["row"]
        most = int(own.get("sold_cap_base", 0)) + int(own.get("unsold_cap_base", 0))
        assert int(row["bootstrap_base"]) <= most


@given(
    LIST_PRICES,
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(1, 12),
    DEVICES,
    POLICIES,
    st.integers(1, 10**6),
)
def test_splitting_changes_nothing(
    listed: ListPrice, sold: int, free: int, pieces: int, others: list[Device], policy: RewardPolicy, price: int
) -> None:
    """A part-full device shown as several, each with its part of all: the same within rounding, for it and for others."""
    sold, free, revenue = sold - sold % pieces, free - free % pieces, pieces * 1_000
    whole = Device(9, 2, sold + free, sold=sold, revenue=revenue)
    piece = Device(9, 2, (sold + free) // pieces, sold=sold // pieces, revenue=revenue // pieces)
    one, many = (
        allocate(network([*others, *mine], policy=roomy(policy), listed=listed, price_micro_usd=price))
        for mine in ([whole], [piece] * pieces)
    )
    slack = 6 * (pieces + len(others)) + 6
    for owner in (*range(4), 9):
        assert abs(earned(one, owner) - earned(many, owner)) <= slack


CELLS = st.lists(
    st.lists(st.tuples(st.integers(1, 10**6), st.one_of(st.none(), st.integers(0, 10**6))), max_size=4), max_size=5
)


@given(CELLS, st.integers(0, 10**7), st.integers(1, 10**6), st.integers(1, 5))
def test_the_rate_is_the_highest_that_the_pool_pays(
    cells: list[list[tuple[int, int | None]]], pool: int, target: int, full_cells: int
) -> None:
    parts = {index: [Part(*part) for part in cell] for index, cell in enumerate(cells)}
    work = {index: sum(part.work for part in cell) for index, cell in parts.items()}
    capped = {index: [part for part in cell if part.cap is not None] for index, cell in parts.items()}
    found = service_rate(pool, work, target, full_cells, {index: cell for index, cell in capped.items() if cell})

    def earned_at(rate: Fraction) -> Fraction:
        cells = (
            min(
                sum((min(rate * w, Fraction(rate * w if c is None else c)) for w, c in cell), Fraction(0)),
                rate * target,
            )
            for cell in parts.values()
        )
        return sum(cells, Fraction(0))

    rate, highest = Fraction(found.amount, found.work), Fraction(pool, full_cells * target)
    assert rate <= highest
    assert earned_at(rate) <= pool
    assert rate == highest or earned_at(rate) == pool


def test_worked_example_a_disk_of_a_tebibyte() -> None:
    """docs/explanation/rewards.md: a month of 1 TiB at the default price, empty and full, at 5 cents a token."""
    listed = load_service("storage").list_price({"space_weight_ppm": 10_000}, {"storage": 2_000})  # type: ignore[attr-defined]
    month = 1_024 * listed.units
    empty = unsold_cap(month // 100 * PPM, listed, 100_000, PPM, 50_000)
    assert empty == 36_864 * TOKEN_BASE // 1_000  # 90 % of 2.048 $, at 5 cents
    paid = 900_000 * 2_048_000 * TOKEN_BASE // (PPM * 50_000)
    full = paid + sold_cap(2_048_000, 100_000, 500_000, 50_000)
    assert (paid, full) == (empty, 38_912 * TOKEN_BASE // 1_000)  # 95 %


def test_a_founder_may_pay_supply_ahead_of_demand_and_no_cap_binds_where_there_is_no_price() -> None:
    def paid(listed: ListPrice | None, pay_ppm: int = PPM) -> int:
        services = {"sensing": ServicePolicy(unsold_pay_ppm=pay_ppm)}
        return earned(allocate(network([Device(0, quantity=1_000)], services=services, listed=listed)), 0)

    once = (
        1_000 * 100 * 2 * 9 // 10 * TOKEN_BASE // 50_000
    )  # a hundred units behind each that counts, two micro-dollars
    assert (paid(EXAMPLE, 0), paid(EXAMPLE), paid(EXAMPLE, 200_000)) == (0, min(once, paid(None)), once // 5)
    assert paid(EXAMPLE, 10**12) == paid(None)
    assert paid(replace(EXAMPLE, unsold_weight_ppm=0)) == 0
    result: AllocationInput = network([Device(0, quantity=1_000)], listed=EXAMPLE)
    totals = allocate(result).totals
    assert totals["bootstrap"] + totals["bootstrap_unmet"] == totals["bootstrap_offered"]


def test_a_rate_pays_exactly() -> None:
    rate = Rate(10, 3)
    assert rate.of([Part(6, 7), Part(2, None)]) == 7 + 6
    assert rate.of([Part(1, None), Part(2, 100)]) == 10
    assert not rate.reaches(Part(3, 10)) and rate.reaches(Part(3, 9))
