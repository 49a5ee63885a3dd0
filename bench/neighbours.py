"""Neighbour check of 50,000 stations against titanlib on identical input. Run: python bench/neighbours.py [stations]"""

from __future__ import annotations

import sys
import time

import numpy as np

from fieldstone.services.sensing.neighbours import FLAGGED, BuddyRule, buddy_batch, buddy_flags, neighbour_lists

RADIUS_M, MAX_ELEVATION_DIFF_M = 5_000.0, 200.0
RULE = BuddyRule(min_neighbours=5, threshold=2.0, lapse_per_m=-0.0065, min_sd=1.0, iterations=2)


def fleet(stations: int, seed: int = 1) -> tuple[np.ndarray, ...]:
    """Return lat, lon, elevation, temperature, truth: one station per 4 km², 3 % faults of ±4–10 °C."""
    random = np.random.default_rng(seed)
    side_deg = np.sqrt(stations * 4.0) / 111.32
    lat, lon = 45 + side_deg * random.random(stations), 10 + side_deg * random.random(stations) / np.cos(np.deg2rad(46))
    elevation = 200 + 80 * np.sin(lat * 30) + 60 * np.cos(lon * 25) + 20 * random.standard_normal(stations)
    value = 15 + 3 * np.sin(lat * 3) + 2 * np.cos(lon * 4) - 0.0065 * elevation + 0.5 * random.standard_normal(stations)
    faulty = random.random(stations) < 0.03
    value = value + faulty * random.choice([-1, 1], stations) * random.uniform(4, 10, stations)
    # single precision, as titanlib stores it: both see the same numbers
    return *(part.astype(np.float32).astype(np.float64) for part in (lat, lon, elevation, value)), faulty


def main() -> None:
    """Print CPU seconds, ratio, agreement, recall and false flags."""
    import titanlib

    stations = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    lat, lon, elevation, value, faulty = fleet(stations)
    ours_s = []
    for _ in range(5):
        begin = time.process_time()
        lists = neighbour_lists(lat, lon, RADIUS_M, elevation_m=elevation, max_elevation_diff_m=MAX_ELEVATION_DIFF_M)
        middle = time.process_time()
        flags = buddy_flags(value, lists, RULE, elevation_m=elevation)
        ours_s.append((time.process_time() - begin, middle - begin))
    total_s, lists_s = min(ours_s)
    titanlib.set_omp_threads(1)
    begin = time.process_time()
    points = titanlib.Points(lat, lon, elevation)
    theirs = np.array(
        titanlib.buddy_check(points, value, [RADIUS_M], [5], 2.0, MAX_ELEVATION_DIFF_M, -0.0065, 1.0, 2), dtype=np.int8
    )
    peer_s = time.process_time() - begin
    same = float(np.mean((flags == FLAGGED) == (theirs == 1)))
    hit, false = np.mean(flags[faulty] == FLAGGED), np.mean(flags[~faulty] == FLAGGED)
    print(f"{stations} stations, {len(lists.indices)} edges; CPU seconds, best of 5")
    print(f"  ours      {total_s:8.3f}  (lists {lists_s:.3f}, check {total_s - lists_s:.3f})")
    print(f"  titanlib  {peer_s:8.3f}  ratio {peer_s / total_s:.0f}×  (1 thread, 1 run)")
    print(f"  flags agree {same:.5%}; recall {hit:.4f}, false {false:.4%}")
    steps = 288 if stations <= 5_000 else 24
    table = value[:, None] + 0.3 * np.random.default_rng(2).standard_normal((stations, steps))
    begin = time.process_time()
    batch, _ = buddy_batch(table, lists, RULE, elevation_m=elevation)
    spent = time.process_time() - begin
    print(
        f"  batch of {steps} steps {spent:.3f} s = {spent / steps * 1000:.2f} ms a step; flagged {np.mean(batch == 1):.3%}"
    )


if __name__ == "__main__":
    main()
