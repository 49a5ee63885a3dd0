"""Each trick is seen where claims show it, not seen where they refute it, and not checkable where they say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.assess.case import load_case
from fieldstone.assess.evaluate import assess
from fieldstone.assess.gaming import TRICKS
from tests.assess.conftest import ON, card, claim

SHOWN: dict[str, list[str]] = {
    "wash_demand": [claim("payers.external_share", 30, "%")],
    "discretionary_burns": [claim("revenue.discretionary", 50, "USD/day"), claim("revenue.fees", 100, "USD/day")],
    "penalties_as_revenue": [claim("revenue.penalty_share", 99.5, "%")],
    "gmv_as_revenue": [claim("revenue.gmv", 800, "USD/day")],
    "split_supply": [claim("devices.registered", 59_000, "people"), claim("devices.active", 5_500, "people")],
    "one_payer_many_wallets": [claim("payers.count", 40, "customers"), claim("payers.clustered", 2, "customers")],
    "subsidised_price": [
        claim("price.network", 1, "USD/scans"),
        claim("price.alternative", 2, "USD/scans"),
        claim("emission.usd", 500, "USD/day"),
        claim("units.served", 100, "scans/day"),
    ],
    "verification_theatre": [claim("attack.fake_reward_ratio", 7.5, "x")],
    "one_upgrade_key": [claim("control.nakamoto", 1, "parties")],
    "cherry_picked_window": [claim("revenue.external", 10, "USD/day", "2025-12")],
    "unit_switching": [claim("supply.served", 2, "EB"), claim("supply.served", 1110, "PiB", id="b")],
    "secret_method": [claim("verification.secret_method", True)],
}
REFUTED: dict[str, list[str]] = {
    "wash_demand": [claim("payers.external_share", 90, "%")],
    "discretionary_burns": [claim("revenue.discretionary", 5, "USD/day"), claim("revenue.fees", 100, "USD/day")],
    "penalties_as_revenue": [claim("revenue.service_share", 95, "%")],
    "gmv_as_revenue": [claim("revenue.gmv", 8, "USD/day"), claim("revenue.net", 2, "USD/day"), claim("revenue.total", 2, "USD/day")],
    "split_supply": [claim("devices.registered", 60, "d"), claim("devices.active", 50, "d"), claim("devices.owners_clustered", 9, "o")],
    "one_payer_many_wallets": [claim("payers.count", 40, "customers"), claim("payers.clustered", 39, "customers")],
    "subsidised_price": [
        claim("price.network", 1, "USD/scans"),
        claim("price.alternative", 2, "USD/scans"),
        claim("emission.usd", 5, "USD/day"),
        claim("units.served", 100, "scans/day"),
    ],
    "verification_theatre": [claim("attack.fake_reward_ratio", 0.01, "x")],
    "one_upgrade_key": [claim("control.nakamoto", 5, "parties")],
    "cherry_picked_window": [claim("revenue.external", 10, "USD/day", "2025")],
    "unit_switching": [claim("supply.served", 2, "PiB"), claim("supply.served", 1110, "TiB", id="b")],
    "secret_method": [claim("verification.secret_method", False)],
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_each_trick_is_seen_and_not_seen(trick: str) -> None:
    outcome = {s.id: s for s in card(*SHOWN[trick]).suspicions}[trick]
    assert outcome.outcome == "found" and outcome.shows
    assert {s.id: s for s in card(*REFUTED[trick]).suspicions}[trick].outcome == "not found"


def test_nothing_claimed_is_not_checkable() -> None:
    outcomes = {s.id: s.outcome for s in card().suspicions}
    assert set(outcomes) == set(TRICKS)
    assert {trick for trick, outcome in outcomes.items() if outcome != "not checkable"} == {"unit_switching"}


def test_gross_value_called_revenue_on_a_public_page() -> None:
    case = load_case(Path(__file__).parent.parent / "vectors" / "assess" / "io-net.toml")
    seen = {s.id: s.shows for s in assess(case, on=ON).suspicions if s.outcome == "found"}
    assert seen["gmv_as_revenue"].startswith("stated revenue is")
