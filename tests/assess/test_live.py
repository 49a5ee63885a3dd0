"""Claims of grade A from sealed epochs: the numbers are those of the epochs, worked out by hand here."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.assess.case import joined
from fieldstone.assess.evaluate import assess
from fieldstone.assess.live import claims_of_epochs
from fieldstone.errors import CheckFailed, UsageError
from tests.assess.conftest import ON, case, claim
from tests.epoch.conftest import SmallNetwork


@pytest.fixture
def network(tmp_path: Path):
    small = SmallNetwork(tmp_path)
    small.run_hours(5)
    small.pay(0, 5_000_000)
    small.run_hours(1)
    small.close()
    small.run_hours(5)
    small.pay(1, 1_000_000, order="o2")
    small.pay(1, 1_000_000, order="o2")  # metered twice, paid once
    small.run_hours(1)
    small.close()
    yield small
    small.journal.close()


def test_revenue_rewards_and_fleet(network: SmallNetwork) -> None:
    live = claims_of_epochs([network.store.sealed(n) for n in (1, 2)], name="Mine")
    by_metric = {one.metric: one for one in live.claims}
    assert all(one.grade == "A" and one.source.id == "sealed-epochs" for one in live.claims)
    days = (network.store.sealed(2).manifest.end_ms - network.store.sealed(1).manifest.start_ms) / 86_400_000
    assert by_metric["revenue.total"].value == pytest.approx(6 / days)
    assert by_metric["payers.revenue"].values == (pytest.approx(6 / days),)
    minted = sum(int(network.store.sealed(n).manifest.minted_base) for n in (1, 2)) / 10**18
    mints = by_metric["emission.schedule"].value + by_metric["emission.reissue"].value
    assert mints == pytest.approx(minted / days)
    assert by_metric["devices.registered"].value == 4
    assert by_metric["supply.utilisation"].value == pytest.approx(2 / by_metric["devices.active"].value)
    assert len(by_metric["link.device_rewards"].values or ()) == 4
    # nobody gets more out of a dollar than the policy's 1 − take
    assert by_metric["attack.reward_per_dollar"].value <= 1 - by_metric["policy.take"].value + 1e-9
    assert "makers.devices" not in by_metric, "a model's name is no maker"
    assert "payers.external_share" not in by_metric, "who is related is not in the epochs"


def test_the_card_of_a_live_network(network: SmallNetwork) -> None:
    epochs = [network.store.sealed(n) for n in (1, 2)]
    one = assess(claims_of_epochs(epochs), on=ON)
    assert one.answer("1b").band == "green" and one.answer("1b").grade == "A"
    assert one.answer("1").band == "red", "one payer"
    assert {f.rule.id: f.raised for f in one.flags}["self_dealing"] is False
    assert {f.rule.id: f.raised for f in one.flags}["one_payer"] is True
    assert one.answer("5").status == "unknown", "what hardware costs is in no epoch"
    own = assess(claims_of_epochs(epochs, related=["c1"]), on=ON)
    share = own.known("external_share")
    assert share is not None and share.value == 0.0
    assert {s.id: s.outcome for s in own.suspicions}["wash_demand"] == "found"


def test_a_case_file_adds_what_epochs_do_not_hold(network: SmallNetwork) -> None:
    live = claims_of_epochs([network.store.sealed(2)])
    both = joined(case(claim("hardware.capex", 300, "USD", grade="B")), live)
    one = assess(both, on=ON)
    payback = one.known("payback_p50")
    assert payback is not None and "hardware-capex" in payback.claims and "live-reward-per-device" in payback.claims
    assert payback.grade in ("B", "C")
    assert both.network.name == "N"


def test_a_changed_epoch_is_not_assessed(network: SmallNetwork) -> None:
    sealed = network.store.sealed(2)
    path = sealed.folder / "statements.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckFailed, match="statements"):
        claims_of_epochs([network.store.sealed(1), sealed])
    with pytest.raises(UsageError, match="sealed"):
        claims_of_epochs([])


def test_the_same_epochs_give_the_same_claims(network: SmallNetwork) -> None:
    epochs = [network.store.sealed(n) for n in (1, 2)]
    assert claims_of_epochs(epochs).sha256 == claims_of_epochs(epochs).sha256
