from __future__ import annotations

import random

import msgspec
import polars as pl
import pytest

from fieldstone.epoch.compute import NOBODY
from fieldstone.epoch.runner import ExecutorRunner, process_pool
from fieldstone.epoch.store import result_tables
from fieldstone.epoch.tables import digest
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.units import TOKEN_BASE

from .conftest import SmallNetwork


class ShuffledRunner:
    """Computes the parts in a random order: a scheduler must not matter."""

    def __init__(self, partitions: int, seed: int) -> None:
        self.partitions = partitions
        self._random = random.Random(seed)

    def map(self, function, parts):
        order = list(range(len(parts)))
        self._random.shuffle(order)
        results = {i: function(parts[i]) for i in order}
        return [results[i] for i in range(len(parts))]


def test_partitions_and_their_order_do_not_change_a_byte(network: SmallNetwork) -> None:
    network.run_hours(5)
    network.pay(1, 3_000_000)
    alone = {name: digest(table) for name, table in result_tables(network.compute()).items()}
    for partitions, seed in ((2, 1), (3, 2), (4, 3)):
        result = network.compute(ShuffledRunner(partitions, seed))
        assert {name: digest(table) for name, table in result_tables(result).items()} == alone


def test_a_process_pool_gives_the_same_bytes(network: SmallNetwork) -> None:
    network.run_hours(6)
    with process_pool(2) as pool:
        pooled = network.compute(ExecutorRunner(pool, 2))
    assert pooled.root == network.compute().root


def test_customers_money_reaches_the_device_that_delivered(network: SmallNetwork) -> None:
    network.run_hours(5)
    network.pay(2, 10_000_000)  # $10 at $0.05 a token, 10 % take → 180 tokens
    row = (
        network.compute()
        .allocation.statements.filter(pl.col("device") == network.keys[2].public.device_id)
        .to_dicts()[0]
    )
    assert int(row["paid_base"]) == 180 * TOKEN_BASE


def test_everybody_has_a_statement_and_totals_add_up(network: SmallNetwork) -> None:
    network.run_hours(6)
    result = network.compute()
    assert set(result.allocation.statements["device"].to_list()) >= {key.public.device_id for key in network.keys}
    assert result.total_base == sum(result.leaves.values()) == result.allocation.minted_base


def test_an_empty_epoch_still_has_a_root(tmp_path) -> None:
    network = SmallNetwork(tmp_path, stations=0)
    network.clock.set(network.state.next_end_ms)
    result = network.compute()
    assert result.leaves == {NOBODY: 0} and len(result.root) == 32 and result.verdicts.height == 0
    network.journal.close()


def test_equivocation_costs_the_epoch(network: SmallNetwork) -> None:
    network.run_hours(5)
    network.clock.set(network.clock.now_ms() + 3_000_000)
    first = network.signed_report(0, 15.0, seq=77)
    second = network.signed_report(0, 25.0, seq=77)
    device = network.keys[0].public.device_id
    network.append(NewEntry(EntryKind.REPORT, device, first))
    network.append(NewEntry(EntryKind.EQUIVOCATION, device, equivocation_body(first, second)))
    verdicts = {row["device"]: row for row in network.compute().verdicts.to_dicts()}
    assert verdicts[device]["verdict"] == "rejected" and verdicts[device]["reasons"][0] == "EQUIVOCATION"
    honest = network.keys[1].public.device_id
    assert verdicts[honest]["verdict"] != "rejected"


def test_an_accusation_without_proof_is_not_believed(network: SmallNetwork) -> None:
    from fieldstone.errors import CheckFailed

    network.run_hours(1)
    message = network.signed_report(0, 15.0, seq=90)
    device = network.keys[0].public.device_id
    network.append(NewEntry(EntryKind.EQUIVOCATION, device, equivocation_body(message, message)))
    verdict = {row["device"]: row["verdict"] for row in network.compute().verdicts.to_dicts()}[device]
    assert verdict != "rejected"
    forged = message[:-1] + bytes([message[-1] ^ 1])
    network.append(NewEntry(EntryKind.EQUIVOCATION, device, equivocation_body(message, forged)))
    with pytest.raises(CheckFailed, match="does not verify"):
        network.compute()


def equivocation_body(first: bytes, second: bytes) -> bytes:
    return msgspec.msgpack.encode([first, second])
