"""The lab's adversaries against the real rules: caught, and the honest left alone. Bench has the figures over seeds."""

from __future__ import annotations

import polars as pl
import pytest

from fieldstone.services.storage.lab_trial import ATTACKS, OUTCOME_SCHEMA, trial

QUICK = ("drop_50", "roots_only", "refuses_reads", "one_segment", "forged_lease", "inflated_egress", "silent_when_hit")


@pytest.fixture(scope="module")
def outcome() -> pl.DataFrame:
    return trial(1, honest=6, shares=25, days=0.5, attacks=QUICK)


def test_outcomes_have_their_columns(outcome: pl.DataFrame) -> None:
    assert dict(outcome.schema) == OUTCOME_SCHEMA
    assert set(QUICK) <= set(outcome["label"])
    assert all(one.summary for one in ATTACKS.values())


@pytest.mark.parametrize("attack", QUICK)
def test_attackers_are_caught_within_half_a_day(attack: str, outcome: pl.DataFrame) -> None:
    rows = outcome.filter(pl.col("label") == attack)
    assert rows["penalised"].all(), rows["reasons"].to_list()
    assert (rows["first_hours"] <= 12).all()


def test_healthy_honest_providers_lose_nothing(outcome: pl.DataFrame) -> None:
    healthy = outcome.filter(pl.col("label") == "honest")
    assert healthy.height == 6 * len(QUICK)
    assert not healthy["penalised"].any()
    assert (healthy["income_ppm"] == 1_000_000).all()


def test_an_outage_costs_its_time_and_accuses_nobody_of_loss(outcome: pl.DataFrame) -> None:
    rows = outcome.filter(pl.col("label") == "honest:outage")
    assert (rows["income_ppm"] < 900_000).all()
    assert not rows["reasons"].list.eval(pl.element().is_in(["DATA_LOSS", "WRONG_LEAF", "SUSPENDED"])).list.any().any()


def test_who_has_no_disk_of_his_own_is_found_by_being_asked_at_the_same_moment() -> None:
    attack = "fetches_on_demand"
    found = trial(1, honest=2, shares=8, days=2, attacks=[attack], overrides={"questions_per_day": 48})
    assert "SHARED_DISK" in {code for codes in found.filter(pl.col("label") == attack)["reasons"] for code in codes}
    assert not found.filter(pl.col("label") != attack)["reasons"].list.contains("SHARED_DISK").any()


def test_seats_for_leases_would_let_who_stores_nothing_denounce_everybody() -> None:
    found = trial(1, honest=6, shares=8, days=1, attacks=["empty_checkers"], overrides={"questions_per_day": 48})
    assert found.filter(pl.col("label") == "empty_checkers")["penalised"].all()
    honest = found.filter(pl.col("label") == "honest:slandered")
    # nothing is proven in the first epoch: seats go by leases there, and only there
    assert honest.height == 6 and (honest["income_ppm"] > 900_000).all()
    assert not honest["reasons"].list.contains("SUSPENDED").any()


def test_a_trial_is_repeatable() -> None:
    one = trial(2, honest=3, shares=8, days=0.25, attacks=["drop_5"])
    assert one.equals(trial(2, honest=3, shares=8, days=0.25, attacks=["drop_5"]))
