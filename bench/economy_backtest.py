"""The flywheel against public series with a held-out tail: `python bench/economy_backtest.py`. Failures are printed too.

Bars: MAPE ≤ 15 %, direction ≥ 60 %, 10–90 % band covers 70–90 %. The nearest peer's own back-test (synthetic data) states
29.6 %, 43.1 % and 1.9 %. `persistence` is the error of repeating the last known value.
"""

from __future__ import annotations

import sys
import time

from fieldstone.economy.backtest import run


def percent(value: float | None, is_met: bool | None = None) -> str:
    """Return a percentage with a mark: + met, − missed."""
    if value is None:
        return "–"
    mark = "" if is_met is None else " +" if is_met else " −"
    return f"{value:.1%}{mark}"


def main() -> None:
    """Print one line per case; `-v` adds the held-out points."""
    begin = time.process_time()
    scores = run()
    print(
        f"{'case':38}{'grade':>6}{'known':>6}{'held':>5}{'MAPE':>12}{'persistence':>13}{'direction':>12}{'coverage':>12}"
    )
    for one in scores:
        print(
            f"{one.name:38}{one.grade:>6}{one.known:>6}{one.held_out:>5}{percent(one.mape, one.meets['mape']):>12}"
            f"{percent(one.persistence_mape):>13}{percent(one.direction, one.meets.get('direction')):>12}"
            f"{percent(one.coverage, one.meets.get('coverage')):>12}"
        )
        if "-v" in sys.argv:
            for row in zip(one.dates, one.actual, one.low, one.median, one.high, strict=True):
                print("    {}  actual {:,.4g}   10 % {:,.4g}   50 % {:,.4g}   90 % {:,.4g}".format(*row))
    fitted = [one for one in scores if one.coverage is not None]
    points = sum(one.held_out for one in fitted)
    pooled = [
        sum(getattr(one, key) * one.held_out for one in fitted) / points for key in ("mape", "direction", "coverage")
    ]
    print(
        f"all {points} held-out points pooled: MAPE {pooled[0]:.1%}, direction {pooled[1]:.1%}, coverage {pooled[2]:.1%}"
    )
    print(f"{time.process_time() - begin:.1f} s CPU")


if __name__ == "__main__":
    main()
