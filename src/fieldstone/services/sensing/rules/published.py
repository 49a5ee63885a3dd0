"""Scoring formulas that other networks publish, for founders who want to compare or to adopt one.

Each function is the published rule and nothing more; none is part of rule version 1. Sources are named per function, the
worked values are in tests/vectors/sensing/published_rules.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def geodnet_reward_ratio(satellites: float, *, since_gip6: bool = True) -> float:
    """Return the reward ratio for satellites with SNR ≥ 32: clip((n − 26)/3, 0, 1); before 2025-04-07 (n − 20)/10.

    Source: docs.geodnet.com, GIP6. The page prints (30 − x)/10 for the old rule, against its own text.
    """
    low, span = (26, 3) if since_gip6 else (20, 10)
    return min(max((satellites - low) / span, 0.0), 1.0)


def dimo_level_points(streak_weeks: int, *, thresholds: Sequence[int] = (4, 21, 36)) -> int:
    """Return the weekly points of a connection streak: 1000 per level reached (code of rewards-api; its README says 20)."""
    return 1000 * sum(streak_weeks >= weeks for weeks in thresholds)


def dimo_streak_after_misses(streak_weeks: int, missed_weeks: int, thresholds: Sequence[int] = (4, 21, 36)) -> int:
    """Return the streak after missed weeks: every third drops one level, to the least streak of that level."""
    levels = (0, *thresholds)
    for _ in range(missed_weeks // 3):
        level = sum(streak_weeks >= weeks for weeks in thresholds)
        streak_weeks = levels[max(level - 1, 0)]
    return streak_weeks


def weatherxm_daily_score(channel_scores: Sequence[float]) -> float:
    """Return the mean of the seven channels' daily scores (public QoD rule): a dead channel costs a seventh."""
    return sum(channel_scores) / len(channel_scores)


def weatherxm_photo_score(directions: Sequence[tuple[float, Sequence[float]]]) -> float:
    """Return the mean over directions of validity × mean of the aspects (station photo verification)."""
    return sum(validity * sum(aspects) / len(aspects) for validity, aspects in directions) / len(directions)


def weatherxm_class_maximum(emission: float, classes: Mapping[str, tuple[int, float]]) -> dict[str, float]:
    """Return the most a station of each class can get: E · w / Σ(n·w). `classes`: name → (stations, weight)."""
    total = sum(count * weight for count, weight in classes.values())
    return {name: emission * weight / total for name, (_, weight) in classes.items()}


def weatherxm_cell_ranks(scores: Sequence[float], claimed: Sequence[int], capacity: int = 10) -> list[bool]:
    """Return who is paid in a cell: the best `capacity` by score, the earlier claim first among equals."""
    order = sorted(range(len(scores)), key=lambda number: (-scores[number], claimed[number]))
    paid = set(order[:capacity])
    return [number in paid for number in range(len(scores))]


def equivalent_level_db(levels_db: Sequence[float]) -> float:
    """Return Leq = 10 · log10(mean(10^(L/10))) of levels over equal times (ISO 1996-1)."""
    return float(10 * np.log10(np.mean(10.0 ** (np.asarray(levels_db, dtype=np.float64) / 10))))
