"""Detection of cheating at exactly 1 % false alarms: all limits of the fleet checks moved together until it is reached.

    python bench/sensing_roc.py [--worlds N]

A rule has many limits; what a founder tunes is how strict they are. Strictness s divides every limit that is passed by
exceeding it and multiplies those passed by falling below, s = 1 being rule version 1. The strictness for 1 % false alarms on
healthy honest stations is interpolated on `--worlds` worlds (seeds 301 …), then judged on as many others (seeds 501 …),
which no limit has seen either. Prints Markdown for bench/RESULTS.md. One-day attacks, three instances each, 150 honest
stations a world; CPU seconds, not wall time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from fieldstone.lab import score
from fieldstone.lab.scoreboard import Scoreboard
from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing.devices import check_devices
from fieldstone.services.sensing.fleet import check
from fieldstone.services.sensing.lab import ATTACKS, build_fleet
from fieldstone.services.sensing.lab_stations import TROUBLES
from fieldstone.services.sensing.lab_trial import outcome, world_of
from fieldstone.services.sensing.rules.v1 import default_params, with_overrides
from fieldstone.services.sensing.schema import KIND
from fieldstone.units import DAY_MS

TARGET = 0.01
STRICTNESS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3)
# a finding needs a value above these …
ABOVE = (
    "copy_excess", "copy_same", "copy_part_excess", "copy_residual_excess", "blend_excess", "replay_alike", "kin_excess",
    "smooth_log", "place_doubt", "place_gain", "elevation_hpa", "longitude_min", "longitude_alone_min", "indoor_calm",
    "level_temperature_c", "level_humidity_pct", "level_wind_speed_ms", "buddy_share", "buddy_threshold",
)  # fmt: skip
# … and below these
BELOW = ("kin_below", "indoor_light", "indoor_dark", "indoor_range", "flat_share")


def at(strictness: float) -> dict[str, Any]:
    """Return rule version 1, so much stricter."""
    base = default_params()
    moved = {f"fleet.{name}": base["fleet"][name] / strictness for name in ABOVE}
    moved |= {f"fleet.{name}": base["fleet"][name] * strictness for name in BELOW}
    return with_overrides(base, moved)


def outcomes(seeds: Iterable[int], strictness: Iterable[float]) -> dict[float, list[pl.DataFrame]]:
    """Return the outcome tables of worlds at each strictness; a world is made and its devices checked once."""
    params: Mapping[float, dict[str, Any]] = {s: at(s) for s in strictness}
    tables: dict[float, list[pl.DataFrame]] = {s: [] for s in params}
    one_day = {name: 3 for name, attack in ATTACKS.items() if attack.days == 1}
    for seed in seeds:
        fleet = build_fleet(
            world_of(seed),
            honest=150,
            attacks=one_day,
            troubles=dict.fromkeys(TROUBLES, 2),
            radius_km=18.0,
            interval_s=None,
        )
        start_ms, end_ms = fleet.world.start_ms, fleet.world.start_ms + DAY_MS
        evidence = {KIND: fleet.readings(start_ms, end_ms)}
        checks = None
        for s, rules in params.items():
            whole = EpochInput(1, start_ms, end_ms, fleet.registry, evidence, rules, carry={})
            checks = check_devices(whole) if checks is None else checks
            tables[s].append(outcome(fleet, check(whole, checks).findings))
    return tables


def strictness_for(target: float, boards: Mapping[float, Scoreboard]) -> float:
    """Return the strictness at which the rate of false alarms reaches `target`, linearly between those tried."""
    tried = sorted(boards)
    rates = np.maximum.accumulate([boards[s].false_alarms.hits / boards[s].false_alarms.count for s in tried])
    return float(np.interp(target, rates, tried))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=12)
    count = parser.parse_args().worlds
    begin = time.process_time()
    boards = {s: score(tables) for s, tables in outcomes(range(301, 301 + count), STRICTNESS).items()}
    print(f"### Detection at 1 % false alarms ({count} + {count} worlds)\n")
    print("| strictness | false alarms | 95 % |\n|---|---|---|")
    for s, board in boards.items():
        rate = board.false_alarms
        print(
            f"| {s:g} | {rate.hits / rate.count:.2%} ({rate.hits} of {rate.count}) | {rate.low:.1%}–{rate.high:.1%} |"
        )
    chosen = strictness_for(TARGET, boards)
    judged = {s: score(tables) for s, tables in outcomes(range(501, 501 + count), (1.0, chosen)).items()}
    fixed, moved = judged[1.0], judged[chosen]
    print(f"\nStrictness {chosen:.2f}, on other worlds: ", end="")
    print(
        ", ".join(
            f"{b.false_alarms.hits} of {b.false_alarms.count} false alarms {w}"
            for w, b in (("at rule version 1", fixed), ("there", moved))
        )
    )
    print("\n| attack | caught at rule version 1 | caught at 1 % | 95 % | of |\n|---|---|---|---|---|")
    before = {row.label: row.penalised for row in fixed.attacks}
    for row in moved.attacks:
        rate = row.penalised
        print(
            f"| {row.label} | {before[row.label].rate:.1%} | {rate.rate:.1%} | {rate.low:.1%}–{rate.high:.1%} | {rate.count} |"
        )
    print(f"\n{time.process_time() - begin:.0f} CPU s")


if __name__ == "__main__":
    main()
