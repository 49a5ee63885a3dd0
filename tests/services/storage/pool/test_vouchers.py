"""The number of bytes ordered never falls and is never given out twice: in parallel, after a crash, with two processes."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select
from sqlalchemy.pool import StaticPool

from fieldstone.services.storage.pool.database import ThreadDatabase
from fieldstone.services.storage.pool.tables import create_tables, node
from fieldstone.services.storage.pool.vouchers import VoucherBook
from fieldstone.state.engine import connect_state


def database(path: Path) -> ThreadDatabase:
    engine = connect_state(path / "gateway.db")
    create_tables(engine)
    return ThreadDatabase(engine)


async def test_parallel_orders_get_pieces_of_one_line(tmp_path: Path) -> None:
    shared = database(tmp_path)
    book = VoucherBook(shared, step_bytes=1_000)
    orders = [{f"n{i % 3}": 1 + i % 400, "n3": 7} for i in range(200)]
    numbers = await asyncio.gather(*map(book.order, orders))
    pieces = defaultdict(list)
    for order, number in zip(orders, numbers, strict=True):
        for device, size in order.items():
            pieces[device].append((number[device] - size, number[device]))
    for device, found in pieces.items():
        found.sort()
        assert found[0][0] == 0
        assert all(low == before for (_, before), (low, _) in itertools.pairwise(found)), device
    shared.close()


async def test_after_a_crash_counting_goes_on_above(tmp_path: Path) -> None:
    before = database(tmp_path)
    last = (await VoucherBook(before, step_bytes=1_000).order({"n": 300}))["n"]
    before.close()  # the book itself is gone without a word, as by kill -9
    after = database(tmp_path)
    first = (await VoucherBook(after, step_bytes=1_000).order({"n": 1}))["n"] - 1
    assert last <= first <= last + 1_000
    after.close()


async def test_a_clean_end_gives_back_what_was_not_used(tmp_path: Path) -> None:
    shared = database(tmp_path)
    book = VoucherBook(shared, step_bytes=1_000)
    await book.order({"n": 300})
    await book.close()
    assert await shared.read(lambda c: c.execute(select(node.c.egress_bytes)).scalar_one()) == 300
    assert await VoucherBook(shared).order({"n": 5}) == {"n": 305}
    shared.close()


async def test_a_customer_who_hangs_up_while_a_ceiling_is_written_costs_nothing(tmp_path: Path) -> None:
    """Each time, a step of 16 MiB per provider was skipped, and paid for with the next order."""
    shared = database(tmp_path)
    book = VoucherBook(shared, step_bytes=1_000)
    for _ in range(20):
        ordering = asyncio.create_task(book.order({"a": 5, "b": 5}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ordering.cancel()
        await asyncio.gather(ordering, return_exceptions=True)
    assert max((await book.order({"a": 5, "b": 5})).values()) <= 21 * 5
    shared.close()


async def test_what_is_ordered_while_the_rest_is_given_back_is_not_ordered_again(tmp_path: Path) -> None:
    shared = database(tmp_path)
    book = VoucherBook(shared, step_bytes=1_000)
    await book.order({"n": 300})
    closing = asyncio.create_task(book.close())
    await asyncio.sleep(0)
    late = (await book.order({"n": 5}))["n"]
    await closing
    assert (await VoucherBook(shared).order({"n": 1}))["n"] > late
    shared.close()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 900)), max_size=30), st.sets(st.integers(0, 30)))
def test_no_byte_is_ordered_twice_whoever_crashes(orders: list[tuple[int, int]], crashes: set[int]) -> None:
    """Three processes of one identity; some vanish at some point and start anew."""

    async def run() -> None:
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        create_tables(engine)
        shared = ThreadDatabase(engine)
        books = [VoucherBook(shared, step_bytes=500) for _ in range(3)]
        taken: list[tuple[int, int]] = []
        for place, (who, size) in enumerate(orders):
            if place in crashes:
                books[who] = VoucherBook(shared, step_bytes=500)
            high = (await books[who].order({"n": size}))["n"]
            taken.append((high - size, high))
        taken.sort()
        assert all(low >= before for (_, before), (low, _) in itertools.pairwise(taken))
        shared.close()

    asyncio.run(run())
