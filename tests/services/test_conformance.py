"""Every service, one line; and the suite itself must be able to fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from fieldstone.services import conformance, load_service
from fieldstone.services.contract import EpochInput, FleetVerdicts
from fieldstone.services.sensing import Sensing, service
from tests.services.sensing.stations import (
    DAY_MS,
    LEAP_DAY_MS,
    epoch,
    every,
    no_readings,
    readings,
    registry,
    weather,
)


def sensing_examples() -> list[EpochInput]:
    """An odd fleet on a leap day, the day after, an epoch of ten minutes, a single station."""
    times = every(180)
    direction = [None] * len(times)
    frames = [
        weather("a", times),
        weather(
            "b",
            times,
            seed=1,
            temperature_c=np.where(np.arange(len(times)) == 99, 70.0, 12 + 0.1 * (np.arange(len(times)) % 9)),
        ),
        weather("c", times[:100], seed=2, humidity_pct=60.0),
        weather("d", times, seed=3, wind_speed_ms=0.0, wind_direction_deg=direction),
        weather("e", times, seed=4).with_columns(received_ms=pl.col("t_ms") - 400_000),
        pl.concat([weather("f", times, seed=5), weather("f", times[:9], seed=6)]),
        readings("g", times, pm2_5_ugm3=30.0, pm10_ugm3=[None, 10.0] * 240, noise_dba=float("nan")),
        readings("stranger", times[:3], temperature_c=1.0),
    ]
    fleet = registry("a", "b", "c", "d", "e", "f", "g", "silent")
    evidence = pl.concat(frames)
    day = epoch(evidence, fleet)
    next_day = dataclasses.replace(
        epoch(evidence.with_columns(pl.col("t_ms", "received_ms") + DAY_MS), fleet, start_ms=LEAP_DAY_MS + DAY_MS),
        epoch=2,
    )
    short = epoch(evidence, fleet, length_ms=600_000, number=3)
    alone = epoch(weather("a", times), registry("a"), number=4)
    return [day, next_day, short, alone]


def test_sensing_conforms() -> None:
    conformance.check(load_service("sensing"), sensing_examples(), part_counts=(2, 5))


class Careless(Sensing):
    """A service that breaks one promise at a time."""

    def __init__(self, change) -> None:
        self._change = change

    def check_fleet(self, whole: EpochInput, device_checks: pl.DataFrame) -> FleetVerdicts:
        return self._change(super().check_fleet(whole, device_checks))


def with_verdicts(**columns: pl.Expr):
    return lambda result: dataclasses.replace(result, verdicts=result.verdicts.with_columns(**columns))


_calls = iter(range(10_000))

BROKEN = {
    "an open reason": with_verdicts(reasons=pl.concat_list(pl.lit("MADE_UP"))),
    "quality above one": with_verdicts(quality_ppm=pl.lit(1_000_001)),
    "a missing device": lambda result: dataclasses.replace(result, verdicts=result.verdicts[1:]),
    "an unsorted table": lambda result: dataclasses.replace(result, verdicts=result.verdicts.reverse()),
    "paid though rejected": with_verdicts(quantity=pl.lit(5, pl.Int64)),
    "another verdict": with_verdicts(verdict=pl.lit("fine")),
    "detail not canonical": with_verdicts(detail=pl.lit('{"b":1,"a":2}')),
    "NaN in detail": with_verdicts(detail=pl.lit('{"a":NaN}')),
    "a different answer each time": lambda result: with_verdicts(quality_ppm=pl.lit(next(_calls), pl.Int64))(result),
    "sold though never sent": lambda result: dataclasses.replace(
        result, sellable={"readings": result.sellable["readings"].with_columns(pl.col("t_ms") + 1)}
    ),
}


@pytest.mark.parametrize("flaw", BROKEN)
def test_the_suite_finds_a_broken_promise(flaw: str) -> None:
    with pytest.raises(conformance.ConformanceError):
        conformance.check(Careless(BROKEN[flaw]), sensing_examples()[:1])


def test_the_suite_finds_a_result_that_depends_on_the_partition() -> None:
    class Neighbourly(Sensing):
        def check_devices(self, part: EpochInput) -> pl.DataFrame:
            return super().check_devices(part).with_columns(available_ms=pl.col("available_ms") - part.registry.height)

    with pytest.raises(conformance.ConformanceError, match="shuffled parts"):
        conformance.check_partitions(Neighbourly(), sensing_examples()[0])


def test_partitions_cover_an_empty_network() -> None:
    empty = epoch(no_readings(), registry())
    assert [part.registry.height for part in service.partitions(empty, 4)] == [0]
