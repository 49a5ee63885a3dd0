"""Streaming settlement: reference 7's example, the three states, and the invariants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.pricing import PeriodState, Schedule, rate_per_epoch, settle

EXAMPLE = Schedule(activation=100, length=10)


def test_the_published_example() -> None:
    """A = 100, M = 10; period 0 proven, 1 faulted, 2 open; now 125, rate 3: pays 30 and stops at 120."""
    paid = settle(EXAMPLE, 100, 125, rate=3, proven={0}, now=125)
    assert (paid.paid, paid.until) == (3 * 25 * 10 // 25, 120) == (30, 120)
    again = settle(EXAMPLE, 120, 125, rate=3, proven={0}, now=125)
    assert (again.paid, again.until) == (0, 120)
    assert [EXAMPLE.state(period, {0}, 125) for period in range(3)] == [
        PeriodState.PROVEN,
        PeriodState.FAULTED,
        PeriodState.OPEN,
    ]


def test_a_deadline_is_the_last_epoch_of_its_period() -> None:
    assert [EXAMPLE.period_of(epoch) for epoch in (101, 110, 111)] == [0, 0, 1]
    assert EXAMPLE.deadline(0) == 110
    assert EXAMPLE.state(0, (), 110) is PeriodState.OPEN
    assert EXAMPLE.state(0, (), 111) is PeriodState.FAULTED
    with pytest.raises(UsageError, match="activation"):
        EXAMPLE.period_of(100)


schedules = st.builds(Schedule, st.integers(0, 50), st.integers(1, 12))


@given(
    schedule=schedules,
    start=st.integers(0, 80),
    lengths=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    later=st.integers(0, 20),
    rate=st.integers(0, 10**6),
    proven=st.frozensets(st.integers(0, 60)),
)
def test_never_more_than_proposed_and_pieces_never_pay_more(
    schedule: Schedule, start: int, lengths: tuple[int, int], later: int, rate: int, proven: frozenset[int]
) -> None:
    middle, end = start + lengths[0], start + sum(lengths)
    now = end + later
    whole = settle(schedule, start, end, rate=rate, proven=proven, now=now)
    assert 0 <= whole.paid <= rate * (end - start)
    assert start <= whole.until <= end or whole.until == schedule.activation
    first = settle(schedule, start, middle, rate=rate, proven=proven, now=now)
    if first.until == middle:
        second = settle(schedule, middle, end, rate=rate, proven=proven, now=now)
        assert second.until == whole.until
        assert first.paid + second.paid <= whole.paid
        assert first.proven_epochs + second.proven_epochs == whole.proven_epochs


@given(schedule=schedules, end=st.integers(0, 200), rate=st.integers(0, 1_000))
def test_nothing_proven_pays_nothing(schedule: Schedule, end: int, rate: int) -> None:
    assert settle(schedule, 0, end, rate=rate, proven=(), now=end + 50).paid == 0


@given(schedule=schedules, periods=st.integers(1, 9), rate=st.integers(0, 1_000))
def test_everything_proven_pays_everything(schedule: Schedule, periods: int, rate: int) -> None:
    end = schedule.deadline(periods - 1)
    paid = settle(schedule, schedule.activation, end, rate=rate, proven=range(periods), now=end)
    assert (paid.paid, paid.until) == (rate * periods * schedule.length, end)


def test_a_tebibyte_costs_what_the_price_list_says() -> None:
    """2.5 USDFC a TiB-month and 0.024 a set, in 10⁻¹⁸: a month of epochs pays 2.524, short by the floors."""
    rate = rate_per_epoch(2**40, 25 * 10**17, 24 * 10**15)
    assert 2_524 * 10**15 - 2 * 86_400 <= rate * 86_400 <= 2_524 * 10**15
    assert rate_per_epoch(0, 25 * 10**17, 24 * 10**15) == 0


@pytest.mark.parametrize(("start", "end", "now"), [(5, 4, 9), (0, 10, 9)])
def test_ranges_are_forward_and_past(start: int, end: int, now: int) -> None:
    with pytest.raises(UsageError, match="no settlement"):
        settle(EXAMPLE, start, end, rate=1, proven=(), now=now)
