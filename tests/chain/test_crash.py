"""SIGKILL at random moments of settlement: nothing twice, nothing acknowledged lost (100 times in `bench/settlement_crash.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chain import crash


@pytest.mark.crash
def test_a_killed_settlement_neither_repeats_nor_loses(tmp_path: Path) -> None:
    outcome = crash.run(tmp_path, kills=8, seed=8)
    assert outcome.epochs > 2 and outcome.claims > 5  # it did work in between
    assert (outcome.posted_twice, outcome.lost_roots) == (0, 0)
    assert (outcome.paid_twice, outcome.lost_payouts) == (0, 0)
    assert outcome.torn_blocks == 0
