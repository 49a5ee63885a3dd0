"""Detection of cheating in the sensing lab, and the cost of the search for copies. Prints Markdown for bench/RESULTS.md.

    python bench/sensing_detection.py [--seeds N] [--devices N]

1. One day: every one-day attack, `--seeds` worlds (default 5) of 150 honest stations, three instances of each attack.
2. Thirty days: drift and replay, three worlds of 40 stations that report every five minutes.
3. Copies: recall, false pairs and CPU seconds of the search among `--devices` devices × 288 slots.

The worlds' seeds (101 …) were not used to set any limit. CPU seconds, not wall time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import numpy as np
import polars as pl

from fieldstone.lab import render, score
from fieldstone.services.sensing.fleet import copies
from fieldstone.services.sensing.fleet.frame import Frame, fleet_params, voters
from fieldstone.services.sensing.lab import ATTACKS, World, build_fleet
from fieldstone.services.sensing.lab_trial import outcome, run_days, trial, world_of
from fieldstone.services.sensing.rules.v1 import default_params
from fieldstone.services.sensing.series import Grid

FIRST_SEED = 101
NOISE: Mapping[str, float] = {
    "temperature_c": 0.12,
    "humidity_pct": 0.8,
    "wind_speed_ms": 0.5,
    "wind_direction_deg": 12.0,
    "solar_wm2": 3.0,
}


def one_day(seeds: int) -> None:
    begin = time.process_time()
    board = score(trial(FIRST_SEED + k, instances=3, honest=150) for k in range(seeds))
    print(f"\n## One day ({seeds} worlds, {time.process_time() - begin:.0f} CPU s)\n")
    print(render(board, {name: one.summary for name, one in ATTACKS.items()}))


def thirty_days(worlds: int = 3, days: int = 30) -> None:
    begin = time.process_time()
    outcomes: dict[int, list[pl.DataFrame]] = {2: [], 10: [], 20: [], 30: []}
    for k in range(worlds):
        fleet = build_fleet(
            world_of(FIRST_SEED + k),
            honest=40,
            attacks={"slow_drift": 4, "replayed_day": 4},
            troubles=(),
            radius_km=14,
            interval_s=300,
        )
        found = run_days(fleet, days)
        for day in outcomes:
            outcomes[day].append(outcome(fleet, found[day - 1][0]))
    print(f"\n## Thirty days ({worlds} worlds, {time.process_time() - begin:.0f} CPU s)\n")
    print("| after days | slow_drift | replayed_day | false alarms |\n|---|---|---|---|")
    for day, tables in outcomes.items():
        board = score(tables)
        rate = {row.label: row.penalised for row in board.attacks}
        drift, replay, wrong = rate["slow_drift"], rate["replayed_day"], board.false_alarms
        print(
            f"| {day} | {drift.hits} of {drift.count} ({drift.low:.2f}–{drift.high:.2f}) "
            f"| {replay.hits} of {replay.count} ({replay.low:.2f}–{replay.high:.2f}) "
            f"| {wrong.hits} of {wrong.count} ({wrong.low:.3f}–{wrong.high:.3f}) |"
        )


def copied_fleet(n: int) -> tuple[Frame, set[tuple[int, int]]]:
    """Return devices of which a twentieth copies another, with lags up to 40 minutes, scale, offset and noise."""
    rng = np.random.default_rng(0)
    world = World(1, 1_750_032_000_000)
    times = world.start_ms + 150_000 + 300_000 * np.arange(288)
    lat, lon, z = 48 + rng.uniform(-2, 2, n), 16 + rng.uniform(-3, 3, n), rng.uniform(50, 300, n)
    series = {name: np.empty((n, 288), np.float32) for name in NOISE}
    for begin in range(0, n, 1000):
        part = slice(begin, begin + 1000)
        air = world.observe(lat[part], lon[part], z[part], times)
        for name in NOISE:
            series[name][part] = air[name] + NOISE[name] * rng.standard_normal(air[name].shape)
    victims = rng.choice(n, n // 20, replace=False)
    copiers = rng.permutation(np.setdiff1d(np.arange(n), victims))[: victims.size]
    for copier, victim in zip(copiers, victims, strict=True):
        lag, scaled, veiled = int(rng.integers(0, 9)), rng.random() < 0.5, rng.random() < 0.5
        for name, values in series.items():
            copy = np.roll(values[victim], lag)
            if scaled and name != "wind_direction_deg":
                copy = 1.1 * copy + 1
            values[copier] = copy + (0.8 * NOISE[name] * rng.standard_normal(288) if veiled else 0)
    grid = Grid(world.start_ms, 300_000, 288)
    frame = Frame(tuple(f"d{k:06}" for k in range(n)), np.arange(n), lat, lon, z, np.arange(n), grid, series)
    return frame, {(int(min(a, b)), int(max(a, b))) for a, b in zip(copiers, victims, strict=True)}


def search(n: int) -> None:
    frame, truth = copied_fleet(n)
    params = fleet_params(default_params())
    begin = time.process_time()
    near = voters(frame, 8, 25.0)
    proposed = copies.screen(frame, params)
    screened = time.process_time()
    pairs = copies.Judge(frame, near, params).certain(*proposed)
    end = time.process_time()
    found = set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    one = frame.get("wind_speed_ms")
    square = time.process_time()
    for k in range(0, n, 1024):
        np.matmul(one[k : k + 1024], one.T)
    square = time.process_time() - square
    print(f"\n## Search for copies ({n} devices × 288 slots, 5 channels, {len(truth)} copies)\n")
    print("| recall | false pairs | pairs proposed | screening | judging | all, over one plain product of all pairs |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {len(found & truth) / len(truth):.4f} | {len(found - truth)} of {n * (n - 1) // 2} | {proposed[0].size} "
        f"| {screened - begin:.1f} CPU s | {end - screened:.1f} CPU s | {(end - begin) / square:.1f} × |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--devices", type=int, default=10_000)
    args = parser.parse_args()
    one_day(args.seeds)
    search(args.devices)
    thirty_days()


if __name__ == "__main__":
    main()
