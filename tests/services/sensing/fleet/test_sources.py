"""Of several devices with one stream: who is the source."""

from __future__ import annotations

import json

import numpy as np

from fieldstone.services.sensing.fleet.copies import Judge, screen
from fieldstone.services.sensing.fleet.frame import Frame, voters
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.sources import Copy, copies_of, report
from tests.services.sensing.fleet.fleets import RULES, frame
from tests.services.sensing.fleet.test_copies import honest


def resolve(fleet: Frame, *, kinship: np.ndarray | None = None, delay_ms: np.ndarray | None = None) -> list[Copy]:
    judge = Judge(fleet, voters(fleet, 8, 25.0), RULES)
    known = np.full(fleet.count, np.nan) if kinship is None else kinship
    delay = np.zeros(fleet.count) if delay_ms is None else delay_ms
    return copies_of(judge, judge.certain(*screen(fleet, RULES)), known, delay)


def copied(pairs: dict[int, int], lag: int = 0, **kwargs: object) -> Frame:
    series = honest()
    for values in series.values():
        for copy, source in pairs.items():
            values[copy, lag:] = values[source, : values.shape[1] - lag]
    return frame(series, **kwargs)  # type: ignore[arg-type]


def test_the_earliest_enrolled_is_paid() -> None:
    assert [(c.device, c.source) for c in resolve(copied({30: 4}))] == [(30, 4)]
    late = list(range(40, 0, -1))
    assert [(c.device, c.source) for c in resolve(copied({30: 4}, enrolled_ms=late))] == [(4, 30)]


def test_a_follower_is_not_the_source_however_early_it_enrolled() -> None:
    late = list(range(40, 0, -1))  # the copier enrolled first
    assert [(c.device, c.source) for c in resolve(copied({30: 4}, lag=3, enrolled_ms=late))] == [(30, 4)]


def test_writing_an_earlier_time_does_not_make_a_copy_the_source() -> None:
    # device 30 copies device 4 but dates its readings ten minutes back; the network received them ten minutes later
    delay = np.zeros(40)
    delay[30] = 1_200_000.0
    fleet = copied({4: 30}, lag=2, enrolled_ms=list(range(40, 0, -1)))  # by the dates, 4 follows 30
    assert [(c.device, c.source) for c in resolve(fleet, delay_ms=delay)] == [(30, 4)]


def test_who_does_not_fit_its_place_is_not_the_source() -> None:
    kinship = np.full(40, 0.9)
    kinship[4] = 0.2
    assert [(c.device, c.source) for c in resolve(copied({30: 4}), kinship=kinship)] == [(4, 30)]


def test_a_farm_larger_than_the_screening_has_one_source() -> None:
    farm = {k: 3 for k in range(5, 38)}  # 34 identities of one sensor
    found = resolve(copied(farm))
    assert {c.source for c in found} == {3}
    assert {c.device for c in found} == set(farm)


def test_one_hand_is_a_shared_sensor_two_hands_are_a_copy() -> None:
    operators = list(range(40))
    operators[31] = operators[4]
    fleet = copied({30: 4, 31: 4}, operators=operators)
    ledger = Ledger(fleet.devices)
    report(fleet, resolve(fleet), RULES, ledger)
    rows = {row["device"]: row for row in ledger.findings.iter_rows(named=True)}
    assert rows["d030"]["reason"] == "COPY_OF"
    assert rows["d031"]["reason"] == "SHARED_SENSOR"
    evidence = json.loads(rows["d030"]["detail"])
    assert evidence["source"] == "d004" and evidence["devices_in_group"] == 3
    assert rows["d030"]["measured"] > rows["d030"]["threshold"]
