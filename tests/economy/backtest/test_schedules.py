"""Exact schedules against published figures, the known failure too."""

from __future__ import annotations

import json

import pytest

from fieldstone.economy.backtest.cases import SCHEDULES
from fieldstone.economy.backtest.scores import check

SCORES = {schedule.name: check(schedule) for schedule in SCHEDULES}


def test_hip20_gives_the_chain_s_daily_rates() -> None:
    assert SCORES["Helium: HNT per day"].mape < 1e-9


def test_render_years() -> None:
    assert SCORES["Render: emission of years 1 to 3"].mape < 0.001


def test_the_schedule_alone_overstates_helium_s_supply() -> None:
    """Published as a failure: whoever counts the schedule alone is 18 % off."""
    found = SCORES["Helium: supply by the schedule alone"]
    assert found.mape == pytest.approx(0.185, abs=0.005)
    assert not found.meets["mape"]


def test_scores_are_plain_data() -> None:
    for found in SCORES.values():
        assert json.loads(json.dumps(found.as_dict()))["source"]
