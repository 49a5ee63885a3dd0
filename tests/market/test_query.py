"""Areas on a globe, canonical questions, and refusals that say what is wrong."""

from __future__ import annotations

import h3
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Rejected
from fieldstone.market.catalogue import Offer
from fieldstone.market.query import MAX_CELLS, Box, Query, checked, stations_within
from fieldstone.services.sensing.schema import PRODUCTS, VARIABLES

OFFER = Offer("sensing", PRODUCTS[0], "readings", VARIABLES, 20, 500_000)
STATIONS = pl.DataFrame(
    {
        "device": ["fiji-east", "fiji-west", "meridian", "berlin", "south-pole", "north-pole", "nowhere"],
        "lat": [-17.0, -17.0, -17.0, 52.5, -90.0, 90.0, None],
        "lon": [179.5, -179.5, 180.0, 13.4, 42.0, 0.0, 0.0],
    }
)


def ask(**changes: object) -> Query:
    base: dict[str, object] = {"service": "sensing", "product": "observations", "start_ms": 0, "end_ms": 10}
    return Query(**{**base, **changes})  # type: ignore[arg-type]


def within(**changes: object) -> list[str]:
    return stations_within(STATIONS, checked(ask(**changes), OFFER))["device"].to_list()


def test_no_area_means_everywhere_that_is_somewhere() -> None:
    assert within() == ["berlin", "fiji-east", "fiji-west", "meridian", "north-pole", "south-pole"]


def test_a_box_may_cross_the_antimeridian() -> None:
    assert within(box=Box(-18, 179, -16, -179)) == ["fiji-east", "fiji-west", "meridian"]
    assert within(box=Box(-18, -179, -16, 179)) == []


def test_180_and_minus_180_are_one_meridian() -> None:
    assert within(box=Box(-18, 179, -16, 180)) == ["fiji-east", "meridian"]
    assert within(box=Box(-18, -180, -16, -179)) == ["fiji-west", "meridian"]


def test_at_a_pole_longitude_says_nothing() -> None:
    assert within(box=Box(-90, 0, -80, 1)) == ["south-pole"]
    assert within(box=Box(80, 100, 90, 110)) == ["north-pole"]
    assert within(box=Box(80, 100, 89, 110)) == []


def test_cells_of_any_resolution_and_both_sides_of_the_antimeridian() -> None:
    fine = h3.latlng_to_cell(52.5, 13.4, 15)
    coarse = h3.latlng_to_cell(-17.0, 179.5, 0)
    assert within(cells=(fine,)) == ["berlin"]
    assert "fiji-east" in within(cells=(coarse, fine))
    assert within(cells=(h3.latlng_to_cell(-90, 0, 3),)) == ["south-pole"]


@given(
    south=st.floats(-90, 90),
    north=st.floats(-90, 90),
    west=st.floats(-180, 180),
    east=st.floats(-180, 180),
    lat=st.floats(-90, 90),
    lon=st.floats(-180, 180),
)
def test_a_box_cut_at_any_meridian_holds_the_same_stations(
    south: float, north: float, west: float, east: float, lat: float, lon: float
) -> None:
    south, north = min(south, north), max(south, north)
    one = pl.DataFrame({"device": ["x"], "lat": [lat], "lon": [lon]})

    def inside(box: Box) -> bool:
        return stations_within(one, checked(ask(box=box), OFFER)).height == 1

    whole = inside(Box(south, west, north, east))
    pieces = (
        [Box(south, west, north, 180.0), Box(south, -180.0, north, east)]
        if west > east
        else [Box(south, west, north, (west + east) / 2), Box(south, (west + east) / 2, north, east)]
    )
    assert whole == any(inside(piece) for piece in pieces)


def test_the_canonical_form_is_one_per_question() -> None:
    cell, other = h3.latlng_to_cell(1, 1, 5), h3.latlng_to_cell(2, 2, 6)
    first = checked(ask(cells=(cell, other), variables=("humidity_pct", "temperature_c")), OFFER)
    second = checked(ask(cells=(other.upper(), cell, cell), variables=("temperature_c", "humidity_pct")), OFFER)
    assert first == second
    assert first.variables == ("temperature_c", "humidity_pct")
    assert checked(ask(), OFFER).variables == tuple(column.name for column in VARIABLES)
    assert repr(checked(ask(box=Box(-0.0, -0.0, 0.0, 0.0)), OFFER).box) == repr(Box(0.0, 0.0, 0.0, 0.0))


def test_nobody_buys_below_the_networks_least_quality() -> None:
    assert checked(ask(min_quality_ppm=10), OFFER).min_quality_ppm == 500_000
    assert checked(ask(min_quality_ppm=900_000), OFFER).min_quality_ppm == 900_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variables": ("temperature_c; drop table",)}, "unknown variable"),
        ({"variables": ("device",)}, "unknown variable"),
        ({"start_ms": 10}, "before end_ms"),
        ({"start_ms": -1}, "before end_ms"),
        ({"end_ms": 10**18}, "before end_ms"),
        ({"min_quality_ppm": 1_000_001}, "min_quality_ppm"),
        ({"cells": ("8a",)}, "not an H3 cell"),
        ({"cells": ("=cmd()",)}, "not an H3 cell"),
        ({"cells": ("",)}, "not an H3 cell"),
        ({"cells": ("0",) * (MAX_CELLS + 1)}, "at most"),
        ({"box": Box(10, 0, 0, 0)}, "south"),
        ({"box": Box(-91, 0, 0, 0)}, "south"),
        ({"box": Box(0, -181, 0, 0)}, "west"),
        ({"box": Box(0, float("nan"), 0, 0)}, "not a number"),
        ({"box": Box(0, 0, float("inf"), 0)}, "not a number"),
        ({"box": Box(0, 0, 1, 1), "cells": ("831f8dfffffffff",)}, "not both"),
    ],
)
def test_an_impossible_question_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(Rejected, match=words) as refused:
        checked(ask(**changes), OFFER)
    assert refused.value.reason.code == "BAD_QUERY"
