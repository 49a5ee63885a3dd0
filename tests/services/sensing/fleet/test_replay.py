"""Replayed epochs, own and foreign."""

from __future__ import annotations

import numpy as np
import polars as pl

from fieldstone.services.sensing.fleet.frame import Frame
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.replay import CARRY_SCHEMA, report_replays
from tests.services.sensing.fleet.fleets import RULES, frame
from tests.services.sensing.fleet.test_copies import honest


def run(fleet: Frame, epoch: int, carry: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    ledger = Ledger(fleet.devices)
    kept = report_replays(fleet, epoch, carry, RULES, ledger, np.zeros(fleet.count, dtype=bool))
    assert dict(kept.schema) == CARRY_SCHEMA
    return ledger.findings, kept


def test_an_old_day_sent_again_is_found_and_new_days_are_not() -> None:
    days = [honest(seed=seed) for seed in range(6)]
    for values, old in zip(days[5].values(), days[1].values(), strict=True):
        values[3] = old[3] + 0.7
    carry = None
    for number, day in enumerate(days):
        findings, carry = run(frame(day), number + 1, carry)
        if number < 5:
            assert findings.is_empty()
    assert findings.select("device", "reason").rows() == [("d003", "REPLAYED")]
    assert '"of_epoch":2' in findings["detail"][0]


def test_yesterday_of_another_device_is_found() -> None:
    first, second = honest(seed=0), honest(seed=1)
    for values, old in zip(second.values(), first.values(), strict=True):
        values[9] = 1.1 * old[20]
    _, carry = run(frame(first), 1, None)
    findings, _ = run(frame(second), 2, carry)
    assert findings["device"].to_list() == ["d009"]
    assert '"of_device":"d020"' in findings["detail"][0]


def test_the_same_epoch_replayed_by_a_verifier_is_no_replay() -> None:
    _, carry = run(frame(honest()), 1, None)
    findings, again = run(frame(honest()), 1, carry)
    assert findings.is_empty() and again.height == 40  # its own fingerprint does not count


def test_only_the_agreed_number_of_epochs_is_kept() -> None:
    rules = RULES | {"replay_keep": 3}
    carry = None
    for epoch in range(1, 8):
        fleet = frame(honest(n=4, seed=epoch))
        carry = report_replays(fleet, epoch, carry, rules, Ledger(fleet.devices), np.zeros(4, dtype=bool))
    assert carry is not None and sorted(set(carry["epoch"])) == [4, 5, 6, 7]


def test_a_dead_sensor_is_not_a_replay_of_itself() -> None:
    dead = {name: np.full_like(values, 5.0) for name, values in honest().items()}
    _, carry = run(frame(dead), 1, None)
    findings, _ = run(frame(dead), 2, carry)
    assert findings.is_empty() and carry.is_empty()
