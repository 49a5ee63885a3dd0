"""One market for each test that asks for a `world`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldstone.clock import SetClock
from fieldstone.market import Source
from tests.market.world import HOUR_MS, POLICY, START_MS, World, make_world, two_epochs


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    two_epochs(tmp_path / "epochs")
    made = make_world(tmp_path, SetClock(START_MS + 10 * HOUR_MS), POLICY)
    who = made.market.customers.add("Anna's weather shop")
    key = made.market.customers.add_key(who.id)
    made.customer, made.key, made.holder = who.id, key.secret, made.market.authenticate(key.secret)
    made.market.topup(who.id, 1_000_000, Source.FIAT, "bank-1")
    yield made
    made.journal.close()
