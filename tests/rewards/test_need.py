from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fieldstone.rewards.need import Need, cell_name, cell_of, split_by_need
from fieldstone.units import PPM

TARGET = 86_400 * PPM
CELLS = st.dictionaries(st.integers(0, 6), st.integers(0, 3 * TARGET), max_size=6)
MONEY = st.dictionaries(st.integers(0, 6), st.integers(0, 10**10), max_size=6)


def split(
    pool: int, take: int, work: dict[int, int], revenue: dict[int, int], cells: int = 3, demand_ppm: int = 500_000
) -> Need:
    return split_by_need(
        pool, take, work, revenue, target_work=TARGET, full_coverage_cells=cells, need_demand_ppm=demand_ppm
    )


@given(st.integers(0, 10**27), st.integers(0, 10**27), CELLS, MONEY, st.integers(1, 8), st.integers(0, PPM))
def test_cell_pools_never_exceed_the_pool(
    pool: int, take: int, work: dict[int, int], revenue: dict[int, int], cells: int, demand_ppm: int
) -> None:
    need = split(pool, take, work, revenue, cells, demand_ppm)
    paid = sum(part.pool_base for part in need.cells.values())
    assert paid <= need.earned_base <= pool
    assert need.earned_base - paid <= 2 * len(need.cells) + 2
    assert need.coverage_base + need.demand_base == pool


@given(st.integers(0, 10**27), st.integers(0, 10**27), CELLS, MONEY, st.integers(0, PPM))
def test_demand_part_below_take(
    pool: int, take: int, work: dict[int, int], revenue: dict[int, int], demand_ppm: int
) -> None:
    """No cell gets more demand money than its share of the take: what makes buying from oneself a loss."""
    need = split(pool, take, work, revenue, demand_ppm=demand_ppm)
    total = sum(revenue.values())
    for cell, part in need.cells.items():
        assert part.demand_base * PPM * total <= take * demand_ppm * revenue.get(cell, 0)


@given(st.integers(0, 10**27), CELLS, MONEY, st.integers(0, 6), st.integers(1, TARGET))
def test_more_work_in_a_cell_never_lowers_its_pool(
    pool: int, work: dict[int, int], revenue: dict[int, int], cell: int, more: int
) -> None:
    before = split(pool, pool, work, revenue)
    after = split(pool, pool, {**work, cell: work.get(cell, 0) + more}, revenue)
    had = before.cells[cell].pool_base if cell in before.cells else 0
    assert after.cells[cell].pool_base >= had - 2


@given(st.floats(-85, 85), st.floats(-180, 180))
def test_a_roof_reaches_at_most_three_cells(lat: float, lon: float) -> None:
    """Three hexagons meet in a corner, so clones within some metres of each other stand in three cells at most."""
    metre = 1 / 111_000
    around = [
        (lat + metre * math.sin(a), lon + metre * math.cos(a) / math.cos(math.radians(lat)))
        for a in [k * math.pi / 6 for k in range(12)]
    ]
    assert len({cell_of(*place, 7) for place in [(lat, lon), *around]}) <= 3


def test_cell_name_is_the_usual_one() -> None:
    assert cell_name(cell_of(37.7752702151959, -122.418307270836, 9)) == "8928308280fffff"  # h3geo.org quick start


def test_worked_example() -> None:
    """Two full cells of three, one of them crowded, customers bought 30 $ in one: docs/explanation/rewards.md."""
    need = split(1_200, 100, {1: TARGET, 2: 5 * TARGET}, {1: 30_000_000})
    assert (need.demand_base, need.coverage_base) == (50, 1_150)
    assert need.cells[1].coverage_base == need.cells[2].coverage_base == 383
    assert (need.cells[1].demand_base, need.cells[2].demand_base) == (50, 0)
    assert need.earned_base == 816  # 384 are nobody's
