"""Who may judge whom."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.sensing.fleet.frame import dense, vote_median, voters
from tests.services.sensing.fleet.fleets import frame


def flat(n: int, slots: int = 4) -> dict[str, np.ndarray]:
    return {"temperature_c": np.tile(np.arange(n, dtype=float)[:, None], (1, slots))}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_no_operator_votes_twice_or_for_himself(operators: list[int]) -> None:
    fleet = frame(flat(len(operators)), operators=operators)
    found = voters(fleet, 5, 50.0)
    for device, row in enumerate(found.index):
        hands = [operators[k] for k in row if k >= 0]
        assert len(hands) == len(set(hands))
        assert operators[device] not in hands


def test_the_nearest_of_an_operator_votes() -> None:
    fleet = frame(flat(9), operators=[0, 1, 1, 1, 2, 2, 2, 3, 3])
    assert voters(fleet, 8, 50.0).index[0].tolist()[:3] == [1, 4, 7]


def test_radius_and_the_right_to_vote_are_respected() -> None:
    fleet = frame(flat(9), spacing_km=10.0)
    assert (voters(fleet, 8, 5.0).count == 0).all()
    silenced = np.ones(9, dtype=bool)
    silenced[1] = False
    assert 1 not in voters(fleet, 8, 50.0, allowed=silenced).index


def test_median_needs_enough_votes_and_skips_gaps() -> None:
    series = flat(4)
    series["temperature_c"][3, 1] = np.nan
    fleet = frame(series)
    near = voters(fleet, 3, 50.0)
    median = vote_median(fleet.get("temperature_c"), near, 3)
    assert median[0].tolist()[0] == 2.0
    assert np.isnan(median[0, 1])  # only two voters left
    assert vote_median(fleet.get("temperature_c"), near, 2)[0, 1] == 1.5


def test_median_is_brought_to_the_stations_elevation() -> None:
    fleet = frame(flat(4))
    shift = np.array([0.0, 650.0, 650.0, 650.0]) * 0.0065
    median = vote_median(fleet.get("temperature_c") * 0, voters(fleet, 3, 50.0), 3, shift)
    np.testing.assert_allclose(median[0], 0.0065 * 650)  # the valley station is compared with warmer air


def test_an_empty_fleet_has_no_voters() -> None:
    fleet = frame({"temperature_c": np.zeros((0, 5))})
    assert voters(fleet, 3, 10.0).index.shape == (0, 3)


def test_a_fleet_that_reports_seldom_gets_wider_slots() -> None:
    series = flat(6, slots=24)
    series["temperature_c"][:, 1::2] = np.nan
    wide = dense(frame(series))
    assert wide.grid.slots == 12 and wide.grid.slot_ms == 600_000
    assert np.isfinite(wide.get("temperature_c")).all()
    series["temperature_c"][:4] = np.tile(np.arange(4.0)[:, None], (1, 24))  # most report often: nothing changes
    assert dense(frame(series)).grid.slots == 24
