from __future__ import annotations

import polars as pl
import pytest

from fieldstone.epoch.compute import epoch_randomness
from fieldstone.epoch.makegood import check_correction, correction_entry, owed, recompute
from fieldstone.epoch.replay import freeze_sealed, replay
from fieldstone.errors import CheckFailed, UsageError

from .conftest import BLOCK_HASH, SmallNetwork


def mis_scored(network: SmallNetwork):
    """Epoch 1 paid nobody for demand because its price was ten times too high: recompute with a changed parameter."""
    network.run_hours(6)
    network.close()
    frozen, state, randomness = freeze_sealed(network.store, 1)
    assert randomness == epoch_randomness("test", 1, BLOCK_HASH)
    return frozen, state, randomness, replay(network.store, 1).result


def test_nothing_changed_owes_nothing(network: SmallNetwork) -> None:
    frozen, state, randomness, original = mis_scored(network)
    assert owed(original, recompute(frozen, state, randomness, {"sensing": {}}, None)) == []


def test_unknown_service_is_named(network: SmallNetwork) -> None:
    frozen, state, randomness, _ = mis_scored(network)
    with pytest.raises(UsageError, match="storage"):
        recompute(frozen, state, randomness, {"storage": {}}, None)


def test_correction_is_paid_in_the_next_epoch_and_checked(network: SmallNetwork) -> None:
    from fieldstone.epoch.makegood import Owed

    mis_scored(network)
    device, operator = network.keys[0].public.device_id, network.wallets[0].address
    rows = [Owed(device, operator, 5, 1005)]
    network.append(correction_entry(1, "price feed was wrong", {"sensing": {}}, rows))
    result = network.compute()
    row = result.allocation.statements.filter(pl.col("device") == device).to_dicts()
    assert sum(int(r["correction_base"]) for r in row) == 1000
    body = network.entries()[-1].body
    check_correction(body, lambda epoch, corrected: rows)
    with pytest.raises(CheckFailed, match="epoch 1"):
        check_correction(body, lambda epoch, corrected: [Owed(device, operator, 5, 1004)])
